"""Main effects and interactions: what each factor of a crossed grid does, and whether factors act apart from one another.

A grid such as `batch_norm_dropout` trains every combination of its factors' levels. A main effect is the effect of one
factor averaged over the levels of all others; an interaction is how far the effect of one depends on the level of another.
Where there is an interaction, the main effect is an average over effects that differ, and the interaction is the finding.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from ablations.arm import Level
from ablations.units import counted, level_text
from analysis.effects import Correct, points
from analysis.metric import ACCURACY
from analysis.statistics import SIGNIFICANT, PairedEffect, contrast_effect, holm
from analysis.studied import StudiedArm

EFFECTS = (
    "kind", "factor", "level", "reference", "other_factor", "other_level", "other_reference", "at_level", "at_reference",
    "delta", "low", "high", "p_value", "adjusted_p", "paired_seeds", "remark", "sentence",
)  # fmt: skip
ACCURACIES = (
    "factor", "level", "other_factor", "other_level", "averaged_over", "is_baseline", "seed", "test_accuracy",
)  # fmt: skip


LEAST_SHARE = 3 / 4
"""Of all combinations of levels, more must be arms for them to count as a crossing that lacks some."""

Setting = tuple[tuple[str, Level], ...]
"""Levels of some factors."""
Clusters = Int[np.ndarray, " images"] | None
Term = tuple[Setting, int]
"""Arms with these levels, and whether they are added or taken away."""


@dataclass(frozen=True)
class Design:
    """Arms that cross two or more factors: every combination of levels is one arm, or nearly every one."""

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

    def settings(self, *factors: str) -> list[Setting]:
        """All combinations of the levels of the factors but these."""
        rest = {factor: levels for factor, levels in self.levels.items() if factor not in factors}
        return [tuple(zip(rest, levels, strict=True)) for levels in product(*rest.values())]

    def arm(self, levels: Setting) -> str | None:
        """The name of the arm with these levels of all factors; None where none has."""
        wanted = dict(levels)
        return next((arm.name for arm in self.arms if arm.levels == wanted), None)


def design(arms: Sequence[StudiedArm]) -> Design | None:
    """The crossing that arms with the same factors form, the largest if there are several; None if there is none.

    Arms with no levels or with other factors stay out of it, such as a baseline beside the design. No crossing: a single
    factor, a factor with one level, a combination that more than one arm has, or a quarter of the combinations or more that
    none has.
    """
    by_factors: dict[frozenset[str], list[StudiedArm]] = {}
    for arm in arms:
        by_factors.setdefault(frozenset(arm.levels), []).append(arm)
    crossings = [crossing for group in by_factors.values() if (crossing := _crossing(group))]
    return max(crossings, key=lambda crossing: len(crossing.arms), default=None)


def _crossing(arms: Sequence[StudiedArm]) -> Design | None:
    levels = {factor: _ordered([arm.levels[factor] for arm in arms]) for factor in arms[0].levels}
    combined = {tuple(arm.levels[factor] for factor in levels) for arm in arms}
    enough = len(combined) > LEAST_SHARE * math.prod(map(len, levels.values()))
    if len(levels) < 2 or min(map(len, levels.values())) < 2 or len(combined) < len(arms) or not enough:
        return None
    reference = next((arm for arm in arms if arm.is_baseline), arms[0])
    return Design(tuple(arms), levels, {factor: reference.levels[factor] for factor in levels})


def _ordered(levels: Sequence[Level]) -> tuple[Level, ...]:
    distinct = tuple(dict.fromkeys(levels))
    numbers = [level for level in distinct if not isinstance(level, str)]
    return tuple(sorted(numbers)) if len(numbers) == len(distinct) else distinct


# -- effects


@dataclass(frozen=True)
class Estimate:
    """A sum of arms' accuracies, averaged over settings of the other factors."""

    effect: PairedEffect
    seeds: tuple[int, ...]
    settings: tuple[Setting, ...]
    """Those that it is averaged over."""
    left_out: tuple[Setting, ...]
    """Those of which an arm is missing, or has not the seeds."""
    arms: tuple[tuple[str, int], ...]
    """What entered it: an arm, and whether it was added or taken away."""


