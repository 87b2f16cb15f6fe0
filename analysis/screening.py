"""Effects of a screening design (`ablations.designs`): each factor's main effect, and interactions with their aliases.

A run and its negative, which has every factor at the other level, are read together. Half of their difference is the sum of
all main effects, each with its sign: interactions of two factors cancel. Half of their sum is the mean and all interactions
of two factors: main effects cancel. So the weights of main effects are least squares over such pairs of runs. With all
runs it is the mean of the runs at a level less that of those at the other.

What is missing: each seed is read by itself, with the pairs of runs that it has. As long as these tell a factor from the
others, the seed says what the factor does, with more variance where pairs are missing. Where too few pairs are left in
every seed, single runs are read, too, as if no two factors interacted: such an effect is not clear of interactions. A factor
that not even they tell from the others has no effect. Interactions need seeds that have all runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from ablations.aliasing import strings
from ablations.designs import Combination, Pair, signs
from analysis.moderation import LEAST_OTHERS, as_large, moderate
from analysis.statistics import SIGNIFICANT, PairedEffect, contrast_effect

BySeed = Mapping[int, Bool[np.ndarray, " images"]]
"""Of an arm, which test images its network of each seed gets right."""
Weights = Float[np.ndarray, "factors runs"]
"""What each run counts for in each factor's effect; NaN in the row of a factor that cannot be told from the others."""


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of runs' accuracies, in each seed that has what it takes. Differences are 0 to 1."""

    effect: PairedEffect
    by_seed: Mapping[int, float]
    clear: bool = True
    """Of interactions of two factors; of an interaction, of main effects."""


def borrowing(
    main: Sequence[Contrast | None], joint: Mapping[tuple[Pair, ...], Contrast]
) -> tuple[list[Contrast | None], dict[tuple[Pair, ...], Contrast]]:
    """The same effects with variances over seeds that borrow from one another (`analysis.moderation`).

    All of them are sums of as many runs with equal weights, so that their variances are alike where runs vary alike. One that
    is larger than the others let expect (5 %) keeps what it has: what such a factor does depends on the seed. All do where
    fewer than 8 have an interval, as without interactions. `experiments/simulate_screening.py` measures what that covers.
    """
    known = [contrast for contrast in (*main, *joint.values()) if contrast is not None]
    effects = [contrast.effect for contrast in known if not contrast.effect.reason]
    if len(effects) <= LEAST_OTHERS:
        return list(main), dict(joint)
    large = iter(
        as_large(*(np.array(x) for x in zip(*((e.seed_variance, e.n_seeds - 1.0) for e in effects), strict=True)))
    )
    shrunk = iter(moderate([contrast.effect for contrast in known]))

    def moved(contrast: Contrast) -> Contrast:
        effect = next(shrunk)
        keeps = contrast.effect.reason or next(large) < SIGNIFICANT
        return contrast if keeps else replace(contrast, effect=effect)

    return [None if contrast is None else moved(contrast) for contrast in main], {
        string: moved(contrast) for string, contrast in joint.items()
    }


def main_effects(
    design: Sequence[Combination], correct: Sequence[BySeed], *, clusters: Int[np.ndarray, " images"] | None = None
) -> list[Contrast | None]:
    """Of each factor, what its other level changes, averaged over the other factors; None where it cannot be told.

    Args: design: as `ablations.designs.folded`, a row a run. correct: of each run, in the same order. clusters: as in
        `analysis.statistics.paired_effect`.
    Raises: ValueError: not as many runs as rows.
    """
    by_pairs = _weights_by_seed(design, correct, pair_weights)
    by_runs = _weights_by_seed(design, correct, run_weights)
    effects: list[Contrast | None] = []
    for factor in range(len(design[0])):
        clear, single = (
            {seed: weights[factor] for seed, weights in each.items() if np.isfinite(weights[factor]).all()}
            for each in (by_pairs, by_runs)
        )
        is_clear = len(clear) > 1 or (len(clear) == 1 and len(single) < 2)
        effects.append(_contrast(clear if is_clear else single, correct, clusters, clear=is_clear))
    return effects


