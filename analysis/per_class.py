"""Which classes an arm helps or hurts, which confusions come and go, and which images flip: with intervals.

Recall, precision and F1 of a class are ratios of two means over the test images, r = mean(u) / mean(v):

    measure      u        v
    recall       right    of the class
    precision    right    predicted as the class
    f1           2 right  of the class + predicted as the class

where right is: of the class, and predicted as it. To first order one image moves such a ratio by its influence,
(u - r v) / mean(v), which is 0 on average. Ratio plus influence is a value for each seed and image whose mean is the
ratio itself; it goes to `statistics.contrast_effect` in the place of right or wrong. What is computed from ratios, a
mean over classes or a difference between arms, has the same mean or difference of these values. The test set holds
fixed proportions of the classes, so an influence is counted from its mean over the images of the same class: how far
classes lie apart is not left to chance. Of recall, only the images of the classes in question are used.

Precision of a class that is never predicted is 0, as scikit-learn's zero_division=0.

A group of classes, where the data set names some, has the mean of its classes' values; of each two groups, the difference
between them has rows of its own.

Sources: Hampel 1974, J. American Statistical Association 69:383-393 (influence); Deville 1999, Survey Methodology
25:193-203 (linearised ratios in a variance); Cochran 1977, Sampling Techniques, chapters 5 and 6 (strata, ratios).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Real

from analysis.outcomes import Outcomes
from analysis.runs import unpaired_effect
from analysis.statistics import (
    SIGNIFICANT,
    PairedEffect,
    benjamini_hochberg,
    contrast_effect,
    holm,
    mcnemar,
)

Measure = Literal["recall", "precision", "f1"]
MEASURES: tuple[Measure, ...] = ("recall", "precision", "f1")

MOST_GROUPS_COMPARED = 5
"""Each two of more groups are not compared: of CIFAR-100's twenty there would be 190 differences."""
MANY_CLASSES = 100
"""With more of them, confusions that no network makes are left out of the table."""

Kind = Literal["class", "group", "difference"]

RECALLS = ("arm", "is_baseline", "seed", "class", "recall")
CLASS_TABLE = ("arm", "is_baseline", "kind", "class", "images", "measure", "mean", "sd", "low", "high", "seeds")
CLASS_EFFECTS = ("arm", "kind", "class", "measure", "delta", "low", "high", "p_value", "adjusted_p", "paired_seeds")
CONFUSIONS = (
    *("arm", "true_class", "predicted_class", "baseline_rate", "arm_rate"),
    *("delta", "low", "high", "p_value", "adjusted_p", "paired_seeds"),
)
FLIPS = (
    *("arm", "seed", "baseline_right_arm_wrong", "baseline_wrong_arm_right", "p_value"),
    *("lost_in_every_seed", "gained_in_every_seed", "paired_seeds"),
)


@dataclass(frozen=True)
class Row:
    """What a row of a table is about: classes, with their weights."""

    kind: Kind
    name: str
    weights: Float[np.ndarray, " classes"]


def rows_of(outcomes: Outcomes) -> list[Row]:
    """Each class, then each group, then how much more there is of the first of two groups than of the second, unless there are
    many groups.

    Left out: classes with fewer than two test images, of which nothing can be said, and groups with such a class.
    """
    if not outcomes.knows_classes:
        return []
    classes = outcomes.classes
    told = {classes[place] for place in _with_images(outcomes)}
    groups = [
        Row("group", name, np.array([c in members for c in classes]) / len(members))
        for name, members in outcomes.groups.items()
        if told.issuperset(members)
    ]
    compared = combinations(groups, 2) if len(groups) <= MOST_GROUPS_COMPARED else ()
    return [
        *(Row("class", name, one) for name, one in zip(classes, np.eye(len(classes)), strict=True) if name in told),
        *groups,
        *(Row("difference", f"{a.name} - {b.name}", a.weights - b.weights) for a, b in compared),
    ]


def measures_of(outcomes: Outcomes) -> tuple[Measure, ...]:
    """What can be said of a class: where it is not known which class a wrong answer names, its recall alone."""
    return MEASURES if outcomes.detail == "predictions" else ("recall",)


def _with_images(outcomes: Outcomes) -> list[int]:
    """The classes that have two test images or more, or two clusters of them, as positions in the class names."""
    labels, clusters = outcomes.labels, outcomes.clusters
    if clusters is not None:
        _, first = np.unique(np.stack([labels, clusters]), axis=1, return_index=True)
        labels = labels[first]
    counts = np.bincount(labels, minlength=len(outcomes.classes))
    return np.flatnonzero(counts > 1).tolist()


