"""Tables of a screening study: verdicts by factor, what is missing, and what each of them is made from."""

import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ablations.designs import DesignFactor, DesignRun, ScreeningDesign, folded
from ablations.grids import screen
from ablations.protocols import PROTOCOLS
from ablations.record import Command
from ablations.text import quoted
from analysis import report, tables
from analysis.effects import corrected
from analysis.outcomes import Outcomes
from analysis.screening import borrowing, interactions, main_effects
from analysis.screening_effects import screening_tables
from analysis.sections import Source, screening
from analysis.statistics import holm
from analysis.studied import Answers, Description, StudiedArm, cell_table
from analysis.study_tables import StudyTables
from cnnkit.errors import UserError

STORED = Path(__file__).parents[1] / "data" / "screening"
SCREEN = screen(PROTOCOLS["smoke"].baseline())
LOSS = (0.08, 0.0, 0.0, 0.03, 0.0, 0.05, -0.04)


def design_of(parts: int) -> ScreeningDesign:
    return ScreeningDesign(
        factors=tuple(DesignFactor(name=letter, levels=(True, False)) for letter in "abcdefghijkl"[:parts]),
        runs=tuple(DesignRun(arm=f"run {place}", at_first=run) for place, run in enumerate(folded(parts), start=1)),
    )


def outcomes_of(design: ScreeningDesign, loss, *, seeds=3, images=2_000, lost=(), diverged=(), commands=()) -> Outcomes:
    """Of networks whose accuracy is .6 less the loss of each factor at its other level, on images that all find hard alike."""
    dice = np.random.default_rng(0)
    hard = np.sqrt(0.8) * dice.standard_normal(images)
    predictions, rows = {}, []
    for place, run in enumerate(design.runs):
        accuracy = 0.6 - sum(part for part, there in zip(loss, run.at_first, strict=True) if not there)
        predictions[run.arm] = {}
        for seed in range(seeds):
            right = hard + np.sqrt(0.2) * dice.standard_normal(images) < stats.norm.ppf(accuracy)
            cell = (place, seed)
            status = "missing" if cell in lost else "diverged" if cell in diverged else "finished"
            rows.append({"arm": run.arm, "is_baseline": place == 0, "seed": seed, "status": status})
            if status == "finished":
                predictions[run.arm][seed] = np.where(right, 0, 1)
    return Outcomes(
        arms=tuple(StudiedArm(run.arm, is_baseline=place == 0, epochs=2) for place, run in enumerate(design.runs)),
        classes=("cat", "dog"),
        cells=cell_table(rows),
        read_answers=lambda: Answers(np.zeros(images, dtype=np.int64), predictions),
        study=Description("a screen", protocol="smoke", screening=design, commands=commands),
    )


def test_a_study_that_is_no_screening_design_has_no_tables():
    outcomes = outcomes_of(SCREEN.screening, LOSS)
    outcomes = replace(outcomes, study=replace(outcomes.study, screening=None))
    assert screening_tables(outcomes) is None
    assert screening(Source(StudyTables(outcomes), "none", lambda name: None)) == []


def test_each_factor_has_the_verdict_of_its_main_effect():
    outcomes = outcomes_of(SCREEN.screening, LOSS, images=10_000)
    main = screening_tables(outcomes).main.set_index("factor")
    assert main["verdict"].to_dict() == {
        "batch norm": "worse", "dropout": "equivalent", "weight decay": "equivalent", "augmentation": "worse",
        "hidden layer": "equivalent", "last block": "worse", "pooled head": "better",
    }  # fmt: skip
    assert main["delta"].to_numpy() == pytest.approx(-np.array(LOSS), abs=0.01)
    assert main.loc["batch norm", "arm"] == "no batch norm"
    assert main.loc["pooled head", "arm"] == "with pooled head"
    assert main.loc["batch norm", "sentence"].startswith("no batch norm: worse, -")
    assert "averaged over 6 other factors, 3 seeds, at 2 epochs of smoke" in main.loc["batch norm", "sentence"]


