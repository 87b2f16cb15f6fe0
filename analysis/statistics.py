"""Effects with intervals: what a paired difference between an arm and the baseline can and cannot show.

Everything starts from D[s, i] = arm right - baseline right, for seed s and test image i, and from the two-way
random-effects model D[s, i] = delta + seed_s + image_i + rest_si. Its mean has the variance

    var_seed / S + var_image / N + var_rest / (S N) = seed_variance / S + image_variance

where seed_variance, estimated by MS_seed / N, is what a paired t test over seeds sees, and image_variance, estimated by
(MS_image - MS_rest) / (S N) and not below 0, is what that test leaves out: how far the effect would move on other test
images however many seeds there are. Of seed_variance the part rest_variance = var_rest / N, estimated by MS_rest / N, is
there even if seeds add nothing of their own: two networks that disagree on images differ by chance in their accuracy.

The multiplier of the standard error is Cochran and Cox's: Student's quantiles of both parts, weighted by their
variances, and never less than what the seeds alone ask for. Why not Satterthwaite's degrees of freedom? They come from
the very variances that are uncertain: where few seeds happen to lie close together, they claim many. With normal
effects and many images (numerical integration over all ratios of the two parts) nominal 95 % cover, in percent,

    seeds                              2            3            4            5           10
    Satterthwaite                 87.2 - 95.1  92.2 - 95.0  93.6 - 95.0  94.2 - 95.0  94.8 - 95.0
    Cochran and Cox, as here      95.0 - 98.0  95.0 - 97.2  95.0 - 96.7  95.0 - 96.4  95.0 - 95.7

and where Holm's first step asks eight arms for p < 0.05 / 8 = 0.6 %, Satterthwaite's rule at three seeds finds up to
2.9 % where there is nothing; the rule here never more than 0.6 %. The price is width: with equal parts 1.3 times
Satterthwaite's at three seeds, 1.1 at five. `experiments/simulate_coverage.py` compares them on simulated networks.

The floor: few seeds that happen to lie close together must not look more certain than their images allow. An interval of
level 1 - alpha is never narrower than the normal quantile of 1 - 2 alpha (1.28 for 95 %) times the standard error that
rest_variance and image_variance alone leave, which many images know well. The quantile is the largest that leaves the
table above as it is; with that of 1 - alpha / 2 (1.96), coverage at three seeds would reach 98.7 %.

Sources: Cochran and Cox 1950, Experimental Designs, and Cochran 1964, Biometrics 20:191-195 (the weighted quantile);
Satterthwaite 1946, Biometrics Bulletin 2:110-114; Searle, Casella and McCulloch 1992, Variance Components, chapter 4
(mean squares); Cameron, Gelbach and Miller 2011, J. Business & Economic Statistics 29:238-249 (clustering in two ways:
the same sum of both parts, less what both count).
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Real
from scipy import optimize, special, stats

from ablations.units import counted

TYPICAL_DISAGREEMENT = 0.2
"""Share of test images on which exactly one of two trained networks is right; used where nothing is trained yet."""

SIGNIFICANT = 0.05
MOST_SEEDS = 100
"""Nobody trains more seeds than this of one arm; plans end here."""
ENDLESS_SEEDS = 10**9
"""So many that the seeds' part of a variance is gone."""

Images = Literal["new", "fixed"]
Claim = Literal["better", "worse", "equivalent"]
A = TypeVar("A", bound=Hashable)
B = TypeVar("B", bound=Hashable)


def best_half_width(n_seeds: int, n_images: int, disagreement: float = TYPICAL_DISAGREEMENT) -> float:
    """Half-width of the 95 % t interval of a paired difference in accuracy (0 to 1) if seeds added no variance at all.

    Two networks of equal accuracy that disagree on a share d of n test images differ by chance with variance d / n.
    Raises: ValueError: fewer than two seeds, which give no interval.
    """
    if n_seeds < 2:
        raise ValueError("an interval needs at least two seeds")
    return float(stats.t.ppf(0.975, n_seeds - 1) * math.sqrt(disagreement / n_images / n_seeds))


