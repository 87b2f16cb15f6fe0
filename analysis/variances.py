"""How much arms vary from seed to seed, and what an arm's interval would be if it borrowed from the others' variances."""

import math

import pandas as pd

from analysis.effects import own_effects
from analysis.moderation import LEAST_OTHERS, moderate, stands_out
from analysis.outcomes import Outcomes

COLUMNS = (
    *("arm", "paired_seeds", "delta", "seed_sd", "low", "high", "p_value"),
    *("moderated_sd", "moderated_low", "moderated_high", "moderated_p_value", "stands_out"),
)


def variance_table(outcomes: Outcomes) -> pd.DataFrame:
    """One row an arm that has an interval; none where too few have one for variances to borrow from each other.

    Columns: arm, paired_seeds, delta; seed_sd (of one seed's difference to the baseline, 0 to 1), low, high, p_value with the
    variance of its own; moderated_sd, moderated_low, moderated_high, moderated_p_value with one that borrows from the other
    arms' (`analysis.moderation`); stands_out (whether it varies more than the others let expect). Intervals and p-values are
    of each arm by itself, of 95 % or the level of its planned look.
    """
    effects = own_effects(outcomes)
    if len(effects) <= LEAST_OTHERS:
        return pd.DataFrame(columns=list(COLUMNS))
    own = list(effects.values())
    rows = [
        (
            *(
                arm,
                effect.n_seeds,
                effect.delta,
                math.sqrt(effect.seed_variance),
                effect.low,
                effect.high,
                effect.p_value,
            ),
            *(math.sqrt(shrunk.seed_variance), shrunk.low, shrunk.high, shrunk.p_value, bool(out)),
        )
        for (arm, effect), shrunk, out in zip(effects.items(), moderate(own), stands_out(own), strict=True)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
