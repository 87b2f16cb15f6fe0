"""What goes to the run of a cell, and what comes back. Knows neither Ray nor torch."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from ablations.cell import Cell
from ablations.record import CellResult
from cnnkit.spec import Spec


class Placement(Spec):
    """Where a trial runs and with how much of the machine. It is recorded, not part of the key."""

    device_type: str = "cpu"
    """cpu or cuda."""
    threads: int = Field(default=1, ge=1)
    """Threads of each operation on the CPU; trained numbers depend on it in the last digits."""
    trials_at_once: int = 1
    """Trials that the machine is planned to run at the same time."""
    gpu_share: float = 0.0
    """Share of a GPU; 0 on CPUs."""
    memory_cap: float | None = None
    """Largest share of the GPU's memory that PyTorch's allocator may take; None leaves it alone."""
    cuda_graphs: bool = False
    """Whether a GPU launches an update's kernels together; trained numbers are the same."""


class Job(Spec):
    """A cell, and how it is to be run."""

    cell: Cell
    arm: str
    """What the arm is called."""
    protocol: str
    placement: Placement = Placement()
    keep_weights: bool = True


@dataclass(frozen=True)
class Advance:
    """How far a run is."""

    epoch: int
    """Counted from 1."""
    progress: float
    """Part of the cell's passes that is done, evaluations among them: 0 to 1, which only its result is."""
    validation_accuracy: float | None
    """The latest, 0 to 1; None before the first epoch's end."""


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on after its first `epochs` epochs, here or on another node."""

    epochs: int
    state: bytes


@dataclass(frozen=True)
class BeganAnew:
    """The checkpoint did not fit the run, and was not used."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """The end of a cell that left no result."""

    kind: Literal["failed", "diverged", "out of memory"]
    sentence: str
    log: str
    epoch: int | None = None
    """Epoch in which the loss stopped being finite, counted from 1."""


News = Advance | Checkpoint | BeganAnew | CellResult
