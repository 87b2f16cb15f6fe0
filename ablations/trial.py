"""One cell, from its spec to its result. Knows neither Ray nor the results folder."""

import os
import platform
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import torch

from ablations.job import Advance, BeganAnew, Checkpoint, Job, News, Placement
from ablations.record import CellResult, Provenance
from cnnkit.evaluate import calibration_error, per_class
from cnnkit.images import Data
from cnnkit.model import build
from cnnkit.train import BadCheckpoint, Training
from cnnkit.weights import to_bytes

PACKAGES = ("ablations", "torch", "timm", "ray", "numpy")
CHECKPOINT_SECONDS = 5.0
"""Epochs that end sooner than this after the last checkpoint leave none: training them again costs less."""
CHECKPOINT_PROPORTION = 0.01
"""Of a cell's time, what its checkpoints may take: on a fast GPU, an epoch of a large network takes less time than its
checkpoint's way to the disk."""
CHECKPOINT_BYTES_PER_SECOND = 200e6
"""How fast a checkpoint gets to the disk, through the driver, at best; how long a trial waits for its part is timed."""


def run_cell(job: Job, data: Data, checkpoint: bytes | None = None) -> Iterator[News]:
    """Trains and evaluates a cell; what it yields last is its result.

    Args: data: the images of the cell's split. checkpoint: the `state` of an earlier `Checkpoint` of the same cell.
    Raises: Diverged: the loss stopped being finite.
    """
    cell, started = job.cell, datetime.now(UTC)
    device = _prepare_device(job.placement)
    training = _begin(job, data, device)
    if checkpoint is not None:
        try:
            training.restore(checkpoint)
        except BadCheckpoint as error:
            yield BeganAnew(str(error))
            training = _begin(job, data, device)
    frozen = cell.recipe.is_frozen
    whole = cell.split.passes(cell.recipe.epochs, frozen=frozen)
    kept = time.monotonic()
    cost = at_best = training.state_bytes / CHECKPOINT_BYTES_PER_SECOND
    for progress in training.run():
        over, part = (
            (progress.epoch, 0.0) if progress.ends_epoch else (progress.epoch - 1, progress.update / progress.updates)
        )
        done = cell.split.passes_until(over, part, frozen=frozen) / whole
        yield Advance(progress.epoch, done, training.curve[-1].validation_accuracy if training.curve else None)
        overdue = time.monotonic() - kept >= max(CHECKPOINT_SECONDS, cost / CHECKPOINT_PROPORTION)
        if overdue and progress.ends_epoch and progress.epoch < cell.recipe.epochs:
            began = time.monotonic()
            yield Checkpoint(progress.epoch, training.state())
            kept = time.monotonic()
            cost = max(at_best, kept - began)
    yield _result(job, training, data, device, started)


def result_of(job: Job, data: Data, checkpoint: bytes | None = None) -> CellResult:
    """A cell's result, trained in this process.

    Raises: Diverged: the loss stopped being finite.
    """
    *_, last = run_cell(job, data, checkpoint)
    assert isinstance(last, CellResult)
    return last


def _result(job: Job, training: Training, data: Data, device: torch.device, started: datetime) -> CellResult:
    fit = training.result()
    return CellResult(
        cell=job.cell,
        arm=job.arm,
        provenance=Provenance(
            protocol=job.protocol,
            device=device_name(device),
            device_type=device.type,
            threads=job.placement.threads,
            precision=fit.precision,
            memory_format=fit.memory_format,
            micro_batch=job.cell.recipe.batch_size,
            gpu_share=job.placement.gpu_share,
            cuda_graphs=training.is_graphed,
            trials_at_once=job.placement.trials_at_once,
            versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            host=socket.gethostname(),
            started=started.isoformat(timespec="seconds"),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        curve=tuple(fit.curve),
        validation_logits=fit.validation_logits,
        validation_labels=np.ascontiguousarray(training.data.validation.labels),
        test_logits=fit.test_logits,
        test_labels=np.ascontiguousarray(data.test.labels),
        test_accuracy=fit.test_accuracy,
        per_class=per_class(fit.test_logits, data.test.labels),
        calibration_error=calibration_error(fit.test_logits, data.test.labels),
        train_seconds=sum(epoch.train_seconds for epoch in fit.curve),
        evaluate_seconds=sum(epoch.evaluate_seconds for epoch in fit.curve) + fit.test_seconds,
        peak_memory=torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None,
        weights=to_bytes(training.model) if job.keep_weights else None,
    )


def _begin(job: Job, data: Data, device: torch.device) -> Training:
    cell = job.cell
    return Training(
        build(cell.spec, seed=cell.seed), cell.recipe, data, image_size=cell.spec.image_size, seed=cell.seed,
        device=device, cuda_graphs=job.placement.cuda_graphs, normalisation=cell.spec.normalisation,
    )  # fmt: skip


def _prepare_device(placement: Placement) -> torch.device:
    torch.set_num_threads(placement.threads)
    torch.set_default_dtype(
        torch.float32
    )  # whatever networks of the user's own have set that this process trained before
    torch.set_grad_enabled(True)
    torch.use_deterministic_algorithms(False)
    device = torch.device(placement.device_type)
    if device.type == "cuda":
        torch.cuda.init()
        device = torch.device("cuda", torch.cuda.current_device())  # setting a limit asks for the number, too
        torch.cuda.reset_peak_memory_stats(device)
        if placement.memory_cap is not None:
            # A share is Ray's bookkeeping; this makes it a limit, so that a trial cannot starve its neighbours.
            torch.cuda.set_per_process_memory_fraction(placement.memory_cap, device)
    return device


def device_name(device: torch.device) -> str:
    """The GPU's or the processor's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    except OSError:
        names = set()
    return f"{names.pop() if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"
