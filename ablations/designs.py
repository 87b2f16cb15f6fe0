"""Screening designs: many parts on or off in few arms, so that every arm says something about every part.

Leaving one part out at a time, only two arms tell of a part, and the baseline's luck is in every difference. In a two-level
design half of all arms have a part and half have not; a main effect is the mean of the one half less that of the other, and
its variance is 4 / n of an arm's instead of twice an arm's. It is also another quantity: the effect of a part averaged over the
others being on or off, not that of removing it from the full network. Where parts act alone, the two are equal.

The arms come from a Hadamard matrix of order n (Sylvester's for powers of two, which gives the regular fractional factorials;
Plackett and Burman's for 12, 20 and 24) and its negative, one column a part: 2 n arms for up to n parts. The negative
("fold-over") keeps every main effect clear of all interactions of two parts (resolution IV). Interactions of two parts are
aliased with one another; `aliases` says which with which.

The first arm has every part as the baseline has it. A part may be anything that has two levels, one of which is the baseline's.

Sources: Plackett and Burman 1946, Biometrika 33:305-325; Box and Wilson 1951, J. Royal Statistical Society B 13:1-45
(fold-over); Box, Hunter and Hunter 2005, Statistics for Experimenters, chapters 6 and 7.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Self

from pydantic import model_validator

from ablations.arm import StoredLevel
from ablations.units import level_text
from cnnkit.errors import UserError
from cnnkit.spec import Stored

Combination = tuple[bool, ...]
"""Of each part, whether it is as in the baseline."""

FIRST_ROWS = {
    12: "++-+++---+-",
    20: "++--++++-+-+----++-",
    24: "+++++-+-++--++--+-+----",
}
"""Plackett and Burman's cyclic first rows; they leave out the last row, which is all minus."""
MOST_PARTS = 24
MOST_CHOICES = 5_000


def hadamard(order: int) -> list[list[int]]:
    """A matrix of 1 and -1 with orthogonal columns, whose first row and first column are 1.

    Raises: ValueError: not 1, 2, 4, 8, 16, 12, 20 or 24.
    """
    if order in FIRST_ROWS:
        first = [1 if sign == "+" else -1 for sign in FIRST_ROWS[order]]
        # The row of all minus, its signs turned, comes first.
        return [[1] * order, *([1, *(-sign for sign in _rotated(first, by))] for by in range(order - 1))]
    if order in (1, 2, 4, 8, 16):
        return [[-1 if (row & column).bit_count() % 2 else 1 for column in range(order)] for row in range(order)]
    raise ValueError(f"no Hadamard matrix of order {order} here")


def _rotated(row: Sequence[int], by: int) -> list[int]:
    return [*row[len(row) - by :], *row[: len(row) - by]]


def folded(parts: int, columns: Sequence[int] | None = None) -> list[Combination]:
    """The combinations of a folded-over design for this many parts, the baseline's first: 4, 8, 16, 24, 32, 40 or 48.

    Up to three parts it is every combination. Two that are each other's negative stand half the design apart.

    Args: columns: of the Hadamard matrix, one a part; the first ones where it is left out.
    Raises: UserError: fewer than two parts, or more than `MOST_PARTS`.
    """
    base = hadamard(_order(parts))
    used = range(parts) if columns is None else columns
    rows = [[row[column] for column in used] for row in base]
    return [tuple(sign > 0 for sign in row) for row in [*rows, *([-sign for sign in row] for row in rows)]]


def _order(parts: int) -> int:
    if not 2 <= parts <= MOST_PARTS:
        raise UserError(f"a screening design takes 2 to {MOST_PARTS} parts, got {parts}")
    return next(n for n in (2, 4, 8, 12, 16, 20, 24) if n >= parts)


def signs(design: Sequence[Combination], *parts: int) -> list[int]:
    """A column of the design as 1 (as in the baseline) and -1; of several parts their product, the interaction's column."""
    column = []
    for run in design:
        product = 1
        for part in parts:
            product *= 1 if run[part] else -1
        column.append(product)
    return column


def correlation(design: Sequence[Combination], one: Sequence[int], two: Sequence[int]) -> float:
    """Between two columns: how much of the second's effect is found in the first's. 0: clear of it; 1 or -1: the same."""
    products = zip(signs(design, *one), signs(design, *two), strict=True)
    return sum(a * b for a, b in products) / len(design)


Pair = tuple[int, int]


def aliases(design: Sequence[Combination]) -> dict[Pair, dict[Pair, float]]:
    """For each pair of parts the other pairs whose interaction is found in its own, with their correlation."""
    pairs = list(combinations(range(len(design[0])), 2))
    return {
        one: {two: shared for two in pairs if two != one and abs(shared := correlation(design, one, two)) > 1e-12}
        for one in pairs
    }


