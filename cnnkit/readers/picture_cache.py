"""Decoded pictures, kept in the user's cache folder as files that are mapped into memory, until the pictures change.

A data set is a folder: `about.json`, and for each part the pixels, labels and hashes. It appears by a rename, so it is whole or
not there. It is taken only where it is the user's own, made by this version, and from the very same files.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from filelock import FileLock
from platformdirs import user_cache_path

from cnnkit.decoding import Canvas, Decoded, Encoded, decode_all
from cnnkit.description import DataDescription, DataOptions, listed
from cnnkit.errors import UserError
from cnnkit.images import Data, ImageSet, digests_of
from cnnkit.pictures import DIGEST_BYTES, HAS_COLOUR
from cnnkit.readers.arrays import normalisation
from cnnkit.readers.found import Progress
from cnnkit.spec import Stored
from cnnkit.splitting import PARTS, Part, Table, fingerprint, split

VERSION = 1
"""Raised by hand when what is made of the same pictures changes."""
MOST_BROKEN = 0.01
"""Proportion of pictures that may be broken; they are named and left out."""
HASHED_BYTES = 2**28
"""What is hashed when a data set is opened, about a quarter of a second's worth; of more, some pictures are."""
SPOT_CHECKS = 200
CHUNK_BYTES = 2**26

being_written: list[Path] = []
"""Folders that are not whole yet. Whoever ends the process in the middle removes them."""


class Pictures(Protocol):
    """The pictures of a data set before they are decoded."""

    @property
    def labels(self) -> Mapping[Part, np.ndarray]:
        """Of each part that the data set comes in, (n,) positions in the class names."""

    @property
    def stamp(self) -> str:
        """What changes with any of the files."""

    def bundles(self) -> Iterator[Sequence[Encoded]]:
        """All pictures, one part after another in the order of `labels`."""

    def name(self, place: int) -> str:
        """What the picture at a place in that order is called in a sentence."""


class _About(Stored):
    version: int
    stamp: str
    about: DataDescription
    notes: tuple[str, ...]
    counts: dict[str, int]
    hashes: dict[str, str]
    """Of each part's pixels (of few), labels and hashes."""


def data_of(
    pictures: Pictures,
    about: DataDescription,
    options: DataOptions,
    path: Path,
    progress: Progress,
    *,
    notes: tuple[str, ...] = (),
) -> Data:
    """The data set of these pictures, decoded now or before.

    Args: about: with the size and the channels that pictures are stored with. options: as they were asked for.
        notes: what was found before the pictures were decoded.
    Raises: UserError: too many pictures are broken, a class has too few, or there is no room for them.
    """
    folder = _folder(about, options, path)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            stamp = pictures.stamp
            kept = _opened(folder, stamp, path)
            if kept is None:
                _decode(pictures, about, options, path, folder, progress)
                kept = _opened(folder, stamp, path)
    except OSError as error:
        raise UserError(
            f"decoded pictures cannot be kept in {folder.parent} ({error.strerror or error}); set XDG_CACHE_HOME to a folder "
            f"with room"
        ) from error
    if kept is None:
        raise UserError(f"{path} changed while it was read; start the command again")
    return replace(kept, notes=(*notes, *kept.notes))


def _folder(about: DataDescription, options: DataOptions, path: Path) -> Path:
    # The size is that of `about`, whether it was asked for or follows from the network, so that both find the same.
    others = options.model_copy(update={"size": about.image_size}).model_dump(mode="json")
    text = json.dumps([VERSION, os.fsencode(path.resolve()).hex(), about.channels, list(about.classes), others])
    return user_cache_path("ablations") / "pictures" / hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


# -- making it


def _decode(
    pictures: Pictures, about: DataDescription, options: DataOptions, path: Path, folder: Path, progress: Progress
) -> None:
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    being_written.append(unfinished)
    try:
        shutil.rmtree(unfinished, ignore_errors=True)  # a process that was killed left it: the lock is ours
        unfinished.mkdir()
        labels = np.concatenate(list(pictures.labels.values())).astype(np.int64)
        _check_room(unfinished, len(labels), about)
        canvas = Canvas(unfinished / "canvas", len(labels), about.channels, about.image_size)
        decoded = decode_all(pictures.bundles(), canvas, progress)
        if options.channels is None and decoded.remarks.pop(HAS_COLOUR, 0):
            about, canvas = about.model_copy(update={"channels": 3}), Canvas(canvas.file, canvas.count, 3, canvas.size)
            decoded = decode_all(pictures.bundles(), canvas, progress)
        notes = _notes(decoded, pictures)
        ends = np.cumsum([len(one) for one in pictures.labels.values()])
        rows: dict[Part, np.ndarray] = {}
        for part, end in zip(pictures.labels, ends, strict=True):
            places = np.arange(end - len(pictures.labels[part]), end)
            rows[part] = places[decoded.good[places]]
        table = Table(labels, decoded.keys, decoded.digests)
        made = split(table, rows, about.classes, drop_duplicates=options.drop_duplicates, where=str(path))
        hashes: dict[str, str] = {}
        for part in PARTS:
            hashes[part] = _write(part, table, made.rows[part], canvas, unfinished)
        canvas.file.unlink()
        full = about.model_copy(
            update={
                "fingerprint": fingerprint(table, made.rows),
                "normalisation": normalisation(decoded.moments[made.rows["train"]], canvas.size**2),
                "options": options.model_copy(update={"size": about.image_size}),
            }
        )
        whole = _About(
            version=VERSION,
            stamp=pictures.stamp,
            about=full,
            notes=(*notes, *made.notes),
            counts={part: len(made.rows[part]) for part in PARTS},
            hashes=hashes,
        )
        (unfinished / "about.json").write_text(whole.model_dump_json(), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        being_written.remove(unfinished)


def _check_room(folder: Path, count: int, about: DataDescription) -> None:
    needed = 2 * count * about.channels * about.image_size**2  # while the pictures are put in order
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder.parent} has {free / 1e9:.1f} GB of room, and decoding {count:,} pictures at {about.image_size} pixels "
            f"takes {needed / 1e9:.1f}; set XDG_CACHE_HOME to a folder with more, or give a smaller --data-size"
        )


