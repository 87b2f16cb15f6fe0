"""Is the documented number what this model does? The document's one run beside a distribution over seeds.

The document trained one network. If its recipe is the one that was run here, its test accuracy is one more draw from the
distribution over seeds, on the same 10,000 test images. So it is held against the prediction interval for one new seed,

    mean +- t(S - 1) * SD * sqrt(1 + 1 / S),

which a further seed of the same recipe falls into in 95 % of repetitions, where accuracies are about normal over seeds (Hahn and
Meeker 1991, Statistical Intervals, section 4.8). Both are on the same images, so the test set adds nothing to it; how far the
document's own number would move on other test images is another question, whose interval stands beside it.

A number inside is consistent with the recipe; it does not show that the recipe is the same. An interval that reaches further
than `RESOLUTION` says little, and then the verdict is undecided.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import stats

from ablations.store import Store
from ablations.units import counted
from analysis.documented import Documented, class_intervals, documented, self_checks
from analysis.outcomes import Outcomes
from analysis.per_class import MEASURES
from analysis.statistics import SIGNIFICANT
from analysis.studied import StudiedArm
from cnnkit.errors import UserError
from cnnkit.recipe import Recipe
from cnnkit.spec import BASELINE

RESOLUTION = 0.03
"""An interval for one new seed that reaches further than this to either side (0 to 1) says no to too little."""
MOST_SEEDS = 1_000

Kind = Literal["consistent", "not consistent", "undecided"]

ACCURACIES = (
    "who", "precision", "seeds", "value", "sd", "low", "high", "interval", "least", "greatest", "device",
)  # fmt: skip
CLASSES = (
    "class", "measure", "documented", "documented_low", "documented_high", "mean", "sd", "low", "high", "difference",
    "beyond", "seeds",
)  # fmt: skip
RANKS = ("measure", "correlation", "least", "greatest", "between_seeds", "seeds")


def prediction_interval(
    values: Sequence[float] | Float[np.ndarray, " n"], level: float = 1 - SIGNIFICANT
) -> tuple[float, float]:
    """Into which one further value of the same normal distribution falls with this probability (see the module).

    Raises: ValueError: fewer than two values.
    """
    n = len(values)
    if n < 2:
        raise ValueError("a prediction interval needs at least two values")
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * np.std(values, ddof=1) * math.sqrt(1 + 1 / n))
    mean = float(np.mean(values))
    return mean - half, mean + half


def seeds_for(sd: float, half_width: float, level: float = 1 - SIGNIFICANT) -> int | None:
    """The least number of seeds whose prediction interval reaches so far to either side; None where no number's does."""
    for n in range(2, MOST_SEEDS + 1):
        if stats.t.ppf((1 + level) / 2, n - 1) * sd * math.sqrt(1 + 1 / n) <= half_width:
            return n
    return None


@dataclass(frozen=True)
class Verdict:
    """Whether a published accuracy is one that this recipe gives."""

    kind: Kind
    sentence: str


def judged(published: float, accuracies: Sequence[float]) -> Verdict:
    """A published test accuracy of one run, against those of several seeds (0 to 1).

    consistent: inside the prediction interval for one new seed. not consistent: outside. undecided: there is one seed
    or none, or the interval, which has it inside, reaches further than `RESOLUTION` to either side.
    """
    n = len(accuracies)
    if n < 2:
        return Verdict("undecided", f"{counted(n, 'seed')}: a prediction interval needs at least two.")
    low, high = prediction_interval(accuracies)
    sd = float(np.std(accuracies, ddof=1))
    expected = f"One new seed is expected in {100 * low:.2f} to {100 * high:.2f} % ({counted(n, 'seed')}), "
    if not low <= published <= high:
        return Verdict("not consistent", f"{expected}which leaves {100 * published:.2f} % out.")
    if high - low > 2 * RESOLUTION:
        needed = seeds_for(sd, RESOLUTION)
        then = (
            "no number of seeds would narrow it enough"
            if needed is None
            else f"{counted(max(needed - n, 1), 'more seed')} of this spread would narrow it enough"
        )
        return Verdict(
            "undecided",
            f"{expected}which has {100 * published:.2f} % inside, but reaches further than the {100 * RESOLUTION:g} points to "
            f"either side that were set as its limit, and so would exclude little; {then}.",
        )
    return Verdict("consistent", f"{expected}which has {100 * published:.2f} % inside.")


