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
rest_variance and image_variance alone leave; both are estimated precisely when there are many images. The quantile is the
largest that leaves the table above as it is; with that of 1 - alpha / 2 (1.96), coverage at three seeds would reach 98.7 %.

Few errors: networks that agree on 200 images may differ on the next one. So the estimates count images that were not
seen: one that differs in every seed (1 / N^2 is added to image_variance), and two among all S N predictions that differ in
one seed (2 / (S N^2) is added to rest_variance). At 10,000 images that is a standard error of 0.01 points, at 200 of 0.5.

Clusters: images that belong together (frames of a video, crops of one slide) are no independent draws. Then the cluster
is the unit: its mean difference takes the place of an image's, weighted by its size (`by_cluster`).

Sources: Cochran and Cox 1950, Experimental Designs, and Cochran 1964, Biometrics 20:191-195 (the weighted quantile);
Satterthwaite 1946, Biometrics Bulletin 2:110-114; Searle, Casella and McCulloch 1992, Variance Components, chapter 4
(mean squares); Cameron, Gelbach and Miller 2011, J. Business & Economic Statistics 29:238-249 (clustering in two ways:
the same sum of both parts, less what both count); Agresti and Coull 1998, The American Statistician 52:119-126 (events
added to few); Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15:657-680 (two one-sided tests).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import optimize, special, stats

TYPICAL_DISAGREEMENT = 0.2
"""Share of test images on which exactly one of two trained networks is right; used where nothing is trained yet."""

SIGNIFICANT = 0.05
SMALLEST_P = 1e-100
"""No p-value is told from smaller ones; scipy's quantiles of Student's t fail from about 1e-200 on."""

Images = Literal["new", "fixed"]


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
    """Share of the paired seeds in which the arm is ahead on these images; a tie counts half. Of seeds that do not pair: of all
    pairs of a seed of the arm and one of the baseline."""
    n_seeds: int
    """Of seeds that do not pair, the smaller of both numbers."""
    n_images: int
    """Independent test images; where images belong together, their clusters. 0 where nothing is known of images."""
    images: Images
    """new: for other test images too. fixed: for this test set only."""
    seed_variance: float
    """Variance of one seed's difference, on these images."""
    image_variance: float
    """Variance that this number of test images adds and no number of seeds removes; 0 where the images are fixed."""
    rest_variance: float
    """The part of `seed_variance` that remains even if seeds add nothing of their own; 0 where the images are fixed."""
    step: float = 1.0
    """How far an image's value moves where it turns from wrong to right: see `contrast_effect`."""
    clustered: bool = False
    """Whether `n_images` counts clusters."""
    prior_df: float = 0.0
    """Degrees of freedom that `seed_variance` has from other arms (see `analysis.moderation`)."""
    paired: bool = True
    """Whether each seed of the arm was held against the same seed of the baseline."""
    seed_df: float | None = None
    """Degrees of freedom of `seed_variance` from the arm's own seeds and the baseline's; None: `n_seeds` - 1."""
    reason: str = ""
    """Why there is no interval; empty where there is one."""

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.seed_variance / self.n_seeds + self.image_variance)

    @property
    def degrees_of_freedom(self) -> float:
        """Of the seeds' part of the variance; `interval` gives the images' part its own."""
        return (self.n_seeds - 1 if self.seed_df is None else self.seed_df) + self.prior_df

    @property
    def image_df(self) -> int:
        """Degrees of freedom of the images' part; any number does where there is no such part."""
        return max(self.n_images - 1, 1)

    @property
    def parts(self) -> "Parts":
        return Parts(
            np.array(self.seed_variance / self.n_seeds),
            np.array(self.image_variance),
            np.array(self.rest_variance / self.n_seeds),
            seed_df=self.degrees_of_freedom,
            image_df=self.image_df,
        )

    def half_width(self, level: float = 0.95) -> float:
        """Half of the interval's width."""
        return math.nan if self.reason else float(half_width(self.parts, level=level))

    def interval(self, level: float) -> tuple[float, float]:
        """For any level."""
        half = self.half_width(level)
        return self.delta - half, self.delta + half

    def equivalence_p(self, margin: float) -> float:
        """P-value of two one-sided tests: the effect is a margin (0 to 1) or more, in either direction.

        See `within_margin`, which decides the same at a given level.
        """
        distance = margin - abs(self.delta)
        if self.reason:
            return math.nan
        if distance <= 0:
            return 1.0
        least_error = math.sqrt(self.parts.rest + self.parts.image)
        df = self.degrees_of_freedom * self.image_df
        floor = float(special.stdtr(df, -distance / least_error)) if least_error else 0.0
        few = float(_chance_of_few(np.array(self.delta), margin, self.n_images, self.step))
        return max(_weighted_p_value(distance, self.parts) / 2, floor, few)


