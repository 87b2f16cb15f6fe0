"""A trial as Tune drives it, step by step, without Tune."""

import copy
import pickle
import time

import pytest
import torch

from ablations import trial as trials
from ablations.cell import Cell, SplitSizes
from ablations.job import Advance, Checkpoint, Failed, Job
from ablations.plan import PlannedCell
from ablations.protocols import PROTOCOLS
from ablations.record import CellResult
from ablations.trainable import NEWS, PARCEL, CellTrial, Letter, Parcel
from cnnkit import BASELINE, Recipe


@pytest.fixture
def parcel(tiny):
    """Makes a cell on its way to its process."""

    def of(checkpoint: bytes | None = None, **recipe) -> Parcel:
        arm = PROTOCOLS["smoke"].baseline()
        spec = BASELINE.vary(image_size=64, hidden_width=16, widths=(8, 16))
        split = SplitSizes(train=len(tiny.train), validation=len(tiny.validation), test=len(tiny.test))
        arm = arm.model_copy(update={"spec": spec, "recipe": Recipe(epochs=2).vary(**recipe)})
        cell = Cell.of(arm, data=tiny.fingerprint, split=split, seed=0)
        return Parcel(PlannedCell(arm, cell), Job(cell=cell, arm=arm.name, protocol="smoke"), checkpoint)

    return of


def begun(parcel: Parcel, data) -> CellTrial:
    trial = object.__new__(CellTrial)
    trial.setup({PARCEL: parcel}, data, ())
    return trial


def last(trial: CellTrial) -> object:
    for _ in range(1000):
        result = trial.step()
        if result["done"]:
            return result[NEWS].news
    raise AssertionError("it does not end")


def test_a_trial_ends_with_its_result_and_goes_on_to_the_next_cell(parcel, tiny):
    trial = begun(parcel(), tiny)
    first = last(trial)
    assert isinstance(first, CellResult)
    assert trial.reset_config({PARCEL: parcel(learning_rate=1e-2)})
    second = last(trial)
    assert second.cell.key != first.cell.key
    assert pickle.loads(pickle.dumps(second)).test_accuracy == second.test_accuracy


def test_what_another_cells_network_has_set_for_all_of_torch_changes_no_number(parcel, tiny):
    """A process trains one cell after another."""
    before = last(begun(parcel(), tiny))
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    try:
        after = last(begun(parcel(), tiny))
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
    assert isinstance(after, CellResult), after
    assert (before.test_logits == after.test_logits).all()


def test_only_a_result_is_the_whole_of_a_cell(parcel, tiny):
    """After the last update there is still something to be evaluated."""
    *advances, result = trials.run_cell(parcel().job, tiny)
    assert isinstance(result, CellResult)
    progress = [news.progress for news in advances if isinstance(news, Advance)]
    assert progress == sorted(progress)
    assert 0 < progress[0] < progress[-1] < 1
    split = result.cell.split
    assert progress[-1] == pytest.approx(1 - split.test / split.passes(2))


def test_a_loss_that_is_no_number_is_a_divergence(parcel, tiny):
    end = last(begun(parcel(optimizer="sgd", learning_rate=1e30), tiny))
    assert (end.kind, end.epoch) == ("diverged", 1)


def test_weights_that_the_last_update_spoils_are_a_divergence_in_a_study_too(parcel, tiny):
    end = last(begun(parcel(optimizer="sgd", learning_rate=1e30, epochs=1, batch_size=len(tiny.train)), tiny))
    assert (end.kind, end.epoch) == ("diverged", 1)
    assert "logits" in end.sentence, "the loss was finite: it was taken before the update"


@pytest.mark.parametrize("error", [MemoryError("no more"), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_cell_that_memory_does_not_hold_says_so(parcel, tiny, monkeypatch, error):
    def fail(*arguments, **named):
        raise error

    monkeypatch.setattr(trials, "build", fail)
    end = last(begun(parcel(), tiny))
    assert end.kind == "out of memory"
    assert "Traceback" in end.log


def test_whatever_else_a_cell_does_is_a_failure_of_that_cell(parcel, tiny, monkeypatch):
    def fail(*arguments, **named):
        raise KeyError("a network of the user's own\nwith a second line")

    monkeypatch.setattr(trials, "build", fail)
    end = last(begun(parcel(), tiny))
    assert isinstance(end, Failed)
    assert end.kind == "failed"
    assert len(end.sentence.splitlines()) == 1
    assert "a network of the user's own" in end.sentence


def test_checkpoints_leave_the_trial_and_bring_the_next_one_on(parcel, tiny, monkeypatch):
    monkeypatch.setattr(trials, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(trials, "CHECKPOINT_BYTES_PER_SECOND", 1e12)
    trial = begun(parcel(), tiny)
    while not isinstance(news := trial.step()[NEWS].news, Checkpoint):
        pass
    whole, rest = last(trial), last(begun(parcel(news.state), tiny))
    assert rest.weights == whole.weights


def test_a_checkpoint_that_takes_long_to_deliver_is_followed_by_none_too_soon(parcel, tiny, monkeypatch):
    monkeypatch.setattr(trials, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(trials, "CHECKPOINT_BYTES_PER_SECOND", 1e12)
    delivered = 0
    for news in trials.run_cell(parcel(epochs=6).job, tiny):
        if isinstance(news, Checkpoint):
            delivered += 1
            time.sleep(0.5)  # the way to the driver; a hundredth of 50 s, which six epochs of these do not take
    assert delivered == 1


def test_tune_keeps_no_checkpoint_that_has_arrived(parcel):
    sent = parcel(b"x" * 1000)
    assert copy.deepcopy({PARCEL: sent})[PARCEL] is sent, "Tune copies configurations"
    assert len(str(sent)) < 30, "and prints them"
    assert sent.unpack() == b"x" * 1000
    assert sent.unpack() is None


def test_what_a_trial_reports_is_neither_copied_nor_printed_whole_on_its_way():
    letter = Letter(Checkpoint(epochs=1, state=bytes(10_000)))
    assert len(f"{ {NEWS: letter} }") < 100  # Tune formats every result for its log
    assert copy.deepcopy(letter) is letter
