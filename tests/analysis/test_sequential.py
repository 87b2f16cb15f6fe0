"""Sequential studies against levels worked out by hand, and simulated arms that do nothing."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from analysis.sequential import Looks, chance_of_settling, follow, standings
from analysis.statistics import contrast_effect, holm

LOOKS = Looks((3, 5, 10))


def nested_p_values(looks: tuple[int, ...], runs: int, arms: int) -> np.ndarray:
    """P-values (looks, runs, arms) of paired t tests at growing numbers of seeds of arms that share a baseline."""
    rng = np.random.default_rng(0)
    accuracies = rng.standard_normal((1 + arms, runs, looks[-1]))
    differences = np.moveaxis(accuracies[1:] - accuracies[0], 0, 1)
    p = []
    for n in looks:
        first = differences[..., :n]
        t = first.mean(-1) / (first.std(-1, ddof=1) / math.sqrt(n))
        p.append(2 * special.stdtr(n - 1, -np.abs(t)))
    return np.array(p)


def test_levels_are_those_of_the_spending_function():
    # 0.05 (n / 10)^3: 0.00135, 0.00625, 0.05.
    assert LOOKS.levels == pytest.approx((0.00135, 0.0049, 0.04375))


@given(st.sets(st.integers(2, 40), min_size=1, max_size=8))
def test_all_looks_together_spend_5_percent(seeds):
    levels = Looks(tuple(sorted(seeds))).levels
    assert sum(levels) == pytest.approx(0.05)
    assert min(levels) > 0


@pytest.mark.parametrize("seeds", [(), (1, 3), (5, 3), (3, 3)])
def test_looks_that_do_not_rise_from_2_are_refused(seeds):
    with pytest.raises(ValueError, match="rising numbers of seeds"):
        Looks(seeds)


@pytest.mark.parametrize("seen", [(0, 1, 2), (0, 2), (2,), (0, 1)])
@pytest.mark.parametrize("arms", [1, 8])
def test_arms_that_do_nothing_are_called_different_in_at_most_5_percent_of_studies(seen, arms):
    # All looks; one left out; only the last; cut short.
    p = nested_p_values((3, 5, 10), 20_000, arms)
    p[[look for look in range(3) if look not in seen]] = np.nan
    course = follow(p, np.ones_like(p), LOOKS.levels)
    assert course.differs.any(axis=-1).mean() < 0.05


def test_peeking_at_every_seed_errs_three_times_as_often_as_it_says():
    p = nested_p_values(tuple(range(3, 11)), 20_000, 1)
    assert np.mean(p.min(axis=0) < 0.05) == pytest.approx(0.168, abs=0.01)


def test_one_look_is_holms_procedure():
    p = np.random.default_rng(0).random((1, 50, 6)) ** 3
    course = follow(p, np.ones_like(p), Looks((10,)).levels)
    assert course.adjusted_p == pytest.approx(holm(p[0]))


def test_an_arm_that_has_stopped_stays_what_it_was():
    # Levels 0.0014 and 0.0049; the first arm is settled at the first look, and nothing that follows is read.
    p = np.array([[0.0001, 0.9], [0.9, 0.0001]])
    course = follow(p, np.ones((2, 2)), LOOKS.levels)
    assert course.differs.tolist() == [True, True]
    assert course.look.tolist() == [0, 1]


def test_with_each_arm_that_stops_the_others_get_easier():
    # One of two arms needs p < level / 2; once the other has stopped, p < level.
    between = 0.7 * LOOKS.levels[1]
    alone = np.array([[0.9, 0.9], [0.9, between]])
    beside_one_that_differs = np.array([[0.0001, 0.9], [np.nan, between]])
    ones = np.ones((2, 2))
    assert not follow(alone, ones, LOOKS.levels).differs.any()
    assert follow(beside_one_that_differs, ones, LOOKS.levels).differs.all()


def test_an_arm_can_stop_for_being_equivalent():
    course = follow(np.full((1, 1), 0.5), np.full((1, 1), 0.001), LOOKS.levels)
    assert course.equivalent.all()
    assert not course.differs.any()


def effect_of(seeds: np.ndarray):
    return contrast_effect(np.repeat(seeds[:, None], 1_000, axis=1), step=0)


def test_a_study_says_where_each_arm_stopped_and_with_what_interval():
    rng = np.random.default_rng(1)
    clear, same = 0.1 + 0.001 * rng.standard_normal(10), 0.0005 * rng.standard_normal(10)
    unclear = 0.02 + 0.008 * np.array([-1, 0.8, 0, 1.2, -1])
    first = {"clear": effect_of(clear[:3]), "same": effect_of(same[:3]), "unclear": effect_of(unclear[:3])}
    second = {"unclear": effect_of(unclear[:5])}
    found = standings(LOOKS, [first, second], margin=0.01)
    assert {arm: status.stopped for arm, status in found.items()} == {"clear": True, "same": True, "unclear": False}
    assert {arm: status.look for arm, status in found.items()} == {"clear": 0, "same": 0, "unclear": 1}
    assert found["clear"].adjusted_p < 0.05 <= found["same"].adjusted_p
    for arm, effect in (("clear", first["clear"]), ("unclear", second["unclear"])):
        status = found[arm]
        assert status.effect.level == 1 - LOOKS.levels[status.look]
        assert (status.effect.low, status.effect.high) == effect.interval(1 - LOOKS.levels[status.look])


def test_an_arm_that_the_plan_is_unlikely_to_settle_stops_without_a_verdict():
    ramp = np.linspace(-1, 1, 3)
    first = {"near": effect_of(0.02 + 0.012 * ramp), "far": effect_of(0.004 + 0.02 * ramp)}
    found = standings(LOOKS, [first], margin=0.001)
    assert not any(status.settled for status in found.values())
    assert {arm: status.stopped for arm, status in found.items()} == {"near": False, "far": True}


def test_the_chance_of_being_settled_is_that_of_simulated_seeds():
    # Three seeds were seen; the seven to come have the same mean and variance. At the last look the variance is known.
    rng = np.random.default_rng(0)
    seen = 0.012 + 0.01 * np.linspace(-1, 1, 3)
    effect = effect_of(seen)
    sd = seen.std(ddof=1)
    at_last = (seen.sum() + 0.012 * 7 + sd * math.sqrt(7 + 49 / 3) * rng.standard_normal(100_000)) / 10
    needed = stats.t.isf(LOOKS.levels[2] / 2, 9) * sd / math.sqrt(10)
    chance = chance_of_settling(
        np.array(effect.delta), effect.parts, 3, 10, alpha=np.array(LOOKS.levels[2]), margin=0.001
    )
    assert chance == pytest.approx(np.mean(np.abs(at_last) > needed), abs=0.01)


def test_an_arm_without_seeds_at_a_look_stays_what_it_was():
    effects = {"a": effect_of(np.random.default_rng(0).normal(0, 0.02, 3)), "b": effect_of(np.full(3, 0.0))}
    found = standings(LOOKS, [effects, {"b": effects["b"]}], margin=0.001)
    assert found["a"].look == 0
    assert standings(LOOKS, [], margin=0.01) == {}


def test_looks_that_were_not_planned_and_arms_from_nowhere_are_refused():
    effects = {"a": effect_of(np.zeros(3))}
    with pytest.raises(ValueError, match="3 looks were planned, got 4"):
        standings(LOOKS, [effects] * 4, margin=0.01)
    with pytest.raises(ValueError, match="not among the arms of the study: b"):
        standings(LOOKS, [effects, {"b": effects["a"]}], margin=0.01)


def test_intervals_cover_whenever_a_study_stops():
    # Repeated confidence intervals: also at the look at which an arm stops because it seems to differ.
    rng = np.random.default_rng(0)
    effects, runs, covered = [0.0, 0.01, 0.02, 0.04], 300, 0
    for _ in range(runs):
        seeds = np.array(effects)[:, None] + 0.01 * rng.standard_normal((4, 10))
        seen = [{str(arm): effect_of(seeds[arm, :n]) for arm in range(4)} for n in LOOKS.seeds]
        for arm, status in standings(LOOKS, seen, margin=0.005).items():
            covered += status.effect.low <= effects[int(arm)] <= status.effect.high
    assert covered / (4 * runs) > 0.95
