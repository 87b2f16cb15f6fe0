"""Studies with planned looks, on results that are written here instead of trained: without Ray."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ablations.agenda import Agenda
from ablations.arm import Arm
from ablations.budget import Budget
from ablations.driver import Driver
from ablations.job import Failed, Placement
from ablations.looks import needed_cells
from ablations.plan import Plan, PlannedCell, make_plan
from ablations.protocols import PROTOCOLS, Split
from ablations.record import CellResult, Failure, Provenance
from ablations.store import Store
from ablations.study import Course
from analysis.effects import effect_table
from analysis.looks import plan_looks
from analysis.outcomes import Outcomes
from analysis.study_tables import StudyTables
from cnnkit.errors import UserError
from cnnkit.metrics import Epoch, PerClass

IMAGES = 1_000
PROTOCOL = PROTOCOLS["smoke"].vary(split=Split(train=100, validation=100, test=IMAGES))
LOSSES = {
    "baseline": [0.0],
    "clear": [0.150, 0.155, 0.148],
    "unclear": [0.050, 0.030, 0.058, 0.045, 0.048],
    "hopeless": [0.030, -0.033, 0.002, 0.035, -0.03],
}
"""By seed, over and over, what an arm loses in accuracy."""
RULE = plan_looks(3, 5, 10)


def grid(baseline: Arm) -> list[Arm]:
    """Which of them matters?"""
    return [baseline, *(baseline.variant(name, {"dropout": d}, dropout=d) for name, d in DROPOUTS.items())]


DROPOUTS = {"clear": 0.1, "unclear": 0.2, "hopeless": 0.3}


def store_in(folder: Path, data) -> Store:
    return Store.open(folder, data=data.fingerprint, data_description=data.describe())


def plan_in(folder: Path, data, rule=RULE, *, seeds: int = 10) -> Plan:
    return make_plan(
        grid, "which", PROTOCOL, data, store_in(folder, data), seeds=range(seeds), arguments=[], now="2026-01-01",
        looks=None if rule is None else rule.plan,
    )  # fmt: skip


def result_of(planned: PlannedCell) -> CellResult:
    """What a cell whose accuracy is known would return."""
    name, seed = planned.arm.name, planned.cell.seed
    accuracy = 0.6 - LOSSES[name][seed % len(LOSSES[name])]
    hard = np.random.default_rng(0).permutation(IMAGES)  # the same images are hard for all networks
    wrong = hard[: round((1 - accuracy) * IMAGES)]
    labels = np.arange(IMAGES) % 10
    predicted = labels.copy()
    predicted[wrong] = (labels[wrong] + 1) % 10
    logits = np.eye(10, dtype=np.float32)[predicted]
    epoch = Epoch(
        epoch=1, train_loss=2.0, validation_loss=2.0, validation_accuracy=0.25, learning_rate=0.1, train_seconds=1.0,
        evaluate_seconds=0.5,
    )  # fmt: skip
    provenance = Provenance(
        protocol="smoke", device="x", device_type="cpu", threads=1, precision="fp32", micro_batch=64, gpu_share=0.0,
        trials_at_once=2, versions={}, host="h", started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:01:00+00:00",
    )  # fmt: skip
    return CellResult(
        cell=planned.cell, arm=name, provenance=provenance, curve=(epoch,), validation_logits=logits[:100],
        validation_labels=labels[:100], test_logits=logits, test_labels=labels, test_accuracy=float(accuracy),
        per_class=PerClass(precision=[0.5] * 10, recall=[0.5] * 10, f1=[0.5] * 10, support=[100] * 10),
        calibration_error=0.1, train_seconds=1.0, evaluate_seconds=0.5, peak_memory=None, weights=None,
    )  # fmt: skip


def train(plan: Plan, cells: list[PlannedCell]) -> None:
    for planned in cells:
        if not plan.is_finished(planned):
            plan.store.write(result_of(planned))


def seeds_of(cells: list[PlannedCell]) -> dict[str, int]:
    """How many cells of each arm."""
    return {name: sum(planned.arm.name == name for planned in cells) for name in LOSSES}


class Silent:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def update(self, tally) -> None:
        pass

    def line(self, text: str) -> None:
        self.lines.append(text)


def driver_of(plan: Plan, rule=RULE, **options) -> Driver:
    course = Course(plan, rule)
    missing = course.further()
    return Driver(
        replace(plan, cells=course.cells), Agenda(missing, plan.store), Silent(), lambda planned: Placement(),
        keep_weights=True, further=course.further, **options,
    )  # fmt: skip


def drive(driver: Driver, *, until: int = 1_000) -> list[PlannedCell]:
    """The cells that a driver hands out, each finished at once."""
    done = []
    while len(done) < until and not driver.is_over():
        taken = driver.next_job()
        if taken is None:
            break
        driver.begin(taken[0])
        driver.hear(taken[0], result_of(taken[0]))
        done.append(taken[0])
    return done


@pytest.fixture
def plan(tmp_path, sample) -> Plan:
    return plan_in(tmp_path / "results", sample)


def test_a_study_trains_the_cells_that_its_looks_ask_for_and_no_others(plan):
    done = drive(driver_of(plan))
    # "clear" is settled at the first look, "hopeless" given up there; "unclear" and the baseline go on.
    assert seeds_of(done)["clear"] == seeds_of(done)["hopeless"] == 3
    assert seeds_of(done)["unclear"] == seeds_of(done)["baseline"] > 3
    study = plan.store.study(plan.study.name)
    assert len(study.cells) == len(done) == len(list(plan.store.finished_keys()))
    assert (Outcomes.from_store(plan.store.root).cells["status"] == "finished").all()
    # And all of the first look come before any of the second.
    assert max(i for i, cell in enumerate(done) if cell.cell.seed < 3) == 11


@pytest.mark.parametrize("stops", [(1,), (5, 6), (12, 13), (14, 15, 16)])
def test_an_interrupted_study_comes_to_the_same_decisions(plan, tmp_path, sample, stops):
    whole = plan_in(tmp_path / "whole", sample)
    expected = {planned.cell.key for planned in drive(driver_of(whole))}
    for cells in stops:
        drive(driver_of(plan_in(plan.store.root, sample)), until=cells)
    drive(driver_of(plan_in(plan.store.root, sample)))
    assert {*plan.store.finished_keys()} == expected
    assert driver_of(plan_in(plan.store.root, sample)).is_over(), "the same command trains nothing more"


def test_the_table_says_where_each_arm_stopped_with_the_interval_of_that_look(plan):
    drive(driver_of(plan))
    outcomes = Outcomes.from_store(plan.store.root)
    rows = effect_table(outcomes).set_index("arm")
    assert rows.loc["clear", ["verdict", "look", "stopped"]].tolist() == ["worse", 1, True]
    assert rows.loc["hopeless", ["verdict", "look", "stopped"]].tolist() == ["inconclusive", 1, True]
    assert rows.loc["unclear", "look"] > 1
    assert "settled at the look at 3 seeds" in rows.loc["clear", "remark"]
    assert "stopped at 3 seeds" in rows.loc["hopeless", "remark"]
    for arm in ("clear", "hopeless", "unclear"):
        shown = rows.loc[arm, ["shown_low", "shown_high"]]
        assert (shown["shown_low"] > 0 or shown["shown_high"] < 0) == (rows.loc[arm, "adjusted_p"] < 0.05)
        assert rows.loc[arm, "adjusted_p"] >= rows.loc[arm, "p_value"]
    looks = StudyTables(outcomes).looks
    assert looks.loc[looks["arm"] == "clear", "then"].tolist() == ["worse"]
    assert looks.loc[looks["arm"] == "hopeless", "then"].tolist() == ["given up"]
    assert looks.loc[looks["arm"] == "unclear", "then"].tolist()[0] == "goes on"


def test_a_study_cut_short_has_the_verdicts_of_the_looks_that_it_came_to(plan):
    drive(driver_of(plan), until=11)
    before = effect_table(Outcomes.from_store(plan.store.root)).set_index("arm")
    assert before["look"].drop("hopeless").dropna().tolist() == [1, 1], "one arm lacks its last seed"
    assert "first look, at 3 seeds, is still to come" in before.loc["hopeless", "remark"]
    drive(driver_of(plan_in(plan.store.root, plan.data)), until=2)
    after = effect_table(Outcomes.from_store(plan.store.root)).set_index("arm")
    assert after.loc["unclear", "look"] == 1, "of the second look a seed is missing"
    assert after.loc["unclear", "remark"] == "goes on to 5 seeds"
    assert after.loc["unclear", "paired_seeds"] == 3


def test_an_arm_whose_cells_failed_waits_and_the_others_go_on(plan):
    driver = driver_of(plan)
    done = []
    while not driver.is_over():
        planned, *_ = driver.next_job()
        driver.begin(planned)
        if planned.arm.name == "clear" and planned.cell.seed == 2:
            driver.fail(planned, Failed("failed", "no reason", ""))
        else:
            driver.hear(planned, result_of(planned))
            done.append(planned)
    assert seeds_of(done)["clear"] == 2
    assert seeds_of(done)["unclear"] > 3


def test_where_the_baseline_failed_no_arm_goes_on(plan):
    driver = driver_of(plan)
    while not driver.is_over():
        planned, *_ = driver.next_job()
        driver.begin(planned)
        if planned.arm.is_baseline:
            driver.fail(planned, Failed("failed", "no reason", ""))
        else:
            driver.hear(planned, result_of(planned))
    assert len(list(plan.store.finished_keys())) == 9


def test_seeds_that_diverged_do_not_hold_up_a_look(plan):
    first = needed_cells(plan, RULE)
    lost = next(planned for planned in first if planned.arm.name == "unclear")
    failure = Failure(key=lost.cell.key, arm="unclear", seed=0, kind="diverged", sentence="NaN", epoch=1)
    plan.store.write_failure(failure, "")
    train(plan, [planned for planned in first if planned is not lost])
    assert len(needed_cells(plan, RULE)) > len(first)


def test_a_shard_does_its_part_of_a_look_and_the_next_when_all_results_are_there(plan):
    shards = [plan.shard(index, 2) for index in (1, 2)]
    done = drive(driver_of(shards[0]))
    assert 0 < len(done) < 12
    assert max(planned.cell.seed for planned in done) == 2, "the other shard's results are not there"
    drive(driver_of(shards[1]))
    done = drive(driver_of(shards[0]))
    assert min(planned.cell.seed for planned in done) > 2, "now they are"


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        (RULE, plan_looks(3, 6, 10), "looks at 3, 5 and 10 seeds, own variances"),
        (RULE, plan_looks(3, 5, 10, margin=0.02), "looks at 3, 5 and 10 seeds"),
        (RULE, None, "one look, own variances"),
        (None, RULE, "looks at 3, 5 and 10 seeds"),
        (None, plan_looks(10, variance="moderated"), "one look at 10 seeds, moderated variances"),
    ],
)
def test_a_plan_that_is_changed_after_results_is_refused(plan, sample, first, then, words):
    begun = plan_in(plan.store.root, sample, first)
    begun.store.write_study(begun.study)
    plan_in(plan.store.root, sample, then)  # before there are results it may be
    train(begun, [next(planned for planned in begun.cells if not planned.arm.is_baseline)])
    with pytest.raises(UserError, match=words):
        plan_in(plan.store.root, sample, then)
    with pytest.raises(UserError, match="made after results"):
        begun.store.write_study(begun.study.model_copy(update={"looks": None if then is None else then.plan}))
    assert plan_in(plan.store.root, sample, first).study.has_plan_of(begun.study)


def test_cells_of_arms_that_were_there_when_looks_were_planned_are_counted(plan, sample):
    train(plan, plan.cells[:4])
    begun = plan_in(plan.store.root, sample)
    begun.store.write_study(begun.study)
    train(begun, begun.cells[:8])
    again = plan_in(plan.store.root, sample)
    assert again.study.looks.finished_before == 3, "as when they were planned"
    assert any("3 cells of arms were finished before" in note for note in Outcomes.from_store(plan.store.root).remarks)


def test_a_plan_of_another_version_keeps_its_levels(plan, sample):
    other = plan.study.looks.model_copy(update={"levels": (0.01, 0.015, 0.025)})
    plan.store.write_study(plan.study.model_copy(update={"looks": other}))
    drive(driver_of(plan_in(plan.store.root, sample)))
    study = plan.store.study(plan.study.name)
    assert study.looks.levels == other.levels
    rows = effect_table(Outcomes.from_store(plan.store.root)).set_index("arm")
    first = rows[rows["look"] == 1]
    assert (first["high"] - first["low"] > 0).all()
    assert rows.loc["clear", "adjusted_p"] == pytest.approx(min(rows.loc["clear", "p_value"] * 3 * 0.05 / 0.01, 1))


def test_a_question_stays_what_it_was_when_it_was_asked_and_later_ones_say_how_late_they_are(plan, sample):
    def asked(*classes: str) -> list[tuple[str, int]]:
        begun = make_plan(
            grid, "which", PROTOCOL, sample, plan.store, seeds=range(10), arguments=[], now="2026-01-01", looks=RULE.plan,
            classes=classes,
        )  # fmt: skip
        begun.store.write_study(begun.study)
        return [
            (question.name, question.finished_before) for question in plan.store.study(begun.study.name).class_questions
        ]

    assert asked("cat") == [("cat", 0)]
    train(plan, plan.cells[:4])
    assert asked("cat", "dog") == [("cat", 0), ("dog", 3)]
    assert asked() == [("cat", 0), ("dog", 3)]
    assert [q.asked for q in Outcomes.from_store(plan.store.root).study.class_questions] == [
        "beforehand", "after 3 cells beside those of the baseline had finished",
    ]  # fmt: skip


def test_a_manifest_from_before_there_were_plans_is_read_as_one_without():
    stored = Path(__file__).parents[1] / "data" / "results"
    assert Store(stored).study("depth-smoke").looks is None
    assert "look" not in effect_table(Outcomes.from_store(stored, "depth-smoke"))


def test_compared_with_another_arm_the_looks_are_paid_for_instead(plan):
    drive(driver_of(plan))
    outcomes = Outcomes.from_store(plan.store.root).against("clear")
    assert outcomes.looks == 3
    assert "look" not in effect_table(outcomes)


def test_a_budget_starts_no_cell_that_would_end_too_late(plan, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("ablations.budget.time.monotonic", lambda: clock[0])
    driver = driver_of(plan, budget=Budget(ends=45.0))
    done = 0
    while not driver.is_over() and (taken := driver.next_job()) is not None:
        driver.begin(taken[0])
        clock[0] += 10.0
        driver.hear(taken[0], result_of(taken[0]))
        done += 1
    assert done == 4, "a fifth would end after 50 seconds"
    assert driver.is_over()
    assert driver.display.lines[-1].endswith("no further cell is started; 8 cells left")


def test_a_budget_knows_the_pace_of_cells_that_were_finished_before(plan):
    planned = plan.cells[0]
    assert not Budget(ends=float("-inf")).allows(planned)
    budget = Budget(ends=float("inf"), pace=planned.work / 7)
    assert budget.expected(planned) == pytest.approx(7)
    assert Budget(ends=float("inf")).expected(planned) is None
