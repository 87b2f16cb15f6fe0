"""What must survive: kills, interruptions, lost nodes, two studies at once, shards. Slow, since each starts Ray anew."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

SCRIPT = Path(__file__).parents[2] / "experiments" / "run_ablation.py"
pytestmark = pytest.mark.slow


def arguments(root: Path, *more: str, grid: str = "batch_norm", seeds: int = 3) -> list[str]:
    return [
        sys.executable, str(SCRIPT), "--grid", grid, "--protocol", "smoke", "--data", "sample", "--results", str(root),
        "--seeds", str(seeds), *more,
    ]  # fmt: skip


def run(root: Path, *more: str, **which) -> str:
    result = subprocess.run(arguments(root, *more, **which), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def numbers(root: Path) -> dict[str, dict[str, np.ndarray]]:
    """Every tensor of every finished cell."""
    return {
        folder.name: {
            f"{file.name}/{name}": array
            for file in folder.glob("*.safetensors")
            for name, array in load_file(file).items()
        }
        for folder in sorted((root / "cells").iterdir())
    }


def assert_same(a: Path, b: Path) -> None:
    one, other = numbers(a), numbers(b)
    assert one.keys() == other.keys()
    for key, arrays in one.items():
        assert arrays.keys() == other[key].keys()
        assert all(np.array_equal(array, other[key][name]) for name, array in arrays.items()), key


def records(root: Path) -> dict[str, str]:
    return {file.parent.name: file.read_text() for file in root.glob("cells/*/record.json")}


class Started:
    """A study in a process of its own, whose descendants are known by a mark in their environment."""

    def __init__(self, command: list[str], **more) -> None:
        self.mark = f"STUDY_UNDER_TEST={random.getrandbits(64):x}"
        name, _, value = self.mark.partition("=")
        environment = {**os.environ, **more.pop("env", {}), name: value}
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.process = subprocess.Popen(command, env=environment, **{**output, **more})

    def family(self) -> dict[int, str]:
        """Processes that the study started, itself among them, and their titles."""
        found = {}
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and self.mark.encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
        return found

    def wait_until_gone(self) -> None:
        """Ray's processes of a study that has ended, or was killed, end by themselves."""
        for _ in range(60):
            if not self.family():
                return
            time.sleep(0.5)
        raise AssertionError(f"processes stay behind: {self.family()}")


def kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed") / "results"
    run(root, "--recipe.epochs", "8")
    return root


def test_ten_kills_change_no_number_and_no_finished_cell_is_trained_twice(undisturbed, tmp_path):
    root, dice = tmp_path / "results", random.Random(0)
    seen: dict[str, str] = {}
    killed: list[Started] = []
    for attempt in range(10):
        study = Started(arguments(root, "--recipe.epochs", "8"), stdout=subprocess.DEVNULL)
        time.sleep(dice.uniform(5, 22))
        what = ("driver", "workers", "both")[attempt % 3]
        if what != "driver":
            for process, title in study.family().items():
                if title.startswith("ray::"):
                    kill(process)
        if what == "workers":
            time.sleep(dice.uniform(3, 8))
        kill(study.process.pid)
        study.process.wait()
        killed.append(study)
        now = records(root)
        assert all(now[key] == record for key, record in seen.items()), "a finished record never changes"
        seen = now
    run(root, "--recipe.epochs", "8")
    assert all(records(root)[key] == record for key, record in seen.items())
    assert_same(undisturbed, root)
    assert list((root / "unfinished").iterdir()) == []
    for study in killed:  # what Ray does not end by itself, the next study ends
        study.wait_until_gone()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_study_says_how_to_go_on_and_leaves_nothing_behind(tmp_path, number):
    root = tmp_path / "results"
    temporary = tmp_path / "t"
    temporary.mkdir()
    study = Started(arguments(root, "--recipe.epochs", "60"), env={"TMPDIR": str(temporary)})
    while not list(root.glob("unfinished/*/checkpoint.pt")):
        time.sleep(0.2)
    study.process.send_signal(number)
    output, _ = study.process.communicate(timeout=60)
    assert study.process.returncode == 130
    assert "the same command goes on" in output
    assert "Traceback" not in output
    study.wait_until_gone()
    # PyTorch makes an empty cache folder of its own for each user, as in any program that uses it.
    assert [folder.name for folder in temporary.iterdir() if not folder.name.startswith("torchinductor_")] == []
    assert all(folder.name.isalnum() for folder in (root / "unfinished").iterdir())
    assert list(root.glob("unfinished/*/claim.json")) == []