def estimated(crossed: Design, correct: Correct, terms: Sequence[Term], clusters: Clusters = None) -> Estimate | None:
    """The average of a sum of terms over the settings of the factors that they do not name, in the seeds that all of its arms
    have; None where no setting has arms that share a seed.

    A setting is left out where one of its arms has no finished seed, or where without it the others share two seeds.
    """
    named = [factor for factor, _ in terms[0][0]]
    every = crossed.settings(*named)
    arms = {
        setting: [(crossed.arm(_in_order(crossed, levels + setting)), sign) for levels, sign in terms]
        for setting in every
    }
    seeds = {
        setting: set.intersection(*(set(correct[arm]) if arm else set() for arm, _ in of_setting))
        for setting, of_setting in arms.items()
    }
    used = [setting for setting in every if seeds[setting]]
    if not used:
        return None
    wanted = min(2, max(len(seeds[setting]) for setting in used))
    while len(shared := sorted(set.intersection(*(seeds[setting] for setting in used)))) < wanted:
        used.remove(min(reversed(used), key=lambda setting: len(seeds[setting])))
    entering = [(arm, sign) for setting in used for arm, sign in arms[setting] if arm]
    values = np.stack([sum(sign * correct[arm][seed].astype(float) for arm, sign in entering) for seed in shared])
    return Estimate(
        contrast_effect(values / len(used), clusters=clusters),
        tuple(shared),
        tuple(used),
        tuple(setting for setting in every if setting not in used),
        tuple(entering),
    )


def _in_order(crossed: Design, levels: Setting) -> Setting:
    by_factor = dict(levels)
    return tuple((factor, by_factor[factor]) for factor in crossed.levels)


