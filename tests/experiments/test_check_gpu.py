"""The check of a GPU: its steps end in time and take their children with them, whatever they run."""

import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "experiments" / "check_gpu.py"


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about yet does not."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_a_step_that_takes_too_long_is_ended_with_its_children_and_leaves_its_log(tmp_path):
    ended = runpy.run_path(str(SCRIPT))["ended"]
    code = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    began = time.monotonic()
    assert ended(["-c", code], tmp_path / "log", 3.0) is None
    assert time.monotonic() - began < 30
    assert not alive(int((tmp_path / "log").read_text()))


def test_the_exit_code_of_a_step_is_told(tmp_path):
    ended = runpy.run_path(str(SCRIPT))["ended"]
    assert ended(["-c", "print('done')"], tmp_path / "log", 60.0) == 0
    assert ended(["-c", "raise SystemExit(3)"], tmp_path / "log", 60.0) == 3
    assert (tmp_path / "log").read_text() == ""


def test_without_a_gpu_it_says_so_and_leaves_nothing(tmp_path):
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    for script in ("check_gpu.py", "benchmark.py"):
        command = [sys.executable, str(SCRIPT.with_name(script)), "--device", "cuda"]
        run = subprocess.run(command, capture_output=True, text=True, env=hidden, cwd=tmp_path, check=False)
        assert run.returncode == 2
        assert "PyTorch sees no GPU" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_step_is_a_command_of_this_project(tmp_path):
    names = runpy.run_path(str(SCRIPT))
    for device in ("cuda", "cpu"):
        steps = names["steps_of"](names["Arguments"](out=tmp_path, device=device))
        assert [step.name for step in steps] == ["tests", "benchmark", "study"]
        for step in steps:
            assert step.command[0] == "-m" or Path(step.command[0]).is_file()
