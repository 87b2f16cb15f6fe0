import json

import numpy as np
import pytest
from safetensors.numpy import save

from ablations.cell import Cell, SplitSizes, key_of
from ablations.protocols import PROTOCOLS
from ablations.record import CellResult, Command, Failure, Provenance
from ablations.sealed import DamagedRecord
from ablations.store import Store
from cnnkit import ConvNetSpec, Recipe
from cnnkit.errors import UserError
from cnnkit.metrics import Epoch, PerClass


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "results", data="abc", data_description="some data")


def cell(seed: int = 0, **spec) -> Cell:
    return Cell(
        spec=ConvNetSpec(**spec),
        recipe=Recipe(),
        data="abc",
        split=SplitSizes(train=8, validation=4, test=4),
        seed=seed,
    )


def written(store: Store, cell: Cell):
    logits = np.random.default_rng(cell.seed).normal(size=(4, 10)).astype(np.float32)
    labels = np.arange(4)
    return store.write(
        CellResult(
            cell=cell,
            arm="4 blocks",
            provenance=Provenance(
                protocol="quick", device="x", device_type="cpu", threads=1, precision="fp32", micro_batch=64, gpu_share=0.0,
                trials_at_once=2, versions={}, host="h", started="2026-01-01T00:00:00+00:00",
                finished="2026-01-01T00:01:00+00:00",
            ),
            curve=(
                Epoch(
                    epoch=1, train_loss=2.0, validation_loss=2.0, validation_accuracy=0.25, learning_rate=0.1,
                    train_seconds=1.0, evaluate_seconds=0.5,
                ),
            ),
            validation_logits=logits, validation_labels=labels, test_logits=-logits, test_labels=labels,
            test_accuracy=0.5, per_class=PerClass(precision=[0.5], recall=[0.5], f1=[0.5], support=[4]),
            calibration_error=0.1, train_seconds=1.0, evaluate_seconds=0.5, peak_memory=None,
            weights=save({"w": np.ones((2, 2), dtype=np.float32)}),
        )
    )  # fmt: skip


def test_a_record_is_read_back_as_it_was_written(store):
    record = written(store, cell())
    assert store.is_finished(cell().key)
    assert list(store.finished_keys()) == [cell().key]
    assert store.read(cell().key) == record
    logits, labels = store.logits(record, "test")
    validation, _ = store.logits(record, "validation")
    assert np.array_equal(logits, -validation)
    assert labels.tolist() == [0, 1, 2, 3]
    assert store.weights(record)


def test_nothing_is_left_beside_a_finished_record(store):
    store.write_checkpoint(cell().key, b"half a cell")
    store.write_failure(Failure(key=cell().key, arm="a", seed=0, kind="failed", sentence="it broke"), "traceback")
    written(store, cell())
    assert list((store.root / "unfinished").iterdir()) == []
    assert store.failure(cell().key) is None


def test_a_cell_that_somebody_else_finished_first_is_left_as_it_is(store):
    first = written(store, cell())
    written(store, cell())
    assert store.read(cell().key) == first
    assert list((store.root / "unfinished").iterdir()) == []


@pytest.mark.parametrize("part", ["logits.safetensors", "weights.safetensors", "record.json"])
@pytest.mark.parametrize("damage", ["truncate", "alter", "remove"])
def test_a_damaged_record_is_named(store, part, damage):
    record = written(store, cell())
    file = store.cell_folder(record.key) / part
    content = file.read_bytes()
    if damage == "truncate":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "alter":
        file.write_bytes(content.replace(b'"test_accuracy": 0.5', b'"test_accuracy": 0.9')[:-1] + b" ")
    else:
        file.unlink()
    if part == "record.json" and damage == "remove":
        assert not store.is_finished(record.key)
        return
    with pytest.raises(DamagedRecord, match=record.key):
        store.read(record.key)
        store.logits(record, "test")
        store.weights(record)


def test_a_record_in_the_wrong_place_is_named(store):
    record = written(store, cell())
    other = cell(seed=1).key
    store.cell_folder(record.key).rename(store.cell_folder(other))
    with pytest.raises(DamagedRecord, match="does not belong"):
        store.read(other)


