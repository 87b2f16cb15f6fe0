"""The verdicts as rows: an arm's name, its difference as a number, and its interval drawn on a scale that all rows share."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.ticker import MaxNLocator

from ablations.units import counted
from analysis.effects import also_moved
from analysis.metric import ACCURACY, Metric

FARTHEST = 4
"""The scale ends at so many times the largest difference (or margin): an interval that goes on ends in an arrow."""
SEVERAL = 8
"""So many arms that are not settled are told one by one; of more, all are folded away."""
NAMED = 5
"""So many arms of one verdict are named in a sentence."""

PHRASES = {
    "better": "better",
    "worse": "worse",
    "equivalent": "equivalent within the margin",
    "inconclusive": "inconclusive",
    "no interval": "without an interval",
    "": "without a finished pair of cells",
}
"""What the answer says of each verdict, in its order."""
NOT_ESTIMATED = {**PHRASES, "": "not to be told from the others"}
"""The same of factors of a design."""


@dataclass(frozen=True)
class Scale:
    """Differences on a line, of accuracies 0 to 1: a place is in percent of its length."""

    low: float
    high: float
    margin: float
    metric: Metric = ACCURACY

    def place(self, difference: float) -> float:
        """Within the line, whatever the difference."""
        within = min(max(difference, self.low), self.high)
        return round(100 * (within - self.low) / (self.high - self.low), 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places with their labels, in percentage points or the metric's unit."""
        scale = self.metric.scale
        low, high = scale * self.low, scale * self.high
        inside = [step for step in MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= step <= high]
        zero = 1e-9 * (high - low)
        return [(self.place(step / scale), "0" if abs(step) < zero else f"{step:+g}") for step in inside]


@dataclass(frozen=True)
class VerdictRow:
    """An arm that is compared with the baseline."""

    arm: str
    kind: str
    """The verdict; empty where there is no pair of cells."""
    number: str
    """The difference in percentage points or the metric's unit; empty where there is none."""
    interval: str
    """In brackets, or why there is none."""
    mean: float
    """The difference, of accuracies 0 to 1."""
    ends: tuple[float, float] | None
    """Of the interval, where it is drawn."""
    moved: str
    """What else the arm changes."""
    remark: str


@dataclass(frozen=True)
class Answer:
    """Of one verdict, its arms, for the sentence that answers the question."""

    phrase: str
    arms: Sequence[str]
    """Those that are named."""
    others: int
    """How many are not."""


def answers(effects: pd.DataFrame, phrases: Mapping[str, str] = PHRASES) -> list[Answer]:
    """The verdicts that arms have, with the arms.

    Args: effects: as `analysis.effects.effect_table`, or `analysis.screening_effects.ScreeningTables.main`. phrases: what is
        said of each verdict.
    """
    others = effects[~effects["is_baseline"]]
    found = [(phrase, others.loc[others["verdict"] == kind, "arm"].tolist()) for kind, phrase in phrases.items()]
    return [
        Answer(
            phrase, arms[:NAMED] if len(arms) > NAMED + 1 else arms, len(arms) - NAMED if len(arms) > NAMED + 1 else 0
        )
        for phrase, arms in found
        if arms
    ]


def verdict_rows(effects: pd.DataFrame, metric: Metric = ACCURACY) -> list[VerdictRow]:
    """The arms beside the baseline, in the grid's order.

    Args: effects: as in `answers`. metric: that they are compared by.
    """
    return [_row(row, metric) for _, row in effects[~effects["is_baseline"]].iterrows()]


def _row(row: pd.Series, metric: Metric) -> VerdictRow:
    low, high = float(row["shown_low"]), float(row["shown_high"])
    drawn = not math.isnan(low) and high - low <= metric.widest
    seeds = counted(row["paired_seeds"], "seed") if row["paired"] else "not paired"
    if math.isnan(row["delta"]):
        interval = "not estimated" if row["remark"] else "no finished pair of cells"
    elif math.isnan(low):
        interval = f"{counted(row['paired_seeds'], 'seed')}: no interval"
    else:
        interval = f"{metric.interval(low, high, sign=True)}, {seeds}"
    remark = "" if row["remark"] == "one seed: no interval" else str(row["remark"])
    return VerdictRow(
        arm=str(row["arm"]),
        kind=str(row["verdict"]),
        number=metric.number(row["delta"], sign=True),
        interval=interval,
        mean=float(row["delta"]),
        ends=(low, high) if drawn else None,
        moved=", ".join(also_moved({str(name): value for name, value in row.items()})) if "parameters" in row else "",
        remark=remark[:1].upper() + remark[1:],
    )


def scale(rows: Sequence[VerdictRow], margin: float, metric: Metric = ACCURACY) -> Scale:
    """On which the rows are drawn: 0 and the margin are within it, and the intervals as far as they say something."""
    means = [row.mean for row in rows if not math.isnan(row.mean)]
    ends = [end for row in rows if row.ends for end in row.ends]
    farthest = FARTHEST * max([margin, *map(abs, means)])
    values = [0.0, *means, *(min(max(end, -farthest), farthest) for end in ends), -margin, margin]
    room = 0.04 * (max(values) - min(values)) or 1.0  # where nothing differs, and no margin is given
    return Scale(min(values) - room, max(values) + room, margin, metric)
