"""Studies through a real Ray, on real images."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from ablations import Settings, run_study
from ablations.cell import Cell, SplitSizes
from ablations.grids import GRIDS
from ablations.job import Advance, BeganAnew, Checkpoint, Job
from ablations.plan import Plan, PlannedCell, make_plan
from ablations.protocols import PROTOCOLS, Split
from ablations.record import Study
from ablations.resources import GIB, Machine
from ablations.store import Store
from ablations.study import Options, run
from ablations.trial import result_of, run_cell
from analysis.effects import effect_table
from analysis.looks import PlannedLooks, plan_looks
from analysis.outcomes import Outcomes
from cnnkit import BASELINE, Recipe

TINY = PROTOCOLS["smoke"].vary(
    spec=BASELINE.vary(image_size=64, hidden_width=16, widths=(8, 16)),
    recipe=Recipe(epochs=2, learning_rate=1e-3),
    split=Split(train=200, validation=100, test=100),
)


class Recorder:
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.running: list[set[str]] = []

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def update(self, tally):
        self.running.append({trial.planned.arm.name for trial in tally.running.values()})

    def line(self, text):
        self.lines.append(text)


def plan_of(root: Path, data, *, arms: int, seeds: int = 1, epochs: int = 2) -> Plan:
    """A study of small arms that differ in their dropout."""
    store = Store.open(root, data=data.fingerprint, data_description=data.describe())
    protocol = TINY.vary(recipe=TINY.recipe.vary(epochs=epochs))
    now = "2026-01-01T00:00:00+00:00"
    plan = make_plan(GRIDS["depth"], "depth", protocol, data, store, seeds=range(seeds), arguments=[], now=now)
    baseline = protocol.baseline()
    varied = [baseline, *(baseline.variant(f"arm {i}", {"dropout": i / 10}, dropout=i / 10) for i in range(arms - 1))]
    cells = [
        PlannedCell(arm, Cell.of(arm, data=data.fingerprint, split=plan.study.split, seed=seed))
        for seed in range(seeds)
        for arm in varied
    ]
    return replace(plan, cells=cells)


def job(planned: PlannedCell) -> Job:
    return Job(cell=planned.cell, arm="x", protocol="smoke")


CPU = Machine(cores=2, memory=8 * GIB)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, sample) -> tuple[Plan, Recorder]:
    """A study of two arms and two seeds that has run."""
    plan, display = plan_of(tmp_path_factory.mktemp("study"), sample, arms=2, seeds=2), Recorder()
    outcome = run(plan, Options(CPU), display)
    assert len(outcome.finished) == 4
    assert not outcome.failures
    assert not outcome.interrupted
    return plan, display


def test_every_cell_leaves_a_complete_record(finished):
    plan, display = finished
    assert not plan.missing
    for planned in plan.cells:
        record = plan.store.read(planned.cell.key)
        assert len(record.curve) == 2
        assert record.provenance.threads == 1
        assert record.provenance.device_type == "cpu"
        logits, labels = plan.store.logits(record, "test")
        assert record.test_accuracy == (logits.argmax(1) == labels).mean()
    assert len(display.lines) == 4
    assert "[4/4]" in display.lines[-1]


def test_nothing_is_left_behind(finished):
    plan, _ = finished
    assert list((plan.store.root / "unfinished").iterdir()) == []
    assert list((plan.store.root / "failed").iterdir()) == []


def test_a_finished_study_trains_nothing(finished):
    plan, _ = finished
    display = Recorder()
    outcome = run(plan, Options(CPU), display)
    assert len(outcome.finished) == 4
    assert display.lines == []


def test_a_trial_in_ray_gives_the_numbers_of_one_without_ray(finished, sample, tmp_path):
    plan, _ = finished
    planned = plan.cells[-1]
    store = Store.open(tmp_path / "alone", data=sample.fingerprint, data_description="")
    store.write(result_of(job(planned), plan.data))
    for file in ("logits.safetensors", "weights.safetensors"):
        a = load_file(plan.store.cell_folder(planned.cell.key) / file)
        b = load_file(store.cell_folder(planned.cell.key) / file)
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[name], b[name]) for name in a)


def test_arms_that_draw_other_images_get_them_and_other_studies_do_not_carry_them_along(tmp_path, sample):
    def images(baseline):
        """Which images?"""
        return [baseline, baseline.variant("other images", {"split": 1}, recipe={"split_seed": 1})]

    now = "2026-01-01T00:00:00+00:00"
    plan = make_plan(images, "images", TINY, sample, None, seeds=[0], arguments=[], now=now)
    assert len(plan.data.train) + len(plan.data.validation) + sum(map(len, plan.data.rest)) == 4_500
    baseline, other = (result_of(job(planned), plan.data) for planned in plan.cells)
    assert np.array_equal(baseline.validation_labels, plan.data.validation.labels)
    assert np.array_equal(other.validation_labels, plan.data.redrawn(1).validation.labels)
    assert not np.array_equal(other.validation_labels, baseline.validation_labels)
    assert np.array_equal(baseline.test_labels, other.test_labels)
    assert not np.array_equal(baseline.test_logits, other.test_logits)
    assert plan_of(tmp_path, sample, arms=2).data.rest is None


def test_a_cell_goes_on_from_any_epoch_with_the_same_numbers(finished, monkeypatch):
    plan, _ = finished
    monkeypatch.setattr("ablations.trial.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("ablations.trial.CHECKPOINT_BYTES_PER_SECOND", 1e12)
    planned = plan.cells[0]
    whole = list(run_cell(job(planned), plan.data))
    (checkpoint,) = [news for news in whole if isinstance(news, Checkpoint)]
    assert checkpoint.epochs == 1
    rest = list(run_cell(job(planned), plan.data, checkpoint.state))
    after = [news for news in whole[whole.index(checkpoint) :] if isinstance(news, Advance)]
    assert [news for news in rest if isinstance(news, Advance)] == after
    assert after[0].validation_accuracy == whole[-1].curve[0].validation_accuracy
    assert np.array_equal(rest[-1].test_logits, whole[-1].test_logits)
    assert rest[-1].weights == whole[-1].weights


def test_short_epochs_leave_no_checkpoints(finished):
    plan, _ = finished
    assert not [news for news in run_cell(job(plan.cells[0]), plan.data) if isinstance(news, Checkpoint)]


def test_a_damaged_checkpoint_is_not_used_and_the_cell_starts_anew(finished):
    plan, _ = finished
    planned = plan.cells[0]
    first, *_, result = run_cell(job(planned), plan.data, b"PK not a checkpoint")
    assert isinstance(first, BeganAnew)
    assert result.test_accuracy == plan.store.read(planned.cell.key).test_accuracy


def test_a_cell_that_fails_is_reported_and_the_others_go_on(tmp_path, sample):
    plan = plan_of(tmp_path / "results", sample, arms=2)
    bad = plan.cells[1]
    broken = PlannedCell(bad.arm, bad.cell.vary(recipe=bad.cell.recipe.vary(optimizer="nonsense")))
    diverging = PlannedCell(
        bad.arm, bad.cell.vary(recipe=bad.cell.recipe.vary(optimizer="sgd", learning_rate=1e30), seed=1)
    )
    display = Recorder()
    outcome = run(replace(plan, cells=[broken, diverging, plan.cells[0]]), Options(CPU), display)
    assert [planned.cell.key for planned in outcome.finished] == [plan.cells[0].cell.key]
    kinds = {failure.kind: failure for failure in outcome.failures}
    assert "timm has no optimizer 'nonsense'" in kinds["failed"].sentence
    assert kinds["diverged"].epoch == 1
    log = plan.store.root / "failed" / f"{broken.cell.key}.log"
    assert "Traceback" in log.read_text()
    assert any(str(log) in line for line in display.lines)


def test_shares_of_one_gpu_run_together_and_a_fourth_waits(tmp_path, sample):
    # A logical GPU: Ray's bookkeeping without a card, so that the arithmetic stays on the CPU.
    plan = plan_of(
        tmp_path / "results", sample, arms=4, epochs=80
    )  # longer than workers need to start, one after the other
    shares = dict(zip([planned.arm.name for planned in plan.cells], (0.25, 0.25, 0.5, 0.25), strict=True))
    display = Recorder()
    run(plan, Options(Machine(cores=4, memory=16 * GIB, gpus=1, gpu_memory=16 * GIB), shares=shares), display)
    first_three, fourth = list(shares)[:3], list(shares)[3]
    assert set(first_three) in display.running, "0.25, 0.25 and 0.5 fit on one GPU together"
    assert all(sum(shares[name] for name in names) <= 1 for names in display.running)
    fourth_began = next(i for i, names in enumerate(display.running) if fourth in names)
    all_three = display.running.index(set(first_three))
    assert fourth_began > all_three, "the fourth waits until there is room"
    for planned in plan.cells:
        assert plan.store.read(planned.cell.key).provenance.gpu_share == shares[planned.arm.name]


def test_the_manifest_is_readable_json(tmp_path, sample):
    plan = plan_of(tmp_path / "results", sample, arms=2)
    plan.store.write_study(plan.study)
    content = json.loads((plan.store.study_folder(plan.study.name) / "study.json").read_text())
    assert content["grid"] == "depth"
    assert content["question"].startswith("How many blocks")
    assert SplitSizes.model_validate(content["split"]).train == 200
    assert plan.store.study(plan.study.name) == plan.study


def test_a_python_call_runs_a_study_and_prints_plain_lines(tmp_path, sample, capsys):
    def dropout(baseline):
        """Does dropout matter?"""
        return [baseline.variant(f"dropout {rate}", {"dropout": rate}, dropout=rate) for rate in (0.5, 0.0)]

    outcome = run_study(
        dropout, TINY, data=sample, results=tmp_path / "results", settings=Settings(seeds=1, keep_weights=False)
    )
    assert outcome.complete
    assert not outcome.interrupted
    assert outcome.failures == []
    assert len(outcome.finished) == 2
    assert (outcome.folder / "study.json").is_file()
    assert not list(tmp_path.glob("results/cells/*/weights.safetensors"))
    printed = capsys.readouterr()
    assert "[2/2] dropout" in printed.out
    assert printed.err == ""


class OnToEveryLook(PlannedLooks):
    """A plan by which no arm stops, whatever chance has made of such small networks."""

    def going_on(self, store: Store, study: Study) -> list[str]:
        super().going_on(store, study)
        return [arm.name for arm in study.arms]


@pytest.mark.slow
def test_a_study_with_planned_looks_goes_on_within_one_run_and_is_not_begun_again(tmp_path, sample, capsys):
    rule = OnToEveryLook(plan_looks(2, 4).plan)
    request = {"data": sample, "results": tmp_path / "results"}
    outcome = run_study("batch_norm", TINY, settings=Settings(looks=rule, keep_weights=False), **request)
    assert outcome.complete
    assert "[4/4]" in (printed := capsys.readouterr().out)
    assert "[8/8]" in printed, "the second look's cells are known when the first is over"
    outcomes = Outcomes.from_store(tmp_path / "results", outcome.study)
    assert len(outcomes.cells) == len(outcomes.finished) == 8
    assert effect_table(outcomes)["planned_looks"].tolist() == [2, 2]
    assert run_study("batch_norm", TINY, settings=Settings(looks=rule), **request).complete
    assert capsys.readouterr().out == ""
    short = Settings(looks=plan_looks(2, 5), budget=0.001)
    left = run_study("dropout", TINY, settings=short, **request)
    assert left.out_of_time
    assert not left.complete
