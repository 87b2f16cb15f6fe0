"""Per class and per image, on real predictions: scikit-learn, scipy, a jackknife and counts by hand are the references."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import precision_recall_fscore_support

from analysis import per_class
from analysis.outcomes import Outcomes
from analysis.per_class import (
    MEASURES,
    class_effects,
    class_table,
    confusions,
    flips,
    gained_and_lost,
    rows_of,
)
from analysis.statistics import holm, paired_effect
from analysis.studied import Answers
from cnnkit.description import CIFAR10_CLASSES as CLASSES
from cnnkit.description import CIFAR10_GROUPS

ROOT = Path(__file__).parents[1] / "data" / "results"
VEHICLES, ANIMALS = CIFAR10_GROUPS["vehicles"], CIFAR10_GROUPS["animals"]
DIFFERENCE = "vehicles - animals"
TABLES = (class_table, class_effects, confusions, flips)


@pytest.fixture(scope="module")
def depth() -> Outcomes:
    """Five arms, three seeds, 500 test images."""
    return Outcomes.from_store(ROOT, "depth-smoke")


def with_predictions(
    results: Outcomes, predictions: dict[str, dict[int, np.ndarray]], labels: np.ndarray | None = None
) -> Outcomes:
    """The study's arms with other predictions; arms that are not named have no finished cell."""
    answers = Answers(
        results.labels if labels is None else labels,
        {arm.name: predictions.get(arm.name, {}) for arm in results.arms},
    )
    return replace(results, read_answers=lambda: answers)


def names(results: Outcomes) -> tuple[str, list[str]]:
    """The baseline's and the other arms'."""
    return results.baseline.name, [arm.name for arm in results.arms if not arm.is_baseline]


def many_seeds(results: Outcomes) -> dict[int, np.ndarray]:
    """All cells of the study, as if they were so many seeds of one arm."""
    return dict(enumerate(cell for cells in results.predictions.values() for cell in cells.values()))


def planted(results: Outcomes) -> tuple[Outcomes, int, int]:
    """A study whose first other arm takes three of four cats, dogs, ... that it would get right for another class; all
    other arms are the baseline. With the class, and the one that it is taken for.
    """
    baseline, (hurt, *others) = names(results)
    cells = many_seeds(results)
    own = int(np.argmax([sum((p == c) & (results.labels == c) for p in cells.values()).sum() for c in range(10)]))
    taken_for = (own + 5) % 10
    arm = {}
    for seed, predicted in cells.items():
        right = np.flatnonzero((predicted == own) & (results.labels == own))
        arm[seed] = predicted.copy()
        arm[seed][right[np.random.default_rng(seed).random(len(right)) < 0.75]] = taken_for
    return with_predictions(results, {baseline: cells, hurt: arm, **dict.fromkeys(others, cells)}), own, taken_for


# -- class_table


def test_means_and_standard_deviations_are_scikit_learns_over_the_seeds(depth):
    table = class_table(depth).set_index(["arm", "measure", "class"]).sort_index()
    never_predicted = False
    for arm, cells in depth.predictions.items():
        by_seed = np.array(
            [
                precision_recall_fscore_support(depth.labels, predicted, labels=range(10), zero_division=0)[:3]
                for predicted in cells.values()
            ]
        )  # (seeds, measures, classes)
        never_predicted |= any(len(np.unique(predicted)) < len(CLASSES) for predicted in cells.values())
        for place, measure in enumerate(("precision", "recall", "f1")):
            own = table.loc[(arm, measure)]
            assert own.loc[list(CLASSES), "mean"].tolist() == pytest.approx(by_seed[:, place].mean(axis=0))
            assert own.loc[list(CLASSES), "sd"].tolist() == pytest.approx(by_seed[:, place].std(axis=0, ddof=1))
            for group, members in (("vehicles", VEHICLES), ("animals", ANIMALS)):
                group_by_seed = by_seed[:, place][:, [CLASSES.index(name) for name in members]].mean(axis=1)
                assert own.loc[group, "mean"] == pytest.approx(group_by_seed.mean())
                assert own.loc[group, "sd"] == pytest.approx(group_by_seed.std(ddof=1))
    assert never_predicted  # else the convention for it is not tested here


def test_the_table_has_a_row_for_each_arm_measure_and_class_or_group(depth):
    table = class_table(depth)
    assert len(table) == 5 * 3 * 12
    assert not table.duplicated(["arm", "measure", "class"]).any()
    assert set(table.loc[table["is_baseline"], "arm"]) == {depth.baseline.name}
    assert (table["seeds"] == 3).all()
    shown = table.dropna(subset=["low"])
    assert (shown["low"] <= shown["mean"]).all()
    assert (shown["mean"] <= shown["high"]).all()
    assert shown[["low", "high"]].stack().between(0, 1).all()


