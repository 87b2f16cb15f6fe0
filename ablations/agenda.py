"""Which cell next. Knows nothing of Ray."""

from collections import Counter
from collections.abc import Sequence

from ablations.plan import PlannedCell
from ablations.store import Store

TRIES = 4
"""How often a cell is started whose process dies: killed by the system, or lost with its node."""


class Agenda:
    """The cells that are still to be trained, handed out one at a time and claimed in the moment they are.

    Cells that another study on the results folder is training are passed over, and looked at again later.
    """

    def __init__(self, cells: Sequence[PlannedCell], store: Store) -> None:
        self.store = store
        self.waiting = list(cells)
        self.handed_out: dict[str, PlannedCell] = {}
        self.finished_elsewhere: list[PlannedCell] = []
        """Cells that another study has finished since; whoever counts takes them from here."""
        self._deaths: Counter[str] = Counter()
        self._short_of_memory: set[str] = set()

    def add(self, cells: Sequence[PlannedCell]) -> None:
        """More of them, behind the others."""
        self.waiting += cells

    def drop_waiting(self) -> list[PlannedCell]:
        """No further cell is handed out; returns those that would have been."""
        dropped, self.waiting = self.waiting, []
        return dropped

    @property
    def is_over(self) -> bool:
        return not self.waiting and not self.handed_out

    def take(self) -> PlannedCell | None:
        """The next cell, claimed for this run; None where all that are waiting are being trained elsewhere."""
        for planned in list(self.waiting):
            key = planned.cell.key
            if self.store.is_finished(key):
                self.waiting.remove(planned)
                self.finished_elsewhere.append(planned)
            elif self.store.claim(key):
                self.waiting.remove(planned)
                self.handed_out[key] = planned
                return planned
        return None

    def close(self, planned: PlannedCell) -> None:
        """The cell has left a record or a failure."""
        if self.handed_out.pop(planned.cell.key, None) is not None:
            self.store.release(planned.cell.key)

    def requeue(self, planned: PlannedCell, *, short_of_memory: bool) -> bool:
        """Puts a cell whose process died behind the others, unless it has died too often: then False, and it is still to be
        closed. Where memory was short, it is tried once more, and `needs_all` from then on.
        """
        key = planned.cell.key
        self._deaths[key] += 1
        if self._deaths[key] >= TRIES or (short_of_memory and key in self._short_of_memory):
            return False
        if short_of_memory:
            self._short_of_memory.add(key)
        self.close(planned)
        self.waiting.append(planned)
        return True

    def needs_all(self, planned: PlannedCell) -> bool:
        """Whether the cell has died for memory, so that it should have a machine for itself."""
        return planned.cell.key in self._short_of_memory

    def touch(self) -> None:
        """Says to other studies that this one is alive."""
        self.store.renew()

    def release(self) -> None:
        """Gives back what is handed out: the study ends before its cells do."""
        self.waiting += self.handed_out.values()
        self.handed_out.clear()
        self.store.end_run()
