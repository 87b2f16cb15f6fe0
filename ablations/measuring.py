"""Asks a study's trained networks what they were not asked while they were trained.

A measure is a name, a version and a function from a trained network to small named arrays. It runs over finished cells,
from the weights that they kept, and what it finds is kept beside them: a cell that was measured costs nothing again.

A `Question` is all that is needed to ask one network, on whichever machine; `answer` asks it and touches no folder. The
`Survey` of a study alone reads and writes its results folder. `ablations.side_by_side` asks many networks at once.

Some measures say little by themselves, because networks that learnt nothing score, too. They are asked of each arm's network
with random weights (`AlsoOfRandomWeights`), or of something that is no network (`WithNull`), and that is kept as well.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from torch import nn

from ablations.measure_store import Arrays, MeasureStore, Null, plain_name
from ablations.networks import ChangedCode, kept_weights, network_of, untrained_network
from ablations.record import ArmEntry, Provenance, Record, Study, StudyCell, loads_weights
from ablations.resources import machine_cores
from ablations.sealed import DamagedRecord
from ablations.store import Store
from cnnkit.augment import to_input, to_unit
from cnnkit.description import CIFAR10_NORMALISATION
from cnnkit.errors import UserError, brief
from cnnkit.evaluate import predict
from cnnkit.memory_format import FORMATS
from cnnkit.recipe import Precision
from cnnkit.search_paths import add_search_paths
from cnnkit.spec import Normalisation
from cnnkit.train import AUTOCAST


@dataclass(frozen=True)
class TrainedNetwork:
    """A finished cell's network in evaluation mode (or what it was before its training), and how it is asked."""

    model: nn.Module
    image_size: int
    """Height and width that it takes, in pixels."""
    precision: Precision
    """The arithmetic that it was trained and evaluated in."""
    memory_format: torch.memory_format
    device: torch.device
    normalisation: Normalisation = CIFAR10_NORMALISATION
    """Of images in [0, 1] that it is given."""

    @classmethod
    def load(
        cls, store: Store, study: Study, cell: StudyCell, record: Record, device: torch.device, paths: Sequence[str]
    ) -> "TrainedNetwork":
        """Raises: UserError: the cell kept no weights that can be used, or its network cannot be built."""
        weights = kept_weights(store, cell.key, name_of(cell))
        add_search_paths(list(paths))
        entry = next(entry for entry in study.arms if entry.name == cell.arm)
        return cls.made(entry, weights, record.provenance, device, study.data.normalisation)

    @classmethod
    def made(
        cls,
        arm: ArmEntry,
        weights: bytes,
        provenance: Provenance,
        device: torch.device,
        normalisation: Normalisation = CIFAR10_NORMALISATION,
    ) -> "TrainedNetwork":
        """Args: normalisation: the data set's; a network that started from pretrained weights has its own.

        Raises: UserError: the network cannot be built, or the weights are another's.
        """
        return cls._of(network_of(arm, weights), arm, provenance, device, normalisation)

    @classmethod
    def untrained(
        cls,
        arm: ArmEntry,
        seed: int,
        provenance: Provenance,
        device: torch.device,
        normalisation: Normalisation = CIFAR10_NORMALISATION,
    ) -> "TrainedNetwork":
        """As it was before its training, asked as afterwards.

        Raises: UserError: the network cannot be built, or begins with weights that were trained elsewhere.
        """
        return cls._of(untrained_network(arm, seed), arm, provenance, device, normalisation)

    @classmethod
    def _of(
        cls,
        model: nn.Module,
        arm: ArmEntry,
        provenance: Provenance,
        device: torch.device,
        normalisation: Normalisation,
    ) -> "TrainedNetwork":
        own = arm.spec.get("normalisation")
        if own is not None:
            normalisation = Normalisation.model_validate(own)
        precision: Precision = next((one for one in get_args(Precision) if one == provenance.precision), "fp32")
        memory_format = FORMATS["channels_last" if provenance.memory_format == "channels_last" else "contiguous"]
        model = model.to(device).to(memory_format=memory_format)
        return cls(model, int(arm.spec["image_size"]), precision, memory_format, device, normalisation)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """(n, classes) float32 of (n, channels, h, w) uint8 images of any size, computed as in its own evaluation."""
        pixels = torch.tensor(images, device=self.device)
        autocast = AUTOCAST[self.precision]
        return predict(
            self.model,
            pixels,
            self.image_size,
            normalisation=self.normalisation,
            autocast=autocast,
            memory_format=self.memory_format,
        ).numpy()

    def inputs(self, images: np.ndarray) -> torch.Tensor:
        """(n, channels, s, s) fp32 of (n, channels, h, w) uint8 images: as they enter the network."""
        pixels = torch.tensor(images, device=self.device)
        inputs = to_input(to_unit(pixels), self.image_size, self.normalisation)
        return inputs.contiguous(memory_format=self.memory_format)


