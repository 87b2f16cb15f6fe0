"""Checks a GPU that is at hand for some minutes: the tests that need one, how fast it is, and a study through Ray.

    python experiments/check_gpu.py --out gpu-check                      # about eight minutes
    python experiments/check_gpu.py --out gpu-check --data PATH_TO_CIFAR10 --minutes 15
    python experiments/check_gpu.py --out gpu-check --device cpu         # whether every step runs, without a GPU

Each step has a time limit: one that takes longer than its part of the time is ended, and the next one begins; what it has
written by then stays. In the folder: a log for each step, gpu.json with the figures (benchmark_gpu.py), machine.txt, and the
study's results without weights. Exit code 1 where a step failed.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ablations.cli import console, parse, run_script
from cnnkit.errors import UserError

HERE = Path(__file__).resolve().parent


@dataclass
class Arguments:
    """The command line."""

    out: Path = Path("gpu-check")
    """A folder for logs, figures and the study; made where it is missing."""
    minutes: float = 8.0
    """For all steps together."""
    data: Path | None = None
    """A folder with CIFAR-10; the packaged sample otherwise."""
    device: Literal["cuda", "cpu"] = "cuda"
    """cpu: whether every step runs, as little of each as there is."""


@dataclass(frozen=True)
class Step:
    """A command of this project, and how much of the time it may take."""

    name: str
    share: float
    """Of what is left when it begins, 0 to 1."""
    command: tuple[str, ...]


def steps_of(args: Arguments) -> list[Step]:
    """What is run, in this order: what must hold first, then how fast, then the documented protocol through Ray."""
    on_gpu = args.device == "cuda"
    data = [] if args.data is None else ["--data", str(args.data.resolve())]
    tests = ["-m", "pytest", "-p", "no:cacheprovider", "-rA", "--durations=10", str(HERE.parent / "tests" / "gpu")]
    study = [
        str(HERE / "run_ablation.py"), "--grid", "batch_norm_dropout", "--protocol", "documented" if on_gpu else "smoke",
        "--results", str(args.out / "results"), "--keep-weights", "none", *(data or ["--data", "sample"]),
    ]  # fmt: skip
    return [
        Step("tests", 0.4, (*tests, "-m", "gpu" if on_gpu else "not gpu and not slow")),
        Step(
            "benchmark", 0.6,
            (str(HERE / "benchmark_gpu.py"), "--json", str(args.out / "gpu.json"), "--rounds", "3",
             *(("--device", "cpu", "--short") if not on_gpu else ()), *data),
        ),
        Step("study", 1.0, (*study, "--seeds", "1", *(("--cuda-graphs", "--recipe.precision", "bf16") if on_gpu else ()))),
    ]  # fmt: skip


def ended(command: Sequence[str], log: Path, seconds: float) -> int | None:
    """Runs a command with a log, and ends it and its children after `seconds`. Its exit code; None where it was ended."""
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=file, stderr=subprocess.STDOUT, cwd=HERE.parent, start_new_session=True
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
        finally:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return None


def describe_machine(file: Path) -> None:
    """Which card and which software the figures belong to."""
    commands = (["nvidia-smi"], [sys.executable, "-m", "pip", "list"])
    parts = [
        subprocess.run(command, capture_output=True, text=True, check=False).stdout
        for command in commands
        if command[0] != "nvidia-smi" or Path("/proc/driver/nvidia").exists()
    ]
    file.write_text("\n".join(parts), encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """One step after another."""
    args = parse(Arguments, arguments, description=__doc__)
    args.out = args.out.resolve()  # the steps run from the repository's root
    if args.minutes <= 0:
        raise UserError(f"--minutes {args.minutes:g}: there must be time for something")
    if args.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UserError("--device cuda: PyTorch sees no GPU; --device cpu shows whether every step runs")
    args.out.mkdir(parents=True, exist_ok=True)
    describe_machine(args.out / "machine.txt")
    out, deadline, failed = console(), time.monotonic() + 60 * args.minutes, False
    for step in steps_of(args):
        left, began = deadline - time.monotonic(), time.monotonic()
        log = args.out / f"{step.name}.log"
        code = ended(step.command, log, max(1.0, step.share * left))
        took = f"{time.monotonic() - began:.0f} s"
        failed = failed or code != 0
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        what = "ended, its time was over" if code is None else "passed" if code == 0 else f"failed, exit code {code}"
        out.print(f"{step.name}: {what} after {took}; {log}", markup=False, soft_wrap=True)
        out.print(f"    {lines[-1] if lines else 'it wrote nothing'}", markup=False, soft_wrap=True)
    return int(failed)


if __name__ == "__main__":
    run_script(main)
