"""A data set whose images are arrays in memory: stored as asked, ordered, split and described."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnnkit.description import DataDescription, DataOptions
from cnnkit.errors import UserError
from cnnkit.images import Data, ImageSet, digests_of
from cnnkit.pictures import as_pixels
from cnnkit.spec import Normalisation
from cnnkit.splitting import PARTS, Part, Table, fingerprint, split

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow


@dataclass(frozen=True)
class ArrayPart:
    """Images of one part, in any order."""

    images: np.ndarray
    """(n, channels, height, width) uint8."""
    labels: np.ndarray
    """(n,), positions in the class names."""


def assembled(
    about: DataDescription,
    given: Mapping[Part, ArrayPart],
    options: DataOptions,
    path: Path,
    notes: tuple[str, ...] = (),
) -> Data:
    """The data set of these parts. Images are ordered by a hash of their pixels as they came, so that a split does not depend on
    the size that they are stored at.

    Args: about: its fingerprint, size, channels and normalisation are filled in here.
    Raises: UserError: a class has too few images.
    """
    parts = list(given.values())
    labels = np.concatenate([np.asarray(part.labels, dtype=np.int64) for part in parts])
    keys = np.concatenate([digests_of(part.images) for part in parts])
    images = np.concatenate([stored(part.images, options) for part in parts])
    as_they_came = all(part.images.shape[1:] == images.shape[1:] for part in parts)
    table = Table(labels, keys, keys if as_they_came else digests_of(images))
    ends = np.cumsum([len(part.labels) for part in parts])
    rows = {name: np.arange(end - len(given[name].labels), end) for name, end in zip(given, ends, strict=True)}
    made = split(table, rows, about.classes, drop_duplicates=options.drop_duplicates, where=str(path))
    sets = [
        ImageSet(
            np.ascontiguousarray(images[made.rows[part]]), labels[made.rows[part]], None, table.digests[made.rows[part]]
        )
        for part in PARTS
    ]
    full = about.model_copy(
        update={
            "fingerprint": fingerprint(table, made.rows),
            "channels": images.shape[1],
            "image_size": images.shape[2],
            "normalisation": normalisation(histograms(sets[0].pixels)),
            "options": options,
        }
    )
    return Data(sets[0], sets[1], sets[2], full, notes=(*notes, *made.notes), path=path)


def stored(images: np.ndarray, options: DataOptions) -> np.ndarray:
    """Images with the channels and the size that were asked for."""
    channels = options.channels
    if channels == 1 and images.shape[1] == 3:
        images = np.rint(np.tensordot(images, np.array(LUMA), axes=(1, 0)))[:, None].astype(np.uint8)
    elif channels == 3 and images.shape[1] == 1:
        images = np.repeat(images, 3, axis=1)
    if channels not in (None, images.shape[1]):
        raise UserError(
            f"images of {images.shape[1]} channels cannot be stored with {channels}; give networks of as many"
        )
    height, width = images.shape[2:]
    size = options.size or min(height, width)
    if (height, width) != (size, size):
        images = np.stack([as_pixels(image, size, len(image)) for image in images])
    return images


def histograms(images: np.ndarray) -> np.ndarray:
    """How often each value stands in each channel: (n, channels, h, w) uint8 -> (channels, 256) int64."""
    return np.stack([np.bincount(images[:, channel].ravel(), minlength=256) for channel in range(images.shape[1])])


def normalisation(counts: np.ndarray) -> Normalisation:
    """Mean and standard deviation of each channel for pixels in [0, 1], to six digits. (channels, 256) -> value.

    A channel of one value everywhere is divided by 1.
    """
    values = np.arange(256) / 255
    total = counts.sum(axis=1)
    mean = counts @ values / total
    std = np.sqrt(np.maximum(counts @ values**2 / total - mean**2, 0))
    std = np.where(std < 1e-6, 1.0, std)
    return Normalisation(mean=tuple(np.round(mean, 6).tolist()), std=tuple(np.round(std, 6).tolist()))
