"""Effects of screening designs against least squares, formulas and simulated networks."""

import numpy as np
import pytest
from scipy import stats

from ablations.designs import folded, signs
from analysis.screening import half_normal_quantiles, screened
from analysis.statistics import contrast_effect


def answers(design, *, seeds: int = 3, images: int = 400, loss=(0.1, 0.0, 0.05, 0.0), seed: int = 0, luck: float = 0.0):
    """Correctness of each arm, whose accuracy falls by its missing parts' losses; all arms find the same images hard."""
    rng = np.random.default_rng(seed)
    hard = rng.random(images)
    right = []
    for run in design:
        lost = sum(part for part, there in zip(loss, run, strict=True) if not there)
        accuracy = 0.7 - lost + luck * rng.standard_normal((seeds, 1))
        right.append((0.9 * hard + 0.1 * rng.random((seeds, images))) < accuracy)
    return right


def test_a_main_effect_is_the_mean_without_a_part_less_the_mean_with_it():
    design = folded(4)
    right = answers(design)
    found = screened(design, right)
    for part, effect in enumerate(found.main):
        without, with_it = (
            [r for r, run in zip(right, design, strict=True) if run[part] is there] for there in (False, True)
        )
        expected = contrast_effect(np.mean(without, axis=0) - np.mean(with_it, axis=0))
        assert effect.delta == pytest.approx(expected.delta)
        assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high))
    assert found.left_out == ()


def test_interactions_stand_for_those_that_are_aliased_with_them():
    design = folded(4)
    right = answers(design)
    found = screened(design, right)
    assert list(found.interactions) == [(0, 1), (0, 2), (0, 3)]
    column = np.array(signs(design, 0, 1))
    expected = np.mean([r.mean() for r in np.array(right)[column > 0]]) - np.mean(
        [r.mean() for r in np.array(right)[column < 0]]
    )
    assert found.interactions[0, 1].delta == pytest.approx(expected)


def test_where_an_arm_is_missing_the_others_still_say_what_each_part_does():
    design = folded(6)
    loss = (0.1, 0.0, 0.05, 0.0, 0.02, 0.0)
    right = answers(design, loss=loss, images=4_000)
    found = screened(design, [None if arm == 5 else r for arm, r in enumerate(right)])
    assert found.left_out == (5, 13)
    assert found.interactions == {}
    assert [effect.delta for effect in found.main] == pytest.approx(-np.array(loss), abs=0.02)
    assert screened(design, [None if arm < 3 else r for arm, r in enumerate(right)]) is None


def test_with_interactions_intervals_of_main_effects_still_cover():
    design, covered, runs = folded(4), 0, 100
    without = ~np.array(design)
    rng = np.random.default_rng(0)
    for _ in range(runs):
        together = 0.02 * (without[:, 0] & without[:, 1])
        accuracy = 0.7 - together[:, None, None] + 0.01 * rng.standard_normal((len(design), 3, 1))
        right = list(rng.random((len(design), 3, 2_000)) < accuracy)
        found = screened(design, right)
        for effect, truth in zip(found.main, (-0.01, -0.01, 0, 0), strict=True):
            covered += effect.low <= truth <= effect.high
    assert 0.93 < covered / (4 * runs) <= 1


def test_the_standard_error_is_that_of_half_of_all_arms_against_the_other_half():
    # Four times less variance than leaving one out at a time, with 8 arms: 4 s^2 / (8 S) against 2 s^2 / S.
    design = folded(4)
    variances = []
    for seed in range(60):
        found = screened(design, answers(design, luck=0.02, images=2_000, seed=seed))
        variances.append(found.main[1].seed_variance)
    leave_one_out = 2 * 0.02**2
    assert np.mean(variances) == pytest.approx(leave_one_out / 4, rel=0.25)


def test_arrays_that_do_not_fit_are_refused():
    design = folded(2)
    right = answers(design, loss=(0, 0))
    with pytest.raises(ValueError, match="correctness of 4 arms, got 3"):
        screened(design, right[:3])
    with pytest.raises(ValueError, match="same seeds and images everywhere"):
        screened(design, [*right[:3], right[3][:2]])


def test_sizes_of_chance_effects_lie_on_a_line_in_a_half_normal_plot():
    sizes = np.sort(np.abs(np.random.default_rng(0).standard_normal(2_000)))
    quantiles = half_normal_quantiles(2_000)
    assert quantiles[:1] == pytest.approx(stats.halfnorm.ppf(0.5 / 2_000))
    assert np.corrcoef(sizes, quantiles)[0, 1] > 0.998
