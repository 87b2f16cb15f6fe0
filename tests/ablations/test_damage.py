"""What cannot be trusted is noticed, kept, said in a line and trained again; what a disk refuses is one sentence."""

import os
import random
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from ablations.cell import Cell
from ablations.checkpoints import DamagedCheckpoint
from ablations.record import CellResult, Command, Failure, Record
from ablations.store import DamagedRecord, Store
from cnnkit.errors import UserError

STORED = Path(__file__).parents[1] / "data" / "results" / "cells"
KEY, OTHER = "a23e670d0005970dbc42", "10c5421f64e9bed7dd5d"  # one arm, two seeds


def write(store: Store, key: str = KEY) -> Record:
    """What the run of a recorded cell returned, written; with weights of some kilobytes."""
    record = Record.model_validate_json((STORED / key / "record.json").read_bytes())
    same = {name: getattr(record, name) for name in vars(record) if name in CellResult.__dataclass_fields__}
    weights = save({"w": np.arange(1000, dtype=np.float32)})
    logits = load_file(STORED / key / "logits.safetensors")
    return store.write(CellResult(cell=Cell.model_validate(record.identity), weights=weights, **{**same, **logits}))


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "results", data="abc", data_description="some data")


def damage(store: Store, how: str) -> None:
    folder = store.cell_folder(KEY)
    if how == "no record":
        (folder / "record.json").unlink()
    elif how == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    elif how == "a file in its place":
        shutil.rmtree(folder)
        folder.write_text("x")
    elif how == "a link in its place":
        folder.rename(store.root.parent / "elsewhere")
        folder.symlink_to(store.root.parent / "elsewhere")
    elif how == "another cell's":
        shutil.rmtree(folder)
        write(store, OTHER)
        store.cell_folder(OTHER).rename(folder)
    elif how.startswith("truncated "):
        file = folder / how.removeprefix("truncated ")
        file.write_bytes(file.read_bytes()[:-9])
    elif how.startswith("altered "):
        file = folder / how.removeprefix("altered ")
        content = bytearray(file.read_bytes())
        content[-9] ^= 1
        file.write_bytes(content)
    elif how == "no logits":
        (folder / "logits.safetensors").unlink()


@pytest.mark.parametrize(
    "how",
    [
        "no record", "empty", "a file in its place", "a link in its place", "another cell's", "truncated record.json",
        "truncated logits.safetensors", "truncated weights.safetensors", "altered record.json",
        "altered logits.safetensors", "altered weights.safetensors", "no logits",
    ],
)  # fmt: skip
def test_a_damaged_cell_is_kept_aside_said_and_can_be_written_again(store, how):
    whole = write(store)
    damage(store, how)
    (sentence,) = store.set_damaged_aside([KEY])
    assert sentence.endswith(f"moved to {store.root / 'damaged' / f'{KEY}-1'}, and the cell is trained again")
    assert os.path.lexists(store.root / "damaged" / f"{KEY}-1")
    assert not store.is_finished(KEY)
    assert write(store) == whole
    assert store.read(KEY) == whole
    assert store.set_damaged_aside([KEY]) == []


@pytest.mark.parametrize("how", ["no record", "empty", "a file in its place", "truncated record.json"])
def test_a_result_is_not_lost_to_what_stands_in_its_place(store, how):
    write(store)
    damage(store, how)
    whole = write(store)
    assert store.read(KEY) == whole
    assert os.path.lexists(store.root / "damaged" / f"{KEY}-1")


def test_a_whole_cell_and_one_without_its_weights_are_left_alone(store):
    record = write(store)
    assert store.set_damaged_aside([KEY]) == []
    (store.cell_folder(KEY) / "weights.safetensors").unlink()
    assert store.set_damaged_aside([KEY, "f" * 20]) == []
    assert store.read(KEY) == record


def test_large_weights_that_were_cut_short_are_found_without_reading_them(store, monkeypatch):
    monkeypatch.setattr("ablations.store.HASHED_AT_START", 0)
    write(store)
    assert store.set_damaged_aside([KEY]) == []
    damage(store, "truncated weights.safetensors")
    assert "cut short" in store.set_damaged_aside([KEY])[0]


def test_fifty_flipped_bits_in_checkpoints_are_all_noticed(store):
    dice = random.Random(0)
    state = dice.randbytes(5_000)
    file = store.root / "unfinished" / KEY / "checkpoint.pt"
    for _ in range(50):
        store.write_checkpoint(KEY, state)
        content = bytearray(file.read_bytes())
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        file.write_bytes(content)
        with pytest.raises(DamagedCheckpoint):
            store.read_checkpoint(KEY)
        assert store.read_checkpoint(KEY) is None, "what does not fit is gone"


@pytest.mark.parametrize("how", ["zeroed", "truncated", "another seed's", "an earlier version's", "empty"])
def test_what_is_not_the_cells_checkpoint_is_not_taken(store, how):
    store.write_checkpoint(KEY, bytes(range(256)) * 40)
    file = store.root / "unfinished" / KEY / "checkpoint.pt"
    content = file.read_bytes()
    if how == "zeroed":
        file.write_bytes(content[:4096] + bytes(len(content) - 4096))
    elif how == "truncated":
        file.write_bytes(content[:-1])
    elif how == "another seed's":
        store.write_checkpoint(OTHER, b"another")
        shutil.copy(store.root / "unfinished" / OTHER / "checkpoint.pt", file)
    else:
        file.write_bytes(b"PK\3\4 torch" if how == "an earlier version's" else b"")
    with pytest.raises(DamagedCheckpoint, match="its checkpoint is"):
        store.read_checkpoint(KEY)


