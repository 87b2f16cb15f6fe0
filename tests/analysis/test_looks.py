"""Planned looks at studies of known predictions."""

import re
from dataclasses import replace

import numpy as np
import pytest

from ablations.record import LookPlan
from analysis import methods, tables
from analysis.effects import effect_table
from analysis.looks import course, look_table, plan_looks
from analysis.moderation import moderate
from analysis.outcomes import Outcomes
from analysis.report import write
from analysis.sequential import Looks
from analysis.statistics import holm, paired_effect
from analysis.studied import Answers, Description, StudiedArm, cell_table
from analysis.study_tables import StudyTables
from analysis.variances import variance_table
from cnnkit.errors import UserError

IMAGES = 2_000
ARMS = ("none", "small", "large", *(f"arm {n}" for n in range(6)))
LOSS = {"small": 0.02, "large": 0.65}


def study(plan: LookPlan | None, seeds: dict[str, int], *, sd: float = 0.006, noisy: str = "") -> Outcomes:
    """Arms that lose what `LOSS` says, with so many seeds, the baseline with all."""
    dice = np.random.default_rng(3)
    most = 10
    predictions, rows = {}, []
    hard = dice.permutation(IMAGES)
    for name in ("baseline", *ARMS):
        losses = LOSS.get(name, 0.0) + (6 if name == noisy else 1) * sd * dice.standard_normal(most)
        count = max(seeds.values()) if name == "baseline" else seeds[name]
        predictions[name] = {}
        for seed in range(count):
            predicted = np.zeros(IMAGES, dtype=np.uint8)
            predicted[hard[: round((0.3 + losses[seed]) * IMAGES)]] = 1
            predictions[name][seed] = predicted
            rows.append(
                {"arm": name, "is_baseline": name == "baseline", "seed": seed, "status": "finished", "gpu_share": 0.0}
            )
    return Outcomes(
        arms=tuple(StudiedArm(name, is_baseline=name == "baseline") for name in predictions),
        classes=("cat", "dog"),
        cells=cell_table(rows),
        read_answers=lambda: Answers(np.zeros(IMAGES, dtype=np.int64), predictions),
        study=Description("study", looks=plan),
    )


def all_with(seeds: int) -> dict[str, int]:
    return dict.fromkeys(ARMS, seeds)


def test_at_the_first_look_p_values_are_holms_divided_by_the_part_of_5_percent_that_it_may_err():
    plan = plan_looks(3, 5, 10).plan
    outcomes = study(plan, all_with(3))
    rows = effect_table(outcomes).set_index("arm")
    right = outcomes.correct
    p = [
        paired_effect(*(np.stack([right[name][seed] for seed in range(3)]) for name in (arm, "baseline"))).p_value
        for arm in ARMS
    ]
    expected = holm(np.minimum(np.array(p) / (3 / 10) ** 3, 1))
    assert rows.loc[list(ARMS), "adjusted_p"].to_numpy() == pytest.approx(expected)


def test_one_planned_look_without_borrowing_gives_the_table_of_a_study_without_a_plan():
    plan = LookPlan(seeds=(5,), levels=(0.05,), margin=0.01)
    planned, fixed = (effect_table(study(each, all_with(5))) for each in (plan, None))
    for column in ("delta", "low", "high", "p_value", "adjusted_p", "shown_low", "shown_high", "verdict"):
        assert planned[column].tolist() == pytest.approx(fixed[column].tolist(), nan_ok=True), column


def test_seeds_beyond_an_arms_stop_are_not_read():
    plan = plan_looks(3, 5, 10).plan
    stopped, went_on = (course(study(plan, {**all_with(5), "large": n}), plan) for n in (3, 5))
    assert stopped.standings["large"] == went_on.standings["large"]
    assert stopped.standings["large"].look == 0


def test_moderated_variances_borrow_from_all_arms_those_that_stopped_among_them():
    plan = plan_looks(3, 5, 10, variance="moderated").plan
    outcomes = study(plan, {**all_with(5), "large": 3})
    known = course(outcomes, plan)
    expected = dict(zip(known.own, moderate(list(known.own.values())), strict=True))
    going = [arm for arm in ARMS if known.standings[arm].look == 1]
    assert going
    for arm in going:
        assert known.standings[arm].effect == expected[arm]
        assert known.standings[arm].effect.prior_df > 0
    assert set(known.own) == set(ARMS)
    assert "borrow from the other arms" in tables.effects(effect_table(outcomes)).notes[0]


def test_both_intervals_are_printed_and_an_arm_that_varies_more_is_marked():
    outcomes = study(None, all_with(5), noisy="arm 2")
    table = variance_table(outcomes).set_index("arm")
    assert table.index[table["stands_out"]].tolist() == ["arm 2"]
    widths = (table["moderated_high"] - table["moderated_low"]) / (table["high"] - table["low"])
    assert (widths[table["seed_sd"] < table["seed_sd"].median()] != 1).all()
    assert widths["arm 2"] < 1
    shown = tables.variances(variance_table(outcomes)).shown()
    assert shown.loc[shown["arm"] == "arm 2", ""].tolist() == ["stands out"]


def test_few_arms_have_nothing_to_borrow():
    outcomes = study(None, all_with(3))
    few = replace(outcomes, arms=outcomes.arms[:6], cells=outcomes.cells[outcomes.cells["arm"].isin(ARMS[:5])])
    assert variance_table(few).empty


def test_the_page_and_the_methods_say_how_the_study_was_looked_at(tmp_path):
    plan = plan_looks(3, 5, 10).plan
    outcomes = study(plan, {**all_with(5), "large": 3})
    tabled = StudyTables(outcomes)
    assert "p Holm, look 2 of 3" in [column.header for column in tables.effects(tabled.effects).columns]
    text = methods.paragraph(outcomes, margin=0.01)
    assert "looked at after 3, 5 and 10 seeds, at which tests may err in 0.13, 0.49, 4.4 %" in text
    assert "kim1987design" in methods.references(outcomes, margin=0.01)
    page = write(tabled, tmp_path / "report").read_text()
    assert re.search("<h2[^>]*>.*Looks", page)
    assert "10 arms x 3 to 5 seeds: 48 finished" in page
    assert (tmp_path / "report" / "looks.svg").is_file()
    assert "large,1,3," in (tmp_path / "report" / "looks.csv").read_text()
    assert (tmp_path / "report" / "variances.csv").is_file()


def test_the_levels_that_a_manifest_keeps_are_those_that_are_used():
    plan = LookPlan(seeds=(3, 5), levels=(0.04, 0.01), margin=0.01)
    outcomes = study(plan, all_with(3))
    assert course(outcomes, plan).standings["none"].effect.level == pytest.approx(0.96)
    assert look_table(outcomes, plan)["look"].tolist() == [1] * len(ARMS)
    assert Looks((3, 5), (0.04, 0.01)).levels == (0.04, 0.01)


@pytest.mark.parametrize("seeds", [(5, 3), (1, 3), (3, 3), ()])
def test_looks_that_do_not_rise_are_one_sentence(seeds):
    with pytest.raises(UserError, match="rising numbers of seeds"):
        plan_looks(*seeds)