@dataclass(frozen=True)
class PairedEffect:
    """A mean paired difference with what seeds and test images leave uncertain. Differences of accuracies, 0 to 1.

    One seed gives an effect and no interval: everything that needs a second one is NaN, and `reason` says so.
    """

    delta: float
    low: float
    high: float
    level: float
    """Of the interval [low, high]."""
    p_value: float
    """Two-sided, delta = 0: the largest level at which the interval leaves 0 out is 1 - p_value."""
    p_better: float
    """Share of the paired seeds in which the arm is ahead on these images; a tie counts half."""
    n_seeds: int
    n_images: int
    images: Images
    """new: for other test images too. fixed: for this test set only."""
    seed_variance: float
    """Variance of one seed's difference, on these images."""
    image_variance: float
    """Variance that this number of test images adds and no number of seeds removes; 0 where the images are fixed."""
    rest_variance: float
    """The part of `seed_variance` that is there even if seeds add nothing of their own; 0 where the images are fixed."""
    reason: str = ""
    """Why there is no interval; empty where there is one."""

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.seed_variance / self.n_seeds + self.image_variance)

    @property
    def degrees_of_freedom(self) -> int:
        """Of the seeds' part of the variance; `interval` gives the images' part its own."""
        return self.n_seeds - 1

    def half_width(self, level: float = 0.95, *, n_seeds: int | None = None) -> float:
        """Half of the interval's width; with `n_seeds`, what it would be with that many seeds of the same variance."""
        n = self.n_seeds if n_seeds is None else n_seeds
        if n < 2:
            return math.nan
        parts = np.array(self.seed_variance / n), np.array(self.image_variance), np.array(self.rest_variance / n)
        return float(half_width(*parts, n_seeds=n, n_images=self.n_images, level=level))

    def interval(self, level: float) -> tuple[float, float]:
        """For any level."""
        half = self.half_width(level)
        return self.delta - half, self.delta + half

    def equivalence_half_width(self, *, n_seeds: int | None = None) -> float:
        """How far from delta a margin must lie at least for two one-sided tests at 5 % to call the effect smaller than it.

        Half of the 90 % interval, and never less than 1.64 of the standard errors that images alone leave: that nothing
        was seen in few seeds which lie close together is no proof of equivalence.
        """
        n = self.n_seeds if n_seeds is None else n_seeds
        quantile = -special.stdtrit((self.n_seeds - 1) * (self.n_images - 1), 0.05)
        least = float(quantile) * math.sqrt(self.rest_variance / n + self.image_variance)
        return max(self.half_width(0.9, n_seeds=n), least)


def paired_effect(
    arm_correct: Bool[np.ndarray, "seeds images"],
    baseline_correct: Bool[np.ndarray, "seeds images"],
    *,
    images: Images = "new",
    level: float = 0.95,
) -> PairedEffect:
    """The arm's accuracy minus the baseline's, with an interval.

    The interval is for new seeds of the same recipe and, with images="new", for new test images from the population
    that these were drawn from: same source, same selection, same proportions of the classes. It says nothing about
    other data, nor about other training images, which all seeds share. With images="fixed" it is for new seeds on
    exactly these images: a paired t interval over seeds, too narrow for any other claim.

    Args: arm_correct, baseline_correct: was image i right with seed s? The same seed and image at the same place.
    Raises: ValueError: the two do not fit together, or fewer than two images.
    """
    _require_pair(arm_correct, baseline_correct, axes=2)
    return contrast_effect(arm_correct.astype(np.float64) - baseline_correct, images=images, level=level)


def _require_pair(arm: np.ndarray, baseline: np.ndarray, *, axes: int) -> None:
    if arm.shape != baseline.shape or arm.ndim != axes:
        expected = "(seeds, images)" if axes == 2 else "(images,)"
        raise ValueError(f"arm and baseline need the same {expected}, got {arm.shape} and {baseline.shape}")
    if arm.dtype != np.bool_ or baseline.dtype != np.bool_:
        raise ValueError(f"correctness is right or wrong (bool), got {arm.dtype} and {baseline.dtype}")


def contrast_effect(
    differences: Float[np.ndarray, "seeds images"], *, images: Images = "new", level: float = 0.95
) -> PairedEffect:
    """The mean of a contrast, with an interval: as `paired_effect`, for any weighted sum of arms' correctness.

    Raises: ValueError: not seeds by images, no seed, fewer than two images, or something that is not a finite number.
    """
    if differences.ndim != 2 or not len(differences) or differences.shape[1] < 2:
        raise ValueError(f"need (seeds, images) with at least one seed and two images, got {differences.shape}")
    if not np.isfinite(differences).all():
        raise ValueError("differences must be finite numbers")
    by_seed = differences.mean(axis=1)
    parts = variance_parts(differences)[1:] if len(by_seed) > 1 else (math.nan,) * 3
    return effect_from_parts(by_seed, *parts, n_images=differences.shape[1], images=images, level=level)