def _notes(decoded: Decoded, pictures: Pictures) -> list[str]:
    """Raises: UserError: too many pictures are broken."""
    notes = [f"{count:,} picture{'s' * (count > 1)}: {remark}" for remark, count in sorted(decoded.remarks.items())]
    broken, total = decoded.broken, len(decoded.keys)
    if not broken:
        return notes
    first = sorted(broken)[:5]
    names = listed([pictures.name(place) for place in sorted(broken)])
    if len(broken) > MOST_BROKEN * total:
        raise UserError(
            f"{len(broken):,} of {total:,} pictures cannot be read ({pictures.name(first[0])}: {broken[first[0]]}), more than "
            f"one per cent; mend or remove them"
        )
    return [*notes, f"{len(broken):,} broken picture{'s' * (len(broken) > 1)} left out ({names})"]


def _write(part: Part, table: Table, rows: np.ndarray, canvas: Canvas, folder: Path) -> str:
    """Writes a part's images in their order, a piece at a time, and returns a hash of them."""
    pixels = canvas.opened()
    step = max(1, CHUNK_BYTES // int(np.prod(canvas.shape[1:])))
    whole = hashlib.blake2b(digest_size=16)
    with (folder / f"{part}.pixels").open("wb") as stream:
        for start in range(0, len(rows), step):
            piece = np.ascontiguousarray(pixels[rows[start : start + step]])
            stream.write(piece.data)
            if len(rows) * piece[0].nbytes <= HASHED_BYTES:
                whole.update(piece.data)
    labels, digests = table.labels[rows].astype("<i8"), np.ascontiguousarray(table.digests[rows])
    (folder / f"{part}.labels").write_bytes(labels.tobytes())
    (folder / f"{part}.digests").write_bytes(digests.tobytes())
    whole.update(labels.tobytes())
    whole.update(digests.tobytes())
    return whole.hexdigest()


# -- reading it


def _opened(folder: Path, stamp: str, path: Path) -> Data | None:
    """None where it is not there, not whole, or of other pictures."""
    with contextlib.suppress(Exception):  # whatever is wrong with it, it is made anew
        file = folder / "about.json"
        if folder.stat().st_uid != os.geteuid() or not file.is_file():
            return None
        about = _About.model_validate_json(file.read_bytes())
        if about.version != VERSION or about.stamp != stamp:
            return None
        train, validation, test = (_part(folder, part, about) for part in PARTS)
        if train is not None and validation is not None and test is not None:
            return Data(train, validation, test, about.about, notes=about.notes, path=path)
    return None


def _part(folder: Path, part: Part, whole: _About) -> ImageSet | None:
    count, about = whole.counts[part], whole.about
    shape = (count, about.channels, about.image_size, about.image_size)
    files = {name: folder / f"{part}.{name}" for name in ("pixels", "labels", "digests")}
    if files["pixels"].stat().st_size != np.prod(shape):
        return None
    pixels = np.memmap(files["pixels"], np.uint8, "r", shape=shape)
    labels = np.fromfile(files["labels"], "<i8").astype(np.int64)
    digests = np.fromfile(files["digests"], np.uint8).reshape(count, DIGEST_BYTES)
    if pixels.nbytes <= HASHED_BYTES:
        hashed = hashlib.blake2b(digest_size=16)
        for array in (pixels, labels.astype("<i8"), digests):
            hashed.update(np.ascontiguousarray(array).data)
        right = hashed.hexdigest() == whole.hashes[part]
    else:
        some = np.linspace(0, count - 1, SPOT_CHECKS).astype(int)
        right = len(labels) == count and np.array_equal(digests_of(pixels[some]), digests[some])
    return ImageSet(pixels, labels, None, digests) if right else None
