"""Measures training, evaluation and packing on a GPU: how fast, against the usual loop, and how near to the card's peak.

    python experiments/benchmark_gpu.py --json gpu.json --budget 150
    python experiments/benchmark_gpu.py --only documented --data PATH_TO_CIFAR10 --json documented.json
    python experiments/benchmark_gpu.py --device cpu --short            # a few updates each: whether it runs

step-SIZE-PRECISION: images a second of an update (batch 64, Adam, the documented network), of the usual loop (PIL transforms, a
DataLoader with workers and pinned memory, eager, the loss read after every update), of `cnnkit.train.Training`, and of that
with CUDA graphs. Medians of interleaved rounds after a warm-up, timed by CUDA events. compile-SIZE: the same with torch.compile.
evaluate: images a second. packed: eight small arms one after another and at once. documented-PRECISION: the documented
protocol whole, with its accuracy beside the documented 65.89 %; on the packaged sample where no --data is given.

The JSON is written after each part. A part that would outrun --budget is left out, and says so. About 4 minutes on an H100.
"""

import gc
import itertools
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ablations.cli import console, known, parse, run_script
from cnnkit.errors import UserError
from cnnkit.recipe import Precision, Recipe
from cnnkit.spec import BASELINE, ConvNetSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

    from cnnkit.data import Data, ImageSet

BATCH_SIZE = 64
LONG_EPOCH = 1500  # updates; no round crosses an epoch's end, where the validation images are looked at
DOCUMENTED_ACCURACY = 0.6589

Advance = Callable[[int], None]
"""Trains so many updates."""


@dataclass
class Arguments:
    """The command line."""

    only: tuple[str, ...] = ()
    """Parts whose names begin with one of these; all of them otherwise."""
    device: Literal["cuda", "cpu"] = "cuda"
    """Where to train."""
    data: Path | None = None
    """A folder with CIFAR-10 for the documented protocol; the packaged sample otherwise."""
    rounds: int = 5
    """Turns of what is compared."""
    budget: float = 600.0
    """Seconds after which no further part begins."""
    short: bool = False
    """A few updates each, to see whether everything runs; the figures mean nothing."""
    json: Path | None = None
    """A file for the figures."""


@dataclass
class Bench:
    """What all parts need."""

    args: Arguments
    device: "torch.device"
    sample: "Data"
    results: dict[str, Any] = field(default_factory=dict)

    def updates(self, image_size: int) -> int:
        """Updates a round: about half a second of the fastest."""
        return 2 if self.args.short else 40 if image_size > 100 else 150

    @property
    def long(self) -> "Data":
        """The sample's images over and over, for epochs without an end."""
        from dataclasses import replace

        return replace(
            self.sample, train=repeated(self.sample.train, BATCH_SIZE * (20 if self.args.short else LONG_EPOCH))
        )


def repeated(images: "ImageSet", count: int) -> "ImageSet":
    """`count` images, the same ones over and over."""
    import numpy as np

    from cnnkit.data import ImageSet

    chosen = np.resize(np.arange(len(images)), count)
    return ImageSet(images.images[chosen], images.labels[chosen])


def seconds(device: "torch.device", work: Callable[[], object]) -> float:
    """How long `work` takes, on a GPU by its own clock."""
    import torch

    if device.type != "cuda":
        started = time.perf_counter()
        work()
        return time.perf_counter() - started
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def peaks(bench: Bench) -> dict[str, float]:
    """What the card does at most: products of large matrices of random numbers (TFLOP/s), and copies (TB/s, read and written)."""
    import torch

    from cnnkit.train import configure_arithmetic

    configure_arithmetic()
    n = 512 if bench.args.short else 8192
    found = {}
    for kind in (torch.bfloat16, torch.float32):
        a, b = torch.randn(2, n, n, device=bench.device).to(kind)
        for _ in range(2):
            a @ b
        times = [seconds(bench.device, lambda a=a, b=b: a @ b) for _ in range(10)]  # type: ignore[misc]
        found[f"{str(kind).removeprefix('torch.')}_tflops"] = 2 * n**3 / statistics.median(times) / 1e12
    source = torch.randn(n, n, 2, device=bench.device)
    target = torch.empty_like(source)
    times = [seconds(bench.device, lambda: target.copy_(source)) for _ in range(10)]
    found["copy_tb_s"] = 2 * source.nbytes / statistics.median(times) / 1e12
    return found


