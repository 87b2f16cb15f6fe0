"""What a person sees while a study runs: a live view on a terminal, one plain line a finished cell elsewhere."""

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ablations.plan import PlannedCell
from ablations.text import printable
from ablations.units import duration

LEAST_SECONDS = 2.0
"""A pace that was seen for less is none."""


@dataclass
class Running:
    """The latest news of a trial."""

    planned: PlannedCell
    progress: float = 0.0
    """Part of the cell that is done, 0 to 1."""
    epoch: int = 0
    validation_accuracy: float | None = None
    began: float = field(default_factory=lambda: time.monotonic())
    """As `time.monotonic` counts."""
    progress_before: float | None = 0.0
    """What of the progress an earlier run had made; None until that is known."""

    @property
    def work(self) -> float:
        """Multiply-adds since it began."""
        before = self.progress if self.progress_before is None else self.progress_before
        return (self.progress - before) * self.planned.work

    @property
    def work_left(self) -> float:
        """Multiply-adds until its end."""
        return (1 - self.progress) * self.planned.work


@dataclass
class Tally:
    """How a study stands. Knows nothing of how it is shown."""

    total: int
    finished: int
    waiting: list[PlannedCell]
    running: dict[str, Running] = field(default_factory=dict)
    failed: int = 0
    started: float = field(default_factory=lambda: time.monotonic())
    """When the first trial began: what Ray needs to start says nothing about the pace."""
    at_once: int = 0
    """Trials that ran side by side, at most."""
    work_done: float = 0.0
    """Multiply-adds of trials that ended in this run, as far as they were done in it."""
    seconds_done: float = 0.0
    """What these trials took, added up."""

    def seconds_left(self) -> float | None:
        """At the pace of this run's trials, those that wait taking the places of those that end, the last ones alone with places
        that stay empty; None until there is a pace. Never 0 while there is something to be trained.
        """
        now = time.monotonic()
        moving = [trial for trial in self.running.values() if trial.work > 0]
        work = self.work_done + sum(trial.work for trial in moving)
        seconds = self.seconds_done + sum(now - trial.began for trial in moving)
        if seconds < LEAST_SECONDS or work <= 0:
            return None
        pace = seconds / work
        places = [trial.work_left * _pace(trial, now, pace) for trial in self.running.values()]
        places += [0.0] * (max(1, self.at_once) - len(places))
        heapq.heapify(places)
        for planned in self.waiting:
            heapq.heapreplace(places, places[0] + planned.work * pace)
        return max(1.0, *places) if self.running or self.waiting else 0.0

    def begin(self, planned: PlannedCell, *, goes_on: bool = False) -> None:
        """A trial starts, or starts again. Args: goes_on: from what an earlier one has kept."""
        if not self.running and not self.work_done:
            self.started = time.monotonic()
        self.waiting = [cell for cell in self.waiting if cell is not planned]
        self.running[planned.cell.key] = Running(planned, progress_before=None if goes_on else 0.0)
        self.at_once = max(self.at_once, len(self.running))

    def advance(self, planned: PlannedCell, progress: float, epoch: int, validation_accuracy: float | None) -> None:
        """News of a trial."""
        trial = self.running.setdefault(planned.cell.key, Running(planned))
        trial.progress, trial.epoch, trial.validation_accuracy = progress, epoch, validation_accuracy
        if trial.progress_before is None:
            trial.progress_before, trial.began = progress, time.monotonic()

    def add(self, cells: list[PlannedCell]) -> None:
        """More cells are to be trained than were known."""
        self.total += len(cells)
        self.waiting = [*self.waiting, *cells]

    def drop(self, cells: list[PlannedCell]) -> None:
        """Cells that will not be trained in this run."""
        keys = {planned.cell.key for planned in cells}
        self.waiting = [planned for planned in self.waiting if planned.cell.key not in keys]

    def requeue(self, planned: PlannedCell) -> None:
        """A trial has stopped without a result, and will be started again."""
        if self.running.pop(planned.cell.key, None) is not None:
            self.waiting = [*self.waiting, planned]

    def finish_elsewhere(self, planned: PlannedCell) -> None:
        """Another study has left the record of a cell that was waiting here."""
        self.waiting = [cell for cell in self.waiting if cell is not planned]
        self.finished += 1

    def end(self, planned: PlannedCell, *, failed: bool) -> None:
        """A trial has left a record, or a failure."""
        trial = self.running.pop(planned.cell.key, None)
        self.waiting = [cell for cell in self.waiting if cell is not planned]
        self.failed += failed
        self.finished += not failed
        if trial is not None and not failed:
            trial.progress = 1.0
            self.work_done += trial.work
            self.seconds_done += time.monotonic() - trial.began


