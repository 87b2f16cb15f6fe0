"""What a screening design can tell apart, in words: for its dry run and for its report."""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache

from ablations.designs import Combination, Pair, ScreeningDesign, aliases
from ablations.units import counted


@cache
def strings(design: tuple[Combination, ...]) -> tuple[tuple[Pair, ...], ...]:
    """Interactions of two factors that have one column but for its sign, so that only their sum is seen: a tuple for each
    column. Those that are aliased in part alone stand each in one of its own.
    """
    found: list[list[Pair]] = []
    for pair, others in aliases(design).items():
        for string in found:
            if math.isclose(abs(others.get(string[0], 0.0)), 1):
                string.append(pair)
                break
        else:
            found.append([pair])
    return tuple(map(tuple, found))


def partial(design: Sequence[Combination]) -> list[Fraction]:
    """By how much interactions of two factors are found in others without being one with them, from little to much."""
    sizes = {abs(shared) for others in aliases(design).values() for shared in others.values()}
    return sorted({Fraction(size).limit_denominator(100) for size in sizes if not math.isclose(size, 1)})


def in_names(pairs: Sequence[Pair], names: Sequence[str]) -> str:
    """A string, such as: batch norm × dropout = weight decay × augmentation."""
    return " = ".join(f"{names[one]} × {names[two]}" for one, two in pairs)


def size_in_words(design: ScreeningDesign) -> str:
    """Such as: 7 factors in 16 runs."""
    return f"{counted(len(design.factors), 'factor')} in {counted(len(design.runs), 'run')}"


def what_is_clear(design: ScreeningDesign) -> list[str]:
    """Sentences on what main effects are clear of, and on which interactions are not separated; the strings are not listed."""
    combinations = design.combinations
    if len(combinations) == 2 ** len(design.factors):
        return ["The runs are all combinations of the factors' levels: all effects are clear of one another."]
    sentences = [
        "Main effects are clear of one another and of all interactions of two factors (resolution IV), not of those of three."
    ]
    found, shares = strings(combinations), partial(combinations)
    aliased = [string for string in found if len(string) > 1]
    if aliased:
        alone = len(found) - len(aliased)
        rest = f", the other {alone} each with a column of its own" if alone else ""
        sentences.append(
            f"Interactions of two factors are separated into {counted(len(aliased), 'string')} only, of each of which the sum is "
            f"seen{rest}."
        )
    if shares:
        by = str(shares[0]) if len(shares) == 1 else f"{shares[0]} to {shares[-1]}"
        sentences.append(
            f"Each interaction of two factors is found in those of others by {by} of its size: which of them it is, "
            f"the design does not say for sure."
        )
    return sentences
