"""Tables of what measures found, as people see them."""

import math
from collections.abc import Sequence

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
    value, low, high = (round(number, 3) + 0.0 for number in (value, low, high))  # no -0.000
    wide = math.isnan(low) or high - low > WIDEST
    return f"{value:{one}}" + ("" if wide else f" [{low:{one}}, {high:{one}}]")


def _difference(row: pd.Series) -> str:
    return "baseline" if row["is_baseline"] else _share(row["delta"], row["delta_low"], row["delta_high"], sign=True)


VALUE = Column("value [95 %]", lambda row: _share(row["value"], row["low"], row["high"]), priority=1)
DIFFERENCE = Column("difference [95 %]", _difference, priority=1)
RANDOM = Column("random weights", lambda row: _share(row["random"]), priority=2)
UNADJUSTED = (
    "Intervals are for new seeds and new {units}; they are not adjusted for the number of arms, as p is. Those "
    f"wider than {WIDEST:g} are left out."
)
INCOMPETENT = "* names fewer than half of the stimuli whose cues agree: its bias says little."
AGREE = Column("cues agree", lambda row: _share(row["agreeing"]) + ("" if row["competent"] else " *"), priority=2)


def shape_bias(frame: pd.DataFrame) -> Table:
    """Each arm's shape bias, what it leaves out, and what scores without having learnt shapes.

    Args: frame: as `analysis.shape_bias.bias_table`.
    """
    columns = (
        ARM, VALUE, DIFFERENCE, P_HOLM, VERDICT, AGREE, RANDOM,
        Column("colours alone", lambda row: _share(row["colours"]), priority=4),
        Column("always the same", lambda row: _share(row["constant"]), priority=5),
        Column("shape", lambda row: f"{row['shape_hits']:.0f}", priority=3),
        Column("texture", lambda row: f"{row['texture_hits']:.0f}", priority=3),
        Column("neither", lambda row: f"{row['neither']:.0f}", priority=3),
        SEEDS,
    )  # fmt: skip
    notes = (
        "Of the answers that follow one of two conflicting cues, the share that follows shape (Geirhos et al. 2019), on stimuli "
        "made as small as the training images; an answer is one of the categories that they share with the data. Counts are "
        "means over seeds.",
        "Cues agree: accuracy on the stimuli whose two cues agree. Beside each arm what has learnt no shapes: its network with "
        "random weights, a classifier of colour histograms trained on the same images, and a network that always answers the "
        "same.",
        UNADJUSTED.format(units="shapes and textures"),
        "" if frame["competent"].all() else INCOMPETENT,
    )
    return Table("shape_bias", "Shape bias", frame, columns, tuple(filter(None, notes)))


def shape_bias_otherwise(frame: pd.DataFrame) -> Table:
    """The same by other ways of asking.

    Args: frame: as `analysis.shape_bias.bias_table`, with a column way.
    """
    columns = (
        ARM,
        Column("asked", lambda row: str(row["way"]), "left", 0),
        VALUE, DIFFERENCE, P_HOLM, VERDICT, AGREE, RANDOM, SEEDS,
    )  # fmt: skip
    notes = (
        "How stimuli reach a network and among what it chooses decides much of its bias, so these are sensitivities and no "
        "further evidence: p is adjusted within each way.",
        "" if frame["competent"].all() else INCOMPETENT,
    )
    caption = "Shape bias by other ways of asking"
    return Table("shape_bias_otherwise", caption, frame, columns, tuple(filter(None, notes)))


def shape_bias_by_category(frame: pd.DataFrame) -> Table:
    """Each arm's shape bias by the category of the shape.

    Args: frame: as `analysis.measured.shape_bias_by_category`.
    """
    means = frame.groupby(["arm", "shape"], sort=False)["value"].mean().unstack()
    table = means.reset_index()
    shapes = [Column(str(name), lambda row, name=name: _share(row[name])) for name in means.columns]  # type: ignore[misc]
    notes = ("Mean of the seeds whose answers follow either cue.",)
    return Table("shape_bias_by_category", "Shape bias by shape category", table, (ARM, *shapes), notes)


