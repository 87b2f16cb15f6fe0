"""A data set whose images are arrays in memory: stored as asked, ordered, split and described."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cnnkit.description import DataDescription, DataOptions
from cnnkit.errors import UserError
from cnnkit.images import Data, ImageSet, digests_of
from cnnkit.pictures import as_pixels
from cnnkit.spec import Normalisation
from cnnkit.splitting import PARTS, Part, Table, fingerprint, split

CHUNK = 1_000
"""Images at a time, where a copy of all would fill memory."""
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow


@dataclass(frozen=True)
class ArrayPart:
    """Images of one part, in any order."""

    images: np.ndarray
    """(n, channels, height, width) uint8."""
    labels: np.ndarray
    """(n,), positions in the class names."""
    clusters: np.ndarray | None = None
    """(n,) int64: which images belong together, as `ImageSet.clusters`; of test images alone."""


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
    sets[2] = replace(sets[2], clusters=_clusters(given, made.rows["test"], rows))
    full = about.model_copy(
        update={
            "fingerprint": fingerprint(table, made.rows),
            "channels": images.shape[1],
            "image_size": images.shape[2],
            "normalisation": normalisation(moments(sets[0].pixels), images.shape[2] * images.shape[3]),
            "options": options,
        }
    )
    return Data(sets[0], sets[1], sets[2], full, notes=(*notes, *made.notes), path=path)


def _clusters(
    given: Mapping[Part, ArrayPart], chosen: np.ndarray, rows: Mapping[Part, np.ndarray]
) -> np.ndarray | None:
    """Those of the test images that were chosen, in their order; None where none were given."""
    clusters = given["test"].clusters if "test" in given else None
    return None if clusters is None else np.asarray(clusters, dtype=np.int64)[chosen - rows["test"][0]]


def stored(images: np.ndarray, options: DataOptions) -> np.ndarray:
    """Images with the channels and the size that were asked for: (n, channels, height, width) uint8, in and out.

    Raises: UserError: they have other channels than can become those.
    """
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


def moments(images: np.ndarray) -> np.ndarray:
    """Of each image and channel the sum of the pixels and of their squares: (n, channels, h, w) uint8 -> (n, channels, 2)."""
    found = np.zeros((*images.shape[:2], 2), dtype=np.int64)
    for start in range(0, len(images), CHUNK):
        pixels = images[start : start + CHUNK].reshape(-1, images.shape[1], images[0, 0].size).astype(np.uint32)
        found[start : start + CHUNK] = np.stack([pixels.sum(axis=2), (pixels * pixels).sum(axis=2)], axis=2)
    return found


def normalisation(of_images: np.ndarray, pixels: int) -> Normalisation:
    """Mean and standard deviation of each channel for pixels in [0, 1], to six digits. A channel of one value everywhere is
    divided by 1.

    Args: of_images: the images' `moments`. pixels: of an image.
    """
    total = len(of_images) * pixels
    first, second = of_images.sum(axis=0).T
    mean = first / (255 * total)
    std = np.sqrt(np.maximum(second / (255**2 * total) - mean**2, 0))
    std = np.where(std < 1e-6, 1.0, std)
    return Normalisation(mean=tuple(np.round(mean, 6).tolist()), std=tuple(np.round(std, 6).tolist()))
