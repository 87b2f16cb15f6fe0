"""Measures how much faster the project's training step is than the usual loop.

    python experiments/benchmark.py
    python experiments/benchmark.py --only step-64-bf16 --rounds 5 --json benchmark.json

Both train the documented network (batch 64, Adam) on the packaged images, each in a process of its own, on all cores, in
turns A B A B. Printed are the medians (images a second, a first batch left out) and their ratio. study-*: what Ray, records
and the command line cost on top of training. About 15 minutes on two cores. `--device cuda` measures on a GPU (benchmark_gpu.py).

data-decode: reading a folder of JPEG pictures into the cache, against Pillow alone on all cores (open, convert, fit); --pictures
sets their number. data-mapped: the training step on images in a mapped file, against images in memory.

step-*: A, the usual loop: PIL transforms one image at a time, a DataLoader, fp32, eager, the loss read after every update.
B, ours: `cnnkit.train.Training` with the allocator settings that trials run with.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from ablations.cli import console, known, parse, run_script
from cnnkit.errors import UserError
from cnnkit.recipe import Precision, Recipe
from cnnkit.spec import BASELINE

if TYPE_CHECKING:
    from cnnkit.train import Training

BATCH_SIZE = 64
USUAL, OURS = "usual", "ours"


@dataclass(frozen=True)
class Comparison:
    """One training step to compare. Batches are what a process measures, after one more that warms up."""

    name: str
    image_size: int
    precision: Precision
    usual_batches: int
    our_batches: int


COMPARISONS = (
    Comparison("step-224-bf16", 224, "bf16", 3, 6),
    Comparison("step-224-fp32", 224, "fp32", 3, 5),
    Comparison("step-64-bf16", 64, "bf16", 20, 50),
    Comparison("step-64-fp32", 64, "fp32", 20, 40),
)


def usual_rate(image_size: int, batches: int) -> float:
    """Images a second of the loop that most people would write."""
    import torch
    from PIL import Image
    from torch import nn
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    from cnnkit.data import load
    from cnnkit.description import CIFAR10_NORMALISATION

    data = load("sample").train
    change = transforms.Compose(
        [
            transforms.Resize(image_size),
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(10),
            transforms.ColorJitter(0.2, 0.2, 0.2),
            transforms.ToTensor(),
            transforms.Normalize(CIFAR10_NORMALISATION.mean, CIFAR10_NORMALISATION.std),
        ]
    )

    class Images(Dataset[tuple[torch.Tensor, int]]):
        def __len__(self) -> int:
            return len(data)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image = Image.fromarray(data.images[index].transpose(1, 2, 0))
            return change(image), int(data.labels[index])

    blocks: list[nn.Module] = []
    channels = (BASELINE.in_channels, *BASELINE.widths)
    for c_in, c_out in itertools.pairwise(channels):
        blocks += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU(), nn.MaxPool2d(2)]
    features = BASELINE.widths[-1] * (image_size >> len(BASELINE.widths)) ** 2
    model = nn.Sequential(
        *blocks, nn.Flatten(), nn.Linear(features, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-4)
    loader = DataLoader(Images(), batch_size=BATCH_SIZE, shuffle=True, num_workers=2)
    started = 0.0
    for update, (images, labels) in enumerate(loader):
        if update == 1:
            started = time.perf_counter()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        loss.item()
        if update == batches:
            return batches * BATCH_SIZE / (time.perf_counter() - started)
    raise AssertionError("the sample is too small")


def rate_of(training: "Training", batches: int) -> float:
    """Images a second of so many updates, after a first one that is left out."""
    started = 0.0
    for progress in training.run():
        if progress.update == 1:
            started = time.perf_counter()
        if progress.update == batches + 1:
            return batches * BATCH_SIZE / (time.perf_counter() - started)
    raise AssertionError("the sample is too small")


def our_rate(image_size: int, precision: Precision, batches: int) -> float:
    """Images a second of this project's training step."""
    from cnnkit.data import load
    from cnnkit.model import build
    from cnnkit.train import Training

    training = Training(
        build(BASELINE.vary(image_size=image_size)),
        Recipe(precision=precision, batch_size=BATCH_SIZE),
        load("sample"),
        image_size=image_size,
        seed=0,
    )
    return rate_of(training, batches)