@dataclass(frozen=True)
class Parts:
    """The variance of a mean difference, or of many at once: what its interval is made of. See the module."""

    seed: Float[np.ndarray, "*any"]
    """seed_variance / n_seeds."""
    image: Float[np.ndarray, "*any"]
    """image_variance."""
    rest: Float[np.ndarray, "*any"]
    """rest_variance / n_seeds."""
    seed_df: float | Float[np.ndarray, "*any"]
    """Degrees of freedom of `seed`."""
    image_df: int
    """Degrees of freedom of `image`."""


def paired_effect(
    arm_correct: Bool[np.ndarray, "seeds images"],
    baseline_correct: Bool[np.ndarray, "seeds images"],
    *,
    clusters: Int[np.ndarray, " images"] | None = None,
    images: Images = "new",
    level: float = 0.95,
) -> PairedEffect:
    """The arm's accuracy minus the baseline's, with an interval.

    The interval is for new seeds of the same recipe and, with images="new", for new test images from the population
    that these were drawn from: same source, same selection, same proportions of the classes. It says nothing about
    other data, nor about other training images, which all seeds share. With images="fixed" it is for new seeds on
    exactly these images: a paired t interval over seeds, too narrow for any other claim.

    Args: arm_correct, baseline_correct: was image i right with seed s? The same seed and image at the same place.
        clusters: which images belong together, such as the number of the video that a frame is from: any number an
        image, the same for those of one cluster. Then the interval is for new clusters.
    Raises: ValueError: the arrays do not fit together, or fewer than two images or clusters.
    """
    _require_pair(arm_correct, baseline_correct, axes=2)
    differences = arm_correct.astype(np.float64) - baseline_correct
    return contrast_effect(differences, clusters=clusters, images=images, level=level)


def _require_pair(arm: np.ndarray, baseline: np.ndarray, *, axes: int) -> None:
    if arm.shape != baseline.shape or arm.ndim != axes:
        expected = "(seeds, images)" if axes == 2 else "(images,)"
        raise ValueError(f"arm and baseline need the same {expected}, got {arm.shape} and {baseline.shape}")
    if arm.dtype != np.bool_ or baseline.dtype != np.bool_:
        raise ValueError(f"correctness is right or wrong (bool), got {arm.dtype} and {baseline.dtype}")


def contrast_effect(
    differences: Float[np.ndarray, "seeds images"],
    *,
    clusters: Int[np.ndarray, " images"] | None = None,
    images: Images = "new",
    level: float = 0.95,
    step: float = 1.0,
) -> PairedEffect:
    """The mean of a contrast, with an interval: as `paired_effect`, for any weighted sum of arms' correctness.

    Args: clusters: as in `paired_effect`. step: how far the value of an image moves where a network that had it wrong
        gets it right: 1 for right or wrong, more for a measure to which few images count (see "Few errors" in the
        module). 0: for values that do not come from counts, whose variance can be 0.
    Raises: ValueError: not seeds by images, no seed, fewer than two images, or something that is not a finite number.
    """
    if differences.ndim != 2 or not len(differences) or differences.shape[1] < 2:
        raise ValueError(f"need (seeds, images) with at least one seed and two images, got {differences.shape}")
    if not np.isfinite(differences).all():
        raise ValueError("differences must be finite numbers")
    if clusters is not None:
        differences = by_cluster(differences, clusters)
    by_seed = differences.mean(axis=1)
    parts = variance_parts(differences, step=step)[1:] if len(by_seed) > 1 else (math.nan,) * 3
    n_images = differences.shape[1]
    effect = effect_from_parts(by_seed, *parts, n_images=n_images, images=images, level=level, step=step)
    return replace(effect, clustered=clusters is not None)


