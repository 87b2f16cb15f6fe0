"""Ctrl-C and SIGTERM while a script imports, reads, or writes its report: one line, and the end. Imports next to nothing.

Python would raise KeyboardInterrupt wherever it is, which ends in a page of traceback during an import, and is lost in some
libraries. While cells are trained, `ablations.session.signals_stop` is in charge instead.
"""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

SENTENCE = "interrupted; the same command goes on where it stopped"
EXIT_CODE = 130

_unfinished: list[Path] = []
_others: list[list[Path]] = []


def interrupts_end_quietly() -> None:
    """From now on. For scripts: a library does not decide how a process ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


@contextlib.contextmanager
def removed_if_interrupted(folder: Path) -> Iterator[None]:
    """What is being written into `folder` does not stay behind half."""
    _unfinished.append(folder)
    try:
        yield
    finally:
        _unfinished.remove(folder)


def also_removed(folders: list[Path]) -> None:
    """Whatever is in this list when the process is interrupted is removed, too."""
    _others.append(folders)


def _end(number: int, frame: object) -> None:
    for folder in [*_unfinished, *(folder for folders in _others for folder in folders)]:
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(Exception):  # it may be in the middle of printing
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(2, f"{SENTENCE}\n".encode())
    os._exit(EXIT_CODE)