def factor_effects(
    arms: Sequence[StudiedArm],
    correct: Correct,
    clusters: Clusters = None,
    *,
    diverged: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """Main effects, a row for each level but its factor's reference, then interactions of two factors, a row for each pair.

    Columns: kind (main, interaction), factor, level, reference (in words; on and off for what is switched); for an
    interaction other_factor, other_level, other_reference, and the effect of `level` at both of them, at_level and
    at_reference; delta (for an interaction their difference), low, high (95 % interval for new seeds and new test images;
    differences are 0 to 1), p_value, adjusted_p (Holm), paired_seeds, remark (what is left out of the average, why there is
    no effect, or why diverged seeds make it no finding), sentence (with its scope).

    An effect is averaged over all factors that it does not name. Holm's family are all rows of the table: calling those
    below 0.05 significant errs at all in 5 % of studies. Interactions of three factors are left out: one of two factors
    is averaged over the third, and may differ between its levels.

    A seed counts for an effect if every arm of that effect has finished it. Where an arm has none, the effect is averaged
    over the levels of the other factors that are left, which the remark says; where none is left, the row is blank. As in the
    table of effects, seeds that diverged make those that are left the luckier ones: no effect is better by arms that lost
    some. One seed gives effects without intervals. Without a `design`, or an effect that can be estimated, the table is empty.

    Args: arms: of the study, as `Outcomes.arms`. correct: as `Outcomes.correct`. clusters: as `Outcomes.clusters`.
        diverged: how many seeds of an arm.
    """
    crossed = design(arms)
    rows = _effect_rows(crossed, correct, clusters) if crossed else []
    if not any(estimate for _, estimate in rows):
        rows = []
    adjusted = holm([row["p_value"] for row, _ in rows]).tolist()
    for (row, estimate), p in zip(rows, adjusted, strict=True):
        row["adjusted_p"] = p
        caution = _caution(row, estimate, diverged or {})
        if caution:
            row["remark"] = "; ".join(filter(None, (row["remark"], caution)))
            row["sentence"] += f" {caution[0].upper()}{caution[1:]}."
    return pd.DataFrame([row for row, _ in rows], columns=list(EFFECTS))


Row = tuple[dict[str, Any], Estimate | None]


def _effect_rows(crossed: Design, correct: Correct, clusters: Clusters) -> list[Row]:
    main = [
        _main(crossed, correct, clusters, factor, level)
        for factor, levels in crossed.levels.items()
        for level in levels
        if level != crossed.references[factor]
    ]
    joint = [
        _joint(crossed, correct, clusters, (factor, level), (other, other_level))
        for factor, other in crossed.pairs
        for level, other_level in product(crossed.levels[factor], crossed.levels[other])
        if level != crossed.references[factor] and other_level != crossed.references[other]
    ]
    return [*main, *joint]


def _main(crossed: Design, correct: Correct, clusters: Clusters, factor: str, level: Level) -> Row:
    terms = [(((factor, level),), 1), (((factor, crossed.references[factor]),), -1)]
    found = estimated(crossed, correct, terms, clusters)
    row = {
        "kind": "main",
        "factor": factor,
        "level": level_text(level),
        "reference": level_text(crossed.references[factor]),
        "other_factor": "",
        "other_level": "",
        "other_reference": "",
    }
    change = crossed.change(factor, level)
    sentence = f"{change}: {_found(crossed, found, factor)}." if found else f"{change}: not estimated."
    return _with_numbers(crossed, row, found, sentence, (factor,)), found


def _joint(
    crossed: Design, correct: Correct, clusters: Clusters, one: tuple[str, Level], two: tuple[str, Level]
) -> Row:
    (factor, level), (other, other_level) = one, two
    levels, others = ((chosen, crossed.references[name]) for name, chosen in (one, two))
    terms = [
        (((factor, a), (other, b)), 1 if (a == level) == (b == other_level) else -1) for b, a in product(others, levels)
    ]
    found = estimated(crossed, correct, terms, clusters)
    places = [level_text(place) for place in others]
    row: dict[str, Any] = {
        "kind": "interaction",
        "factor": factor,
        "level": level_text(level),
        "reference": level_text(crossed.references[factor]),
        "other_factor": other,
        "other_level": places[0],
        "other_reference": places[1],
    }
    sentence = f"{crossed.change(factor, level)}, at {other} {places[0]} and {places[1]}: not estimated."
    if found:
        # Arms stand in the order of the terms: two at the level, two at the reference, setting by setting.
        means = [sign * np.mean([correct[arm][seed].mean() for seed in found.seeds]) for arm, sign in found.arms]
        by_term = np.array(means).reshape(len(found.settings), 4).mean(axis=0)
        row["at_level"], row["at_reference"] = float(by_term[:2].sum()), float(-by_term[2:].sum())
        each = ", ".join(
            f"{points(row[at], sign=True)} points at {other} {place}"
            for at, place in zip(("at_level", "at_reference"), places, strict=True)
        )
        sentence = f"{crossed.change(factor, level)}: {each}; difference {_found(crossed, found, factor, other)}."
    return _with_numbers(crossed, row, found, sentence, (factor, other)), found


def _with_numbers(
    crossed: Design, row: dict[str, Any], found: Estimate | None, sentence: str, factors: Sequence[str]
) -> dict[str, Any]:
    if found is None:
        numbers = dict.fromkeys(("delta", "low", "high", "p_value"), math.nan)
        remark = "no seed is finished in every arm that it takes"
        return {**row, **numbers, "paired_seeds": 0, "remark": remark, "sentence": f"{sentence[:-1]}: {remark}."}
    effect = found.effect
    return {
        **row,
        "delta": effect.delta,
        "low": effect.low,
        "high": effect.high,
        "p_value": effect.p_value,
        "paired_seeds": effect.n_seeds,
        "remark": f"averaged over {_only(crossed, found, *factors)}" if found.left_out else "",
        "sentence": sentence,
    }


def _found(crossed: Design, found: Estimate, *factors: str) -> str:
    """Such as: +1.20 points [+0.20, +2.20], averaged over dropout, 5 seeds."""
    effect, over = found.effect, crossed.others(*factors)
    if found.left_out:
        over = _only(crossed, found, *factors)
    interval = "" if effect.reason else f" {ACCURACY.interval(effect.low, effect.high, sign=True)}"
    averaged = f", averaged over {over}" if over else ""
    return f"{points(effect.delta, sign=True)} points{interval}{averaged}, {effect.reason or counted(effect.n_seeds, 'seed')}"


def _only(crossed: Design, found: Estimate, *factors: str) -> str:
    """What an average that lacks settings is over: dropout 0.5 alone; 5 of 6 combinations of dropout and width."""
    if len(found.settings) == 1:
        return ", ".join(f"{factor} {level_text(level)}" for factor, level in found.settings[0]) + " alone"
    of = len(found.settings) + len(found.left_out)
    what = "levels" if len(found.settings[0]) == 1 else "combinations"
    return f"{len(found.settings)} of {of} {what} of {crossed.others(*factors)}"


def _caution(row: Mapping[str, Any], found: Estimate | None, diverged: Mapping[str, int]) -> str:
    """Why a significant effect is no finding: it may come from seeds that were lost. Empty where it is one."""
    if found is None or not row["adjusted_p"] < SIGNIFICANT:
        return ""
    helped = 1 if row["delta"] > 0 else -1
    lost = sum(diverged.get(arm, 0) for arm in {arm for arm, sign in found.arms if sign == helped})
    if not lost:
        return ""
    claim = "show it" if row["kind"] == "interaction" else "make it " + ("better" if helped > 0 else "worse")
    return f"{counted(lost, 'seed')} of its arms diverged, and the others alone do not {claim}"


# -- accuracies


def factor_accuracies(arms: Sequence[StudiedArm], correct: Correct) -> pd.DataFrame:
    """Test accuracies that the interactions of `factor_effects` come from: by pair of factors, a level of each, and seed.

    Columns: factor, level, other_factor, other_level (in words, in the design's order), averaged_over (the remaining
    factors; the accuracy is the mean over the arms with their levels), is_baseline (this is the baseline's own accuracy),
    seed (finished by every arm with these levels), test_accuracy (0 to 1). A combination of which an arm has no seed, or that
    no arm has, is not there.

    A baseline that is none of the points, beside the design or averaged with other arms, follows with no levels (""),
    with those of the points' seeds that it has finished. Empty without a `design`.

    Args: as `factor_effects`.
    """
    crossed = design(arms)
    rows = _accuracy_rows(crossed, next(arm for arm in arms if arm.is_baseline), correct) if crossed else []
    return pd.DataFrame(rows, columns=list(ACCURACIES))


def _accuracy_rows(crossed: Design, baseline: StudiedArm, correct: Correct) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for factor, other in crossed.pairs:
        pair = {"factor": factor, "other_factor": other, "averaged_over": crossed.others(factor, other)}
        is_a_point = baseline in crossed.arms and not pair["averaged_over"]
        known: set[int] = set()
        for level, other_level in product(crossed.levels[factor], crossed.levels[other]):
            at = [arm for arm in crossed.arms if (arm.levels[factor], arm.levels[other]) == (level, other_level)]
            if len(at) < len(crossed.settings(factor, other)):
                continue
            point = {
                **pair,
                "level": level_text(level),
                "other_level": level_text(other_level),
                "is_baseline": is_a_point and (baseline.levels[factor], baseline.levels[other]) == (level, other_level),
            }
            seeds = sorted(set.intersection(*(set(correct[arm.name]) for arm in at)))
            known.update(seeds)
            accuracies = [np.mean([correct[arm.name][seed].mean() for arm in at]) for seed in seeds]
            rows += [{**point, "seed": s, "test_accuracy": a} for s, a in zip(seeds, accuracies, strict=True)]
        if not is_a_point and known:
            beside = {**pair, "level": "", "other_level": "", "is_baseline": True}
            own = {seed: correct[baseline.name][seed] for seed in sorted(known) if seed in correct[baseline.name]}
            rows += [{**beside, "seed": s, "test_accuracy": float(images.mean())} for s, images in own.items()]
    return rows


def repeated_changes(arms: Sequence[StudiedArm]) -> list[str]:
    """Fields in which more than one arm differs from the baseline: none where each arm makes a change of its own.

    What was chosen for each arm by validation does not count.
    """
    times = Counter(field for arm in arms for field in arm.changes)
    return [field for field, count in times.items() if count > 1]
