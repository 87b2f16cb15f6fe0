"""How far networks know what they do not know: confidence against accuracy on the test images.

The confidence of an answer is the largest softmax probability. The expected calibration error (ECE) is the mean distance
between confidence and accuracy over equally wide bins of confidence, weighted by the images in them. It is not 0 for a
perfectly calibrated network on finitely many images, and the fewer they are the larger: compare arms on the same images only.

Source: Guo et al. 2017, arXiv:1706.04599, equation 3.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.special import softmax

from ablations.sealed import DamagedRecord
from analysis.outcomes import Outcomes

BINS = 15

CALIBRATION = ("arm", "is_baseline", "seed", "error", "confidence", "accuracy")
RELIABILITY = ("arm", "is_baseline", "bin", "images", "confidence", "accuracy")


@dataclass(frozen=True)
class Calibration:
    """Of the finished cells whose test logits are there. All shares are 0 to 1."""

    by_cell: pd.DataFrame
    """A row a cell: arm, is_baseline, seed, error (ECE), confidence and accuracy (means over the test images)."""
    by_confidence: pd.DataFrame
    """What a reliability diagram shows, a row an arm and bin of confidence that an answer of one of its seeds falls into: arm,
    is_baseline, bin (from 0), images (of all seeds), confidence, accuracy (means over them).
    """


def calibration(outcomes: Outcomes) -> Calibration:
    """Reads each cell's logits once, one cell after the other: all of them fill gigabytes."""
    cells = []
    sums: dict[tuple[str, bool], np.ndarray] = {}
    for arm, is_baseline, seed, confidence, right in _cells(outcomes):
        images, sure, correct = bins = _binned(confidence, right)
        error = float(np.abs(sure - correct).sum() / images.sum())
        cells.append((arm, is_baseline, seed, error, confidence.mean(), right.mean()))
        sums[arm, is_baseline] = sums.get((arm, is_baseline), 0) + np.stack(bins)
    by_confidence = [
        (*arm, place, int(images), sure / images, correct / images)
        for arm, bins_of_arm in sums.items()
        for place, (images, sure, correct) in enumerate(bins_of_arm.T)
        if images
    ]
    return Calibration(pd.DataFrame(cells, columns=CALIBRATION), pd.DataFrame(by_confidence, columns=RELIABILITY))


def _cells(
    outcomes: Outcomes,
) -> Iterator[tuple[str, bool, int, Float[np.ndarray, " images"], Bool[np.ndarray, " images"]]]:
    """Of each cell, how sure each answer is, and whether it is right."""
    if outcomes.read_logits is None:
        return
    for arm in outcomes.arms:
        for seed in outcomes.predictions[arm.name]:
            try:
                logits, labels = outcomes.logits(arm.name, seed)
            except (DamagedRecord, KeyError):  # named elsewhere
                continue
            probabilities = softmax(logits.astype(np.float64), axis=1)
            yield arm.name, arm.is_baseline, seed, probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


def _binned(
    confidence: Float[np.ndarray, " images"], right: Bool[np.ndarray, " images"]
) -> tuple[Float[np.ndarray, " bins"], ...]:
    """Of each bin: images, the sum of their confidence, and how many are right."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return tuple(
        np.bincount(place, weights=weights, minlength=BINS).astype(np.float64) for weights in (None, confidence, right)
    )