class Measure(Protocol):
    """What can be asked of a trained network."""

    @property
    def name(self) -> str:
        """Name and version, such as shape_bias-1: another version, or other images to ask about, has another."""
        ...

    def __call__(self, network: TrainedNetwork) -> Arrays:
        """What is found, as small arrays by name."""
        ...


@runtime_checkable
class AlsoOfRandomWeights(Protocol):
    """A measure that is asked of each arm's network before its training, too, under the same name."""

    of_random_weights: Literal[True]


@runtime_checkable
class WithNull(Protocol):
    """A measure with something to compare networks with that is no network, such as a classifier of colours."""

    @property
    def null_name(self) -> str | None:
        """Its name and version; None where there is nothing that it could be made from."""
        ...

    def null(self) -> Arrays:
        """What is found; it depends on the study's training images and on the measure alone."""
        ...


def name_of(cell: StudyCell) -> str:
    """What a cell is called in a sentence."""
    return f"{cell.arm}, seed {cell.seed}"


# -- one network, wherever it is asked


@dataclass(frozen=True)
class Question:
    """A finished cell's network as it travels, and what it is asked."""

    cell: str
    """What it is called in sentences."""
    arm: ArmEntry
    provenance: Provenance
    weights: bytes | None
    """None where it is asked of its random weights only."""
    names: tuple[str, ...]
    """Of the measures to take."""
    normalisation: Normalisation = CIFAR10_NORMALISATION
    """Of the data that the network was trained on."""
    seed: int = 0
    of_random_weights: tuple[str, ...] = ()
    """Of the measures to take of the network as it was before its training under the seed."""

    @property
    def threads(self) -> int:
        """Threads of each operation on the CPU: as many as it was evaluated with, since numbers depend on it in the last
        digits.
        """
        return max(1, self.provenance.threads)


@dataclass(frozen=True)
class Answer:
    """What one network said."""

    found: dict[str, Arrays] = field(default_factory=dict)
    """By the measure's name."""
    of_random_weights: dict[str, Arrays] = field(default_factory=dict)
    """Likewise, before training."""
    lacking: tuple[str, ...] = ()
    """A sentence for each thing that went wrong."""
    remarks: tuple[str, ...] = ()
    seconds: float = 0.0


def answer(question: Question, measures: Sequence[Measure], device: torch.device) -> Answer:
    """Builds the network and takes the measures that the question names. Whatever goes wrong is a sentence of the answer."""
    began = time.monotonic()
    arm, weights, how = question.arm, question.weights, (question.provenance, device, question.normalisation)
    found: dict[str, Arrays] = {}
    random: dict[str, Arrays] = {}
    lacking: dict[str, str] = {}
    with warnings.catch_warnings(record=True) as caught, _threads(min(question.threads, machine_cores())):
        warnings.simplefilter("ignore")  # of networks' and libraries' code
        warnings.simplefilter("always", ChangedCode)
        if weights is not None:
            found, lacking = _taken(
                lambda: TrainedNetwork.made(arm, weights, *how), measures, question.names, question.cell
            )
        # What cannot be asked of the trained network cannot be asked of this one either.
        names = () if "" in lacking else tuple(name for name in question.of_random_weights if name not in lacking)
        if names:
            random, lacking_too = _taken(
                lambda: TrainedNetwork.untrained(arm, question.seed, *how),
                measures,
                names,
                f"random weights of {question.cell}",
            )
            lacking |= {f"random {name}": sentence for name, sentence in lacking_too.items()}
    remarks = tuple(dict.fromkeys(f"{question.cell}: {one.message}" for one in caught))
    return Answer(found, random, tuple(lacking.values()), remarks, time.monotonic() - began)


def _taken(
    network: Callable[[], TrainedNetwork], measures: Sequence[Measure], names: Sequence[str], called: str
) -> tuple[dict[str, Arrays], dict[str, str]]:
    """What was found, and a sentence for each measure that failed, by its name; for all of them by "" if there is no network."""
    try:
        asked = network()
    except Exception as error:  # whatever one network does must not end the others
        return {}, {"": f"{called}: {_sentence(error)}"}
    found: dict[str, Arrays] = {}
    unknown = set(names) - {measure.name for measure in measures}
    lacking = {name: f"{called}, {plain_name(name)}: not among the measures that came with it" for name in unknown}
    for measure in measures:
        if measure.name in names:
            try:
                found[measure.name] = {name: np.asarray(array) for name, array in measure(asked).items()}
            except Exception as error:
                lacking[measure.name] = f"{called}, {plain_name(measure.name)}: {_sentence(error)}"
    return found, lacking


