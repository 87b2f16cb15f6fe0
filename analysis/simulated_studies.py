"""Simulated studies of many arms: how often sequential, fixed and careless designs err, what they find, and what they cost.

A study of eight arms is drawn with all seeds of each network, and each design reads of it what it would have trained. To
draw thousands of studies, most worlds are drawn as the accuracies of networks instead of their images. The accuracy of arm
a's network of seed s, on N test images, is

    accuracy_as = arm's accuracy + N(0, seed_sd^2 / 2) + N(0, arm_image_sd^2 / (2 N)) + N(0, seed_disagreement / (2 N))

with the second term shared by all seeds of an arm, which is what `analysis.simulation` gives for large N (a test holds them
to each other). The mean squares of images and rest are drawn from their chi-square distributions. Worlds of few images, of
images that belong together, and of seeds that fail are drawn as what they are.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from analysis.moderation import moderated
from analysis.sequential import Course, Looks, chance_of_settling, follow
from analysis.simulation import DISAGREEMENT
from analysis.statistics import SIGNIFICANT, Parts, by_cluster, half_width, variance_parts, within_margin

MARGIN = 0.01
MOST_SEEDS = 12
MIXED = (3.0, 3.0, 2.0, 1.5, 1.0, 0.0, 0.0, 0.0)
"""Effects of eight arms, in standard deviations of one seed's difference to the baseline."""
ARMS = len(MIXED)
BAD, BAD_LOSS = 0.1, 0.03
"""Probability that a seed fails to train well, and what it then loses in accuracy."""


@dataclass(frozen=True)
class World:
    """What arms, seeds and images are like."""

    name: str
    images: int
    seed_sd: float
    """Over seeds, of the difference of the population accuracies (0 to 1)."""
    seed_disagreement: float
    """Share of images on which exactly one of two seeds of the same arm is right."""
    kind: Literal["as documented", "bad seeds", "clusters", "99 %", "one noisy arm"] = "as documented"

    @property
    def image_by_image(self) -> bool:
        """Whether each answer is drawn, which takes longer."""
        return self.kind in ("clusters", "99 %")

    @property
    def difference_sd(self) -> float:
        """Of one seed's difference to the baseline, over seeds."""
        bad = 2 * BAD * (1 - BAD) * BAD_LOSS**2 if self.kind == "bad seeds" else 0.0
        return float(np.sqrt(self.seed_sd**2 + bad + self.seed_disagreement / self.images))


WORLDS = (
    *(
        World(f"{images:,} images, seeds {100 * sd:g}, within {100 * within:g} %", images, sd, within)
        for images in (2_000, 10_000)
        for sd in (0.003, 0.008, 0.015)
        for within in (0.2, 0.17, 0.12)
    ),
    World("a bad seed in ten, seeds 0.3", 10_000, 0.003, 0.17, "bad seeds"),
    World("a bad seed in ten, seeds 0.8", 10_000, 0.008, 0.17, "bad seeds"),
    World("one arm four times as noisy", 10_000, 0.005, 0.17, "one noisy arm"),
    World("clusters of 5 similar images", 1_000, 0.008, 0.12, "clusters"),
    World("99 % right, 200 images", 200, 0.003, 0.005, "99 %"),
)


@dataclass(frozen=True)
class Drawn:
    """Studies as they are after the first n seeds, for n = 2 to all: arrays (n, runs, arms)."""

    delta: Float[np.ndarray, "n runs arms"]
    seed_variance: Float[np.ndarray, "n runs arms"]
    image_variance: Float[np.ndarray, "n runs arms"]
    rest_variance: Float[np.ndarray, "n runs arms"]
    images: int
    """Independent ones."""


def draw(
    world: World, effects: Sequence[float], runs: int, rng: np.random.Generator, *, most_seeds: int = MOST_SEEDS
) -> Drawn:
    """`runs` studies whose arms have these effects (0 to 1)."""
    accuracies = _luck(world, (runs, 1 + len(effects), most_seeds), rng)
    accuracies[:, 1:] += np.asarray(effects)[:, None]
    if world.image_by_image:
        return _from_images(world, accuracies, rng)
    return _from_accuracies(world, accuracies, rng)


def _luck(
    world: World, shape: tuple[int, int, int], rng: np.random.Generator
) -> Float[np.ndarray, "runs networks seeds"]:
    """How far each network's population accuracy is from its arm's; the baseline's networks come first."""
    luck = world.seed_sd / np.sqrt(2) * rng.standard_normal(shape)
    if world.kind == "bad seeds":
        luck -= BAD_LOSS * (rng.random(luck.shape) < BAD)
    if world.kind == "one noisy arm":
        luck[:, -1] *= 4
    return luck