# -- which studies


def is_the_documented_network(arm: StudiedArm) -> bool:
    """Whether an arm is the documented network, at whatever input size."""
    known = BASELINE.model_dump(mode="json", exclude={"image_size"})
    own = {name: value for name, value in arm.spec.items() if name != "image_size"}
    return bool(own) and "factory" not in own and {**known, **own} == known


def trains_the_documented_baseline(outcomes: Outcomes) -> bool:
    """Whether the study's baseline is the documented network under the documented recipe, in whatever arithmetic."""
    baseline = outcomes.baseline
    recipe = {name: value for name, value in baseline.recipe.items() if name != "precision"}
    documented = Recipe().model_dump(mode="json", exclude={"precision"})
    return (
        is_the_documented_network(baseline)
        and baseline.spec.get("image_size") == BASELINE.image_size
        and {**documented, **recipe} == documented
    )


def on_the_documented_data(outcomes: Outcomes, study: Documented) -> bool:
    """Whether the study has the document's classes and all of its images."""
    split = outcomes.study.split
    return (
        set(outcomes.classes) == set(study.classes)
        and split is not None
        and (split.train, split.validation, split.test) == (study.split.train, study.split.validation, study.split.test)
    )


def in_other_arithmetic(outcomes: Outcomes) -> list[Outcomes]:
    """Studies in the same results folder whose baseline is this one's but for the arithmetic: of each arithmetic the one with
    most finished seeds.
    """
    folder = outcomes.study.folder
    if folder is None:
        return []
    mine = _but_for_arithmetic(outcomes)
    found: dict[object, Outcomes] = {}
    for name in Store(folder.parent.parent).studies():
        try:
            other = Outcomes.from_store(folder.parent.parent, name)
        except UserError:  # not a study that can be read: it is another one's matter
            continue
        arithmetic, seeds = other.baseline.recipe.get("precision"), len(other.correct[other.baseline.name])
        if arithmetic == outcomes.baseline.recipe.get("precision") or _but_for_arithmetic(other) != mine or not seeds:
            continue
        if arithmetic not in found or seeds > len(found[arithmetic].correct[found[arithmetic].baseline.name]):
            found[arithmetic] = other
    return list(found.values())


def _but_for_arithmetic(outcomes: Outcomes) -> tuple[object, ...]:
    recipe = {name: value for name, value in outcomes.baseline.recipe.items() if name != "precision"}
    return outcomes.baseline.spec, recipe, outcomes.study.split, outcomes.classes


# -- tables


def accuracies(outcomes: Outcomes) -> list[float]:
    """Test accuracy of each of the baseline's seeds whose answers can be used, 0 to 1."""
    return [float(correct.mean()) for _, correct in sorted(outcomes.correct[outcomes.baseline.name].items())]


def accuracy_table(outcomes: Outcomes, study: Documented, others: Sequence[Outcomes] = ()) -> pd.DataFrame:
    """The document's test accuracy, and below it those measured here, a row each arithmetic.

    Columns: who, precision (arithmetic), seeds, value (mean over seeds), sd, low, high, interval (what low and high are), least,
    greatest (of the seeds), device. 0 to 1.
    """
    low, high = study.accuracy_interval()
    own = (
        "documented", "", study.runs, study.test_accuracy, math.nan, low, high,
        f"95 %, the same network on other {study.images:,} images", math.nan, math.nan, "",
    )  # fmt: skip
    return pd.DataFrame([own, *(_measured(each) for each in (outcomes, *others))], columns=ACCURACIES)


def _measured(outcomes: Outcomes) -> tuple[object, ...]:
    values = accuracies(outcomes)
    some = len(values) > 1
    low, high = prediction_interval(values) if some else (math.nan, math.nan)
    done = outcomes.finished[outcomes.finished["is_baseline"]]
    return (
        "measured here",
        " + ".join(sorted(set(done["precision"].dropna()))) or str(outcomes.baseline.recipe.get("precision", "")),
        len(values),
        float(np.mean(values)) if values else math.nan,
        float(np.std(values, ddof=1)) if some else math.nan,
        low,
        high,
        "95 %, one new seed" if some else "one seed: no interval" if values else "not finished",
        min(values, default=math.nan),
        max(values, default=math.nan),
        " + ".join(sorted(set(done["device"].dropna()))),
    )


