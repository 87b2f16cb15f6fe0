import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from ablations.cell import SplitSizes
from analysis.documented import documented
from analysis.outcomes import Outcomes
from analysis.reproduction import (
    RESOLUTION,
    Reproduction,
    accuracy_table,
    class_comparison,
    confusion_table,
    in_other_arithmetic,
    judged,
    on_the_documented_data,
    prediction_interval,
    seeds_for,
    spearman,
    trains_the_documented_baseline,
    values_by_class,
)
from analysis.studied import Answers, Description, StudiedArm, cell_table
from cnnkit.data import CLASSES
from cnnkit.recipe import Recipe
from cnnkit.spec import BASELINE

STORED = Path(__file__).parents[1] / "data" / "results"
PUBLISHED = documented().test_accuracy


def reproduced(rates: list[float], *, precision: str = "fp32", image_size: int = 224, train: int = 40_000) -> Outcomes:
    """The documented baseline, whose seeds get these shares of 10,000 images right, in each class alike."""
    labels = np.repeat(np.arange(10), 1000)
    predictions = {}
    for seed, rate in enumerate(rates):
        place = np.tile(np.arange(1000), 10)
        predictions[seed] = np.where(place < round(1000 * rate), labels, (labels + 1) % 10).astype(np.uint8)
    arm = StudiedArm(
        "baseline", is_baseline=True, epochs=5,
        spec=BASELINE.vary(image_size=image_size).model_dump(mode="json"),
        recipe=Recipe(precision=precision).model_dump(mode="json"),
    )  # fmt: skip
    rows = [
        {"arm": "baseline", "is_baseline": True, "seed": seed, "status": "finished", "precision": precision, "device": "a CPU",
         "test_accuracy": rate}
        for seed, rate in enumerate(rates)
    ]  # fmt: skip
    return Outcomes(
        arms=(arm,), classes=CLASSES, cells=cell_table(rows),
        read_answers=lambda: Answers(labels, {"baseline": predictions}),
        study=Description("documented", split=SplitSizes(train=train, validation=5_000, test=10_000)),
    )  # fmt: skip


def test_the_prediction_interval_covers_a_new_seed_as_often_as_it_says():
    dice = np.random.default_rng(1)
    for n in (2, 3, 5):
        values = dice.normal(0.66, 0.01, size=(4_000, n + 1))
        inside = [low <= row[-1] <= high for row in values for low, high in [prediction_interval(row[:-1])]]
        assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


def test_the_prediction_interval_is_what_a_t_test_of_one_against_the_others_accepts():
    values = np.array([0.651, 0.662, 0.649, 0.668])
    low, high = prediction_interval(values)

    def p_value(new: float) -> float:
        """Of a pooled two-sample t test, one sample being a single value, through a regression on a dummy variable."""
        dummy = np.array([0.0] * len(values) + [1.0])
        return float(stats.linregress(dummy, np.append(values, new)).pvalue)

    assert p_value(low) == pytest.approx(0.05)
    assert p_value(high) == pytest.approx(0.05)
    assert p_value((low + high) / 2 + 0.4 * (high - low)) > 0.05


@pytest.mark.parametrize(
    ("accuracies", "kind", "words"),
    [
        ([0.655, 0.660, 0.663, 0.658], "consistent", "has 65.89 % inside"),
        ([0.690, 0.692, 0.689], "not consistent", "leaves 65.89 % out"),
        ([0.60, 0.66, 0.72], "undecided", "would exclude little"),
        ([0.66], "undecided", "at least two"),
        ([], "undecided", "0 seeds"),
    ],
)
def test_every_verdict_on_the_documented_number_can_be_reached(accuracies, kind, words):
    verdict = judged(PUBLISHED, accuracies)
    assert verdict.kind == kind
    assert words in verdict.sentence


def test_the_seeds_that_would_do_are_the_fewest_that_do():
    n = seeds_for(0.012, RESOLUTION)
    assert n is not None

    def half(count: int) -> float:
        return float(stats.t.ppf(0.975, count - 1)) * 0.012 * math.sqrt(1 + 1 / count)

    assert half(n) <= RESOLUTION < half(n - 1)
    assert seeds_for(0.02, RESOLUTION) is None  # 1.96 SD is more


def test_only_the_documented_protocol_on_its_images_gets_a_verdict():
    rates = [0.655, 0.660, 0.663]
    whole = Reproduction.of(reproduced(rates))
    assert whole is not None
    assert whole.verdict.kind == "consistent"
    assert Reproduction.of(reproduced(rates, precision="bf16")).verdict.kind == "consistent"
    small = Reproduction.of(reproduced(rates, image_size=64))
    assert small.verdict.kind == "undecided"
    assert "not the documented protocol" in small.verdict.sentence
    fewer = Reproduction.of(reproduced(rates, train=8_000))
    assert "not the documented images" in fewer.verdict.sentence
    assert not on_the_documented_data(fewer.outcomes, documented())
    assert trains_the_documented_baseline(fewer.outcomes)


