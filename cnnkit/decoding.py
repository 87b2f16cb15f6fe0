"""Many encoded pictures to one file of equal squares, on all cores.

A process of its own for each core where there are many pictures, threads where there are few. Pictures are handed out in
bundles and written where they belong in the file, so that nothing but their hashes comes back.
"""

import hashlib
import itertools
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from cnnkit.errors import UserError
from cnnkit.pictures import DIGEST_BYTES, Unreadable, content_of, decode

Encoded = str | bytes
"""A picture's file, or what it holds."""
BUNDLE = 128
"""Pictures that a process is given at a time."""
WORTH_PROCESSES = 3_000
"""Pictures from which on it takes less time to start processes than they save."""


@dataclass(frozen=True)
class Canvas:
    """The file that pictures are written to: (count, channels, size, size) uint8, without a head."""

    file: Path
    count: int
    channels: int
    size: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.count, self.channels, self.size, self.size

    def opened(self, mode: Literal["r", "r+"] = "r+") -> np.ndarray:
        return np.memmap(self.file, np.uint8, mode, shape=self.shape)


@dataclass
class Decoded:
    """What is known of pictures once they are decoded."""

    keys: np.ndarray
    """(n, 16) uint8, a hash of each encoded picture."""
    digests: np.ndarray
    """(n, 16) uint8, a hash of each picture's stored pixels."""
    moments: np.ndarray
    """(n, channels, 2) int64, of each channel the sum of the pixels and of their squares."""
    broken: dict[int, str] = field(default_factory=dict)
    """Why a picture cannot be read, by its place."""
    remarks: dict[str, int] = field(default_factory=dict)
    """What was done to how many pictures."""

    @property
    def good(self) -> np.ndarray:
        """(n,) bool."""
        whole = np.ones(len(self.keys), dtype=bool)
        whole[list(self.broken)] = False
        return whole


Bundle = tuple[int, Sequence[Encoded]]
"""The place of the first picture, and pictures."""
_Result = tuple[int, bytes, bytes, np.ndarray, dict[int, str], dict[str, int]]


def decode_all(pictures: Iterable[Sequence[Encoded]], canvas: Canvas, progress: Callable[[int, int], None]) -> Decoded:
    """Decodes `pictures`, in bundles, into the canvas's file.

    Raises: UserError: a process was ended, by lack of memory, say. OSError: the file cannot be written.
    """
    _make(canvas)
    keys_of_all, digests_of_all = (np.zeros((canvas.count, DIGEST_BYTES), dtype=np.uint8) for _ in range(2))
    found = Decoded(keys_of_all, digests_of_all, np.zeros((canvas.count, canvas.channels, 2), dtype=np.int64))
    done = 0
    for start, keys, digests, moments, broken, remarks in _on_all_cores(_bundles(pictures), canvas):
        count = len(keys) // DIGEST_BYTES
        for target, given in ((found.keys, keys), (found.digests, digests)):
            target[start : start + count] = np.frombuffer(given, dtype=np.uint8).reshape(count, DIGEST_BYTES)
        found.moments[start : start + count] = moments
        found.broken.update(broken)
        for remark, times in remarks.items():
            found.remarks[remark] = found.remarks.get(remark, 0) + times
        done += count
        progress(done, canvas.count)
    return found


def _make(canvas: Canvas) -> None:
    """The file, with its room on the disk: what is mapped and finds no room later ends a process without a word."""
    with canvas.file.open("wb") as stream:
        length = canvas.count * canvas.channels * canvas.size**2
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, length)
        else:
            stream.truncate(length)


def _on_all_cores(bundles: Iterator[Bundle], canvas: Canvas) -> Iterator[_Result]:
    """What comes of each bundle, in whichever order."""
    from joblib import cpu_count

    cores = cpu_count()
    pool = _pool(cores, many=canvas.count >= WORTH_PROCESSES)
    try:
        running: set[Future[_Result]] = set()
        while True:
            # A few more than can run wait at the workers' door, so that no more of the pictures than needed lie in memory.
            for bundle in itertools.islice(bundles, 3 * cores - len(running)):
                running.add(pool.submit(_decoded, bundle, canvas))
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    except BrokenExecutor as error:
        raise UserError(
            "a process that decoded pictures was ended, for lack of memory perhaps; start the command again"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(cores: int, *, many: bool) -> Executor:
    if not many or cores == 1:
        return ThreadPoolExecutor(cores)
    # loky's processes import what they need and not the program that they are started from, as Python's own would.
    from joblib.externals.loky import ProcessPoolExecutor

    class Pool(ProcessPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=wait, kill_workers=True)

    return Pool(cores, initializer=_ignore_interrupts)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches all processes of a terminal; the one that started these ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _bundles(pictures: Iterable[Sequence[Encoded]]) -> Iterator[Bundle]:
    start = 0
    for some in pictures:
        for first in range(0, len(some), BUNDLE):
            bundle = some[first : first + BUNDLE]
            yield start, bundle
            start += len(bundle)


def _decoded(bundle: Bundle, canvas: Canvas) -> _Result:
    """Runs in a worker."""
    start, pictures = bundle
    pixels = canvas.opened()
    keys, digests = bytearray(), bytearray()
    moments = np.zeros((len(pictures), canvas.channels, 2), dtype=np.int64)
    broken: dict[int, str] = {}
    remarks: dict[str, int] = {}
    for place, encoded in enumerate(pictures, start=start):
        try:
            picture = decode(content_of(encoded) if isinstance(encoded, str) else encoded, canvas.size, canvas.channels)
        except Unreadable as error:
            broken[place] = str(error)
            keys += bytes(DIGEST_BYTES)
            digests += bytes(DIGEST_BYTES)
            continue
        pixels[place] = picture.pixels
        flat = picture.pixels.reshape(canvas.channels, -1).astype(np.uint32)
        moments[place - start] = np.stack([flat.sum(axis=1), (flat * flat).sum(axis=1)], axis=1)
        keys += picture.key
        digests += hashlib.blake2b(picture.pixels.tobytes(), digest_size=DIGEST_BYTES).digest()
        if picture.remark:
            remarks[picture.remark] = remarks.get(picture.remark, 0) + 1
    return start, bytes(keys), bytes(digests), moments, broken, remarks