def _from_accuracies(world: World, accuracies: np.ndarray, rng: np.random.Generator) -> Drawn:
    runs, networks, seeds = accuracies.shape
    n_images = world.images
    arm_image = DISAGREEMENT - world.seed_disagreement
    on_images = np.sqrt(arm_image / 2 / n_images) * rng.standard_normal((runs, networks, 1))
    rest = np.sqrt(world.seed_disagreement / 2 / n_images) * rng.standard_normal(accuracies.shape)
    seen = accuracies + on_images + rest
    differences = seen[:, 1:] - seen[:, :1]
    parts = []
    for n in range(2, seeds + 1):
        shape = runs, networks - 1
        square_rest = world.seed_disagreement * _mean_square(rng, (n - 1) * (n_images - 1), shape)
        square_image = (world.seed_disagreement + n * arm_image) * _mean_square(rng, n_images - 1, shape)
        unseen = 1 / n_images**2
        parts.append(
            (
                differences[..., :n].mean(axis=-1),
                differences[..., :n].var(axis=-1, ddof=1),
                np.maximum(square_image - square_rest, 0) / (n * n_images) + unseen,
                square_rest / n_images + 2 * unseen / n,
            )
        )
    delta, seed_variance, image_variance, rest_variance = (np.stack(values) for values in zip(*parts, strict=True))
    return Drawn(delta, seed_variance, image_variance, rest_variance, n_images)


def _mean_square(rng: np.random.Generator, df: int, shape: tuple[int, ...]) -> np.ndarray:
    return rng.chisquare(df, shape) / df


def _from_images(world: World, accuracies: np.ndarray, rng: np.random.Generator) -> Drawn:
    """From right and wrong answers of every network to every image."""
    runs, networks, seeds = accuracies.shape
    clusters = np.arange(world.images) // 5 if world.kind == "clusters" else None
    base = 0.99 if world.kind == "99 %" else 0.6
    shared, own = (0.7, 0.15) if world.kind == "99 %" else (0.6, 0.25)
    limits = stats.norm.ppf(np.clip(base + accuracies, 0, 0.99999))
    parts = np.empty((4, seeds - 1, runs, networks - 1))
    for run in range(runs):
        hard, arms = rng.standard_normal((1, 1, world.images)), rng.standard_normal((networks, 1, world.images))
        if clusters is not None:  # frames of one video share nearly all of what makes them hard
            hard, arms = (values[..., clusters] for values in (hard, arms))
        noise = rng.standard_normal((networks, seeds, world.images), dtype=np.float32)
        skill = np.sqrt(shared) * hard + np.sqrt(own) * arms + np.sqrt(1 - shared - own) * noise
        right = (skill < limits[run][..., None]).astype(np.float64)
        for arm in range(networks - 1):
            differences = right[1 + arm] - right[0]
            values = differences if clusters is None else by_cluster(differences, clusters)
            for n in range(2, seeds + 1):
                parts[:, n - 2, run, arm] = variance_parts(values[:n])
    images = world.images if clusters is None else len(np.unique(clusters))
    delta, seed_variance, image_variance, rest_variance = parts
    return Drawn(delta, seed_variance, image_variance, rest_variance, images)


@dataclass(frozen=True)
class Design:
    """When a study is looked at, and what it takes to stop an arm."""

    name: str
    looks: tuple[int, ...]
    levels: tuple[float, ...]
    gives_up: bool = False
    """Whether arms stop that are unlikely to be settled."""
    moderated: bool = False


def _sequential(seeds: tuple[int, ...], *, moderated: bool = False) -> Design:
    name = f"sequential {', '.join(map(str, seeds))}{', moderated' if moderated else ''}"
    return Design(name, seeds, Looks(seeds).levels, gives_up=True, moderated=moderated)


DESIGNS = (
    Design("fixed 10", (10,), (SIGNIFICANT,)),
    Design("fixed 5", (5,), (SIGNIFICANT,)),
    Design("peeking, 3 to 10", tuple(range(3, 11)), (SIGNIFICANT,) * 8),
    Design("peeking, paid for", tuple(range(3, 11)), tuple(SIGNIFICANT / (1 + look) for look in range(8))),
    *(_sequential(seeds) for seeds in ((3, 5, 10), (3, 5, 7, 11))),
    *(_sequential(seeds, moderated=True) for seeds in ((3, 5, 10), (3, 4, 6, 10), (3, 5, 7, 11))),
)


@dataclass(frozen=True)
class CarriedOut:
    """What a design made of drawn studies."""

    course: Course
    seeds: Int[np.ndarray, "runs arms"]
    """That each arm was trained with."""
    delta: Float[np.ndarray, "runs arms"]
    half_width: Float[np.ndarray, "runs arms"]
    """Of the interval of the look at which the arm stopped."""

    @property
    def cells(self) -> Int[np.ndarray, " runs"]:
        """The baseline goes on as long as any arm does."""
        return self.seeds.sum(axis=-1) + self.seeds.max(axis=-1)


