"""Which test images flip between the baseline and an arm, and what each answered: what to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from analysis.outcomes import Outcomes

Change = Literal["lost", "gained"]


@dataclass(frozen=True)
class Flip:
    """An arm that gets an image wrong which the baseline gets right (lost), or the reverse (gained)."""

    arm: str
    change: Change
    seeds: int
    """In how many seeds."""
    of: int
    """How many seeds arm and baseline share."""


@dataclass(frozen=True)
class Answered:
    """What an arm's networks answer to an image."""

    arm: str
    most: str
    """The class that most of its seeds answer; of several, the first."""
    right: int
    """Seeds that are right."""
    of: int

    @property
    def is_right(self) -> bool:
        """Whether more than half of the seeds are."""
        return 2 * self.right > self.of


@dataclass(frozen=True)
class FlippingImage:
    """An image that flips."""

    place: int
    """Of the image among the test images."""
    true_class: str
    flips: Sequence[Flip]
    answers: Sequence[Answered]
    """The baseline's, then those of the arms in which it flips."""


def flipping_images(outcomes: Outcomes, *, most: int = 12) -> list[FlippingImage]:
    """Of each arm, up to `most` images that it loses and as many that it gains: those that flip so in most seeds, and in at
    least half of them; those that flip in fewer seeds tell of chance. Of several, the first of each class in turn.

    In the order of the classes. Arms that share no finished seed with the baseline have none.
    """
    baseline = outcomes.baseline.name
    found: dict[int, list[Flip]] = {}
    for arm in outcomes.arms:
        shared = outcomes.shared_seeds(arm.name)
        if arm.is_baseline or not shared or not outcomes.is_paired(arm.name):
            continue
        own, its = (np.stack([outcomes.correct[name][seed] for seed in shared]) for name in (arm.name, baseline))
        changes: tuple[tuple[Change, np.ndarray], ...] = (("lost", its & ~own), ("gained", own & ~its))
        for change, flips in changes:
            seeds = flips.sum(axis=0)
            for place in _first(seeds, outcomes.labels, least=len(shared) / 2, most=most):
                found.setdefault(place, []).append(Flip(arm.name, change, int(seeds[place]), len(shared)))
    return [
        FlippingImage(
            place,
            outcomes.classes[outcomes.labels[place]],
            found[place],
            [_answered(outcomes, arm, place) for arm in dict.fromkeys([baseline, *(f.arm for f in found[place])])],
        )
        for place in sorted(found, key=lambda place: (outcomes.labels[place], place))
    ]


def _first(
    seeds: Int[np.ndarray, " images"], labels: Int[np.ndarray, " images"], *, least: float, most: int
) -> list[int]:
    candidates = np.flatnonzero((seeds > 0) & (seeds >= least))
    turn = np.zeros(len(labels), dtype=np.int64)  # how many of its class come before it
    order = candidates[np.argsort(-seeds[candidates], kind="stable")]
    taken: dict[int, int] = {}
    for place in order:
        turn[place] = taken.get(int(labels[place]), 0)
        taken[int(labels[place])] = int(turn[place]) + 1
    return order[np.lexsort((turn[order], -seeds[order]))][:most].tolist()


def _answered(outcomes: Outcomes, arm: str, place: int) -> Answered:
    answers = [int(predicted[place]) for predicted in outcomes.predictions[arm].values()]
    counts = np.bincount(answers, minlength=len(outcomes.classes))
    return Answered(arm, outcomes.classes[int(counts.argmax())], int(counts[outcomes.labels[place]]), len(answers))
