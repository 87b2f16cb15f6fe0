"""Images and their classes, and a data set of three parts, as values. Where they come from is `cnnkit.data`'s matter.

Images are put in the order of a hash of their content before anything is split or shuffled. So the split, the subsets and
every trained number are the same whichever files the images came from, and in whichever order.
"""

import hashlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np

from cnnkit.description import CIFAR10, UNEVEN, DataDescription
from cnnkit.errors import UserError

DIGEST_BYTES = 16


@dataclass(frozen=True)
class ImageSet:
    """Images and their classes, ordered by a hash of their content."""

    pixels: np.ndarray
    """(n, channels, height, width) uint8; RGB where there are three channels. May be a file that is mapped into memory."""
    labels: np.ndarray
    """(n,) int64, positions in the class names."""
    clusters: np.ndarray | None = field(default=None, kw_only=True)
    """(n,) int64: which images belong together, such as frames of one video, the same number for those of one cluster. None:
    each stands for itself."""
    rows: np.ndarray | None = field(default=None)
    """(n,) int64, those of `pixels` that belong to the set, where a part of a mapped file was chosen; None: all, in order."""
    stored_digests: np.ndarray | None = field(default=None, repr=False)
    """(all rows of `pixels`, 16) uint8, a hash of each image's pixels, where they were computed before."""

    def __len__(self) -> int:
        return len(self.labels)

    def __reduce__(self) -> tuple[Any, ...]:
        """A mapped file travels as its name: processes of one machine share it, and nothing is copied."""
        return _received, (_sent(self.pixels), self.labels, self.rows, _sent(self.stored_digests), self.clusters)

    @property
    def is_mapped(self) -> bool:
        """Whether the images lie in a file and not in memory."""
        return isinstance(self.pixels, np.memmap)

    @cached_property
    def images(self) -> np.ndarray:
        """(n, channels, height, width) uint8: the set's own, copied from the file where they are a part of it."""
        return self.pixels if self.rows is None else self.pixels[self.rows]

    @cached_property
    def digests(self) -> np.ndarray:
        """(n, 16) uint8, a hash of each image's pixels."""
        if self.stored_digests is None:
            return digests_of(self.images)
        return self.stored_digests if self.rows is None else self.stored_digests[self.rows]

    @property
    def nbytes(self) -> int:
        """Of the set's pixels."""
        return len(self) * int(np.prod(self.pixels.shape[1:]))

    def in_memory(self) -> "ImageSet":
        """The same, copied from the file: for other machines, which do not see it."""
        return ImageSet(np.array(self.images), self.labels, clusters=self.clusters) if self.is_mapped else self

    def chosen(self, keep: np.ndarray) -> "ImageSet":
        """Those that `keep` is true of, in the same order. (n,) bool."""
        return self.taken(np.flatnonzero(keep))

    def taken(self, places: np.ndarray) -> "ImageSet":
        """Those at these places, in their order. (m,) int64."""
        clusters = None if self.clusters is None else self.clusters[places]
        if not self.is_mapped:
            digests = None if self.stored_digests is None else self.stored_digests[places]
            return ImageSet(self.pixels[places], self.labels[places], stored_digests=digests, clusters=clusters)
        rows = places if self.rows is None else self.rows[places]
        return ImageSet(self.pixels, self.labels[places], rows, self.stored_digests, clusters=clusters)

    @classmethod
    def joined(cls, parts: Sequence["ImageSet"]) -> "ImageSet":
        """One after another, without clusters; in memory, unless all of them lie in the same mapped file."""
        labels = np.concatenate([part.labels for part in parts])
        first, places = parts[0], [_sent(part.pixels) for part in parts]
        if all(isinstance(place, _Mapped) and place == places[0] for place in places):
            rows = [np.arange(len(part)) if part.rows is None else part.rows for part in parts]
            return cls(first.pixels, labels, np.concatenate(rows), first.stored_digests)
        digests = np.concatenate([part.digests for part in parts])
        return cls(np.concatenate([part.images for part in parts]), labels, stored_digests=digests)

    def shuffled(self, seed: int) -> "ImageSet":
        """In an order that follows from `seed` and each image's content, whatever the order was before."""
        key = seed.to_bytes(8, "little")
        hashes = [hashlib.blake2b(digest.tobytes(), digest_size=8, key=key).digest() for digest in self.digests]
        return self.taken(np.array(sorted(range(len(hashes)), key=hashes.__getitem__), dtype=np.int64))

    def without(self, part: "ImageSet") -> "ImageSet":
        """What is left of each class after its first images, which a stratified subset (`part`) has."""
        counts = np.bincount(part.labels, minlength=self.labels.max(initial=0) + 1)
        return self.chosen(self.rank >= counts[self.labels])

    @property
    def rank(self) -> np.ndarray:
        """(n,) int64: the how-manieth of its class an image is, from 0."""
        rank = np.empty(len(self), dtype=np.int64)
        for label in np.unique(self.labels):
            members = np.flatnonzero(self.labels == label)
            rank[members] = np.arange(len(members))
        return rank

    def subset(self, count: int | None, what: str) -> "ImageSet":
        """A stratified subset of `count` images (`None`, or more than there are: all): of each class its share of them, rounded,
        and at least one.

        Raises: UserError: there are more classes than that.
        """
        if count is None or count >= len(self):
            return self
        sizes = np.bincount(self.labels)
        present = int((sizes > 0).sum())
        if count < present:
            raise UserError(f"{what}: a stratified subset needs an image of each of the {present} classes, got {count}")
        return self.chosen(self.rank < shares(sizes, count)[self.labels])

    def count_in(self, other: "ImageSet") -> int:
        """How many of these images are in `other`, too, pixel by pixel."""
        theirs = {digest.tobytes() for digest in other.digests}
        return sum(digest.tobytes() in theirs for digest in self.digests)


