"""Moderated variances: what the other arms say about how much an arm varies from seed to seed.

With three seeds an arm's own variance has two degrees of freedom, and the quantile of its 95 % interval is 4.3. If true
variances s^2 of arms follow a scaled inverse chi-square of d0 degrees of freedom around s0^2, the posterior mean of 1 / s^2 is
1 / m^2 with

    m^2 = (d0 s0^2 + d s^2) / (d0 + d)

and the t statistic that has m in the place of s has d0 + d degrees of freedom. d0 and s0^2 are estimated from all other
arms by the mean and the variance of log s^2.

What limits it: it is valid where variances differ as much from arm to arm as the others show, so an arm that is noisier
than all others gets an interval that is too narrow. Hence d0 is never more than 4, and nothing is borrowed from fewer than
7 variances. The images' part of the interval and its floor stay what they are (see `analysis.statistics`).
`experiments/simulate_sequential.py` measures what that covers.

Source: Smyth 2004, Statistical Applications in Genetics and Molecular Biology 3(1), article 3, section 6.2 (limma).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import special, stats

from analysis.statistics import SIGNIFICANT, PairedEffect, holm, tested

MOST_PRIOR_DF = 4.0
LEAST_OTHERS = 7
SMALLEST = 1e-5
"""Of the median: variances below it count as that much, for their logarithm would outweigh all others (as in limma)."""


@dataclass(frozen=True)
class Prior:
    """What variances are known to be before an arm's own are seen."""

    df: float | Float[np.ndarray, "*any"]
    """How alike they are, in degrees of freedom: 0 where nothing is known, infinite where all are equal."""
    variance: float | Float[np.ndarray, "*any"]
    """Around which they lie."""

    def capped(self) -> "Prior":
        return Prior(np.minimum(self.df, MOST_PRIOR_DF), self.variance)


def prior(variances: Float[np.ndarray, "*any others"], df: Float[np.ndarray, "*any others"]) -> Prior:
    """Estimated from variances with their degrees of freedom, along the last axis."""
    least = SMALLEST * np.median(variances, axis=-1, keepdims=True)
    e = np.log(np.maximum(variances, least)) - special.digamma(df / 2) + np.log(df / 2)
    mean = e.mean(axis=-1)
    spread = e.var(axis=-1, ddof=1) - special.polygamma(1, df / 2).mean(axis=-1)
    varies = spread > 0
    half = trigamma_inverse(np.where(varies, spread, 1.0))
    return Prior(
        np.where(varies, 2 * half, np.inf),
        np.exp(mean + np.where(varies, special.digamma(half) - np.log(half), 0.0)),
    )


def trigamma_inverse(x: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Y with trigamma(y) = x > 0, by Newton's method on 1 / trigamma, which is convex and nearly linear.

    Source: Smyth 2004, appendix.
    """
    y = 0.5 + 1 / x
    for _ in range(50):
        trigamma = special.polygamma(1, y)
        step = trigamma * (1 - trigamma / x) / special.polygamma(2, y)
        y = y + step
        if np.max(-step / y) < 1e-12:
            break
    return y


def moderated(
    variances: Float[np.ndarray, "*any arms"], df: Float[np.ndarray, "*any arms"]
) -> tuple[Float[np.ndarray, "*any arms"], Float[np.ndarray, "*any arms"]]:
    """Each arm's variance, shrunk by the prior of all others, and the prior's degrees of freedom (at most 4).

    Unchanged, with 0 degrees of freedom, where an arm has fewer than 7 others.
    """
    arms = variances.shape[-1]
    if arms <= LEAST_OTHERS:
        return variances, np.zeros_like(variances)
    known = prior(*(_others(values) for values in (variances, df))).capped()
    return (known.df * known.variance + df * variances) / (known.df + df), np.asarray(known.df)


def _others(values: Float[np.ndarray, "*any arms"]) -> Float[np.ndarray, "*any arms others"]:
    """For each arm the values of all others."""
    arms = values.shape[-1]
    places = np.array([[other for other in range(arms) if other != arm] for arm in range(arms)])
    return values[..., places]


def moderate(effects: Sequence[PairedEffect]) -> list[PairedEffect]:
    """The same effects with variances, intervals and p-values that borrow from one another.

    Effects without an interval stay as they are, and so do all where fewer than 8 have one.
    """
    with_interval = [effect for effect in effects if not effect.reason]
    if not with_interval:
        return list(effects)
    own = np.array([effect.seed_variance for effect in with_interval])
    variances, prior_df = moderated(own, np.array([effect.degrees_of_freedom for effect in with_interval]))
    shrunk = iter(zip(variances.tolist(), prior_df.tolist(), strict=True))
    return [effect if effect.reason else _with_variance(effect, *next(shrunk)) for effect in effects]


def _with_variance(effect: PairedEffect, variance: float, prior_df: float) -> PairedEffect:
    return tested(replace(effect, seed_variance=variance, prior_df=prior_df))


def stands_out(effects: Sequence[PairedEffect]) -> Bool[np.ndarray, " effects"]:
    """Which arms vary more from seed to seed than all others together let expect (5 %, Holm over the arms).

    The interval of such an arm should be its own and not a moderated one.
    """
    found = np.zeros(len(effects), dtype=bool)
    tests = [place for place, effect in enumerate(effects) if not effect.reason]
    if len(tests) <= LEAST_OTHERS:
        return found
    variances = np.array([effects[place].seed_variance for place in tests])
    found[tests] = standing_out(variances, np.array([effects[place].degrees_of_freedom for place in tests]))
    return found


def standing_out(variances: Float[np.ndarray, " arms"], df: Float[np.ndarray, " arms"]) -> Bool[np.ndarray, " arms"]:
    """As `stands_out`, of more than 7 variances with their degrees of freedom."""
    return holm(as_large(variances, df)) < SIGNIFICANT


def as_large(variances: Float[np.ndarray, " arms"], df: Float[np.ndarray, " arms"]) -> Float[np.ndarray, " arms"]:
    """How likely each of more than 7 variances would be as large as it is, if it were as the others are."""
    known = prior(_others(variances), _others(df))
    # F with infinitely many degrees of freedom below is a chi-square over its own.
    return np.asarray(stats.f.sf(variances / known.variance, df, np.minimum(known.df, 1e9)))
