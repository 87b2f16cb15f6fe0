"""What is asked of trained networks: shape bias, reliance, attention, composites; `analysis.measured` reads what they left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from jaxtyping import Int, UInt8

from ablations.measure_store import Arrays
from ablations.measuring import TrainedNetwork
from analysis import attention, measured, reliance
from analysis.looking import look
from analysis.measured import Measured
from analysis.shape_bias import colour_answers
from analysis.stimuli import Stimuli, read_stimuli
from cnnkit.errors import UserError
from cnnkit.images import Data, ImageSet

KEPT_BYTES = 2**29
"""Changed images are made once for all networks of a process where they take no more memory than this, else for each."""


@dataclass(frozen=True)
class Images:
    """Test images to ask about."""

    pixels: UInt8[np.ndarray, "n c size size"]
    labels: Int[np.ndarray, " n"]
    classes: tuple[str, ...]
    fingerprint: str
    """Of the data set that they are part of."""
    clusters: Int[np.ndarray, " n"] | None = None
    """Which of them belong together, as `cnnkit.images.ImageSet.clusters`."""
    training: ImageSet | None = None
    """What networks were trained on, for classifiers that networks are compared with."""

    @property
    def size(self) -> int:
        return int(self.pixels.shape[-1])

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[1])

    @classmethod
    def of(cls, data: Data, count: int | None = None) -> "Images":
        """`count` test images, of each class its share; by default `reliance.IMAGES`, or one of each class if those are more.

        Args: data: with the training images of the study.
        Raises: UserError: there are more classes than `count`.
        """
        classes = data.description.classes
        asked = data.test.subset(max(reliance.IMAGES, len(classes)) if count is None else count, "--images")
        return cls(asked.images, asked.labels, classes, data.fingerprint, asked.clusters, data.train)


@dataclass(frozen=True)
class _OfStimuli:
    """What is asked about cue-conflict stimuli, which networks see as small as the images that they were trained on."""

    stimuli: Stimuli
    size: int
    """Of those images, in pixels."""

    called: ClassVar[str]
    of_random_weights: ClassVar[Literal[True]] = True

    @property
    def name(self) -> str:
        return f"{self.called}.{self.stimuli.fingerprint}.{len(self.stimuli)}"

    @cached_property
    def _small(self) -> np.ndarray:
        return self.stimuli.shrunk(self.size)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_small": self._small}  # so that no worker makes it again


@dataclass(frozen=True)
class ShapeBias(_OfStimuli):
    """Logits of cue-conflict stimuli: `small` at the data's own size and from there to what the network takes (primary), `sharp`
    without that bottleneck (the sensitivity). Beside networks, a classifier that sees nothing but colours.
    """

    called = "shape_bias-1"
    images: Images | None = field(default=None, repr=False)
    """With the training images that the classifier of colours learns from."""

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "images": None}  # which no network is asked about

    def __call__(self, network: TrainedNetwork) -> Arrays:
        return {"small": network.logits(self._small), "sharp": network.logits(self.stimuli.images)}

    @property
    def null_name(self) -> str | None:
        """Name and version of what the classifier of colours answers."""
        known = self.images is not None and self.images.training is not None
        return measured.colours_name(self.stimuli) if known else None

    def null(self) -> Arrays:
        """Answers of the classifier of colours, as positions in the stimuli's categories."""
        assert self.images is not None
        train = self.images.training
        assert train is not None
        answers = colour_answers(train.pixels, train.labels, self.images.classes, self.stimuli, rows=train.rows)
        return {"answers": np.array([self.stimuli.categories.index(answer) for answer in answers], np.int16)}

    def table(self, found: Measured, classes: tuple[str, ...], *, baseline: str) -> pd.DataFrame:
        """As `analysis.shape_bias.bias_table`, by the answers through the data's own size."""
        return measured.shape_bias(found, self.stimuli, classes, baseline=baseline)

    def other_tables(self, found: Measured, classes: tuple[str, ...], *, baseline: str) -> dict[str, pd.DataFrame]:
        """The same by other ways of asking, by what they are called."""
        return {
            way.words(len(classes), self.size): measured.shape_bias(
                found, self.stimuli, classes, baseline=baseline, way=way
            )
            for way in measured.WAYS[1:]
        }


@dataclass(frozen=True)
class Reliance:
    """Answers to test images, unchanged and after each change that `analysis.reliance` makes of them, and the true classes
    beside them, so that what is left can be read without the images.
    """

    images: Images

    @property
    def name(self) -> str:
        return f"{measured.RELIANCE}.{self.images.fingerprint}.{len(self.images.labels)}"

    @property
    def _are_kept(self) -> bool:
        return self.images.pixels.nbytes * len(reliance.CHANGES) <= KEPT_BYTES

    @cached_property
    def _changed(self) -> dict[str, np.ndarray]:
        return reliance.changed(self.images.pixels)

    def __getstate__(self) -> dict[str, Any]:
        kept = {"_changed": self._changed} if self._are_kept else {}
        return {**self.__dict__, "images": replace(self.images, training=None), **kept}

    def __call__(self, network: TrainedNetwork) -> Arrays:
        changed = self._changed.items() if self._are_kept else reliance.changes(self.images.pixels)
        answers = {change: network.logits(pixels).argmax(axis=1) for change, pixels in changed}
        unchanged = network.logits(self.images.pixels).argmax(axis=1)
        found = {"labels": self.images.labels, "unchanged": unchanged, **answers}
        left = {name: array.astype(np.int16) for name, array in found.items()}
        clusters = self.images.clusters
        return left if clusters is None else {**left, measured.CLUSTERS: clusters.astype(np.int64)}

    def table(self, found: Measured, classes: tuple[str, ...], *, baseline: str) -> pd.DataFrame:
        """As `analysis.reliance.reliance_table`."""
        answers, clusters = measured.answers(found.found), measured.clusters(found.found)
        return reliance.reliance_table(answers, baseline=baseline, clusters=clusters)