class DesignFactor(Stored):
    """A factor of two levels."""

    name: str
    levels: tuple[StoredLevel, StoredLevel]
    """The one that effects are held against, which is the baseline's where it has either, and the other."""

    @property
    def change(self) -> str:
        """To the other level: no dropout, with residual links, dropout 0 instead of 0.5."""
        first, other = self.levels
        if isinstance(other, bool):
            return f"{'with' if other else 'no'} {self.name}"
        return f"{self.name} {level_text(other)} instead of {level_text(first)}"


class DesignRun(Stored):
    """An arm of a design."""

    arm: str
    at_first: tuple[bool, ...]
    """Of each factor, whether it has the first of its levels."""


class ScreeningDesign(Stored):
    """A folded-over design as a manifest keeps it: all that its analysis needs.

    Raises: ValidationError: it is none.
    """

    factors: tuple[DesignFactor, ...]
    runs: tuple[DesignRun, ...]
    """Those of the second half are the negatives of those of the first, in the same order."""

    @property
    def combinations(self) -> tuple[Combination, ...]:
        """A row for each run."""
        return tuple(run.at_first for run in self.runs)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the factors."""
        return tuple(factor.name for factor in self.factors)

    @model_validator(mode="after")
    def _is_folded(self) -> Self:
        half = len(self.runs) // 2
        if not half or len(self.runs) % 2 or any(len(run.at_first) != len(self.factors) for run in self.runs):
            raise ValueError("a screening design needs pairs of runs, each with a level of every factor")
        for run, negative in zip(self.runs[:half], self.runs[half:], strict=True):
            if any(one == other for one, other in zip(run.at_first, negative.at_first, strict=True)):
                raise ValueError("the second half of a screening design must be the negatives of the first")
        if len({run.arm for run in self.runs}) < len(self.runs):
            raise ValueError("two runs of a screening design are one arm")
        return self


@dataclass(frozen=True)
class Screening:
    """A design whose arms can all be built."""

    combinations: tuple[Combination, ...]
    repaired: tuple[Combination, ...]
    """Combinations that the first choice of columns asked for and that cannot be built; none where it was kept."""
    problem: str = ""
    """Why the first of them cannot be built."""


Words = tuple[str, str]
"""What a part is called as the baseline has it, and otherwise: dropout, no dropout."""


def screening(parts: Sequence[Words], problem: Callable[[Combination], str]) -> Screening:
    """A folded design of which every combination can be built: where it is not, parts take other columns until it is.

    Any three parts are on and off in every way in such a design. So other columns help only against what four or more
    parts do together.

    Args: problem: why a combination cannot be built; nothing where it can. It is asked once of each.
    Raises: UserError: too few or too many parts, or no choice of columns avoids what cannot be built; it is named.
    """
    known: dict[Combination, str] = {}

    def works(run: Combination) -> bool:
        if run not in known:
            known[run] = problem(run)
        return not known[run]

    first = folded(len(parts))
    impossible = tuple(run for run in first if not works(run))
    if not impossible:
        return Screening(tuple(first), ())
    together = _together(known)
    if together is None:
        for columns in _choices(len(parts)):
            design = folded(len(parts), columns)
            if all(works(run) for run in design):
                return Screening(tuple(design), impossible, known[impossible[0]])
    raise UserError(
        f"a screening design of {len(parts)} factors needs combinations that cannot be built: "
        f"{_named(together, impossible, parts)} ({known[impossible[0]]}); leave out one of these factors, or make one factor "
        f"of them whose two levels can be built"
    )


Levels = tuple[tuple[int, bool], ...]
"""Some parts, and whether each is as in the baseline."""


def _together(known: Mapping[Combination, str]) -> Levels | None:
    """The fewest parts, at most three, that cannot be built together in this way, whatever the others are."""
    broken, built = ([run for run, why in known.items() if bool(why) is wanted] for wanted in (True, False))
    for size in (1, 2, 3):
        for places in combinations(range(len(broken[0])), size):
            levels = tuple((place, broken[0][place]) for place in places)
            if not any(all(run[place] is there for place, there in levels) for run in built):
                return levels
    return None


def _named(together: Levels | None, impossible: Sequence[Combination], parts: Sequence[Words]) -> str:
    if together is not None:
        return "every one with " + " and ".join(parts[part][0 if there else 1] for part, there in together)
    more = f" and {len(impossible) - 3} more" if len(impossible) > 3 else ""
    return "; ".join(in_words(run, parts) for run in impossible[:3]) + more


def in_words(run: Combination, parts: Sequence[Words]) -> str:
    """What a combination has otherwise than the baseline, such as: no dropout, no batch norm."""
    return ", ".join(words[1] for words, there in zip(parts, run, strict=True) if not there) or "baseline"


def _choices(parts: int) -> Iterator[list[int]]:
    """Columns for the parts, as many choices as are tried in a second or two."""
    rng = random.Random(0)
    for _ in range(MOST_CHOICES):
        yield rng.sample(range(_order(parts)), parts)
