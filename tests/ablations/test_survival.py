"""What must survive: kills, interruptions, lost nodes, two studies at once, shards. Slow, since each starts Ray anew."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

SCRIPT = Path(__file__).parents[2] / "experiments" / "run_ablation.py"
pytestmark = pytest.mark.slow
LONGER = ("--recipe.epochs", "20", "--split.train", "1000")
"""Cells that take long enough to leave checkpoints."""


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
        STARTED.append(self)

    def family(self) -> dict[int, str]:
        """Processes that the study started, itself among them, and their titles."""
        found = {}
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and self.mark.encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
        return found

    def end(self) -> None:
        """Whatever is left of it, of a test that has failed too."""
        for _ in range(50):
            family = self.family()
            for process in family:
                kill(process)
            if self.process.poll() is not None and not family:
                break
            time.sleep(0.1)
        for pipe in filter(None, (self.process.stdout, self.process.stderr)):
            pipe.close()

    def wait_until_gone(self) -> None:
        """Ray's processes of a study that has ended, or was killed, end by themselves."""
        for _ in range(60):
            if not self.family():
                return
            time.sleep(0.5)
        raise AssertionError(f"processes stay behind: {self.family()}")


STARTED: list[Started] = []


@pytest.fixture(autouse=True)
def _nothing_is_left_running():
    yield
    while STARTED:
        STARTED.pop().end()


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
    assert "SIGTERM received" not in output, "of Ray's own handler"
    study.wait_until_gone()
    # PyTorch makes an empty cache folder of its own for each user, as in any program that uses it.
    assert [folder.name for folder in temporary.iterdir() if not folder.name.startswith("torchinductor_")] == []
    assert all(folder.name.isalnum() for folder in (root / "unfinished").iterdir())


def signal_the_group(study: Started, number: int) -> None:
    """As `timeout` does: first the process, then all of its group."""
    os.kill(study.process.pid, number)
    os.killpg(study.process.pid, number)


def signal_everyone(study: Started, number: int) -> None:
    """As a batch system does, which knows the processes of a job whatever group they are in."""
    for process in study.family():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


