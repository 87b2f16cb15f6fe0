"""The documented study's numbers, as it published them; how sure one run on 10,000 images makes them; and whether they agree
with one another.

The numbers and their source stand in one file of this package, `published/documented-study.json`. A published number that
is rounded stands for all numbers that round to it, and what is computed from such numbers is a range.

The interval of a proportion is Wilson's (Wilson 1927, J. American Statistical Association 22:209-212). It is that of the test set
alone: how far the number would move on other 10,000 images with the same trained network. What another seed would
have moved is not in it, and one run cannot tell. F1 has one, too: of tp images that are of a class and predicted as it, among n
that are either, F1 = 2 tp / (n + tp), which rises with the proportion tp / n.
"""

from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd
from scipy import stats

from analysis.statistics import SIGNIFICANT
from cnnkit.spec import Stored

FILE = "published/documented-study.json"
CLASS_COLUMNS = ("class", "measure", "value", "low", "high", "rounded_low", "rounded_high")
CHECK_COLUMNS = ("check", "stated", "low", "high", "agrees", "sentence")


class Averages(Stored):
    """Means over the classes, rounded."""

    precision: float
    recall: float
    f1: float


class ClassRow(Averages):
    """What the document says of a class."""

    support: int
    """Its test images."""


class Sizes(Stored):
    """Something for each part of the data."""

    train: float
    validation: float
    test: float


class Documented(Stored):
    """What the documented study published."""

    title: str
    source: str
    test_accuracy: float
    """0 to 1."""
    table_decimals: int
    """To which the table of classes is rounded."""
    runs: int
    total_images: int
    split: Sizes
    """Images."""
    stated_proportions: Sizes
    classes: dict[str, ClassRow]
    macro: Averages
    weighted: Averages
    said_to_do_best: tuple[str, ...]
    said_to_do_worst: tuple[str, ...]

    @property
    def half_step(self) -> float:
        """How far a number of the table can lie from what it was rounded from."""
        return 0.5 * 10.0**-self.table_decimals

    @property
    def images(self) -> int:
        """Of the test set."""
        return int(self.split.test)

    def accuracy_interval(self, level: float = 1 - SIGNIFICANT) -> tuple[float, float]:
        """Of the test accuracy, for other test images and the same network: Wilson's."""
        return proportion_interval(round(self.test_accuracy * self.images), self.images, level)


@cache
def documented() -> Documented:
    """The documented study's numbers, from the package."""
    return Documented.model_validate_json(files("analysis").joinpath(FILE).read_text(encoding="utf-8"))


def proportion_interval(hits: int, among: int, level: float = 1 - SIGNIFICANT) -> tuple[float, float]:
    """Wilson's interval of a proportion; (0, 1) where there is nothing to take it of."""
    if not among:
        return 0.0, 1.0
    found = stats.binomtest(hits, among).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def f1_interval(both: int, either: int, level: float = 1 - SIGNIFICANT) -> tuple[float, float]:
    """Of F1. Args: both: images of the class that are predicted as it. either: images of the class, or predicted as it."""
    low, high = proportion_interval(both, either, level)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def class_intervals(study: Documented) -> pd.DataFrame:
    """The document's table of classes with intervals of its test set, a row a class and measure.

    Columns: class, measure, value, low, high (Wilson's 95 %; counts follow from recall, precision and support), rounded_low,
    rounded_high (numbers that round to the value). 0 to 1.
    """
    rows = []
    for name, row in study.classes.items():
        right = round(row.recall * row.support)
        predicted = round(right / row.precision)
        intervals = {
            "recall": proportion_interval(right, row.support),
            "precision": proportion_interval(right, predicted),
            "f1": f1_interval(right, row.support + predicted - right),
        }
        for measure, (low, high) in intervals.items():
            value = getattr(row, measure)
            rows.append((name, measure, value, low, high, value - study.half_step, value + study.half_step))
    return pd.DataFrame(rows, columns=CLASS_COLUMNS)


# -- the document against itself


def self_checks(study: Documented) -> pd.DataFrame:
    """What the document says, against what follows from its other numbers.

    Columns: check, stated, low, high (the range that the other numbers leave, their rounding counted; NaN where there is
    none), agrees, sentence. A row a check.
    """
    rows = [
        *(_f1_of(study, name, row) for name, row in study.classes.items()),
        *(_average_of(study, measure) for measure in ("precision", "recall", "f1")),
        _accuracy(study),
        _supports(study),
        _predicted(study),
        _all_images(study),
        _proportions(study),
        _said_best(study),
        _said_worst(study),
    ]
    return pd.DataFrame(rows, columns=CHECK_COLUMNS)


Row = tuple[str, float, float, float, bool, str]


