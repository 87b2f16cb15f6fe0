"""How far networks know what they do not know: confidence against accuracy on the test images.

The confidence of an answer is the largest softmax probability. The expected calibration error (ECE) is the mean distance
between confidence and accuracy over equally wide bins of confidence, weighted by the images in them. It is not 0 for a
perfectly calibrated network on finitely many images, and the fewer they are the larger: compare arms on the same images only.

Source: Guo et al. 2017, arXiv:1706.04599, equation 3.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.special import softmax

from ablations.store import DamagedRecord
from analysis.outcomes import Outcomes

BINS = 15

CALIBRATION = ("arm", "is_baseline", "seed", "error", "confidence", "accuracy")
RELIABILITY = ("arm", "is_baseline", "bin", "images", "confidence", "accuracy")


def calibration(outcomes: Outcomes) -> pd.DataFrame:
    """A row a finished cell whose test logits are there.

    Columns: arm, is_baseline, seed, error (ECE), confidence and accuracy (means over the test images). 0 to 1.
    """
    rows = []
    for arm, is_baseline, seed, confidence, right in _cells(outcomes):
        images, sure, correct = _binned(confidence, right)
        error = float(np.abs(sure - correct).sum() / images.sum())
        rows.append((arm, is_baseline, seed, error, confidence.mean(), right.mean()))
    return pd.DataFrame(rows, columns=CALIBRATION)


def reliability(outcomes: Outcomes) -> pd.DataFrame:
    """What a reliability diagram shows: a row an arm and bin of confidence that an answer of one of its seeds falls into.

    Columns: arm, is_baseline, bin (from 0), images (of all seeds), confidence, accuracy (means over them). 0 to 1.
    """
    sums: dict[tuple[str, bool], np.ndarray] = {}
    for arm, is_baseline, _, confidence, right in _cells(outcomes):
        sums[arm, is_baseline] = sums.get((arm, is_baseline), 0) + np.stack(_binned(confidence, right))
    return pd.DataFrame(
        [
            (*arm, place, int(images), sure / images, correct / images)
            for arm, bins in sums.items()
            for place, (images, sure, correct) in enumerate(bins.T)
            if images
        ],
        columns=RELIABILITY,
    )


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
