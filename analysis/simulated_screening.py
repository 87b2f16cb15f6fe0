"""Simulated screening studies: whether the intervals of main effects cover, how often they err, and what they find.

Networks are drawn image by image as in `analysis.simulation`, and read by the functions that read real studies. What two
networks of different runs disagree on comes from their factors: each factor makes other images hard at its other level, so
that runs which share levels also share images. Factors interact: the accuracy of a run moves by + or - c for each pair of
its factors, as their levels agree or not, with c drawn anew for each pair and study from a normal distribution with a
standard deviation of half a cell's.

Designs have the same number of cells: the folded-over one, with each effect's own variance over seeds or with moderated ones
(`analysis.screening.borrowing`); a fractional factorial of half its runs that is not folded, in which interactions are not
told from main effects; and leaving one factor out at a time, which asks for the effect in the full network and is held
against that.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from ablations.designs import Combination, folded, hadamard
from analysis.screening import BySeed, borrowing, interactions, main_effects, run_weights
from analysis.simulation import ACCURACY, DISAGREEMENT, correlation
from analysis.statistics import SIGNIFICANT, PairedEffect, contrast_effect, holm, paired_effect
from analysis.verdicts import MARGIN

Kind = Literal["folded", "moderated", "unfolded", "leave one out"]
KINDS: tuple[Kind, ...] = ("folded", "moderated", "unfolded", "leave one out")
EFFECTS = (3.0, 2.0, 1.5, 1.0, 0.0, 0.0, 0.0)
"""Effects of seven factors, in standard deviations of one seed's difference between two runs."""


@dataclass(frozen=True)
class World:
    """What factors, seeds and images are like."""

    name: str
    seeds: int = 3
    """Of each run of the folded-over design; the others have as many cells."""
    images: int = 1_000
    seed_sd: float = 0.008
    """Over seeds, of the difference of the population accuracies (0 to 1)."""
    seed_disagreement: float = 0.17
    """Share of images on which exactly one of two seeds of the same run is right."""
    interactions: float = 0.5
    """Standard deviation of an interaction, in those of a cell's accuracy."""
    varying: float = 0.0
    """Over seeds, of what the first factor does, in standard deviations of a difference: its own seeds agree less."""
    lost: Literal["nothing", "a cell", "a run"] = "nothing"
    """What of the folded-over design has no result."""

    @property
    def cell_sd(self) -> float:
        """Of a cell's accuracy, over seeds."""
        return float(np.sqrt((self.seed_sd**2 + self.seed_disagreement / self.images) / 2))

    @property
    def difference_sd(self) -> float:
        """Of one seed's difference between two runs."""
        return float(np.sqrt(2)) * self.cell_sd


WORLDS = (
    World("no interactions", interactions=0),
    World("interactions"),
    World("strong interactions", interactions=2),
    World("seeds matter little", seed_sd=0.003),
    World("seeds matter much", seed_sd=0.015),
    World("images matter", seed_sd=0.003, seed_disagreement=0.12),
    World("5 seeds", seeds=5),
    World("a factor that varies", varying=1.5),
    World("a cell is lost", lost="a cell"),
    World("a run is lost", lost="a run"),
)


