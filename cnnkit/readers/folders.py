"""Folders of pictures, a folder for each class: in parts (`train/cat/1.jpg`, `val/cat/2.jpg`), or one tree that is split.

A part's folder is called train, val, valid, validation, test or the like, in capitals or not. Tiny ImageNet's validation images,
which lie in one folder beside a file that names their classes, are read, too, and words.txt names its classes.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cnnkit.decoding import BUNDLE, Encoded
from cnnkit.description import DataDescription, listed
from cnnkit.errors import UserError
from cnnkit.images import Data
from cnnkit.pictures import Unreadable, content_of
from cnnkit.readers.choices import form_of, part_of, shown, some
from cnnkit.readers.found import Found, Place, Progress
from cnnkit.readers.picture_cache import data_of
from cnnkit.splitting import PARTS, SAID, Part

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
ANNOTATIONS = "val_annotations.txt"
"""Tiny ImageNet's: a line a picture, its name and its class."""
WORDS = "words.txt"
"""Tiny ImageNet's: a line a class, its WordNet name and what people call it."""
LARGEST_TEXT = 2**26
DEEPEST = 20


@dataclass(frozen=True)
class _Files:
    """Pictures of one part by class."""

    by_class: Mapping[str, Sequence[str]]
    """Files by the name of the class's folder, sorted."""
    loose: int = 0
    """Pictures that belong to no class."""


def find(place: Place) -> Found | None:
    """A folder that has pictures in folders.

    Raises: UserError: there are no training images, one class only, or classes that do not fit together.
    """
    path = place.path
    if not path.is_dir():
        return None
    parts, notes = _parts(path)
    if not parts:
        return None
    classes = sorted(parts["train"].by_class) if "train" in parts else []
    if not classes:
        raise UserError(
            f"{path} has no training images: expected a folder `train` with a folder of pictures for each class; found "
            f"{' and '.join(SAID[part] for part in parts)} images"
        )
    if len(classes) < 2:
        raise UserError(
            f"{path}: all pictures are of one class, {shown(classes[0])}; give a folder for each of two or more"
        )
    for part, files in parts.items():
        strangers = sorted(files.by_class.keys() - set(classes))
        if strangers:
            raise UserError(
                f"{path}: the class {shown(strangers[0])} has {SAID[part]} images and no training images; rename or remove it"
            )
    names = _names(path, classes)
    pictures = _Pictures(path, classes, parts)
    form = form_of(_heads(pictures), place.options, place.image_size, str(path))
    about = DataDescription(
        name=shown(path.absolute().name),
        fingerprint="",
        source="full",
        classes=names,
        image_size=form.size,
        channels=form.channels,
    )

    def read(progress: Progress) -> Data:
        return data_of(pictures, about, place.options, path, progress, notes=notes)

    return Found(about, read)


def _heads(pictures: "_Pictures") -> Iterator[bytes]:
    for place in some(len(pictures.files)):
        try:
            yield content_of(pictures.files[place])
        except Unreadable:
            yield b""


@dataclass(frozen=True)
class _Pictures:
    """As `picture_cache.Pictures`."""

    path: Path
    classes: Sequence[str]
    parts: Mapping[Part, _Files]

    @cached_property
    def files(self) -> list[str]:
        return [file for part in self.parts.values() for name in self.classes for file in part.by_class.get(name, ())]

    @cached_property
    def labels(self) -> Mapping[Part, np.ndarray]:
        return {
            name: np.repeat(np.arange(len(self.classes)), [len(part.by_class.get(one, ())) for one in self.classes])
            for name, part in self.parts.items()
        }

    @property
    def stamp(self) -> str:
        whole = hashlib.blake2b(digest_size=16)
        for part in self.parts:
            whole.update(part.encode() + self.labels[part].tobytes())
        for file in self.files:
            try:
                about = os.stat(file)  # noqa: PTH116  # a path object for each would take longer than asking
                seen = f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns} {about.st_ino}"
            except OSError:
                seen = "gone"
            whole.update(os.fsencode(file) + seen.encode())
        return whole.hexdigest()

    def bundles(self) -> Iterator[Sequence[Encoded]]:
        for start in range(0, len(self.files), BUNDLE):
            yield self.files[start : start + BUNDLE]

    def name(self, place: int) -> str:
        return shown(os.path.relpath(self.files[place], self.path))


