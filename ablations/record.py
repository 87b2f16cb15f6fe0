"""What a study and its cells leave behind, as types: records, failures, manifests. Knows neither Ray nor torch."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from ablations.arm import Arm
from ablations.cell import Cell, SplitSizes
from cnnkit.cost import Cost
from cnnkit.metrics import Epoch, PerClass
from cnnkit.spec import Stored

FORMAT = 1
Part = Literal["validation", "test"]


class Root(Stored):
    """What a results folder says about itself."""

    format: int = FORMAT
    data: str
    """Fingerprint of the data set that the folder was begun with."""
    data_description: str


class Provenance(Stored):
    """Where, when and with what a cell was trained. None of it is part of the key."""

    protocol: str
    device: str
    """The processor's or the GPU's name."""
    device_type: str
    """cpu or cuda."""
    threads: int
    precision: str
    """The arithmetic that was used, which a device may not have as the recipe asks for it."""
    micro_batch: int
    """Images a forward pass; the recipe's batch size unless memory was short."""
    gpu_share: float
    """Share of a GPU that the trial was given; 0 on CPUs."""
    trials_at_once: int
    """Trials that the machine was planned to run at the same time, which bears on the seconds."""
    versions: dict[str, str]
    host: str
    started: str
    """UTC, ISO 8601."""
    finished: str


class Record(Stored):
    """A finished cell."""

    format: int = FORMAT
    key: str
    identity: dict[str, Any]
    arm: str
    """What the arm was called when the cell was trained."""
    provenance: Provenance
    curve: list[Epoch]
    test_accuracy: float
    """Top-1, 0 to 1."""
    per_class: PerClass
    calibration_error: float
    """Expected calibration error on the test images, 0 to 1."""
    train_seconds: float
    evaluate_seconds: float
    peak_memory: int | None
    """Largest memory that the GPU's allocator reserved, in bytes; None on CPUs."""
    files: dict[str, str]
    """SHA-256 of each further file of the record."""
    seal: str = ""
    """SHA-256 of this record's JSON without the seal."""

    @property
    def seed(self) -> int:
        return int(self.identity["seed"])


@dataclass(frozen=True)
class CellResult:
    """What the run of a cell returns, on whichever node it ran; the driver makes the record of it."""

    cell: Cell
    arm: str
    """What the arm is called."""
    provenance: Provenance
    curve: tuple[Epoch, ...]
    validation_logits: np.ndarray
    """(images, classes) float32."""
    validation_labels: np.ndarray
    """(images,) int64."""
    test_logits: np.ndarray
    test_labels: np.ndarray
    test_accuracy: float
    """Top-1, 0 to 1."""
    per_class: PerClass
    calibration_error: float
    train_seconds: float
    evaluate_seconds: float
    peak_memory: int | None
    """Largest memory that the GPU's allocator reserved, in bytes; None on CPUs."""
    weights: bytes | None
    """The last epoch's weights as safetensors; None to keep none."""


class Claim(Stored):
    """Which process trains a cell."""

    run: str
    host: str
    process: int


class Failure(Stored):
    """A cell that did not finish."""

    key: str
    arm: str
    seed: int
    kind: Literal["failed", "diverged"]
    sentence: str
    epoch: int | None = None
    """Epoch in which the loss stopped being finite, counted from 1."""


class Command(Stored):
    """One run of a study."""

    time: str
    """UTC, ISO 8601."""
    arguments: list[str]
    seeds: int
    finished_before: int
    """Cells of the study that were finished when the command began: seeds added after looking show here."""


class Study(Stored):
    """The manifest of a study: which cells it consists of, and why."""

    format: int = FORMAT
    name: str
    grid: str
    question: str
    protocol: str
    protocol_changes: dict[str, Any]
    """Fields of the protocol that the command line changed."""
    arms: list[Arm]
    seeds: int
    data: str
    data_source: str
    data_description: str
    split: SplitSizes
    commands: list[Command]
    tuned: dict[str, dict[str, Any]] = {}
    """Fields of the recipe that were chosen for an arm by validation accuracy, by the arm's name."""
    costs: dict[str, Cost] = {}
    """What each arm costs, by its name: reading a study needs no network of the user's own to be built again. Empty in
    the manifests of earlier versions."""

    @property
    def baseline(self) -> Arm:
        """The arm that the others are compared with."""
        return next(arm for arm in self.arms if arm.is_baseline)

    @property
    def seeds_added_after_looking(self) -> bool:
        """Whether seeds were added by a command that found finished cells of fewer seeds."""
        counts = [command.seeds for command in self.commands if command.finished_before or command is self.commands[0]]
        return any(later > earlier for earlier, later in pairwise(counts))
