"""Tables of a reproduction, as people see them."""

import math

import pandas as pd

from analysis.effects import points
from analysis.metric import ACCURACY
from analysis.render import Column, Table

CLASS = Column("class", lambda row: str(row["class"]), "left", 0)
NAMES = {"recall": "recall", "precision": "precision", "f1": "F1"}


def _percent(value: float) -> str:
    return "" if math.isnan(value) else f"{100 * value:.1f}"


def accuracy(frame: pd.DataFrame) -> Table:
    """The documented accuracy and those measured here.

    Args: frame: as `analysis.reproduction.accuracy_table`.
    """
    columns = (
        Column("", lambda row: str(row["who"]), "left", 0),
        Column("arithmetic", lambda row: str(row["precision"]), "left", 2),
        Column("seeds", lambda row: str(row["seeds"]), priority=2),
        Column("test %", lambda row: points(row["value"]), priority=0),
        Column("SD", lambda row: points(row["sd"]), priority=2),
        Column("interval", lambda row: ACCURACY.interval(row["low"], row["high"]), priority=1),
        Column("of what", lambda row: str(row["interval"]), "left", 3),
    )
    notes = (
        "The document's interval is that of its test set alone (Wilson): one run says nothing about other seeds. "
        "Ours is where one new seed is expected on the same test images: mean ± t SD √(1 + 1/S) (Hahn and Meeker "
        "1991).",
    )
    return Table("reproduction", "Test accuracy, documented and measured", frame, columns, notes)


def classes(frame: pd.DataFrame) -> Table:
    """Recall, precision and F1 of each class, documented and measured.

    Args: frame: as `analysis.reproduction.class_comparison`.
    """
    columns = (
        CLASS,
        Column("measure", lambda row: NAMES[row["measure"]], "left", 0),
        Column("documented", lambda row: _percent(row["documented"]), priority=0),
        Column("its interval", lambda row: _tenths(row["documented_low"], row["documented_high"]), priority=2),
        Column("mean here", lambda row: _percent(row["mean"]), priority=0),
        Column("one new seed", lambda row: _tenths(row["low"], row["high"]), priority=2),
        Column("difference", lambda row: "" if math.isnan(row["difference"]) else f"{100 * row['difference']:+.1f}"),
        Column("", lambda row: "beyond both" if row["beyond"] else "", "left", 1),
    )
    notes = (
        "Percent. Beyond both: the documented value lies outside of the 95 % interval for one new seed, and our mean "
        "outside of the documented value's own 95 % interval (other test images, and its rounding). Thirty "
        "comparisons are made, each at its own level, so that one or two are expected to stand out by chance.",
    )
    return Table("reproduction-classes", "Each class, documented and measured", frame, columns, notes)


def _tenths(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"[{100 * low:.1f}, {100 * high:.1f}]"


def ranks(frame: pd.DataFrame) -> Table:
    """How alike the classes are ranked.

    Args: frame: as `analysis.reproduction.class_ranks`.
    """

    def number(name: str) -> Column:
        heads = {
            "correlation": "with our mean",
            "least": "least seed",
            "greatest": "greatest seed",
            "between_seeds": "two seeds",
        }
        return Column(heads[name], lambda row: "" if math.isnan(row[name]) else f"{row[name]:.2f}")

    columns = (
        Column("measure", lambda row: NAMES[row["measure"]], "left", 0),
        *(number(name) for name in ("correlation", "least", "greatest", "between_seeds")),
        Column("seeds", lambda row: str(row["seeds"]), priority=2),
    )
    notes = (
        "Spearman's correlation over classes of the documented values with our mean over seeds, and with single "
        "seeds. Two seeds: the mean over pairs of our own, which is what two runs of one recipe reach.",
    )
    return Table("reproduction-ranks", "Ranks of the classes, documented and measured", frame, columns, notes)


def checks(frame: pd.DataFrame) -> Table:
    """The document against itself.

    Args: frame: as `analysis.documented.self_checks`.
    """
    columns = (
        Column("check", lambda row: str(row["check"]), "left", 0),
        Column("agrees", lambda row: "yes" if row["agrees"] else "no", priority=0),
        Column("", lambda row: str(row["sentence"]), "left", 1),
    )
    notes = ("A rounded number stands for all that round to it; what is computed from such numbers is a range.",)
    return Table("reproduction-document", "The document against its own numbers", frame, columns, notes)


def confusion(frame: pd.DataFrame) -> Table:
    """Answers by class, in percent.

    Args: frame: as `analysis.reproduction.confusion_table`.
    """
    names = list(frame.columns)
    columns = (
        Column("class", lambda row: str(row["class"]), "left", 0),
        *(Column(str(name), lambda row, name=name: f"{100 * row[name]:.1f}") for name in names),  # type: ignore[misc]
    )
    notes = (
        "Of each class's test images (rows), the share that is answered as each class (columns), in percent, mean over seeds.",
    )
    shown = frame.rename_axis("class").reset_index()
    return Table("reproduction-confusion", "Answers by class", shown, columns, notes)