def values_by_class(
    predicted: Int[np.ndarray, " images"], labels: Int[np.ndarray, " images"], classes: int
) -> Mapping[str, Float[np.ndarray, " classes"]]:
    """Precision, recall and F1 of each class, 0 to 1; 0 where nothing is predicted as it, as scikit-learn's zero_division=0."""
    right = np.bincount(labels[predicted == labels], minlength=classes).astype(float)
    of_class, of_answer = (np.bincount(each, minlength=classes) for each in (labels, predicted))
    sums = {"precision": of_answer, "recall": of_class, "f1": (of_class + of_answer) / 2}
    return {name: np.divide(right, total, out=np.zeros(classes), where=total > 0) for name, total in sums.items()}


def _by_seed(outcomes: Outcomes) -> Mapping[str, pd.DataFrame]:
    """Of each measure a row a seed of the baseline, a column a class."""
    found = {
        seed: values_by_class(predicted, outcomes.labels, len(outcomes.classes))
        for seed, predicted in sorted(outcomes.predictions[outcomes.baseline.name].items())
    }
    columns = list(outcomes.classes)
    return {
        measure: pd.DataFrame([values[measure] for values in found.values()], index=list(found), columns=columns)
        for measure in MEASURES
    }


def class_comparison(outcomes: Outcomes, study: Documented) -> pd.DataFrame:
    """The document's table of classes beside the baseline's, a row a class and measure.

    Columns: class, measure (recall, precision, f1), documented, documented_low, documented_high (its test set's 95 % interval,
        with
    its rounding), mean, sd (over seeds), low, high (95 %, one new seed on the same images), difference (mean less documented),
    beyond (neither lies in the other's interval), seeds. 0 to 1.
    """
    published = {(row["class"], row["measure"]): row for row in class_intervals(study).to_dict("records")}
    rows = []
    for measure, table in _by_seed(outcomes).items():
        for name in study.classes:
            theirs, ours = published[name, measure], table[name].to_numpy(float)
            some = len(ours) > 1
            low, high = np.clip(prediction_interval(ours), 0, 1).tolist() if some else (math.nan, math.nan)
            their_low = min(theirs["low"], theirs["rounded_low"])
            their_high = max(theirs["high"], theirs["rounded_high"])
            mean = float(ours.mean()) if len(ours) else math.nan
            outside = theirs["rounded_high"] < low or theirs["rounded_low"] > high
            rows.append(
                (
                    name, measure, float(theirs["value"]), their_low, their_high, mean,
                    float(ours.std(ddof=1)) if some else math.nan, low, high, mean - float(theirs["value"]),
                    bool(some and outside and not their_low <= mean <= their_high), len(ours),
                )
            )  # fmt: skip
    return pd.DataFrame(rows, columns=CLASSES)


def class_ranks(outcomes: Outcomes, study: Documented) -> pd.DataFrame:
    """How alike the classes are ranked: Spearman's correlation over classes, a row a measure.

    Columns: measure, correlation (of the document with the mean over seeds), least, greatest (with single seeds),
    between_seeds (mean over pairs of seeds: what two runs of one recipe reach; NaN for one seed), seeds.
    """
    names = list(study.classes)
    rows = []
    for measure, table in _by_seed(outcomes).items():
        if table.empty:
            continue
        theirs = np.array([getattr(study.classes[name], measure) for name in names])
        ours = table[names].to_numpy(float)
        alone = [spearman(theirs, seed) for seed in ours]
        pairs = [spearman(ours[i], ours[j]) for i in range(len(ours)) for j in range(i)]
        between = float(np.mean(pairs)) if pairs else math.nan
        rows.append((measure, spearman(theirs, ours.mean(axis=0)), min(alone), max(alone), between, len(ours)))
    return pd.DataFrame(rows, columns=RANKS)


