"""What may be said about an arm, and if it is not enough, what would settle it."""

from dataclasses import dataclass
from typing import Literal

from ablations.units import counted
from analysis.metric import ACCURACY, Metric
from analysis.planning import MOST_SEEDS, Thresholds, can_be_settled, further_seeds, image_half_width
from analysis.statistics import SIGNIFICANT, PairedEffect

Claim = Literal["better", "worse", "equivalent"]
MARGIN = ACCURACY.margin
"""Accuracies within one percentage point count as equivalent unless the caller says otherwise."""


@dataclass(frozen=True)
class Verdict:
    """What may be said about an arm."""

    kind: Claim | Literal["inconclusive", "no interval"]
    further_seeds: int | None
    """To be added until it is settled with a chance of 80 %; None: settled, or out of reach."""
    remark: str
    """Why it is no more than that, or what would settle it; empty where the interval says it all."""


def verdict(
    effect: PairedEffect,
    *,
    adjusted_p: float,
    adjusted_equivalence_p: float | None = None,
    margin: float = MARGIN,
    metric: Metric = ACCURACY,
    diverged: int = 0,
    baseline_diverged: int = 0,
) -> Verdict:
    """Better or worse by the adjusted p-value; else equivalent by two one-sided tests; else what would settle it.

    Where seeds diverged, those that are left are the luckier ones: an arm that lost some is never better or equivalent,
    and where the baseline did, no arm is worse or equivalent.

    Args: adjusted_p, adjusted_equivalence_p: see `statistics.holm`, of `p_value` and `equivalence_p`; where the second is
        left out, the arm is taken to be the only one. margin: largest difference that does not matter; 0: every one matters.
        metric: what differs, of which less may be better. diverged, baseline_diverged: how many seeds of the arm and of the
        baseline.
    """
    if effect.reason:
        return Verdict("no interval", None, effect.reason)
    equivalence_p = effect.equivalence_p(margin)
    adjusted_equivalence_p = equivalence_p if adjusted_equivalence_p is None else adjusted_equivalence_p
    low, high = effect.interval(0.9)
    inside = -margin < low and high < margin
    within = f"within the margin of {metric.amount(margin)}" if inside else ""
    significant = adjusted_p < SIGNIFICANT
    if not significant and not adjusted_equivalence_p < SIGNIFICANT:
        thresholds = Thresholds(
            _corrected(effect.p_value, adjusted_p), _corrected(equivalence_p, adjusted_equivalence_p), margin
        )
        return _open(effect, thresholds, metric)
    ahead = (effect.delta < 0) if metric.lower_is_better else (effect.delta > 0)
    claim: Claim = ("better" if ahead else "worse") if significant else "equivalent"
    lost = counted(diverged, "seed") if diverged and claim != "worse" else ""
    if not lost and baseline_diverged and claim != "better":
        lost = f"{counted(baseline_diverged, 'seed')} of the baseline"
    if lost:
        return Verdict("inconclusive", None, f"{lost} diverged, and the others alone do not make it {claim}")
    if claim == "equivalent":
        return Verdict(claim, None, f"90 % interval {metric.interval(low, high, sign=True)} {within}")
    return Verdict(claim, None, within)


def _corrected(p: float, adjusted: float) -> float:
    """The level that this arm's p-value must stay below.

    Holm multiplies it by a factor that depends on the other arms; it is taken to stay what it is now (less than it is where
    the adjusted p-value was cut off at 1).
    """
    return SIGNIFICANT * min(p / adjusted, 1) if adjusted > 0 else SIGNIFICANT


def _open(effect: PairedEffect, thresholds: Thresholds, metric: Metric) -> Verdict:
    """What would settle what is not settled."""
    if effect.n_images and not can_be_settled(effect, thresholds):
        images = f"{effect.n_images:,} {'clusters of images' if effect.clustered else 'images'}"
        left = image_half_width(effect)
        if abs(effect.delta) + left < thresholds.margin:
            of_margin = f"{thresholds.margin * effect.n_images:.3g}"
            remark = f"cannot be settled on this test set, of whose {images} the margin is {of_margin}"
        else:
            remark = (
                f"cannot be settled on this test set, whose {images} leave ±{metric.number(left)} points however many seeds "
                "are trained"
            )
        return Verdict("inconclusive", None, remark)
    seeds = further_seeds(effect, thresholds)
    if seeds.even is None:
        remark = f"more than {MOST_SEEDS} further seeds would be needed to settle it"
        return Verdict("inconclusive", None, remark)
    if seeds.likely is None:
        remark = f"{seeds.even} to more than {MOST_SEEDS} further seeds would settle it (an even chance to 80 %)"
        return Verdict("inconclusive", None, remark)
    if seeds.likely == seeds.even:
        remark = f"{counted(seeds.likely, 'further seed')} would settle it (a chance of 80 %)"
    else:
        remark = f"{seeds.even} to {seeds.likely} further seeds would settle it (an even chance to 80 %)"
    return Verdict("inconclusive", seeds.likely, remark)
