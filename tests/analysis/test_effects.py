import math

import pandas as pd
import pytest
from scipy import stats

from analysis.effects import difference, effect_table, remarks


def trials(accuracies: dict[str, list[float | None]], **columns) -> pd.DataFrame:
    """Cells of arms with these test accuracies by seed; None is missing. The first arm is the baseline."""
    rows = [
        {
            "arm": arm, "is_baseline": arm == next(iter(accuracies)), "seed": seed, "parameters": 10, "head_share": 0.5,
            "multiply_adds": 100, "status": "missing" if accuracy is None else "finished", "test_accuracy": accuracy,
            "seconds": 3.0, "device": "a CPU", "precision": "bf16",
        }
        for arm, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**columns)


def test_the_difference_is_paired_by_seed_with_scipys_interval():
    table = effect_table(trials({"base": [0.5, 0.6, 0.7], "arm": [0.52, 0.61, 0.73]}))
    row = table.iloc[1]
    expected = stats.ttest_rel([0.52, 0.61, 0.73], [0.5, 0.6, 0.7]).confidence_interval()
    assert row["delta"] == pytest.approx(0.02)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
    assert table.iloc[0]["test_sd"] == pytest.approx(0.1)
    assert difference(table.iloc[0]) == "baseline"


def test_seeds_without_a_partner_are_left_out_of_the_difference_and_said():
    table = effect_table(trials({"base": [0.5, None, 0.7], "arm": [0.52, 0.61, 0.73]}))
    row = table.iloc[1]
    assert row["seeds"] == 3
    assert row["paired_seeds"] == 2
    assert row["delta"] == pytest.approx(0.025)
    assert "base: 1" in " ".join(remarks(table))


def test_one_seed_gives_an_effect_without_an_interval():
    row = effect_table(trials({"base": [0.5], "arm": [0.52]})).iloc[1]
    assert math.isnan(row["low"])
    assert difference(row) == "+2.00 (one seed: no interval)"


def test_without_finished_cells_there_is_no_difference():
    row = effect_table(trials({"base": [None], "arm": [0.52]})).iloc[1]
    assert difference(row) == "no pair of finished cells"


def test_a_table_that_mixes_devices_or_precisions_says_so():
    table = effect_table(trials({"base": [0.5, 0.6], "arm": [0.5, 0.7]}, precision=["bf16", "bf16", "fp16", "bf16"]))
    assert "different devices or precisions (a CPU, bf16; a CPU, fp16)" in remarks(table)[0]
    assert remarks(effect_table(trials({"base": [0.5], "arm": [0.5]}))) == []
