"""What a study with planned looks will take, before it is begun: cells at least, at most, and on average, by simulation."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ablations.record import LookPlan, Study
from ablations.sealed import DamagedRecord
from ablations.store import Store
from ablations.units import counted
from analysis.simulated_studies import Design, World, carry_out, draw
from cnnkit.errors import UserError

ASSUMED_SD = 0.008
"""Over seeds, of the difference of two arms' population accuracies (0 to 1), where no study has measured it."""
SEED_DISAGREEMENT = 0.17
"""Share of test images on which exactly one of two seeds of the same arm is right; most of what two arms disagree on."""
EFFECTS = (0.005, 0.01, 0.02)
RUNS = 200
MOST_SIMULATED = 100
"""Seeds of an arm."""


@dataclass(frozen=True)
class Spread:
    """How much the difference of an arm and the baseline varies from seed to seed, on one test set; 0 to 1."""

    sd: float
    source: str
    """Where that is known from."""


def known_spread(store: Store | None, study: Study) -> Spread:
    """Of earlier studies on the same images, those of the same protocol if there are any; else what is assumed."""
    variances: dict[bool, list[tuple[float, int]]] = defaultdict(list)
    for earlier in _studies(store):
        if earlier.data.fingerprint == study.data.fingerprint and earlier.split == study.split:
            alike = (earlier.protocol, earlier.protocol_changes) == (study.protocol, study.protocol_changes)
            variances[alike] += _variances(store, earlier)
    for alike, found in sorted(variances.items(), reverse=True):
        if found:
            pooled = sum(variance * df for variance, df in found) / sum(df for _, df in found)
            of = "" if alike else " of other protocols"
            return Spread(math.sqrt(pooled), f"from {counted(len(found), 'arm')}{of} in this results folder")
    images = study.split.test
    return Spread(
        math.sqrt(ASSUMED_SD**2 + SEED_DISAGREEMENT / images), "assumed: this results folder has none to measure"
    )


def _studies(store: Store | None) -> Iterator[Study]:
    for name in store.studies() if store is not None else []:
        try:
            found = store.study(name) if store is not None else None
        except UserError:
            continue
        if found is not None:
            yield found


def _variances(store: Store | None, study: Study) -> list[tuple[float, int]]:
    """Of each arm with at least three pairs of seeds the variance of its difference, with its degrees of freedom."""
    assert store is not None
    accuracies: dict[str, dict[int, float]] = defaultdict(dict)
    for cell in study.cells:
        try:
            record = store.sound(cell.key)
        except DamagedRecord:
            continue
        if record is not None:
            accuracies[cell.arm][cell.seed] = record.test_accuracy
    reference = accuracies.pop(study.baseline.name, {})
    found = []
    for seeds in accuracies.values():
        differences = [seeds[seed] - reference[seed] for seed in seeds.keys() & reference.keys()]
        if len(differences) >= 3:
            found.append((float(np.var(differences, ddof=1)), len(differences) - 1))
    return found


@dataclass(frozen=True)
class Expected:
    """Cells of a study with planned looks, the baseline's among them."""

    least: int
    most: int
    average: Mapping[float, float]
    """By the effect (0 to 1) that every arm is taken to have. Empty where so many seeds are not simulated."""
    settled: Mapping[float, float]
    """Likewise, the share of the arms that get a verdict."""
    spread: Spread

    def lines(self) -> list[str]:
        """Such as: 27 cells at least, 90 at most; and one on each effect that is simulated."""
        return [
            f"{self.least} cells at least, {self.most} at most",
            *(
                f"if every arm differs by {counted(100 * effect, 'point')}: about {cells:.0f} cells on average, and "
                f"{100 * self.settled[effect]:.0f} % of the arms get a verdict"
                for effect, cells in self.average.items()
            ),
            f"(taking the SD of a seed's difference to be {100 * self.spread.sd:.2f} points, {self.spread.source})",
        ]


def expected_cells(plan: LookPlan, *, arms: int, images: int, spread: Spread, candidates: int = 1) -> Expected:
    """What a plan takes of `arms` arms beside the baseline, on so many test images.

    Args: candidates: cells among which every seed of an arm chooses.
    """
    within = min(SEED_DISAGREEMENT, images * spread.sd**2)
    world = World("expected", images, math.sqrt(max(spread.sd**2 - within / images, 0.0)), within)
    design = Design("plan", plan.seeds, plan.levels, gives_up=True, moderated=plan.variance == "moderated")
    average, settled = {}, {}
    if plan.seeds[-1] <= MOST_SIMULATED:
        for effect in EFFECTS:
            drawn = draw(world, [-effect] * arms, RUNS, np.random.default_rng(0), most_seeds=plan.seeds[-1])
            found = carry_out(design, drawn, margin=plan.margin)
            average[effect] = float(found.cells.mean()) * candidates
            settled[effect] = float((found.course.differs | found.course.equivalent).mean())
    a_seed = (arms + 1) * candidates
    return Expected(a_seed * plan.seeds[0], a_seed * plan.seeds[-1], average, settled, spread)
