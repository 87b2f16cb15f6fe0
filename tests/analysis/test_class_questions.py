"""Questions about one class: a test of its own, and what may be said of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ablations.cli import names_of
from ablations.record import ClassQuestion, LookPlan
from analysis import methods, report, tables
from analysis.class_questions import class_question_table
from analysis.looks import course, plan_looks
from analysis.outcomes import Outcomes
from analysis.per_class import class_effects
from analysis.statistics import holm, paired_effect
from analysis.studied import Answers, StudiedArm, cell_table
from analysis.study_tables import StudyTables
from cnnkit.errors import UserError

ROOT = Path(__file__).parents[1] / "data" / "results"
CAT = 3


@pytest.fixture(scope="module")
def depth() -> Outcomes:
    """Five arms, three seeds, 500 test images."""
    return Outcomes.from_store(ROOT, "depth-smoke")


def of_class(outcomes: Outcomes, arm: str, label: int, seeds: int) -> np.ndarray:
    return np.stack([outcomes.correct[arm][seed][outcomes.labels == label] for seed in range(seeds)])


def test_a_question_is_a_paired_test_on_the_images_of_its_class_corrected_for_the_arms_alone(depth):
    table = class_question_table(depth.asking("cat", "dog")).set_index(["class", "arm"])
    arms = [arm.name for arm in depth.arms if not arm.is_baseline]
    base = depth.baseline.name
    expected = [paired_effect(of_class(depth, arm, CAT, 3), of_class(depth, base, CAT, 3)) for arm in arms]
    cats = table.loc["cat"].loc[arms]
    assert cats["delta"].tolist() == pytest.approx([effect.delta for effect in expected])
    assert cats["p_value"].tolist() == pytest.approx([effect.p_value for effect in expected])
    assert cats["adjusted_p"].tolist() == pytest.approx(holm([effect.p_value for effect in expected]).tolist())
    assert (cats["arm_recall"] - cats["baseline_recall"]).tolist() == pytest.approx(cats["delta"].tolist())
    every = class_effects(depth)
    every = every[(every["measure"] == "recall") & (every["class"] == "cat")].set_index("arm").loc[arms]
    assert every["p_value"].tolist() == pytest.approx(cats["p_value"].tolist())
    assert (every["adjusted_p"] >= cats["adjusted_p"]).all()


def test_a_group_of_classes_can_be_asked_about(depth):
    table = class_question_table(depth.asking("animals")).set_index("arm")
    every = class_effects(depth)
    every = every[(every["measure"] == "recall") & (every["class"] == "animals")].set_index("arm")
    assert table["p_value"].tolist() == pytest.approx(every["p_value"].loc[table.index].tolist())


def sequential(plan: LookPlan | None, seeds: dict[str, int]) -> Outcomes:
    """Arms of which "worse" loses cats; all lose as much of the other class, by seed."""
    dice, images = np.random.default_rng(0), 2_000
    labels = np.arange(images) % 2
    predictions, rows = {}, []
    for name, count in {"baseline": max(seeds.values()), **seeds}.items():
        predictions[name] = {}
        for seed in range(10):
            lost = np.array([0.3 + (0.5 if name == "worse" else 0), 0.3]) + 0.002 * dice.standard_normal()
            right = dice.permuted(np.linspace(0, 1, images)) >= lost[labels]
            if seed < count:
                predictions[name][seed] = np.where(right, labels, 1 - labels).astype(np.uint8)
                rows.append({"arm": name, "is_baseline": name == "baseline", "seed": seed, "status": "finished"})
    return Outcomes(
        arms=tuple(StudiedArm(name, is_baseline=name == "baseline") for name in predictions),
        classes=("cat", "dog"),
        cells=cell_table(rows),
        read_answers=lambda: Answers(labels, predictions),
    )


def test_with_planned_looks_a_question_is_tested_with_the_seeds_and_at_the_level_of_the_arms_last_look():
    plan = plan_looks(3, 5, 10).plan
    outcomes = sequential(plan, {"worse": 5, "same": 5})
    asked = outcomes.asking("cat")
    asked = replace(asked, study=replace(asked.study, looks=plan))
    looks = {arm: course(asked, plan).standings[arm].look for arm in ("worse", "same")}
    assert looks == {"worse": 0, "same": 1}, "it is seen at the first look, and its later seeds are not read"
    table = class_question_table(asked).set_index("arm")
    q = []
    for arm, look in looks.items():
        seeds = plan.seeds[look]
        effect = paired_effect(of_class(asked, arm, 0, seeds), of_class(asked, "baseline", 0, seeds))
        q.append(min(effect.p_value * 0.05 / plan.levels[look], 1))
        assert table.loc[arm, "paired_seeds"] == seeds
    assert table.loc[list(looks), "adjusted_p"].tolist() == pytest.approx(holm(q).tolist())
    assert table.loc["worse", "verdict"] == "worse"


def test_what_is_asked_afterwards_is_labelled_so_and_what_was_asked_beforehand_confirms(depth, tmp_path):
    later = depth.asking("cat")
    before = replace(depth, study=replace(depth.study, class_questions=[ClassQuestion(name="dog", finished_before=0)]))
    assert class_question_table(later)["asked"].unique().tolist() == [
        "after 12 cells beside those of the baseline had finished"
    ]
    assert class_question_table(before)["asked"].unique().tolist() == ["beforehand"]
    assert "explores and does not confirm" in methods.paragraph(later, margin=0.01)
    text = methods.paragraph(before, margin=0.01)
    assert "The recall of dog was asked about before any arm was trained; its p-values are adjusted" in text
    page = report.write(StudyTables(before.asking("cat", "dog")), tmp_path / "report").read_text()
    assert "so that a significant answer confirms: dog." in page
    assert "wants to be confirmed on new seeds: cat (after 12 cells beside those of the baseline had finished)." in page
    assert (tmp_path / "report" / "class_questions.csv").read_text().count("\n") == 9
    assert "Questions about classes" not in report.write(StudyTables(depth), tmp_path / "none").read_text()


def test_a_class_without_enough_test_images_and_one_that_is_not_there(depth):
    labels = np.where(depth.labels == CAT, CAT + 1, depth.labels)
    without = replace(depth, read_answers=lambda: replace(depth._answers, labels=labels))
    assert class_question_table(without.asking("cat")).empty
    assert tables.class_questions(class_question_table(without), baseline="b").shown().empty
    with pytest.raises(UserError, match="no class 'catt': did you mean 'cat'"):
        depth.asking("catt")


def test_names_are_separated_by_commas_and_those_that_hold_one_are_quoted():
    assert names_of("--class", "cat, dog,cat") == ("cat", "dog")
    assert names_of("--class", '"dog, small",cat') == ("dog, small", "cat")
    with pytest.raises(UserError, match="give a name"):
        names_of("--class", " , ")
