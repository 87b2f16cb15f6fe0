"""Planned looks at a study: what is known of each arm so far, and which arms go on.

    from ablations import Settings, run_study
    from analysis.looks import plan_looks

    run_study("regularisation", "quick", settings=Settings(looks=plan_looks(3, 5, 10)))

The rule is that of `analysis.sequential`, applied to a study's finished cells: an arm is seen at a look when it and the
baseline have all of that look's seeds, but for those that diverged. What is decided follows from the cells alone.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ablations.record import LookPlan, Study
from ablations.store import Store
from analysis.moderation import LEAST_OTHERS, moderate
from analysis.outcomes import Outcomes
from analysis.sequential import Looks, Standing, standings
from analysis.statistics import SIGNIFICANT, PairedEffect, paired_effect, tested
from analysis.verdicts import MARGIN
from cnnkit.errors import UserError

OPEN = ("missing", "running", "failed", "damaged")
"""Statuses of cells that may still get a result."""


@dataclass(frozen=True)
class Course:
    """What is known of each arm of a study with planned looks."""

    plan: LookPlan
    seen: Sequence[Mapping[str, PairedEffect]]
    """For each look, the effects of the arms that went on to it, with the plan's kind of variance and intervals of its level."""
    standings: Mapping[str, Standing]
    """Of the arms that were seen at a look."""
    own: Mapping[str, PairedEffect]
    """Of these arms, the effect at the last look with the variance of its own."""

    def level(self, look: int) -> float:
        """What a look may err, for all arms together."""
        return self.plan.levels[look]

    def adjusted_for_looks(self, arm: str, p_value: float) -> float:
        """A p-value of an arm's last look, to be compared with 5 % once it is corrected for the number of arms; 1 for an arm
        that was seen at none.
        """
        standing = self.standings.get(arm)
        return 1.0 if standing is None else min(p_value * SIGNIFICANT / self.level(standing.look), 1.0)

    def going_on(self, arm: str) -> bool:
        """Whether the plan has further seeds for an arm, which was seen at the last look that there was."""
        standing = self.standings.get(arm)
        return standing is not None and standing.look == len(self.seen) - 1 and not standing.stopped


def course(outcomes: Outcomes, plan: LookPlan) -> Course:
    """Follows a study through its looks, as far as it has come."""
    baseline = outcomes.baseline.name
    arms = [arm.name for arm in outcomes.arms if not arm.is_baseline]
    rows = outcomes.cells[["arm", "seed", "status"]].itertuples(index=False)
    closed = {(arm, seed) for arm, seed, status in rows if status not in OPEN}
    looks = Looks(plan.seeds, plan.levels)
    latest: dict[str, PairedEffect] = {}
    seen: list[dict[str, PairedEffect]] = []
    found: dict[str, Standing] = {}
    for seeds, level in zip(plan.seeds, plan.levels, strict=True):
        going = [arm for arm in arms if arm not in found or not found[arm].stopped]
        complete = [arm for arm in going if all((name, n) in closed for name in (arm, baseline) for n in range(seeds))]
        own = {arm: _effect(outcomes, arm, seeds, level) for arm in complete}
        now = {arm: effect for arm, effect in own.items() if effect is not None}
        latest |= now
        if plan.variance == "moderated":
            borrowed = dict(zip(latest, moderate(list(latest.values())), strict=True))
            now = {arm: borrowed[arm] for arm in now}
        seen.append(now)
        found = standings(looks, seen, arms=arms, margin=plan.margin)
    while seen and not seen[-1]:
        seen.pop()
    return Course(plan, seen, found, latest)


def look_table(outcomes: Outcomes, plan: LookPlan) -> pd.DataFrame:
    """How a study went: one row an arm and look that it came to, in the grid's order.

    Columns: arm, look (from 1), seeds, planned_seeds (of the last look), delta, low, high (interval of the look's level, 0 to
    1), adjusted_p, adjusted_equivalence_p (both for looks and arms), then (what became of the arm: better, worse, equivalent,
    goes on, given up, open).
    """
    known, looks = course(outcomes, plan), Looks(plan.seeds, plan.levels)
    arms = [arm.name for arm in outcomes.arms if not arm.is_baseline]
    rows = []
    for look, (seeds, effects) in enumerate(zip(plan.seeds, known.seen, strict=False)):
        after = standings(looks, known.seen[: look + 1], arms=arms, margin=plan.margin)
        for arm in effects:
            rows.append(
                {
                    "arm": arm,
                    "look": look + 1,
                    "seeds": seeds,
                    "planned_seeds": plan.seeds[-1],
                    "delta": after[arm].effect.delta,
                    "low": after[arm].effect.low,
                    "high": after[arm].effect.high,
                    "adjusted_p": after[arm].adjusted_p,
                    "adjusted_equivalence_p": after[arm].adjusted_equivalence_p,
                    "then": _then(after[arm], is_last=seeds == plan.seeds[-1]),
                }
            )
    columns = [
        *("arm", "look", "seeds", "planned_seeds", "delta", "low", "high"),
        *("adjusted_p", "adjusted_equivalence_p", "then"),
    ]
    order = {arm: place for place, arm in enumerate(arms)}
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("arm", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _then(standing: Standing, *, is_last: bool) -> str:
    if standing.adjusted_p < SIGNIFICANT:
        return "better" if standing.effect.delta > 0 else "worse"
    if standing.settled:
        return "equivalent"
    if is_last:
        return "open"
    return "given up" if standing.stopped else "goes on"


def _effect(outcomes: Outcomes, arm: str, seeds: int, level: float) -> PairedEffect | None:
    """With the first seeds that both have; None where that gives no interval."""
    right, reference = outcomes.correct[arm], outcomes.correct[outcomes.baseline.name]
    both = [seed for seed in range(seeds) if seed in right and seed in reference]
    if len(both) < 2:
        return None
    effect = paired_effect(
        np.stack([right[seed] for seed in both]),
        np.stack([reference[seed] for seed in both]),
        clusters=outcomes.clusters,
        level=1 - level,
    )
    return tested(effect)


@dataclass(frozen=True)
class PlannedLooks:
    """The rule by which a study's arms stop: an `ablations.looks.Rule`."""

    plan: LookPlan

    @property
    def least_arms(self) -> int:
        """Beside the baseline: variances borrow from no fewer."""
        return LEAST_OTHERS + 1 if self.plan.variance == "moderated" else 0

    def going_on(self, store: Store, study: Study) -> Collection[str]:
        """Arms that are trained with the next look's seeds (see `ablations.looks.Rule`)."""
        outcomes, plan = Outcomes.of_manifest(store, study), study.looks or self.plan
        known = course(outcomes, plan)
        reached = sum(len(outcomes.seeds) >= seeds for seeds in plan.seeds)
        if len(known.seen) < reached:  # cells of the baseline, or of all arms, have failed
            return []
        return [arm.name for arm in outcomes.arms if known.going_on(arm.name)]


def plan_looks(*seeds: int, variance: Literal["own", "moderated"] = "own", margin: float = MARGIN) -> PlannedLooks:
    """A plan to look after so many seeds, such as 3, 5, 10, with what each look may err; one number is one look.

    Args: variance: of an arm over seeds: its own, or one that borrows from the other arms' (see `analysis.moderation`).
        margin: of equivalence, 0 to 1.
    Raises: UserError: the numbers do not rise from 2 on.
    """
    try:
        looks = Looks(seeds)
    except ValueError as error:
        raise UserError(f"--seeds {','.join(map(str, seeds))}: {error}") from error
    return PlannedLooks(LookPlan(seeds=seeds, levels=looks.levels, variance=variance, margin=margin))
