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

`vehicles` and `animals` are the groups of the documented study. A group's value is the mean of its classes' values.

Sources: Hampel 1974, J. American Statistical Association 69:383-393 (influence); Deville 1999, Survey Methodology
25:193-203 (linearised ratios in a variance); Cochran 1977, Sampling Techniques, chapters 5 and 6 (strata, ratios).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from analysis.results import Results
from analysis.statistics import SIGNIFICANT, PairedEffect, contrast_effect, holm, mcnemar, paired_effect
from cnnkit.data import CLASSES

Measure = Literal["recall", "precision", "f1"]
MEASURES: tuple[Measure, ...] = ("recall", "precision", "f1")

VEHICLES = ("airplane", "automobile", "ship", "truck")
ANIMALS = tuple(name for name in CLASSES if name not in VEHICLES)
DIFFERENCE = "vehicles - animals"
"""How much more an arm gains in vehicles than in animals."""


def _mean_of(names: Sequence[str]) -> np.ndarray:
    return np.array([name in names for name in CLASSES]) / len(names)


CLASSES_AND_GROUPS = {
    **{name: _mean_of([name]) for name in CLASSES},
    "vehicles": _mean_of(VEHICLES),
    "animals": _mean_of(ANIMALS),
}
"""Weight of each class in what a row of a table is about."""
COMPARED = {**CLASSES_AND_GROUPS, DIFFERENCE: CLASSES_AND_GROUPS["vehicles"] - CLASSES_AND_GROUPS["animals"]}

CLASS_TABLE = ("arm", "is_baseline", "class", "measure", "mean", "sd", "low", "high", "seeds")
CLASS_EFFECTS = ("arm", "class", "measure", "delta", "low", "high", "p_value", "adjusted_p", "paired_seeds")
CONFUSIONS = (
    *("arm", "true_class", "predicted_class", "baseline_rate", "arm_rate"),
    *("delta", "low", "high", "p_value", "adjusted_p", "paired_seeds"),
)
FLIPS = (
    *("arm", "seed", "baseline_right_arm_wrong", "baseline_wrong_arm_right", "p_value"),
    *("lost_in_every_seed", "gained_in_every_seed", "paired_seeds"),
)


def class_table(results: Results) -> pd.DataFrame:
    """Recall, precision and F1 of each arm by class, and their means over vehicles and over animals.

    Columns: arm, is_baseline, class (or group), measure, mean and sd (over the finished seeds), low, high (95 % interval of
    the mean for new seeds and new test images of the same class proportions), seeds. 0 to 1. An arm without a finished seed
    has no rows.

    The interval rests on the delta method (see the module). It is cut off at 0 and 1, beyond which the measure cannot
    lie. It is NaN with one seed, and where nothing varies, as for a class that is never predicted: then nothing tells
    how rare what was not seen is. Intervals of two arms that overlap say nothing about their difference, which is
    paired: see `class_effects`.

    Raises: ValueError: a class has fewer than two test images.
    """
    rows = []
    for arm in results.study.arms:
        cells = results.predictions[arm.name]
        if not cells:
            continue
        own = _Linearised(np.stack(list(cells.values())), results.labels)
        for measure in MEASURES:
            for name, weights in CLASSES_AND_GROUPS.items():
                values = own.values(weights, measure)
                effect = contrast_effect(values, step=0)
                varies = effect.standard_error > 0  # NaN with one seed
                rows.append(
                    {
                        "arm": arm.name,
                        "is_baseline": arm.is_baseline,
                        "class": name,
                        "measure": measure,
                        "mean": effect.delta,
                        "sd": values.mean(axis=1).std(ddof=1) if len(cells) > 1 else np.nan,
                        "low": max(effect.low, 0) if varies else np.nan,
                        "high": min(effect.high, 1) if varies else np.nan,
                        "seeds": len(cells),
                    }
                )
    return pd.DataFrame(rows, columns=CLASS_TABLE)