def effect_from_parts(
    by_seed: Float[np.ndarray, " seeds"],
    seed_variance: float,
    image_variance: float,
    rest_variance: float,
    *,
    n_images: int,
    images: Images = "new",
    level: float = 0.95,
    step: float = 0.0,
) -> PairedEffect:
    """The mean of `by_seed` with an interval, from parts of its variance that were estimated elsewhere.

    Args: by_seed: the effect in each seed. seed_variance, image_variance, rest_variance: as in `PairedEffect`; not read
        where there is one seed. n_images: independent units that image_variance was estimated from. step: as in
        `contrast_effect`, if the parts count what was not seen.
    """
    n_seeds = len(by_seed)
    if n_seeds == 1:
        seed_variance = image_variance = rest_variance = math.nan
    elif images == "fixed":
        image_variance = rest_variance = 0.0
    return tested(
        PairedEffect(
            delta=float(by_seed.mean()),
            low=math.nan,
            high=math.nan,
            level=level,
            p_value=math.nan,
            p_better=float(np.mean((by_seed > 0) + 0.5 * (by_seed == 0))),
            n_seeds=n_seeds,
            n_images=n_images,
            images=images,
            seed_variance=seed_variance,
            image_variance=image_variance,
            rest_variance=rest_variance,
            step=step,
            reason="one seed: no interval" if n_seeds == 1 else "",
        )
    )


def tested(effect: PairedEffect) -> PairedEffect:
    """The same with its interval and p-value, from its variances; as it is where it has none."""
    if effect.reason:
        return effect
    low, high = effect.interval(effect.level)
    return replace(effect, low=low, high=high, p_value=_p_value(abs(effect.delta), effect.parts))


def by_cluster(
    values: Float[np.ndarray, "seeds images"], clusters: Int[np.ndarray, " images"]
) -> Float[np.ndarray, "seeds clusters"]:
    """A value for each cluster of images, whose mean over the clusters is the images' mean.

    The mean is a ratio of two sums over clusters, of values and of sizes. As with any ratio (see `analysis.per_class`) a
    cluster stands for the mean plus its influence on it: how far its images lie from the mean, times its size over the
    mean size. So large clusters count for more, but how large those happen to be that were drawn adds no variance.

    Raises: ValueError: fewer than two clusters, or not one number an image.
    Source: Cochran 1977, Sampling Techniques, chapter 9A (clusters of unequal sizes, ratio to size).
    """
    if clusters.shape != values.shape[1:]:
        raise ValueError(f"need the cluster of each of {values.shape[1]} images, got {clusters.shape}")
    _, place, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise ValueError("need images of at least two clusters")
    mean = values.mean(axis=1, keepdims=True)
    sums = np.stack([np.bincount(place, weights=row, minlength=len(sizes)) for row in values - mean])
    return mean + sums / sizes.mean()


def variance_parts(
    differences: Float[np.ndarray, "seeds images"], *, step: float = 1.0
) -> tuple[float, float, float, float]:
    """Mean, seed_variance, image_variance and rest_variance (see the module) of at least two seeds and two images.

    Args: step: as in `contrast_effect`.
    """
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
    unseen = (step / n_images) ** 2
    return (
        float(mean),
        float(mean_square_seed / n_images),
        float(image_variance + unseen),
        float(mean_square_rest / n_images + 2 * unseen / n_seeds),
    )


def _squares(values: np.ndarray) -> float:
    """Sum of squares. Not `vdot`: its threads cost ten times what they save here where other work keeps the cores busy."""
    return float(np.square(values).sum())