def _sentence(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "out of memory; run experiments/measure.py where there is more"
    return f"measuring failed with {brief(error)}"


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# -- the networks of a study


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
    """A sentence for each thing that could not be measured: a cell whose weights are missing, say."""
    remarks: list[str] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True)
class _Missing:
    """What a finished cell lacks."""

    cell: StudyCell
    arm: ArmEntry
    names: tuple[str, ...]
    """Of measures."""
    random: tuple[str, ...]
    """Of measures of the arm's random weights."""


class Survey:
    """The networks of a study that are to be measured, and what has come of it. Alone touches the results folder.

    Raises: UserError: (all methods) the results folder cannot be read or written.
    """

    def __init__(
        self,
        store: Store,
        study: Study,
        measures: Sequence[Measure],
        on_advance: Callable[[Advance], None] | None = None,
    ) -> None:
        self.store, self.study, self.measures = store, study, measures
        self.result = Measuring()
        self._kept, self._on_advance = MeasureStore(store), on_advance
        self._records: dict[str, Record] = {}
        self._random = [measure.name for measure in measures if isinstance(measure, AlsoOfRandomWeights)]
        self._waiting = self._asked()
        self.total, self._done, self._started = len(self._waiting), 0, time.monotonic()

    def _asked(self) -> list["_Missing"]:
        """Finished cells that lack a measure, or whose network's random weights do."""
        waiting: list[_Missing] = []
        arms = {entry.name: entry for entry in self.study.arms}
        asked: set[tuple[str, str]] = set()
        for cell in self.study.cells:
            try:
                record = self.store.sound(cell.key)
            except DamagedRecord as error:
                self.result.lacking.append(f"{name_of(cell)}: {error}")
                continue
            if record is None:
                self.result.unfinished += 1
                continue
            arm = arms[cell.arm]
            names = tuple(measure.name for measure in self.measures if not self._kept.has(record, measure.name))
            null = Null.random_weights(arm, cell.seed)
            random = tuple(
                name
                for name in self._random
                if not loads_weights(arm.spec) and (null.key, name) not in asked and not self._kept.has(null, name)
            )
            self.result.before += not names
            if not (names or random):
                continue
            asked |= {(null.key, name) for name in random}
            self._records[name_of(cell)] = record
            waiting.append(_Missing(cell, arm, names, random))
        return waiting

    def keep_nulls(self) -> None:
        """Takes what is to be compared with and is no network, once for a study's training images."""
        null = Null.training_images(self.study)
        for measure in self.measures:
            name = measure.null_name if isinstance(measure, WithNull) else None
            if name is None or not isinstance(measure, WithNull) or self._kept.has(null, name):
                continue
            try:
                arrays = measure.null()
            except Exception as error:
                self.result.lacking.append(f"{plain_name(name)}: {_sentence(error)}")
            else:
                self._kept.write(null, name, arrays)

    @property
    def waiting(self) -> int:
        """Cells that no question has been made of yet."""
        return len(self._waiting)

    @property
    def done(self) -> int:
        """Cells of which the answer is here."""
        return self._done

    @property
    def seconds_left(self) -> float:
        """At the pace so far."""
        pace = (time.monotonic() - self._started) / max(1, self._done)
        return pace * (self.total - self._done)

    def questions(self) -> Iterator[Question]:
        """The cells that are left, one after another; those without weights are named and passed over."""
        while self._waiting:
            one = self._waiting.pop(0)
            name, weights, names = name_of(one.cell), None, one.names
            try:
                weights = kept_weights(self.store, one.cell.key, name) if names else None
            except UserError as error:
                self.result.lacking.append(str(error))
                names = ()
            if names or one.random:
                provenance, normalisation = self._records[name].provenance, self.study.data.normalisation
                yield Question(name, one.arm, provenance, weights, names, normalisation, one.cell.seed, one.random)
            else:
                self.total -= 1

    def keep(self, question: Question, given: Answer) -> None:
        """Writes what a network said."""
        for name, arrays in given.found.items():
            self._kept.write(self._records[question.cell], name, arrays)
        null = Null.random_weights(question.arm, question.seed)
        for name, arrays in given.of_random_weights.items():
            self._kept.write(null, name, arrays)
        self.result.lacking += given.lacking
        self.result.remarks += given.remarks
        self.result.measured += bool(question.names) and set(question.names) <= given.found.keys()
        self._done += 1
        if self._on_advance is not None:
            self._on_advance(Advance(self._done, self.total, question.cell, given.seconds, self.seconds_left))


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
    survey = Survey(store, study, measures, on_advance)
    add_search_paths(list(search_paths))
    survey.keep_nulls()
    for question in survey.questions():
        survey.keep(question, answer(question, measures, torch.device(device)))
    return survey.result