def _parts(path: Path) -> tuple[dict[Part, _Files], tuple[str, ...]]:
    """The parts that a folder has: one, of training images, where none of its folders is called like a part."""
    folders = {entry.name: Path(entry.path) for entry in sorted(os.scandir(path), key=lambda entry: entry.name)
               if not entry.name.startswith(".") and entry.is_dir()}  # fmt: skip
    parts: dict[Part, _Files] = {}
    notes: list[str] = []
    named = {name: part for name in folders if (part := part_of(name)) is not None}
    for name, part in named.items():
        files = _annotated(folders[name]) or _by_class(folders[name])
        if not files.by_class:
            if files.loose:
                notes.append(f"{files.loose:,} pictures in {shown(name)} have no class and are not used")
            continue
        if part in parts:
            raise UserError(f"{path} has two folders with {SAID[part]} images, one of them {shown(name)}; keep one")
        parts[part] = files
    others = [shown(name) for name in folders if name not in named]
    if others and parts:
        notes.append(f"{listed(others)} not used, being no part")
    if "train" not in parts and (others or not parts):  # a class may be called so, too: of cars and trains, say
        whole = _by_class(path)
        if whole.by_class:
            parts = {"train": whole}
            notes = [f"{whole.loose:,} pictures outside of the classes' folders are not used"] if whole.loose else []
    for part in [part for part in parts if part != "train" and _has_no_classes(parts[part], parts.get("train"))]:
        count = sum(map(len, parts.pop(part).by_class.values()))
        notes.append(f"{count:,} {SAID[part]} pictures have no class and are not used")
    return {part: parts[part] for part in PARTS if part in parts}, tuple(notes)


def _has_no_classes(files: _Files, train: _Files | None) -> bool:
    """Whether a part's pictures all lie in one folder that is no class: those of challenges, whose classes are secret."""
    return train is not None and len(files.by_class) == 1 and not files.by_class.keys() & train.by_class.keys()


def _by_class(folder: Path) -> _Files:
    """The pictures of each folder in `folder`, however deep they lie in it."""
    by_class: dict[str, list[str]] = {}
    loose = 0
    above = [_identity(each) for each in (folder.resolve(), *folder.resolve().parents)]
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            found = sorted(_pictures_below(entry.path, seen=set(above), depth=0))
            if found:
                by_class[entry.name] = found
        elif entry.name.lower().endswith(SUFFIXES):
            loose += 1
    return _Files(by_class, loose)


def _pictures_below(folder: str, *, seen: set[tuple[int, int]], depth: int) -> Iterator[str]:
    """Files whose names are those of pictures. A folder that is linked into itself is entered once, those in `seen` never."""
    identity = _identity(Path(folder))
    if identity in seen or depth > DEEPEST:
        return
    seen.add(identity)
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _pictures_below(entry.path, seen=seen, depth=depth + 1)
        elif entry.name.lower().endswith(SUFFIXES):
            yield entry.path


def _identity(folder: Path) -> tuple[int, int]:
    about = folder.stat()
    return about.st_dev, about.st_ino


def _annotated(folder: Path) -> _Files | None:
    """Tiny ImageNet's validation images; None where there is no file that names their classes."""
    if not (folder / ANNOTATIONS).is_file():
        return None
    by_class: dict[str, list[str]] = {}
    for number, line in enumerate(_lines(folder / ANNOTATIONS), start=1):
        fields = line.split("\t")
        if len(fields) < 2 or not fields[0] or fields[0] != Path(fields[0]).name or not fields[1].strip():
            raise UserError(
                f"{folder / ANNOTATIONS}, line {number}: expected a picture's name and its class; download it again"
            )
        by_class.setdefault(fields[1].strip(), []).append(str(folder / "images" / fields[0]))
    return _Files({name: sorted(files) for name, files in by_class.items()})


def _lines(file: Path) -> list[str]:
    if file.stat().st_size > LARGEST_TEXT:
        raise UserError(f"{file} has {file.stat().st_size:,} bytes, too many for a list of names; download it again")
    return [line for line in file.read_text(encoding="utf-8", errors="backslashreplace").splitlines() if line.strip()]


def _names(path: Path, classes: Sequence[str]) -> tuple[str, ...]:
    """What classes are called: their folders' names, or what words.txt says of all of them."""
    names = [shown(name) for name in classes]
    if (path / WORDS).is_file():
        words = dict(line.split("\t", 1) for line in _lines(path / WORDS) if "\t" in line)
        called = [shown(words.get(name, "").partition(",")[0]) for name in classes]
        names = [
            f"{word} ({name})" if called.count(word) > 1 else word for word, name in zip(called, names, strict=True)
        ]
        if not all(name in words for name in classes):
            names = [shown(name) for name in classes]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path} has two folders that are shown as {twice!r}; rename one")
    return tuple(names)
