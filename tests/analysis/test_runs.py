"""Effects of one number a run, and of runs whose seeds do not pair, against scipy and against simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.runs import run_effect, unpaired_effect, unpaired_run_effect
from analysis.statistics import paired_effect
from analysis.verdicts import verdict

NUMBERS = st.floats(-100, 100).map(lambda x: round(x, 3))


@given(st.lists(NUMBERS, min_size=2, max_size=12, unique=True))
def test_of_one_number_a_run_the_interval_is_the_paired_t_interval(values):
    differences = np.array(values)
    effect = run_effect(differences)
    reference = stats.ttest_1samp(differences, 0)
    low, high = reference.confidence_interval(0.95)
    assert (effect.low, effect.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)
    assert effect.p_value == pytest.approx(reference.pvalue, rel=1e-7)
    for level in (0.8, 0.99):
        assert effect.interval(level) == pytest.approx(tuple(reference.confidence_interval(level)), rel=1e-9, abs=1e-9)


@given(st.lists(NUMBERS, min_size=2, max_size=12, unique=True), st.lists(NUMBERS, min_size=2, max_size=12, unique=True))
def test_of_seeds_that_do_not_pair_the_interval_is_welchs(one, other):
    arm, baseline = np.array(one), np.array(other)
    effect = unpaired_run_effect(arm, baseline)
    reference = stats.ttest_ind(arm, baseline, equal_var=False)
    low, high = reference.confidence_interval(0.95)
    assert effect.degrees_of_freedom == pytest.approx(reference.df, rel=1e-9)
    assert (effect.low, effect.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)
    assert effect.p_value == pytest.approx(reference.pvalue, rel=1e-6, abs=1e-12)
    assert not effect.paired


def test_rounded_numbers_that_are_all_alike_are_no_certainty():
    exact, rounded = run_effect(np.full(3, 0.5)), run_effect(np.full(3, 0.5), resolution=0.1)
    assert exact.p_value == 0
    assert rounded.half_width() == pytest.approx(stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(6) / math.sqrt(3))
    assert rounded.p_value > 0.001
    apart = unpaired_run_effect(np.full(3, 0.7), np.full(3, 0.2), resolution=0.1)
    assert apart.half_width() == pytest.approx(stats.t.ppf(0.975, 4) * 0.1 / math.sqrt(6) / math.sqrt(3))
    vary = np.array([0.2, 0.5, 0.9])
    assert run_effect(vary, resolution=0.1) == run_effect(vary)


def test_one_seed_gives_a_difference_and_no_interval():
    for effect in (
        run_effect(np.array([0.3])),
        unpaired_run_effect(np.array([0.8]), np.array([0.4, 0.6])),
        unpaired_effect(np.ones((1, 4), dtype=bool), np.zeros((3, 4), dtype=bool)),
    ):
        assert effect.reason == "one seed: no interval"
        assert math.isnan(effect.low)
        assert effect.delta > 0


def test_unpaired_effects_cover_the_truth_as_often_as_they_say_and_know_that_images_pair():
    """Networks of an arm and a baseline with seeds of their own, on images that are hard for both or for neither."""
    dice = np.random.default_rng(0)
    images, runs = 400, 300
    covered, narrower = 0, 0
    for _ in range(runs):
        hard = dice.normal(0, 1.5, images)

        def networks(n: int, skill: float, hard: np.ndarray = hard) -> np.ndarray:
            return hard + dice.normal(0, 1, (n, images)) + dice.normal(0, 0.1, (n, 1)) < skill

        arm, baseline = networks(5, 0.5), networks(4, 0.2)
        truth = stats.norm.cdf(0.5, scale=math.sqrt(3.26)) - stats.norm.cdf(0.2, scale=math.sqrt(3.26))
        effect = unpaired_effect(arm, baseline)
        covered += effect.low <= truth <= effect.high
        blind = (arm.mean(axis=0).var() + baseline.mean(axis=0).var()) / images
        narrower += effect.image_variance < blind
    assert 0.93 <= covered / runs <= 0.995
    assert narrower == runs


def test_unpaired_and_paired_effects_have_one_delta_and_image_part():
    dice = np.random.default_rng(1)
    arm, baseline = dice.random((3, 500)) < 0.7, dice.random((3, 500)) < 0.6
    one, other = paired_effect(arm, baseline), unpaired_effect(arm, baseline)
    assert other.delta == pytest.approx(one.delta)
    assert other.rest_variance == pytest.approx(one.rest_variance, rel=0.2)
    clusters = np.arange(500) // 5
    assert unpaired_effect(arm, baseline, clusters=clusters).n_images == 100


def test_less_may_be_better():
    from analysis.metric import Metric

    loss = Metric("loss", lower_is_better=True)
    effect = run_effect(np.array([-0.11, -0.1, -0.09]))
    assert verdict(effect, adjusted_p=effect.p_value, margin=0, metric=loss).kind == "better"
    assert verdict(effect, adjusted_p=effect.p_value, margin=0).kind == "worse"
