"""What a plan will take, before it is begun."""

from pathlib import Path

import numpy as np
import pytest

from ablations.store import Store
from analysis.effects import seed_differences
from analysis.expectations import Spread, expected_cells, known_spread
from analysis.looks import plan_looks
from analysis.outcomes import Outcomes

STORED = Path(__file__).parents[1] / "data" / "results"


def expected(*looks: int, sd: float = 0.008, arms: int = 7):
    return expected_cells(plan_looks(*looks).plan, arms=arms, images=10_000, spread=Spread(sd, "given"))


def test_cells_lie_between_those_of_the_first_look_and_all():
    plan = expected(3, 5, 10)
    assert (plan.least, plan.most) == (24, 80)
    assert all(plan.least <= cells <= plan.most for cells in plan.average.values())


def test_effects_that_are_large_for_their_spread_take_few_cells_and_are_settled():
    plan = expected(3, 5, 10, sd=0.003)
    assert plan.average[0.02] < 0.6 * plan.most
    assert plan.settled[0.02] > 0.9
    assert expected(3, 5, 10, sd=0.02).settled[0.005] < 0.1


def test_where_each_seed_chooses_among_candidates_all_of_them_are_counted():
    plan, tuned = (
        expected_cells(
            plan_looks(3, 5, 10).plan, arms=7, images=10_000, spread=Spread(0.008, "given"), candidates=candidates
        )
        for candidates in (1, 3)
    )
    assert (tuned.least, tuned.most) == (72, 240)
    assert tuned.average[0.01] == pytest.approx(3 * plan.average[0.01])


def test_one_look_takes_all_cells():
    plan = expected(6)
    assert {plan.least, plan.most, *plan.average.values()} == {48}


def test_the_lines_say_what_each_effect_takes_and_where_the_spread_is_from():
    first, *effects, last = expected(3, 5, 10).lines()
    assert first == "24 cells at least, 80 at most"
    assert [line.partition(":")[0] for line in effects] == [
        "if every arm differs by 0.5 points", "if every arm differs by 1 point", "if every arm differs by 2 points",
    ]  # fmt: skip
    assert last == "(taking the SD of a seed's difference to be 0.80 points, given)"


def test_the_spread_is_that_of_the_studies_in_the_results_folder():
    store = Store(STORED)
    study = store.study("depth-smoke")
    variances = []
    for name in store.studies():
        differences = seed_differences(Outcomes.from_store(STORED, name))
        for _, of_arm in differences.groupby("arm"):
            variances.append((of_arm["difference"].var(), len(of_arm) - 1))
    spread = known_spread(store, study)
    pooled = sum(v * df for v, df in variances) / sum(df for _, df in variances)
    assert spread.sd == pytest.approx(np.sqrt(pooled))
    assert spread.source == f"from {len(variances)} arms in this results folder"
    assert "assumed" in known_spread(None, study).source