def half_width(parts: Parts, *, level: float | Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Half-width of the interval of a mean whose variance is the sum of two estimated parts (Cochran and Cox), and never
    below what a third part and the images' leave (see the module).
    """
    quantile = -special.stdtrit(np.multiply(parts.seed_df, parts.image_df), np.minimum(2 * (1 - level), 0.5))
    floor = quantile * np.sqrt(parts.rest + parts.image)
    return np.maximum(_half_width(parts, 1 - level), floor)


def _half_width(parts: Parts, alpha: float | np.ndarray) -> np.ndarray:
    # What `stats.t.isf` computes, without its hundredfold overhead: plans and p-values ask for thousands.
    t_seed, t_image = -special.stdtrit(parts.seed_df, alpha / 2), -special.stdtrit(parts.image_df, alpha / 2)
    error = np.sqrt(parts.seed + parts.image)
    weighted = np.divide(t_seed * parts.seed + t_image * parts.image, error, out=np.zeros_like(error), where=error > 0)
    # A small image part lowers the multiplier faster than it raises the error, but new images only add uncertainty.
    return np.maximum(weighted, t_seed * np.sqrt(parts.seed))


def within_margin(
    delta: Float[np.ndarray, "*any"], parts: Parts, margin: float, *, alpha: float = SIGNIFICANT, step: float = 1.0
) -> Bool[np.ndarray, "*any"]:
    """Whether two one-sided tests of level alpha both say that an effect is smaller than the margin.

    Three conditions, each on what lies between |delta| and the margin. It is more than half of the interval of level
    1 - 2 alpha. It is more than the quantile of 1 - alpha of the standard errors that images alone leave: that nothing was
    seen in few seeds which lie close together is no proof. And were the effect as large as the margin, with all its
    images turned in one direction and in every seed, then as few as were seen would have a chance of at most alpha
    (Poisson): of 200 images, that none differs is no proof that less than 1 % do.
    """
    distance = margin - np.abs(delta)
    floor = -special.stdtrit(np.multiply(parts.seed_df, parts.image_df), alpha) * np.sqrt(parts.rest + parts.image)
    seen = _chance_of_few(delta, margin, parts.image_df + 1, step) <= alpha
    return (distance > np.maximum(_half_width(parts, 2 * alpha), floor)) & seen


def _chance_of_few(delta: np.ndarray, margin: float, n_images: int, step: float) -> np.ndarray:
    """That no more images turn than the difference shows, where a margin's worth of them is expected to."""
    if step == 0:
        return np.zeros_like(delta)
    return special.gammaincc(np.abs(delta) * n_images / step + 1, margin * n_images / step)


def _p_value(distance: float, parts: Parts) -> float:
    """The alpha whose interval ends at 0: the larger of those of the interval's two rules."""
    if distance == 0:
        return 1.0
    least_error = math.sqrt(parts.rest + parts.image)
    floor = float(special.stdtr(parts.seed_df * parts.image_df, -distance / least_error)) / 2 if least_error else 0.0
    return max(floor, _weighted_p_value(distance, parts))


def _weighted_p_value(distance: float, parts: Parts) -> float:
    """The alpha at which `_half_width` is `distance`, which lies between the p-values of the two t distributions."""
    error = math.sqrt(parts.seed + parts.image)
    if error == 0:
        return 0.0
    bounds = sorted(2 * float(special.stdtr(df, -distance / error)) for df in (parts.seed_df, parts.image_df))
    slack = 1e-9  # of log(alpha): a bound can be the solution, and rounding may put it on either side
    low, high = (math.log(max(bound, SMALLEST_P)) + sign * slack for bound, sign in zip(bounds, (-1, 1), strict=True))

    def too_wide(log_alpha: float) -> float:
        return float(_half_width(parts, math.exp(log_alpha))) - distance

    if too_wide(low) < 0:  # smaller than any number that matters
        return math.exp(low)
    return min(math.exp(float(optimize.brentq(too_wide, low, high, xtol=1e-13))), 1.0)


def holm(p_values: Sequence[float] | Float[np.ndarray, "*studies tests"]) -> Float[np.ndarray, "*studies tests"]:
    """P-values adjusted for their number, so that calling those below 0.05 significant errs at all in 5 % of studies.

    NaN stays NaN and does not count as a test. Of an array of several studies, each adjusts its own tests, the last axis.
    Source: Holm 1979, Scandinavian Journal of Statistics 6:65-70.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, axis=-1)  # NaN last
    tests = np.count_nonzero(~np.isnan(p), axis=-1, keepdims=True)
    in_order = np.take_along_axis(p, order, axis=-1) * (tests - np.arange(p.shape[-1]))
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(in_order, axis=-1), 1), axis=-1)
    return adjusted


def holm_levels(p_values: Sequence[float] | Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """The level that each p-value has to stay below in Holm's procedure: of one that does, that of its own step; of the
    others, that of the step at which the procedure ended.

    So an interval of this level leaves 0 out exactly where `holm` finds less than 0.05, and covers what it is about in at least
    95 % of studies, whatever the other tests find. Where none is significant all have the level 0.05 / tests, and together
    they cover in 95 % of studies (Bonferroni). Where many are, they do not: that all signs are right is what Holm's
    procedure promises, of sizes each interval speaks for itself.

    NaN stays NaN and does not count as a test.
    """
    p = np.asarray(p_values, dtype=np.float64)
    tests = np.count_nonzero(~np.isnan(p))
    significant = np.count_nonzero(holm(p) < SIGNIFICANT)
    step = np.minimum(np.argsort(np.argsort(p, kind="stable")), significant)
    return np.where(np.isnan(p), np.nan, SIGNIFICANT / np.maximum(tests - step, 1))


def benjamini_hochberg(p_values: Sequence[float] | Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """P-values adjusted so that of those called significant below 0.05, 5 % are expected to be wrong: to explore with.

    NaN stays NaN and does not count as a test.
    Source: Benjamini and Hochberg 1995, J. Royal Statistical Society B 57:289-300.
    """
    p = np.asarray(p_values, dtype=np.float64)
    tests = ~np.isnan(p)
    adjusted = np.full_like(p, np.nan)
    if tests.any():
        adjusted[tests] = stats.false_discovery_control(p[tests], method="bh")
    return adjusted


def paying_for_looks(p_values: Sequence[float] | Float[np.ndarray, " tests"], looks: int) -> np.ndarray:
    """P-values that stay valid where the same question was tested at each of several numbers of seeds.

    That any of the looks errs is at most as likely as the sum of their chances (Bonferroni), so each p-value counts as
    many times as there were looks. It repairs what can be repaired afterwards: whoever adds seeds until something is
    significant had a first look that nobody made them pay for, and errs in up to 8 % of studies instead of 19 %
    (`experiments/simulate_sequential.py`). Whoever plans looks errs in at most 5 % and pays less: `analysis.sequential`.

    Args: looks: how many times results were seen, this one among them.
    """
    return np.minimum(np.asarray(p_values, dtype=np.float64) * looks, 1)


@dataclass(frozen=True)
class Flips:
    """On which images two networks differ in being right."""

    arm_only: int
    """Images that the arm gets right and the baseline wrong."""
    baseline_only: int
    p_value: float
    """Two-sided, for these two networks on the population of images: both kinds are equally frequent."""


def mcnemar(
    arm_correct: Bool[np.ndarray, " images"],
    baseline_correct: Bool[np.ndarray, " images"],
    *,
    clusters: Int[np.ndarray, " images"] | None = None,
) -> Flips:
    """McNemar's exact test of one seed's two networks. It says nothing about other seeds, so nothing about the recipe.

    Of images that belong together, the networks' answers are exchanged a cluster at a time: the same test, where a cluster
    counts for as many images as the networks differ by in it.

    Args: clusters: as in `paired_effect`.
    Raises: ValueError: the arrays do not fit together.
    Source: McNemar 1947, Psychometrika 12:153-157; for classifiers Dietterich 1998, Neural Computation 10:1895-1923; Fisher
        1935, The Design of Experiments, section 21 (the signs of paired differences).
    """
    _require_pair(arm_correct, baseline_correct, axes=1)
    arm_only = int((arm_correct & ~baseline_correct).sum())
    baseline_only = int((baseline_correct & ~arm_correct).sum())
    if clusters is not None:
        if clusters.shape != arm_correct.shape:
            raise ValueError(f"need the cluster of each of {len(arm_correct)} images, got {clusters.shape}")
        _, place = np.unique(clusters, return_inverse=True)
        differences = np.bincount(place, weights=arm_correct.astype(np.float64) - baseline_correct)
        return Flips(arm_only, baseline_only, _chance_of_signs(differences.astype(np.int64)))
    flips = arm_only + baseline_only
    p_value = float(stats.binomtest(arm_only, flips).pvalue) if flips else 1.0
    return Flips(arm_only, baseline_only, p_value)


def _chance_of_signs(differences: Int[np.ndarray, " clusters"]) -> float:
    """That the sum of differences is as far from 0 as it is, or farther, if each had its sign by the throw of a coin."""
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    positive = np.ones(1)  # distribution of the sum of those that come out positive
    for size, count in zip(sizes, counts, strict=True):
        spread = np.zeros(size * count + 1)
        spread[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        positive = np.convolve(positive, spread)
    sums = 2 * np.arange(len(positive)) - (len(positive) - 1)
    return min(float(positive[np.abs(sums) >= abs(differences.sum())].sum()), 1.0)
