"""Which cells a study with planned looks needs, as far as what is finished says. Knows nothing of statistics, nor of Ray.

What is needed follows from the results folder alone. So a study that was interrupted comes to the same decisions again, and
one that is looked at by a dry run to those that its run will come to.
"""

from collections.abc import Collection
from typing import Protocol

from ablations.plan import Plan, PlannedCell, listed
from ablations.record import LookPlan, Study
from ablations.store import Store


class Rule(Protocol):
    """Decides after each look which arms go on. `analysis.looks.PlannedLooks` is one."""

    @property
    def plan(self) -> LookPlan:
        """What the manifest keeps of it."""

    @property
    def least_arms(self) -> int:
        """Arms beside the baseline that it needs."""

    def going_on(self, store: Store, study: Study) -> Collection[str]:
        """Arms that are trained with the next look's seeds, after the looks whose cells `study` lists. All of these are
        finished, or will not be.
        """


def needed_cells(plan: Plan, rule: Rule | None, given_up: Collection[str] = ()) -> list[PlannedCell]:
    """The study's cells of the looks that are over and of the one that is not, or all cells where no looks are planned. The
    baseline goes on as long as any arm does. Looks of a study in shards are over when the results of all shards are here.

    Args: given_up: keys of cells that failed, and are not tried again before the next look.
    """
    whole = [*plan.cells, *plan.others]
    if rule is None:
        return whole
    going = {planned.arm.name for planned in whole}
    cells: list[PlannedCell] = []
    before = 0
    for seeds in rule.plan.seeds:
        cells += [planned for planned in whole if before <= planned.cell.seed < seeds and planned.arm.name in going]
        before = seeds
        if plan.store is None or seeds == rule.plan.seeds[-1] or not all(_is_over(plan, p, given_up) for p in cells):
            break
        going = {*rule.going_on(plan.store, plan.study.model_copy(update={"cells": listed(cells)}))}
        if not going:
            break
        going.add(plan.baseline.name)
    return cells


def _is_over(plan: Plan, planned: PlannedCell, given_up: Collection[str]) -> bool:
    return plan.is_finished(planned) or planned.cell.key in given_up or plan.diverged(planned)
