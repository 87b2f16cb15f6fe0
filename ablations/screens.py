"""What a grid lays out: its arms, and the design that they are runs of where there is one.

`screened` makes a screening design (`ablations.designs`) of factors with two levels each:

    def grid(baseline: Arm) -> Layout:
        "Which parts matter?"
        return screened(baseline, [
            TwoLevelFactor("batch norm", {True: {}, False: {"batch_norm": False}}),
            TwoLevelFactor("dropout", {0.5: {"dropout": 0.5}, 0.0: {"dropout": 0.0}}),
        ])
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pydantic import ValidationError

from ablations.arm import Arm, Level, alike
from ablations.designs import Combination, DesignFactor, DesignRun, ScreeningDesign, in_words, screening
from ablations.fields import arm_with, overlapping
from ablations.units import level_text
from cnnkit.errors import UserError
from cnnkit.spec import ModuleSpec, one_sentence

LONGEST_NAME = 100  # characters of an arm's name that is made of levels


@dataclass(frozen=True)
class TwoLevelFactor:
    """Something that arms have at one of two levels."""

    name: str
    levels: Mapping[Level, Mapping[str, Any]]
    """Each with the fields that it sets (see `ablations.fields`), none where it is as the baseline. True and False: a part that
    is there or not."""
    short: str = ""
    """What arms' names call it; the name where it is empty."""

    def words(self, level: Level) -> str:
        """Such as: no dropout, with residual links, dropout 0.25."""
        called = self.short or self.name
        if isinstance(level, bool):
            return f"{'with' if level else 'no'} {called}"
        return f"{called} {level_text(level)}"


@dataclass(frozen=True)
class Layout:
    """What a grid gives for a baseline."""

    arms: list[Arm]
    screening: ScreeningDesign | None = None
    """The design that arms are runs of, where they are; other arms may stand beside it."""
    notes: tuple[str, ...] = ()
    """What is to be said of it for this baseline: sentences."""


@dataclass(frozen=True)
class _Ordered:
    """A factor and its levels, the baseline's first."""

    factor: TwoLevelFactor
    first: Level
    other: Level
    is_baselines: bool
    """Whether the baseline has the first."""

    def level(self, at_first: bool) -> Level:
        return self.first if at_first else self.other

    def fields(self, at_first: bool) -> Mapping[str, Any]:
        return self.factor.levels[self.level(at_first)]


def screened(baseline: Arm, factors: Sequence[TwoLevelFactor], notes: Sequence[str] = ()) -> Layout:
    """The runs of a screening design as arms, the one with every factor as the baseline has it first.

    Raises: UserError: the factors do not make a design: too few or too many, two that set the same field, one that changes
        nothing, or combinations that cannot be built and that no other choice of columns avoids.
    """
    _check_distinct(factors)
    ordered = [_ordered(baseline, factor) for factor in factors]

    def arm(run: Combination) -> Arm:
        levels = {each.factor.name: each.level(there) for each, there in zip(ordered, run, strict=True)}
        fields: dict[str, Any] = {}
        for each, there in zip(ordered, run, strict=True):
            fields.update(each.fields(there))
        return arm_with(baseline, _name(baseline, ordered, run), levels, fields)

    def problem(run: Combination) -> str:
        try:
            return _untrainable(arm(run))
        except ValidationError as error:
            return one_sentence(error)

    words = [(each.factor.words(each.first), each.factor.words(each.other)) for each in ordered]
    found = screening(words, problem)
    arms = [arm(run) for run in found.combinations]
    if len({alike(each.name) for each in arms}) < len(arms):  # made of levels, names may be too long or alike
        arms = [
            each if each.is_baseline else each.model_copy(update={"name": f"run {place}"})
            for place, each in enumerate(arms, start=1)
        ]
    repair = (
        f"The first choice of a design has {len(found.repaired)} runs that cannot be built, such as: "
        f"{in_words(found.repaired[0], words)} ({found.problem}). Other columns of the same matrix avoid them."
        if found.repaired
        else ""
    )
    return Layout(
        arms,
        ScreeningDesign(
            factors=tuple(DesignFactor(name=each.factor.name, levels=(each.first, each.other)) for each in ordered),
            runs=tuple(
                DesignRun(arm=made.name, at_first=run) for made, run in zip(arms, found.combinations, strict=True)
            ),
        ),
        tuple(filter(None, (*notes, repair))),
    )


def _untrainable(arm: Arm) -> str:
    """Why a network of the user's own cannot be trained so; empty where it can. Specs of ours say so when they are made."""
    if not isinstance(arm.spec, ModuleSpec):
        return ""
    from cnnkit.own import completed
    from cnnkit.rehearsal import rehearse

    try:
        rehearse(completed(arm.spec), arm.recipe)
    except UserError as error:
        return str(error)
    return ""


def _check_distinct(factors: Sequence[TwoLevelFactor]) -> None:
    """Raises: UserError: factors have no two levels, or two of them one name or one field."""
    for factor in factors:
        if len(factor.levels) != 2:
            raise UserError(f"factor {factor.name!r} has {len(factor.levels)} levels, and a screening design takes two")
    for one, other in combinations(factors, 2):
        if alike(one.name) == alike(other.name):
            raise UserError(f"two factors of the screening design are called {one.name!r}")
        mine, its = ({field: 0 for fields in each.levels.values() for field in fields} for each in (one, other))
        field = overlapping(mine, its)
        if field is not None:
            raise UserError(
                f"the factors {one.name!r} and {other.name!r} both set {field}, and a screening design combines their levels "
                f"freely; make one factor of them"
            )


def _ordered(baseline: Arm, factor: TwoLevelFactor) -> _Ordered:
    first, other = factor.levels
    is_baselines, is_baselines_too = (is_as(baseline, factor.levels[level]) for level in (first, other))
    if is_baselines and is_baselines_too:
        raise UserError(
            f"factor {factor.name!r}: both of its levels are the baseline's, so that there is nothing to vary"
        )
    if is_baselines_too:
        return _Ordered(factor, other, first, True)
    return _Ordered(factor, first, other, is_baselines)


def is_as(baseline: Arm, fields: Mapping[str, Any]) -> bool:
    """Whether the baseline has these fields already. Raises: UserError: there is no such field."""
    try:
        arm = arm_with(baseline, baseline.name, {}, fields)
    except ValidationError:
        return False
    return (arm.spec, arm.recipe) == (baseline.spec, baseline.recipe)


def _name(baseline: Arm, ordered: Sequence[_Ordered], run: Combination) -> str:
    """Of what a run has otherwise than the baseline: no norm, decay; with links; dropout 0.25."""
    changed = [
        (each.factor, each.level(there))
        for each, there in zip(ordered, run, strict=True)
        if not (there and each.is_baselines)
    ]
    by_switch = {
        switch: ", ".join(factor.short or factor.name for factor, level in changed if level is switch)
        for switch in (False, True)
    }
    others = [factor.words(level) for factor, level in changed if not isinstance(level, bool)]
    parts = [
        f"no {by_switch[False]}" if by_switch[False] else "",
        f"with {by_switch[True]}" if by_switch[True] else "",
        ", ".join(others),
    ]
    name = "; ".join(filter(None, parts)) or baseline.name
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 4]} ..."
