"""Has a study's page renewed while the study runs: by a command of its own with a low priority, seldom enough to cost next to
nothing. What the command is, whoever starts the study says; nothing here knows what a page is.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from ablations.store import Store
from cnnkit.errors import UserError

START_SECONDS = 60.0
"""From the beginning to the first renewal at least: a study that is over sooner needs none."""
PAUSE_SECONDS = 120.0
"""From the end of one renewal to the next at least."""
FIRST_SECONDS = 4.0
"""Processor time of the first renewal, about; later ones go by what the last has taken."""
SHARE = 0.01
"""Of the machine's processor time that renewals may take."""


class Renewal:
    """Called again and again with the study's folder, starts the command when cells have finished since it last ran, from the
    first pair on: the baseline and another arm with one seed in common. It waits until the command is worth its time. Ends with
    the `with` statement, which ends a command that still runs.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cores: int,
        start: float = START_SECONDS,
        first: float = FIRST_SECONDS,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        self.command, self.cores, self.pause = list(command), cores, pause
        self._process: subprocess.Popen[bytes] | None = None
        self._shown: frozenset[str] = frozenset()
        self._next = time.monotonic() + max(start, first / cores / SHARE)
        self.renewals = 0
        """How often the command has run to its end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, 15)
            self._process.wait()
            self._process = None

    def __call__(self, folder: Path) -> None:
        """Takes microseconds but where a renewal is due, and never waits for one."""
        if self._process is not None:
            self._reap(self._process)
        if self._process is not None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + min(self.pause, 5.0)  # looking at the folder takes a while, too
        finished: frozenset[str] = frozenset()
        with contextlib.suppress(OSError, UserError):  # whoever trains says what is wrong with the folder
            finished = finished_with_a_pair(folder)
        if finished and finished != self._shown:
            self._shown = finished
            self._start(folder)

    def _start(self, folder: Path) -> None:
        # Ray's trials have a low priority themselves; this is to be lower.
        low_priority = ["nice", "-n", "19"] if shutil.which("nice") else []
        with contextlib.suppress(OSError):  # without processes or memory to spare, there is no page until the end
            self._process = subprocess.Popen(
                [*low_priority, *self.command, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                process_group=0,  # Ctrl-C is the study's
            )

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        """Takes note of its end, and lets pass as much time as what it took is worth."""
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if not pid:
            return
        process.returncode = os.waitstatus_to_exitcode(status)
        self._process = None
        self.renewals += process.returncode == 0
        took = (usage.ru_utime + usage.ru_stime) / self.cores
        self._next = time.monotonic() + max(self.pause, took / SHARE)


def finished_with_a_pair(folder: Path) -> frozenset[str]:
    """Keys of a study's finished cells; none as long as no arm shares a finished seed with the baseline."""
    store = Store(folder.parent.parent)
    study = store.study(folder.name)
    if study is None:
        return frozenset()
    finished = [cell for cell in study.cells if store.has_record(cell.key)]
    baseline = {cell.seed for cell in finished if cell.arm == study.baseline.name}
    pairs = any(cell.seed in baseline for cell in finished if cell.arm != study.baseline.name)
    return frozenset(cell.key for cell in finished) if pairs else frozenset()
