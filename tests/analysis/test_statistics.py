"""Effects, intervals and verdicts against formulas, other libraries' results, published examples and simulated truth."""

import dataclasses
import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from analysis.simulation import ACCURACY, DISAGREEMENT, GRID, Setting, coverage, studies
from analysis.statistics import (
    PairedEffect,
    Parts,
    benjamini_hochberg,
    best_half_width,
    by_cluster,
    contrast_effect,
    half_width,
    holm,
    holm_levels,
    mcnemar,
    paired_effect,
    paying_for_looks,
    within_margin,
)

REPOSITORY = Path(__file__).parents[2]

# Two arms' correctness at once: entries 0 to 3 are two bits, the arm's and the baseline's.
outcomes = hnp.arrays(
    np.int8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=9), elements=st.integers(0, 3)
)


def pair(outcome: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return outcome & 1 == 1, outcome & 2 == 2


def random_pair(seeds: int = 4, images: int = 300, effect: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    arm, baseline = next(studies(Setting(seeds, images, 0.01, 0.17), (effect,), 1, np.random.default_rng(0)))
    return arm[0], baseline


def additive(
    delta: float, *, seed_sd: float = 0.0, image_sd: float = 0.0, seeds: int = 5, images: int = 100
) -> PairedEffect:
    """The effect of differences with exactly these standard deviations of seeds and images, and nothing else."""
    ramps = (np.arange(n) - (n - 1) / 2 for n in (seeds, images))
    by_seed, by_image = (ramp / ramp.std(ddof=1) for ramp in ramps)
    return contrast_effect(delta + seed_sd * by_seed[:, None] + image_sd * by_image, step=0)


# ---- effects and intervals


def test_mean_squares_are_those_worked_out_by_hand():
    # Means: seeds 0, 2/3; images 1, 1/2, -1/2; all 1/3. Mean squares: seeds 2/3, images 7/6, rest 1/6.
    effect = contrast_effect(np.array([[1.0, 0, -1], [1, 1, 0]]), step=0)
    assert effect.delta == pytest.approx(1 / 3)
    assert effect.seed_variance == pytest.approx(2 / 3 / 3)
    assert effect.image_variance == pytest.approx((7 / 6 - 1 / 6) / (2 * 3))
    assert effect.standard_error == pytest.approx(math.sqrt(5 / 18))
    assert (effect.n_seeds, effect.n_images, effect.degrees_of_freedom) == (2, 3, 1)


def test_the_multiplier_is_the_mean_of_both_quantiles_weighted_by_their_variances():
    # Student's 97.5 % quantiles from any table: 2.776 with 4 degrees of freedom, 1.984 with 99.
    effect = additive(0.02, seed_sd=0.01, image_sd=0.08)
    seed_part, image_part = 0.01**2 / 5, 0.08**2 / 100
    multiplier = (2.776 * seed_part + 1.984 * image_part) / (seed_part + image_part)
    assert effect.high - effect.delta == pytest.approx(multiplier * math.sqrt(seed_part + image_part), rel=1e-3)


def test_without_image_variance_it_is_the_paired_t_test():
    rng = np.random.default_rng(1)
    arm, baseline = rng.normal(0.6, 0.01, 5), rng.normal(0.59, 0.01, 5)
    expected = stats.ttest_rel(arm, baseline)
    low, high = expected.confidence_interval(0.95)
    for images in ("new", "fixed"):
        effect = contrast_effect(np.repeat((arm - baseline)[:, None], 50, axis=1), images=images, step=0)
        assert (effect.low, effect.high, effect.p_value) == pytest.approx((low, high, expected.pvalue))


def test_for_fixed_images_it_is_the_paired_t_test_of_the_accuracies():
    arm, baseline = random_pair()
    expected = stats.ttest_rel(arm.mean(axis=1), baseline.mean(axis=1))
    effect = paired_effect(arm, baseline, images="fixed")
    assert (effect.low, effect.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert effect.p_value == pytest.approx(expected.pvalue)
    assert effect.image_variance == 0


def test_without_seed_variance_it_is_the_t_test_over_images():
    by_image = np.array([1.0, 0, 0, 1, -1, 1, 0, 1])
    expected = stats.ttest_1samp(by_image, 0)
    effect = contrast_effect(np.repeat(by_image[None], 3, axis=0), step=0)
    assert (effect.low, effect.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert effect.p_value == pytest.approx(expected.pvalue)


@given(outcomes, st.randoms(use_true_random=False))
def test_the_order_of_seeds_and_images_does_not_matter(outcome, random):
    rows, columns = list(range(len(outcome))), list(range(outcome.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    effect, shuffled = paired_effect(*pair(outcome)), paired_effect(*pair(outcome[rows][:, columns]))
    for field in ("delta", "low", "high", "p_better"):
        assert getattr(shuffled, field) == pytest.approx(getattr(effect, field), abs=1e-9)
    assert shuffled.p_value == pytest.approx(effect.p_value, abs=1e-6)


@given(outcomes)
def test_swapping_arm_and_baseline_turns_the_sign(outcome):
    arm, baseline = pair(outcome)
    effect, swapped = paired_effect(arm, baseline), paired_effect(baseline, arm)
    assert (swapped.delta, swapped.low, swapped.high) == (-effect.delta, -effect.high, -effect.low)
    assert swapped.p_value == effect.p_value
    assert swapped.p_better == pytest.approx(1 - effect.p_better)


@given(outcomes, st.sampled_from(["new", "fixed"]))
def test_p_is_below_5_percent_where_the_95_percent_interval_leaves_0_out(outcome, images):
    effect = paired_effect(*pair(outcome), images=images)
    if abs(effect.p_value - 0.05) > 1e-9:
        assert (effect.p_value < 0.05) == (effect.low > 0 or effect.high < 0)


@given(outcomes)
def test_the_interval_at_the_level_of_p_ends_at_0(outcome):
    effect = paired_effect(*pair(outcome))
    if 1e-6 < effect.p_value < 1:
        assert min(map(abs, effect.interval(1 - effect.p_value))) == pytest.approx(0, abs=1e-6)


@given(outcomes, st.floats(0.5, 0.98))
def test_intervals_widen_with_the_level_and_with_the_claim(outcome, level):
    arm, baseline = pair(outcome)
    effect = paired_effect(arm, baseline)
    assert effect.half_width(level) <= effect.half_width(level + 0.01)
    assert paired_effect(arm, baseline, images="fixed").half_width(level) <= effect.half_width(level) + 1e-12
    assert effect.interval(effect.level) == (effect.low, effect.high)


def test_more_of_either_variance_widens_the_interval():
    widths = [additive(0, seed_sd=sd, image_sd=0.1).half_width() for sd in (0, 0.01, 0.02)]
    assert widths == sorted(set(widths))
    widths = [additive(0, seed_sd=0.01, image_sd=sd).half_width() for sd in (0, 0.1, 0.2)]
    assert widths == sorted(set(widths))


def test_a_very_large_effect_has_a_very_small_p_value():
    assert 0 <= additive(0.5, seed_sd=1e-9, image_sd=0.01).p_value < 1e-20
    assert additive(0.5).p_value < 1e-20


def test_one_seed_gives_an_effect_and_no_interval():
    arm, baseline = random_pair(seeds=1)
    effect = paired_effect(arm, baseline)
    assert effect.delta == pytest.approx(arm.mean() - baseline.mean())
    assert effect.reason == "one seed: no interval"
    assert effect.n_seeds == 1
    numbers = effect.low, effect.high, effect.p_value, effect.standard_error, *effect.interval(0.9)
    assert all(math.isnan(number) for number in numbers)


def test_identical_networks_on_few_images_may_still_differ_on_others():
    right = np.random.default_rng(0).random((3, 200)) < 0.9
    effect = paired_effect(right, right)
    assert (effect.delta, effect.p_value, effect.p_better) == (0, 1, 0.5)
    assert effect.high == -effect.low == pytest.approx(stats.t.ppf(0.975, 199) / 200)
    assert effect.equivalence_p(0.01) == pytest.approx(stats.poisson.cdf(0, 2))  # as likely at a true difference of 1 %
    assert effect.equivalence_p(0.02) < 0.05


def test_one_image_lost_in_each_of_three_seeds_is_no_difference():
    right = np.ones((3, 200), dtype=bool)
    lost = right.copy()
    lost[[0, 1, 2], [5, 50, 150]] = False
    assert paired_effect(lost, right).p_value > 0.3


def test_on_many_images_what_was_not_seen_is_next_to_nothing():
    arm, baseline = random_pair(seeds=3, images=10_000)
    counted, plain = (contrast_effect(arm.astype(float) - baseline, step=step) for step in (1, 0))
    assert counted.image_variance - plain.image_variance == pytest.approx(1e-8)
    assert counted.rest_variance - plain.rest_variance == pytest.approx(2 / 3 * 1e-8)
    assert counted.half_width() == pytest.approx(plain.half_width(), rel=0.01)


def test_seeds_that_tie_by_chance_are_no_surer_than_their_images_allow():
    # Both seeds are 1 image of 4 ahead, on different images. Mean squares: seeds 0, images 1/6, rest 1/3.
    effect = contrast_effect(np.array([[1.0, 0, 0, 0], [0, 1, 0, 0]]), step=0)
    error = math.sqrt(1 / 3 / 4 / 2)
    assert (effect.seed_variance, effect.image_variance) == (0, 0)
    assert effect.rest_variance == pytest.approx(1 / 3 / 4)
    assert effect.high - effect.delta == pytest.approx(1.638 * error, rel=1e-3)  # Student's 90 % quantile, 3 degrees
    assert effect.p_value == pytest.approx(stats.t.sf(0.25 / error, 3) / 2)


def test_seeds_that_tie_by_chance_are_no_proof_of_equivalence():
    # 1,000 images on a fifth of which the networks disagree: one standard error is 0.8 points with 3 seeds.
    flips = np.zeros((3, 1_000))
    for seed in range(3):
        flips[seed, 200 * seed : 200 * seed + 100], flips[seed, 200 * seed + 100 : 200 * seed + 200] = 1, -1
    effect = contrast_effect(flips)
    assert effect.half_width(0.9) < 0.01
    assert effect.equivalence_p(0.01) == pytest.approx(stats.norm.sf(0.01 / math.sqrt(0.2 / 3_000)), rel=0.03)
    assert effect.equivalence_p(0.01) > 0.05


def test_the_floor_makes_no_interval_narrower_and_fixed_images_know_none():
    arm, baseline = random_pair(seeds=3)
    effect, fixed = paired_effect(arm, baseline), paired_effect(arm, baseline, images="fixed")
    least = stats.norm.isf(0.1) * math.sqrt(effect.rest_variance / 3 + effect.image_variance)
    assert effect.half_width() >= least * (1 - 1e-3)
    assert fixed.rest_variance == 0


@given(outcomes, st.sampled_from([0.02, 0.3, 0.8]), st.floats(0.001, 0.3))
def test_an_effect_lies_within_a_margin_where_its_p_value_says_so(outcome, margin, alpha):
    effect = paired_effect(*pair(outcome))
    if abs(effect.equivalence_p(margin) / alpha - 1) > 1e-6:
        assert within_margin(np.array(effect.delta), effect.parts, margin, alpha=alpha) == (
            effect.equivalence_p(margin) < alpha
        )


@pytest.mark.parametrize("every_seed", [True, False])
@pytest.mark.parametrize("images", [200, 350])
def test_at_the_margin_few_errors_are_called_equivalent_in_at_most_5_percent(every_seed, images):
    # The arm loses 1 % of the images, the same in every seed or others in each, and gains none.
    rng = np.random.default_rng(0)
    right = np.ones((3, images), dtype=bool)
    runs, found = 600, 0
    for _ in range(runs):
        lost = rng.random((1 if every_seed else 3, images)) < 0.01
        found += paired_effect(right & ~lost, right).equivalence_p(0.01) < 0.05
    assert found / runs < 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)


# ---- images that belong together


def test_a_cluster_of_equal_images_counts_as_one_image():
    arm, baseline = random_pair(images=60)
    five = np.repeat(np.arange(60), 5)
    effect = paired_effect(np.repeat(arm, 5, axis=1), np.repeat(baseline, 5, axis=1), clusters=five)
    expected = paired_effect(arm, baseline)
    assert (effect.low, effect.high, effect.p_value) == pytest.approx((expected.low, expected.high, expected.p_value))
    assert (effect.n_images, effect.clustered) == (60, True)


def test_clusters_of_one_image_change_nothing():
    arm, baseline = random_pair(images=60)
    effect = paired_effect(arm, baseline, clusters=np.random.default_rng(0).permutation(60))
    expected = paired_effect(arm, baseline)
    assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high))


def test_a_large_cluster_counts_for_more_and_the_mean_stays_that_of_the_images():
    values = np.array([[1.0, 1, 1, 0], [0, 1, 1, 1]])
    by_video = by_cluster(values, np.array([7, 7, 7, 2]))  # in the order of their numbers: the cluster 2, then 7
    assert by_video.mean(axis=1) == pytest.approx([0.75, 0.75])
    # Mean size 2; seed 0: 0.75 + 1 (0 - 0.75) / 2 and 0.75 + 3 (1 - 0.75) / 2.
    assert by_video == pytest.approx(np.array([[0.375, 1.125], [0.875, 0.625]]))


def test_sizes_of_clusters_that_are_all_alike_add_no_variance():
    values = np.ones((3, 30))
    assert contrast_effect(values, clusters=np.arange(30) // 8).image_variance == pytest.approx(
        1 / 16
    )  # 1 / clusters ^ 2


@pytest.mark.parametrize("sizes", ["equal", "unequal"])
def test_intervals_cover_new_clusters_where_those_of_images_do_not(sizes):
    rng = np.random.default_rng(0)
    covered = {"images": 0, "clusters": 0}
    runs = 300
    for _ in range(runs):
        size = np.full(200, 5) if sizes == "equal" else rng.choice([1, 3, 15], p=[0.5, 0.3, 0.2], size=200)
        clusters = np.repeat(np.arange(200), size)
        # Frames of one video are alike: the arm gains 4 % of the videos, loses 4 %, and both lose some frames by chance.
        change = rng.choice([-1, 0, 1], p=[0.04, 0.92, 0.04], size=200)[clusters]
        baseline = np.where(change == 0, rng.random((5, len(clusters))) < 0.9, change < 0)
        arm = np.where(change == 0, rng.random((5, len(clusters))) < 0.9, change > 0)
        for unit, given_clusters in (("images", None), ("clusters", clusters)):
            effect = paired_effect(arm, baseline, clusters=given_clusters)
            covered[unit] += effect.low <= 0 <= effect.high
    assert covered["images"] / runs < 0.85
    assert 0.92 < covered["clusters"] / runs < 0.99


def test_clusters_that_do_not_fit_are_refused():
    arm, baseline = random_pair(images=60)
    with pytest.raises(ValueError, match="cluster of each of 60 images"):
        paired_effect(arm, baseline, clusters=np.arange(59))
    with pytest.raises(ValueError, match="at least two clusters"):
        paired_effect(arm, baseline, clusters=np.zeros(60, dtype=int))


def test_p_better_counts_seeds_and_halves_ties():
    arm = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]]) == 1
    baseline = np.array([[1, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 1]]) == 1
    assert paired_effect(arm, baseline).p_better == 2.5 / 4


