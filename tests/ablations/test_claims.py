"""Claims: one run trains a cell, whatever processes start, die and are numbered like."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ablations import claims
from ablations.locks import Lock, is_held
from ablations.store import Store
from cnnkit.errors import UserError

KEY = "a" * 20
DATA = {"data": "abc", "data_description": "some data"}
spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "results", **DATA)


def dead_run(root: Path, *keys: str) -> None:
    """Claims of a process that was killed."""
    code = (
        "import os, sys; from pathlib import Path; from ablations.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "assert all(store.claim(key) for key in sys.argv[2:])\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, root, *keys], check=False)
    assert (root / "unfinished" / keys[0] / "claim.json").is_file()


def test_a_claimed_cell_is_its_runs_until_it_is_released(store):
    other = Store(store.root)
    assert store.claim(KEY)
    assert store.claim(KEY), "a run may ask again for what it has"
    assert not other.claim(KEY)
    assert other.is_claimed(KEY)
    assert not store.is_claimed(KEY), "its own claim is in nobody's way"
    store.release(KEY)
    assert not other.is_claimed(KEY)
    assert other.claim(KEY)


def test_a_run_releases_no_claim_of_another(store):
    other = Store(store.root)
    assert store.claim(KEY)
    other.claim("b" * 20)
    other.release(KEY)
    assert not other.claim(KEY)


def test_the_claim_of_a_killed_process_is_free_even_where_its_number_is_used_again(store):
    dead_run(store.root, KEY)
    file = store.root / "unfinished" / KEY / "claim.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "process": os.getpid()}))
    assert not store.is_claimed(KEY)
    assert store.claim(KEY)


def test_what_killed_runs_left_is_cleared_away(store):
    dead_run(store.root, KEY)
    scratch = (
        store.root
        / "unfinished"
        / f"{KEY}@{json.loads((store.root / f'unfinished/{KEY}/claim.json').read_text())['run']}"
    )
    scratch.mkdir()
    living = Store(store.root)
    living.claim("b" * 20)
    Path(living.scratch("c" * 20)).mkdir()
    store.remove_left_overs()
    assert not scratch.exists()
    assert living.scratch("c" * 20).is_dir()
    assert len(list((store.root / "runs").glob("*.json"))) == 1
    assert living.is_claimed(KEY) is False
    assert not store.claim("b" * 20)


def test_what_was_half_written_into_a_studys_folder_is_cleared_away_after_a_day(store):
    study = store.root / "studies" / "depth"
    left = [
        study / ".study.json.01234567.unfinished",
        study / "report.01234567.unfinished",
    ]  # a file, and a whole report
    for place in left:
        place.mkdir(parents=True)
        (place / "effects.csv").write_text("arm\n")
    fresh = study / "report.89abcdef.unfinished"
    fresh.mkdir()
    for place in left:
        os.utime(place, (0, 0))
    store.remove_left_overs()
    assert list(study.iterdir()) == [fresh]


def test_a_copied_claim_holds_nothing(store, tmp_path):
    store.claim(KEY)
    shutil.copytree(store.root, tmp_path / "copy")
    assert Store(tmp_path / "copy").claim(KEY)


def test_another_machines_claim_holds_while_its_heart_beats(store, monkeypatch):
    monkeypatch.setattr(claims, "this_machine", lambda: "a machine elsewhere")
    elsewhere = Store(store.root)
    elsewhere.claim(KEY)
    monkeypatch.undo()
    assert not store.claim(KEY)
    (run,) = (file for file in (store.root / "runs").glob("*.json") if "elsewhere" in file.read_text())
    old = time.time() - 2 * claims.HEARTBEAT_HOLDS
    os.utime(run, (old, old))
    elsewhere.renew()
    assert not store.claim(KEY)
    os.utime(run, (old, old))
    assert store.claim(KEY)


def test_another_machines_claim_in_a_copy_holds_nothing(store, tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "this_machine", lambda: "a machine elsewhere")
    elsewhere = Store(store.root)
    elsewhere.claim(KEY)
    monkeypatch.undo()
    shutil.copytree(store.root, tmp_path / "copy", copy_function=shutil.copy)  # as cp -r does: with new times
    assert not store.claim(KEY)
    assert Store(tmp_path / "copy").claim(KEY)


def test_without_locks_the_heartbeat_decides(store, monkeypatch):
    monkeypatch.setattr("ablations.locks.fcntl", None)
    other = Store(store.root)
    assert other.claim(KEY)
    assert not store.claim(KEY)
    other.release(KEY)
    assert store.claim(KEY)


def test_a_lock_that_a_stranger_never_gives_up_is_named(store, monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", 0.05)
    lock = Lock(store.root / "runs" / "claims.lock")
    lock.acquire()
    with pytest.raises(UserError, match=r"claims\.lock is held by another process"):
        store.claim(KEY)


def test_asking_whether_a_lock_is_held_makes_and_changes_nothing(tmp_path):
    file = tmp_path / "a.lock"
    assert not is_held(file)
    assert not file.exists()
    lock = Lock(file)
    assert lock.acquire()
    assert is_held(file)
    assert not Lock(file).acquire()
    lock.release()
    assert not is_held(file)


def contend(root: str, keys: list[str], barrier, won) -> None:
    store = Store(Path(root))
    mine = []
    for place, key in enumerate(keys):
        if place % 25 == 0:
            barrier.wait(60)
        if store.claim(key):
            mine.append(key)
    won.put(mine)
    barrier.wait(60)  # a claim ends with its process


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_contested_stale_claims_have_one_winner_each(store, count):
    keys = [f"{number:020x}" for number in range(count)]
    dead_run(store.root, *keys)
    barrier, won = spawn.Barrier(2), spawn.Queue()
    processes = [spawn.Process(target=contend, args=(str(store.root), keys, barrier, won)) for _ in "ab"]
    for process in processes:
        process.start()
    first, second = won.get(timeout=120), won.get(timeout=120)
    for process in processes:
        process.join(60)
    assert sorted(first + second) == keys


def start_all(roots: list[str], barrier, refused) -> None:
    said = []
    for root in roots:
        barrier.wait(60)
        try:
            Store.open(Path(root), **DATA)
        except UserError as error:
            said.append(str(error))
    refused.put(said)


@pytest.mark.parametrize("count", [50, pytest.param(200, marks=pytest.mark.slow)])
def test_first_starts_of_two_processes_on_one_root_refuse_nobody(tmp_path, count):
    roots = [str(tmp_path / str(number)) for number in range(count)]
    barrier, refused = spawn.Barrier(2), spawn.Queue()
    processes = [spawn.Process(target=start_all, args=(roots, barrier, refused)) for _ in "ab"]
    for process in processes:
        process.start()
    said = refused.get(timeout=120) + refused.get(timeout=120)
    for process in processes:
        process.join(60)
    assert said == []
    assert all(not [*Path(root).glob(".*")] for root in roots)