def test_a_second_interrupt_stops_now(tmp_path):
    root = tmp_path / "results"
    study = Started(arguments(root, "--recipe.epochs", "60"), stdout=subprocess.DEVNULL)
    while not list(root.glob("unfinished/*/checkpoint.pt")):
        time.sleep(0.2)
    study.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    study.process.send_signal(signal.SIGINT)
    started = time.monotonic()
    study.process.wait(timeout=30)
    assert time.monotonic() - started < 15
    study.wait_until_gone()


def test_another_grid_reuses_the_baseline_and_more_seeds_train_only_the_new_ones(tmp_path):
    root = tmp_path / "results"
    run(root, grid="depth", seeds=2)
    before = records(root)
    assert len(before) == 10
    output = run(root, grid="batch_norm", seeds=2)
    assert "2 finished, 2 to train" in output
    after = records(root)
    assert len(after) == 12
    output = run(root, grid="batch_norm", seeds=4)
    assert "4 finished, 4 to train" in output
    final = records(root)
    assert len(final) == 16
    assert all(final[key] == record for key, record in before.items())
    from ablations.record import seeds_added_after_looking
    from ablations.store import Store

    commands = Store(root).commands("batch_norm-smoke")
    assert [command.finished_before for command in commands] == [2, 4]
    assert seeds_added_after_looking(commands)


def test_two_shards_merged_by_copying_give_the_table_of_one_run(tmp_path):
    one, two, whole = (tmp_path / name for name in ("one", "two", "whole"))
    shards = [
        subprocess.Popen(arguments(root, "--shard", shard, seeds=2), stdout=subprocess.DEVNULL)
        for root, shard in ((one, "1/2"), (two, "2/2"))
    ]
    assert [shard.wait() for shard in shards] == [0, 0]
    assert len(records(one)) == len(records(two)) == 2
    shutil.copytree(two, one, dirs_exist_ok=True)
    run(whole, seeds=2)
    merged = run(one, seeds=2)
    assert "4 finished, 0 to train" in merged
    tables = [pd.read_csv(next(root.glob("studies/*/report/effects.csv"))) for root in (one, whole)]
    measured = [column for column in tables[0] if column != "seconds"]
    pd.testing.assert_frame_equal(tables[0][measured], tables[1][measured])
    assert_same(one, whole)


def test_two_studies_at_once_share_the_cells(tmp_path):
    root = tmp_path / "results"
    studies = [
        subprocess.Popen(
            arguments(root, "--recipe.epochs", "4", seeds=2),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in "ab"
    ]
    outputs = [study.communicate(timeout=180)[0] for study in studies]
    assert [study.returncode for study in studies] == [0, 0], outputs
    assert len(records(root)) == 4
    # Each cell was trained once: both logs together name as many trainings as there are cells, or both saw a cell end.
    assert list((root / "unfinished").iterdir()) == []


def test_a_study_on_two_nodes_completes_with_the_same_numbers_when_one_is_lost(undisturbed, tmp_path, sample):
    from ray.cluster_utils import Cluster

    from ablations.grids import GRIDS
    from ablations.plan import make_plan
    from ablations.protocols import PROTOCOLS
    from ablations.resources import GIB, Machine
    from ablations.store import Store
    from ablations.study import Options
    from ablations.study import run as run_study

    protocol = PROTOCOLS["smoke"].vary(recipe=PROTOCOLS["smoke"].recipe.vary(epochs=8))
    store = Store.open(tmp_path / "results", data=sample.fingerprint, data_description=sample.describe())
    plan = make_plan(
        GRIDS["batch_norm"],
        "batch_norm",
        protocol,
        sample,
        store,
        seeds=range(3),
        arguments=[],
        now="2026-01-01T00:00:00",
    )
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    lost = cluster.add_node(num_cpus=1)

    class Quiet:
        lines: list[str] = []

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def update(self, tally):
            pass

        def line(self, text):
            self.lines.append(text)

    def lose_a_node():
        while not records(store.root):
            time.sleep(0.2)
        cluster.remove_node(lost, allow_graceful=False)

    thread = threading.Thread(target=lose_a_node)
    thread.start()
    try:
        outcome = run_study(plan, Options(Machine(cores=2, memory=8 * GIB), address=cluster.address), Quiet())
    finally:
        thread.join()
        cluster.shutdown()
    assert len(outcome.finished) == 6, Quiet.lines
    assert_same(undisturbed, store.root)