def _pace(trial: Running, now: float, otherwise: float) -> float:
    """Seconds a multiply-add: the trial's own once it is known, since the last trials of a study decide when it ends."""
    seconds = now - trial.began
    return seconds / trial.work if seconds >= LEAST_SECONDS and trial.work > trial.planned.work / 20 else otherwise


class Display(Protocol):
    """Where a study's news go. Used as a context manager."""

    def __enter__(self) -> "Display": ...
    def __exit__(self, *exception: object) -> None: ...
    def update(self, tally: Tally) -> None:
        """Something has changed."""

    def line(self, text: str) -> None:
        """One line that stays."""


class PlainDisplay:
    """Lines only: for pipes, log files and notebooks."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __enter__(self) -> "PlainDisplay":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, tally: Tally) -> None:
        pass

    def line(self, text: str) -> None:
        self.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class LiveDisplay:
    """A view that is drawn over itself: the whole study, and a line for each running trial."""

    def __init__(self, console: Console) -> None:
        self.tally: Tally | None = None
        self.live = Live(console=console, refresh_per_second=4, get_renderable=self._draw, transient=True)

    def __enter__(self) -> "LiveDisplay":
        self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.live.stop()

    def update(self, tally: Tally) -> None:
        self.tally = tally

    def line(self, text: str) -> None:
        self.live.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def _draw(self) -> RenderableType:
        tally = self.tally
        if tally is None:
            return Text("starting ...")
        left = tally.seconds_left()
        failed = f", {tally.failed} failed" if tally.failed else ""
        summary = Text(
            f"{tally.finished} of {tally.total} cells done{failed}, {len(tally.running)} running, "
            f"{len(tally.waiting)} waiting; {duration(time.monotonic() - tally.started)} gone, "
            + (f"about {duration(left)} left" if left is not None else "time left not known yet")
        )
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("arm", "seed", "epoch", "", "validation"):
            table.add_column(column, justify="right" if column in ("seed", "epoch", "validation") else "left")
        for trial in list(tally.running.values()):
            accuracy = trial.validation_accuracy
            table.add_row(
                Text(trial.planned.called),
                str(trial.planned.cell.seed),
                f"{trial.epoch}/{trial.planned.cell.recipe.epochs}" if trial.epoch else "starting",
                ProgressBar(total=1.0, completed=trial.progress, width=24),
                f"{accuracy:.1%}" if accuracy is not None else "",
            )
        return Group(summary, table) if tally.running else Group(summary)


def display_for(console: Console) -> Display:
    """The live view on a terminal, lines elsewhere."""
    return LiveDisplay(console) if console.is_terminal and not console.is_jupyter else PlainDisplay(console)


READING_SECONDS = 10.0
"""How often it is said how far reading images is, where there is no terminal to draw a bar on."""


def reading_shown(out: Console) -> Callable[[int, int], None]:
    """Told how many images of how many are read, it draws a bar on a terminal, and prints a line now and then elsewhere."""
    started = last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < (0.2 if out.is_terminal else READING_SECONDS) and done < total:
            return
        last = now
        left = (now - started) * (total - done) / max(done, 1)
        line = f"reading images: {done:,} of {total:,}" + (f", about {duration(left)} left" if done < total else "")
        if out.is_terminal and not out.is_jupyter:
            out.print(f"\r{line:<78}", end="" if done < total else "\n", markup=False, soft_wrap=True)
        elif done < total or now - started > READING_SECONDS:
            out.print(line, markup=False, soft_wrap=True)

    return show
