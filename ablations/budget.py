"""How much time a run may take: no cell is started that would end later."""

import time

from ablations.plan import PlannedCell


class Budget:
    """When a run is to end, and what its cells have taken so far."""

    def __init__(self, ends: float, pace: float | None = None) -> None:
        """Args: ends: as `time.monotonic` counts. pace: multiply-adds a second of a trial, from cells that were finished
        before; None: not known.
        """
        self.ends, self.pace = ends, pace
        self._began: dict[str, float] = {}
        self._of_arm: dict[str, float] = {}
        self._work = self._seconds = 0.0

    def begin(self, planned: PlannedCell) -> None:
        """A trial starts."""
        self._began[planned.cell.key] = time.monotonic()

    def end(self, planned: PlannedCell) -> None:
        """A trial has left a record."""
        seconds = time.monotonic() - self._began.pop(planned.cell.key, time.monotonic())
        self._of_arm[planned.called] = seconds
        self._work, self._seconds = self._work + planned.work, self._seconds + seconds

    def expected(self, planned: PlannedCell) -> float | None:
        """Seconds of a trial: as its arm's last one, else by its multiply-adds; None as long as nothing is known."""
        if planned.called in self._of_arm:
            return self._of_arm[planned.called]
        if self._seconds:
            return planned.work * self._seconds / self._work
        return planned.work / self.pace if self.pace else None

    def allows(self, planned: PlannedCell) -> bool:
        """Whether a trial that starts now is expected to end in time."""
        return time.monotonic() + (self.expected(planned) or 0.0) <= self.ends
