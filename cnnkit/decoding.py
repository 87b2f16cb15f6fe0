"""Many encoded pictures to one file of equal squares, on all cores.

A process of its own for each core where there are many pictures, threads where there are few. Pictures are handed out in
bundles and written where they belong in the file, so that nothing but their hashes comes back.
"""

import contextlib
import hashlib
import itertools
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from subprocess import PIPE, Popen
from typing import IO, Self

import numpy as np

from cnnkit.errors import UserError
from cnnkit.pictures import DIGEST_BYTES, Unreadable, content_of, decode

Encoded = str | bytes
"""A picture's file, or what it holds."""
BUNDLE = 128
"""Pictures that a process is given at a time."""
WORTH_PROCESSES = 3_000
"""Pictures from which on it takes less time to start processes than they save."""


KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""glibc's allocator would give the memory of each picture back to the system and ask for it again with the next, which takes as
long as decoding a small one; it reads this when a process starts."""


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

    def opened(self) -> np.ndarray:
        """What was written, mapped."""
        return np.memmap(self.file, np.uint8, "r", shape=self.shape)


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
    """The file, with its room on the disk, so that a lack of it is seen now."""
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
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata; for all threads, so here and not for each picture
        decode_one: Callable[[Bundle], _Result] = partial(_decoded, canvas=canvas)
        if canvas.count >= WORTH_PROCESSES and cores > 1:
            workers = [stack.enter_context(_Worker(canvas)) for _ in range(cores)]
            decode_one = partial(_by_an_idle_one, _queue(workers))
        # Left before the workers are, which end what a thread waits for.
        pool = ThreadPoolExecutor(cores)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        running: set[Future[_Result]] = set()
        while True:
            # A few more than can run wait, so that no more of the pictures than needed lie in memory.
            for bundle in itertools.islice(bundles, 3 * cores - len(running)):
                running.add(pool.submit(decode_one, bundle))
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()


class _Worker:
    """A process that decodes bundles. It ends when its input does, and so with the process that started it, however that ends."""

    START = "import sys; sys.path[:] = {path!r}; from cnnkit.decoding import work; work()"

    def __init__(self, canvas: Canvas) -> None:
        # Not by `multiprocessing`, which would run the program that it is started from once more.
        start = self.START.format(path=sys.path)
        environment = {**os.environ, **KEEP_FREED_MEMORY}
        self.process = Popen([sys.executable, "-I", "-c", start], stdin=PIPE, stdout=PIPE, env=environment)
        pickle.dump(canvas, self._input)

    @property
    def _input(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def __call__(self, bundle: Bundle) -> _Result:
        """Raises: UserError: the process was ended."""
        assert self.process.stdout is not None
        try:
            pickle.dump(bundle, self._input)
            self._input.flush()
            result: _Result = pickle.load(self.process.stdout)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            raise UserError(
                "a process that decoded pictures was ended, for lack of memory perhaps; start the command again"
            ) from error
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # what was not sent yet cannot be
                assert stream is not None
                stream.close()


def _queue(workers: Sequence[_Worker]) -> "SimpleQueue[_Worker]":
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)
    return idle


def _by_an_idle_one(idle: "SimpleQueue[_Worker]", bundle: Bundle) -> _Result:
    worker = idle.get()
    try:
        return worker(bundle)
    finally:
        idle.put(worker)


def work() -> None:
    """A worker's life: a canvas, then bundles until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal, and is for the first one
    answers, requests = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    os.dup2(2, 1)  # whatever a library prints
    warnings.simplefilter("ignore")
    # An interrupted command removes the file before its workers see that it has ended: nobody waits for them then.
    with contextlib.suppress(EOFError, BrokenPipeError, FileNotFoundError):
        canvas = pickle.load(requests)
        while True:
            pickle.dump(_decoded(pickle.load(requests), canvas), answers)
            answers.flush()


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
    pixels = np.zeros((len(pictures), *canvas.shape[1:]), dtype=np.uint8)
    keys, digests = bytearray(), bytearray()
    broken: dict[int, str] = {}
    remarks: dict[str, int] = {}
    for place, encoded in enumerate(pictures):
        try:
            picture = decode(content_of(encoded) if isinstance(encoded, str) else encoded, canvas.size, canvas.channels)
        except Unreadable as error:
            broken[start + place] = str(error)
            keys += bytes(DIGEST_BYTES)
            digests += bytes(DIGEST_BYTES)
            continue
        pixels[place] = picture.pixels
        keys += picture.key
        digests += hashlib.blake2b(picture.pixels.data, digest_size=DIGEST_BYTES).digest()
        if picture.remark:
            remarks[picture.remark] = remarks.get(picture.remark, 0) + 1
    with canvas.file.open("r+b") as stream:
        stream.seek(start * pixels[0].nbytes)
        stream.write(pixels.data)
    return start, bytes(keys), bytes(digests), _moments(pixels), broken, remarks


def _moments(pixels: np.ndarray) -> np.ndarray:
    """Of each picture and channel, the sum of the pixels and of their squares: (n, channels, 2) int64."""
    wide = pixels.reshape(*pixels.shape[:2], -1).astype(np.uint32)
    # Up to 256 x 256 pixels their sum has room in 32 bits, which takes half the time.
    sum_type = np.uint32 if wide.shape[-1] * 255**2 < 2**32 else np.uint64
    of_pixels = np.add.reduce(wide, axis=-1, dtype=sum_type)
    wide *= wide
    of_squares = np.add.reduce(wide, axis=-1, dtype=sum_type)
    return np.stack([of_pixels, of_squares], axis=-1).astype(np.int64)