def shares(sizes: np.ndarray, count: int) -> np.ndarray:
    """How many of `count` images each class gets: in proportion to its size, by largest remainders, at least one of each that
    has any. (classes,) int64 -> (classes,) int64.
    """
    exact = sizes * (count / sizes.sum())
    given = np.minimum(np.maximum(np.floor(exact + 1e-9).astype(np.int64), sizes > 0), sizes)
    while given.sum() != count:
        step = 1 if given.sum() < count else -1
        can = given < sizes if step > 0 else given > 1
        lacking = np.where(can, step * (exact - given), -np.inf)
        given[int(lacking.argmax())] += step
    return given


def digests_of(images: np.ndarray) -> np.ndarray:
    """(n, 16) uint8, a hash of each image's pixels."""
    hashes = (hashlib.blake2b(image.tobytes(), digest_size=DIGEST_BYTES).digest() for image in images)
    return np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(len(images), DIGEST_BYTES)


def _sent(array: np.ndarray | None) -> Any:
    """An array as it travels to another process: a whole file that is mapped, by the file's name."""
    if not isinstance(array, np.memmap) or not isinstance(array.base, mmap):
        return array
    return _Mapped(str(array.filename), array.dtype.str, array.offset, array.shape)


@dataclass(frozen=True)
class _Mapped:
    """Where an array lies that is mapped from a file."""

    file: str
    dtype: str
    start: int
    shape: tuple[int, ...]

    def opened(self) -> np.ndarray:
        """The array, mapped for reading. Raises: UserError: the file is not on this machine."""
        try:
            return np.memmap(self.file, self.dtype, "r", self.start, self.shape)
        except (OSError, ValueError) as error:
            raise UserError(
                f"the decoded images are not on {socket.gethostname()} ({self.file}): start the command again"
            ) from error


def _received(
    pixels: Any, labels: np.ndarray, rows: np.ndarray | None, digests: Any, clusters: np.ndarray | None
) -> ImageSet:
    pixels, digests = (one.opened() if isinstance(one, _Mapped) else one for one in (pixels, digests))
    return ImageSet(pixels, labels, rows, digests, clusters=clusters)