def test_a_study_of_other_arms_is_no_reproduction():
    assert Reproduction.of(Outcomes.from_store(STORED, "depth-smoke")) is None


def test_values_by_class_are_those_of_scikit_learn():
    study = Outcomes.from_store(STORED, "depth-smoke")
    predicted = study.predictions[study.baseline.name][0]
    found = values_by_class(predicted, study.labels, 10)
    precision, recall, f1, _ = precision_recall_fscore_support(
        study.labels, predicted, labels=range(10), zero_division=0
    )
    np.testing.assert_allclose(found["precision"], precision)
    np.testing.assert_allclose(found["recall"], recall)
    np.testing.assert_allclose(found["f1"], f1)


def test_the_confusion_table_is_the_mean_of_scikit_learns_over_seeds():
    study = Outcomes.from_store(STORED, "depth-smoke")
    cells = study.predictions[study.baseline.name].values()
    expected = np.mean(
        [confusion_matrix(study.labels, cell, labels=range(10), normalize="true") for cell in cells], axis=0
    )
    np.testing.assert_allclose(confusion_table(study).to_numpy(), expected)


def test_a_class_is_marked_where_each_value_lies_outside_of_the_others_interval():
    table = class_comparison(reproduced([0.655, 0.660, 0.663]), documented()).set_index(["class", "measure"])
    assert table.loc[("cat", "recall"), "beyond"]  # 0.39 documented, 0.66 here
    assert not table.loc[("dog", "recall"), "beyond"]  # 0.65 documented
    assert not class_comparison(reproduced([0.66]), documented())["beyond"].any()


def test_the_accuracy_table_holds_the_document_and_each_arithmetic():
    table = accuracy_table(reproduced([0.655, 0.660, 0.663]), documented(), [reproduced([0.659], precision="bf16")])
    assert table["precision"].tolist() == ["", "fp32", "bf16"]
    assert table["value"].tolist() == pytest.approx([0.6589, 0.6593, 0.659], abs=1e-3)
    assert table["interval"].tolist()[1:] == ["95 %, one new seed", "one seed: no interval"]
    assert math.isnan(table["low"].iloc[2])


def test_what_was_run_in_which_arithmetic_is_said_with_the_difference_of_shared_seeds(monkeypatch):
    found = Reproduction.of(reproduced([0.655, 0.660, 0.663], precision="bf16"))
    other = reproduced([0.659], precision="fp32")
    monkeypatch.setattr("analysis.reproduction.in_other_arithmetic", lambda outcomes: [other])
    assert found.arithmetic == "Run: 3 seeds in bf16, 1 seed in fp32; seed 0 has +0.40 points in fp32."


def test_of_each_other_arithmetic_the_study_with_most_seeds_stands_beside(monkeypatch, tmp_path):
    own = reproduced([0.655, 0.660, 0.663], precision="bf16")
    own = replace(own, study=replace(own.study, folder=tmp_path / "studies" / "own"))
    others = {
        "own": own,
        "one": reproduced([0.659]),
        "two": reproduced([0.659, 0.661]),
        "smaller": reproduced([0.5, 0.5, 0.5], image_size=64),
        "same": reproduced([0.6] * 4, precision="bf16"),
        "none": reproduced([]),
    }
    monkeypatch.setattr("analysis.reproduction.Store", lambda root: SimpleNamespace(studies=lambda: list(others)))
    monkeypatch.setattr(Outcomes, "from_store", lambda root, name: others[name])
    assert in_other_arithmetic(own) == [others["two"]]
    assert in_other_arithmetic(reproduced([0.66])) == []  # of no results folder


def test_rank_correlation_shares_ranks_of_ties_and_knows_no_constant():
    one, other = np.array([0.73, 0.73, 0.5, 0.9]), np.array([0.7, 0.8, 0.1, 0.6])
    ranks = [pd.Series(values).rank() for values in (one, other)]
    assert spearman(one, other) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert math.isnan(spearman(np.ones(4), other))


def test_a_study_without_a_finished_seed_has_tables_without_numbers():
    empty = reproduced([0.66])
    nothing = replace(empty, cells=cell_table([]), read_answers=lambda: Answers(np.zeros(0, int), {"baseline": {}}))
    found = Reproduction(nothing, documented())
    assert found.classes["mean"].isna().all()
    assert found.confusion.empty
    assert found.ranks.empty
    assert found.verdict.kind == "undecided"