def test_a_whole_checkpoint_is_read_back(store):
    assert store.read_checkpoint(KEY) is None
    store.write_checkpoint(KEY, b"one")
    store.write_checkpoint(KEY, b"two")
    assert store.read_checkpoint(KEY) == b"two"


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "Input/output error")])
def test_a_checkpoint_that_cannot_be_read_just_now_stays(store, monkeypatch, error):
    store.write_checkpoint(KEY, b"state")

    def fail(file):
        raise error

    with monkeypatch.context() as patch, pytest.raises((MemoryError, UserError)):
        patch.setattr("ablations.files.read", fail)
        store.read_checkpoint(KEY)
    assert store.read_checkpoint(KEY) == b"state"


FAILURE = Failure(key=KEY, arm="a", seed=0, kind="failed", sentence="it broke")
COMMAND = Command(time="2026-01-01T00:00:00+00:00", arguments=[], seeds=1, finished_before=0)
WRITES = {
    "a record": write,
    "a checkpoint": lambda store: store.write_checkpoint(KEY, b"x" * 100_000),
    "a failure": lambda store: store.write_failure(FAILURE, "a traceback"),
    "a command": lambda store: store.write_command("depth", COMMAND),
    "a claim": lambda store: store.claim(KEY),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_removed_results_folder_is_one_sentence(store, what):
    shutil.rmtree(store.root)
    with pytest.raises(UserError, match="No such file or directory; make sure that the results folder is there"):
        WRITES[what](store)


@pytest.mark.parametrize("what", WRITES)
def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(store, monkeypatch, what):
    store.scratch("x")  # the run has begun
    before = sorted(path for path in store.root.rglob("*") if path.is_file())

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ablations.files.os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        WRITES[what](store)
    assert sorted(path for path in store.root.rglob("*") if path.is_file() and path.parent.name != "runs") == [
        path for path in before if path.parent.name != "runs"
    ]
    assert not [*store.root.rglob("*.unfinished")]


@pytest.mark.parametrize("folder", ["unfinished", "failed", "studies", "cells"])
def test_a_planted_link_is_not_followed(store, tmp_path, folder):
    """A results folder that a stranger made does not reach beyond itself."""
    outside = tmp_path / "outside"
    outside.mkdir()
    store.scratch("x")
    shutil.rmtree(store.root / folder)
    (store.root / folder).symlink_to(outside)
    writes = {
        "unfinished": WRITES["a checkpoint"],
        "failed": WRITES["a failure"],
        "studies": WRITES["a command"],
        "cells": WRITES["a record"],
    }
    with pytest.raises(UserError, match="is a link"):
        writes[folder](store)
    assert list(outside.iterdir()) == []


def test_a_planted_link_in_the_place_of_a_file_is_replaced_or_refused_but_not_followed(store, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("untouched")
    for file in (
        store.root / "unfinished" / KEY / "checkpoint.pt",
        store.root / "failed" / f"{KEY}.log",
        store.root / "failed" / f"{KEY}.json",
    ):
        file.parent.mkdir(exist_ok=True)
        file.symlink_to(secret)
    assert store.failure(KEY) is None
    store.write_checkpoint(KEY, b"state")
    store.write_failure(FAILURE, "a traceback")
    assert secret.read_text() == "untouched"
    assert store.read_checkpoint(KEY) == b"state"


def test_a_record_that_is_a_link_or_a_pipe_is_damaged(store, tmp_path):
    write(store)
    file = store.cell_folder(KEY) / "record.json"
    file.rename(tmp_path / "record.json")
    file.symlink_to(tmp_path / "record.json")
    with pytest.raises(DamagedRecord):
        store.read(KEY)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(DamagedRecord, match="not a plain file"):
        store.read(KEY)


def test_files_of_a_record_have_one_mode(store):
    before = os.umask(0o027)
    try:
        write(store)
        store.write_failure(FAILURE, "a traceback")
        store.write_checkpoint(KEY, b"x")
    finally:
        os.umask(before)
    made = [
        *store.cell_folder(KEY).iterdir(),
        *(store.root / "failed").iterdir(),
        *store.root.glob("unfinished/*/*.pt"),
    ]
    assert len(made) == 6
    assert {stat.S_IMODE(file.stat().st_mode) for file in made} == {0o640}


def test_pruning_removes_nothing_outside_of_the_results_folder(store, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "record.json").write_text("{}")
    (outside / "weights.safetensors").write_text("precious")
    store.cell_folder(KEY).symlink_to(outside)
    (store.root / "unfinished" / KEY).symlink_to(outside)
    assert list(store.finished_keys()) == []
    assert list(store.unfinished_keys()) == []
    assert Path(outside / "weights.safetensors").read_text() == "precious"
