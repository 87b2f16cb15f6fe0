"""Main effects and interactions: what each factor of a crossed grid does, and whether factors act apart from one another.

A grid such as `batch_norm_dropout` trains every combination of its factors' levels. A main effect is the effect of one
factor averaged over the levels of all others; an interaction is how far the effect of one depends on the level of another.
Where there is an interaction, the main effect is an average over effects that differ, and the interaction is the finding.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from ablations.arm import Level
from ablations.units import counted, level_text
from analysis.effects import Correct, points
from analysis.outcomes import StudiedArm
from analysis.statistics import PairedEffect, holm, interaction

EFFECTS = (
    "kind", "factor", "level", "reference", "other_factor", "other_level", "other_reference", "at_level", "at_reference",
    "delta", "low", "high", "p_value", "adjusted_p", "paired_seeds", "sentence",
)  # fmt: skip
ACCURACIES = (
    "factor", "level", "other_factor", "other_level", "averaged_over", "is_baseline", "seed", "test_accuracy",
)  # fmt: skip


@dataclass(frozen=True)
class Design:
    """Arms that cross two or more factors: every combination of levels is one arm."""

    arms: tuple[StudiedArm, ...]
    levels: dict[str, tuple[Level, ...]]
    """Of each factor: numbers from low to high, others in the grid's order."""
    references: dict[str, Level]
    """The level of each factor that its others are held against: the baseline's, or the first in the grid's order."""

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every two factors: the one whose effect is looked at, then the one at whose levels, of which there are more."""
        pairs = combinations(self.levels, 2)
        return [(b, a) if len(self.levels[a]) >= len(self.levels[b]) else (a, b) for a, b in pairs]

    def others(self, *factors: str) -> str:
        """The factors that an effect of `factors` is averaged over, in words; empty where there is none."""
        return " and ".join(factor for factor in self.levels if factor not in factors)

    def change(self, factor: str, level: Level) -> str:
        """Such as: dropout 0 instead of 0.5."""
        return f"{factor} {level_text(level)} instead of {level_text(self.references[factor])}"

    def shared_seeds(self, correct: Correct) -> list[int]:
        """The seeds that every arm has finished."""
        return sorted(set.intersection(*(set(correct[arm.name]) for arm in self.arms)))

    def averaged(self, correct: Correct, factor: str, other: str) -> dict[tuple[Level, Level], np.ndarray]:
        """How often each shared seed gets each test image right, among the arms with these levels of two factors.

        (seeds, images), 0 to 1. The factors' references come first.
        """
        seeds = self.shared_seeds(correct)
        return {
            levels: np.mean(
                [
                    [correct[arm.name][seed] for seed in seeds]
                    for arm in self.arms
                    if (arm.levels[factor], arm.levels[other]) == levels
                ],
                axis=0,
            )
            for levels in product(self._reference_first(factor), self._reference_first(other))
        }

    def _reference_first(self, factor: str) -> list[Level]:
        return sorted(self.levels[factor], key=lambda level: level != self.references[factor])


def design(arms: Sequence[StudiedArm]) -> Design | None:
    """The full crossing that arms with the same factors form, the largest if there are several; None if there is none.

    Arms with no levels or with other factors stay out of it, such as a baseline beside the design. No crossing: a single
    factor, a factor with one level, a combination that no arm or more than one arm has.
    """
    by_factors: dict[frozenset[str], list[StudiedArm]] = {}
    for arm in arms:
        by_factors.setdefault(frozenset(arm.levels), []).append(arm)
    crossings = [crossing for group in by_factors.values() if (crossing := _crossing(group))]
    return max(crossings, key=lambda crossing: len(crossing.arms), default=None)


def _crossing(arms: Sequence[StudiedArm]) -> Design | None:
    levels = {factor: _ordered([arm.levels[factor] for arm in arms]) for factor in arms[0].levels}
    combined = {tuple(arm.levels[factor] for factor in levels) for arm in arms}
    complete = len(combined) == len(arms) == math.prod(map(len, levels.values()))
    if len(levels) < 2 or min(map(len, levels.values())) < 2 or not complete:
        return None
    reference = next((arm for arm in arms if arm.is_baseline), arms[0])
    return Design(tuple(arms), levels, {factor: reference.levels[factor] for factor in levels})


def _ordered(levels: Sequence[Level]) -> tuple[Level, ...]:
    distinct = tuple(dict.fromkeys(levels))
    numbers = [level for level in distinct if not isinstance(level, str)]
    return tuple(sorted(numbers)) if len(numbers) == len(distinct) else distinct


def factor_effects(
    arms: Sequence[StudiedArm], correct: Correct, clusters: Int[np.ndarray, " images"] | None = None
) -> pd.DataFrame:
    """Main effects, a row for each level but its factor's reference, then interactions of two factors, a row for each pair.

    Columns: kind (main, interaction), factor, level, reference (in words; on and off for what is switched); for an
    interaction other_factor, other_level, other_reference, and the effect of `level` at both of them, at_level and
    at_reference; delta (for an interaction their difference), low, high (95 % interval for new seeds and new test images;
    differences are 0 to 1), p_value, adjusted_p (Holm), paired_seeds, sentence (with its scope).

    An effect is averaged over all factors that it does not name. Holm's family are all rows of the table: calling those
    below 0.05 significant errs at all in 5 % of studies. Interactions of three factors are left out: one of two factors
    is averaged over the third, and may differ between its levels.

    Only seeds that every arm of the design has finished count: one that is missing, damaged or diverged in one arm is
    left out of all. One seed gives effects without intervals. Without any, and without a `design`, the table is empty.

    Args: arms: of the study, as `Outcomes.arms`. correct: as `Outcomes.correct`. clusters: as `Outcomes.clusters`.
    """
    crossed = design(arms)
    rows = _effect_rows(crossed, correct, clusters) if crossed and crossed.shared_seeds(correct) else []
    table = pd.DataFrame(rows, columns=list(EFFECTS))
    table["adjusted_p"] = holm(table["p_value"].to_numpy(float))
    return table


def _effect_rows(
    crossed: Design, correct: Correct, clusters: Int[np.ndarray, " images"] | None
) -> list[dict[str, Any]]:
    main: dict[tuple[str, Level], dict[str, Any]] = {}
    joint = []
    for factor, other in crossed.pairs:
        right = crossed.averaged(correct, factor, other)
        effects = interaction(right, clusters=clusters)
        # Every pair that a factor is part of gives it the same main effects.
        for name, found in ((factor, effects.a), (other, effects.b)):
            main.update({(name, level): _main(crossed, name, level, effect) for level, effect in found.items()})
        for (level, other_level), effect in effects.interaction.items():
            at = [
                float(right[level, place].mean() - right[crossed.references[factor], place].mean())
                for place in (other_level, crossed.references[other])
            ]
            joint.append(_joint(crossed, (factor, level), (other, other_level), at, effect))
    in_order = [
        main[factor, level] for factor, levels in crossed.levels.items() for level in levels if (factor, level) in main
    ]
    return [*in_order, *joint]


def _main(crossed: Design, factor: str, level: Level, effect: PairedEffect) -> dict[str, Any]:
    return {
        "kind": "main",
        "factor": factor,
        "level": level_text(level),
        "reference": level_text(crossed.references[factor]),
        "other_factor": "",
        "other_level": "",
        "other_reference": "",
        **_numbers(effect),
        "sentence": f"{crossed.change(factor, level)}: {_found(effect, crossed.others(factor))}.",
    }


def _joint(
    crossed: Design, one: tuple[str, Level], two: tuple[str, Level], at: Sequence[float], effect: PairedEffect
) -> dict[str, Any]:
    (factor, level), (other, other_level) = one, two
    places = level_text(other_level), level_text(crossed.references[other])
    each = ", ".join(f"{points(d, sign=True)} points at {other} {place}" for d, place in zip(at, places, strict=True))
    found = _found(effect, crossed.others(factor, other))
    return {
        "kind": "interaction",
        "factor": factor,
        "level": level_text(level),
        "reference": level_text(crossed.references[factor]),
        "other_factor": other,
        "other_level": places[0],
        "other_reference": places[1],
        "at_level": at[0],
        "at_reference": at[1],
        **_numbers(effect),
        "sentence": f"{crossed.change(factor, level)}: {each}; difference {found}.",
    }


def _numbers(effect: PairedEffect) -> dict[str, float]:
    return {
        "delta": effect.delta,
        "low": effect.low,
        "high": effect.high,
        "p_value": effect.p_value,
        "paired_seeds": effect.n_seeds,
    }


def _found(effect: PairedEffect, others: str) -> str:
    """Such as: +1.20 points [+0.20, +2.20], averaged over dropout, 5 seeds."""
    low, high = (points(bound, sign=True) for bound in (effect.low, effect.high))
    interval = "" if effect.reason else f" [{low}, {high}]"
    averaged = f", averaged over {others}" if others else ""
    return f"{points(effect.delta, sign=True)} points{interval}{averaged}, {effect.reason or counted(effect.n_seeds, 'seed')}"


def factor_accuracies(arms: Sequence[StudiedArm], correct: Correct) -> pd.DataFrame:
    """Test accuracies that the interactions of `factor_effects` come from: by pair of factors, a level of each, and seed.

    Columns: factor, level, other_factor, other_level (in words, in the design's order), averaged_over (the remaining
    factors; the accuracy is the mean over the arms with their levels), is_baseline (this is the baseline's own accuracy),
    seed (finished by every arm of the design), test_accuracy (0 to 1).

    A baseline that is none of the points, beside the design or averaged with other arms, follows with no levels (""),
    with those of the seeds that it has finished. Empty without a `design` or a seed that all its arms have finished.

    Args: as `factor_effects`.
    """
    crossed = design(arms)
    rows = _accuracy_rows(crossed, next(arm for arm in arms if arm.is_baseline), correct) if crossed else []
    return pd.DataFrame(rows, columns=list(ACCURACIES))


def _accuracy_rows(crossed: Design, baseline: StudiedArm, correct: Correct) -> list[dict[str, Any]]:
    seeds = crossed.shared_seeds(correct)
    rows: list[dict[str, Any]] = []
    for factor, other in crossed.pairs if seeds else []:
        pair = {"factor": factor, "other_factor": other, "averaged_over": crossed.others(factor, other)}
        is_a_point = baseline in crossed.arms and not pair["averaged_over"]
        right = crossed.averaged(correct, factor, other)
        for level, other_level in product(crossed.levels[factor], crossed.levels[other]):
            point = {
                **pair,
                "level": level_text(level),
                "other_level": level_text(other_level),
                "is_baseline": is_a_point and (baseline.levels[factor], baseline.levels[other]) == (level, other_level),
            }
            accuracies = right[level, other_level].mean(axis=1)
            rows += [{**point, "seed": s, "test_accuracy": a} for s, a in zip(seeds, accuracies, strict=True)]
        if not is_a_point:
            beside = {**pair, "level": "", "other_level": "", "is_baseline": True}
            own = {seed: correct[baseline.name][seed] for seed in seeds if seed in correct[baseline.name]}
            rows += [{**beside, "seed": s, "test_accuracy": float(images.mean())} for s, images in own.items()]
    return rows


def repeated_changes(arms: Sequence[StudiedArm]) -> list[str]:
    """Fields in which more than one arm differs from the baseline: none where each arm makes a change of its own.

    What was chosen for each arm by validation does not count.
    """
    times = Counter(field for arm in arms for field in arm.changes)
    return [field for field, count in times.items() if count > 1]