def design_of(kind: Kind, factors: int) -> list[Combination]:
    """The runs of a design; those of leave one out begin with the full network."""
    whole = folded(factors)
    if kind == "leave one out":
        return [tuple(factor != gone for factor in range(factors)) for gone in (None, *range(factors))]
    if kind in ("folded", "moderated"):
        return whole
    return [tuple(sign > 0 for sign in row[1 : factors + 1]) for row in hadamard(len(whole) // 2)]


def accuracies(
    design: Sequence[Combination], effects: Float[np.ndarray, " factors"], joint: Float[np.ndarray, "factors factors"]
) -> Float[np.ndarray, " runs"]:
    """Of each run on the population of images. Args: effects: main effects of the other levels. joint: of each pair (above the
    diagonal), what is added where both are at one level, and taken where not.
    """
    x = np.where(np.array(design), 1.0, -1.0)
    return ACCURACY - x @ effects / 2 + np.einsum("rf,fg,rg->r", x, np.triu(joint, 1), x)


def draw(
    world: World, design: Sequence[Combination], right: Float[np.ndarray, " runs"], seeds: int, rng: np.random.Generator
) -> Bool[np.ndarray, "runs seeds images"]:
    """Which images each network gets right."""
    runs, factors, images = len(design), len(design[0]), world.images
    between, within = correlation(DISAGREEMENT), correlation(world.seed_disagreement)
    x = np.where(np.array(design), 1.0, -1.0)
    hard = np.sqrt(between) * rng.standard_normal(images)
    by_factor = np.sqrt((within - between) / factors) * rng.standard_normal((factors, images))
    skill = rng.standard_normal((runs, seeds, images), dtype=np.float32)
    skill *= np.float32(np.sqrt(1 - within))
    skill += (hard + x @ by_factor)[:, None].astype(np.float32)
    luck = world.seed_sd / np.sqrt(2) * rng.standard_normal((runs, seeds))
    luck -= x[:, :1] / 2 * world.varying * world.difference_sd * rng.standard_normal(seeds)
    return skill < stats.norm.ppf(right[:, None] + luck)[..., None].astype(np.float32)


def read(
    world: World, kind: Kind, design: Sequence[Combination], right: Bool[np.ndarray, "runs seeds images"]
) -> list[PairedEffect]:
    """The effect of each factor, as a study of such a design has it."""
    if kind == "leave one out":
        return [paired_effect(arm, right[0]) for arm in right[1:]]
    if kind == "unfolded":
        weights = run_weights(design, [True] * len(design))
        return [contrast_effect(np.tensordot(of_runs, right, axes=1)) for of_runs in weights]
    lost = {"nothing": set(), "a cell": {(2, 1)}, "a run": {(2, seed) for seed in range(right.shape[1])}}[world.lost]
    correct: list[BySeed] = [
        {seed: images for seed, images in enumerate(seeds) if (run, seed) not in lost}
        for run, seeds in enumerate(right)
    ]
    main = main_effects(design, correct)
    if kind == "moderated":
        main, _ = borrowing(main, interactions(design, correct))
    return [contrast.effect for contrast in main if contrast is not None]


def truth(
    kind: Kind, right: Float[np.ndarray, " runs"], effects: Float[np.ndarray, " factors"]
) -> Float[np.ndarray, " factors"]:
    """What a design asks for: main effects, or those in the full network."""
    return right[1:] - right[0] if kind == "leave one out" else effects


def measure(world: World, *, runs: int, seed: int) -> list[dict[str, float | str]]:
    """What each design does in a world: a row a design.

    Columns: world's fields, design, cells, runs; coverage (of nominal 95 % intervals of all factors), coverage_least (of the
    factor that is covered least), false_difference (share of studies without main effects in which any is called different
    after Holm's correction; of leave one out, without effects in the full network), false_equivalence (share of studies with
    all effects at the margin in which any is called equivalent), power_1 to power_3 (share of factors with an effect of so many
    standard deviations of a difference that are called different), half_width (of intervals, mean).
    """
    rows = []
    factors = len(EFFECTS)
    for kind in KINDS:
        rng = np.random.default_rng([seed, WORLDS.index(world)])
        design = design_of(kind, factors)
        seeds = world.seeds * len(folded(factors)) // len(design)
        mixed = -world.difference_sd * np.array(EFFECTS)
        covered, found, widths = [], [], []
        errors = {"false_difference": 0, "false_equivalence": 0}
        for _ in range(runs):
            joint = world.interactions * world.cell_sd * rng.standard_normal((factors, factors))
            expected = accuracies(design, mixed, joint)
            effects = read(world, kind, design, draw(world, design, expected, seeds, rng))
            wanted = truth(kind, expected, mixed)
            covered.append([each.low <= value <= each.high for each, value in zip(effects, wanted, strict=True)])
            found.append(holm([each.p_value for each in effects]) < SIGNIFICANT)
            widths.append(np.mean([(each.high - each.low) / 2 for each in effects]))
            for name, effect in (("false_difference", 0.0), ("false_equivalence", -MARGIN)):
                level = _flat(kind, design, effect, joint)
                effects = read(world, kind, design, draw(world, design, level, seeds, rng))
                p = [each.p_value if effect == 0 else each.equivalence_p(MARGIN) for each in effects]
                errors[name] += int((holm(p) < SIGNIFICANT).any())
        power = {
            f"power_{effect:g}": float(np.array(found)[:, np.equal(EFFECTS, effect)].mean())
            for effect in sorted(set(EFFECTS))
            if effect
        }
        rows.append(
            {
                **asdict(world),
                "design": kind,
                "cells": len(design) * seeds,
                "runs": runs,
                "coverage": float(np.mean(covered)),
                "coverage_least": float(np.mean(covered, axis=0).min()),
                **{name: count / runs for name, count in errors.items()},
                **power,
                "half_width": float(np.mean(widths)),
            }
        )
    return rows


def _flat(
    kind: Kind, design: Sequence[Combination], effect: float, joint: Float[np.ndarray, "factors factors"]
) -> Float[np.ndarray, " runs"]:
    """Accuracies of runs such that every effect that the design asks for is `effect`, whatever interacts."""
    if kind == "leave one out":
        return np.array([ACCURACY, *[ACCURACY + effect] * (len(design) - 1)])
    return accuracies(design, np.full(len(design[0]), effect), joint)
