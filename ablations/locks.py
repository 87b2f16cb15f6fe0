"""Locks that the kernel gives up with the process that holds them: the one sound sign of life on a machine.

Process ids are used again, after a restart of the machine or of a container at once; a lock is not.
"""

import errno
import os
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: as on a file system without locks
    fcntl = None  # type: ignore[assignment]

_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK})
_POLL_SECONDS = 0.002
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class NoLocks(OSError):
    """The file system has no locks, or the operating system has none that this module knows."""


class Lock:
    """An exclusive lock on a file, which is made where there is none and stays when the lock is given up."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._descriptor: int | None = None

    def acquire(self, *, patience: float = 0.0) -> bool:
        """Whether the lock is this object's now. It ends with `release` or with the process.

        Args: patience: how long to wait for another holder, in seconds.
        Raises: NoLocks. OSError: the file cannot be opened.
        """
        if fcntl is None:
            raise NoLocks(errno.ENOSYS, "no locks on this system", str(self.file))
        if self._descriptor is not None:
            return True
        descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | _FLAGS, 0o644)
        deadline = time.monotonic() + patience
        try:
            while not _try(descriptor, fcntl.LOCK_EX, self.file):
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    return False
                time.sleep(_POLL_SECONDS)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Gives the lock up, if it is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_held(file: Path) -> bool:
    """Whether a living process of this machine holds the lock; False where there is no such file. Changes nothing, so that
    any number of readers may ask at once, of a folder that they cannot write as well.

    Raises: NoLocks.
    """
    if fcntl is None:
        raise NoLocks(errno.ENOSYS, "no locks on this system", str(file))
    try:
        descriptor = os.open(file, os.O_RDONLY | _FLAGS)
    except OSError:
        return False
    try:
        return not _try(descriptor, fcntl.LOCK_SH, file)
    finally:
        os.close(descriptor)


def _try(descriptor: int, kind: int, file: Path) -> bool:
    assert fcntl is not None
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL):
            raise NoLocks(error.errno, error.strerror, str(file)) from error
        raise
    return True
