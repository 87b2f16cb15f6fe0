"""Tables of what measures found, as people see them."""

import math

import pandas as pd

from analysis.effects import probability
from analysis.metric import WIDEST
from analysis.render import Column, Table

ARM = Column("arm", lambda row: str(row["arm"]), "left", 0)
SEEDS = Column("seeds", lambda row: str(row["seeds"]), priority=4)
VERDICT = Column("verdict", lambda row: str(row["verdict"]), priority=1)
P_HOLM = Column("p Holm", lambda row: probability(row["adjusted_p"]), priority=2)


def _share(value: float, low: float = math.nan, high: float = math.nan, *, sign: bool = False) -> str:
    if math.isnan(value):
        return ""
    one = "+.3f" if sign else ".3f"
    wide = math.isnan(low) or high - low > WIDEST
    return f"{value:{one}}" + ("" if wide else f" [{low:{one}}, {high:{one}}]")


def _difference(row: pd.Series) -> str:
    return "baseline" if row["is_baseline"] else _share(row["delta"], row["delta_low"], row["delta_high"], sign=True)


VALUE = Column("value [95 %]", lambda row: _share(row["value"], row["low"], row["high"]), priority=1)
DIFFERENCE = Column("difference [95 %]", _difference, priority=1)
UNADJUSTED = (
    "Intervals are for new seeds and new {units}; they are not adjusted for the number of arms, as p is. Those "
    f"wider than {WIDEST:g} are left out."
)


def shape_bias(frame: pd.DataFrame) -> Table:
    """Each arm's shape bias and what it leaves out.

    Args: frame: as `analysis.shape_bias.bias_table`.
    """
    columns = (
        ARM, VALUE, DIFFERENCE, P_HOLM, VERDICT,
        Column("shape", lambda row: f"{row['shape_hits']:.0f}", priority=3),
        Column("texture", lambda row: f"{row['texture_hits']:.0f}", priority=3),
        Column("neither", lambda row: f"{row['neither']:.0f}", priority=3),
        Column("cues agree", lambda row: _share(row["agreeing"]) + ("" if row["competent"] else " *"), priority=2),
        SEEDS,
    )  # fmt: skip
    notes = (
        "Of the answers that follow one of two conflicting cues, the share that follows shape (Geirhos et al. 2019), on stimuli "
        "made as small as the training images; an answer is one of the categories that they share with the data. A network that "
        "always answers the same has 0.5. Counts are means over seeds.",
        UNADJUSTED.format(units="shapes and textures"),
        "* names fewer than half of the stimuli whose cues agree: its bias says little."
        if not frame["competent"].all()
        else "",
    )
    return Table("shape_bias", "Shape bias", frame, columns, tuple(filter(None, notes)))


def reliance(frame: pd.DataFrame) -> Table:
    """What each arm keeps under each change.

    Args: frame: as `analysis.reliance.reliance_table`, with a column images.
    """
    columns = (
        ARM,
        Column("change", lambda row: str(row["change"]), "left", 0),
        VALUE,
        DIFFERENCE,
        P_HOLM,
        VERDICT,
        SEEDS,
    )
    notes = (
        f"Accuracy on changed test images over accuracy on the same {frame['images'].max():,} images unchanged. p is adjusted "
        "for all rows.",
        UNADJUSTED.format(units="test images"),
    )
    return Table("reliance", "Share of accuracy kept", frame, columns, notes)


def attention(frame: pd.DataFrame) -> Table:
    """How much of each arm's maps lies on objects.

    Args: frame: as `analysis.attention.attention_table`.
    """
    columns = (
        ARM,
        Column("measure", lambda row: str(row["measure"]), "left", 0),
        VALUE, DIFFERENCE, P_HOLM, VERDICT,
        Column("blob in the middle", lambda row: _share(row["centre"]), priority=3),
        Column("edges", lambda row: _share(row["edges"]), priority=3),
        Column("own map", lambda row: f"{row['own_resolution']}x{row['own_resolution']}", priority=4),
        Column("empty maps", lambda row: f"{row['empty']:.0%}", priority=5),
        SEEDS,
    )  # fmt: skip
    size = int(frame["resolution"].iloc[0])
    notes = (
        "Lift: a map's share inside the object's outline less the outline's share of the image. Specificity: lift less the mean "
        "lift on other images' objects. Beside them what a blob in the middle and each image's edges score without any network; "
        f"random weights have some lift, too. All maps at {size}x{size} positions, the coarsest of all arms'.",
        UNADJUSTED.format(units="objects and textures"),
    )
    return Table("attention", "Where networks look", frame, columns, notes)