def test_a_class_that_is_never_predicted_has_no_interval_of_its_precision_and_one_above_0_of_its_recall(depth):
    baseline, _ = names(depth)
    never_cat = {
        seed: np.where(p == CLASSES.index("cat"), CLASSES.index("dog"), p)
        for seed, p in enumerate(many_seeds(depth).values())
    }
    table = class_table(with_predictions(depth, {baseline: never_cat})).set_index(["class", "measure"])
    assert table.loc[("cat", "recall"), "high"] == pytest.approx(stats.t.isf(0.025, 49) / 50)  # one of 50 cats not seen
    for measure in MEASURES:
        row = table.loc[("cat", measure)]
        assert row["mean"] == 0
        if measure == "precision":
            assert row[["low", "high"]].isna().all()
        else:
            assert row["low"] == 0 < row["high"]
        assert table.loc[("dog", measure), ["low", "high"]].notna().all()


def jackknife_error(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Standard errors of scikit-learn's precision, recall and F1 (measures, classes) for new images of the same class
    proportions: each image is left out once, and the others of its class weigh more.
    """
    counts = np.bincount(labels)
    left_out = np.empty((len(labels), 3, len(CLASSES)))
    for image, label in enumerate(labels):
        weights = np.where(labels == label, counts[label] / (counts[label] - 1), 1.0)
        weights[image] = 0
        left_out[image] = precision_recall_fscore_support(
            labels, predicted, labels=range(10), sample_weight=weights, zero_division=0
        )[:3]
    variance = np.zeros(left_out.shape[1:])
    for label, count in enumerate(counts):
        of_class = left_out[labels == label]
        variance += (count - 1) / count * ((of_class - of_class.mean(axis=0)) ** 2).sum(axis=0)
    return np.sqrt(variance)


def test_where_only_images_vary_the_interval_is_that_of_a_jackknife(depth):
    baseline, _ = names(depth)
    predicted = depth.predictions[baseline][0]
    table = class_table(with_predictions(depth, {baseline: {0: predicted, 1: predicted}}))
    table = table.set_index(["measure", "class"])
    expected = jackknife_error(depth.labels, predicted)
    compared = 0
    for place, measure in enumerate(("precision", "recall", "f1")):
        for number, name in enumerate(CLASSES):
            row = table.loc[(measure, name)]
            if (predicted == number).sum() < 25 or row["low"] == 0 or row["high"] == 1:
                continue  # a ratio of few images is not linear, and a limit that was cut off not comparable
            n_images = 50 if measure == "recall" else 500
            of_own, taken = 50, (predicted == number).sum()
            unseen = {"precision": 1 / taken, "recall": 1 / of_own, "f1": 2 / (of_own + taken)}[measure]
            half = stats.t.isf(0.025, n_images - 1) * math.hypot(expected[place, number], unseen)
            assert (row["high"] - row["low"]) / 2 == pytest.approx(half, rel=0.05)
            compared += 1
    assert compared >= 9


# -- class_effects


def test_the_effect_on_recall_is_paired_effect_on_the_images_of_the_class(depth):
    baseline, (arm, *_) = names(depth)
    table = class_effects(depth).set_index(["arm", "measure", "class"]).sort_index()
    right, baseline_right = (np.stack(list(depth.correct[name].values())) for name in (arm, baseline))
    for number, name in enumerate(CLASSES):
        own = depth.labels == number
        expected = paired_effect(right[:, own], baseline_right[:, own])
        row = table.loc[(arm, "recall", name)]
        assert [row["delta"], row["low"], row["high"], row["p_value"]] == pytest.approx(
            [expected.delta, expected.low, expected.high, expected.p_value]
        )


def test_no_interval_is_narrower_than_the_paired_t_interval_over_seeds_and_some_are_equal(depth):
    baseline, others = names(depth)
    table = class_effects(depth).set_index(["arm", "measure", "class"]).sort_index()
    by_seed = {
        arm: np.array(
            [
                precision_recall_fscore_support(depth.labels, predicted, labels=range(10), zero_division=0)[:3]
                for predicted in cells.values()
            ]
        )
        for arm, cells in depth.predictions.items()
    }
    equal = 0
    for arm in others:
        for place, measure in enumerate(("precision", "recall", "f1")):
            t_test = stats.ttest_rel(by_seed[arm][:, place], by_seed[baseline][:, place])
            low, high = t_test.confidence_interval(0.95)
            rows = table.loc[(arm, measure)].loc[list(CLASSES)]
            assert (rows["low"] <= low + 1e-12).all()
            assert (rows["high"] >= high - 1e-12).all()
            equal += int(np.isclose(rows["low"], low).sum())
    assert equal


def test_groups_are_means_of_their_classes_and_the_difference_is_between_them(depth):
    table = class_effects(depth).pivot(index=["arm", "measure"], columns="class", values="delta")
    assert np.allclose(table["vehicles"], table[list(VEHICLES)].mean(axis=1))
    assert np.allclose(table["animals"], table[list(ANIMALS)].mean(axis=1))
    assert np.allclose(table[DIFFERENCE], table["vehicles"] - table["animals"])


def test_holm_corrects_classes_together_and_groups_with_their_difference_by_themselves(depth):
    table = class_effects(depth)
    for measure in MEASURES:
        for family in (CLASSES, ("vehicles", "animals", DIFFERENCE)):
            tests = table[(table["measure"] == measure) & table["class"].isin(family)]
            assert len(tests) == 4 * len(family)
            assert tests["adjusted_p"].tolist() == holm(tests["p_value"].tolist()).tolist()


def test_an_effect_in_one_class_is_found_there_and_nowhere_else(depth):
    study, own, _ = planted(depth)
    table = class_effects(study)
    recall = table[(table["measure"] == "recall") & table["class"].isin(CLASSES)]
    (found,) = recall[recall["adjusted_p"] < 0.05].itertuples()
    assert found._3 == CLASSES[own]
    assert found.delta < 0
    others = recall.drop(found.Index)
    assert (others["delta"] == 0).all()
    assert (others["p_value"] == 1).all()


def test_the_interval_of_a_difference_between_groups_does_not_count_how_far_the_groups_are_apart(depth):
    # Every class's recall is 0.3 in the baseline; the arm gets all vehicles right, in every seed: no chance is left there.
    labels = np.repeat(np.arange(10), 50)
    vehicle = np.isin(labels, [CLASSES.index(name) for name in VEHICLES])
    wrong = (labels + 1) % 10
    baseline, (arm, *_) = names(depth)
    cells = {seed: np.where(np.arange(500) % 10 < 3, labels, wrong) for seed in range(3)}
    better = {seed: np.where(vehicle, labels, predicted) for seed, predicted in cells.items()}
    study = with_predictions(depth, {baseline: cells, arm: better}, labels)
    table = class_effects(study).set_index(["measure", "class"])
    row = table.loc[("recall", DIFFERENCE)]
    assert row["delta"] == pytest.approx(0.7)
    # By hand: 0.7 is the mean over 200 vehicles of differences 0 (a share of .3) and 1; animals do not differ at all.
    # One image that was not seen to turn, of a vehicle class: 1 / 4 of its recall, 1 / 50.
    error = math.hypot(math.sqrt(0.3 * 0.7 / 200), 1 / 4 / 50)
    assert row["high"] - row["delta"] == pytest.approx(stats.t.isf(0.025, 499) * error, rel=0.01)


# -- confusions


def test_rates_are_those_of_the_confusion_matrix(depth):
    baseline, (arm, *_) = names(depth)
    table = confusions(depth)
    assert len(table) == 4 * 90
    row = table[(table["arm"] == arm) & (table["true_class"] == "cat") & (table["predicted_class"] == "dog")].iloc[0]
    cat = depth.labels == CLASSES.index("cat")
    rates = {
        name: np.mean(
            [(predicted[cat] == CLASSES.index("dog")).mean() for predicted in depth.predictions[name].values()]
        )
        for name in (arm, baseline)
    }
    assert row["arm_rate"] == pytest.approx(rates[arm])
    assert row["baseline_rate"] == pytest.approx(rates[baseline])
    assert row["delta"] == pytest.approx(rates[arm] - rates[baseline])
    assert table["adjusted_p"].tolist() == stats.false_discovery_control(table["p_value"]).tolist()


def test_what_a_class_loses_in_recall_its_confusions_gain(depth):
    recall = class_effects(depth).query("measure == 'recall'").set_index(["arm", "class"])["delta"]
    taken = confusions(depth).groupby(["arm", "true_class"])["delta"].sum()
    for arm, name in taken.index:
        assert taken[(arm, name)] == pytest.approx(-recall[(arm, name)])


def test_a_planted_confusion_is_found_and_named_first(depth):
    study, own, taken_for = planted(depth)
    (first, *others) = gained_and_lost(confusions(study)).itertuples()
    assert (first.change, first.significant) == ("gained", True)
    assert (first.true_class, first.predicted_class) == (CLASSES[own], CLASSES[taken_for])
    assert others == []


def test_the_largest_changes_of_each_arm_come_with_the_significant_first():
    table = pd.DataFrame(
        [
            ("b", "cat", "dog", 0.05, 0.8),
            ("b", "dog", "cat", 0.02, 0.01),
            ("b", "cat", "bird", 0.09, 0.7),
            ("b", "bird", "cat", -0.01, 0.9),
            ("b", "deer", "cat", 0.0, 1.0),
            ("a", "cat", "dog", -0.03, math.nan),
        ],
        columns=["arm", "true_class", "predicted_class", "delta", "adjusted_p"],
    )
    chosen = gained_and_lost(table, n=2)
    assert chosen[["arm", "change", "significant", "delta"]].to_numpy().tolist() == [
        ["b", "gained", True, 0.02],
        ["b", "gained", False, 0.09],
        ["b", "lost", False, -0.01],
        ["a", "lost", False, -0.03],
    ]


# -- flips


def test_flips_are_counted_and_tested_as_by_hand(depth):
    baseline, (arm, *_) = names(depth)
    labels = np.arange(20) % 10
    wrong = (labels + 1) % 10
    image = np.arange(20)
    study = with_predictions(
        depth,
        {
            baseline: {0: labels, 1: np.where(image < 10, labels, wrong), 2: labels},
            arm: {0: np.where(image < 6, wrong, labels), 1: np.where((image < 4) | (image > 18), wrong, labels)},
        },
        labels,
    )
    first, second = flips(study).itertuples()
    assert (first.seed, first.baseline_right_arm_wrong, first.baseline_wrong_arm_right) == (0, 6, 0)
    assert first.p_value == pytest.approx(2 * 0.5**6)
    assert (second.seed, second.baseline_right_arm_wrong, second.baseline_wrong_arm_right) == (1, 4, 9)
    assert second.p_value == pytest.approx(stats.binomtest(4, 13).pvalue)
    for row in (first, second):
        assert (row.arm, row.lost_in_every_seed, row.gained_in_every_seed, row.paired_seeds) == (arm, 4, 0, 2)


def test_flips_add_up_to_the_difference_in_accuracy(depth):
    accuracy = depth.cells.set_index(["arm", "seed"])["test_accuracy"]
    table = flips(depth)
    assert len(table) == 4 * 3
    for row in table.itertuples():
        difference = accuracy[(row.arm, row.seed)] - accuracy[(depth.baseline.name, row.seed)]
        assert (row.baseline_wrong_arm_right - row.baseline_right_arm_wrong) / 500 == pytest.approx(difference)


# -- all tables


@pytest.mark.parametrize("table", TABLES)
def test_the_order_of_seeds_and_images_does_not_matter(depth, table):
    order = np.random.default_rng(0).permutation(500)
    shuffled = with_predictions(
        depth,
        {arm: {s: p[order] for s, p in reversed(cells.items())} for arm, cells in depth.predictions.items()},
        depth.labels[order],
    )
    pd.testing.assert_frame_equal(table(shuffled), table(depth), check_exact=False, rtol=1e-9)


def test_an_arm_that_predicts_as_the_baseline_does_has_no_effect(depth):
    baseline, (arm, *_) = names(depth)
    study = with_predictions(depth, dict.fromkeys((baseline, arm), depth.predictions[baseline]))
    for table in (class_effects(study), confusions(study)):
        assert (table["delta"] == 0).all()
        assert (table["p_value"] == 1).all()
    assert gained_and_lost(confusions(study)).empty
    assert (flips(study)["p_value"] == 1).all()


def test_one_seed_has_no_interval(depth):
    one = with_predictions(depth, {arm: {0: cells[0]} for arm, cells in depth.predictions.items()})
    levels = class_table(one)
    assert levels["mean"].notna().all()
    assert levels[["sd", "low", "high"]].isna().all(axis=None)
    for table in (class_effects(one), confusions(one)):
        assert table["delta"].notna().all()
        assert table[["low", "high", "p_value", "adjusted_p"]].isna().all(axis=None)
    assert not gained_and_lost(confusions(one))["significant"].any()
    assert flips(one)["p_value"].notna().all()


def test_only_shared_seeds_are_compared_and_an_arm_without_one_has_no_rows(depth):
    baseline, (first, second, *_) = names(depth)
    cells = depth.predictions
    partly = with_predictions(
        depth,
        {
            baseline: {seed: cells[baseline][seed] for seed in (0, 1)},
            first: cells[first],
            second: {2: cells[second][2]},
        },
    )
    both = with_predictions(
        depth, {baseline: partly.predictions[baseline], first: {seed: cells[first][seed] for seed in (0, 1)}}
    )
    for table in (class_effects, confusions, flips):
        pd.testing.assert_frame_equal(table(partly), table(both))
        assert (table(partly)["paired_seeds"] == 2).all()
    seeds = class_table(partly).groupby("arm")["seeds"].unique()
    assert seeds.map(list).to_dict() == {baseline: [2], first: [3], second: [1]}


@pytest.mark.parametrize("table", TABLES)
def test_without_finished_cells_a_table_is_empty_and_keeps_its_columns(depth, table):
    empty = table(with_predictions(depth, {}, np.empty(0, dtype=np.int64)))
    assert empty.empty
    assert list(empty.columns) == list(table(depth).columns)
    if table is confusions:
        assert gained_and_lost(empty).empty


def test_every_column_is_documented(depth):
    for table in TABLES:
        for column in table(depth).columns:
            assert column in table.__doc__.split("Columns:")[1]


# -- images that belong together


def in_fives(results: Outcomes) -> Outcomes:
    """The study's images, each of them five times as if they were frames of one video."""
    labels = np.repeat(results.labels, 5)
    predictions = {
        arm: {seed: np.repeat(predicted, 5) for seed, predicted in cells.items()}
        for arm, cells in results.predictions.items()
    }
    clusters = np.repeat(np.arange(len(results.labels)), 5)
    answers = Answers(labels, predictions, clusters=clusters)
    return replace(results, read_answers=lambda: answers)


@pytest.mark.parametrize("table", [class_table, class_effects, confusions])
def test_copies_of_images_in_a_cluster_tell_nothing_new(depth, table):
    once, five_times = table(depth), table(in_fives(depth))
    numbers = [name for name in once if pd.api.types.is_float_dtype(once[name])]
    assert five_times[numbers].to_numpy() == pytest.approx(once[numbers].to_numpy(), nan_ok=True)
    without = replace(in_fives(depth), read_answers=lambda: replace(in_fives(depth)._answers, clusters=None))
    narrower = (once["high"] - once["low"]) - (table(without)["high"] - table(without)["low"])
    assert (narrower.dropna() > -1e-9).all()
    assert (narrower > 1e-3).mean() > 0.4


def test_flips_of_copies_have_the_p_values_of_the_images(depth):
    once, five_times = flips(depth), flips(in_fives(depth))
    assert five_times["p_value"].tolist() == pytest.approx(once["p_value"].tolist())
    assert (five_times["baseline_right_arm_wrong"] == 5 * once["baseline_right_arm_wrong"]).all()


def test_of_a_class_whose_images_are_all_of_one_cluster_nothing_can_be_said(depth):
    clusters = np.where(depth.labels == 3, 0, np.arange(len(depth.labels)))
    alike = replace(depth, read_answers=lambda: replace(depth._answers, clusters=clusters))
    assert set(class_table(depth)["class"]) - set(class_table(alike)["class"]) == {"cat", "animals", DIFFERENCE} & set(
        class_table(depth)["class"]
    )


def test_many_classes_take_no_time_for_confusions_that_nobody_makes(depth, monkeypatch):
    """As those of a data set with 300 classes, of which 10 are ever answered."""
    asked = []
    real = per_class._difference
    monkeypatch.setattr(per_class, "_difference", lambda *args, **options: asked.append(1) or real(*args, **options))
    few, arms = confusions(depth), len(depth.arms) - 1
    count = len(asked)
    many = confusions(replace(depth, classes=(*depth.classes, *(f"other {i}" for i in range(290)))))
    assert len(asked) - count <= count
    made = (few["baseline_rate"] > 0) | (few["arm_rate"] > 0)
    columns = ["arm", "true_class", "predicted_class", "delta", "low", "high", "p_value"]
    pd.testing.assert_frame_equal(many[columns], few.loc[made, columns].reset_index(drop=True))
    assert len(few) == 90 * arms


def test_each_two_of_many_groups_are_not_compared(depth):
    groups = {f"group {i}": (depth.classes[i],) for i in range(6)}
    kinds = [row.kind for row in rows_of(replace(depth, groups=groups))]
    assert kinds.count("group") == 6
    assert "difference" not in kinds
