"""The script on how alike variances are, on stored studies and on simulated ones."""

import importlib.util
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ablations.plan import PlannedCell, make_plan
from ablations.protocols import PROTOCOLS, Split
from ablations.record import CellResult, Provenance
from ablations.store import Store
from cnnkit.errors import UserError
from cnnkit.metrics import Epoch, PerClass

STORED = Path(__file__).parents[1] / "data" / "results"
SCRIPT = Path(__file__).parents[2] / "experiments" / "survey_variances.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("survey_variances_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def dropouts(baseline):
    """How much dropout?"""
    rates = [round(0.05 * n, 2) for n in range(1, 10)]
    return [baseline, *(baseline.variant(f"dropout {p}", {"dropout": p}, dropout=p) for p in rates)]


def result_of(planned: PlannedCell, accuracy: float) -> CellResult:
    labels = np.arange(20) % 10
    logits = np.eye(10, dtype=np.float32)[labels]
    epoch = Epoch(
        epoch=1, train_loss=2.0, validation_loss=2.0, validation_accuracy=0.5, learning_rate=0.1, train_seconds=1.0,
        evaluate_seconds=0.5,
    )  # fmt: skip
    provenance = Provenance(
        protocol="smoke", device="x", device_type="cpu", threads=1, precision="fp32", micro_batch=64, gpu_share=0.0,
        trials_at_once=2, versions={}, host="h", started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:01:00+00:00",
    )  # fmt: skip
    return CellResult(
        cell=planned.cell, arm=planned.called, provenance=provenance, curve=(epoch,), validation_logits=logits,
        validation_labels=labels, test_logits=logits, test_labels=labels, test_accuracy=accuracy,
        per_class=PerClass(precision=[0.5] * 10, recall=[0.5] * 10, f1=[0.5] * 10, support=[2] * 10),
        calibration_error=0.1, train_seconds=1.0, evaluate_seconds=0.5, peak_memory=None, weights=None,
    )  # fmt: skip


def test_a_results_folder_gives_tables_and_a_figure(script, tmp_path, sample, capsys):
    store = Store.open(tmp_path / "results", data=sample.fingerprint, data_description=sample.describe())
    protocol = PROTOCOLS["smoke"].vary(split=Split(train=20, validation=20, test=20))
    plan = make_plan(dropouts, "g", protocol, sample, store, seeds=range(5), arguments=[], now="2026-01-01")
    store.write_study(plan.study)
    dice = np.random.default_rng(0)
    for planned in plan.cells:
        store.write(result_of(planned, float(0.5 + 0.01 * dice.standard_normal())))
    assert script.main([str(tmp_path / "results"), "--out", str(tmp_path / "docs")]) == 0
    assert "9 variances of 1 study, around" in capsys.readouterr().out.replace("\n", " ")
    arms = pd.read_csv(tmp_path / "docs" / "variances-arms.csv")
    assert arms["sd"].is_monotonic_increasing
    assert pd.read_csv(tmp_path / "docs" / "variances.csv")["variances"].tolist() == [9]
    assert (tmp_path / "docs" / "variances.png").stat().st_size > 10_000
    plt.close("all")


def test_too_few_variances_are_one_sentence(script):
    with pytest.raises(UserError, match="fewer than eight arms"):
        script.main([str(STORED)])
    with pytest.raises(UserError, match="at least 3"):
        script.main([str(STORED), "--least-seeds", "2"])
