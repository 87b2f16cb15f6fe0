"""Effects with intervals: what a paired difference between an arm and the baseline can and cannot show."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

TYPICAL_DISAGREEMENT = 0.2
"""Share of test images on which exactly one of two trained networks is right; used where nothing is trained yet."""


@dataclass(frozen=True)
class PairedDifference:
    """A mean paired difference with its 95 % t interval over seeds; both ends are NaN where one seed gives none."""

    delta: float
    low: float
    high: float
    n_seeds: int


def paired_difference(arm: np.ndarray, baseline: np.ndarray) -> PairedDifference:
    """Mean of arm - baseline over seeds, with Student's t interval.

    Args: arm, baseline: accuracies (seeds,), the same seed at the same place.
    Raises: ValueError: the two are not of one length, or are empty.
    """
    if arm.shape != baseline.shape or arm.ndim != 1 or not len(arm):
        raise ValueError(f"need two accuracies for each seed, got shapes {arm.shape} and {baseline.shape}")
    differences = arm - baseline
    delta, n = float(differences.mean()), len(differences)
    if n == 1:
        return PairedDifference(delta, math.nan, math.nan, n)
    half = float(stats.t.ppf(0.975, n - 1) * differences.std(ddof=1) / math.sqrt(n))
    return PairedDifference(delta, delta - half, delta + half, n)


def best_half_width(n_seeds: int, n_images: int, disagreement: float = TYPICAL_DISAGREEMENT) -> float:
    """Half-width of the 95 % t interval of a paired difference in accuracy (0 to 1) if seeds added no variance at all.

    Two networks of equal accuracy that disagree on a share d of n test images differ by chance with variance d / n.
    Raises: ValueError: fewer than two seeds, which give no interval.
    """
    if n_seeds < 2:
        raise ValueError("an interval needs at least two seeds")
    return float(stats.t.ppf(0.975, n_seeds - 1) * math.sqrt(disagreement / n_images / n_seeds))