def recalls(outcomes: Outcomes) -> pd.DataFrame:
    """How many of each class's test images a network gets right: a row a class of a cell whose answers can be used.

    Columns: arm, is_baseline, seed, class, recall (0 to 1; NaN for a class without test images).
    """
    labels, n = outcomes.labels, len(outcomes.classes)
    of_class = np.bincount(labels, minlength=n)
    arms = outcomes.arms if outcomes.knows_classes else ()
    return pd.DataFrame(
        [
            (arm.name, arm.is_baseline, seed, name, right / count if count else np.nan)
            for arm in arms
            for seed, correct in outcomes.correct[arm.name].items()
            for name, right, count in zip(
                outcomes.classes, np.bincount(labels[correct], minlength=n), of_class, strict=True
            )
            if outcomes.detail == "predictions" or count  # wrong answers have a class without images
        ],
        columns=RECALLS,
    )


def class_table(outcomes: Outcomes) -> pd.DataFrame:
    """Recall, precision and F1 of each arm by class, and their means over groups of classes.

    Columns: arm, is_baseline, kind (class, group), class (or the group's name), images (of the test set), measure, mean and sd
    (over the finished seeds), low, high (95 % interval of the mean for new seeds and new test images of the same class
    proportions), seeds. 0 to 1. An arm without a finished seed has no rows.

    The interval rests on the delta method (see the module). It is cut off at 0 and 1, beyond which the measure cannot
    lie. It is NaN with one seed, and for the precision of a class that is never predicted: nothing tells what it would
    be. Intervals of two arms that overlap say nothing about their difference, which is paired: see `class_effects`.
    """
    about = [row for row in rows_of(outcomes) if row.kind != "difference"]
    of_class = np.bincount(outcomes.labels, minlength=len(outcomes.classes))
    rows = []
    for arm in outcomes.arms:
        cells = outcomes.predictions[arm.name]
        if not cells or not about:
            continue
        own = _Linearised(np.stack(list(cells.values())), outcomes.labels, len(outcomes.classes))
        for measure in measures_of(outcomes):
            for each in about:
                values = own.values(each.weights, measure)
                effect = contrast_effect(
                    values,
                    clusters=own.clusters(each.weights, measure, outcomes.clusters),
                    step=own.step(each.weights, measure),
                )
                known = own.step(each.weights, measure) > 0 and not effect.reason
                rows.append(
                    {
                        "arm": arm.name,
                        "is_baseline": arm.is_baseline,
                        "kind": each.kind,
                        "class": each.name,
                        "images": int(of_class[each.weights > 0].sum()),
                        "measure": measure,
                        "mean": effect.delta,
                        "sd": values.mean(axis=1).std(ddof=1) if len(cells) > 1 else np.nan,
                        "low": max(effect.low, 0) if known else np.nan,
                        "high": min(effect.high, 1) if known else np.nan,
                        "seeds": len(cells),
                    }
                )
    return pd.DataFrame(rows, columns=CLASS_TABLE)


def class_effects(outcomes: Outcomes) -> pd.DataFrame:
    """What each arm changes in recall, precision and F1 of each class, of groups of classes, and between two groups.

    Columns: arm, kind (class, group, difference), class (or the group's name, or both groups'), measure, delta, low, high
    (paired difference to the baseline with its 95 % interval for new seeds and new test images of the same class
    proportions, not corrected for the number of tests; 0 to 1), p_value, adjusted_p, paired_seeds. The baseline has no
    rows, and an arm that shares no finished seed with it has none. With one shared seed, all but delta is NaN.

    adjusted_p is Holm's, of each measure by itself: over all arms and classes together, and as a family of its own over
    all arms, groups and differences of groups. Choose the measure before looking. That an arm hurts one group more than
    another is a claim about the difference's row: one group significant and the other not does not show it.
    """
    about, n = rows_of(outcomes), len(outcomes.classes)
    rows = []
    for arm, _, predicted, baseline in _compared(outcomes) if about else ():
        own, other = _Linearised(predicted, outcomes.labels, n), _Linearised(baseline, outcomes.labels, n)
        for measure in measures_of(outcomes):
            for each in about:
                effect = _difference(
                    *(of.values(each.weights, measure) for of in (own, other)),
                    paired=outcomes.is_paired(arm),
                    clusters=own.clusters(each.weights, measure, outcomes.clusters),
                    step=max(of.step(each.weights, measure) for of in (own, other)),
                )
                found = {**_interval(effect), "paired_seeds": effect.n_seeds}
                rows.append({"arm": arm, "kind": each.kind, "class": each.name, "measure": measure, **found})
    table = pd.DataFrame(rows, columns=CLASS_EFFECTS)
    is_class = table["kind"] == "class"
    for measure in MEASURES:
        for family in (is_class, ~is_class):
            tests = family & (table["measure"] == measure)
            table.loc[tests, "adjusted_p"] = holm(table.loc[tests, "p_value"].to_numpy(float))
    return table