@dataclass(frozen=True)
class Data:
    """A data set or a part of it, split into training, validation and test images."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    about: DataDescription
    """What it is, without the line that says which images of it these are: that is `description`."""
    unused: int = 0
    """Training images that the documented split leaves out."""
    notes: tuple[str, ...] = ()
    """What else is to be said of the images: which part was made of which, what was left out."""
    path: Path = Path()
    rest: tuple[ImageSet, ...] | None = ()
    """Images that neither train nor validate nor test, from which another split can be drawn, too; None: not kept."""

    @property
    def fingerprint(self) -> str:
        """A hash of every image and label, whatever the order and the layout of the files."""
        return self.about.fingerprint

    @property
    def source(self) -> str:
        """full, sample or other."""
        return self.about.source

    @property
    def parts(self) -> tuple[ImageSet, ImageSet, ImageSet]:
        """Training, validation and test images."""
        return self.train, self.validation, self.test

    def subset(
        self,
        *,
        train: int | None = None,
        validation: int | None = None,
        test: int | None = None,
        keep_rest: bool = False,
    ) -> "Data":
        """The same data with fewer images in some sets, stratified. The fingerprint stays that of the source.

        Args: keep_rest: keep what is left out of training and validation, for `redrawn`.
        """
        fewer = self.train.subset(train, "training images"), self.validation.subset(validation, "validation images")
        dropped = [
            whole.without(part) for whole, part in zip(self.parts[:2], fewer, strict=True) if len(part) < len(whole)
        ]
        rest = None if self.rest is None else (*self.rest, *dropped)
        return replace(
            self,
            train=fewer[0],
            validation=fewer[1],
            test=self.test.subset(test, "test images"),
            rest=rest if keep_rest or not rest else None,
        )

    def redrawn(self, seed: int) -> "Data":
        """The same data with other images for training and validation, as many of each class, drawn from all that are not
        test images. Which they are follows from `seed` and their content alone, not from where they were before.

        Raises: UserError: what was left out was not kept, so that not all images are here to draw from.
        """
        if self.rest is None:
            raise UserError("another split needs the images that were left out; call subset(..., keep_rest=True)")
        pool = ImageSet.joined([self.train, self.validation, *self.rest]).shuffled(seed)
        classes = len(self.about.classes)
        train = np.bincount(self.train.labels, minlength=classes)
        both = train + np.bincount(self.validation.labels, minlength=classes)
        rank = pool.rank
        trains, validates = rank < train[pool.labels], (rank >= train[pool.labels]) & (rank < both[pool.labels])
        return replace(self, train=pool.chosen(trains), validation=pool.chosen(validates), rest=None)

    def in_memory(self) -> "Data":
        """The same without mapped files: for other machines."""
        train, validation, test = (part.in_memory() for part in self.parts)
        rest = None if self.rest is None else tuple(part.in_memory() for part in self.rest)
        return replace(self, train=train, validation=validation, test=test, rest=rest)

    @property
    def description(self) -> DataDescription:
        """What results keep of the data."""
        clusters = None if self.test.clusters is None else tuple(self.test.clusters.tolist())
        return self.about.model_copy(update={"text": self.describe(), "test_clusters": clusters})

    @cached_property
    def warning(self) -> str:
        """What is wrong with the parts, in one line; empty where no image is in two of them."""
        parts = (
            (self.test, self.train, "test images are training images, too"),
            (self.test, self.validation, "test images are validation images, too"),
            (self.validation, self.train, "validation images are training images, too"),
        )
        counts = [(one.count_in(other), len(one), what) for one, other, what in parts]
        return ", ".join(f"{count:,} of {size:,} {what}" for count, size, what in counts if count)

    @property
    def class_sizes(self) -> tuple[int, int]:
        """Training images of the smallest and of the largest class."""
        counts = np.bincount(self.train.labels, minlength=len(self.about.classes))
        return int(counts.min()), int(counts.max())

    def describe(self) -> str:
        """One line for people: which images, and how many."""
        about = self.about
        what = {
            "full": about.name,
            "sample": f"packaged SAMPLE of {about.name}, not the full data set",
            "other": f"images that are not the whole of {about.name}" if about.name == CIFAR10 else about.name,
        }[about.source]
        kind = {1: "grey ", 3: ""}.get(about.channels, f"{about.channels}-channel ")
        sizes = (
            f"{len(self.train):,} training / {len(self.validation):,} validation / {len(self.test):,} test images, "
            f"{len(about.classes):,} classes, {kind}{about.image_size}x{about.image_size} pixels"
        )
        smallest, largest = self.class_sizes
        uneven = (
            f", classes of {smallest:,} to {largest:,} training images" if largest > UNEVEN * max(smallest, 1) else ""
        )
        unused = f", {self.unused:,} training images unused as in the documented split" if self.unused else ""
        notes = "".join(f"; {note}" for note in self.notes)
        warning = f"; WARNING: {self.warning}" if self.warning else ""
        return f"{what}: {sizes}{uneven}{unused}{notes} (fingerprint {self.fingerprint}){warning}"
