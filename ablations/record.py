"""What a study and its cells leave behind, as types: records, failures, manifests. Knows neither Ray nor torch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import SerializerFunctionWrapHandler, StringConstraints, model_serializer

from ablations.arm import StoredLevel
from ablations.cell import Cell, SplitSizes
from ablations.designs import ScreeningDesign
from cnnkit.cost import Cost
from cnnkit.description import DataDescription
from cnnkit.metrics import Epoch, PerClass
from cnnkit.recipe import Recipe
from cnnkit.spec import ConvNetSpec, ModuleSpec, Stored

FORMAT = 1
"""Of a results folder and of its records."""
MANIFEST_FORMAT = 2
"""Of a study's manifest. Earlier ones are read by `ablations.earlier_manifests`."""
Part = Literal["validation", "test"]
Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{20}$")]
"""Of a cell, as `ablations.cell.key_of` makes it."""


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
    memory_format: str = "channels_last"
    """The order of maps in memory: contiguous where a network of the user's own cannot do with channels_last."""
    micro_batch: int
    """Images a forward pass; the recipe's batch size unless memory was short."""
    gpu_share: float
    """Share of a GPU that the trial was given; 0 on CPUs."""
    cuda_graphs: bool = False
    """Whether an update's kernels were launched together, which bears on the seconds."""
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


PRETRAINED = ("pretrained", "weights", "checkpoint", "checkpoint_path", "pretrained_weights")
"""Arguments by which functions that build networks are told to load weights."""


def loads_weights(spec: Mapping[str, Any]) -> bool:
    """Whether a network, by its spec as JSON, begins with weights that were trained elsewhere, as far as arguments say it."""
    return any((spec.get("arguments") or {}).get(name) for name in PRETRAINED)


def _agree(given: Mapping[str, Any], changed: Mapping[str, Any], defaults: Mapping[str, Any]) -> bool:
    """Whether `given` is `defaults` with `changed` in it; fields without a known default are left out."""
    return changed.keys() <= given.keys() and all(
        _agree(value, changed.get(field, {}), defaults[field])
        if isinstance(value, Mapping) and isinstance(defaults.get(field), Mapping) and defaults[field]
        else value == changed.get(field, defaults.get(field, value))
        for field, value in given.items()
    )


class ArmEntry(Stored):
    """An arm as a manifest keeps it: what reading needs, so that no network and no recipe has to be made again."""

    name: str
    is_baseline: bool
    levels: dict[str, StoredLevel] = {}
    """The level of each factor of the grid."""
    changes: dict[str, Any] = {}
    """Fields that differ from the baseline's, with this arm's values, as `Arm.changes_from`."""
    spec: dict[str, Any]
    """The network's spec as JSON. Reading never parses it: another version's fields do no harm."""
    recipe: dict[str, Any]
    """How it is trained, as JSON; likewise."""
    epochs: int
    """Of its training."""
    passes: int
    """Forward passes of one image that a cell takes, a backward pass counted as two."""
    start: str = ""
    """What the weights are called that the network starts from; empty where it starts from random ones."""
    costs: Cost | None = None
    """What its network costs; None where it is not known."""

    @property
    def work(self) -> int | None:
        """Multiply-adds of a whole cell; None where they are not known."""
        return None if self.costs is None else self.passes * self.costs.multiply_adds

    def choosing(self, fields: Mapping[str, Any]) -> "ArmEntry":
        """The arm with these values of its recipe."""
        return self.model_copy(update={"recipe": {**self.recipe, **fields}}) if fields else self

    def is_of(self, identity: dict[str, Any]) -> bool:
        """Whether a cell with this identity is one of this arm's: the fields that the identity names have the arm's values, and
        the arm's other fields their defaults, as far as this version knows them.
        """
        spec = ModuleSpec(factory="") if "factory" in self.spec else ConvNetSpec()
        return all(
            _agree(given, changed, default.model_dump(mode="json"))
            for given, changed, default in (
                (self.spec, identity["spec"], spec),
                (self.recipe, identity["recipe"], Recipe()),
            )
        )


