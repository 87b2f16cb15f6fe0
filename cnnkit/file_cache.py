"""Arrays that take seconds to compute from files, kept in the user's cache folder until the files change."""

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

Arrays = dict[str, np.ndarray]
UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile)


def cached(files: Sequence[Path], compute: Callable[[], Arrays]) -> Arrays:
    """What `compute` returns, from the cache where the files have their former paths, sizes and times of change.

    A cache that cannot be read is computed anew, one that cannot be written is done without.
    """
    paths = "\n".join(str(file.resolve()) for file in files)
    cache = (
        user_cache_path("ablations") / "decoded" / f"{hashlib.blake2b(paths.encode(), digest_size=10).hexdigest()}.npz"
    )
    stamp = np.array([(stat.st_size, stat.st_mtime_ns) for stat in (file.stat() for file in files)])
    with contextlib.suppress(*UNREADABLE), cache.open("rb") as stream, np.load(stream) as stored:
        if np.array_equal(stored["stamp"], stamp):
            return {name: stored[name] for name in stored.files if name != "stamp"}
    arrays = compute()
    unfinished = cache.with_name(f"{cache.stem}.{os.getpid()}.unfinished.npz")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        contents: dict[str, Any] = {"stamp": stamp, **arrays}
        np.savez(unfinished, **contents)
        os.replace(unfinished, cache)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return arrays
