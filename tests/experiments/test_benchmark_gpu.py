"""The GPU's benchmark, a few updates on the CPU: it runs, and its bookkeeping is right."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

from torch.utils.flop_counter import FlopCounterMode

from cnnkit import ConvNetSpec, build

SCRIPT = Path(__file__).parents[2] / "experiments" / "benchmark_gpu.py"


def test_parts_run_and_leave_their_figures(tmp_path):
    file = tmp_path / "figures.json"
    for name in ("step-32-fp32", "evaluate"):
        command = [sys.executable, str(SCRIPT), "--device", "cpu", "--short", "--only", name, "--json", str(file)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        figures = json.loads(file.read_text())[name]
        assert all(rate > 0 for rate in figures["images_per_second"].values()), figures


def test_what_would_outrun_the_budget_is_left_out(tmp_path):
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--budget", "1", "--only", "documented-fp32"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "documented-fp32: left out" in run.stdout


def test_operations_of_a_training_step_are_those_that_torch_counts():
    import torch

    spec = ConvNetSpec(image_size=32, widths=(8, 16), hidden_width=16)
    model = build(spec)
    with FlopCounterMode(display=False) as counted:
        model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert runpy.run_path(str(SCRIPT))["training_flops"](spec) == counted.get_total_flops() // 2