class Candidate(Stored):
    """A cell with values that an arm and seed may choose."""

    fields: dict[str, Any]
    """Of the recipe, with the values."""
    key: Key


class StudyCell(Stored):
    """A cell of a study: where the result of an arm and a seed is found."""

    arm: str
    seed: int
    key: Key
    """Of the result. As long as it is still to be chosen among candidates, a key that no result has."""
    candidates: list[Candidate] = []
    """Among which the seed chooses by its validation accuracy; `Store.decided` says which it is. Empty: there is no choice."""
    chosen: dict[str, Any] = {}
    """Fields of the recipe with the values that were chosen; empty as long as they are not, and where there is no choice."""

    @classmethod
    def among(cls, arm: str, seed: int, candidates: Sequence[Candidate]) -> "StudyCell":
        """A cell that is still to be chosen."""
        keys = json.dumps([candidate.key for candidate in candidates])
        nobodys = hashlib.blake2b(keys.encode(), digest_size=10).hexdigest()
        return cls(arm=arm, seed=seed, key=nobodys, candidates=list(candidates))

    def choosing(self, candidate: Candidate | None) -> "StudyCell":
        """The cell with its choice; None: it is still to be made."""
        if candidate is None:
            return self.among(self.arm, self.seed, self.candidates)
        return self.model_copy(update={"key": candidate.key, "chosen": candidate.fields})

    @property
    def keys(self) -> tuple[str, ...]:
        """Under which its result may be found."""
        return tuple(candidate.key for candidate in self.candidates) or (self.key,)

    @model_serializer(mode="wrap")
    def _in_short(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Most cells have no choice, and manifests thousands of cells."""
        return {name: value for name, value in serialize(self).items() if value not in ([], {})}


class Tuning(Stored):
    """A field of the recipe of which every arm and seed chooses a value for itself, by its own validation accuracy."""

    field: str
    values: list[Any]

    @property
    def words(self) -> str:
        """Such as: learning rate among 0.0001, 0.001."""
        return f"{self.field.replace('_', ' ')} among {', '.join(map(_number, self.values))}"


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


class LookPlan(Stored):
    """How a study stops arms of which enough is known. It is fixed before the first look at results, or it means nothing."""

    seeds: tuple[int, ...]
    """Numbers of seeds after which the study is looked at, rising."""
    levels: tuple[float, ...]
    """What each look may err."""
    variance: Literal["own", "moderated"] = "own"
    """Whether an arm's variance over seeds is its own or borrows from the other arms'."""
    margin: float
    """Differences within it count as equivalent, 0 to 1."""
    finished_before: int = 0
    """Cells of arms other than the baseline that were finished when the looks were planned, for another study perhaps."""

    def is_same_plan(self, other: "LookPlan | None") -> bool:
        """Whether both look and stop alike, whenever they were made, and by whichever version: the levels are the first one's."""
        return other is not None and (self.seeds, self.variance, self.margin) == (
            other.seeds,
            other.variance,
            other.margin,
        )

    @property
    def words(self) -> str:
        """Such as: looks at 3, 5 and 10 seeds, moderated variances."""
        *others, last = map(str, self.seeds)
        at = f"looks at {', '.join(others)} and {last} seeds" if others else f"one look at {last} seeds"
        return f"{at}, {self.variance} variances"


class ClassQuestion(Stored):
    """A question about one class, or one group of classes, that gets a test of its own."""

    name: str
    """Of the class or the group."""
    finished_before: int
    """Cells of arms other than the baseline that were finished when it was asked. Only where there were none is the answer a
    confirmation: who has seen results may have asked because of them."""

    @property
    def asked(self) -> str:
        """Such as: beforehand; or: after 12 cells beside those of the baseline had finished."""
        n = self.finished_before
        return "beforehand" if n == 0 else f"after {n} cell{'s' * (n > 1)} beside those of the baseline had finished"


class Study(Stored):
    """The manifest of a study: which cells it consists of, and all that reading them needs."""

    format: int = MANIFEST_FORMAT
    name: str
    """Of its folder."""
    grid: str
    """What the grid is called, by its author."""
    question: str
    protocol: str
    protocol_changes: dict[str, Any] = {}
    """Fields of the protocol that the command line changed."""
    arms: list[ArmEntry]
    seeds: int
    """Largest number of seeds of an arm."""
    cells: list[StudyCell]
    """A whole seed before the next."""
    data: DataDescription
    split: SplitSizes
    tuned: dict[str, dict[str, Any]] = {}
    """Fields of the recipe that were chosen once for an arm by validation accuracy, by the arm's name."""
    tuning: Tuning | None = None
    """What every seed chooses for itself; its cells have candidates then."""
    looks: LookPlan | None = None
    """Where arms stop when enough is known of them; `cells` are those that were needed so far. None: all have all seeds."""
    class_questions: list[ClassQuestion] = []
    """In the order in which they were asked."""
    screening: ScreeningDesign | None = None
    """The design that arms are runs of, where they are."""
    notes: list[str] = []
    """What the grid says about this baseline: sentences, such as which part it does not have."""

    @property
    def baseline(self) -> ArmEntry:
        """The arm that the others are compared with."""
        return next(arm for arm in self.arms if arm.is_baseline)

    def is_same_study(self, other: "Study") -> bool:
        """Whether both list the same arms, and one result for each cell that both list. More seeds make no other study."""
        mine, its = ({(cell.arm, cell.seed): cell.keys for cell in study.cells} for study in (self, other))
        named, others = ([(arm.name, arm.is_baseline, arm.levels) for arm in study.arms] for study in (self, other))
        shared = mine.keys() & its.keys()
        return named == others and bool(shared) and all(mine[cell] == its[cell] for cell in shared)

    @property
    def hash_of_arms(self) -> str:
        """Six hexadecimal digits by which studies of one grid and protocol differ: what their arms are and train to."""
        first = min(cell.seed for cell in self.cells)
        keys = {cell.arm: "+".join(cell.keys) for cell in self.cells if cell.seed == first}
        arms = [(arm.name, arm.is_baseline, arm.levels, keys.get(arm.name)) for arm in self.arms]
        return hashlib.blake2b(json.dumps(arms, sort_keys=True).encode(), digest_size=3).hexdigest()

    def with_cells_of(self, earlier: "Study") -> "Study":
        """The manifest with the cells that an earlier one of the same study lists besides, and the questions asked in it."""
        listed = {(cell.arm, cell.seed) for cell in self.cells}
        more = [cell for cell in earlier.cells if (cell.arm, cell.seed) not in listed]
        asked = {question.name for question in earlier.class_questions}
        update: dict[str, Any] = {
            "cells": [*self.cells, *more],
            "seeds": max(self.seeds, earlier.seeds),
            "class_questions": [*earlier.class_questions, *(q for q in self.class_questions if q.name not in asked)],
        }
        if self.looks is not None and self.looks.is_same_plan(earlier.looks):
            update["looks"] = earlier.looks
        return self.model_copy(update=update)

    def has_plan_of(self, earlier: "Study") -> bool:
        """Whether both stop arms alike."""
        return self.looks.is_same_plan(earlier.looks) if self.looks is not None else earlier.looks is None


def looks(commands: Sequence[Command]) -> list[int]:
    """Numbers of seeds at which results could be looked at before more were added, and the last one.

    Args: commands: in the order of their times.
    """
    seen: list[int] = []
    for command in commands:
        if not seen or (command.seeds > seen[-1] and command.finished_before):
            seen.append(command.seeds)
        else:
            seen[-1] = max(seen[-1], command.seeds)
    return seen