def reliance(frame: pd.DataFrame, left_out: Sequence[str] = ()) -> Table:
    """What each arm keeps under each change.

    Args: frame: as `analysis.reliance.reliance_table`, with a column images. left_out: changes that cannot be made of such
        images.
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
        f"Left out, because such images have nothing that it would take, or cannot be cut so: {', '.join(left_out)}."
        if left_out
        else "",
        UNADJUSTED.format(units="test images"),
    )
    return Table("reliance", "Share of accuracy kept", frame, columns, tuple(filter(None, notes)))


def reliance_by_class(frame: pd.DataFrame) -> Table:
    """The same by class.

    Args: frame: as `analysis.reliance.reliance_by_class`.
    """
    wide = frame.pivot_table(index=["arm", "class"], columns="change", values="value", sort=False).reset_index()
    changes = [
        Column(name, lambda row, name=name: _share(row[name]))  # type: ignore[misc]
        for name in dict.fromkeys(frame["change"])
        if name in wide
    ]
    of_class = Column("class", lambda row: str(row["class"]), "left", 0)
    notes = ("Mean of the seeds that are right on any image of the class.",)
    return Table("reliance_by_class", "Share of accuracy kept, by class", wide, (ARM, of_class, *changes), notes)


TELLING = 4
"""Positions along a side from which a map can tell objects, of a quarter of the image or so, from what is around them."""


def attention(frame: pd.DataFrame) -> Table:
    """How much of each arm's maps lies on objects, beside what random weights and no network score.

    Args: frame: as `analysis.attention.attention_table`.
    """
    columns = (
        ARM,
        Column("measure", lambda row: str(row["measure"]), "left", 0),
        VALUE, RANDOM,
        Column(
            "added by training [95 %]",
            lambda row: _share(row["added"], row["added_low"], row["added_high"], sign=True),
        ),
        DIFFERENCE, P_HOLM, VERDICT,
        Column("blob in the middle", lambda row: _share(row["centre"]), priority=3),
        Column("edges", lambda row: _share(row["edges"]), priority=3),
        Column(
            "added at its own resolution [95 %]",
            lambda row: _share(row["own_added"], row["own_added_low"], row["own_added_high"], sign=True),
            priority=2,
        ),
        Column("own map", lambda row: f"{row['own_resolution']}x{row['own_resolution']}", priority=4),
        Column("empty maps", lambda row: "" if math.isnan(row["empty"]) else f"{row['empty']:.0%}", priority=5),
        SEEDS,
    )  # fmt: skip
    size = int(frame["resolution"].iloc[0])
    compared = (
        "Arms are compared by what training added, the value less that of the same network with random weights"
        if (frame["compared"] == "added").all()
        else "Arms are compared by their values, since not all have been asked with random weights"
    )
    notes = (
        "Lift: a map's share inside the object's outline less the outline's share of the image. Specificity: lift less the mean "
        "lift on other images' objects. Random weights, a blob in the middle and each image's edges score, too, so a value is "
        f"to be read against them and not against 0. {compared}. All maps at {size}x{size} positions, the coarsest of all "
        "arms', but for what training added at the arm's own resolution."
        + (
            f" At {size}x{size} positions little of an object can be told from what is around it."
            if size < TELLING
            else ""
        ),
        UNADJUSTED.format(units="objects and textures"),
    )
    return Table("attention", "Where networks look", frame, columns, notes)


def composites(frame: pd.DataFrame) -> Table:
    """What arms answer to objects on other classes' backgrounds, and where they look when they are wrong.

    Args: frame: as `analysis.attention.composite_table`.
    """

    def share(kind: str) -> Column:
        return Column(kind, lambda row: "" if math.isnan(row[kind]) else f"{100 * row[kind]:.0f} %", priority=2)

    def less(name: str, header: str) -> Column:
        one, low, high = (f"{name}{end}" for end in ("_value", "_low", "_high"))
        return Column(f"{header} [95 %]", lambda row: _share(row[one], row[low], row[high], sign=True))

    columns = (
        ARM,
        less("background", "right less background"), less("wrong", "right less wrong"),
        share("right"), share("background"), share("other"),
        Column("lift, right", lambda row: _share(row["lift_right"]), priority=3),
        Column("lift, background", lambda row: _share(row["lift_background"]), priority=3),
        Column("lift, other", lambda row: _share(row["lift_other"]), priority=3),
        RANDOM,
        Column("blob in the middle", lambda row: _share(row["centre"]), priority=4),
        SEEDS,
    )  # fmt: skip
    notes = (
        "Objects cut out of stimuli, on test images of other classes. An answer is right (the object's class), the background's "
        "class, or another; its lift is that of the map that explains it. Differences are of lift at equal confidence of the "
        "answers: above 0, the network looks less at the object when it is wrong so. Intervals are for new seeds, objects and "
        f"backgrounds; those wider than {WIDEST:g} are left out. Random weights: mean lift of all answers of the same network "
        "before training.",
    )
    return Table("composites", "Errors and where networks look", frame, columns, notes)
