"""The one place that writes results: hands out cells, hears what their runs say, and keeps records. Knows nothing of Ray."""

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor

from ablations.agenda import Agenda
from ablations.budget import Budget
from ablations.checkpoints import DamagedCheckpoint
from ablations.display import Display, Tally
from ablations.job import Advance, BeganAnew, Checkpoint, Failed, Job, News, Placement
from ablations.plan import Plan, PlannedCell
from ablations.record import CellResult, Failure, Record
from ablations.store import Store
from ablations.units import counted, duration

SIGN_OF_LIFE_SECONDS = 30.0
"""How often the claims of cells that are being trained are renewed."""


class Driver:
    """A study's ledger while it runs. Errors of the results folder (UserError) pass through all methods."""

    def __init__(
        self,
        plan: Plan,
        agenda: Agenda,
        display: Display,
        place: Callable[[PlannedCell], Placement],
        *,
        keep_weights: bool,
        watch: Callable[[], None] = lambda: None,
        further: Callable[[Collection[str]], list[PlannedCell]] = lambda given_up: [],
        budget: Budget | None = None,
    ) -> None:
        """Args: watch: called now and then while cells are trained, and after each. further: cells that are needed now that
        all of the agenda have ended; it is told the keys of those that failed.
        """
        assert plan.store is not None
        self.plan, self.agenda, self.display, self.place = plan, agenda, display, place
        self.store: Store = plan.store
        self.keep_weights, self.watch, self.further, self.budget = keep_weights, watch, further, budget
        self.given_up: set[str] = set()
        """Keys of cells that failed in this run."""
        self.dropped: list[PlannedCell] = []
        """Cells that were not started since the budget would not have lasted."""
        self._nothing_further = False
        self.tally = Tally(
            total=len(plan.cells), finished=len(plan.cells) - len(plan.missing), waiting=list(agenda.waiting)
        )
        # A disk may take seconds for a checkpoint, and a trial's next step waits until its news are dealt with.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._being_written: dict[str, Future[None]] = {}
        self._kept_epochs: dict[str, int] = {}
        self._going_on: set[str] = set()
        """Keys of cells that were handed out with a checkpoint."""
        self._renewed = time.monotonic()
        self._said_that_it_waits = False

    def is_over(self) -> bool:
        """Whether no cell is left. Where those that were known have ended, it asks which are needed next."""
        if self.agenda.is_over and not self._nothing_further and not self.dropped:
            cells = self.further(self.given_up)
            self._nothing_further = not cells
            self.agenda.add(cells)
            self.tally.add(cells)
        return self.agenda.is_over

    def next_job(self) -> tuple[PlannedCell, Job, bytes | None] | None:
        """The next cell and its newest checkpoint; None where there is nothing to do just now."""
        self._mind_the_budget()
        planned = self.agenda.take()
        for elsewhere in self.agenda.finished_elsewhere:
            self.tally.finish_elsewhere(elsewhere)
        self.agenda.finished_elsewhere.clear()
        if planned is None:
            if self.agenda.waiting and not self.agenda.handed_out and not self._said_that_it_waits:
                self._said_that_it_waits = True
                count = len(self.agenda.waiting)
                self.display.line(
                    f"waiting for {count} cell{'s' * (count > 1)} that another study on this results folder is training"
                )
            return None
        job = Job(
            cell=planned.cell,
            arm=planned.called,
            protocol=self.plan.study.protocol,
            placement=self.place(planned),
            keep_weights=self.keep_weights,
        )
        return planned, job, self._checkpoint(planned)

    def _mind_the_budget(self) -> None:
        """Where the next cell would end too late, neither it nor any other is started: their order is the study's."""
        if self.budget is None or not self.agenda.waiting or self.budget.allows(self.agenda.waiting[0]):
            return
        dropped = self.agenda.drop_waiting()
        self.dropped += dropped
        self.tally.drop(dropped)
        self.display.line(
            f"the budget does not last for {dropped[0].name}: no further cell is started; "
            f"{counted(len(self.dropped), 'cell')} left"
        )

    def _checkpoint(self, planned: PlannedCell) -> bytes | None:
        self._wait_for_checkpoint(planned.cell.key)
        key, checkpoint = planned.cell.key, None
        try:
            checkpoint = self.store.read_checkpoint(key)
        except DamagedCheckpoint as error:
            self.display.line(f"{planned.name}: {error}; the cell starts anew")
        (self._going_on.discard if checkpoint is None else self._going_on.add)(key)
        return checkpoint

    def begin(self, planned: PlannedCell) -> None:
        """A process has the cell."""
        self.tally.begin(planned, goes_on=planned.cell.key in self._going_on)
        if self.budget is not None:
            self.budget.begin(planned)
        self.display.update(self.tally)

    def hear(self, planned: PlannedCell, news: News) -> None:
        """Keeps what a run says."""
        key = planned.cell.key
        match news:
            case Advance():
                self.tally.advance(planned, news.progress, news.epoch, news.validation_accuracy)
            case Checkpoint():
                self._wait_for_checkpoint(key)
                self._kept_epochs[key] = news.epochs
                self._being_written[key] = self._writer.submit(self.store.write_checkpoint, key, news.state)
            case BeganAnew():
                self._kept_epochs.pop(key, None)
                self.display.line(f"{planned.name}: {news.reason}; the cell starts anew")
            case CellResult():
                self._wait_for_checkpoint(key)
                record = self.store.write(news)
                if self.budget is not None:
                    self.budget.end(planned)
                self._end(planned, f"{self._accuracies(planned, record)}, {_seconds(record)}", failed=False)
        self.renew()
        self.display.update(self.tally)

    def fail(self, planned: PlannedCell, end: Failed) -> None:
        """Keeps why a cell left no result; it is not tried again in this run, unless memory was short."""
        if end.kind == "out of memory":
            self.lose(planned, end.log, short_of_memory=True)
            return
        failure = Failure(
            key=planned.cell.key,
            arm=planned.called,
            seed=planned.cell.seed,
            kind=end.kind,
            sentence=end.sentence,
            epoch=end.epoch,
        )
        file = self.store.write_failure(failure, end.log)
        self._end(planned, f"{end.kind}: {end.sentence} (log: {file})", failed=True)
        self.display.update(self.tally)

    def lose(self, planned: PlannedCell, log: str, *, short_of_memory: bool) -> None:
        """A cell's process is gone: it goes on from its checkpoint elsewhere, or fails where it has died too often."""
        if self.agenda.requeue(planned, short_of_memory=short_of_memory):
            self.tally.requeue(planned)
            kept = self._kept_epochs.get(planned.cell.key)
            where = f"goes on after epoch {kept}" if kept else "starts anew"
            self.display.line(
                f"{planned.name}: "
                + (
                    "out of memory; it is tried once more, alone"
                    if short_of_memory
                    else f"its process was killed, or lost with its node; the cell {where}"
                )
            )
            self.display.update(self.tally)
            return
        sentence = (
            "out of memory, also without other cells beside it"
            if short_of_memory
            else "its process died each time that it was started (out of memory, perhaps)"
        )
        self.fail(planned, Failed("failed", sentence, log or sentence))

    def renew(self) -> None:
        """Says now and then to other studies that this one is alive."""
        if time.monotonic() - self._renewed > SIGN_OF_LIFE_SECONDS:
            self._renewed = time.monotonic()
            self.agenda.touch()
        self.watch()

    def _wait_for_checkpoint(self, key: str) -> None:
        """Until the cell's newest checkpoint is on the disk, or the disk has refused it."""
        if key in self._being_written:
            self._being_written.pop(key).result()

    def close(self) -> None:
        """Gives back what is handed out: the study ends, before its cells perhaps."""
        self._writer.shutdown()
        self.agenda.release()

    def _end(self, planned: PlannedCell, text: str, *, failed: bool) -> None:
        self.agenda.close(planned)
        if failed:
            self.given_up.add(planned.cell.key)
        self.tally.end(planned, failed=failed)
        left = self.tally.seconds_left()
        rest = f"; about {duration(left)} left" if left and (self.tally.running or self.tally.waiting) else ""
        self.display.line(f"[{self.tally.finished}/{self.tally.total}] {planned.name}: {text}{rest}")

    def _accuracies(self, planned: PlannedCell, record: Record) -> str:
        validation = f"validation {record.curve[-1].validation_accuracy:.2%}"
        if planned.tried:  # who chooses by validation does not look at the test images
            return validation
        return f"{validation}, test {record.test_accuracy:.2%}"


def _seconds(record: Record) -> str:
    return duration(record.train_seconds + record.evaluate_seconds)
