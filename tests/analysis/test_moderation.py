"""Moderated variances against Smyth's formulas, scipy's distributions and simulated arms."""

import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from analysis.moderation import LEAST_OTHERS, moderate, moderated, prior, stands_out, trigamma_inverse
from analysis.statistics import contrast_effect


def effects(sds: list[float], *, seeds: int = 3, seed: int = 0) -> list:
    """Effects of simulated arms that differ in how much they vary from seed to seed."""
    rng = np.random.default_rng(seed)
    return [contrast_effect(np.repeat(0.02 + sd * rng.standard_normal((seeds, 1)), 5_000, axis=1)) for sd in sds]


@pytest.mark.parametrize("x", [1e-4, 0.1, 1.0, math.pi**2 / 6, 50.0, 1e4])
def test_the_inverse_of_the_trigamma_function_is_one(x):
    assert special.polygamma(1, trigamma_inverse(np.array(x))) == pytest.approx(x)


def test_the_prior_is_that_of_smyths_formulas():
    # Section 6.2, with the equation for d0 solved by bisection instead of Newton's method.
    variances, df = np.array([1.0, 2.5, 0.3, 8.0, 1.7, 0.9, 4.0]), np.full(7, 2.0)
    e = np.log(variances) - special.psi(1) + np.log(1)
    wanted = e.var(ddof=1) - special.polygamma(1, 1)
    assert wanted < 0  # two degrees of freedom: as if all were equal
    found = prior(variances, df)
    assert found.df == math.inf
    assert found.variance == pytest.approx(np.exp(e.mean()))
    variances = variances**3
    e = 3 * np.log(np.array([1.0, 2.5, 0.3, 8.0, 1.7, 0.9, 4.0])) - special.psi(1)
    wanted = e.var(ddof=1) - special.polygamma(1, 1)
    d0 = 2 * optimize.brentq(lambda half: special.polygamma(1, half) - wanted, 1e-3, 1e3)
    found = prior(variances, df)
    assert found.df == pytest.approx(d0)
    assert found.variance == pytest.approx(math.exp(e.mean() + special.psi(d0 / 2) - math.log(d0 / 2)))


def test_a_prior_of_many_variances_is_found_again():
    rng = np.random.default_rng(0)
    variances = 0.3 * stats.f.rvs(4, 6, size=20_000, random_state=rng)  # s0^2 F(d, d0), Smyth 2004, section 3
    found = prior(variances, np.full(20_000, 4.0))
    assert found.df == pytest.approx(6, rel=0.1)
    assert found.variance == pytest.approx(0.3, rel=0.05)


def test_an_arm_is_shrunk_towards_the_others_and_not_towards_itself():
    variances, df = np.array([9.0, *[1.0] * 8]), np.full(9, 2.0)
    shrunk, prior_df = moderated(variances, df)
    center = np.exp(-special.psi(1))  # of the log of eight equal variances of two degrees of freedom
    assert prior_df[0] == 4
    assert shrunk[0] == pytest.approx((4 * center + 2 * 9) / 6)


def test_nothing_is_borrowed_from_fewer_than_seven():
    few = effects([0.01] * LEAST_OTHERS)
    assert moderate(few) == few
    assert not stands_out(few).any()


def test_a_moderated_interval_is_a_t_interval_of_more_degrees_of_freedom():
    own = effects([0.01] * 8)
    borrowed = moderate(own)
    for one, other in zip(own, borrowed, strict=True):
        assert other.degrees_of_freedom == 6
        assert other.half_width() == pytest.approx(stats.t.ppf(0.975, 6) * other.standard_error, rel=1e-3)
        assert other.p_value == pytest.approx(2 * stats.t.sf(abs(other.delta) / other.standard_error, 6), rel=1e-2)
        assert (other.delta, other.image_variance, other.rest_variance) == (
            one.delta,
            one.image_variance,
            one.rest_variance,
        )
    assert np.mean([e.half_width() for e in borrowed]) < 0.7 * np.mean([e.half_width() for e in own])


def test_an_effect_without_an_interval_stays_without_one():
    with_one_seed = contrast_effect(np.ones((1, 50)))
    *_, last = moderate([*effects([0.01] * 8), with_one_seed])
    assert last == with_one_seed


def test_an_arm_that_is_much_noisier_than_all_others_is_marked():
    assert stands_out(effects([0.003] * 9 + [0.1], seeds=5)).tolist() == [False] * 9 + [True]
    marked = [stands_out(effects([0.01] * 10, seed=seed)).any() for seed in range(100)]
    assert np.mean(marked) < 0.12
