"""Data sets that a function of the user's own returns: `my_data:make`.

It returns a part, or a mapping of them: `{"train": part, "test": part, "classes": [...], "name": "...", "groups": {...}}`, where
only train is needed. A part is a pair of arrays (images, classes) or a torch Dataset of pairs (image, class). Images are
(n, h, w), (n, h, w, channels) or (n, channels, h, w) bytes, or numbers from 0 to 1; of a Dataset also Pillow's images.
`test_clusters` says which test images belong together: a number or a name for each.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnnkit.description import DataDescription
from cnnkit.errors import UserError
from cnnkit.images import Data
from cnnkit.pictures import as_pixels
from cnnkit.readers.arrays import ArrayPart, assembled
from cnnkit.readers.choices import USUAL_SIZE, shown
from cnnkit.readers.found import Found, Place, Progress
from cnnkit.splitting import SAID, Part

PART_KEYS: Mapping[str, Part] = {
    "train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test",
}  # fmt: skip
KNOWN_KEYS = (*PART_KEYS, "classes", "name", "groups", "citation", "test_clusters")
MOST_IN_MEMORY = 2**33
"""Bytes of images that a function may return."""


def find(name: str, place: Place) -> Found:
    """The data set of MODULE:FUNCTION, which is called at once.

    Raises: UserError: there is no such function, or what it returns are no images with classes.
    """
    return described(name, _called(name), place, called=name.partition(":")[0])


def described(name: str, made: Any, place: Place, *, called: str) -> Found:
    """The data set of what a function returned.

    Args: name: as people gave it. called: what the data set is called where it does not say.
    Raises: UserError: they are no images with classes.
    """
    given = _mapping(name, made)
    parts: dict[Part, ArrayPart] = {}
    names: Sequence[str] | None = given.get("classes")
    limit = place.options.size or place.image_size or USUAL_SIZE
    raw: dict[Part, tuple[np.ndarray, list[Any]]] = {}
    for key, value in given.items():
        part = PART_KEYS.get(key)
        if part is not None:
            raw[part] = _pair(f"{name}, {SAID[part]} images", value, limit, place.options.channels)
            names = names or getattr(value, "classes", None)
    if "train" not in raw:
        raise UserError(f"{name} returned no training images; give them as {{'train': (images, classes)}}")
    classes = _class_names(name, names, [label for _, labels in raw.values() for label in labels])
    for part, (images, labels) in raw.items():
        clusters = _clusters(name, given.get("test_clusters"), len(labels)) if part == "test" else None
        parts[part] = ArrayPart(images, _positions(f"{name}, {SAID[part]} images", labels, classes), clusters)
    _check_alike(name, parts)
    about = DataDescription(
        name=shown(str(given.get("name") or called)),
        fingerprint="",
        source="full",
        classes=classes,
        image_size=place.options.size or min(parts["train"].images.shape[2:]),
        channels=place.options.channels or parts["train"].images.shape[1],
        citation=str(given.get("citation") or ""),
    )

    def read(progress: Progress) -> Data:
        return assembled(about, parts, place.options, Path(name))

    found = Found(about, read)
    return found.grouped(given["groups"]) if given.get("groups") else found


# -- functions


def _called(name: str) -> Any:
    from cnnkit.module import find_object, foreign_code

    function = find_object(name, what="--data").value
    if not callable(function):
        raise UserError(
            f"--data {name}: {type(function).__name__} cannot be called; give a function that returns images and classes"
        )
    with foreign_code(f"--data {name} failed with"):
        return function()


def _mapping(name: str, made: Any) -> Mapping[str, Any]:
    """What a function returned, by the names of its parts."""
    if not isinstance(made, Mapping):
        return {"train": made}
    for key in made:
        if key not in KNOWN_KEYS:
            raise UserError(f"{name} returned {key!r}, which means nothing; it may return {', '.join(KNOWN_KEYS)}")
    return made


def _pair(what: str, value: Any, limit: int, channels: int | None) -> tuple[np.ndarray, list[Any]]:
    """Images as (n, channels, h, w) bytes, and their classes.

    Args: limit: to how many pixels images of a Dataset are scaled that are larger, or of several sizes.
    """
    if isinstance(value, tuple | list) and len(value) == 2 and not hasattr(value, "__getitems__"):
        images, labels = (_array(one) for one in value)
        return _bytes(what, images), labels.reshape(-1).tolist() if labels.ndim == 1 else _not_one_each(what, labels)
    if not (hasattr(value, "__getitem__") and hasattr(value, "__len__")):
        raise UserError(f"{what}: expected a pair of arrays or a torch Dataset, got {type(value).__name__}")
    from cnnkit.module import foreign_code

    with foreign_code(f"{what}: reading them failed with"):
        return _of_dataset(what, value, limit, channels)


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def _not_one_each(what: str, labels: np.ndarray) -> list[Any]:
    raise UserError(f"{what}: classes of shape {labels.shape}; give one number or name an image")


def _of_dataset(what: str, value: Any, limit: int, channels: int | None) -> tuple[np.ndarray, list[Any]]:
    """Raises: whatever the Dataset raises."""
    images: list[np.ndarray] = []
    labels: list[Any] = []
    size = 0
    for place in range(len(value)):
        item = value[place]
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise UserError(f"{what}: item {place} is {type(item).__name__}, expected a pair of an image and its class")
        image = _image(what, item[0], limit, channels)
        images.append(image)
        size += image.nbytes
        if size > MOST_IN_MEMORY:
            raise UserError(
                f"{what}: more than {MOST_IN_MEMORY // 2**30} GB; give a folder of pictures, which are read from the disk"
            )
        labels.append(item[1].item() if hasattr(item[1], "item") else item[1])
    if not images:
        raise UserError(f"{what}: there are none")
    if len({image.shape for image in images}) > 1:
        deepest = max(image.shape[0] for image in images)
        smallest = min(limit, max(min(image.shape[1:]) for image in images))
        images = [as_pixels(image, smallest, deepest) for image in images]
    return np.stack(images), labels


def _image(what: str, value: Any, limit: int, channels: int | None) -> np.ndarray:
    """One image of a Dataset as (channels, h, w) bytes, its short side at most `limit`."""
    from PIL import Image

    if isinstance(value, Image.Image):
        grey = value.mode in ("1", "L", "I;16", "I")
        plain = np.asarray(value.convert("L" if channels == 1 or (grey and channels is None) else "RGB"))
        image = plain[None] if plain.ndim == 2 else np.moveaxis(plain, -1, 0)
    else:
        image = _bytes(what, _array(value)[None])[0]
    return as_pixels(image, limit, image.shape[0]) if min(image.shape[1:]) > limit else image


def _bytes(what: str, images: np.ndarray) -> np.ndarray:
    """Images in any usual layout as (n, channels, h, w) bytes."""
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3):
        images = np.moveaxis(images, -1, 1)
    if images.ndim != 4 or 0 in images.shape:
        raise UserError(
            f"{what}: an array of shape {images.shape}; give (n, h, w), (n, h, w, channels) or (n, channels, h, w)"
        )
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    if images.dtype.kind not in "fiu" or not np.isfinite(images).all():
        raise UserError(f"{what}: pixels of type {images.dtype}, or not finite; give bytes, or numbers from 0 to 1")
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > (1 if images.dtype.kind == "f" else 255):
        raise UserError(
            f"{what}: pixels from {low:g} to {high:g}; give bytes, or numbers from 0 to 1 before any normalisation"
        )
    return np.rint(images * (255 if images.dtype.kind == "f" else 1)).astype(np.uint8)


def _class_names(name: str, given: Sequence[str] | None, labels: Sequence[Any]) -> tuple[str, ...]:
    if given is not None:
        names = tuple(shown(str(one)) for one in given)
    else:
        kinds = sorted({*labels}, key=lambda value: (str(type(value)), value))
        if all(isinstance(kind, int) for kind in kinds):
            kinds = list(range(max(kinds, default=0) + 1))
        names = tuple(shown(str(one)) for one in kinds)
    if not 2 <= len(set(names)) == len(names):
        raise UserError(
            f"{name}: {len(names)} classes, {len(set(names))} of them distinct; give at least two, with names that differ"
        )
    return names


def _positions(what: str, labels: Sequence[Any], classes: tuple[str, ...]) -> np.ndarray:
    places = {one: place for place, one in enumerate(classes)}
    found = [
        label if isinstance(label, int) and not isinstance(label, bool) else places.get(shown(str(label)), -1)
        for label in labels
    ]
    bad = next((place for place, position in enumerate(found) if not 0 <= position < len(classes)), None)
    if bad is not None:
        raise UserError(f"{what}: class {labels[bad]!r} of image {bad} is not one of the {len(classes)}")
    return np.asarray(found, dtype=np.int64)


def _clusters(name: str, given: Any, count: int) -> np.ndarray | None:
    """Which test images belong together, as numbers."""
    if given is None:
        return None
    clusters = _array(given)
    if clusters.shape != (count,):
        raise UserError(
            f"{name}: test_clusters of shape {clusters.shape}; give one number or name for each of {count} images"
        )
    return np.unique(clusters, return_inverse=True)[1].astype(np.int64)


def _check_alike(name: str, parts: Mapping[Part, ArrayPart]) -> None:
    shapes = {part: images.images.shape[1:] for part, images in parts.items()}
    for part, images in parts.items():
        if len(images.images) != len(images.labels):
            raise UserError(f"{name}: {len(images.images)} {SAID[part]} images and {len(images.labels)} classes")
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{SAID[part]} {'x'.join(map(str, shape))}" for part, shape in shapes.items())
        raise UserError(f"{name}: images of several shapes ({told}); give all in one")
