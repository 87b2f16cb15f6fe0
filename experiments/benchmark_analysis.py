"""Measures how long a large study takes to analyse: 1,000 finished cells, each with the logits of 10,000 test images.

    python experiments/benchmark_analysis.py
    python experiments/benchmark_analysis.py --table

The cells are made up (100 arms x 10 seeds; logits random around the right class), but their records are valid in every respect,
and read as any other: keys, seals, hashes, shapes. They take 0.7 GB in the temporary folder, which is removed again. Then a
fresh process loads the study and computes the tables of a report; printed are its seconds, step by step, and its peak memory.

Expected on two cores: under 15 s and 2 GB, after half a minute to a minute of making the cells.

With --table, a table of 1,000,000 predictions (10 arms x 10 seeds x 10,000 images) is compared by `compare.py`, in a process of
its own, as Parquet and as CSV, until its page is written. Expected: under 10 s and 1 GB.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from rich.progress import track

from ablations.arm import Arm
from ablations.cell import Cell, SplitSizes
from ablations.cli import console, parse, run_script
from ablations.plan import entry_of
from ablations.protocols import PROTOCOLS
from ablations.record import CellResult, Provenance, Study, StudyCell
from ablations.store import Store
from ablations.units import duration, size
from cnnkit.data import CLASSES
from cnnkit.description import cifar10
from cnnkit.errors import UserError
from cnnkit.metrics import Epoch

if TYPE_CHECKING:
    from rich.console import Console

DATA = "made up"
VALIDATION_IMAGES = 5_000


@dataclass
class Arguments:
    """The command line."""

    arms: int = 100
    """Arms of the study, the baseline among them."""
    seeds: int = 10
    """Cells of each arm."""
    images: int = 10_000
    """Test images, a multiple of 10."""
    table: bool = False
    """Compare a table of predictions instead."""
    read: Path | None = None
    """Analyse this results folder in this process and make nothing: what the benchmark starts in a fresh process."""


def write_study(root: Path, arms: Sequence[Arm], seeds: int, images: int) -> None:
    """A results root with one study, every cell of it finished. The cells are written by processes, one a core."""
    store = Store.open(root, data=DATA, data_description="made up, for a benchmark")
    split = SplitSizes(train=8_000, validation=VALIDATION_IMAGES, test=images)
    about = cifar10(text="made up, for a benchmark", fingerprint=DATA, source="other")
    cells = [
        (root, Cell.of(arm, data=DATA, split=split, seed=seed), arm.name, 1.5 + place / len(arms))
        for seed in range(seeds)
        for place, arm in enumerate(arms)
    ]
    store.write_study(
        Study(
            name="benchmark", grid="hidden_width", question="How long does the analysis take?", protocol="quick",
            arms=[entry_of(arm, arms[0], split, about) for arm in arms], seeds=seeds,
            cells=[StudyCell(arm=cell[2], seed=cell[1].seed, key=cell[1].key) for cell in cells],
            data=about, split=split,
        )
    )  # fmt: skip
    with get_context("spawn").Pool() as pool:
        written = pool.imap_unordered(write_cell, cells, chunksize=5)
        for _ in track(written, total=len(cells), description="making cells", console=console()):
            pass


def write_cell(task: tuple[Path, Cell, str, float]) -> None:
    """A finished cell. Its logits are normal noise, of the right class shifted by a margin and by how easy an image is."""
    from cnnkit.evaluate import calibration_error, per_class, top1  # torch, which the measured process does without

    root, cell, arm, margin = task
    labels = {
        part: np.arange(count) % len(CLASSES)
        for part, count in (("validation", VALIDATION_IMAGES), ("test", cell.split.test))
    }
    own, common = np.random.default_rng(int(cell.key, 16)), np.random.default_rng(0)
    logits = {}
    for part, right in labels.items():
        logits[part] = own.standard_normal((len(right), len(CLASSES)), dtype=np.float32)
        logits[part][np.arange(len(right)), right] += margin + common.standard_normal(len(right), dtype=np.float32)
    Store(root).write(
        CellResult(
            cell=cell,
            arm=arm,
            provenance=Provenance(
                protocol="quick", device="a CPU", device_type="cpu", threads=1, precision="bf16", micro_batch=64,
                gpu_share=0.0, trials_at_once=2, versions={}, host="a-host", started="2026-01-01T00:00:00+00:00",
                finished="2026-01-01T00:02:00+00:00",
            ),
            curve=tuple(
                Epoch(
                    epoch=epoch, train_loss=2.0 / epoch, validation_loss=2.0 / epoch,
                    validation_accuracy=top1(logits["validation"], labels["validation"]), learning_rate=1e-4,
                    train_seconds=20.0, evaluate_seconds=2.0,
                )
                for epoch in range(1, cell.recipe.epochs + 1)
            ),
            validation_logits=logits["validation"], validation_labels=labels["validation"],
            test_logits=logits["test"], test_labels=labels["test"],
            test_accuracy=top1(logits["test"], labels["test"]), per_class=per_class(logits["test"], labels["test"]),
            calibration_error=calibration_error(logits["test"], labels["test"]),
            train_seconds=20.0 * cell.recipe.epochs, evaluate_seconds=2.0 * cell.recipe.epochs, peak_memory=None,
            weights=None,
        )
    )  # fmt: skip


def seconds_of_reading(root: Path) -> dict[str, float]:
    """Seconds of each step from the results root to the tables, imports first."""
    seconds: dict[str, float] = {}

    def timed(step: str, call: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        value = call()
        seconds[step] = time.perf_counter() - started
        return value

    started = time.perf_counter()
    from analysis.outcomes import Outcomes
    from analysis.study_tables import StudyTables

    seconds["imports"] = time.perf_counter() - started
    outcomes = timed("load", lambda: Outcomes.from_store(root))
    study = StudyTables(outcomes)
    timed("predictions", lambda: outcomes.correct)
    for table in (
        "effects", "seed_differences", "epochs", "recalls", "class_table", "class_effects", "gained_and_lost", "flips",
    ):  # fmt: skip
        timed(table, partial(getattr, study, table))
    lost = outcomes.excluded
    if lost:
        raise UserError(f"the benchmark's own records are damaged: {lost[0].reason}")
    return seconds


def compare_tables(out: "Console") -> None:
    """A million predictions as a stranger's table, in both formats."""
    dice, images, runs = np.random.default_rng(0), 10_000, 100
    labels = dice.integers(len(CLASSES), size=images)
    hard = dice.random(images)
    arm = np.arange(runs) // 10
    right = dice.random((runs, images)) * hard < 0.45 + 0.005 * arm[:, None]
    answers = np.where(right, labels, dice.integers(len(CLASSES), size=(runs, images)))
    names = np.array(CLASSES)
    table = pa.table(
        {
            "arm": np.repeat([f"arm {place}" for place in arm], images),
            "seed": np.repeat(np.arange(runs) % 10, images),
            "image": np.tile(np.arange(images), runs),
            "label": names[np.tile(labels, runs)],
            "prediction": names[answers.ravel()],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(table, f"{folder}/table.parquet")
        pacsv.write_csv(table, f"{folder}/table.csv")
        script = Path(__file__).with_name("compare.py")
        for kind in ("parquet", "csv"):
            command = [
                sys.executable,
                str(script),
                f"{folder}/table.{kind}",
                "--baseline",
                "arm 0",
                "--out",
                f"{folder}/{kind}",
            ]
            started = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                raise UserError(f"comparing failed: {process.stderr.read() if process.stderr else ''}")
            took = time.perf_counter() - started
            processor = usage.ru_utime + usage.ru_stime
            peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            out.print(
                f"{len(table):,} rows of {kind}: {took:.1f} s ({processor:.1f} s of processor), peak memory {size(peak, 'B')}"
            )


def main(arguments: Sequence[str]) -> int:
    """Makes the cells, and reads them in a fresh process."""
    args = parse(Arguments, arguments, description=__doc__)
    if args.read is not None:
        seconds = seconds_of_reading(args.read)
        # Linux counts in KiB, macOS in bytes.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        print(json.dumps({"seconds": seconds, "peak": peak}))
        return 0
    if args.table:
        compare_tables(console())
        return 0
    if min(args.arms, args.seeds, args.images) < 1 or args.images % len(CLASSES):
        raise UserError(f"--arms, --seeds and --images are positive, and --images a multiple of {len(CLASSES)}")
    out, baseline = console(), PROTOCOLS["quick"].baseline()
    widths = range(512, 512 + args.arms)
    arms = [baseline.variant(f"hidden width {width}", {"hidden width": width}, hidden_width=width) for width in widths]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        write_study(Path(folder) / "results", arms, args.seeds, args.images)
        out.print(f"made {args.arms * args.seeds:,} cells in {duration(time.perf_counter() - started)}")
        command = [sys.executable, __file__, "--read", f"{folder}/results"]
        started = time.perf_counter()
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        total = time.perf_counter() - started
        if run.returncode:
            raise UserError(f"the reading process failed: {run.stderr.strip().splitlines()[-1]}")
    measured = json.loads(run.stdout)
    for step, seconds in measured["seconds"].items():
        out.print(f"{step:>16} {seconds:6.2f} s")
    out.print(f"{'in all':>16} {total:6.2f} s, peak memory {size(measured['peak'], 'B')}")
    return 0


if __name__ == "__main__":
    run_script(main)