def recall_effect(
    outcomes: Outcomes, arm: str, about: Row, seeds: Sequence[int], *, level: float = 0.95
) -> PairedEffect:
    """What an arm changes in the recall of a class, or in a group's mean recall.

    Args: seeds: that it and the baseline have.
    """
    n = len(outcomes.classes)
    own, other = (
        _Linearised(np.stack([outcomes.predictions[name][seed] for seed in seeds]), outcomes.labels, n)
        for name in (arm, outcomes.baseline.name)
    )
    return contrast_effect(
        own.values(about.weights, "recall") - other.values(about.weights, "recall"),
        clusters=own.clusters(about.weights, "recall", outcomes.clusters),
        step=own.step(about.weights, "recall"),
        level=level,
    )


def group_differences(outcomes: Outcomes, arm: str) -> dict[str, PairedEffect]:
    """How much better an arm does on the classes of one group than on those of another, by what the two are called together,
    such as "vehicles - animals": mean recall, with its interval. Nothing where no seed's answers can be used.
    """
    cells = outcomes.predictions[arm]
    if not cells:
        return {}
    own = _Linearised(np.stack(list(cells.values())), outcomes.labels, len(outcomes.classes))
    return {
        row.name: contrast_effect(own.values(row.weights, "recall"), step=own.step(row.weights, "recall"))
        for row in rows_of(outcomes)
        if row.kind == "difference"
    }


def confusions(outcomes: Outcomes) -> pd.DataFrame:
    """How often each arm takes one class for another, against the baseline: a row an arm and ordered pair of classes.

    Columns: arm, true_class, predicted_class, baseline_rate, arm_rate (share of the true class's test images that are
    predicted as the other, mean over the paired seeds), delta, low, high (their paired difference with its 95 % interval for
    new seeds and new test images, not corrected for the number of tests; 0 to 1), p_value, adjusted_p (Benjamini and
    Hochberg, over all pairs of all arms), paired_seeds. Right predictions are left out: they are recall, in `class_effects`.
    Which arms have rows, and what is NaN with one seed, is as in `class_effects`.

    With n classes there are n (n - 1) tests an arm, 90 with ten, and Holm's correction would find next to nothing with few
    seeds. So the table is there to explore: of the confusions with adjusted_p below 0.05, one in twenty is expected to be
    wrong. That a confusion is not among them does not say that it has not changed. With more than 100 classes, the table has
    the confusions that some network of the arm or the baseline makes.
    """
    rows = []
    for arm, _, predicted, baseline in (
        _compared(outcomes) if outcomes.detail == "predictions" and outcomes.knows_classes else ()
    ):
        for true_class in _with_images(outcomes):
            own = outcomes.labels == true_class
            clusters = None if outcomes.clusters is None else outcomes.clusters[own]
            arm_own, baseline_own = predicted[:, own], baseline[:, own]
            made = set(np.unique(np.concatenate([arm_own, baseline_own])).tolist())
            nothing = (np.zeros_like(each, dtype=bool) for each in (arm_own, baseline_own))
            not_made = _difference(*nothing, paired=outcomes.is_paired(arm), clusters=clusters)
            for other_class, other_name in enumerate(outcomes.classes):
                if other_class == true_class or (other_class not in made and len(outcomes.classes) > MANY_CLASSES):
                    continue
                arm_taken, baseline_taken = arm_own == other_class, baseline_own == other_class
                effect = not_made
                if other_class in made:
                    effect = _difference(arm_taken, baseline_taken, paired=outcomes.is_paired(arm), clusters=clusters)
                rows.append(
                    {
                        "arm": arm,
                        "true_class": outcomes.classes[true_class],
                        "predicted_class": other_name,
                        "baseline_rate": baseline_taken.mean(),
                        "arm_rate": arm_taken.mean(),
                        **_interval(effect),
                        "paired_seeds": effect.n_seeds,
                    }
                )
    table = pd.DataFrame(rows, columns=CONFUSIONS)
    return table.assign(adjusted_p=benjamini_hochberg(table["p_value"].to_numpy(float)))