def usual_network(image_size: int) -> "nn.Module":
    """The documented network, as most people would write it."""
    from torch import nn

    blocks: list[nn.Module] = []
    for c_in, c_out in itertools.pairwise((BASELINE.in_channels, *BASELINE.widths)):
        blocks += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU(), nn.MaxPool2d(2)]
    features = BASELINE.widths[-1] * (image_size >> len(BASELINE.widths)) ** 2
    return nn.Sequential(
        *blocks, nn.Flatten(), nn.Linear(features, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 10)
    )


class UsualImages:
    """A map-style dataset: PIL transforms, one image at a time."""

    def __init__(self, images: "ImageSet", image_size: int, *, train: bool) -> None:
        from torchvision import transforms

        from cnnkit.description import CIFAR10_NORMALISATION

        random = [
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(10),
            transforms.ColorJitter(0.2, 0.2, 0.2),
        ]
        self.images = images
        self.change = transforms.Compose(
            [
                transforms.Resize(image_size),
                *(random if train else []),
                transforms.ToTensor(),
                transforms.Normalize(CIFAR10_NORMALISATION.mean, CIFAR10_NORMALISATION.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        image = Image.fromarray(self.images.images[index].transpose(1, 2, 0))
        return self.change(image), int(self.images.labels[index])


def usual_loader(bench: Bench, images: "ImageSet", image_size: int, *, train: bool) -> Iterator[Any]:
    """Batches from worker processes, in pinned memory."""
    from torch.utils.data import DataLoader

    dataset: Any = UsualImages(images, image_size, train=train)
    workers = 0 if bench.args.short else min(8, len(os.sched_getaffinity(0)))
    pinned = bench.device.type == "cuda"
    return iter(DataLoader(dataset, BATCH_SIZE, shuffle=train, num_workers=workers, pin_memory=pinned, drop_last=train))


def usual_training(bench: Bench, image_size: int, precision: Precision) -> Advance:
    """The loop that most people would write."""
    import torch
    import torch.nn.functional as F

    model = usual_network(image_size).to(bench.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-4)
    batches = usual_loader(bench, bench.long.train, image_size, train=True)

    def advance(updates: int) -> None:
        for images, labels in itertools.islice(batches, updates):
            images, labels = images.to(bench.device, non_blocking=True), labels.to(bench.device, non_blocking=True)
            optimizer.zero_grad()
            with torch.autocast(bench.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
                loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            loss.item()

    return advance


def our_training(
    bench: Bench, image_size: int, precision: Precision, *, cuda_graphs: bool = False, compiled: bool = False
) -> Advance:
    """Training as this project does it."""
    from cnnkit.model import build
    from cnnkit.train import Training

    recipe = Recipe(precision=precision, batch_size=BATCH_SIZE, compile=compiled)
    training = Training(
        build(BASELINE.vary(image_size=image_size)), recipe, bench.long, image_size=image_size, seed=0,
        device=bench.device, cuda_graphs=cuda_graphs,
    )  # fmt: skip
    progress = training.run()
    return lambda updates: [None for _ in itertools.islice(progress, updates)].clear()


def rates(bench: Bench, image_size: int, contenders: dict[str, Advance]) -> dict[str, Any]:
    """Images a second of each, in turns."""
    updates = bench.updates(image_size)
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for name, advance in contenders.items():
        advance(2 if bench.args.short else 20 if name != "usual" else 40)
    for _ in range(2 if bench.args.short else bench.args.rounds):
        for name, advance in contenders.items():
            if name == "usual" and not bench.args.short:
                advance(20)  # batches that the workers have prepared while the others were measured
            elapsed = seconds(bench.device, lambda advance=advance: advance(updates))  # type: ignore[misc]
            found[name].append(updates * BATCH_SIZE / elapsed)
    return {"images_per_second": {name: statistics.median(values) for name, values in found.items()}, "rounds": found}


def training_flops(spec: ConvNetSpec) -> int:
    """Floating-point operations of one image's forward and backward pass: convolutions and fully connected layers; the
    gradient for the image itself is not computed.
    """
    from cnnkit.cost import cost

    first = spec.in_channels * spec.widths[0] * spec.kernel_size**2 * spec.image_size**2
    return 2 * (3 * cost(spec).multiply_adds - first)


def step(bench: Bench, image_size: int, precision: Precision) -> dict[str, Any]:
    """An update, ours against the usual one."""
    image_size = 32 if bench.args.short else image_size
    contenders = {
        "usual": usual_training(bench, image_size, precision),
        "ours": our_training(bench, image_size, precision),
    }
    if bench.device.type == "cuda":
        contenders["ours, CUDA graphs"] = our_training(bench, image_size, precision, cuda_graphs=True)
    result = rates(bench, image_size, contenders)
    peak = bench.results.get("peaks", {}).get("bfloat16_tflops")
    flops = training_flops(BASELINE.vary(image_size=image_size))
    best = max(result["images_per_second"].values())
    return {**result, "tflops": best * flops / 1e12, "share_of_bf16_peak": best * flops / 1e12 / peak if peak else None}


def compiled_step(bench: Bench, image_size: int) -> dict[str, Any]:
    """An update in bf16, with torch.compile and without, each also with CUDA graphs."""
    image_size = 32 if bench.args.short else image_size
    started = time.perf_counter()
    our_training(bench, image_size, "bf16", compiled=True)(3)
    compiling = time.perf_counter() - started
    contenders = {
        f"{'compiled' if compiled else 'ours'}{', CUDA graphs' if graphs else ''}": our_training(
            bench, image_size, "bf16", compiled=compiled, cuda_graphs=graphs
        )
        for compiled in (False, True)
        for graphs in ((False, True) if bench.device.type == "cuda" else (False,))
    }
    return {**rates(bench, image_size, contenders), "seconds_to_compile": compiling}


def evaluation(bench: Bench) -> dict[str, Any]:
    """Evaluating 10,000 images at the documented size, ours against the usual way."""
    import torch

    from cnnkit.model import build
    from cnnkit.train import Training

    size = 32 if bench.args.short else 224
    images = repeated(bench.sample.test, 250 if bench.args.short else 10_000)
    pixels = torch.from_numpy(images.images).to(bench.device)
    found = {}
    precisions: tuple[Precision, ...] = ("bf16", "fp32")
    for precision in precisions:
        training = Training(
            build(BASELINE.vary(image_size=size)), Recipe(precision=precision), bench.sample, image_size=size, seed=0,
            device=bench.device,
        )  # fmt: skip
        times = [seconds(bench.device, lambda t=training: t.predict(pixels)) for _ in range(4)]  # type: ignore[misc]
        found[f"ours, {precision}"] = len(images) / statistics.median(times[1:])
    model = usual_network(size).to(bench.device).eval()

    @torch.no_grad()
    def usual() -> None:
        for batch, _ in usual_loader(bench, images, size, train=False):
            model(batch.to(bench.device, non_blocking=True)).argmax(1).cpu()

    found["usual, fp32"] = len(images) / seconds(bench.device, usual)
    return {"images_per_second": found}


def pack_one(index: int, barrier: Any, turns: Any, device: str, updates: int, cuda_graphs: bool) -> None:
    """One of several arms, each in a process of its own: first all at once, then one after another."""
    import torch

    from cnnkit.data import load

    torch.set_num_threads(1)
    args = Arguments(device="cpu" if device == "cpu" else "cuda")
    bench = Bench(args, torch.device(device), load("sample"))
    advance = our_training(bench, 32 if device == "cpu" else 64, "bf16", cuda_graphs=cuda_graphs)

    def train() -> None:
        advance(updates)
        if device == "cuda":
            torch.cuda.synchronize()

    advance(2 if device == "cpu" else 20)
    if device == "cuda":
        torch.cuda.synchronize()
    barrier.wait()  # all are ready
    train()
    barrier.wait()  # all have trained at once
    while turns.value != index:
        time.sleep(0.001)
    train()
    turns.value += 1
    barrier.wait()  # each has trained for itself


def packed(bench: Bench, cuda_graphs: bool) -> dict[str, Any]:
    """Small arms at 64 pixels in bf16, one after another and at once, without the time to start their processes."""
    short = bench.args.short
    arms, updates = (2, 3) if short else (8, 500)
    context = multiprocessing.get_context("spawn")
    barrier, turns = context.Barrier(arms + 1), context.Value("i", 0)
    processes = [
        context.Process(target=pack_one, args=(i, barrier, turns, bench.device.type, updates, cuda_graphs), daemon=True)
        for i in range(arms)
    ]
    for process in processes:
        process.start()
    patience = 120
    barrier.wait(patience)
    moments = [time.perf_counter()]
    for _ in range(2):
        barrier.wait(patience)
        moments.append(time.perf_counter())
    for process in processes:
        process.join()
    together, apart = (b - a for a, b in itertools.pairwise(moments))
    return {"arms": arms, "updates": updates, "seconds_at_once": together, "seconds_one_after_another": apart}


def documented(bench: Bench, precision: Precision, cuda_graphs: bool = False) -> dict[str, Any]:
    """The documented protocol, whole: five epochs and every evaluation."""
    from cnnkit.data import load
    from cnnkit.model import build
    from cnnkit.train import fit

    data = load(bench.args.data) if bench.args.data else bench.sample
    spec, recipe = BASELINE, Recipe(precision=precision)
    if bench.args.short:
        spec, recipe, data = BASELINE.vary(image_size=32), recipe.vary(epochs=1), data.subset(train=200)
    started = time.perf_counter()
    result = fit(
        build(spec, seed=0),
        recipe,
        data,
        image_size=spec.image_size,
        seed=0,
        device=bench.device,
        cuda_graphs=cuda_graphs,
    )
    return {
        "data": data.describe(),
        "seconds": time.perf_counter() - started,
        "train_seconds": [epoch.train_seconds for epoch in result.curve],
        "evaluate_seconds": [epoch.evaluate_seconds for epoch in result.curve],
        "test_seconds": result.test_seconds,
        "precision": result.precision,
        "validation_accuracy": [epoch.validation_accuracy for epoch in result.curve],
        "test_accuracy": result.test_accuracy,
        "documented_test_accuracy": DOCUMENTED_ACCURACY,
    }


@dataclass(frozen=True)
class Part:
    """Something to measure."""

    name: str
    expected: float
    """Seconds on an H100, start-up of workers included."""
    measure: Callable[[Bench], dict[str, Any]]


PARTS = (
    Part("peaks", 5, peaks),
    Part("step-64-bf16", 20, lambda bench: step(bench, 64, "bf16")),
    Part("step-224-bf16", 30, lambda bench: step(bench, 224, "bf16")),
    Part("step-224-fp32", 30, lambda bench: step(bench, 224, "fp32")),
    Part("step-64-fp32", 20, lambda bench: step(bench, 64, "fp32")),
    Part("step-32-bf16", 20, lambda bench: step(bench, 32, "bf16")),
    Part("step-32-fp32", 20, lambda bench: step(bench, 32, "fp32")),
    Part("evaluate", 15, evaluation),
    Part("packed", 40, lambda bench: packed(bench, cuda_graphs=False)),
    Part("packed-graphs", 35, lambda bench: packed(bench, cuda_graphs=True)),
    Part("documented-bf16", 30, lambda bench: documented(bench, "bf16")),
    Part("documented-bf16-graphs", 30, lambda bench: documented(bench, "bf16", cuda_graphs=True)),
    Part("documented-fp32", 80, lambda bench: documented(bench, "fp32")),
    Part("compile-64", 50, lambda bench: compiled_step(bench, 64)),
    Part("compile-224", 50, lambda bench: compiled_step(bench, 224)),
)


def main(arguments: Sequence[str]) -> int:
    """Measures one part after another."""
    started = time.monotonic()
    args = parse(Arguments, arguments, description=__doc__)
    chosen = [part for part in PARTS if not args.only or part.name.startswith(args.only)]
    for beginning in args.only:
        if not any(part.name.startswith(beginning) for part in PARTS):
            known("part", beginning, [part.name for part in PARTS])

    import torch

    from ablations.trial import device_name
    from cnnkit.data import load

    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch sees no GPU; --device cpu --short shows whether everything runs")
    device = torch.device(args.device)
    bench = Bench(args, device, load("sample"))
    bench.results["machine"] = {
        "device": device_name(device), "cores": os.cpu_count(), "torch": torch.__version__, "cuda": torch.version.cuda,
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "batch_size": BATCH_SIZE, "short": args.short,
    }  # fmt: skip
    out = console()
    for part in chosen:
        left = args.budget - (time.monotonic() - started)
        if not args.short and part.expected > left:
            out.print(
                f"{part.name}: left out, {left:.0f} s are left and it takes about {part.expected:.0f}", markup=False
            )
            continue
        began = time.monotonic()
        try:
            result = part.measure(bench)
        except (RuntimeError, OSError) as error:  # one part's failure leaves the others their time
            result = {"error": f"{type(error).__name__}: {error}"}
        bench.results[part.name] = {**result, "part_seconds": time.monotonic() - began}
        short = {name: value for name, value in result.items() if name != "rounds"}
        out.print(f"{part.name} ({time.monotonic() - began:.0f} s): {short}", markup=False, soft_wrap=True)
        gc.collect()  # workers of loaders end, graphs give their memory back
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if args.json is not None:
            args.json.write_text(json.dumps(bench.results, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    run_script(main)
