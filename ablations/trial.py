"""One cell, from its spec to its record. Knows nothing of Ray."""

import os
import platform
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from pydantic import Field

from ablations.cell import Cell
from ablations.store import Store
from cnnkit.data import Data
from cnnkit.evaluate import calibration_error, per_class
from cnnkit.model import build
from cnnkit.spec import Spec
from cnnkit.train import BadCheckpoint, Progress, Training

PACKAGES = ("ablations", "torch", "timm", "ray", "numpy")


class Placement(Spec):
    """Where a trial runs and with how much of the machine. It is recorded, not part of the key."""

    device_type: str = "cpu"
    """cpu or cuda."""
    threads: int = Field(1, ge=1)
    """Threads of each operation on the CPU; trained numbers depend on it in the last digits."""
    trials_at_once: int = 1
    """Trials that the machine is planned to run at the same time."""
    gpu_share: float = 0.0
    """Share of a GPU; 0 on CPUs."""
    memory_cap: float | None = None
    """Largest share of the GPU's memory that PyTorch's allocator may take; None leaves it alone."""


def run_cell(
    cell: Cell,
    data: Data,
    store: Store,
    *,
    arm: str,
    protocol: str,
    placement: Placement,
    keep_weights: bool = True,
) -> Iterator[tuple[Progress, float | None]]:
    """Trains, evaluates and records a cell; goes on from its checkpoint where there is one.

    Yields the progress and the latest validation accuracy (0 to 1; None before the first look). The record is
    complete when the iterator ends.

    Args: data: the images of the cell's split.

    Raises: Diverged: the loss stopped being finite.
    """
    started = datetime.now(UTC)
    device = _prepare_device(placement)
    checkpoint = store.checkpoint(cell.key)
    training = _begin(cell, data, device)
    if checkpoint.is_file():
        try:
            training.restore(checkpoint.read_bytes())
        except BadCheckpoint:  # damaged, or written by a version with other parameter names: the cell starts anew
            checkpoint.unlink()
            training = _begin(cell, data, device)
    for progress in training.run():
        if progress.ends_epoch and progress.epoch < cell.recipe.epochs:
            _replace(checkpoint, training.state())
        yield progress, (training.curve[-1].validation_accuracy if training.curve else None)
    fit = training.result()
    store.write(
        {
            "key": cell.key,
            "identity": cell.identity,
            "arm": arm,
            "provenance": {
                "protocol": protocol,
                "device": device_name(device),
                "device_type": device.type,
                "threads": placement.threads,
                "precision": fit.precision,
                "micro_batch": cell.recipe.batch_size,
                "gpu_share": placement.gpu_share,
                "trials_at_once": placement.trials_at_once,
                "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
                "host": socket.gethostname(),
                "started": started.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            },
            "curve": fit.curve,
            "test_accuracy": fit.test_accuracy,
            "per_class": per_class(fit.test_logits, data.test.labels),
            "calibration_error": calibration_error(fit.test_logits, data.test.labels),
            "train_seconds": sum(epoch.train_seconds for epoch in fit.curve),
            "evaluate_seconds": sum(epoch.evaluate_seconds for epoch in fit.curve) + fit.test_seconds,
            "peak_memory": torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None,
        },
        logits={
            "validation_logits": fit.validation_logits,
            "validation_labels": np.ascontiguousarray(data.validation.labels),
            "test_logits": fit.test_logits,
            "test_labels": np.ascontiguousarray(data.test.labels),
        },
        weights={
            name: np.ascontiguousarray(tensor.cpu().numpy()) for name, tensor in training.model.state_dict().items()
        }
        if keep_weights
        else {},
    )


def _replace(file: Path, content: bytes) -> None:
    """The file is there whole or not at all."""
    unfinished = file.with_name(file.name + ".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(file)


def _begin(cell: Cell, data: Data, device: torch.device) -> Training:
    model = build(cell.spec, seed=cell.seed)
    return Training(model, cell.recipe, data, image_size=cell.spec.image_size, seed=cell.seed, device=device)


def _prepare_device(placement: Placement) -> torch.device:
    torch.set_num_threads(placement.threads)
    device = torch.device(placement.device_type)
    if device.type == "cuda":
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
