"""A study that stops when it knows: looks at planned numbers of seeds, after each of which some arms stop.

All arms are trained with the first look's seeds. Arms that differ from the baseline, or are equivalent to it, after
correction for the number of arms and at the look's level, stop; so do those that the rest of the plan is unlikely to settle.
The others and the baseline go on to the next look.

Levels. Whoever tests the same arm at 3, 5 and 10 seeds at 5 % each errs in more than 5 %. So the 5 % are spent over the looks:
up to n of the planned N seeds, 5 % times (n / N)^3 (Kim and DeMets), which keeps most of it for the last look, where
the power is. That any of the looks errs is at most as likely as the sum of what they spend (Bonferroni), whatever the
dependence between them. So nothing is lost if a look is left out, if a study is cut short, or if an arm lacks seeds at a
look. Exact levels for independent seeds would be at most 1.07 times as large for one arm, and 1.02 times at Holm's
level for eight (simulated; 3, 5 and 10 seeds), and would not hold for whatever else seeds and images may do.

Holm. At look k arm j has q = p * 5 % / level_k; of an arm that has stopped it stays what it was. Arms whose q is
significant after Holm's correction over all arms of the study stop (Glimm, Maurer and Bretz 2010). Equivalence is a family
of its own: the same with the p-values of two one-sided tests.

Unlikely arms stop without a verdict: those for which, were the true effect and variances as estimated, the last look would
settle them with a chance below one in eight. Stopping them makes no error more likely, so whoever wants to go on may.

Intervals have the level 1 - level_k of the look that they are from: repeated confidence intervals, which cover however and
whenever the study stops (Jennison and Turnbull 1989).

Sources: Kim and DeMets 1987, Biometrika 74:149-154; Jennison and Turnbull 1989, J. Royal Statistical Society B 51:305-334;
Glimm, Maurer and Bretz 2010, Statistics in Medicine 29:219-228.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from analysis.statistics import SIGNIFICANT, PairedEffect, Parts, half_width, holm, tested

SPENDING_POWER = 3
"""Smaller powers stop more arms early, and find fewer in the end."""
UNLIKELY = 0.125
"""Below this chance of a verdict, an arm stops. Larger values save cells and find less; this one, with looks at 3, 5, 7 and 11
seeds, takes the fewest cells of those tried whose power stays within 3 points of ten seeds (`analysis.simulated_studies`)."""
Chances = Callable[[int, Int[np.ndarray, "*studies 1"]], Float[np.ndarray, "*studies arms"]]
"""Of a look and the number of arms that are open after it, the chance of each to be settled at the last look."""


@dataclass(frozen=True)
class Looks:
    """Numbers of seeds at which a study is looked at, fixed before the first."""

    seeds: tuple[int, ...]
    levels: tuple[float, ...] = ()
    """What each look may err; together 5 %, spent as the module says where nothing else is given."""

    def __post_init__(self) -> None:
        if not self.seeds or self.seeds[0] < 2 or list(self.seeds) != sorted(set(self.seeds)):
            raise ValueError("looks need rising numbers of seeds from 2 on, such as 3,5,10")
        if not self.levels:
            spent = SIGNIFICANT * (np.array([0, *self.seeds]) / self.seeds[-1]) ** SPENDING_POWER
            object.__setattr__(self, "levels", tuple(np.diff(spent).tolist()))


@dataclass(frozen=True)
class Standing:
    """What a sequential study knows about an arm."""

    effect: PairedEffect
    """At the arm's last look, with the interval of that look's level."""
    look: int
    """Which of the planned looks that was, from 0."""
    adjusted_p: float
    adjusted_equivalence_p: float
    """Both are corrected for looks and arms: to be compared with 5 %."""
    chance: float
    """Of being settled by the rest of the plan, if it is open; 0 after the last look."""

    @property
    def settled(self) -> bool:
        return min(self.adjusted_p, self.adjusted_equivalence_p) < SIGNIFICANT

    @property
    def stopped(self) -> bool:
        """Whether the plan has no further seeds for the arm."""
        return self.settled or self.chance < UNLIKELY


def standings(
    looks: Looks, seen: Sequence[Mapping[str, PairedEffect]], *, arms: Sequence[str] | None = None, margin: float
) -> dict[str, Standing]:
    """What the status is of each arm that was seen, after the looks so far.

    Args: seen: for each look so far, the effects of the arms with that look's seeds; an effect of an arm that has stopped is
        not read, and an arm that is missing stays what it was. arms: all of the study, beside the baseline; the first look
        names them where they are left out. margin: of equivalence, 0 to 1.
    Raises: ValueError: more looks than planned, or an arm that is none of `arms`.
    """
    if len(seen) > len(looks.seeds):
        raise ValueError(f"{len(looks.seeds)} looks were planned, got {len(seen)}")
    if arms is None:
        arms = list(seen[0]) if seen else []
    unknown = sorted({arm for look in seen for arm in look} - set(arms))
    if unknown:
        raise ValueError(f"not among the arms of the study: {', '.join(unknown)}")

    def values(of: Callable[[PairedEffect], float], look: int) -> np.ndarray:
        return np.array([of(seen[look][arm]) if arm in seen[look] else np.nan for arm in arms])

    def chances(look: int, n_open: Int[np.ndarray, " 1"]) -> Float[np.ndarray, " arms"]:
        now = Parts(
            values(lambda effect: effect.seed_variance / effect.n_seeds, look),
            values(lambda effect: effect.image_variance, look),
            values(lambda effect: effect.rest_variance / effect.n_seeds, look),
            values(lambda effect: effect.degrees_of_freedom, look),
            int(np.nanmax(values(lambda effect: effect.n_images - 1, look), initial=1)),
        )
        last, alpha = looks.seeds[-1], looks.levels[-1] / n_open
        return chance_of_settling(
            values(lambda effect: effect.delta, look), now, looks.seeds[look], last, alpha=alpha, margin=margin
        )

    course = follow(
        [values(lambda effect: effect.p_value, look) for look in range(len(seen))],
        [values(lambda effect: effect.equivalence_p(margin), look) for look in range(len(seen))],
        looks.levels,
        chances,
    )
    return {
        arm: Standing(
            tested(replace(seen[look][arm], level=1 - looks.levels[look])),
            look,
            float(course.adjusted_p[place]),
            float(course.adjusted_equivalence_p[place]),
            float(course.chance[place]),
        )
        for place, arm in enumerate(arms)
        for look in [int(course.look[place])]
        if look < len(seen) and arm in seen[look]
    }


def chance_of_settling(
    delta: Float[np.ndarray, "*any"],
    now: Parts,
    seeds: int,
    last: int,
    *,
    alpha: Float[np.ndarray, "*any"],
    margin: float,
) -> Float[np.ndarray, "*any"]:
    """That an effect which stays as estimated differs from 0, or lies within the margin, at the last look.

    The difference seen then lies around the one seen now: only the seeds to come move it (a normal prediction).

    Args: now: with `seeds` seeds. alpha: of the tests at the last look.
    """
    kept = seeds / last
    then = Parts(now.seed * kept, now.image, now.rest * kept, now.seed_df + last - seeds, now.image_df)
    moves = np.maximum(np.sqrt(now.seed * (1 - kept)), 1e-12)
    differs_from = half_width(then, level=1 - alpha)
    within = margin - half_width(then, level=1 - 2 * alpha)
    differs = special.ndtr((delta - differs_from) / moves) + special.ndtr((-delta - differs_from) / moves)
    equivalent = special.ndtr((within - delta) / moves) - special.ndtr((-within - delta) / moves)
    return np.maximum(differs, equivalent)


@dataclass(frozen=True)
class Course:
    """How studies went: an entry an arm, after the last look that there is."""

    look: Int[np.ndarray, "*studies arms"]
    """The arm's last look, from 0: the one at which it stopped, or the last that it was seen at."""
    adjusted_p: Float[np.ndarray, "*studies arms"]
    adjusted_equivalence_p: Float[np.ndarray, "*studies arms"]
    chance: Float[np.ndarray, "*studies arms"]
    """As in `Standing`."""

    @property
    def differs(self) -> Bool[np.ndarray, "*studies arms"]:
        return self.adjusted_p < SIGNIFICANT

    @property
    def equivalent(self) -> Bool[np.ndarray, "*studies arms"]:
        return (self.adjusted_equivalence_p < SIGNIFICANT) & ~self.differs

    @property
    def going(self) -> Bool[np.ndarray, "*studies arms"]:
        return ~(self.differs | self.equivalent) & (self.chance >= UNLIKELY)