def interactions(
    design: Sequence[Combination], correct: Sequence[BySeed], *, clusters: Int[np.ndarray, " images"] | None = None
) -> dict[tuple[Pair, ...], Contrast]:
    """Half of how much more it changes to give one factor its other level where the second has its other level than where not.

    Halved, an interaction has the variance of a main effect. By the pairs of factors whose sum it is (see
    `ablations.aliasing.strings`), over the seeds that have all runs; empty where there are none.

    Args: as `main_effects`.
    """
    complete = sorted(set.intersection(*(set(seeds) for seeds in correct)))
    found: dict[tuple[Pair, ...], Contrast] = {}
    for string in strings(tuple(design)) if complete else ():
        column = 2 / len(design) * np.array(signs(design, *string[0]))
        contrast = _contrast(dict.fromkeys(complete, column), correct, clusters)
        assert contrast is not None
        found[string] = contrast
    return found


def pair_weights(design: Sequence[Combination], there: Sequence[bool]) -> Weights:
    """Least squares over the pairs of runs of which both are there, as the module says."""
    half = len(design) // 2
    pairs = [run for run in range(half) if there[run] and there[run + half]]
    weights = np.zeros((len(design[0]), len(design)))
    solved = _told_apart(_signs(design)[pairs])
    weights[:, pairs] = -solved
    weights[:, [run + half for run in pairs]] = solved
    return weights


def run_weights(design: Sequence[Combination], there: Sequence[bool]) -> Weights:
    """Least squares over the runs that are there, as if factors did not interact."""
    runs = [run for run in range(len(design)) if there[run]]
    weights = np.zeros((len(design[0]), len(design)))
    x = _signs(design)[runs]
    weights[:, runs] = -2 * _told_apart(np.column_stack([np.ones(len(runs)), x]))[1:]
    return weights


def _signs(design: Sequence[Combination]) -> Float[np.ndarray, "runs factors"]:
    return np.where(np.array(design), 1.0, -1.0)


def _told_apart(x: Float[np.ndarray, "rows coefficients"]) -> Float[np.ndarray, "coefficients rows"]:
    """Weights of least squares; NaN for coefficients that the rows leave open."""
    solved = np.linalg.pinv(x)
    open_ = ~np.isclose(solved @ x, np.eye(x.shape[1])).all(axis=1)
    solved[open_] = np.nan
    return solved


def _weights_by_seed(
    design: Sequence[Combination],
    correct: Sequence[BySeed],
    weigh: Callable[[Sequence[Combination], Sequence[bool]], Weights],
) -> dict[int, Weights]:
    if len(correct) != len(design):
        raise ValueError(f"need the correctness of {len(design)} runs, got {len(correct)}")
    known: dict[tuple[bool, ...], Weights] = {}
    found: dict[int, Weights] = {}
    for seed in sorted(set().union(*correct)):
        there = tuple(seed in seeds for seeds in correct)
        if there not in known:
            known[there] = weigh(design, there)
        found[seed] = known[there]
    return found


def _contrast(
    weights: Mapping[int, Float[np.ndarray, " runs"]],
    correct: Sequence[BySeed],
    clusters: Int[np.ndarray, " images"] | None,
    *,
    clear: bool = True,
) -> Contrast | None:
    if not weights:
        return None
    values = np.stack(
        [
            sum(weight * seeds[seed] for weight, seeds in zip(of_runs, correct, strict=True) if weight != 0)
            for seed, of_runs in weights.items()
        ]
    )
    by_seed = dict(zip(weights, values.mean(axis=1).tolist(), strict=True))
    return Contrast(contrast_effect(values, clusters=clusters), by_seed, clear)


def lenth(effects: Sequence[float] | Float[np.ndarray, " effects"]) -> float:
    """What effects that are chance alone vary by, from effects of which a few are not: Lenth's pseudo standard error.

    Source: Lenth 1989, Technometrics 31:469-473.
    """
    sizes = np.abs(np.asarray(effects, dtype=np.float64))
    first = 1.5 * float(np.median(sizes))
    small = sizes[sizes < 2.5 * first]
    return 1.5 * float(np.median(small)) if len(small) else first


def half_normal_quantiles(n: int) -> Float[np.ndarray, " n"]:
    """Where the n sizes of effects, from small to large, lie on the abscissa of a half-normal plot.

    Effects that are chance alone lie on a line through 0; those that are not lie above its end.
    Source: Daniel 1959, Technometrics 1:311-341.
    """
    return special.ndtri(0.5 + 0.5 * (np.arange(n) + 0.5) / n)