def one_process_seconds(seeds: int) -> float:
    """Training and evaluating both arms of batch_norm over `seeds` seeds, `quick` on the sample, one after the other in this
    process on all cores: what a study's cells cost without a study.
    """
    from ablations.grids import GRIDS, arms_of
    from ablations.protocols import PROTOCOLS
    from cnnkit.data import load
    from cnnkit.model import build
    from cnnkit.train import fit

    data, arms = load("sample"), arms_of(GRIDS["batch_norm"], PROTOCOLS["quick"].baseline())
    started = time.perf_counter()
    for seed in range(seeds):
        for arm in arms:
            fit(build(arm.spec, seed=seed), arm.recipe, data, image_size=arm.spec.image_size, seed=seed)
    return time.perf_counter() - started


def study_seconds(protocol: str, seeds: int) -> float:
    """The whole command for the same cells, from its start to its end, into a results folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        subprocess.run(
            [
                sys.executable, str(Path(__file__).with_name("run_ablation.py")), "--grid", "batch_norm", "--protocol",
                protocol, "--data", "sample", "--results", f"{folder}/results", "--seeds", str(seeds), "--no-measures",
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        return time.perf_counter() - started


def measure_studies(out: Console, only: str | None) -> list[dict[str, object]]:
    """What Ray, records and the command line cost on top of training."""
    results: list[dict[str, object]] = []
    if only in (None, "study-quick"):
        alone = float(in_fresh_process("one_process_seconds(3)"))
        study = study_seconds("quick", 3)
        out.print(
            f"study-quick: six cells in one process {alone:.0f} s, as a study {study:.0f} s, ratio {study / alone:.2f}"
        )
        results.append({"name": "study-quick", "one_process": alone, "study": study, "ratio": study / alone})
    if only in (None, "study-smoke"):
        study = study_seconds("smoke", 6)
        out.print(f"study-smoke: twelve cells as a study {study:.0f} s")
        results.append({"name": "study-smoke", "study": study})
    return results


# -- data

PICTURE_SIZE = (256, 192)
STORED_SIZE = 64


def write_pictures(folder: Path, count: int) -> None:
    """JPEG pictures of the packaged images, in folders of their classes, larger than they are stored."""
    from PIL import Image

    from cnnkit.data import load

    train = load("sample").train
    for place in range(count):
        label = int(train.labels[place % len(train)])
        file = folder / str(label) / f"{place}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(train.images[place % len(train)].transpose(1, 2, 0)).resize(PICTURE_SIZE)
        image.putpixel((place % PICTURE_SIZE[0], place // len(train)), (255, 0, 0))  # so that no two are alike
        image.save(file, quality=90)


def pillow_seconds(folder: str) -> float:
    """Decoding all pictures of a folder with Pillow alone, by as many processes as there are cores."""
    from PIL import Image, ImageOps

    from ablations.resources import machine_cores

    files = sorted(Path(folder).rglob("*.jpg"))
    cores = machine_cores()
    started = time.perf_counter()
    children = []
    for number in range(cores):
        child = os.fork()
        if not child:
            for file in files[number::cores]:
                with Image.open(file) as image:
                    ImageOps.fit(image.convert("RGB"), (STORED_SIZE, STORED_SIZE), Image.Resampling.BILINEAR).tobytes()
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return time.perf_counter() - started


def reading_seconds(folder: str) -> float:
    """The same pictures read as a data set, into a new cache, split and described."""
    from cnnkit.data import load

    with tempfile.TemporaryDirectory(dir=Path(folder).parent) as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        started = time.perf_counter()
        load(folder, image_size=STORED_SIZE)
        return time.perf_counter() - started


def training_rate(mapped: bool, image_size: int = 64, batches: int = 60) -> float:
    """Images a second of the training step, its images in memory or in a mapped file."""
    from dataclasses import replace

    import numpy as np

    from cnnkit.data import load
    from cnnkit.images import ImageSet
    from cnnkit.model import build
    from cnnkit.train import Training

    data = load("sample")
    with tempfile.TemporaryDirectory() as folder:
        if mapped:
            file = Path(folder) / "pixels"
            file.write_bytes(data.train.images.tobytes())
            pixels = np.memmap(file, np.uint8, "r", shape=data.train.images.shape)
            data = replace(data, train=ImageSet(pixels, data.train.labels))
        recipe = Recipe(precision="bf16", batch_size=BATCH_SIZE)
        training = Training(build(BASELINE.vary(image_size=image_size)), recipe, data, image_size=image_size, seed=0)
        return rate_of(training, batches)


def measure_data(out: Console, only: str | None, pictures: int, rounds: int) -> list[dict[str, object]]:
    """What reading pictures costs, and what a mapped file costs in training."""
    results: list[dict[str, object]] = []
    if only in (None, "data-decode"):
        with tempfile.TemporaryDirectory() as folder:
            write_pictures(Path(folder) / "pictures", pictures)
            calls = [f"{which}({folder + '/pictures'!r})" for which in ("pillow_seconds", "reading_seconds")]
            seconds = [[float(in_fresh_process(call)) for call in calls] for _ in range(rounds)]
            alone, ours = (statistics.median(column) for column in zip(*seconds, strict=True))
        out.print(
            f"data-decode: {pictures:,} pictures with Pillow alone {alone:.1f} s, as a data set {ours:.1f} s, "
            f"ratio {ours / alone:.2f}"
        )
        results.append(
            {"name": "data-decode", "pictures": pictures, "pillow": alone, "ours": ours, "ratio": ours / alone}
        )
    if only in (None, "data-mapped"):
        rates = [
            [float(in_fresh_process(f"training_rate({mapped})")) for mapped in (False, True)] for _ in range(rounds)
        ]
        memory, mapped_file = (statistics.median(column) for column in zip(*rates, strict=True))
        out.print(
            f"data-mapped: images in memory {memory:.0f} images/s, in a mapped file {mapped_file:.0f} images/s, "
            f"ratio {mapped_file / memory:.2f}"
        )
        results.append({"name": "data-mapped", "memory": memory, "mapped": mapped_file, "ratio": mapped_file / memory})
    return results


def in_fresh_process(call: str, *, tuned: bool = True) -> str:
    """What a call of this file's functions returns, in a process that has (or has not) the allocator's settings: they
    are read when a process starts.
    """
    from ablations.session import WORKER_ENVIRONMENT

    environment = {name: value for name, value in os.environ.items() if name not in WORKER_ENVIRONMENT}
    if tuned:
        environment |= WORKER_ENVIRONMENT
    code = f"import runpy; names = runpy.run_path({__file__!r}); print(eval({call!r}, names))"
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise UserError(f"{call} failed: {run.stderr.strip().splitlines()[-1]}")
    return run.stdout


def measured(which: str, comparison: Comparison) -> float:
    """The rate of one side, in images a second."""
    c = comparison
    if which == USUAL:
        return float(in_fresh_process(f"usual_rate({c.image_size}, {c.usual_batches})", tuned=False))
    return float(in_fresh_process(f"our_rate({c.image_size}, {c.precision!r}, {c.our_batches})"))


@dataclass
class Arguments:
    """The command line."""

    only: str | None = None
    """Name of one comparison; all of them otherwise."""
    device: Literal["cpu", "cuda"] = "cpu"
    """cuda: the comparisons of benchmark_gpu.py, which has more to set."""
    rounds: int = 3
    """Turns of A and B."""
    pictures: int = 10_000
    """How many pictures data-decode reads."""
    json: Path | None = None
    """A file for the figures."""


def on_a_gpu(args: Arguments) -> int:
    """benchmark_gpu.py with what both command lines have in common. Its exit code."""
    only = [] if args.only is None else ["--only", args.only]
    json_file = [] if args.json is None else ["--json", str(args.json)]
    command = [str(Path(__file__).with_name("benchmark_gpu.py")), "--rounds", str(args.rounds), *only, *json_file]
    return subprocess.run([sys.executable, *command], check=False).returncode


def main(arguments: Sequence[str]) -> int:
    """Runs the comparisons."""
    args = parse(Arguments, arguments, description=__doc__)
    if args.device == "cuda":
        return on_a_gpu(args)
    chosen = [comparison for comparison in COMPARISONS if args.only in (None, comparison.name)]
    names = [
        *(comparison.name for comparison in COMPARISONS),
        "study-quick",
        "study-smoke",
        "data-decode",
        "data-mapped",
    ]
    if args.only is not None:
        known("benchmark", args.only, names)
    out = console()
    results: list[dict[str, object]] = []
    for comparison in chosen:
        rates: dict[str, list[float]] = {USUAL: [], OURS: []}
        for _ in range(args.rounds):
            for which in (USUAL, OURS):
                rates[which].append(measured(which, comparison))
        usual, ours = statistics.median(rates[USUAL]), statistics.median(rates[OURS])
        out.print(
            f"{comparison.name}: usual loop {usual:.1f} images/s, ours {ours:.1f} images/s, ratio {ours / usual:.2f}"
        )
        results.append({**asdict(comparison), "rates": rates, "ratio": ours / usual})
    results += measure_studies(out, args.only)
    results += measure_data(out, args.only, args.pictures, args.rounds)
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    run_script(main)
