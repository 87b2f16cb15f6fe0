"""Effects of a screening design (`ablations.designs`): each part's main effect, and interactions with their aliases.

An arm and its negative, which has every part the other way round, are read together. Half of their difference is the sum of
all main effects, each with its sign: interactions of two parts cancel. Half of their sum is the mean and all interactions of
two parts: main effects cancel. So the weights of main effects are least squares over such pairs of arms. With all arms it is
the mean of the arms with a part less that of those without; where an arm is missing, its pair is left out and the others
still say what each part does, as long as there are enough of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from ablations.designs import Combination, aliases, signs
from analysis.statistics import PairedEffect, contrast_effect

Correct = Bool[np.ndarray, "seeds images"]


@dataclass(frozen=True)
class Screened:
    """What a screening design found. Differences of accuracies, 0 to 1."""

    main: tuple[PairedEffect, ...]
    """Of each part: what taking it away changes, averaged over the other parts being as in the baseline or not."""
    interactions: dict[tuple[int, int], PairedEffect]
    """By two parts: half of how much more it changes to take one away where the other is gone than where it is not. An
    entry stands for all pairs that are aliased with it (see `ablations.designs.aliases`). Empty where arms are missing."""
    left_out: tuple[int, ...]
    """Arms that are not read: those that are missing, and the negatives of those."""


def screened(design: Sequence[Combination], correct: Sequence[Correct | None]) -> Screened | None:
    """Main effects and interactions, over the seeds of the arrays; None where too many arms are missing.

    Args: design: as `ablations.designs.folded`. correct: of each arm of the design, in its order; None: missing.
    Raises: ValueError: not an array an arm, or arrays of different seeds or images.
    """
    if len(correct) != len(design):
        raise ValueError(f"need the correctness of {len(design)} arms, got {len(correct)}")
    half = len(design) // 2
    pairs = [run for run in range(half) if correct[run] is not None and correct[run + half] is not None]
    x = np.array([[1.0 if there else -1.0 for there in design[run]] for run in pairs]).reshape(len(pairs), -1)
    n_parts = len(design[0])
    if len(pairs) < n_parts or np.linalg.matrix_rank(x) < n_parts:
        return None
    weights = np.linalg.pinv(x)  # parts, pairs
    right = [array for array in correct if array is not None]
    if len({array.shape for array in right}) > 1:
        raise ValueError(f"need the same seeds and images everywhere, got {[array.shape for array in right]}")
    of_arm = np.zeros((n_parts, len(design)))
    of_arm[:, pairs], of_arm[:, [run + half for run in pairs]] = -weights, weights
    used = {run for pair in pairs for run in (pair, pair + half)}
    return Screened(
        tuple(_contrast(row, correct) for row in of_arm),
        _interactions(design, correct) if len(pairs) == half else {},
        tuple(run for run in range(len(design)) if run not in used),
    )


def _interactions(
    design: Sequence[Combination], correct: Sequence[Correct | None]
) -> dict[tuple[int, int], PairedEffect]:
    """One of each set of pairs that have the same column but for its sign."""
    found: dict[tuple[int, int], PairedEffect] = {}
    aliased = aliases(design)
    for pair, others in aliased.items():
        if not any(math.isclose(abs(others.get(earlier, 0.0)), 1) for earlier in found):
            found[pair] = _contrast(2 / len(design) * np.array(signs(design, *pair)), correct)
    return found


def _contrast(weights: Float[np.ndarray, " arms"], correct: Sequence[Correct | None]) -> PairedEffect:
    terms = [
        weight * array for weight, array in zip(weights, correct, strict=True) if array is not None and weight != 0
    ]
    return contrast_effect(np.sum(terms, axis=0))


def half_normal_quantiles(n: int) -> Float[np.ndarray, " n"]:
    """Where the n sizes of effects, from small to large, lie on the abscissa of a half-normal plot.

    Effects that are chance alone lie on a line through 0; those that are not lie above its end.
    Source: Daniel 1959, Technometrics 1:311-341.
    """
    return special.ndtri(0.5 + 0.5 * (np.arange(n) + 0.5) / n)
