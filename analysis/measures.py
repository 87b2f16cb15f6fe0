"""What is asked of trained networks: shape bias, reliance, attention, composites; `analysis.measured` reads what they left."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int, UInt8

from ablations.measure_store import Arrays
from ablations.measuring import TrainedNetwork
from analysis import attention, measured, reliance
from analysis.looking import look
from analysis.measured import Found
from analysis.stimuli import Stimuli, read_stimuli
from cnnkit.errors import UserError
from cnnkit.images import Data


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

    @property
    def size(self) -> int:
        return int(self.pixels.shape[-1])

    @classmethod
    def of(cls, data: Data, count: int = reliance.IMAGES) -> "Images":
        """`count` test images, of each class its share.

        Raises: UserError: fewer than there are classes.
        """
        asked = data.test.subset(count, "--images")
        return cls(asked.images, asked.labels, data.description.classes, data.fingerprint, asked.clusters)


@dataclass(frozen=True)
class ShapeBias:
    """Logits of cue-conflict stimuli: `small` at the data's own size and from there to what the network takes (primary), `sharp`
    without that bottleneck (the sensitivity).
    """

    stimuli: Stimuli
    size: int
    """Of the images that the networks were trained on, in pixels."""

    @property
    def name(self) -> str:
        return f"shape_bias-1.{self.stimuli.fingerprint}.{len(self.stimuli)}"

    @cached_property
    def _small(self) -> np.ndarray:
        return self.stimuli.shrunk(self.size)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_small": self._small}  # so that no worker makes it again

    def __call__(self, network: TrainedNetwork) -> Arrays:
        return {"small": network.logits(self._small), "sharp": network.logits(self.stimuli.images)}

    def table(self, found: Found, classes: tuple[str, ...], *, baseline: str) -> pd.DataFrame:
        """As `analysis.shape_bias.bias_table`, by the answers through the data's own size."""
        return measured.shape_bias(found, self.stimuli, classes, baseline=baseline)

    def other_tables(self, found: Found, classes: tuple[str, ...], *, baseline: str) -> dict[str, pd.DataFrame]:
        """The same by other ways of asking, by what they are called."""
        return {
            f"choosing among all {len(classes)} classes": measured.shape_bias(
                found, self.stimuli, classes, baseline=baseline, ten_way=True
            ),
            f"stimuli not made as small as the data's images ({self.size} pixels)": measured.shape_bias(
                found, self.stimuli, classes, baseline=baseline, kind="sharp"
            ),
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

    @cached_property
    def _changed(self) -> dict[str, np.ndarray]:
        return {reliance.UNCHANGED: self.images.pixels, **reliance.changed(self.images.pixels)}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_changed": self._changed}

    def __call__(self, network: TrainedNetwork) -> Arrays:
        answers = {
            change or "unchanged": network.logits(pixels).argmax(axis=1) for change, pixels in self._changed.items()
        }
        left = {name: array.astype(np.int16) for name, array in {"labels": self.images.labels, **answers}.items()}
        clusters = self.images.clusters
        return left if clusters is None else {**left, measured.CLUSTERS: clusters.astype(np.int64)}

    def table(self, found: Found, classes: tuple[str, ...], *, baseline: str) -> pd.DataFrame:
        """As `analysis.reliance.reliance_table`."""
        return reliance.reliance_table(measured.answers(found), baseline=baseline, clusters=measured.clusters(found))


@dataclass(frozen=True)
class Attention:
    """Logits and raw Grad-CAM maps of what the network answers, of all stimuli that have a silhouette."""

    stimuli: Stimuli
    size: int

    @property
    def name(self) -> str:
        return f"attention-1.{self.stimuli.fingerprint}.{len(self.stimuli)}"

    @cached_property
    def _small(self) -> np.ndarray:
        return self.stimuli.shrunk(self.size)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_small": self._small}  # so that no worker makes it again

    def __call__(self, network: TrainedNetwork) -> Arrays:
        return _explained(network, self._small)

    def table(self, found: Found, classes: tuple[str, ...], *, baseline: str) -> pd.DataFrame:
        """As `analysis.attention.attention_table`."""
        return attention.attention_table(measured.maps(found), self.stimuli, baseline=baseline)


@dataclass(frozen=True)
class Composites:
    """The same of composites: objects on backgrounds of other classes."""

    made: attention.Composites
    fingerprint: str
    """Of stimuli and test images."""

    @property
    def name(self) -> str:
        return f"composites-1.{self.fingerprint}.{len(self.made)}"

    def __call__(self, network: TrainedNetwork) -> Arrays:
        return _explained(network, self.made.images)

    def table(self, found: Found, classes: tuple[str, ...], *, baseline: str) -> pd.DataFrame:
        """As `analysis.attention.composite_table`."""
        return attention.composite_table(measured.seen(found, classes), self.made, baseline=baseline)


def _explained(network: TrainedNetwork, pixels: np.ndarray) -> Arrays:
    found = look(network, pixels)
    return {"logits": found.logits, "maps": found.maps}


Asked = ShapeBias | Reliance | Attention | Composites


def _shape_bias(stimuli: Stimuli, images: Images) -> Asked:
    return ShapeBias(stimuli.of_classes(images.classes), images.size)


def _reliance(stimuli: Stimuli, images: Images) -> Asked:
    return Reliance(images)


def _attention(stimuli: Stimuli, images: Images) -> Asked:
    nameable = stimuli.of_classes(images.classes)
    outlined = attention.with_masks(nameable)
    if not outlined.any():
        raise UserError("the stimuli have no silhouettes, so nothing can be measured inside of their objects")
    return Attention(nameable.only(outlined), images.size)


def _composites(stimuli: Stimuli, images: Images) -> Asked:
    nameable = stimuli.of_classes(images.classes)
    try:
        made = attention.composites(nameable, images.pixels, images.labels, images.classes)
    except ValueError as error:  # too few images of a class, or no object to cut out
        raise UserError(str(error)) from error
    both = hashlib.blake2b(f"{stimuli.fingerprint}{images.fingerprint}".encode(), digest_size=8).hexdigest()
    return Composites(made, both)


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
