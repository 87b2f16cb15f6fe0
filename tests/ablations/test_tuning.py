"""Values that every seed chooses for itself, on results that are written here instead of trained: without Ray."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ablations import Settings, prepare_study
from ablations.agenda import Agenda
from ablations.arm import Arm
from ablations.driver import Driver
from ablations.job import Placement
from ablations.plan import Plan, PlannedCell, make_plan
from ablations.protocols import PROTOCOLS, Split
from ablations.record import CellResult, Failure, Provenance, Tuning
from ablations.store import Store
from ablations.study import Course
from analysis import methods, report, tables
from analysis.effects import effect_table
from analysis.looks import plan_looks
from analysis.outcomes import Outcomes
from analysis.study_tables import StudyTables
from cnnkit.errors import UserError
from cnnkit.metrics import Epoch, PerClass

IMAGES = 1_000
PROTOCOL = PROTOCOLS["smoke"].vary(split=Split(train=100, validation=100, test=IMAGES))
RATES = (1e-4, 1e-3, 1e-2)
TUNING = Tuning(field="learning_rate", values=list(RATES))
VALIDATION = {
    ("baseline", 1e-4): [0.50, 0.40, 0.50, 0.45], ("baseline", 1e-3): [0.40, 0.50, 0.40, 0.55],
    ("baseline", 1e-2): [0.10, 0.10, 0.10, 0.10], ("worse", 1e-4): [0.20, 0.20, 0.20, 0.20],
    ("worse", 1e-3): [0.30, 0.30, 0.30, 0.30], ("worse", 1e-2): [0.30, 0.30, 0.30, 0.30],
}  # fmt: skip
"""Accuracy on the validation images by seed, over and over. On the test images all do the reverse."""


def grid(baseline: Arm) -> list[Arm]:
    """Which is better?"""
    return [baseline, baseline.variant("worse", {"dropout": 0.1}, dropout=0.1)]


def plan_in(folder: Path, data, *, seeds: int = 4, tuning: Tuning | None = TUNING, rule=None) -> Plan:
    store = Store.open(folder, data=data.fingerprint, data_description=data.describe())
    plan = make_plan(
        grid, "which", PROTOCOL, data, store, seeds=range(seeds), arguments=[], now="2026-01-01", tuning=tuning,
        looks=None if rule is None else rule.plan,
    )  # fmt: skip
    store.write_study(plan.study)
    return plan


def predictions(accuracy: float, count: int) -> np.ndarray:
    """Logits of so many images, of which the first are right."""
    labels = np.arange(count) % 10
    hard = np.random.default_rng(0).permutation(count)[: round((1 - accuracy) * count)]
    predicted = labels.copy()
    predicted[hard] = (labels[hard] + 1) % 10
    return np.eye(10, dtype=np.float32)[predicted]


def result_of(planned: PlannedCell) -> CellResult:
    arm, rate, seed = planned.arm.name, planned.cell.recipe.learning_rate, planned.cell.seed
    validation = VALIDATION[arm, rate][seed % 4]
    test = 0.9 - validation - (0.2 if arm == "worse" else 0) - 0.001 * seed
    epoch = Epoch(
        epoch=1, train_loss=2.0, validation_loss=2.0, validation_accuracy=validation, learning_rate=rate,
        train_seconds=1.0, evaluate_seconds=0.5,
    )  # fmt: skip
    provenance = Provenance(
        protocol="smoke", device="x", device_type="cpu", threads=1, precision="fp32", micro_batch=64, gpu_share=0.0,
        trials_at_once=2, versions={}, host="h", started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:01:00+00:00",
    )  # fmt: skip
    return CellResult(
        cell=planned.cell, arm=planned.called, provenance=provenance, curve=(epoch,),
        validation_logits=predictions(validation, 100), validation_labels=np.arange(100) % 10,
        test_logits=predictions(test, IMAGES), test_labels=np.arange(IMAGES) % 10, test_accuracy=test,
        per_class=PerClass(precision=[0.5] * 10, recall=[0.5] * 10, f1=[0.5] * 10, support=[100] * 10),
        calibration_error=0.1, train_seconds=1.0, evaluate_seconds=0.5, peak_memory=None, weights=None,
    )  # fmt: skip


class Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def update(self, tally) -> None:
        pass

    def line(self, text: str) -> None:
        self.lines.append(text)


def drive(plan: Plan, rule=None, *, until: int = 1_000) -> list[PlannedCell]:
    """What a run trains, and the lines that it prints."""
    course = Course(plan, rule)
    missing = course.further()
    driver = Driver(
        replace(plan, cells=course.cells), Agenda(missing, plan.store), Lines(), lambda planned: Placement(),
        keep_weights=True, further=course.further,
    )  # fmt: skip
    done = []
    while len(done) < until and not driver.is_over():
        planned, job, _ = driver.next_job()
        assert job.arm == planned.called
        driver.begin(planned)
        driver.hear(planned, result_of(planned))
        done.append(planned)
    assert all("validation" in line and "test" not in line for line in driver.display.lines)
    return done


@pytest.fixture
def plan(tmp_path, sample) -> Plan:
    return plan_in(tmp_path / "results", sample)


def test_every_seed_chooses_the_value_with_its_own_highest_validation_accuracy(plan):
    done = drive(plan)
    assert len(done) == 2 * 3 * 4
    cells = plan.store.study(plan.study.name).cells
    chosen = {(cell.arm, cell.seed): cell.chosen["learning_rate"] for cell in cells}
    assert [chosen["baseline", seed] for seed in range(4)] == [1e-4, 1e-3, 1e-4, 1e-3]
    assert {chosen["worse", seed] for seed in range(4)} == {1e-3}, "of two that are as good, the first"
    keys = {planned.cell.key: planned for planned in done}
    for cell in cells:
        planned = keys[cell.key]
        assert (planned.arm.name, planned.cell.seed) == (cell.arm, cell.seed)
        assert planned.cell.recipe.learning_rate == cell.chosen["learning_rate"]


def test_nothing_is_trained_twice_and_candidates_are_cells_like_any_other(plan, sample):
    untuned = plan_in(plan.store.root, sample, tuning=None)
    train = [planned for planned in untuned.cells if planned.cell.seed < 2]
    for planned in train:  # at the recipe's own rate, which is one of the candidates
        plan.store.write(result_of(planned))
    assert len(drive(plan)) == 24 - len(train)
    assert drive(plan_in(plan.store.root, sample)) == []
    more = drive(plan_in(plan.store.root, sample, seeds=5))
    assert {planned.cell.seed for planned in more} == {4}
    assert len(drive(untuned)) == 0, "and the untuned study finds all of its cells"


def test_an_interrupted_study_goes_on_and_what_is_not_decided_is_no_result(plan, sample):
    drive(plan, until=4)
    cells = Outcomes.from_store(plan.store.root, plan.study.name).cells.set_index(["arm", "seed"])
    assert cells.loc[("baseline", 0), ["status", "chosen"]].tolist() == ["finished", "learning rate 0.0001"]
    assert cells.loc[("worse", 0), ["status", "note"]].tolist() == ["missing", "1 of 3 values tried"]
    assert cells.loc[("worse", 1), "status"] == "missing"
    assert len(drive(plan_in(plan.store.root, sample))) == 20


def test_a_value_that_diverged_is_not_chosen_and_where_all_did_the_seed_diverged(plan):
    first, second, *others = plan.cells[:3]
    for planned in (first, second):
        lost = Failure(key=planned.cell.key, arm=planned.called, seed=0, kind="diverged", sentence="NaN", epoch=1)
        plan.store.write_failure(lost, "")
    assert not plan.is_over(plan.cells[:3])
    plan.store.write(result_of(others[0]))
    assert plan.is_over(plan.cells[:3])
    assert plan.store.study(plan.study.name).cells[0].chosen == {"learning_rate": 1e-2}
    for planned in plan.cells[3:6]:
        lost = Failure(key=planned.cell.key, arm=planned.called, seed=0, kind="diverged", sentence="NaN", epoch=1)
        plan.store.write_failure(lost, "")
    cells = Outcomes.from_store(plan.store.root, plan.study.name).cells.set_index(["arm", "seed"])
    assert cells.loc[("worse", 0), ["status", "note"]].tolist() == ["diverged", "all 3 values; NaN"]


def test_the_table_says_which_value_each_seed_chose_and_the_words_what_is_claimed(plan, tmp_path):
    drive(plan)
    outcomes = Outcomes.from_store(plan.store.root, plan.study.name)
    study = StudyTables(outcomes)
    shown = tables.arms(study.effects).shown().set_index("arm")
    assert shown.loc["baseline", "chosen"] == "learning rate 0.0001 (seeds 0, 2), learning rate 0.001 (seeds 1, 3)"
    assert shown.loc["worse", "chosen"] == "learning rate 0.001"
    assert shown.loc["worse", "changes"] == "dropout 0.1"
    assert "by each seed for itself" in tables.arms(study.effects).notes[0]
    (sentence,) = filter(None, study.effects["sentence"])
    assert "each seed with the learning rate that it chose" in sentence
    assert "that was chosen on one further seed" not in sentence
    text = methods.paragraph(outcomes, margin=0.01)
    assert "In every arm and seed, the learning rate among 0.0001, 0.001, 0.01 was chosen by the validation" in text
    assert "what another choice would have moved is not in the intervals" not in text
    page = report.write(study, tmp_path / "report").read_text()
    assert "learning rate among 0.0001, 0.001, 0.01, by every seed for itself" in page


def test_the_effect_is_that_of_the_chosen_cells(plan):
    drive(plan)
    rows = effect_table(Outcomes.from_store(plan.store.root, plan.study.name)).set_index("arm")
    chosen = [0.50, 0.50, 0.50, 0.55]
    base = [0.9 - accuracy - 0.001 * seed for seed, accuracy in enumerate(chosen)]
    worse = [0.9 - 0.3 - 0.2 - 0.001 * seed for seed in range(4)]
    assert rows.loc["worse", "delta"] == pytest.approx(np.mean(worse) - np.mean(base), abs=5e-4)


def test_shards_keep_the_candidates_of_a_choice_together_and_are_put_together_by_reading(plan, tmp_path, sample):
    shards = [plan.shard(index, 3) for index in (1, 2, 3)]
    assert sorted(planned.cell.key for shard in shards for planned in shard.cells) == sorted(
        planned.cell.key for planned in plan.cells
    )
    for shard in shards:
        assert len(shard.cells) % 3 == 0
        drive(shard)
    assert all(cell.chosen for cell in plan.store.study(plan.study.name).cells)


def test_with_planned_looks_arms_stop_and_the_choice_is_made_again_for_further_seeds(tmp_path, sample):
    rule = plan_looks(2, 4)
    plan = plan_in(tmp_path / "results", sample, rule=rule)
    assert len(plan.study.cells) == 4
    done = drive(plan, rule)
    study = plan.store.study(plan.study.name)
    seeds = {arm: 1 + max(cell.seed for cell in study.cells if cell.arm == arm) for arm in ("baseline", "worse")}
    assert len(done) == 3 * sum(seeds.values())
    assert all(cell.chosen for cell in study.cells)
    assert drive(plan_in(plan.store.root, sample, rule=rule), rule) == []


def test_a_manifest_without_choices_has_no_word_of_them(plan, sample):
    untuned = plan_in(plan.store.root, sample, tuning=None)
    content = json.loads((plan.store.study_folder(untuned.study.name) / "study.json").read_text())
    assert all(cell.keys() == {"arm", "seed", "key"} for cell in content["cells"])
    assert untuned.study.name != plan.study.name


def test_other_values_are_another_study(plan, sample):
    other = plan_in(plan.store.root, sample, tuning=Tuning(field="learning_rate", values=[1e-4, 1e-3]))
    assert other.study.name != plan.study.name
    assert sorted(plan.store.studies()) == sorted([plan.study.name, other.study.name])


def test_arms_that_differ_in_nothing_but_what_is_chosen_are_refused(tmp_path, sample):
    settings = Settings(seeds=2, tune=("learning_rate", RATES), dry_run=True)
    with pytest.raises(UserError, match="differ in nothing else"):
        prepare_study("learning_rate", PROTOCOL, data=sample, results=tmp_path / "r", settings=settings).plan()


@pytest.mark.parametrize(
    ("field", "values", "words"),
    [
        ("learning_rate", ("fast", "slow"), "--tune learning_rate"),
        ("learning_rate", ("1e-4", "0.0001"), "two of the values 1e-4, 0.0001 are the same"),
    ],
)
@pytest.mark.parametrize("once", [True, False])
def test_values_that_do_not_suit_are_one_sentence(field, values, words, once, tmp_path, sample):
    settings = Settings(seeds=2, tune=(field, values), tune_once=once, dry_run=True)
    with pytest.raises(UserError, match=words):
        prepare_study(grid, PROTOCOL, data=sample, results=tmp_path / "results", settings=settings).expected()


@pytest.mark.parametrize("once", [True, False])
def test_a_tuned_study_with_looks_says_before_what_it_will_take(once, tmp_path, sample, monkeypatch):
    from rich.console import Console

    from experiments.run_ablation import describe

    rule = plan_looks(2, 4)
    settings = Settings(seeds=4, looks=rule, tune=("learning_rate", RATES), tune_once=once)
    prepared = prepare_study(grid, PROTOCOL, data=sample, results=tmp_path / "results", settings=settings)
    out = Console(record=True, width=300)
    describe(prepared, "as asked", None, out)
    text = out.export_text()
    if once:
        assert "up to the look at 2 seeds, 4: 0 finished, 4 to train" in text
        assert "6 cells on a seed of their own, 6 to train; intervals are for the values so chosen" in text
        assert "4 cells at least, 8 at most" in text
        tuning = prepared.tuning()
        for planned in tuning.plan.cells:
            monkeypatch.setitem(VALIDATION, (planned.arm.name, planned.cell.recipe.learning_rate), [0.5, 0.5, 0.5, 0.5])
            prepared.store.write(result_of(planned))
        chosen = prepared.plan(tuning.chosen(prepared.store))
        prepared.store.write(result_of(chosen.cells[0]))
        assert prepared.expected().study.name == chosen.study.name
        assert len(prepared.expected().missing) == 3, "what was chosen is known, and so is what of it is finished"
    else:
        assert "up to the look at 2 seeds, 12: 0 finished, 12 to train" in text
        assert "every seed of an arm chooses its learning rate among 0.0001, 0.001, 0.01 by validation accuracy" in text
        assert "12 cells at least, 24 at most" in text