@pytest.mark.parametrize("moment", ["at the start", "in training"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("send", [signal_the_group, signal_everyone])
def test_a_signal_to_all_processes_ends_a_study_as_one_to_the_first_of_them(tmp_path, send, number, moment):
    root = tmp_path / "results"
    temporary = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    study = Started(
        arguments(root, *LONGER), env={"TMPDIR": str(temporary)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    while not (list(root.glob("unfinished/*/checkpoint.pt")) if moment == "in training" else raylets(study)):
        assert study.process.poll() is None
        time.sleep(0.1)
    kept = {file.parent.name for file in root.glob("unfinished/*/checkpoint.pt")}
    send(study, number)
    output, errors = study.process.communicate(timeout=120)
    assert study.process.returncode == 130, (output, errors)
    assert "the same command goes on" in output + errors
    assert len(errors.strip().splitlines()) <= 1, errors
    assert "Traceback" not in output + errors
    assert "raylet" not in output + errors
    assert "killed" not in output, "what the signal ended has not failed"
    study.wait_until_gone()
    assert [folder.name for folder in temporary.iterdir() if not folder.name.startswith("torchinductor_")] == []
    shutil.rmtree(temporary)
    assert kept <= {file.parent.name for file in root.glob("unfinished/*/checkpoint.pt")} | records(root).keys()
    assert not list((root / "runs").glob("*.json"))
    assert not list((root / "failed").iterdir())


def raylets(study: Started) -> list[str]:
    return [title for title in study.family().values() if "raylet" in title]


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
    from ablations.record import looks
    from ablations.store import Store

    commands = Store(root).commands("batch_norm-smoke")
    assert [command.finished_before for command in commands] == [2, 4]
    assert len(looks(commands)) == 2  # seeds were added when there was something to look at


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


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Node(Started):
    """A node of a Ray cluster, whose processes see an empty folder in the place of `hidden`."""

    def __init__(self, hidden: Path, *arguments: str, env: dict[str, str]) -> None:
        ray = Path(sys.executable).with_name("ray")
        start = f'mount -t tmpfs none {hidden} && exec {ray} start --num-cpus=1 --block "$@"'
        super().__init__(["unshare", "-m", "sh", "-c", start, "sh", *arguments], env=env, stdout=subprocess.DEVNULL)


@pytest.fixture
def cluster(tmp_path):
    """Two nodes of one core each, which do not see the results folder; the address, and what the driver needs."""
    if subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("mount namespaces need root")
    (tmp_path / "seen-by-the-driver").mkdir()
    base = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    address = f"127.0.0.1:{free_port()}"
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    hidden = tmp_path / "seen-by-the-driver"
    port = address.partition(":")[2]
    head = Node(hidden, "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={base}", env=env)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", int(port)), timeout=1).close()
                break
            time.sleep(0.2)
        time.sleep(3)
        other = Node(hidden, f"--address={address}", env=env)
        yield hidden / "results", address, env, other
    finally:
        head.end()
        shutil.rmtree(base, ignore_errors=True)


def test_nodes_that_do_not_see_the_results_folder_finish_a_study_and_a_lost_nodes_cell_goes_on_elsewhere(
    cluster, tmp_path
):
    root, address, env, other = cluster

    time.sleep(8)  # the second node joins
    study = Started(arguments(root, *LONGER, "--address", address, seeds=1), env=env)
    while len(list(root.glob("unfinished/*/checkpoint.pt"))) < 2:
        assert study.process.poll() is None, study.process.communicate()[0]
        time.sleep(0.2)
    other.end()
    output, _ = study.process.communicate(timeout=300)
    assert study.process.returncode == 0, output
    assert "Traceback" not in output
    study.wait_until_gone()
    run(tmp_path / "alone", *LONGER, seeds=1)
    assert_same(tmp_path / "alone", root)
    assert re.search(r"killed, or lost with its node; the cell goes on after epoch [1-9]\d?\n", output), output
    assert "starts anew" not in output


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 3 MB, and a function that gives it more."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(disk)], check=False).returncode:
        pytest.skip("mounting needs root")
    yield disk, lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_one_sentence_and_with_room_the_numbers_are_the_same(small_disk, tmp_path):
    disk, resize = small_disk
    study = Started(arguments(disk / "results", seeds=1), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, errors = study.process.communicate(timeout=200)
    assert study.process.returncode == 2
    assert len(errors.strip().splitlines()) == 1, errors
    assert "No space left on device" in errors
    study.wait_until_gone()
    resize("300m")
    run(disk / "results", seeds=1)
    run(tmp_path / "roomy", seeds=1)
    assert_same(disk / "results", tmp_path / "roomy")


def test_a_results_folder_that_disappears_is_one_sentence(tmp_path):
    root = tmp_path / "results"
    study = Started(arguments(root, "--recipe.epochs", "60"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not list(root.glob("unfinished/*/checkpoint.pt")):
        assert study.process.poll() is None
        time.sleep(0.2)
    root.rename(tmp_path / "elsewhere")
    _, errors = study.process.communicate(timeout=120)
    assert study.process.returncode == 2
    assert len(errors.strip().splitlines()) == 1, errors
    assert str(root) in errors
    study.wait_until_gone()
    assert not root.exists()


def test_a_results_folder_that_becomes_read_only_is_one_sentence_and_loses_nothing(tmp_path):
    root, hidden = tmp_path / "results", []
    study = Started(arguments(root, *LONGER, seeds=1), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not list(root.glob("unfinished/*/checkpoint.pt")):
        assert study.process.poll() is None
        time.sleep(0.2)
    try:
        for part in ("cells", "unfinished", "failed"):  # the disk itself is busy: the study holds a lock on it
            if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(root / part)], check=False).returncode:
                pytest.skip("mounting needs root")
            hidden.append(root / part)
        output, errors = study.process.communicate(timeout=200)
    finally:
        for folder in hidden:
            subprocess.run(["umount", "-l", str(folder)], check=True)
    assert study.process.returncode == 2, (output, errors)
    assert len(errors.strip().splitlines()) == 1, errors
    assert "Read-only file system" in errors
    assert "Traceback" not in output
    study.wait_until_gone()
    assert list(root.glob("unfinished/*/checkpoint.pt"))
    run(root, *LONGER, seeds=1)
    run(tmp_path / "undisturbed", *LONGER, seeds=1)
    assert_same(root, tmp_path / "undisturbed")


def test_a_studys_folder_that_is_removed_while_it_runs_is_written_anew_and_its_report_too(tmp_path):
    root = tmp_path / "results"
    study = Started(arguments(root, *LONGER, seeds=1), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not list(root.glob("unfinished/*/checkpoint.pt")):
        assert study.process.poll() is None
        time.sleep(0.2)
    (folder,) = (root / "studies").iterdir()
    shutil.rmtree(folder)
    output, errors = study.process.communicate(timeout=300)
    assert study.process.returncode == 0, (output, errors)
    assert errors == ""
    assert f"{folder} was removed meanwhile; it is written anew" in output
    assert len(records(root)) == 2
    assert (folder / "report" / "report.html").is_file()
    assert len(list((folder / "commands").iterdir())) == 1


@pytest.mark.parametrize("lost", ["unfinished", "cells", "runs", "failed"])
def test_a_part_of_the_results_folder_that_is_removed_while_it_is_written_to_costs_no_more_than_what_was_in_it(
    lost, tmp_path
):
    root = tmp_path / "results"
    study = Started(arguments(root, *LONGER, seeds=1), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not list(root.glob("unfinished/*/checkpoint.pt")):
        assert study.process.poll() is None
        time.sleep(0.2)
    shutil.rmtree(root / lost)
    output, errors = study.process.communicate(timeout=300)
    assert study.process.returncode == 0, (output, errors)
    assert errors == ""
    assert len(records(root)) == 2


def test_a_candidate_that_diverges_is_not_chosen_and_a_study_without_any_other_is_one_sentence(tmp_path):
    root = tmp_path / "results"
    output = run(root, "--tune", "learning_rate=1e-3,1e30", seeds=1)
    assert len(re.findall(r"batch norm +\S.* learning rate 0\.001 ", output)) == 2, output
    assert output.count("diverged: the loss became NaN or infinite in epoch 1") >= 2
    study = Started(
        arguments(root, "--tune", "learning_rate=1e29,1e30", "--tune-once", seeds=1),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _, errors = study.process.communicate(timeout=200)
    assert study.process.returncode == 2
    assert errors == "error: --tune learning_rate: no candidate of arm 'batch norm' finished, so none can be chosen\n"


@pytest.mark.parametrize("part", ["raylet", "gcs_server"])
def test_a_part_of_ray_that_dies_is_one_sentence_and_the_same_command_goes_on(part, tmp_path):
    root = tmp_path / "results"
    study = Started(arguments(root, *LONGER, seeds=1), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not list(root.glob("unfinished/*/checkpoint.pt")):
        assert study.process.poll() is None
        time.sleep(0.2)
    (process,) = [process for process, title in study.family().items() if Path(title.split("\0")[0]).name == part]
    kill(process)
    _, errors = study.process.communicate(timeout=120)
    assert study.process.returncode == 2
    assert len(errors.strip().splitlines()) == 1, errors
    assert f"Ray's {part} has ended" in errors
    study.wait_until_gone()
    run(root, *LONGER, seeds=1)


def handles_signals(process: int) -> bool:
    """Whether a process has a handler for SIGTERM, as the scripts have before they import anything."""
    status = Path(f"/proc/{process}/status").read_text()
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize(
    ("number", "after"),
    [*zip([signal.SIGINT, signal.SIGTERM] * 6, (0, 0.2, 0.5, 1, 2, 3, 4.5, 6, 8, 11, "report", "page"), strict=True)],
)
def test_a_signal_at_any_moment_ends_a_study_quietly(number, after, tmp_path):
    root, temporary = tmp_path / "results", Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    command = arguments(root, "--split.train", "200", seeds=1)
    study = Started(command, env={"TMPDIR": str(temporary)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not handles_signals(study.process.pid):
        time.sleep(0.01)
    if isinstance(after, str):
        while len(records(root)) < 2 or (after == "page" and not list(root.glob("studies/*/report.*.unfinished"))):
            time.sleep(0.01)
    else:
        time.sleep(after)
    study.process.send_signal(number)
    output, errors = study.process.communicate(timeout=120)
    assert study.process.returncode == 130, (output, errors)
    assert "Traceback" not in output + errors
    assert len(errors.strip().splitlines()) <= 1, errors
    assert "same command goes on" in output + errors
    study.wait_until_gone()
    assert [folder.name for folder in temporary.iterdir() if not folder.name.startswith("torchinductor_")] == []
    assert list(root.glob("studies/*/*.unfinished")) == []
    shutil.rmtree(temporary)


def test_a_local_study_listens_on_this_machine_only_whatever_the_environment_says_of_ray(tmp_path):
    root = tmp_path / "results"
    long = tmp_path / ("t" * 40)
    long.mkdir()
    env = {"RAY_ADDRESS": "192.0.2.77:6379", "TMPDIR": str(long)}
    study = Started(arguments(root, "--recipe.epochs", "60", seeds=1), env=env)
    while not list(root.glob("unfinished/*/checkpoint.pt")):
        assert study.process.poll() is None, study.process.communicate()[0]
        time.sleep(0.2)
    family = study.family()
    listening = [
        line.split()[3]
        for line in subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout.splitlines()
        if any(f"pid={process}," in line for process in family)
    ]
    study.process.send_signal(signal.SIGINT)
    study.process.communicate(timeout=60)
    assert listening
    assert all(where.startswith(("127.0.0.1:", "[::1]:", "[::ffff:127.0.0.1]:")) for where in listening), listening
    study.wait_until_gone()


def test_an_address_where_something_else_listens_is_one_sentence_within_half_a_minute(tmp_path):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        study = Started(
            arguments(tmp_path / "results", "--address", address), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        while "Ctrl-C" not in study.process.stdout.readline():
            assert study.process.poll() is None
        asked = time.monotonic()
        _, errors = study.process.communicate(timeout=60)
    assert time.monotonic() - asked < 32
    assert study.process.returncode == 2
    assert errors == f"error: --address {address}: no Ray cluster answers there; start one with `ray start`\n"


LEAKY = """
import torch
from torch import nn


class Leaky(nn.Module):
    def __init__(self, megabytes=0):
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 10))
        self.megabytes, self.kept = megabytes, []

    def forward(self, images):
        if self.training:
            self.kept.append(torch.ones(self.megabytes << 18))
        return self.layers(images)
"""


def test_an_arm_that_rays_memory_monitor_ends_costs_no_other(tmp_path):
    (tmp_path / "leaky.py").write_text(LEAKY)
    grid = tmp_path / "leak.yaml"
    grid.write_text('question: Who leaks?\nbaseline: {factory: "leaky:Leaky"}\ncross: {megabytes: [0, 400]}\n')
    lines = Path("/proc/meminfo").read_text().splitlines()
    kilobytes = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
    threshold = 1 - kilobytes["MemAvailable"] / kilobytes["MemTotal"] + 0.2
    assert threshold < 0.9, "too little memory is free"
    study = Started(
        arguments(tmp_path / "results", "--split.train", "2000", grid=str(grid), seeds=2),
        env={"RAY_memory_usage_threshold": f"{threshold:.3f}"},
    )
    output, _ = study.process.communicate(timeout=300)
    assert "megabytes 400, seed 0: out of memory; it is tried once more, alone" in output
    assert "megabytes 400, seed 1 failed: out of memory, also without other cells beside it" in output
    assert len(records(tmp_path / "results")) == 2
    assert study.process.returncode == 1, output
    study.wait_until_gone()