def follow(
    p_values: Sequence[Float[np.ndarray, "*studies arms"]],
    equivalence_p_values: Sequence[Float[np.ndarray, "*studies arms"]],
    levels: Sequence[float],
    chances: Chances | None = None,
) -> Course:
    """Follows the rule of the module through the looks of one study, or of many at once.

    Args: p_values, equivalence_p_values: by look, as if no arm ever stopped; what follows after an arm's stop is not read.
        NaN: the arm was not seen at this look. levels: of all planned looks. chances: None: no arm stops for being
        unlikely to be settled.
    """
    shape = np.shape(p_values[0]) if len(p_values) else (0,)
    q, equivalence_q = np.ones(shape), np.ones(shape)
    course = Course(np.zeros(shape, dtype=int), q, equivalence_q, np.ones(shape))
    for look, (p, equivalence_p) in enumerate(zip(p_values, equivalence_p_values, strict=True)):
        seen = course.going & ~np.isnan(p)
        price = SIGNIFICANT / levels[look]
        q = np.where(seen, np.minimum(p * price, 1), q)
        equivalence_q = np.where(seen, np.minimum(equivalence_p * price, 1), equivalence_q)
        course = Course(np.where(seen, look, course.look), holm(q), holm(equivalence_q), course.chance)
        if look == len(levels) - 1:
            chance = np.where(seen, 0.0, course.chance)
        elif chances is not None and seen.any():
            n_open = np.maximum(np.count_nonzero(course.going, axis=-1, keepdims=True), 1)
            chance = np.where(seen, chances(look, n_open), course.chance)
        else:
            chance = course.chance
        course = replace(course, chance=chance)
    return course
