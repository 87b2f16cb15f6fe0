"""Arrays that take seconds to compute from files, kept in the user's cache folder until the files change.

What is there is taken only where it is the user's own, whole (a checksum holds for each array), made by this version, and
from the very same files. All else is computed anew; a cache that cannot be written is done without.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from cnnkit.errors import UserError

Arrays = dict[str, np.ndarray]
VERSION = 2
"""Raised by hand when what is computed from the same files changes."""

LEFT_OVER_SECONDS = 3600
"""Age of a file half written after which its process is taken to be dead."""


def cached(files: Sequence[Path], compute: Callable[[], Arrays]) -> Arrays:
    """What `compute` returns, from the cache where the files are what they were.

    Raises: OSError: a file does not exist or cannot be read. What `compute` raises.
    """
    paths = "\n".join([str(VERSION), *(str(file.resolve()) for file in files)])
    name = hashlib.blake2b(os.fsencode(paths), digest_size=10).hexdigest()
    cache = user_cache_path("ablations") / "decoded" / f"{name}.npz"
    stamp = _stamp(files)
    known = _read(cache, stamp)
    if known is not None:
        return known
    arrays = compute()
    if np.array_equal(_stamp(files), stamp):  # else they changed while they were read
        _write(cache, {"stamp": stamp, **arrays})
    return arrays


def readable(file: Path) -> Path:
    """The file. Raises: UserError: it is none: a folder, a pipe, a link to nothing."""
    if not file.is_file():
        raise UserError(f"{file} is not a readable file; download it again")
    return file


def _stamp(files: Sequence[Path]) -> np.ndarray:
    """What changes with a file's content: the time of its last change of any kind cannot be set back, unlike `st_mtime`."""
    stats = [file.stat() for file in files]
    return np.array([(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for stat in stats])


def _read(cache: Path, stamp: np.ndarray) -> Arrays | None:
    try:
        with open(os.open(cache, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            about = os.fstat(stream.fileno())
            if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
                return None
            with np.load(stream) as stored:
                if np.array_equal(stored["stamp"], stamp):
                    return {name: stored[name] for name in stored.files if name != "stamp"}
    except Exception:  # whatever is wrong with it, it is computed anew
        return None
    return None


def _write(cache: Path, contents: dict[str, Any]) -> None:
    unfinished: Path | None = None
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        for left in cache.parent.glob("*.unfinished"):
            if time.time() - left.stat().st_mtime > LEFT_OVER_SECONDS:
                left.unlink()
        with tempfile.NamedTemporaryFile(dir=cache.parent, suffix=".unfinished", delete=False) as stream:
            unfinished = Path(stream.name)
            np.savez(stream, **contents)
        os.replace(unfinished, cache)
    except OSError:
        pass
    finally:
        if unfinished is not None:
            with contextlib.suppress(OSError):
                unfinished.unlink()
