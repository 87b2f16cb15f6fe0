"""Every two arms of a study against each other: a family of tests of its own.

Who compares all arms with all asks many more questions than whoever compares them with the baseline, and pays for that: the
correction is over all pairs, those with the baseline among them. So a difference that the table of effects calls
significant need not be so here.
"""

import math
from itertools import combinations

import pandas as pd

from analysis.effects import effect_of
from analysis.outcomes import Outcomes
from analysis.statistics import holm, holm_levels, paying_for_looks

MOST_ARMS = 30
"""Of 435 pairs; more would neither be read nor find anything."""
COLUMNS = ("arm", "minus", "delta", "low", "high", "level", "p_value", "adjusted_p", "paired_seeds")


def pair_table(outcomes: Outcomes) -> pd.DataFrame:
    """One row for every two arms that share a finished seed; none where there are fewer than three arms, or more than 30.

    Columns: arm, minus (the other arm: the baseline, or the one that comes first in the grid), delta (accuracy of the first
    less that of the second over the seeds that both have, 0 to 1), low, high (its interval), level (of the interval: it leaves
    out 0 exactly where adjusted_p is below 0.05), p_value, adjusted_p (Holm over all rows, times the number of looks),
    paired_seeds.

    Planned looks (see `analysis.looks`) are for comparisons with the baseline, so that pairs pay for each of them.
    """
    plan = outcomes.study.looks
    looks = outcomes.looks + (0 if plan is None else len(plan.seeds) - 1)
    rows = []
    for minus, arm in combinations(outcomes.arms, 2) if 3 <= len(outcomes.arms) <= MOST_ARMS else ():
        if arm.is_baseline:
            arm, minus = minus, arm
        effect = effect_of(outcomes, arm.name, minus.name)
        if effect is not None:
            rows.append((arm.name, minus.name, effect))
    paid = paying_for_looks([effect.p_value for *_, effect in rows], looks)
    levels, adjusted = 1 - holm_levels(paid) / looks, holm(paid)
    return pd.DataFrame(
        [
            (
                *(arm, minus, effect.delta),
                *((math.nan, math.nan) if effect.reason else effect.interval(level)),
                *(level, effect.p_value, p, effect.n_seeds),
            )
            for (arm, minus, effect), level, p in zip(rows, levels.tolist(), adjusted.tolist(), strict=True)
        ],
        columns=list(COLUMNS),
    )