def test_intervals_and_p_values_are_those_of_the_contrasts_after_holm():
    outcomes = outcomes_of(SCREEN.screening, LOSS)
    found = screening_tables(outcomes)
    contrasts = main_effects(
        SCREEN.screening.combinations, [outcomes.correct[run.arm] for run in SCREEN.screening.runs]
    )
    joint = interactions(SCREEN.screening.combinations, [outcomes.correct[run.arm] for run in SCREEN.screening.runs])
    contrasts, _ = borrowing(contrasts, joint)
    p = [contrast.effect.p_value for contrast in contrasts]
    assert found.main["p_value"].tolist() == pytest.approx(p)
    assert found.main["adjusted_p"].tolist() == pytest.approx(holm(p).tolist())
    for row, contrast in zip(found.main.itertuples(), contrasts, strict=True):
        assert (row.shown_low > 0 or row.shown_high < 0) == (row.adjusted_p < 0.05) or row.verdict == "equivalent"
        assert (row.low, row.high) == (contrast.effect.low, contrast.effect.high)
    assert found.interactions["adjusted_p"].tolist() == pytest.approx(holm(found.interactions["p_value"]).tolist())
    assert len(found.interactions) == 7
    assert found.interactions["others"].tolist() == [2] * 7
    seeds = found.seed_differences
    assert seeds.groupby("arm")["difference"].mean().to_dict() == pytest.approx(
        dict(zip(found.main["arm"], found.main["delta"], strict=True))
    )


def test_seeds_that_were_added_after_looking_are_paid_for():
    commands = tuple(
        Command(time=f"2026-01-0{day}", arguments=[], seeds=day, finished_before=16 * (day - 1)) for day in (2, 3)
    )
    outcomes = outcomes_of(SCREEN.screening, LOSS, commands=commands)
    assert outcomes.looks == 2
    main = screening_tables(outcomes).main
    expected = corrected(dict(zip(main["factor"], main["p_value"], strict=True)), 2)
    assert main["adjusted_p"].tolist() == pytest.approx([each.p for each in expected.values()])


# -- what is missing


def test_complete_designs_have_no_remarks():
    assert screening_tables(outcomes_of(SCREEN.screening, LOSS)).remarks == []


def test_a_lost_seed_of_a_run_is_said_and_the_seed_still_counts():
    found = screening_tables(outcomes_of(SCREEN.screening, LOSS, lost={(5, 1)}))
    assert found.main["paired_seeds"].tolist() == [3] * 7
    assert found.main["clear"].all()
    arm = SCREEN.screening.runs[5].arm
    assert list(found.remarks) == [
        "Seeds 0, 2 have all runs.",
        f"Seed 1 lacks 1 run: {quoted(arm)}.",
        "Of seed 1 main effects are read from the pairs of runs that are there, and vary more for it.",
    ]
    assert found.interactions["paired_seeds"].tolist() == [2] * 7


def test_a_run_that_is_lost_in_every_seed_leaves_main_effects_and_takes_interactions():
    found = screening_tables(outcomes_of(SCREEN.screening, LOSS, lost={(5, seed) for seed in range(3)}))
    assert found.main["delta"].notna().all()
    assert found.main["clear"].all()
    assert found.interactions.empty
    assert found.remarks[0] == "No seed has all runs."
    assert found.remarks[-1] == "Interactions are not estimated, which takes seeds that have all runs."


def test_effects_that_are_not_clear_of_interactions_say_so():
    found = screening_tables(outcomes_of(design_of(8), (*LOSS, 0.0), lost={(5, seed) for seed in range(3)}))
    assert not found.main["clear"].any()
    assert found.main["remark"].str.contains("not clear of interactions").all()
    assert any("Too few pairs of runs are left for any factor" in remark for remark in found.remarks)