def gained_and_lost(confusions: pd.DataFrame, n: int = 3) -> pd.DataFrame:
    """The confusions that change most, up to `n` that became more frequent (gained) and `n` less (lost) in each arm.

    Columns: change (gained or lost), significant (adjusted_p below 0.05), and those of `confusions`. Arms keep their
    order, gained come before lost, and of each the significant come first, then the larger change: a large change that
    may be chance pushes no significant one out.

    Args: confusions: as `confusions` returns.
    """
    changed = confusions[confusions["delta"] != 0]
    table = changed.assign(
        change=np.where(changed["delta"] > 0, "gained", "lost"),
        significant=changed["adjusted_p"] < SIGNIFICANT,
        place=changed["arm"].map({arm: place for place, arm in enumerate(confusions["arm"].unique())}),
        size=changed["delta"].abs(),
    ).sort_values(
        ["place", "change", "significant", "size"], ascending=[True, True, False, False], kind="stable"
    )  # equal changes stay in the order of the classes
    first = table.groupby(["place", "change"], sort=False).head(n)
    return first[["change", "significant", *confusions.columns]].reset_index(drop=True)


def flips(outcomes: Outcomes) -> pd.DataFrame:
    """On how many test images an arm and the baseline differ in being right: a row an arm and seed that both have.

    Columns: arm, seed, baseline_right_arm_wrong, baseline_wrong_arm_right (images), p_value (McNemar's exact test, or its
    form for clusters of images); and, the same in all rows of an arm, lost_in_every_seed, gained_in_every_seed (images that
    the baseline gets right and the arm wrong in every paired seed, and the reverse), paired_seeds.

    McNemar's test speaks of the two trained networks of its row: below 0.05, the choice of test images does not explain
    the difference between their accuracies. Two networks of one recipe, trained from different seeds, can differ as
    much. So neither a small p-value nor the number of seeds that have one says anything about the recipe, which is what
    `effects.effect_table` is for, and nothing is corrected for the number of rows. Images that flip in every seed are
    those to look at, and no test: the more seeds, the fewer they are.
    """
    rows = []
    for arm, seeds, predicted, baseline in _compared(outcomes) if outcomes.detail != "value" else ():
        if not outcomes.is_paired(arm):
            continue
        arm_right, baseline_right = predicted == outcomes.labels, baseline == outcomes.labels
        lost = int((baseline_right & ~arm_right).all(axis=0).sum())
        gained = int((arm_right & ~baseline_right).all(axis=0).sum())
        for place, seed in enumerate(seeds):
            pair = mcnemar(arm_right[place], baseline_right[place], clusters=outcomes.clusters)
            rows.append((arm, seed, pair.baseline_only, pair.arm_only, pair.p_value, lost, gained, len(seeds)))
    return pd.DataFrame(rows, columns=FLIPS)


def _compared(outcomes: Outcomes) -> Iterator[tuple[str, list[int], np.ndarray, np.ndarray]]:
    """Each arm that is compared with the baseline: its name, its seeds, and its predictions and the baseline's (seeds, images),
    of the seeds that both have, or, where seeds do not pair, of all that each has.
    """
    baseline = outcomes.predictions[outcomes.baseline.name]
    for arm in outcomes.arms:
        cells = outcomes.predictions[arm.name]
        shared = outcomes.shared_seeds(arm.name)
        own, other = (shared, shared) if outcomes.is_paired(arm.name) else (sorted(cells), sorted(baseline))
        if own and other and not arm.is_baseline:
            yield arm.name, own, np.stack([cells[s] for s in own]), np.stack([baseline[s] for s in other])


def _difference(
    arm: Real[np.ndarray, "seeds images"] | Bool[np.ndarray, "seeds images"],
    baseline: Real[np.ndarray, "others images"] | Bool[np.ndarray, "others images"],
    *,
    paired: bool,
    clusters: Int[np.ndarray, " images"] | None,
    step: float = 1.0,
) -> PairedEffect:
    """The mean of the arm's values less that of the baseline's."""
    if not paired:
        return unpaired_effect(arm, baseline, clusters=clusters, step=step)
    return contrast_effect(arm.astype(np.float64) - baseline, clusters=clusters, step=step)


