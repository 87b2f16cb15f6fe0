"""MNIST, Fashion-MNIST and what else comes in IDX files (LeCun and others 1998), packed or not, in torchvision's folders."""

import gzip
import math
import struct
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from cnnkit.description import DataDescription
from cnnkit.errors import UserError
from cnnkit.file_cache import Arrays, cached, readable
from cnnkit.images import Data
from cnnkit.readers.arrays import ArrayPart, assembled
from cnnkit.readers.found import Found, Place, Progress
from cnnkit.splitting import Part

FILES: Mapping[Part, str] = {"train": "train", "test": "t10k"}
LARGEST = 2**31
"""Bytes that an unpacked file may have; MNIST's has 47 MB."""
UNSIGNED_BYTES = 0x08

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
LECUN = r"""@article{lecun1998gradient,
  author  = {Yann LeCun and L{\'e}on Bottou and Yoshua Bengio and Patrick Haffner},
  title   = {Gradient-Based Learning Applied to Document Recognition},
  journal = {Proceedings of the IEEE},
  volume  = {86},
  number  = {11},
  pages   = {2278--2324},
  year    = {1998}
}
"""
XIAO = r"""@article{xiao2017fashion,
  author  = {Han Xiao and Kashif Rasul and Roland Vollgraf},
  title   = {{Fashion-MNIST}: a Novel Image Dataset for Benchmarking Machine Learning Algorithms},
  journal = {arXiv preprint arXiv:1708.07747},
  year    = {2017}
}
"""
KNOWN = {"MNIST": (tuple("0123456789"), LECUN), "FashionMNIST": (FASHION, XIAO)}
"""Class names and citation by the name of torchvision's folder."""


def find(place: Place) -> Found | None:
    """IDX files in `path`, in `path`/raw, or in torchvision's folders MNIST/raw and FashionMNIST/raw below it.

    Raises: UserError: a file is missing, damaged, or has labels that are no classes.
    """
    path = place.path
    folders = [path, path / "raw", *(path / name / "raw" for name in KNOWN)]
    folder = next((folder for folder in folders if _file(folder, "train-images-idx3-ubyte") is not None), None)
    if folder is None:
        return None
    known = next((name for name in KNOWN if name in folder.absolute().parts[-2:]), "")
    labels = {part: _read(_needed(folder, f"{stem}-labels-idx1-ubyte"), 1) for part, stem in FILES.items()}
    count = 1 + max(int(one.max(initial=0)) for one in labels.values())
    classes, citation = KNOWN.get(known, (tuple(map(str, range(count))), ""))
    if count > len(classes):
        raise UserError(
            f"{folder}: label {count - 1} is not one of the {len(classes)} classes of {known}; download it again"
        )
    images = {part: _needed(folder, f"{stem}-images-idx3-ubyte") for part, stem in FILES.items()}
    about = DataDescription(
        name={"FashionMNIST": "Fashion-MNIST"}.get(known) or known or path.absolute().name,
        fingerprint="",
        source="full",
        classes=classes,
        image_size=place.options.size or min(_size(images["train"])),
        channels=place.options.channels or 1,
        citation=citation,
    )

    def read(progress: Progress) -> Data:
        parts: dict[Part, ArrayPart] = {}
        for part, file in images.items():
            pixels = cached([file], partial(_arrays, file))["images"]
            if len(pixels) != len(labels[part]):
                raise UserError(
                    f"{file} has {len(pixels):,} images, and its labels are {len(labels[part]):,}; download it again"
                )
            parts[part] = ArrayPart(pixels, labels[part])
        return assembled(about, parts, place.options, path)

    return Found(about, read)


def _file(folder: Path, name: str) -> Path | None:
    """The file, packed or not; its dots are dashes in older copies."""
    names = (name, f"{name}.gz", name.replace("-idx", ".idx"), f"{name.replace('-idx', '.idx')}.gz")
    return next((folder / one for one in names if (folder / one).exists()), None)


def _needed(folder: Path, name: str) -> Path:
    file = _file(folder, name)
    if file is None:
        raise UserError(f"{folder}: {name} is missing; download it again")
    return readable(file)


def _arrays(file: Path) -> Arrays:
    return {"images": _read(file, 3)[:, None]}


def _size(file: Path) -> tuple[int, int]:
    """Height and width of the images, from the file's head."""
    _, height, width = _head(file, _bytes(file, 16), 3)
    return height, width


def _bytes(file: Path, count: int) -> bytes:
    """The first bytes of a file, unpacked. Raises: UserError: it is damaged."""
    try:
        with _opened(file) as stream:
            return stream.read(count)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{file} is damaged ({getattr(error, 'strerror', None) or error}); download it again"
        ) from error


def _opened(file: Path):  # type: ignore[no-untyped-def]  # gzip's and plain files have no type in common
    return gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")


def _head(file: Path, head: bytes, dimensions: int) -> tuple[int, ...]:
    """The shape that a file says it has. Raises: UserError: it is no IDX file of bytes."""
    wanted = struct.pack(">HBB", 0, UNSIGNED_BYTES, dimensions)
    if len(head) < 4 + 4 * dimensions or head[:4] != wanted:
        raise UserError(
            f"{file} is not an IDX file of bytes with {dimensions} dimension{'s' * (dimensions > 1)}; download it again"
        )
    shape = struct.unpack(f">{dimensions}I", head[4 : 4 + 4 * dimensions])
    if math.prod(shape) > LARGEST or not all(shape):
        raise UserError(f"{file} says that it holds {'x'.join(map(str, shape))} bytes; download it again")
    return shape


def _read(file: Path, dimensions: int) -> np.ndarray:
    head = 4 + 4 * dimensions
    shape = _head(file, _bytes(file, head), dimensions)
    content = _bytes(file, head + math.prod(shape) + 1)[head:]
    if len(content) != math.prod(shape):
        raise UserError(f"{file} does not hold the {shape[0]:,} entries that it says; download it again")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)