def test_what_cannot_be_told_is_said_and_blank():
    design = design_of(3)
    lost = {
        (place, s) for place, run in enumerate(design.runs) for s in range(3) if run.at_first[0] is not run.at_first[1]
    }
    outcomes = outcomes_of(design, (0.1, 0.0, 0.05), lost=lost)
    found = screening_tables(outcomes)
    assert found.main["delta"].isna().tolist() == [True, True, False]
    assert found.main["verdict"].tolist()[:2] == ["", ""]
    assert found.main["sentence"][0] == "no a: cannot be told from the other factors: too few runs are finished."
    assert "Too few runs are left to tell a, b from the others: no effect is given." in found.remarks
    shown = tables.main_effects(found).shown()
    assert "nan" not in shown.to_string()


def test_diverged_runs_carry_the_caution_of_the_effect_table():
    design = SCREEN.screening
    off = next(
        place for place, run in enumerate(design.runs) if not run.at_first[6]
    )  # with a pooled head, which is better
    main = screening_tables(outcomes_of(design, LOSS, images=10_000, diverged={(off, 0)})).main.set_index("factor")
    assert main.loc["pooled head", "adjusted_p"] < 0.05
    assert main.loc["pooled head", "verdict"] == "inconclusive"
    assert "1 seed diverged, and the others alone do not make it better" in main.loc["pooled head", "remark"]
    on = next(place for place, run in enumerate(design.runs) if run.at_first[0] and place)
    main = screening_tables(outcomes_of(design, LOSS, images=10_000, diverged={(on, 0)})).main.set_index("factor")
    assert main.loc["batch norm", "verdict"] == "inconclusive"


def test_one_seed_has_effects_without_intervals_and_no_seed_nothing():
    one = screening_tables(outcomes_of(SCREEN.screening, LOSS, seeds=1))
    assert one.main["verdict"].tolist() == ["no interval"] * 7
    lost = {(place, 0) for place in range(16)}
    none = screening_tables(outcomes_of(SCREEN.screening, LOSS, seeds=1, lost=lost))
    assert list(none.remarks) == ["No run of the design is finished."]
    assert none.main["delta"].isna().all()
    for found in (one, none):
        for table in (tables.main_effects(found), tables.interactions(found)):
            assert "nan" not in table.shown().to_string()


# -- what people see


def test_the_section_says_what_is_clear_and_how_main_effects_differ_from_leaving_out():
    study = StudyTables(outcomes_of(SCREEN.screening, LOSS))
    drawn = []
    (section,) = screening(Source(study, "none", lambda name: drawn.append(name) or name))
    assert drawn == ["main_effects", "half_normal"]
    text = " ".join(section.texts)
    assert "clear of one another and of all interactions of two factors" in text
    notes = " ".join(note for table in section.tables for note in table.notes)
    assert "taking a part from the full network is another question" in notes
    assert [table.name for table in section.all_tables] == ["main_effects", "interactions", "design", "own_variances"]
    assert section.details[0][1].shown().iloc[0].tolist()[:8] == ["1", "on", "on", "on", "on", "on", "on", "off"]


def test_tables_are_written_as_csv_and_latex(tmp_path):
    study = StudyTables(outcomes_of(SCREEN.screening, LOSS))
    (section,) = screening(Source(study, "none", lambda name: name))
    for table in section.all_tables:
        table.write(tmp_path)
    assert (tmp_path / "main_effects.csv").read_text().count("\n") == 8
    assert r"$\times$" in (tmp_path / "interactions.tex").read_text()
    assert (tmp_path / "design.csv").read_text().splitlines()[0].startswith("run,arm,batch norm,dropout")


# -- a real study


@pytest.fixture(scope="module")
def real() -> Outcomes:
    """The built-in design on real images: 16 runs of 3 seeds, trained for seconds."""
    return Outcomes.from_store(STORED)