@pytest.mark.parametrize("key", ["../../etc/passwd", "", "A" * 20, "a" * 19, "a" * 20 + "\n"])
def test_a_key_cannot_leave_the_root(store, key):
    with pytest.raises(ValueError, match="not a cell's key"):
        store.cell_folder(key)


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden", "x" * 200])
def test_a_study_cannot_leave_the_root(store, name):
    with pytest.raises(UserError, match="cannot be a study's name"):
        store.study_folder(name)


def test_fields_that_a_later_version_adds_are_let_through(store):
    record = written(store, cell())
    file = store.cell_folder(record.key) / "record.json"
    content = json.loads(file.read_text())
    from ablations.sealed import seal_of

    content["provenance"]["carbon"] = 3
    content["seal"] = seal_of(content)
    file.write_text(json.dumps(content))
    assert store.read(record.key).arm == "4 blocks"


def test_a_command_that_was_altered_is_named_and_one_without_a_seal_is_read_as_before(store):
    commands = [
        Command(time=f"2026-01-0{day}T00:00:00+00:00", arguments=["--seeds", "3"], seeds=3, finished_before=day)
        for day in (1, 2, 3)
    ]
    for command in commands:
        store.write_command("depth", command)
    first, second, third = sorted((store.study_folder("depth") / "commands").iterdir())
    unsealed = json.loads(first.read_text())
    assert unsealed.pop("seal")
    first.write_text(json.dumps(unsealed))
    second.write_text(second.read_text().replace('"finished_before": 2', '"finished_before": 0'))
    third.write_text("{")
    assert [command.finished_before for command in store.commands("depth")] == [1]
    altered, unreadable = store.damaged_commands("depth")
    assert altered == f"{second}: altered since it was written"
    assert unreadable.startswith(f"{third}: ")


def test_another_cells_failure_is_not_taken_for_a_cells_own(store):
    failure = Failure(key=cell(1).key, arm="a", seed=1, kind="diverged", sentence="the loss became NaN")
    store.write_failure(failure, "")
    (store.root / "failed" / f"{cell(1).key}.json").rename(store.root / "failed" / f"{cell(0).key}.json")
    assert store.failure(cell(0).key) is None


def test_a_results_folder_that_lost_its_description_is_still_one(store):
    (store.root / "ablations.json").unlink()
    for folder in ("damaged", "measures"):
        (store.root / folder).mkdir()
    assert Store.open(store.root, data="abc", data_description="some data").about.data == "abc"


def test_a_results_folder_keeps_the_data_that_it_was_begun_with(store):
    with pytest.raises(UserError, match="begun with other data"):
        Store.open(store.root, data="other", data_description="other data")


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="not results"):
        Store.open(tmp_path, data="abc", data_description="some data")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "results").write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        Store.open(tmp_path / "results", data="abc", data_description="some data")


def test_a_folder_that_is_no_results_root_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="not a results folder"):
        Store(tmp_path)


def test_the_key_depends_on_everything_that_can_change_the_numbers():
    keys = [
        cell().key,
        cell(seed=1).key,
        cell(dropout=0.4).key,
        cell().vary(recipe=Recipe(epochs=6)).key,
        cell().vary(data="other").key,
        cell().vary(split=SplitSizes(train=9, validation=4, test=4)).key,
        cell().vary(numerics=99).key,
    ]
    assert len(set(keys)) == len(keys)


def test_the_key_is_a_hash_of_what_differs_from_the_defaults():
    # Pinned: a key that moves orphans every finished cell of every user.
    assert cell().identity == {
        "spec": {}, "recipe": {}, "data": "abc", "split": {"train": 8, "validation": 4, "test": 4}, "seed": 0,
        "numerics": 1,
    }  # fmt: skip
    assert key_of(cell().identity) == cell().key == "20ecb68e8746944e1818"
    assert cell(dropout=0.5, widths=(32, 64, 128, 256)).key == cell().key


def test_the_same_cell_in_two_protocols_has_one_key():
    quick = PROTOCOLS["quick"]
    same = quick.vary(name="smoke")
    of = [
        Cell.of(p.baseline(), data="abc", split=SplitSizes(train=8, validation=4, test=4), seed=0)
        for p in (quick, same)
    ]
    assert of[0].key == of[1].key
