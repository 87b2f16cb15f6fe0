"""Verdicts and plans against formulas and simulated studies."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.planning import MOST_SEEDS, Thresholds, chances_of_settling, further_seeds
from analysis.statistics import PairedEffect, contrast_effect, holm
from analysis.verdicts import verdict


def additive(
    delta: float, *, seed_sd: float = 0.0, image_sd: float = 0.0, seeds: int = 5, images: int = 100
) -> PairedEffect:
    """The effect of differences with exactly these standard deviations of seeds and images, and nothing else."""
    ramps = (np.arange(n) - (n - 1) / 2 for n in (seeds, images))
    by_seed, by_image = (ramp / ramp.std(ddof=1) for ramp in ramps)
    return contrast_effect(delta + seed_sd * by_seed[:, None] + image_sd * by_image, step=0)


def test_a_significant_arm_is_better_or_worse_even_within_the_margin():
    assert verdict(additive(0.03, seed_sd=0.001), adjusted_p=0.01).kind == "better"
    assert verdict(additive(-0.03, seed_sd=0.001), adjusted_p=0.01).kind == "worse"
    within = verdict(additive(0.004, seed_sd=0.001), adjusted_p=0.01)
    assert within.kind == "better"
    assert within.remark == "within the margin of 1 point"
    assert within.further_seeds is None


def test_holm_decides_and_not_the_plain_p_value():
    effect = additive(0.03, seed_sd=0.02)
    assert effect.p_value < 0.05
    assert verdict(effect, adjusted_p=0.2).kind == "inconclusive"


def test_a_90_percent_interval_inside_the_margin_is_equivalent():
    effect = additive(0.002, seed_sd=0.005)
    found = verdict(effect, adjusted_p=0.9)
    assert (found.kind, found.further_seeds) == ("equivalent", None)
    assert found.remark == "90 % interval [-0.28, +0.68] within the margin of 1 point"
    assert verdict(effect, adjusted_p=0.9, margin=0.006).kind == "inconclusive"


def test_equivalence_is_corrected_for_the_number_of_arms():
    effect = additive(0.002, seed_sd=0.005)
    assert effect.equivalence_p(0.01) == pytest.approx(stats.t.sf((0.01 - 0.002) / (0.005 / math.sqrt(5)), 4))
    eight = holm([effect.equivalence_p(0.01)] * 8)[0]
    assert verdict(effect, adjusted_p=0.9, adjusted_equivalence_p=eight).kind == "inconclusive"


def test_what_further_seeds_would_settle_is_a_range_up_to_a_chance_of_80_percent():
    effect = additive(0.02, seed_sd=0.025, image_sd=0.02, images=10_000)
    thresholds = Thresholds(0.05, 0.05, 0.01)
    seeds, chances = further_seeds(effect, thresholds), chances_of_settling(effect, thresholds)
    assert seeds.even is not None
    assert seeds.likely is not None
    assert chances[seeds.even - 2] < 0.5 <= chances[seeds.even - 1]
    assert chances[seeds.likely - 2] < 0.8 <= chances[seeds.likely - 1]
    found = verdict(effect, adjusted_p=effect.p_value)
    assert found.further_seeds == seeds.likely
    assert found.remark == f"{seeds.even} to {seeds.likely} further seeds would settle it (an even chance to 80 %)"


def test_a_plan_pays_for_the_other_arms():
    effect = additive(0.02, seed_sd=0.02, image_sd=0.02, images=10_000)
    alone = verdict(effect, adjusted_p=effect.p_value)
    among_four = verdict(effect, adjusted_p=min(4 * effect.p_value, 1))
    assert alone.further_seeds < among_four.further_seeds


def test_a_plan_settles_at_least_four_of_five_studies():
    # True effects as often large as small, seeds alone. The plain plan (the number right for the estimates) settles half.
    rng = np.random.default_rng(0)
    settled = []
    for _ in range(150):
        seeds = rng.uniform(-0.03, 0.03) + 0.008 * rng.standard_normal(3 + MOST_SEEDS)

        def at(n, seeds=seeds):
            effect = contrast_effect(np.repeat(seeds[:n, None], 10_000, axis=1))
            return effect, verdict(effect, adjusted_p=effect.p_value)

        plan = at(3)[1].further_seeds
        if plan:
            settled.append(at(3 + plan)[1].kind != "inconclusive")
    assert len(settled) > 50
    assert np.mean(settled) >= 0.8


def test_a_plan_knows_its_limits():
    images = verdict(additive(0.008, seed_sd=0.005, image_sd=0.2), adjusted_p=0.9)
    assert (images.kind, images.further_seeds) == ("inconclusive", None)
    assert "cannot be settled on this test set, whose 100 images leave ±3.97 points" in images.remark
    seeds = verdict(additive(0.009, seed_sd=0.2), adjusted_p=0.9)
    assert (seeds.kind, seeds.further_seeds) == ("inconclusive", None)
    assert seeds.remark == "more than 30 further seeds would be needed to settle it"
    effect = additive(0.02, seed_sd=0.055)
    perhaps = verdict(effect, adjusted_p=effect.p_value)
    assert perhaps.further_seeds is None
    assert "to more than 30 further seeds would settle it" in perhaps.remark


def test_a_test_set_of_which_the_margin_is_two_images_settles_no_equivalence():
    found = verdict(contrast_effect(np.zeros((3, 200))), adjusted_p=1.0)
    assert (found.kind, found.further_seeds) == ("inconclusive", None)
    assert found.remark == "cannot be settled on this test set, of whose 200 images the margin is 2"


def test_an_arm_with_diverged_seeds_is_never_better_or_equivalent():
    better = verdict(additive(0.03, seed_sd=0.001), adjusted_p=0.001, diverged=1)
    assert better.kind == "inconclusive"
    assert better.remark == "1 seed diverged, and the others alone do not make it better"
    assert verdict(additive(0.0, seed_sd=0.001), adjusted_p=1, diverged=2).kind == "inconclusive"
    assert verdict(additive(-0.03, seed_sd=0.001), adjusted_p=0.001, diverged=1).kind == "worse"


def test_one_seed_gets_no_verdict():
    found = verdict(contrast_effect(np.ones((1, 9))), adjusted_p=math.nan)
    assert (found.kind, found.further_seeds, found.remark) == ("no interval", None, "one seed: no interval")
