"""How many further seeds would settle what a study has left open.

A number that is right for the estimated effect and variances would settle about half of such studies: the further seeds
may bring the estimate nearer to 0, or a larger variance. So the plan is a prediction: given what was seen, what would the
study show with m further seeds? The recipe's own variance is drawn from what the estimate leaves open (a scaled inverse
chi-square), the difference on these test images around the one seen (a flat prior), and then the further seeds. The
number named for 80 % settles 80 % of the studies so drawn.

Source: O'Hagan, Stevens and Campbell 2005, Pharmaceutical Statistics 4:187-201 (assurance).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float
from scipy import special

from analysis.statistics import PairedEffect, Parts, half_width, within_margin

MOST_SEEDS = 30
"""Further seeds of one arm; nobody plans more."""
DRAWS = 1_000
LIKELY = 0.8


@dataclass(frozen=True)
class Thresholds:
    """What it takes to settle an arm."""

    alpha: float
    """Of the test that tells the arm from the baseline, after correction for the number of arms."""
    equivalence_alpha: float
    """Of the two one-sided tests, after correction."""
    margin: float
    """Differences within it are equivalent; 0 to 1."""


@dataclass(frozen=True)
class FurtherSeeds:
    """Numbers of further seeds; None: more than `MOST_SEEDS`."""

    even: int | None
    """That settle it with an even chance."""
    likely: int | None
    """That settle it with a chance of 80 %."""


def further_seeds(effect: PairedEffect, thresholds: Thresholds) -> FurtherSeeds:
    """How many seeds to add to an effect that is not settled; at least two seeds."""
    chances = chances_of_settling(effect, thresholds)

    def first(chance: float) -> int | None:
        enough = np.flatnonzero(chances >= chance)
        return int(enough[0]) + 1 if len(enough) else None

    return FurtherSeeds(first(0.5), first(LIKELY))


def chances_of_settling(effect: PairedEffect, thresholds: Thresholds) -> Float[np.ndarray, " further"]:
    """For 1, 2, ... `MOST_SEEDS` further seeds (see the module)."""
    had, more = effect.n_seeds, np.arange(1, MOST_SEEDS + 1)[:, None]
    total = had + more
    normal, chi_square = _draws()
    own = effect.degrees_of_freedom / (2 * special.gammaincinv(effect.degrees_of_freedom / 2, chi_square[0]))
    true_variance = np.maximum(effect.seed_variance * own, effect.rest_variance)
    on_these_images = effect.delta + normal[0] * np.sqrt(true_variance / had)
    new_mean = on_these_images + normal[1] * np.sqrt(true_variance / more)
    delta = (had * effect.delta + more * new_mean) / total
    squares = (
        effect.degrees_of_freedom * effect.seed_variance
        + true_variance * _chi_square_quantiles()
        + had * more / total * (new_mean - effect.delta) ** 2
    )
    seed_df = effect.degrees_of_freedom + more
    seed, rest = squares / seed_df / total, np.broadcast_to(effect.rest_variance / total, delta.shape)
    parts = Parts(seed, np.full_like(delta, effect.image_variance), rest, seed_df, effect.image_df)
    return np.mean(_settled(delta, parts, thresholds, effect.step), axis=1)


def can_be_settled(effect: PairedEffect, thresholds: Thresholds) -> bool:
    """Whether an endless number of seeds would settle an effect of the estimated size on these test images."""
    nothing = np.array(0.0)
    parts = Parts(nothing, np.array(effect.image_variance), nothing, 1e9, effect.image_df)
    return bool(_settled(np.array(effect.delta), parts, thresholds, effect.step))


def image_half_width(effect: PairedEffect) -> float:
    """Half of the 95 % interval that an endless number of seeds would leave."""
    nothing = np.array(0.0)
    return float(half_width(Parts(nothing, np.array(effect.image_variance), nothing, 1e9, effect.image_df), level=0.95))


def _settled(delta: np.ndarray, parts: Parts, thresholds: Thresholds, step: float) -> np.ndarray:
    differs = np.abs(delta) > half_width(parts, level=1 - thresholds.alpha)
    return differs | within_margin(delta, parts, thresholds.margin, alpha=thresholds.equivalence_alpha, step=step)


@cache
def _draws() -> tuple[Float[np.ndarray, "2 draws"], Float[np.ndarray, "2 draws"]]:
    """Standard normal and uniform numbers, the same for every plan."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, DRAWS)), rng.random((2, DRAWS))


@cache
def _chi_square_quantiles() -> Float[np.ndarray, "further draws"]:
    """Of further - 1 degrees of freedom: the squares of further seeds around their mean, at variance 1."""
    uniform = _draws()[1][1]
    return np.stack(
        [2 * special.gammaincinv((n - 1) / 2, uniform) if n > 1 else 0 * uniform for n in range(1, MOST_SEEDS + 1)]
    )
