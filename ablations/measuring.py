"""Asks a study's trained networks what they were not asked while they were trained.

A measure is a name, a version and a function from a trained network to small named arrays. It runs over finished cells,
from the weights that they kept, and what it finds is kept beside them: a cell that was measured costs nothing again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, get_args

import numpy as np
import torch
from torch import nn

from ablations.measure_store import Arrays, MeasureStore
from ablations.networks import load_network
from ablations.record import Record, Study, StudyCell
from ablations.store import DamagedRecord, Store
from cnnkit.errors import UserError, brief
from cnnkit.evaluate import predict
from cnnkit.memory_format import FORMATS
from cnnkit.recipe import Precision
from cnnkit.train import AUTOCAST


@dataclass(frozen=True)
class TrainedNetwork:
    """A finished cell's network in evaluation mode, and how it is asked."""

    model: nn.Module
    image_size: int
    """Height and width that it takes, in pixels."""
    precision: Precision
    """The arithmetic that it was trained and evaluated in."""
    memory_format: torch.memory_format
    device: torch.device

    @classmethod
    def load(
        cls, store: Store, study: Study, cell: StudyCell, record: Record, device: torch.device, paths: Sequence[str]
    ) -> "TrainedNetwork":
        """Raises: UserError: the cell kept no weights that can be used, or its network cannot be built."""
        model, entry = load_network(store.root, study.name, cell.arm, cell.seed, search_paths=paths)
        precision: Precision = next((one for one in get_args(Precision) if one == record.provenance.precision), "fp32")
        kept = record.provenance.memory_format
        memory_format = FORMATS["channels_last" if kept == "channels_last" else "contiguous"]
        model = model.to(device).to(memory_format=memory_format)
        return cls(model, int(entry.spec["image_size"]), precision, memory_format, device)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """(n, classes) float32 of (n, channels, h, w) uint8 images of any size, computed as in its own evaluation."""
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        autocast = AUTOCAST[self.precision]
        return predict(self.model, pixels, self.image_size, autocast=autocast, memory_format=self.memory_format).numpy()


class Measure(Protocol):
    """What can be asked of a trained network."""

    @property
    def name(self) -> str:
        """Name and version, such as shape_bias-1: another version, or other images to ask about, has another."""
        ...

    def __call__(self, network: TrainedNetwork) -> Arrays:
        """What is found, as small arrays by name."""
        ...


@dataclass(frozen=True)
class Advance:
    """One cell more is measured."""

    done: int
    total: int
    """Cells that had something to be measured."""
    cell: str
    seconds: float
    """That it took."""
    seconds_left: float
    """At the pace so far."""


@dataclass
class Measuring:
    """How measuring a study went."""

    measured: int = 0
    """Cells that were measured now."""
    before: int = 0
    """Finished cells that had been measured before."""
    unfinished: int = 0
    lacking: list[str] = field(default_factory=list)
    """A sentence for each finished cell that could not be measured: its weights are missing, say."""


def measure_study(
    store: Store,
    study: Study,
    measures: Sequence[Measure],
    *,
    device: str = "cpu",
    search_paths: Sequence[str] = (),
    on_advance: Callable[[Advance], None] | None = None,
) -> Measuring:
    """Takes the measures of all finished cells that lack them, a cell after another in this process.

    Args: search_paths: folders of the user's own modules.
    Raises: UserError: the results folder cannot be written.
    """
    kept, result = MeasureStore(store), Measuring()
    waiting: list[tuple[str, StudyCell, Record, list[Measure]]] = []
    for cell in study.cells:
        name = f"{cell.arm}, seed {cell.seed}"
        if not store.is_finished(cell.key):
            result.unfinished += 1
            continue
        try:
            record = store.read(cell.key)
        except DamagedRecord as error:
            result.lacking.append(f"{name}: {error}")
            continue
        missing = [measure for measure in measures if not kept.has(record, measure.name)]
        if missing:
            waiting.append((name, cell, record, missing))
        else:
            result.before += 1
    started = time.monotonic()
    for done, (name, cell, record, missing) in enumerate(waiting, start=1):
        began = time.monotonic()
        try:
            network = TrainedNetwork.load(store, study, cell, record, torch.device(device), search_paths)
            found = [(measure.name, measure(network)) for measure in missing]
        except UserError as error:
            result.lacking.append(str(error))
            continue
        except Exception as error:  # whatever one network does must not end the others
            result.lacking.append(f"{name}: measuring failed with {brief(error)}")
            continue
        for measure_name, arrays in found:
            kept.write(record, measure_name, arrays)
        result.measured += 1
        if on_advance is not None:
            pace = (time.monotonic() - started) / done
            on_advance(Advance(done, len(waiting), name, time.monotonic() - began, pace * (len(waiting) - done)))
    return result
