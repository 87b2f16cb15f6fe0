"""The folder for the files of Ray's processes while a study runs, and what killed studies left of theirs."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from cnnkit.errors import UserError

PREFIX = "ablations-"
LOCK = "lock"
"""Held by the process that made the folder; the kernel gives it up with the process, however that ends."""
STUDY_FOLDER = "ABLATIONS_STUDY_FOLDER"
"""Environment variable by which the processes of a study that was killed are known."""
END_SECONDS = 5.0
"""How long processes may take to be gone that were killed."""
SEARCH_SECONDS = 0.05
"""Between two searches for them: longer than a program takes to be loaded, on a busy machine too."""
SOCKET_PATH = 107 if sys.platform == "linux" else 103
"""Longest path of a socket, in bytes."""
ADDED_BY_US = len(f"/{PREFIX}12345678")
ADDED_BY_RAY = len(
    "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
)  # process ids have up to 7 digits
LONGEST = SOCKET_PATH - ADDED_BY_US - ADDED_BY_RAY
"""Longest path of the temporary folder under which Ray's sockets have names that fit."""


@contextlib.contextmanager
def study_folder() -> Iterator[Path]:
    """A folder of this process, gone at the end.

    Raises: UserError: there is no place for one.
    """
    base = short_temporary_folder()
    try:
        # Under its final name the folder is locked from the first moment, so that nobody takes it for a left-over.
        new = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=base))
        lock = FileLock(new / LOCK)
        lock.acquire()
        folder = new.with_name(new.name.removeprefix("."))
        new.rename(folder)
    except OSError as error:
        raise UserError(
            f"no room for Ray's temporary files in {base} ({error.strerror}); set TMPDIR to a folder with room, its path at most "
            f"{LONGEST} characters long"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def short_temporary_folder() -> Path:
    """The temporary folder, or /tmp where that path is too long for the names of Ray's sockets.

    Raises: UserError: neither will do.
    """
    try:
        usual = Path(tempfile.gettempdir())
    except FileNotFoundError:
        usual = Path("/tmp")
    for folder in (usual, Path("/tmp")):
        if len(os.fsencode(folder)) <= LONGEST and os.access(folder, os.W_OK):
            return folder
    raise UserError(
        f"Ray's sockets need a temporary folder that can be written and whose path is at most {LONGEST} characters long, and "
        f"neither {usual} nor /tmp is one; set TMPDIR to one"
    )


def remove_left_overs() -> None:
    """What studies on this machine left that were killed outright: temporary folders, and helpers of Ray that did not notice."""
    for folder in short_temporary_folder().glob(f"{PREFIX}*"):
        if not (folder / LOCK).is_file() or folder.is_symlink() or folder.stat().st_uid != os.getuid():
            continue
        with contextlib.suppress(Timeout, OSError), FileLock(folder / LOCK, timeout=0):
            end_helpers(folder)
            shutil.rmtree(folder, ignore_errors=True)


def end_helpers(folder: Path, groups: Collection[int] = ()) -> None:
    """Ends the processes that a study with this folder has started, and waits until they are gone; where there is no /proc,
    nothing.

    One may start another in the moment that it ends, and a process whose program is being loaded shows neither a title nor an
    environment yet. So the search is over when two in a row have found nothing.

    Args: groups: process groups that the study has started.
    """
    until = time.monotonic() + END_SECONDS
    in_vain = 0
    while in_vain < 2 and time.monotonic() < until:
        helpers = list(_helpers(folder, groups))
        in_vain = 0 if helpers else in_vain + 1
        for process in helpers:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        time.sleep(SEARCH_SECONDS)


def _helpers(folder: Path, groups: Collection[int]) -> Iterator[int]:
    mark = f"{STUDY_FOLDER}={folder}\0".encode()
    for other in Path("/proc").glob("[0-9]*"):
        process = int(other.name)
        with contextlib.suppress(OSError):
            if process != os.getpid() and (
                mark in (other / "environ").read_bytes() + b"\0"
                # Ray's agents write their title over a part of their environment, the mark perhaps.
                or (os.getpgid(process) in groups and (other / "cmdline").read_bytes().startswith(b"ray::"))
            ):
                yield process