def effect_from_parts(
    by_seed: Float[np.ndarray, " seeds"],
    seed_variance: float,
    image_variance: float,
    rest_variance: float,
    *,
    n_images: int,
    images: Images = "new",
    level: float = 0.95,
) -> PairedEffect:
    """The mean of `by_seed` with an interval, from parts of its variance that were estimated elsewhere.

    Args: by_seed: the effect in each seed. seed_variance, image_variance, rest_variance: as in `PairedEffect`; not read
        where there is one seed. n_images: independent units that image_variance was estimated from.
    """
    n_seeds, delta = len(by_seed), float(by_seed.mean())
    p_better = float(np.mean((by_seed > 0) + 0.5 * (by_seed == 0)))
    nan = math.nan
    if n_seeds == 1:
        reason = "one seed: no interval"
        return PairedEffect(delta, nan, nan, level, nan, p_better, 1, n_images, images, nan, nan, nan, reason)
    if images == "fixed":
        image_variance = rest_variance = 0.0
    parts = np.array(seed_variance / n_seeds), np.array(image_variance), np.array(rest_variance / n_seeds)
    half = float(half_width(*parts, n_seeds=n_seeds, n_images=n_images, level=level))
    return PairedEffect(
        delta,
        delta - half,
        delta + half,
        level,
        _p_value(abs(delta), *parts, n_seeds=n_seeds, n_images=n_images),
        p_better,
        n_seeds,
        n_images,
        images,
        seed_variance,
        image_variance,
        rest_variance,
    )


def variance_parts(differences: Float[np.ndarray, "seeds images"]) -> tuple[float, float, float, float]:
    """Mean, seed_variance, image_variance and rest_variance (see the module) of at least two seeds and two images."""
    n_seeds, n_images = differences.shape
    mean = differences.mean()
    centred = differences - mean
    seeds, images = centred.mean(axis=1), centred.mean(axis=0)
    squares_seed, squares_image = n_images * _squares(seeds), n_seeds * _squares(images)
    squares_rest = max(_squares(centred) - squares_seed - squares_image, 0.0)  # rounding can end below 0
    mean_square_seed = squares_seed / (n_seeds - 1)
    mean_square_image = squares_image / (n_images - 1)
    mean_square_rest = squares_rest / ((n_seeds - 1) * (n_images - 1))
    image_variance = max(mean_square_image - mean_square_rest, 0.0) / (n_seeds * n_images)
    return float(mean), float(mean_square_seed / n_images), float(image_variance), float(mean_square_rest / n_images)


def _squares(values: np.ndarray) -> float:
    """Sum of squares. Not `vdot`: its threads cost ten times what they save here where other work keeps the cores busy."""
    return float(np.square(values).sum())


def half_width(
    seed_part: Float[np.ndarray, "*any"],
    image_part: Float[np.ndarray, "*any"],
    rest_part: Float[np.ndarray, "*any"],
    *,
    n_seeds: int,
    n_images: int,
    level: float,
) -> Float[np.ndarray, "*any"]:
    """Half-width of the interval of a mean whose variance is the sum of two estimated parts (Cochran and Cox), and never
    below what a third, known part and the images' leave (see the module).

    Args: seed_part, image_part, rest_part: seed_variance / n_seeds, image_variance and rest_variance / n_seeds, in any shape.
    """
    quantile = -special.stdtrit((n_seeds - 1) * (n_images - 1), min(2 * (1 - level), 0.5))
    floor = quantile * np.sqrt(rest_part + image_part)
    return np.maximum(_half_width(seed_part, image_part, n_seeds, n_images, 1 - level), floor)


def _half_width(seed_part: np.ndarray, image_part: np.ndarray, n_seeds: int, n_images: int, alpha: float) -> np.ndarray:
    # What `stats.t.isf` computes, without its hundredfold overhead: plans and p-values ask for thousands.
    t_seed, t_image = -special.stdtrit(n_seeds - 1, alpha / 2), -special.stdtrit(n_images - 1, alpha / 2)
    error = np.sqrt(seed_part + image_part)
    weighted = np.divide(t_seed * seed_part + t_image * image_part, error, out=np.zeros_like(error), where=error > 0)
    # A small image part lowers the multiplier faster than it raises the error, but new images cannot make anyone surer.
    return np.maximum(weighted, t_seed * np.sqrt(seed_part))


