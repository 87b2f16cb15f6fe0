"""Which cell next, and what is kept of what runs say: without Ray."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ray.air.execution._internal import RayActorManager
from ray.exceptions import ObjectLostError, OutOfMemoryError

from ablations.agenda import TRIES, Agenda
from ablations.driver import Driver
from ablations.executor import MEMORY_WAS_SHORT, lost_for_any_reason
from ablations.grids import GRIDS
from ablations.job import Advance, Checkpoint, Failed, Placement
from ablations.plan import Plan, chosen_values, make_plan, tuning_plan
from ablations.protocols import PROTOCOLS, Split
from ablations.record import Tuning
from ablations.store import Store
from ablations.trial import result_of
from cnnkit import BASELINE, Recipe
from cnnkit.errors import UserError

TINY = PROTOCOLS["smoke"].vary(
    spec=BASELINE.vary(image_size=64, hidden_width=16, widths=(8, 16)),
    recipe=Recipe(epochs=1, learning_rate=1e-3),
    split=Split(train=100, validation=100, test=100),
)


class Recorder:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def update(self, tally) -> None:
        self.running = [trial.planned.cell.key for trial in tally.running.values()]

    def line(self, text: str) -> None:
        self.lines.append(text)


def plan_in(root, data, seeds: int = 2) -> Plan:
    store = Store.open(root, data=data.fingerprint, data_description=data.describe())
    now = "2026-01-01T00:00:00+00:00"
    return make_plan(GRIDS["batch_norm"], "batch_norm", TINY, data, store, seeds=range(seeds), arguments=[], now=now)


def driver_of(plan: Plan) -> Driver:
    return Driver(plan, Agenda(plan.missing, plan.store), Recorder(), lambda planned: Placement(), keep_weights=True)


@pytest.fixture
def plan(tmp_path, sample) -> Plan:
    return plan_in(tmp_path / "results", sample)


@pytest.fixture(scope="module")
def result(tmp_path_factory, sample):
    """What the run of the first cell returns."""
    plan = plan_in(tmp_path_factory.mktemp("first") / "results", sample)
    _, job, _ = driver_of(plan).next_job()
    return result_of(job, plan.data)


def test_cells_are_handed_out_in_the_plans_order_and_claimed_only_then(plan):
    driver, other = driver_of(plan), Store(plan.store.root)
    planned, job, checkpoint = driver.next_job()
    assert planned is plan.cells[0]
    assert job.cell == planned.cell
    assert checkpoint is None
    assert [other.is_claimed(cell.cell.key) for cell in plan.cells] == [True, False, False, False]


def test_a_cell_that_another_study_trains_is_passed_over_and_looked_at_again(plan, result):
    driver, other = driver_of(plan), Store(plan.store.root)
    assert all(other.claim(planned.cell.key) for planned in plan.cells)
    assert driver.next_job() is None
    assert driver.next_job() is None
    assert driver.display.lines == ["waiting for 4 cells that another study on this results folder is training"]
    other.write(result)
    other.release(plan.cells[1].cell.key)
    assert driver.next_job()[0] is plan.cells[1]
    assert driver.tally.finished == 1, "what the other study has finished counts"
    assert not driver.agenda.is_over


def test_a_candidate_that_diverged_is_not_chosen_and_where_all_have_nothing_is(tmp_path, sample):
    plan = plan_in(tmp_path / "results", sample, seeds=1)
    tuning, candidates = tuning_plan(plan, Tuning(field="learning_rate", values=["1e-3", "1e30"]), plan.store)
    driver = driver_of(tuning)
    while (job := driver.next_job()) is not None:
        planned, job, _ = job
        driver.begin(planned)
        if planned.cell.recipe.learning_rate > 1:
            driver.fail(planned, Failed("diverged", "the loss became NaN", "", 1))
        else:
            driver.hear(planned, result_of(job, tuning.data))
    assert driver.is_over()
    assert chosen_values("learning_rate", candidates, plan.store) == {
        arm: {"learning_rate": 1e-3} for arm in candidates
    }
    arm, tried = next(iter(candidates.items()))
    with pytest.raises(UserError, match=f"no candidate of arm '{arm}' finished, so none can be chosen"):
        chosen_values("learning_rate", {arm: tried[1:]}, plan.store)


def test_a_result_becomes_a_record_and_the_claim_is_given_back(plan, result):
    driver = driver_of(plan)
    planned, *_ = driver.next_job()
    driver.begin(planned)
    driver.hear(planned, Advance(1, 0.5, None))
    driver.hear(planned, result)
    record = plan.store.read(planned.cell.key)
    assert record.test_accuracy == result.test_accuracy
    assert not Store(plan.store.root).is_claimed(planned.cell.key)
    assert driver.display.lines[-1].startswith(f"[1/4] {planned.name}: validation ")
    assert "test " in driver.display.lines[-1]


def test_a_lost_cell_is_handed_out_again_with_its_newest_checkpoint(plan):
    driver = driver_of(plan)
    planned, *_ = driver.next_job()
    driver.hear(planned, Checkpoint(1, b"after one epoch"))
    driver.hear(planned, Checkpoint(2, b"after two epochs"))
    driver.lose(planned, "its node is gone", short_of_memory=False)
    assert driver.display.lines[-1].endswith("the cell goes on after epoch 2")
    handed_out = [driver.next_job() for _ in plan.cells]
    assert handed_out[-1][0] is planned, "behind the others"
    assert handed_out[-1][2] == b"after two epochs"


def test_a_cell_whose_process_always_dies_is_given_up(plan):
    driver = driver_of(plan)
    for _ in range(TRIES):
        while (taken := driver.next_job())[0] is not plan.cells[0]:
            driver.fail(taken[0], Failed("failed", "not of interest here", ""))
        driver.lose(taken[0], "killed", short_of_memory=False)
    assert driver.agenda.is_over
    assert "its process died each time" in plan.store.failure(plan.cells[0].cell.key).sentence


@pytest.mark.parametrize("error", [OutOfMemoryError("low on memory"), ObjectLostError("0", None, "")])
def test_a_trial_that_ray_loses_for_any_reason_has_failed_and_tune_goes_on(error):
    heard = []
    actor = SimpleNamespace(actor_id="0", _on_error=lambda actor, error: heard.append(error))
    task = SimpleNamespace(_tracked_actor=actor, _on_error=None)
    manager = SimpleNamespace(_failed_actor_ids=set(), _cleanup_actor=lambda tracked_actor: None)
    with pytest.raises(RuntimeError):
        RayActorManager._actor_task_failed(manager, tracked_actor_task=task, exception=error)
    with lost_for_any_reason():
        RayActorManager._actor_task_failed(manager, tracked_actor_task=task, exception=error)
    assert [str(said) for said in heard] == [str(error)]
    assert manager._failed_actor_ids == {"0"}


def test_a_cell_that_died_for_memory_is_tried_once_more_alone(plan):
    driver = driver_of(plan)
    planned, *_ = driver.next_job()
    assert not driver.agenda.needs_all(planned)
    driver.fail(planned, Failed("out of memory", "MemoryError", "a traceback"))
    assert "out of memory; it is tried once more, alone" in driver.display.lines[-1]
    assert driver.agenda.needs_all(planned)
    assert [driver.next_job()[0] for _ in plan.cells][-1] is planned
    driver.fail(planned, Failed("out of memory", "MemoryError", "a traceback"))
    failure = plan.store.failure(planned.cell.key)
    assert failure.sentence == "out of memory, also without other cells beside it"
    assert not any(driver.agenda.needs_all(cell) for cell in plan.cells[1:])


def test_what_ray_says_of_a_process_that_its_memory_monitor_ended_is_known():
    # Ray 2.60's own words.
    said = (
        "To adjust the kill threshold, set the environment variable `RAY_memory_usage_threshold` when starting Ray.",
        "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
    )
    assert all(any(words in text for words in MEMORY_WAS_SHORT) for text in said)


def test_a_cell_from_which_a_value_is_chosen_shows_no_test_accuracy(plan, result):
    tuning, _ = tuning_plan(plan, Tuning(field="learning_rate", values=["1e-3", "1e-4"]), plan.store)
    driver = driver_of(tuning)
    planned, *_ = driver.next_job()
    driver.hear(planned, replace(result, cell=planned.cell))
    assert "validation " in driver.display.lines[-1]
    assert "test " not in driver.display.lines[-1]


def test_an_ended_study_holds_no_claim(plan):
    driver = driver_of(plan)
    handed_out = [driver.next_job()[0] for _ in range(2)]
    driver.close()
    assert not any(Store(plan.store.root).is_claimed(planned.cell.key) for planned in handed_out)


def test_a_slow_disk_does_not_hold_up_who_trains_and_what_it_refuses_is_heard(plan, monkeypatch):
    driver = driver_of(plan)
    planned, *_ = driver.next_job()
    disk = threading.Event()

    def refuse(key, state):
        disk.wait(10)
        raise UserError("No space left on device")

    monkeypatch.setattr(plan.store, "write_checkpoint", refuse)
    driver.hear(planned, Checkpoint(1, b"after one epoch"))
    driver.hear(planned, Advance(2, 0.5, None))
    disk.set()
    with pytest.raises(UserError, match="No space left"):
        driver.hear(planned, Checkpoint(2, b"after two epochs"))
    driver.close()