class _Linearised:
    """What `contrast_effect` takes in the place of right or wrong (see the module), of the networks of one arm.

    Ratio plus influence of an image depend on its class and the predicted one alone. So they are computed for each such
    pair of classes, and looked up for each image.
    """

    def __init__(self, predicted: Int[np.ndarray, "seeds images"], labels: Int[np.ndarray, " images"], n: int) -> None:
        self.labels = labels
        table = (len(predicted), n, n)  # seeds, classes, predicted classes
        self.place = (
            labels * n + predicted + n * n * np.arange(len(predicted))[:, None]
        )  # of (seeds, images) in a table
        share = np.bincount(self.place.ravel(), minlength=len(predicted) * n * n).reshape(table) / len(labels)
        of_class = share.sum(axis=2)
        self.share_predicted = share.sum(axis=1)
        self.taken_for = share / np.where(of_class, of_class, 1)[:, :, None]
        """Of the images of a class, how many are predicted as each class: (seeds, classes, predicted classes)."""
        self.parts = {measure: _parts(share, measure) for measure in MEASURES}

    def values(
        self, weights: Float[np.ndarray, " classes"], measure: Measure
    ) -> Float[np.ndarray, "seeds used_images"]:
        """Weighted sum of the classes' values; of recall, on the images of the classes that have a weight."""
        ratio, right, predicted = self.parts[measure]
        # Of an image of class t that is predicted as p, less the mean of such values over the images of class t.
        of_pairs = -(weights * predicted)[:, None, :] + (self.taken_for @ (weights * predicted)[:, :, None])
        diagonal = np.arange(len(weights))
        of_pairs[:, diagonal, diagonal] += weights * right
        of_pairs -= (weights * right * self.taken_for[:, diagonal, diagonal])[:, :, None]
        of_pairs += (ratio @ weights)[:, None, None]
        if measure != "recall":
            return of_pairs.take(self.place)
        used = self._used(weights)
        values = of_pairs.take(self.place[:, used])
        mean = values.mean(axis=1, keepdims=True)
        return mean + (values - mean) * used.mean()

    def clusters(
        self, weights: Float[np.ndarray, " classes"], measure: Measure, clusters: Int[np.ndarray, " images"] | None
    ) -> Int[np.ndarray, " used_images"] | None:
        """Which of the images that `values` is of belong together."""
        return clusters[self._used(weights)] if clusters is not None and measure == "recall" else clusters

    def _used(self, weights: Float[np.ndarray, " classes"]) -> Bool[np.ndarray, " images"]:
        return weights[self.labels] != 0  # other images have no influence on a recall

    def step(self, weights: Float[np.ndarray, " classes"], measure: Measure) -> float:
        """How far the value of an image moves that a network gets right instead of wrong, of the class to which that
        matters most (see `contrast_effect`); 0 where no class with a weight is ever predicted.
        """
        _, right, _ = self.parts[measure]
        possible = self.share_predicted > 0 if measure == "precision" else np.ones_like(right, dtype=bool)
        moved = np.where(possible, np.abs(weights) * right, 0.0).max()
        return float(moved * (self._used(weights).mean() if measure == "recall" else 1.0))


def _parts(
    share: Float[np.ndarray, "seeds classes predicted"], measure: Measure
) -> tuple[Float[np.ndarray, "seeds classes"], ...]:
    """Of each class its ratio, and what an image adds to its influence by being right in it, and takes away by being
    predicted as it. What an image takes away by being of the class is the same for all images of its class, and so
    nothing once their mean is taken off.

    Args: share: of the images that are of a class and predicted as a class.
    """
    both = np.diagonal(share, axis1=1, axis2=2)
    of_class, predicted = share.sum(axis=2), share.sum(axis=1)
    times, mean_v, counts_predicted = {
        "recall": (1, of_class, 0),
        "precision": (1, predicted, 1),
        "f1": (2, of_class + predicted, 1),
    }[measure]
    mean_v = np.where(mean_v, mean_v, 1)  # a class that is never predicted: 0 / 1, and no influence
    ratio = times * both / mean_v
    return ratio, times / mean_v, counts_predicted * ratio / mean_v


def _interval(effect: PairedEffect) -> dict[str, Any]:
    return {"delta": effect.delta, "low": effect.low, "high": effect.high, "p_value": effect.p_value}
