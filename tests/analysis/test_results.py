"""What is read from a real study's stored logits."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from ablations.record import Store
from analysis.results import load

ROOT = Path(__file__).parents[1] / "data" / "results"


@pytest.fixture
def root(tmp_path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(ROOT, tmp_path / "results")


def test_predictions_are_the_largest_logits_and_agree_with_the_recorded_accuracy():
    results = load(ROOT, "depth-smoke")
    for trial in results.trials.itertuples():
        logits, labels = results.logits(trial.arm, trial.seed)
        predicted = results.predictions[trial.arm][trial.seed]
        assert np.array_equal(predicted, logits.argmax(1))
        assert np.array_equal(results.labels, labels)
        assert accuracy_score(results.labels, predicted) == pytest.approx(trial.test_accuracy)
        assert np.array_equal(results.correct[trial.arm][trial.seed], predicted == labels)
    assert results.damaged == []


def test_a_cell_with_damaged_logits_is_left_out_and_named(root):
    first = load(root, "depth-smoke").trials.iloc[0]
    (root / "cells" / first["key"] / "logits.safetensors").write_bytes(b"no logits")
    results = load(root, "depth-smoke")
    assert first["seed"] not in results.predictions[first["arm"]]
    assert first["seed"] not in results.correct[first["arm"]]
    (sentence,) = results.damaged
    assert first["key"] in sentence
    assert sum(map(len, results.predictions.values())) == len(results.trials) - 1


def test_a_cell_with_labels_of_its_own_is_left_out_and_named_even_if_it_is_the_first(root):
    first = load(root, "depth-smoke").trials.iloc[0]
    store = Store.open(root, data=Store(root).about.data, data_description="")
    record = store.read(first["key"])
    logits = {
        f"{part}_{name}": values
        for part in ("validation", "test")
        for name, values in zip(("logits", "labels"), store.logits(record, part), strict=True)
    }
    shutil.rmtree(store.cell_folder(record.key))
    reversed_labels = {**logits, "test_labels": logits["test_labels"][::-1].copy()}
    store.write(record.model_dump(exclude={"files", "seal"}), reversed_labels, {})
    results = load(root, "depth-smoke")
    assert np.array_equal(results.labels, logits["test_labels"])
    assert first["seed"] not in results.predictions[first["arm"]]
    (sentence,) = results.damaged
    assert first["key"] in sentence
    assert "labels" in sentence


def test_where_no_cell_can_be_read_there_are_no_predictions(root):
    shutil.rmtree(root / "cells")
    (root / "cells").mkdir()
    results = load(root, "depth-smoke")
    assert results.labels.shape == (0,)
    assert set(results.predictions) == set(results.trials["arm"])
    assert not any(results.predictions.values())