def carry_out(design: Design, drawn: Drawn, *, margin: float = MARGIN) -> CarriedOut:
    """Applies a design's rule to studies of which all seeds were drawn. Args: margin: of equivalence, 0 to 1."""
    shape = drawn.delta.shape[1:]
    places = [n - 2 for n in design.looks]
    own, own_df = np.empty(shape), np.empty(shape)
    going = np.ones(shape, dtype=bool)
    seen: list[Parts] = []
    p_values, equivalence_p_values, half_widths = [], [], []

    def chances(look: int, n_open: Int[np.ndarray, "runs 1"]) -> Float[np.ndarray, "runs arms"]:
        seeds, last = design.looks[look], design.looks[-1]
        alpha = design.levels[-1] / n_open
        return chance_of_settling(drawn.delta[places[look]], seen[look], seeds, last, alpha=alpha, margin=margin)

    for look, (n, place) in enumerate(zip(design.looks, places, strict=True)):
        own = np.where(going, drawn.seed_variance[place], own)
        own_df = np.where(going, n - 1.0, own_df)
        variance, prior_df = moderated(own, own_df) if design.moderated else (own, np.zeros(shape))
        rest = drawn.rest_variance[place] / n
        parts = Parts(variance / n, drawn.image_variance[place], rest, n - 1 + prior_df, drawn.images - 1)
        level = design.levels[look]
        p, equivalence_p = _p_values(drawn.delta[place], parts, level, margin)
        seen.append(parts)
        p_values.append(p)
        equivalence_p_values.append(equivalence_p)
        half_widths.append(half_width(parts, level=1 - level))
        course = follow(p_values, equivalence_p_values, design.levels, chances if design.gives_up else None)
        going = course.going
    last = course.look[None]
    return CarriedOut(
        course,
        seeds=np.array(design.looks)[course.look],
        delta=np.take_along_axis(drawn.delta[places], last, axis=0)[0],
        half_width=np.take_along_axis(np.stack(half_widths), last, axis=0)[0],
    )


def _p_values(delta: np.ndarray, parts: Parts, level: float, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """P-values of difference and equivalence, rounded up to those that Holm's procedure tells apart at a look's level."""
    p, equivalence_p = np.ones_like(delta), np.ones_like(delta)
    for others in range(1, delta.shape[-1] + 1):
        alpha = level / others
        below = alpha * (1 - 1e-9)
        p[np.abs(delta) > half_width(parts, level=1 - alpha)] = below
        equivalence_p[within_margin(delta, parts, margin, alpha=alpha)] = below
    return p, equivalence_p


def measure(world: World, *, runs: int, seed: int) -> list[dict[str, float | str]]:
    """What each of `DESIGNS` does in a world: a row a design.

    Columns: world and its fields, design; false_difference (share of studies of eight arms without an effect in which any is
    called better or worse), false_equivalence (share of studies of eight arms at the margin in which any is called
    equivalent), cells (on average, for arms with effects `MIXED`, the baseline's among them), seeds_0 to seeds_3 (average
    seeds of an arm by its effect in standard deviations), power_1 to power_3 (share of the arms with that effect that are
    called different), equivalent_0 (share of those without an effect that are called equivalent), coverage (of the
    intervals of all arms, where each stopped), coverage_least (of the arm that is covered least).
    """
    rng = np.random.default_rng([seed, WORLDS.index(world)])
    nothing = draw(world, [0.0] * ARMS, runs, rng)
    at_margin = draw(world, [-MARGIN] * ARMS, runs, rng)
    mixed = -world.difference_sd * np.array(MIXED)
    studies = draw(world, mixed.tolist(), runs, rng)
    rows = []
    for design in DESIGNS:
        found = carry_out(design, studies)
        covered = (np.abs(found.delta - mixed) <= found.half_width).mean(axis=0)
        row: dict[str, float | str] = {
            **asdict(world),
            "design": design.name,
            "runs": runs,
            "false_difference": carry_out(design, nothing).course.differs.any(axis=-1).mean(),
            "false_equivalence": carry_out(design, at_margin).course.equivalent.any(axis=-1).mean(),
            "cells": found.cells.mean(),
            "coverage": covered.mean(),
            "coverage_least": covered.min(),
            "equivalent_0": found.course.equivalent[:, np.equal(MIXED, 0)].mean(),
        }
        for effect in sorted(set(MIXED)):
            arms = np.equal(MIXED, effect)
            row[f"seeds_{effect:g}"] = found.seeds[:, arms].mean()
            if effect:
                row[f"power_{effect:g}"] = found.course.differs[:, arms].mean()
        rows.append(row)
    return rows