def _p_value(
    distance: float,
    seed_part: np.ndarray,
    image_part: np.ndarray,
    rest_part: np.ndarray,
    *,
    n_seeds: int,
    n_images: int,
) -> float:
    """The alpha whose interval ends at 0: the larger of those of the interval's two rules."""
    if distance == 0:
        return 1.0
    least_error = math.sqrt(rest_part + image_part)
    floor = float(special.stdtr((n_seeds - 1) * (n_images - 1), -distance / least_error)) / 2 if least_error else 0.0
    return max(floor, _weighted_p_value(distance, seed_part, image_part, n_seeds, n_images))


def _weighted_p_value(
    distance: float, seed_part: np.ndarray, image_part: np.ndarray, n_seeds: int, n_images: int
) -> float:
    """The alpha at which `_half_width` is `distance`, which lies between the p-values of the two t distributions."""
    error = math.sqrt(seed_part + image_part)
    if error == 0:
        return 0.0
    bounds = sorted(2 * float(special.stdtr(n - 1, -distance / error)) for n in (n_seeds, n_images))
    slack = 1e-9  # of log(alpha): a bound can be the solution, and rounding may put it on either side
    low, high = (math.log(max(bound, 1e-300)) + sign * slack for bound, sign in zip(bounds, (-1, 1), strict=True))

    def too_wide(log_alpha: float) -> float:
        return float(_half_width(seed_part, image_part, n_seeds, n_images, math.exp(log_alpha))) - distance

    if too_wide(low) < 0:  # smaller than any number that matters
        return math.exp(low)
    return min(math.exp(float(optimize.brentq(too_wide, low, high, xtol=1e-13))), 1.0)


@dataclass(frozen=True)
class Factorial(Generic[A, B]):
    """Two factors' effects, each level against its factor's reference level. Differences of accuracies, 0 to 1."""

    a: dict[A, PairedEffect]
    """Main effect of each other level of the first factor: its effect averaged over the levels of the second."""
    b: dict[B, PairedEffect]
    interaction: dict[tuple[A, B], PairedEffect]
    """How much larger the effect of `a` is at `b` than at the second factor's reference level (not halved)."""


def interaction(
    correct: Mapping[tuple[A, B], Real[np.ndarray, "seeds images"] | Bool[np.ndarray, "seeds images"]],
    *,
    images: Images = "new",
    level: float = 0.95,
) -> Factorial[A, B]:
    """Main effects and interactions of two crossed factors.

    Args: correct: (level of the first factor, level of the second) -> as in `paired_effect`, or its mean over the levels
        of further factors. The first entry holds both reference levels.
    Raises: ValueError: a factor has one level, a combination is missing, or the arrays do not fit together.
    """
    levels_a, levels_b = (list(dict.fromkeys(levels)) for levels in zip(*correct, strict=True)) if correct else ([], [])
    if len(levels_a) < 2 or len(levels_b) < 2 or len(correct) < len(levels_a) * len(levels_b):
        raise ValueError(
            f"need every combination of at least two levels of two factors, got {len(correct)} combinations of "
            f"{len(levels_a)} and {len(levels_b)} levels"
        )
    if len({array.shape for array in correct.values()}) > 1:
        raise ValueError(f"need the same seeds and images everywhere, got {[a.shape for a in correct.values()]}")
    value = {key: array.astype(np.float64) for key, array in correct.items()}

    def effect(contrast: np.ndarray) -> PairedEffect:
        return contrast_effect(contrast, images=images, level=level)

    (a0, *others_a), (b0, *others_b) = levels_a, levels_b
    return Factorial(
        {a: effect(np.mean([value[a, b] - value[a0, b] for b in levels_b], axis=0)) for a in others_a},
        {b: effect(np.mean([value[a, b] - value[a, b0] for a in levels_a], axis=0)) for b in others_b},
        {(a, b): effect(value[a, b] - value[a0, b] - value[a, b0] + value[a0, b0]) for a in others_a for b in others_b},
    )