@pytest.mark.parametrize(
    ("arm", "baseline", "sentence"),
    [
        (np.ones((3, 4), bool), np.ones((3, 5), bool), r"arm and baseline need the same \(seeds, images\), got"),
        (np.ones(4, bool), np.ones(4, bool), r"need the same \(seeds, images\), got \(4,\) and \(4,\)"),
        (np.ones((0, 4), bool), np.ones((0, 4), bool), "at least one seed and two images"),
        (np.ones((3, 1), bool), np.ones((3, 1), bool), "at least one seed and two images"),
        (np.full((3, 4), 0.5), np.full((3, 4), 0.5), "right or wrong"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_sentence(arm, baseline, sentence):
    with pytest.raises(ValueError, match=sentence):
        paired_effect(arm, baseline)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        contrast_effect(np.array([[0.0, np.nan], [1, 0]]))


@pytest.mark.parametrize("level", [0.9, 0.95, 1 - 0.05 / 8])
@pytest.mark.parametrize(("seeds", "most"), [(2, 0.981), (3, 0.972), (5, 0.964), (10, 0.958)])
def test_with_normal_effects_coverage_is_never_below_the_level(seeds, most, level):
    # The seeds' estimated variance is chi-square, the images' is known; integrate over the first, for any true ratio.
    # Of the seeds' variance a part is known to be there; what they add of their own is any share of it.
    quantiles = (np.arange(20_000) + 0.5) / 20_000
    factor = stats.chi2.ppf(quantiles, seeds - 1) / (seeds - 1)
    for share in (0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1):
        for known in (0, 0.5, 1):
            estimated = share * factor, np.full_like(factor, 1 - share), np.full_like(factor, share * known)
            parts = Parts(*estimated, seed_df=seeds - 1, image_df=10**6 - 1)
            covered = np.mean(2 * stats.norm.cdf(half_width(parts, level=level)) - 1)
            assert covered > level - 2e-4
            assert level > 0.95 or covered < max(most, level + (most - 0.95) * 1.6)


# ---- several arms


def test_holm_agrees_with_a_published_example():
    # https://en.wikipedia.org/wiki/Holm-Bonferroni_method, four hypotheses
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_out_what_is_no_test():
    adjusted = holm([0.01, math.nan, 0.03])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.03])
    assert math.isnan(adjusted[1])
    assert len(holm([])) == 0


def test_holm_adjusts_each_of_several_studies_by_itself():
    p = np.random.default_rng(0).random((4, 3, 5))
    p[1, 2, [0, 3]] = math.nan
    for study in np.ndindex(4, 3):
        assert holm(p)[study] == pytest.approx(holm(p[study]), nan_ok=True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_p_values_and_bonferroni_and_keeps_their_order(p_values):
    p, adjusted = np.array(p_values), holm(p_values)
    assert np.all(adjusted >= p)
    assert np.all(adjusted <= np.minimum(p * len(p), 1))
    assert np.all(np.diff(adjusted[np.argsort(p)]) >= 0)


def test_benjamini_and_hochbergs_own_example_rejects_what_they_rejected():
    # 15 comparisons of two treatments (Benjamini and Hochberg 1995, table 1): four at 5 %, where Bonferroni finds three.
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
    adjusted = benjamini_hochberg([*p, math.nan])
    assert np.flatnonzero(adjusted < 0.05).tolist() == [0, 1, 2, 3]
    assert adjusted[3] == pytest.approx(0.0095 * 15 / 4)
    assert math.isnan(adjusted[-1])
    assert len(benjamini_hochberg([])) == 0


def test_p_values_pay_for_every_look():
    assert paying_for_looks([0.01, 0.5, math.nan], 3)[:2] == pytest.approx([0.03, 1])
    assert paying_for_looks([0.01], 1) == [0.01]


# ---- one seed, two factors


def test_mcnemar_agrees_with_a_published_example():
    # Approval of a prime minister in two surveys (Agresti, Categorical Data Analysis, table 10.1: 794, 150, 86, 570); the
    # exact p-value is the one that the R package exact2x2 prints for it.
    first = np.repeat([True, True, False, False], [794, 150, 86, 570])
    second = np.repeat([True, False, True, False], [794, 150, 86, 570])
    flips = mcnemar(second, first)
    assert (flips.baseline_only, flips.arm_only) == (150, 86)
    assert flips.p_value == pytest.approx(3.716e-05, rel=1e-3)
    assert dataclasses.astuple(mcnemar(first, second)) == (150, 86, flips.p_value)


def test_mcnemars_test_of_clusters_of_one_image_is_mcnemars():
    rng = np.random.default_rng(0)
    for n in (3, 40, 300):
        arm, baseline = rng.random((2, n)) < [[0.6], [0.5]]
        assert mcnemar(arm, baseline, clusters=rng.permutation(n)).p_value == pytest.approx(
            mcnemar(arm, baseline).p_value, rel=1e-9
        )


def test_mcnemars_test_of_clusters_counts_all_signs_of_their_differences():
    rng = np.random.default_rng(1)
    clusters = np.array([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 4, 5, 5, 6, 6, 6, 6, 7, 7])
    for _ in range(20):
        arm, baseline = rng.random((2, len(clusters))) < [[0.7], [0.4]]
        sums = np.bincount(clusters, weights=arm.astype(float) - baseline)
        signs = np.array(list(itertools.product([-1, 1], repeat=len(sums))))
        expected = np.mean(np.abs(signs @ sums) >= abs(sums.sum()))
        assert mcnemar(arm, baseline, clusters=clusters).p_value == pytest.approx(expected)
    with pytest.raises(ValueError, match="cluster of each of 19 images"):
        mcnemar(arm, baseline, clusters=clusters[1:])


def test_networks_without_a_flip_do_not_differ():
    right = np.array([True, False, True])
    assert dataclasses.astuple(mcnemar(right, right)) == (0, 0, 1.0)
    with pytest.raises(ValueError, match=r"need the same \(images,\)"):
        mcnemar(right[None], right[None])


def test_the_best_half_width_is_reached_by_networks_that_only_differ_by_chance():
    flips = np.zeros((5, 1_000))
    for seed in range(5):
        flips[seed, 200 * seed : 200 * seed + 100], flips[seed, 200 * seed + 100 : 200 * seed + 200] = 1, -1
    sampling = math.sqrt((flips**2).mean() / flips.size)
    assert best_half_width(5, 1_000) == pytest.approx(stats.t.ppf(0.975, 4) * sampling)


# ---- simulated networks


def test_simulated_networks_are_as_described():
    setting = Setting(seeds=100, images=20_000, seed_sd=0.015, seed_disagreement=0.12)
    arm, baseline = (x.squeeze() for x in next(studies(setting, (0.0,), 1, np.random.default_rng(0))))
    assert baseline.mean() == pytest.approx(ACCURACY, abs=0.01)
    assert (arm != baseline).mean() == pytest.approx(DISAGREEMENT, abs=0.01)
    assert (arm[1:] != arm[:-1]).mean() == pytest.approx(0.12, abs=0.005)
    effect = paired_effect(arm, baseline)
    noise = (DISAGREEMENT - setting.arm_image_sd**2) / setting.images  # what the arm's own images leave of the variance
    assert effect.seed_variance == pytest.approx(0.015**2 + noise, rel=0.4)  # known to 14 % from 100 seeds
    assert effect.image_variance == pytest.approx(setting.arm_image_sd**2 / setting.images, rel=0.05)


def test_the_script_writes_a_table_and_a_figure(tmp_path):
    script = REPOSITORY / "experiments" / "simulate_coverage.py"
    command = [sys.executable, str(script), "--runs", "2", "--out", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert len(pd.read_csv(tmp_path / "coverage.csv")) == len(GRID)
    assert (tmp_path / "coverage.png").stat().st_size > 10_000


@pytest.mark.slow
def test_nominal_95_percent_cover_93_to_98_percent_in_every_setting():
    outside = {}
    for setting in GRID:
        shares = coverage(setting, runs=2_000, seed=0)
        covered = [shares[name] for name in ("coverage", "coverage_1_point", "coverage_2_points")]
        if not all(0.93 <= share <= 0.98 for share in covered):
            outside[setting] = covered
    assert not outside


@pytest.mark.parametrize("n_seeds", [2, 3, 8, 10])
def test_an_effect_of_thousands_of_standard_errors_has_a_p_value_and_an_interval(n_seeds):
    effect = contrast_effect(np.ones((n_seeds, 2000)), step=1.6)
    assert 0 <= effect.p_value < 1e-3
    assert effect.low < effect.delta < effect.high


def test_a_level_of_holms_procedure_is_above_the_p_value_exactly_where_the_adjusted_one_is_below_5_percent():
    for p in np.random.default_rng(0).uniform(0, 0.06, (200, 5)):
        levels = holm_levels(p)
        assert ((p < levels) == (holm(p) < 0.05)).all()
        assert ((levels >= 0.05 / 5) & (levels <= 0.05)).all()
    assert holm_levels([0.03, math.nan, 0.001]).tolist() == pytest.approx([0.05, math.nan, 0.025], nan_ok=True)
    assert holm_levels([0.9, 0.8]).tolist() == [0.025, 0.025]  # of none significant: Bonferroni's
