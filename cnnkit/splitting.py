"""From the parts that a data set comes in to training, validation and test images: ordered by content, split by class.

A part that is missing is made from another. Which images it gets depends on a hash of their content alone, so the same
images are split alike whatever their files are called and in whichever order they are read.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cnnkit.description import listed
from cnnkit.errors import UserError
from cnnkit.images import shares

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
SAID: Mapping[Part, str] = {"train": "training", "validation": "validation", "test": "test"}
TENTH = 10
"""One in so many images of each class goes into a part that is made from another."""


@dataclass(frozen=True)
class Table:
    """All images of a data set, a row each, in whichever order they were read."""

    labels: np.ndarray
    """(n,) int64, positions in the class names."""
    keys: np.ndarray
    """(n, 16) uint8, a hash of each image's content, by which images are ordered: of the pixels as they came, or of the file."""
    digests: np.ndarray
    """(n, 16) uint8, a hash of each image's pixels as they are stored."""


@dataclass(frozen=True)
class Split:
    """Which rows of a table make which part, in order."""

    rows: Mapping[Part, np.ndarray]
    notes: tuple[str, ...]
    """What was made of what, and what was left out."""


def split(
    table: Table, given: Mapping[Part, np.ndarray], classes: tuple[str, ...], *, drop_duplicates: bool, where: str
) -> Split:
    """The three parts.

    Args: given: rows of the parts that the data set comes in. where: what a sentence calls the data set.
    Raises: UserError: there are no training images, or too few of a class.
    """
    if "train" not in given:
        raise UserError(
            f"{where}: it has no training images; {', '.join(SAID[part] for part in given)} images alone do not do"
        )
    rows = {part: _in_order(table, chosen) for part, chosen in given.items()}
    notes: list[str] = []
    in_two = _in_two_classes(table)
    if in_two:
        notes.append(f"{in_two:,} image{'s' * (in_two > 1)} in two classes, so that one label is wrong")
    if drop_duplicates:
        rows, dropped = _without_duplicates(table, rows)
        notes.append(f"{dropped:,} duplicate{'s' * (dropped > 1)} left out" if dropped else "no duplicates")
    if "test" not in rows and "validation" in rows:
        rows["test"] = rows.pop("validation")
        notes.append("its validation images are the test images")
    made: list[Part] = [part for part in ("validation", "test") if part not in rows]
    if made:
        _check_sizes(table, rows["train"], classes, len(made), where)
        rows.update(_made(table, rows["train"], made))
        notes.append(f"{' and '.join(SAID[part] for part in made)} images made from the training images")
    for part in PARTS:
        _check_classes(table.labels[rows[part]], part, classes, where, notes)
    return Split({part: rows[part] for part in PARTS}, tuple(notes))


def fingerprint(table: Table, rows: Mapping[Part, np.ndarray]) -> str:
    """A hash of every image and label of every part, in order."""
    whole = hashlib.blake2b(digest_size=8)
    for part in PARTS:
        chosen = rows[part]
        whole.update(f"{part} {len(chosen)} ".encode())
        whole.update(table.digests[chosen].tobytes())
        whole.update(table.labels[chosen].astype("<i4").tobytes())
    return whole.hexdigest()


def _in_order(table: Table, rows: np.ndarray) -> np.ndarray:
    """Rows in the order of their keys, and of their labels where the same image has two."""
    high, low = np.ascontiguousarray(table.keys[rows]).view(">u8").T
    return rows[np.lexsort((table.labels[rows], low, high))]


def _without_duplicates(table: Table, rows: Mapping[Part, np.ndarray]) -> tuple[dict[Part, np.ndarray], int]:
    """Each image once: as a test image where it is one, else as a validation image. And how many were left out."""
    seen: set[bytes] = set()
    kept: dict[Part, np.ndarray] = {}
    for part in reversed(PARTS):
        if part in rows:
            new = np.zeros(len(rows[part]), dtype=bool)
            for place, digest in enumerate(table.digests[rows[part]]):
                content = digest.tobytes()
                new[place] = content not in seen
                seen.add(content)
            kept[part] = rows[part][new]
    return kept, sum(map(len, rows.values())) - sum(map(len, kept.values()))


def _in_two_classes(table: Table) -> int:
    """How many different images stand in more than one class."""
    high, low = np.ascontiguousarray(table.digests).view(">u8").T
    order = np.lexsort((table.labels, low, high))
    high, low, labels = high[order], low[order], table.labels[order]
    same = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
    return len(np.unique(low[1:][same & (labels[1:] != labels[:-1])]))


def _made(table: Table, train: np.ndarray, made: list[Part]) -> dict[Part, np.ndarray]:
    """The training images that stay, and of each class a tenth of them for each part that is made."""
    labels = table.labels[train]
    sizes = np.bincount(labels)
    share = shares(sizes, max(round(len(train) / TENTH), int((sizes > 0).sum())))
    place = np.zeros(len(train), dtype=np.int64)  # 0 stays, 1 is the first part that is made
    for label in np.flatnonzero(sizes):
        members = np.flatnonzero(labels == label)
        for number in range(len(made)):
            end = len(members) - share[label] * (len(made) - 1 - number)
            place[members[end - share[label] : end]] = number + 1
    return {"train": train[place == 0], **{part: train[place == i] for i, part in enumerate(made, start=1)}}


def _check_sizes(table: Table, train: np.ndarray, classes: tuple[str, ...], made: int, where: str) -> None:
    counts = np.bincount(table.labels[train], minlength=len(classes))
    few = np.flatnonzero((counts > 0) & (counts <= made))
    if len(few):
        raise UserError(
            f"{where}: class {classes[few[0]]} has {counts[few[0]]} training image{'s' * bool(counts[few[0]] - 1)}, of which "
            f"{made} part{'s' * (made > 1)} cannot be made; give more, or leave the class out"
        )


def _check_classes(labels: np.ndarray, part: Part, classes: tuple[str, ...], where: str, notes: list[str]) -> None:
    """Raises: UserError: a class cannot be learned. Classes that are learned and not tested are only said."""
    counts = np.bincount(labels, minlength=len(classes))
    lacking = [classes[place] for place in np.flatnonzero(counts == 0)]
    if not len(labels):
        raise UserError(f"{where}: no {SAID[part]} images are left")
    if lacking and part == "train":
        raise UserError(f"{where}: no training image of the class {lacking[0]}; every class needs some")
    if lacking:
        notes.append(f"no {SAID[part]} image of {listed(lacking)}")