def holm(p_values: Sequence[float] | Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """P-values adjusted for their number, so that calling those below 0.05 significant errs at all in 5 % of studies.

    NaN stays NaN and does not count as a test.
    Source: Holm 1979, Scandinavian Journal of Statistics 6:65-70.
    """
    p = np.asarray(p_values, dtype=np.float64)
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests])]
    adjusted = np.full_like(p, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted


@dataclass(frozen=True)
class Verdict:
    """What may be said about an arm."""

    kind: Claim | Literal["inconclusive", "no interval"]
    further_seeds: int | None
    """To be added until it is settled, if effect and variances stay as estimated; None: settled, or out of reach."""
    remark: str
    """Why it is no more than that, or what would settle it; empty where the interval says it all."""


def verdict(
    effect: PairedEffect,
    *,
    adjusted_p: float,
    margin: float = 0.01,
    diverged: int = 0,
    baseline_diverged: int = 0,
) -> Verdict:
    """Better or worse by the adjusted p-value; else equivalent by the 90 % interval; else what would settle it.

    Where seeds diverged, those that are left are the luckier ones: an arm that lost some is never better or equivalent,
    and where the baseline did, no arm is worse or equivalent.

    Args: adjusted_p: see `holm`. margin: largest difference (0 to 1) that does not matter. diverged, baseline_diverged:
        how many seeds of the arm and of the baseline.
    """
    if effect.n_seeds == 1:
        return Verdict("no interval", None, effect.reason)
    half = effect.equivalence_half_width()
    low, high = effect.delta - half, effect.delta + half
    inside = -margin < low and high < margin
    within = f"within the margin of {counted(100 * margin, 'point')}" if inside else ""
    significant = adjusted_p < SIGNIFICANT
    if not significant and not inside:
        return _plan(effect, adjusted_p=adjusted_p, margin=margin)
    claim: Claim = ("better" if effect.delta > 0 else "worse") if significant else "equivalent"
    lost = counted(diverged, "seed") if diverged and claim != "worse" else ""
    if not lost and baseline_diverged and claim != "better":
        lost = f"{counted(baseline_diverged, 'seed')} of the baseline"
    if lost:
        return Verdict("inconclusive", None, f"{lost} diverged, and the others alone do not make it {claim}")
    if claim == "equivalent":
        return Verdict(claim, None, f"90 % interval [{_points(low)}, {_points(high)}] {within}")
    return Verdict(claim, None, within)


def _plan(effect: PairedEffect, *, adjusted_p: float, margin: float) -> Verdict:
    """How many seeds would settle what is not settled.

    Holm multiplies this arm's p-value by a factor that depends on the other arms; it is taken to stay what it is now
    (less than it is where the adjusted p-value was cut off at 1).
    """
    alpha = SIGNIFICANT * min(effect.p_value / adjusted_p, 1) if adjusted_p > 0 else SIGNIFICANT

    def settled(n_seeds: int) -> bool:
        distance = abs(effect.delta)
        differs = effect.half_width(1 - alpha, n_seeds=n_seeds) < distance
        return differs or distance + effect.equivalence_half_width(n_seeds=n_seeds) < margin

    for n_seeds in range(effect.n_seeds + 1, MOST_SEEDS + 1):
        if settled(n_seeds):
            further = n_seeds - effect.n_seeds
            return Verdict("inconclusive", further, f"about {counted(further, 'further seed')} would settle it")
    if settled(ENDLESS_SEEDS):
        return Verdict("inconclusive", None, f"more than {MOST_SEEDS} seeds would be needed to settle it")
    remark = (
        f"cannot be settled on this test set, whose {effect.n_images:,} images leave "
        f"±{100 * effect.half_width(n_seeds=ENDLESS_SEEDS):.2f} points however many seeds are trained"
    )
    return Verdict("inconclusive", None, remark)


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f}"


@dataclass(frozen=True)
class Flips:
    """On which images two networks differ in being right."""

    arm_only: int
    """Images that the arm gets right and the baseline wrong."""
    baseline_only: int
    p_value: float
    """Two-sided, for these two networks on the population of images: both kinds are equally frequent."""


def mcnemar(arm_correct: Bool[np.ndarray, " images"], baseline_correct: Bool[np.ndarray, " images"]) -> Flips:
    """McNemar's exact test of one seed's two networks. It says nothing about other seeds, so nothing about the recipe.

    Raises: ValueError: the two do not fit together.
    Source: McNemar 1947, Psychometrika 12:153-157; for classifiers Dietterich 1998, Neural Computation 10:1895-1923.
    """
    _require_pair(arm_correct, baseline_correct, axes=1)
    arm_only = int((arm_correct & ~baseline_correct).sum())
    baseline_only = int((baseline_correct & ~arm_correct).sum())
    flips = arm_only + baseline_only
    p_value = float(stats.binomtest(arm_only, flips).pvalue) if flips else 1.0
    return Flips(arm_only, baseline_only, p_value)