def class_effects(results: Results) -> pd.DataFrame:
    """What each arm changes in recall, precision and F1 of each class, of vehicles and animals, and between the two.

    Columns: arm, class (or group, or `DIFFERENCE`), measure, delta, low, high (paired difference to the baseline with its
    95 % interval for new seeds and new test images of the same class proportions, not corrected for the number of tests;
    0 to 1), p_value, adjusted_p, paired_seeds. The baseline has no rows, and an arm that shares no finished seed with it
    has none. With one shared seed, all but delta is NaN.

    adjusted_p is Holm's, of each measure by itself: over all arms and classes together, and as a family of its own over
    all arms and both groups and their difference. Choose the measure before looking. That an arm hurts animals more
    than vehicles is a claim about the difference's row: one group significant and the other not does not show it.

    Raises: ValueError: a class has fewer than two test images.
    """
    rows = []
    for arm, seeds, predicted, baseline in _pairs(results):
        own, other = _Linearised(predicted, results.labels), _Linearised(baseline, results.labels)
        for measure in MEASURES:
            for name, weights in COMPARED.items():
                effect = contrast_effect(own.values(weights, measure) - other.values(weights, measure))
                rows.append(
                    {"arm": arm, "class": name, "measure": measure, **_interval(effect), "paired_seeds": len(seeds)}
                )
    table = pd.DataFrame(rows, columns=CLASS_EFFECTS)
    is_class = table["class"].isin(CLASSES)
    for measure in MEASURES:
        for family in (is_class, ~is_class):
            tests = family & (table["measure"] == measure)
            table.loc[tests, "adjusted_p"] = holm(table.loc[tests, "p_value"].to_numpy(float))
    return table


def confusions(results: Results) -> pd.DataFrame:
    """How often each arm takes one class for another, against the baseline: a row an arm and ordered pair of classes.

    Columns: arm, true_class, predicted_class, baseline_rate, arm_rate (share of the true class's test images that are
    predicted as the other, mean over the paired seeds), delta, low, high (their paired difference with its 95 % interval for
    new seeds and new test images, not corrected for the number of tests; 0 to 1), p_value, adjusted_p (Holm, over all
    pairs of all arms), paired_seeds. Right predictions are left out: they are recall, in `class_effects`.
    Which arms have rows, and what is NaN with one seed, is as in `class_effects`.

    90 tests an arm leave little power to each with few seeds: that a confusion is not significant does not say that it
    has not changed.

    Raises: ValueError: a class has fewer than two test images.
    """
    rows = []
    for arm, seeds, predicted, baseline in _pairs(results):
        for true_class, true_name in enumerate(CLASSES):
            own = results.labels == true_class
            arm_own, baseline_own = predicted[:, own], baseline[:, own]
            for other_class, other_name in enumerate(CLASSES):
                if other_class == true_class:
                    continue
                arm_taken, baseline_taken = arm_own == other_class, baseline_own == other_class
                rows.append(
                    {
                        "arm": arm,
                        "true_class": true_name,
                        "predicted_class": other_name,
                        "baseline_rate": baseline_taken.mean(),
                        "arm_rate": arm_taken.mean(),
                        **_interval(paired_effect(arm_taken, baseline_taken)),
                        "paired_seeds": len(seeds),
                    }
                )
    table = pd.DataFrame(rows, columns=CONFUSIONS)
    return table.assign(adjusted_p=holm(table["p_value"].to_numpy(float)))


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


def flips(results: Results) -> pd.DataFrame:
    """On how many test images an arm and the baseline differ in being right: a row an arm and seed that both have.

    Columns: arm, seed, baseline_right_arm_wrong, baseline_wrong_arm_right (images), p_value (McNemar's exact test); and, the
    same in all rows of an arm, lost_in_every_seed, gained_in_every_seed (images that the baseline gets right and the
    arm wrong in every paired seed, and the reverse), paired_seeds.

    McNemar's test speaks of the two trained networks of its row: below 0.05, the choice of test images does not explain
    the difference between their accuracies. Two networks of one recipe, trained from different seeds, can differ as
    much. So neither a small p-value nor the number of seeds that have one says anything about the recipe, which is what
    `effects.effect_table` is for, and nothing is corrected for the number of rows. Images that flip in every seed are
    those to look at, and no test: the more seeds, the fewer they are.
    """
    rows = []
    for arm, seeds, predicted, baseline in _pairs(results):
        arm_right, baseline_right = predicted == results.labels, baseline == results.labels
        lost = int((baseline_right & ~arm_right).all(axis=0).sum())
        gained = int((arm_right & ~baseline_right).all(axis=0).sum())
        for place, seed in enumerate(seeds):
            pair = mcnemar(arm_right[place], baseline_right[place])
            rows.append((arm, seed, pair.baseline_only, pair.arm_only, pair.p_value, lost, gained, len(seeds)))
    return pd.DataFrame(rows, columns=FLIPS)


