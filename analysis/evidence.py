"""What is at hand to decide claims about the documented study by: studies, their arms and seeds; and what can be found.

A study has what a claim needs if its arms differ in just the fields that the claim is about, whatever grid, command or table they
came from.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.documented import Documented, documented
from analysis.outcomes import Outcomes
from analysis.reproduction import is_the_documented_network
from analysis.statistics import PairedEffect, paired_effect
from analysis.studied import StudiedArm
from analysis.study_tables import StudyTables

Kind = Literal["supported", "not supported", "inconclusive", "not testable", "not measured"]
KINDS: tuple[Kind, ...] = ("supported", "not supported", "inconclusive", "not testable", "not measured")


@dataclass(frozen=True)
class Finding:
    """What the evidence says of a claim."""

    kind: Kind
    sentence: str
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    unit: str = ""
    """What effect, low and high are: points (of accuracy, as shares of 1), or another measure's name."""
    seeds: int = 0
    source: str = ""
    """Which study, under which protocol."""


@dataclass(frozen=True)
class Tested:
    """A paired difference that a claim is about, before all claims' p-values are corrected together."""

    effect: PairedEffect
    outcomes: Outcomes
    """Of the study that it is of."""
    says: str
    """What the difference is, in words."""

    @property
    def looks(self) -> int:
        """How many times the study was looked at, or was planned to be: p-values count as often."""
        plan = self.outcomes.study.looks
        return self.outcomes.looks if plan is None else max(len(plan.seeds), self.outcomes.looks)


@dataclass(frozen=True)
class Evidence:
    """All that is at hand to decide by."""

    studies: Sequence[StudyTables]
    published: Documented = field(default_factory=documented)
    control: pd.DataFrame = field(default_factory=pd.DataFrame)
    """As `analysis.shape_blind.recall_table`; empty where it was not run."""
    composites: pd.DataFrame = field(default_factory=pd.DataFrame)
    """As `analysis.attention.composite_table`, with a column source; empty where nothing was measured."""
    memory: pd.DataFrame = field(default_factory=pd.DataFrame)
    """As `analysis.memory.memory_table`."""

    @cached_property
    def ranked(self) -> list[StudyTables]:
        """Studies of the documented network, the most telling first: on all of CIFAR-10, with most training images, and most
        seeds.
        """
        ours = [study for study in self.studies if is_the_documented_network(study.outcomes.baseline)]
        return sorted(
            ours,
            key=lambda study: (*scale(study.outcomes), len(study.outcomes.correct[study.outcomes.baseline.name])),
            reverse=True,
        )

    def baselines(self) -> Iterator[StudyTables]:
        """Studies with at least two seeds of the baseline, in the order of `ranked`."""
        return (study for study in self.ranked if len(study.outcomes.correct[study.outcomes.baseline.name]) > 1)

    def pair(self, changed: Mapping[str, Any], against: Mapping[str, Any] | None = None) -> "Pair | None":
        """The arm with these changes of the baseline, and the one that it is to be compared with (the baseline itself where
        nothing is said), of the studies with the most telling data the one in which most seeds have both.
        """
        pairs = []
        for study in self.ranked:
            arms = [arm_with(study.outcomes, fields) for fields in (changed, against or {})]
            if None in arms:
                continue
            one, other = (arm.name for arm in arms if arm is not None)
            seeds = shared_seeds(study.outcomes, [one, other])
            if len(seeds) > 1:
                pairs.append(Pair(study.outcomes, one, other, seeds))
        return max(pairs, key=lambda pair: (*scale(pair.outcomes), len(pair.seeds)), default=None)


@dataclass(frozen=True)
class Pair:
    """Two arms of a study, and the seeds that both have."""

    outcomes: Outcomes
    arm: str
    reference: str
    seeds: Sequence[int]

    def right(self, arm: str) -> np.ndarray:
        """(seeds, images) bool."""
        return np.stack([self.outcomes.correct[arm][seed] for seed in self.seeds])

    def tested(self, says: str) -> Tested:
        return Tested(paired_effect(self.right(self.arm), self.right(self.reference)), self.outcomes, says)


def scale(outcomes: Outcomes) -> tuple[bool, int]:
    """Whether a study is on the whole data set, and its training images: what is more telling is greater."""
    data, split = outcomes.study.data, outcomes.study.split
    return data is not None and data.source == "full", 0 if split is None else split.train


def arm_with(outcomes: Outcomes, changed: Mapping[str, Any]) -> StudiedArm | None:
    """The arm that differs from the study's baseline in just these fields. A field may be given as a condition on its value."""

    def fits(arm: StudiedArm) -> bool:
        differences = dict(arm.changes)
        return differences.keys() == changed.keys() and all(
            wanted(differences[name]) if callable(wanted) else differences[name] == wanted
            for name, wanted in changed.items()
        )

    return outcomes.baseline if not changed else next((arm for arm in outcomes.arms if fits(arm)), None)


def shared_seeds(outcomes: Outcomes, arms: Sequence[str]) -> list[int]:
    """The seeds whose answers all of these arms have."""
    return sorted(set.intersection(*(set(outcomes.correct[arm]) for arm in arms)))


def source_of(outcomes: Outcomes) -> str:
    """A study in a phrase, with its scale."""
    about, arm = outcomes.study, outcomes.baseline
    size = arm.spec.get("image_size")
    scale = (
        about.protocol,
        f"{size} pixels" if size else "",
        f"{about.split.train:,} training images" if about.split else "",
        f"{arm.epochs} epochs" if arm.epochs else "",
    )
    return " on ".join(
        filter(None, (f"{about.name} ({', '.join(filter(None, scale))})", about.data.name if about.data else ""))
    )