@dataclass(frozen=True)
class Attention(_OfStimuli):
    """Logits and raw Grad-CAM maps of what the network answers, of all stimuli that have a silhouette."""

    called = "attention-1"

    def __call__(self, network: TrainedNetwork) -> Arrays:
        return _explained(network, self._small)

    def table(self, found: Measured, classes: tuple[str, ...], *, baseline: str) -> pd.DataFrame:
        """As `analysis.attention.attention_table`."""
        return measured.attention(found, self.stimuli, baseline=baseline)


@dataclass(frozen=True)
class Composites:
    """The same of composites, objects on backgrounds of other classes, and which objects and backgrounds they are, so that
    what is left can be read without the images.
    """

    stimuli: Stimuli
    made: attention.Composites
    name: str

    of_random_weights: ClassVar[Literal[True]] = True

    def __getstate__(self) -> dict[str, Any]:
        none = self.stimuli.only(np.zeros(len(self.stimuli), bool))  # their pictures are in the composites
        return {**self.__dict__, "stimuli": none, "_scenes": self._scenes}

    @cached_property
    def _scenes(self) -> Arrays:
        return measured.packed_scenes(self.made, self.stimuli)

    def __call__(self, network: TrainedNetwork) -> Arrays:
        return {**_explained(network, self.made.images), **self._scenes}

    def table(self, found: Measured, classes: tuple[str, ...], *, baseline: str) -> pd.DataFrame:
        """As `analysis.attention.composite_table`."""
        return measured.composites(found, self.stimuli, classes, baseline=baseline)


def _explained(network: TrainedNetwork, pixels: np.ndarray) -> Arrays:
    found = look(network, pixels)
    return {"logits": found.logits, "maps": found.maps}


Asked = ShapeBias | Reliance | Attention | Composites


def _shape_bias(stimuli: Stimuli, images: Images) -> Asked:
    return ShapeBias(_nameable(stimuli, images), images.size, images)


def _reliance(stimuli: Stimuli, images: Images) -> Asked:
    return Reliance(images)


def _attention(stimuli: Stimuli, images: Images) -> Asked:
    nameable = _nameable(stimuli, images)
    outlined = attention.with_masks(nameable)
    if not outlined.any():
        raise UserError("the stimuli have no silhouettes, so nothing can be measured inside of their objects")
    return Attention(nameable.only(outlined), images.size)


def _composites(stimuli: Stimuli, images: Images) -> Asked:
    nameable = _nameable(stimuli, images)
    try:
        made = attention.composites(nameable, images.pixels, images.labels, images.classes)
    except ValueError as error:  # too few images of a class, or no object to cut out
        raise UserError(str(error)) from error
    return Composites(nameable, made, measured.composites_name(nameable, images.fingerprint))


def _nameable(stimuli: Stimuli, images: Images) -> Stimuli:
    return stimuli.of_classes(images.classes).in_channels(images.channels)


MEASURES: dict[str, Callable[[Stimuli, Images], Asked]] = {
    "shape_bias": _shape_bias,
    "reliance": _reliance,
    "attention": _attention,
    "composites": _composites,
}
"""How each measure is made ready; UserError says why it cannot be asked about such images."""


def ready(names: Sequence[str], stimuli: Stimuli, images: Images) -> list[Asked]:
    """Measures by name, with what they ask about.

    Raises: UserError: stimuli or images do not have what a measure asks about.
    """
    return [MEASURES[name](stimuli, images) for name in names]


def ready_as_far_as_possible(names: Sequence[str], stimuli: Stimuli, images: Images) -> tuple[list[Asked], list[str]]:
    """The measures that can be taken, and a sentence on those that cannot."""
    taken: list[Asked] = []
    left_out: dict[str, list[str]] = {}
    for name in names:
        try:
            taken += ready([name], stimuli, images)
        except UserError as error:
            left_out.setdefault(str(error), []).append(name)
    return taken, [f"{', '.join(names)} not measured: {reason}" for reason, names in left_out.items()]


def all_measures(data: Data) -> tuple[list[Asked], list[str]]:
    """All measures that networks trained on such data can be asked, for `ablations.run_study(..., measures=all_measures)`.

    Returns: the measures, and a sentence on those that cannot be taken.
    """
    return ready_as_far_as_possible(list(MEASURES), read_stimuli(), Images.of(data))