def _f1_of(study: Documented, name: str, row: ClassRow) -> Row:
    """F1 is the harmonic mean of precision and recall, and rises with both."""
    half = study.half_step
    low, high = (2 / (1 / (row.precision + step) + 1 / (row.recall + step)) for step in (-half, half))
    return _within(
        study, f"F1 of {name}", row.f1, low, high, f"from precision {row.precision:.2f} and recall {row.recall:.2f}"
    )


def _average_of(study: Documented, measure: str) -> Row:
    values = [getattr(row, measure) for row in study.classes.values()]
    low, high = (float(np.mean(values)) + step for step in (-study.half_step, study.half_step))
    return _within(
        study, f"macro average of {measure}", getattr(study.macro, measure), low, high, "from the ten classes"
    )


def _within(study: Documented, check: str, stated: float, low: float, high: float, what: str) -> Row:
    """Does a rounded number agree with a range that other rounded numbers leave?"""
    agrees = low - study.half_step <= stated <= high + study.half_step
    says = f"stated {stated:.2f}; {what} it lies in {low:.4f} to {high:.4f}"
    return check, stated, low, high, bool(agrees), says


def _accuracy(study: Documented) -> Row:
    """With equal supports, the accuracy is the mean recall."""
    mean = float(
        np.average([r.recall for r in study.classes.values()], weights=[r.support for r in study.classes.values()])
    )
    low, high = mean - study.half_step, mean + study.half_step
    agrees = low <= study.test_accuracy <= high
    says = f"stated {study.test_accuracy:.4f}; the recalls, weighted by supports, leave {low:.4f} to {high:.4f}"
    return "accuracy is the mean recall", study.test_accuracy, low, high, agrees, says


def _supports(study: Documented) -> Row:
    total = sum(row.support for row in study.classes.values())
    says = f"the supports add up to {total:,}, and the test set has {study.images:,} images"
    return (
        "supports add up to the test set",
        float(study.images),
        float(total),
        float(total),
        total == study.images,
        says,
    )


def _predicted(study: Documented) -> Row:
    """Every image is predicted as one class, so that right answers over precisions add up to the test set."""
    half = study.half_step
    low, high = (
        sum((row.recall + step) * row.support / (row.precision - step) for row in study.classes.values())
        for step in (-half, half)
    )
    agrees = low <= study.images <= high
    says = f"recall x support / precision adds up to {low:,.0f} to {high:,.0f} predictions of {study.images:,}"
    return "predictions add up to the test set", float(study.images), low, high, agrees, says


def _all_images(study: Documented) -> Row:
    used = study.split.train + study.split.validation + study.split.test
    says = (
        f"the three parts have {used:,.0f} of {study.total_images:,} images; what became of {study.total_images - used:,.0f} "
        f"is not said"
    )
    return "the parts make up all images", float(study.total_images), used, used, used == study.total_images, says


def _proportions(study: Documented) -> Row:
    parts = np.array([study.split.train, study.split.validation, study.split.test])
    stated = np.array([*study.stated_proportions.model_dump().values()])
    found = parts / parts.sum()
    as_text = " / ".join(f"{100 * part:.1f}" for part in found)
    images = " / ".join(f"{part:,.0f}" for part in parts)
    says = f"stated {' - '.join(f'{100 * part:.0f}' for part in stated)}; {images} images are {as_text} %"
    return (
        "the split has its stated proportions",
        np.nan,
        np.nan,
        np.nan,
        bool(np.allclose(found, stated, atol=0.005)),
        says,
    )


def _said_best(study: Documented) -> Row:
    """A class that is said to be among the best is no worse than any that is not."""
    f1 = {name: row.f1 for name, row in study.classes.items()}
    least = min(f1[name] for name in study.said_to_do_best)
    as_good = [name for name in f1 if name not in study.said_to_do_best and f1[name] >= least]
    says = (
        f"said of {', '.join(study.said_to_do_best)}; by F1, {' and '.join(as_good) or 'no other class'} "
        f"{'do' if len(as_good) > 1 else 'does'} as well as {min(study.said_to_do_best, key=f1.__getitem__)} ({least:.2f})"
    )
    return "which classes do best", least, np.nan, np.nan, not as_good, says


def _said_worst(study: Documented) -> Row:
    f1 = {name: row.f1 for name, row in study.classes.items()}
    most = max(f1[name] for name in study.said_to_do_worst)
    as_bad = [name for name in f1 if name not in study.said_to_do_worst and f1[name] <= most]
    says = (
        f"said of {', '.join(study.said_to_do_worst)}; by F1, {' and '.join(as_bad) or 'no other class'} "
        f"{'do' if len(as_bad) > 1 else 'does'} as badly as {max(study.said_to_do_worst, key=f1.__getitem__)} ({most:.2f})"
    )
    return "which classes do worst", most, np.nan, np.nan, not as_bad, says
