"""What a tuned comparison claims, and how often it errs: two arms that are equally good once each is tuned."""

import numpy as np
import pytest
from scipy import stats

RUNS, SEEDS = 4_000, 10
MEANS = np.array([0.0, -0.002, -0.004])
"""Accuracy at each of three values, the same for both arms."""
SEED_SD, VALIDATION_SD = 0.005, 0.004
"""Of a network's accuracy over seeds, and of what its validation images add to it."""


def accuracies(rng: np.random.Generator, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """On test and validation images: (runs, arms, seeds, values)."""
    test = MEANS + SEED_SD * rng.standard_normal((RUNS, 2, seeds, 3))
    return test, test + VALIDATION_SD * rng.standard_normal(test.shape)


def false_positives(chosen: np.ndarray) -> float:
    return float(np.mean(stats.ttest_1samp(chosen[:, 0] - chosen[:, 1], 0, axis=-1).pvalue < 0.05))


def test_where_every_seed_chooses_for_itself_the_claim_on_tuned_arms_errs_in_5_percent():
    test, validation = accuracies(np.random.default_rng(0), SEEDS)
    chosen = np.take_along_axis(test, validation.argmax(-1, keepdims=True), -1)[..., 0]
    assert false_positives(chosen) == pytest.approx(0.05, abs=0.012)


def test_where_one_seed_chooses_for_all_it_errs_far_more_often():
    rng = np.random.default_rng(0)
    _, validation = accuracies(rng, 1)
    test, _ = accuracies(rng, SEEDS)
    chosen = np.take_along_axis(test, validation.argmax(-1, keepdims=True), -1)[..., 0]
    assert false_positives(chosen) > 0.12
