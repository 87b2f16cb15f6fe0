from pathlib import Path

import numpy as np
import pytest

from analysis.calibration import calibration
from analysis.fit import fit_table
from analysis.outcomes import Outcomes
from cnnkit.evaluate import calibration_error

STORED = Path(__file__).parents[1] / "data" / "results"


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    return Outcomes.from_store(STORED, "depth-smoke")


def test_the_calibration_error_is_that_of_the_records_definition(outcomes):
    table = calibration(outcomes).by_cell
    assert len(table) == 15
    for row in table.itertuples():
        assert row.error == pytest.approx(calibration_error(*outcomes.logits(row.arm, row.seed)))
        assert row.accuracy == outcomes.correct[row.arm][row.seed].mean()


def test_a_reliability_diagram_counts_every_answer_once(outcomes):
    found = calibration(outcomes)
    table = found.by_confidence
    assert (table.groupby("arm")["images"].sum() == 3 * 500).all()
    per_arm = found.by_cell.groupby("arm")["accuracy"].mean()
    weighted = (table["accuracy"] * table["images"]).groupby(table["arm"]).sum() / 1500
    assert weighted.to_dict() == pytest.approx(per_arm.to_dict())
    edges = np.floor(table["confidence"] * 15).clip(upper=14)
    assert (edges == table["bin"]).all()


def test_the_gap_is_the_validation_loss_of_the_last_epoch_less_its_training_loss(outcomes):
    table = fit_table(outcomes).set_index("arm")
    assert table["seeds"].tolist() == [3] * 5
    last = outcomes.epochs.query("epoch == 2 and arm == '2 blocks'")
    gaps = last["validation_loss"] - last["train_loss"]
    assert table.loc["2 blocks", "gap"] == pytest.approx(gaps.mean())
    assert table.loc["2 blocks", "gap_sd"] == pytest.approx(gaps.std(ddof=1))