def spearman(one: Float[np.ndarray, " n"], other: Float[np.ndarray, " n"]) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; NaN where one of the two is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(stats.spearmanr(one, other).statistic)


def confusion_table(outcomes: Outcomes) -> pd.DataFrame:
    """Of each class's test images, how many are answered as each class: mean over the baseline's seeds, 0 to 1.

    Rows: the true class, columns: the answer. Empty where no seed's answers can be used.
    """
    n, labels = len(outcomes.classes), outcomes.labels
    tables = [
        np.bincount(labels * n + predicted, minlength=n * n).reshape(n, n)
        for predicted in outcomes.predictions[outcomes.baseline.name].values()
    ]
    if not tables:
        return pd.DataFrame()
    counts = np.mean(tables, axis=0)
    of_class = counts.sum(axis=1, keepdims=True)
    names = list(outcomes.classes)
    return pd.DataFrame(counts / np.where(of_class, of_class, 1), index=names, columns=names)


@dataclass(frozen=True)
class Reproduction:
    """The document against a study of its baseline: its tables, each computed once."""

    outcomes: Outcomes
    study: Documented

    @classmethod
    def of(cls, outcomes: Outcomes) -> "Reproduction | None":
        """None where the study is not of the documented network alone, on the document's classes."""
        study = documented()
        alone = len(outcomes.arms) == 1 or trains_the_documented_baseline(outcomes)
        fits = alone and is_the_documented_network(outcomes.baseline) and set(outcomes.classes) == set(study.classes)
        return cls(outcomes, study) if fits else None

    @cached_property
    def others(self) -> list[Outcomes]:
        """The same baseline in other arithmetic."""
        return in_other_arithmetic(self.outcomes)

    @property
    def verdict(self) -> Verdict:
        """Of all seeds in this study's arithmetic; where the protocol is another, there is none."""
        if not trains_the_documented_baseline(self.outcomes):
            return Verdict("undecided", "This is not the documented protocol, which the documented number is of.")
        if not on_the_documented_data(self.outcomes, self.study):
            return Verdict("undecided", "These are not the documented images, which the documented number is of.")
        return judged(self.study.test_accuracy, accuracies(self.outcomes))

    @cached_property
    def accuracies(self) -> pd.DataFrame:
        """As `accuracy_table`."""
        return accuracy_table(self.outcomes, self.study, self.others)

    @cached_property
    def by_seed(self) -> pd.DataFrame:
        """Columns: precision (arithmetic, as in `accuracies`), seed, accuracy (0 to 1); a row a seed."""
        rows = [
            (precision, seed, float(right.mean()))
            for each, precision in zip(
                (self.outcomes, *self.others), self.accuracies["precision"].iloc[1:], strict=True
            )
            for seed, right in sorted(each.correct[each.baseline.name].items())
        ]
        return pd.DataFrame(rows, columns=["precision", "seed", "accuracy"])

    @cached_property
    def classes(self) -> pd.DataFrame:
        """As `class_comparison`."""
        return class_comparison(self.outcomes, self.study)

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """As `class_ranks`."""
        return class_ranks(self.outcomes, self.study)

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """As `confusion_table`."""
        return confusion_table(self.outcomes)

    @cached_property
    def checks(self) -> pd.DataFrame:
        """As `analysis.documented.self_checks`."""
        return self_checks(self.study)

    @property
    def arithmetic(self) -> str:
        """What was run in which, in a sentence; with the difference where a seed was run in both."""
        table = self.accuracies.iloc[1:]
        parts = [
            f"{counted(int(row['seeds']), 'seed')} in {row['precision'] or 'unknown arithmetic'}"
            for _, row in table.iterrows()
        ]
        own = self.by_seed[self.by_seed["precision"] == table["precision"].iloc[0]].set_index("seed")["accuracy"]
        rest = self.by_seed[
            (self.by_seed["precision"] != table["precision"].iloc[0]) & self.by_seed["seed"].isin(own.index)
        ]
        differences = [
            f"seed {row.seed} has {100 * (row.accuracy - own[row.seed]):+.2f} points in {row.precision}"
            for row in rest.itertuples()
        ]
        return f"Run: {', '.join(parts)}{'; ' if differences else ''}{', '.join(differences)}."
