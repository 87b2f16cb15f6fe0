"""Writing files so that each is there whole or not at all, and reading what a stranger may have put there.

Links are followed neither to write nor to read: a results folder that somebody hands on must not reach beyond itself.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from cnnkit.errors import UserError

MODE = 0o644  # less the umask, of all files alike
LINK = "is a link, and a results folder does not reach beyond itself"
UNFINISHED = ".unfinished"
"""Ending of a file that is being written."""
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@contextlib.contextmanager
def one_sentence_errors(what: Path) -> Iterator[None]:
    """Turns what a disk can refuse (no room, no permission, no such folder any more) into a sentence.

    Raises: UserError: naming the file that the system names, else `what`.
    """
    try:
        yield
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else what
        raise UserError(
            f"{name}: {error.strerror or error}; make sure that the results folder is there, can be written and has room, "
            f"then run the same command again"
        ) from error


def write(file: Path, content: bytes | memoryview) -> None:
    """Writes or replaces a file in one step, safe from a loss of power once this returns.

    Raises: OSError: nothing has changed then.
    """
    with _written(file, content) as unfinished:
        os.replace(unfinished, file)
    _settle(file.parent)


def create(file: Path, content: bytes) -> bool:
    """Whether the file is this call's: False where there was one, which is left as it is.

    Raises: OSError: nothing has changed then.
    """
    with _written(file, content) as unfinished:
        try:
            os.link(unfinished, file, follow_symlinks=False)
        except FileExistsError:
            return False
        except (OSError, NotImplementedError):  # a file system without hard links
            if os.path.lexists(file):
                return False
            os.replace(unfinished, file)
    _settle(file.parent)
    return True


def read(file: Path) -> bytes:
    """A file's content.

    Raises: OSError: there is none, it is a link, or no plain file.
    """
    if file.is_symlink():
        raise OSError(20, LINK, str(file))
    if file.exists() and not file.is_file():  # a pipe would keep its reader for ever
        raise OSError(22, "not a plain file", str(file))
    descriptor = os.open(file, os.O_RDONLY | _NO_LINKS)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


def sha256(file: Path) -> str:
    """Raises: OSError: there is no such file, or it is a link."""
    with os.fdopen(os.open(file, os.O_RDONLY | _NO_LINKS), "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder(root: Path, *parts: str) -> Path:
    """A folder inside of `root`, made where there is none.

    Raises: OSError: a link stands in its place or above it, or it cannot be made.
    """
    path = root
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise OSError(20, LINK, str(path))
        path.mkdir(exist_ok=True)
    return path


def move_folder(source: Path, target: Path) -> bool:
    """Whether a whole folder, written by `write`, has got its name: False where something stands there already.

    Raises: OSError.
    """
    if os.path.lexists(target):
        return False
    try:
        os.rename(source, target)
    except (FileExistsError, NotADirectoryError):
        return False
    except OSError:
        if os.path.lexists(target):
            return False
        raise
    _settle(target.parent)
    return True


def remove(path: Path) -> None:
    """Removes a file, a link or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def used(paths: Iterable[Path]) -> int:
    """Bytes of plain files among `paths`; what is gone in the meantime, or is a link, counts nothing."""
    total = 0
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


@contextlib.contextmanager
def _written(file: Path, content: bytes | memoryview) -> Iterator[Path]:
    """The content beside its place, under a name that nobody can have prepared; gone afterwards."""
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(8)}{UNFINISHED}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINKS, MODE)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        yield unfinished
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _settle(path: Path) -> None:
    """Makes names in a folder safe from a loss of power, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