def _pairs(results: Results) -> Iterator[tuple[str, list[int], np.ndarray, np.ndarray]]:
    """Each arm that shares seeds with the baseline: its name, those seeds, its predictions and the baseline's (seeds, images)."""
    baseline = results.predictions[results.study.baseline.name]
    for arm in results.study.arms:
        cells = results.predictions[arm.name]
        seeds = sorted(cells.keys() & baseline.keys())
        if seeds and not arm.is_baseline:
            yield arm.name, seeds, np.stack([cells[s] for s in seeds]), np.stack([baseline[s] for s in seeds])


class _Linearised:
    """What `contrast_effect` takes in the place of right or wrong (see the module), of the networks of one arm.

    Ratio plus influence of an image depend on its class and the predicted one alone. So they are computed for each such
    pair of classes, and looked up for each image.
    """

    def __init__(self, predicted: Int[np.ndarray, "seeds images"], labels: Int[np.ndarray, " images"]) -> None:
        n = len(CLASSES)
        self.labels = labels
        table = (len(predicted), n, n)  # seeds, classes, predicted classes
        self.place = (
            labels * n + predicted + n * n * np.arange(len(predicted))[:, None]
        )  # of (seeds, images) in a table
        share = np.bincount(self.place.ravel(), minlength=len(predicted) * n * n).reshape(table) / len(labels)
        self.values_of_pairs = {measure: _values_of_pairs(share, measure) for measure in MEASURES}

    def values(
        self, weights: Float[np.ndarray, " classes"], measure: Measure
    ) -> Float[np.ndarray, "seeds used_images"]:
        """Weighted sum of the classes' values; of recall, on the images of the classes that have a weight."""
        of_pairs = np.tensordot(weights, self.values_of_pairs[measure], axes=1)
        if measure != "recall":
            return of_pairs.take(self.place)
        used = weights[self.labels] != 0  # other images have no influence on a recall
        values = of_pairs.take(self.place[:, used])
        mean = values.mean(axis=1, keepdims=True)
        return mean + (values - mean) * used.mean()


def _values_of_pairs(
    share: Float[np.ndarray, "seeds classes predicted"], measure: Measure
) -> Float[np.ndarray, "measured seeds classes predicted"]:
    """Each class's ratio plus influence, for an image of a class that is predicted as a class.

    Args: share: of the images that are such.
    """
    n = len(CLASSES)
    of_class, taken_for_it = np.eye(n)[:, None, :, None], np.eye(n)[:, None, None, :]
    right = of_class * taken_for_it
    u, v = {
        "recall": (right, of_class),
        "precision": (right, taken_for_it),
        "f1": (2 * right, of_class + taken_for_it),
    }[measure]
    mean_u, mean_v = ((x * share).sum(axis=(-2, -1), keepdims=True) for x in (u, v))
    mean_v[mean_v == 0] = 1  # a class that is never predicted: 0 / 1, and no influence
    ratio = mean_u / mean_v
    influence = (u - ratio * v) / mean_v
    of_own_class = share.sum(axis=-1, keepdims=True)
    mean_of_class = (influence * share).sum(axis=-1, keepdims=True) / np.where(of_own_class, of_own_class, 1)
    return ratio + influence - mean_of_class


def _interval(effect: PairedEffect) -> dict[str, Any]:
    return {"delta": effect.delta, "low": effect.low, "high": effect.high, "p_value": effect.p_value}