def test_main_effects_of_real_networks_are_twice_the_coefficients_of_a_linear_model(real):
    found = screening_tables(real)
    design = real.study.screening
    accuracy = real.cells.pivot(index="arm", columns="seed", values="test_accuracy")
    columns = np.column_stack([np.ones(16), np.where(np.array(design.combinations), -1, 1)])
    by_seed = np.linalg.lstsq(columns, accuracy.loc[[run.arm for run in design.runs]].to_numpy(), rcond=None)[0]
    assert found.main["delta"].to_numpy() == pytest.approx(2 * by_seed[1:].mean(axis=1))
    dots = found.seed_differences.pivot(index="arm", columns="seed", values="difference")
    assert dots.loc[found.main["arm"]].to_numpy() == pytest.approx(2 * by_seed[1:])


def test_levels_of_a_stored_design_are_those_of_its_arms(real):
    levels = {arm.name: arm.levels for arm in real.arms}
    design = real.study.screening
    for run in design.runs:
        for factor, at_first in zip(design.factors, run.at_first, strict=True):
            assert levels[run.arm][factor.name] == factor.levels[0 if at_first else 1]


def test_lost_cells_of_real_networks_leave_the_other_seeds_effects_as_they_are(real, tmp_path):
    root = tmp_path / "results"
    shutil.copytree(STORED, root)
    arm = real.study.screening.runs[3].arm
    key = real.cells.query("arm == @arm and seed == 1")["key"].iloc[0]
    shutil.rmtree(root / "cells" / key)
    whole, harmed = (screening_tables(each) for each in (real, Outcomes.from_store(root)))
    dots = [each.seed_differences.pivot(index="arm", columns="seed", values="difference") for each in (whole, harmed)]
    assert dots[0][[0, 2]].to_numpy() == pytest.approx(dots[1][[0, 2]].to_numpy())
    assert dots[1][1].notna().all()
    assert harmed.remarks[1] == f"Seed 1 lacks 1 run: {quoted(arm)}."


def test_variances_borrow_from_all_effects_of_the_design(real):
    found = screening_tables(real)
    contrasts = [real.correct[run.arm] for run in real.study.screening.runs]
    main = main_effects(real.study.screening.combinations, contrasts)
    joint = interactions(real.study.screening.combinations, contrasts)
    expected, _ = borrowing(main, joint)
    assert found.main["p_value"].tolist() == pytest.approx([each.effect.p_value for each in expected])
    assert found.main["own_p_value"].tolist() == pytest.approx([each.effect.p_value for each in main])
    assert found.main["own_low"].tolist() == pytest.approx([each.effect.low for each in main])
    assert found.main["prior_df"].max() > 0
    shown = tables.own_variances(found).shown()
    assert shown[""].eq("keeps its own").tolist() == (found.main["prior_df"] == 0).tolist()


def test_the_page_answers_by_factor_and_says_what_main_effects_are(real, tmp_path):
    page = report.write(StudyTables(real), tmp_path / "report").read_text(encoding="utf-8")
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())
    assert "On average over the other factors:" in text
    assert "Single runs against the baseline: each differs from it in about half of all factors at once." in text
    assert "an average over all other factors, not what the change does to the full network alone" in text
    assert text.index("7 factors in 16 runs, folded over") < text.index("each arm minus baseline")
    assert "folded-over fractional factorial design of 7 factors with two levels [box1951experimental]" in text
    assert {"main_effects.svg", "half_normal.svg", "interactions.csv", "design.tex"} <= {
        file.name for file in (tmp_path / "report").iterdir()
    }


def test_a_manifest_whose_design_names_other_arms_is_refused(real, tmp_path):
    root = tmp_path / "results"
    shutil.copytree(STORED, root)
    file = root / "studies" / "screen-smoke" / "study.json"
    manifest = json.loads(file.read_text())
    manifest["screening"]["runs"][1]["arm"] = "another"
    file.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="names a design of arms that it does not have"):
        Outcomes.from_store(root)
