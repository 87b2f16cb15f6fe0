"""Every two arms against each other, on real predictions."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from ablations.record import Command
from analysis import report, tables
from analysis.effects import effect_table
from analysis.looks import plan_looks
from analysis.outcomes import Outcomes
from analysis.pairs import MOST_ARMS, pair_table
from analysis.statistics import holm, paired_effect
from analysis.studied import Answers, StudiedArm, cell_table
from analysis.study_tables import StudyTables

ROOT = Path(__file__).parents[1] / "data" / "results"


@pytest.fixture(scope="module")
def depth() -> Outcomes:
    """Five arms, three seeds, 500 test images; the baseline is the third."""
    return Outcomes.from_store(ROOT, "depth-smoke")


def right(outcomes: Outcomes, arm: str) -> np.ndarray:
    return np.stack([outcomes.correct[arm][seed] for seed in range(3)])


def test_every_two_arms_are_paired_and_corrected_over_all_pairs(depth):
    table = pair_table(depth)
    assert len(table) == 10
    effects = [paired_effect(right(depth, row.arm), right(depth, row.minus)) for row in table.itertuples()]
    assert table["delta"].tolist() == [effect.delta for effect in effects]
    assert table["adjusted_p"].tolist() == pytest.approx(holm([effect.p_value for effect in effects]).tolist())
    assert {frozenset(pair) for pair in table[["arm", "minus"]].to_numpy().tolist()} == {
        frozenset(pair) for pair in combinations([arm.name for arm in depth.arms], 2)
    }
    zero_outside = (table["low"] > 0) | (table["high"] < 0)
    assert (zero_outside == (table["adjusted_p"] < 0.05)).all()


def test_differences_to_the_baseline_have_the_sign_of_the_effects_and_names_say_which_way_round(depth):
    table, effects = pair_table(depth), effect_table(depth).set_index("arm")
    baseline = depth.baseline.name
    assert baseline not in set(table["arm"])
    for row in table[table["minus"] == baseline].itertuples():
        assert row.delta == effects.loc[row.arm, "delta"]
    shown = tables.pairs(table).shown()
    assert "6 blocks minus 2 blocks" in shown["difference"].tolist()
    assert "p Holm, 10 pairs" in shown.columns


def test_pairs_pay_for_looks_planned_or_not(depth):
    once = pair_table(depth)["adjusted_p"]
    planned = replace(depth, study=replace(depth.study, looks=plan_looks(3, 5, 10).plan))
    commands = [
        Command(time=f"2026-01-0{seeds}", arguments=[], seeds=seeds, finished_before=seeds - 1) for seeds in (2, 3)
    ]
    added = replace(depth, study=replace(depth.study, commands=commands))
    for outcomes, looks in ((planned, 3), (added, 2)):
        assert pair_table(outcomes)["adjusted_p"].tolist() == pytest.approx(np.minimum(once * looks, 1).tolist())


def test_the_page_has_the_pairs_folded_and_as_csv(depth, tmp_path):
    page = report.write(StudyTables(depth), tmp_path / "report").read_text()
    assert "All 10 pairs of arms" in page
    assert (tmp_path / "report" / "pairs.csv").read_text().startswith("arm,minus,delta,low,high,level,p_value")


def many(arms: int) -> Outcomes:
    predictions = {f"arm {n}": {0: np.zeros(4, dtype=np.uint8)} for n in range(arms)}
    rows = [{"arm": name, "is_baseline": name == "arm 0", "seed": 0, "status": "finished"} for name in predictions]
    return Outcomes(
        tuple(StudiedArm(name, is_baseline=name == "arm 0") for name in predictions), ("cat", "dog"), cell_table(rows),
        lambda: Answers(np.zeros(4, dtype=np.int64), predictions),
    )  # fmt: skip


@pytest.mark.parametrize(("arms", "pairs"), [(2, 0), (3, 3), (MOST_ARMS + 1, 0)])
def test_two_arms_are_one_comparison_and_very_many_are_too_many_to_read(arms, pairs):
    assert len(pair_table(many(arms))) == pairs
