"""What is known of a study's arms and cells, as values: what `analysis.outcomes` is made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablations.arm import Level
from ablations.cell import SplitSizes
from ablations.designs import ScreeningDesign
from ablations.record import ClassQuestion, Command, LookPlan, Tuning
from cnnkit.cost import Cost
from cnnkit.description import DataDescription

Predictions = Mapping[str, Mapping[int, np.ndarray]]
"""For each arm and seed, the class that the network predicts for each test image, a position in the class names."""

CELLS = [
    *("arm", "is_baseline", "seed", "key", "status", "note", "changes", "chosen", "protocol", "epochs", "parameters"),
    *("head_share", "multiply_adds", "receptive_field", "work", "validation_accuracy", "test_accuracy", "seconds"),
    *("device", "device_type", "precision", "threads", "trials_at_once", "gpu_share", "micro_batch"),
    *("peak_memory", "versions", "started", "finished"),
]
"""Columns of `Outcomes.cells`. Whether or not they are known, they are there."""
COUNTS = ["epochs", "parameters", "multiply_adds", "work", "threads", "trials_at_once", "micro_batch", "peak_memory"]
"""Of them, whole numbers that may be unknown."""
MEASURED = ["head_share", "receptive_field", "validation_accuracy", "test_accuracy", "seconds", "gpu_share"]
"""Of them, numbers that may be unknown."""
TEXTS = ["key", "note", "changes", "chosen", "protocol"]
"""Of them, texts that are empty where there is nothing to say."""


def cell_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """What is known of each cell, as `Outcomes.cells`. A row needs arm, is_baseline, seed and status."""
    table = pd.DataFrame([{name: row.get(name) for name in CELLS} for row in rows], columns=CELLS)
    return table.fillna(dict.fromkeys(TEXTS, "")).astype(
        {**dict.fromkeys(COUNTS, "Int64"), **dict.fromkeys(MEASURED, "float64"), **dict.fromkeys(TEXTS, "str")}
    )


@dataclass(frozen=True)
class StudiedArm:
    """An arm as analysis knows it. Only its name has to be known, and which arm is the baseline."""

    name: str
    is_baseline: bool = False
    levels: Mapping[str, Level] = field(default_factory=dict)
    """The level of each factor of the grid."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields that differ from the baseline's, with this arm's values."""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the recipe that were chosen once for this arm by validation accuracy, with their values."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """The network, as its manifest has it."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """How it is trained, likewise."""
    start: str = ""
    """What the weights are called that it starts from; empty where they are random, or not known."""
    epochs: int | None = None
    costs: Cost | None = None
    work: int | None = None
    """Multiply-adds of the training and the evaluations of one cell."""


@dataclass(frozen=True)
class Description:
    """What a study says about itself, for titles, methods and provenance."""

    name: str
    question: str = ""
    protocol: str = ""
    """Its name, and what the command line changed in it."""
    data: DataDescription | None = None
    split: SplitSizes | None = None
    commands: Sequence[Command] = ()
    damaged_commands: Sequence[str] = ()
    """A sentence on each run of which nothing is known, since its file cannot be trusted."""
    folder: Path | None = None
    """Where the study lies, and its report belongs."""
    looks: LookPlan | None = None
    """The plan by which arms stopped, where there is one."""
    other_looks: int = 0
    """Looks by which arms stopped that were planned for other comparisons."""
    tuning: Tuning | None = None
    """What every seed of each arm has chosen for itself by its validation accuracy; `Outcomes.cells` says what."""
    class_questions: Sequence[ClassQuestion] = ()
    """Classes, or groups of classes, of which each gets a test of its own."""
    source: str = ""
    """What results were read from where they are not this software's own, such as: the table runs.csv."""
    fingerprint: str = ""
    """Of the table's file, such as: SHA-256 0123456789ab."""
    notes: Sequence[str] = ()
    """How a table was taken, or what the grid says about its baseline: sentences."""
    screening: ScreeningDesign | None = None
    """The design that arms are runs of, where they are."""

    @property
    def data_text(self) -> str:
        """Which images, in a line; empty where that is not known."""
        return "" if self.data is None else self.data.text


@dataclass(frozen=True)
class Excluded:
    """A cell whose answers are not used."""

    arm: str
    seed: int
    status: str
    """missing, running, failed, diverged or damaged."""
    reason: str
    """A sentence; empty where the status says all."""


@dataclass(frozen=True)
class Answers:
    """What the networks of a study answered to its test images."""

    labels: np.ndarray
    """Class of each test image, a position in the class names: (images,) int64. Empty where no cell can be read."""
    predictions: Predictions
    """Every arm is there, and of its seeds those that can be used: (images,) of the smallest type that holds the classes."""
    clusters: np.ndarray | None = None
    """Which test images belong together, such as frames of one video: any number, the same for those of one cluster, (images,)
    int64. None: each stands for itself."""
    values: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """Of each arm and seed the metric, where that is all that is known."""
    damaged: Sequence[Excluded] = ()
    """Finished cells whose logits cannot be used."""


def in_words(changes: Mapping[str, Any]) -> str:
    """Such as: no batch norm; widths 32, 64; dropout 0."""
    return "; ".join(filter(None, (_change(name, value) for name, value in changes.items())))


def _change(name: str, value: Any) -> str:
    plain = name
    for group in ("spec.", "recipe.", "arguments."):
        plain = plain.removeprefix(group)
    plain = plain.replace("_", " ").replace(".", " ")
    if isinstance(value, bool) or value == "":
        return plain if value else f"no {plain}"
    if isinstance(value, list | tuple):
        return f"{plain} {', '.join(map(str, value))}"
    if isinstance(value, dict):
        return ", ".join(_change(*item) for item in value.items())
    return f"{plain} {value:g}" if isinstance(value, float) else f"{plain} {value}"
