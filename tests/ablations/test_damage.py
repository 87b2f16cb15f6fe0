"""What cannot be trusted is noticed, kept, said in a line and trained again; what a disk refuses is one sentence."""

import json
import os
import random
import re
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from ablations import files
from ablations.cell import Cell
from ablations.checkpoints import DamagedCheckpoint
from ablations.record import CellResult, Command, Failure, Record, Study
from ablations.sealed import DamagedRecord, seal_of
from ablations.store import Store
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


KINDS = [
        "no record", "empty", "a file in its place", "another cell's", "truncated record.json",
        "truncated logits.safetensors", "truncated weights.safetensors", "altered record.json",
        "altered logits.safetensors", "altered weights.safetensors", "no logits",
]  # fmt: skip


@pytest.mark.parametrize("how", KINDS)
def test_a_damaged_cell_is_not_finished_for_anybody_who_asks(store, how):
    write(store)
    assert store.is_finished(KEY)
    damage(store, how)
    for reader in (store, Store(store.root)):  # one that has seen it whole, and one that has not
        assert not reader.is_finished(KEY)
        assert str(reader.cell_folder(KEY)) in reader.fault(KEY)
        assert list(reader.finished_keys()) == []
        with pytest.raises(DamagedRecord):
            reader.sound(KEY)


def test_a_cell_is_read_again_only_when_its_files_are_others(store, monkeypatch):
    write(store)
    reads = []
    read = files.read
    monkeypatch.setattr("ablations.files.read", lambda file: reads.append(file.name) or read(file))
    for _ in range(3):
        assert store.is_finished(KEY)
    assert sorted(reads) == ["logits.safetensors", "record.json", "weights.safetensors"]
    (store.cell_folder(KEY) / "weights.safetensors").unlink()
    assert store.is_finished(KEY), "weights may be pruned"
    assert sorted(reads[3:]) == ["logits.safetensors", "record.json"]


def test_a_result_is_kept_where_what_stood_in_its_place_is_moved_away_in_that_moment(store, monkeypatch):
    write(store)
    damage(store, "no record")

    def moved_by_another_run(key):
        shutil.rmtree(store.cell_folder(key))
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(store, "_set_aside", moved_by_another_run)
    whole = write(store)
    assert store.read(KEY) == whole


@pytest.mark.parametrize("how", KINDS)
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
    monkeypatch.setattr("ablations.store.HASHED", 0)
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


@pytest.mark.parametrize(
    ("content", "does"), [(None, "no ablations.json, .* writes it anew"), ("{}", "move ablations.json away")]
)
def test_without_what_a_results_folder_says_about_itself_there_is_a_way_on(store, content, does):
    shutil.copytree(STORED.parent / "studies", store.root / "studies", dirs_exist_ok=True)
    about = store.root / "ablations.json"
    about.unlink() if content is None else about.write_text(content)
    with pytest.raises(UserError, match=does):
        Store(store.root)
    about.unlink(missing_ok=True)
    assert Store.open(store.root, data="abc", data_description="some data").study("depth-smoke") is not None


def test_a_file_in_the_place_of_a_folder_is_named(store):
    shutil.rmtree(store.root / "cells")
    (store.root / "cells").write_text("")
    with pytest.raises(UserError, match=r"results folder .*: .*cells: File exists"):
        Store.open(store.root, data="abc", data_description="some data")


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
    with pytest.raises(DamagedRecord, match="is a link"):
        store.read(KEY)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(DamagedRecord, match="not a plain file"):
        store.read(KEY)


@pytest.mark.parametrize("name", ["", "record.json", "logits.safetensors", "weights.safetensors"])
def test_results_that_are_links_are_not_trained_again(store, tmp_path, name):
    """As git-annex and DVC keep large files."""
    write(store)
    path = store.cell_folder(KEY) / name
    path.rename(tmp_path / "kept")
    path.symlink_to(tmp_path / "kept")
    assert not store.is_finished(KEY)
    with pytest.raises(UserError, match=r"is a link, .*cp -rL"):
        store.set_damaged_aside([KEY])
    assert path.is_symlink()


def manifest() -> Study:
    """Of the stored study, under its own name."""
    study = Store(STORED.parent).study("depth-smoke")
    assert study is not None
    return study


EDITS = {
    "another baseline": ('"is_baseline": false', '"is_baseline": true'),
    "other costs": ('"parameters": ', '"parameters": 1'),
    "another level": ('"blocks": 2', '"blocks": 3'),
    "other changes": ('"changes": {}', '"changes": {"dropout": 0.1}'),
    "another name": ('"2 blocks"', '"no blocks"'),
}


@pytest.mark.parametrize("what", EDITS)
def test_a_manifest_that_was_edited_is_refused_by_name_and_another_command_writes_it_anew(store, what):
    written = store.write_study(manifest())
    assert store.study("depth-smoke") == written
    file = store.study_folder("depth-smoke") / "study.json"
    text = file.read_text()
    assert EDITS[what][0] in text
    file.write_text(text.replace(*EDITS[what]))
    sentence = re.escape(f"{file}: altered since it was written; move it away and run the study's command again")
    for ask in (lambda: store.study("depth-smoke"), lambda: store.write_study(manifest())):
        with pytest.raises(UserError, match=sentence):
            ask()
    file.unlink()
    assert store.write_study(manifest()) == written


def test_a_manifest_without_a_seal_is_read_as_before_and_sealed_when_it_is_written(store):
    store.write_study(manifest())
    file = store.study_folder("depth-smoke") / "study.json"
    content = json.loads(file.read_text())
    assert content.pop("seal")
    file.write_text(json.dumps(content))
    read = store.study("depth-smoke")
    assert read.cells == manifest().cells
    assert store.write_study(manifest()).cells == read.cells
    assert json.loads(file.read_text())["seal"]


def test_a_manifest_that_a_later_version_wrote_with_more_fields_keeps_its_seal(store):
    store.write_study(manifest())
    file = store.study_folder("depth-smoke") / "study.json"
    content = json.loads(file.read_text())
    content["weather"] = "fine"
    file.write_text(json.dumps({**content, "seal": seal_of(content)}, indent=1))
    assert store.study("depth-smoke").cells == manifest().cells


@pytest.mark.parametrize("what", ["a pipe", "a folder", "a link", "nothing readable", "not JSON", "digits without end"])
def test_what_stands_in_the_place_of_a_manifest_is_named(store, tmp_path, what):
    store.write_study(manifest())
    file = store.study_folder("depth-smoke") / "study.json"
    file.rename(tmp_path / "study.json")
    if what == "a pipe":
        os.mkfifo(file)
    elif what == "a folder":
        file.mkdir()
    elif what == "a link":
        file.symlink_to(tmp_path / "study.json")
    elif what == "digits without end":
        file.write_text((tmp_path / "study.json").read_text().replace("{", '{"x": ' + "9" * 5_000 + ",", 1))
    else:
        file.write_bytes(b"\xff\xfe\0" if what == "nothing readable" else b"{")
    with pytest.raises(UserError, match=re.escape(str(file))):
        store.study("depth-smoke")
    assert store.studies() == ["depth-smoke"]


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
