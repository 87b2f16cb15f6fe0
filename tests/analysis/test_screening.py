"""Effects of screening designs against least squares, formulas and simulated networks."""

import numpy as np
import pytest
from scipy import stats

from ablations.designs import folded, signs
from analysis.moderation import as_large, moderate
from analysis.screening import (
    borrowing,
    half_normal_quantiles,
    interactions,
    lenth,
    main_effects,
    pair_weights,
    run_weights,
)
from analysis.statistics import contrast_effect

SEVEN = (0.1, 0.0, 0.05, 0.0, 0.02, 0.0, -0.03)


def answers(design, *, seeds: int = 3, images: int = 400, loss=(0.1, 0.0, 0.05, 0.0), seed: int = 0, luck: float = 0.0):
    """Correctness of each run, whose accuracy falls by its missing parts' losses; all find the same images hard."""
    rng = np.random.default_rng(seed)
    hard = rng.random(images)
    right = []
    for run in design:
        lost = sum(part for part, there in zip(loss, run, strict=True) if not there)
        accuracy = 0.7 - lost + luck * rng.standard_normal((seeds, 1))
        right.append(dict(enumerate((0.9 * hard + 0.1 * rng.random((seeds, images))) < accuracy)))
    return right


def exact(design, loss, together=None, *, seeds: int = 3):
    """The first images right, as many as the accuracy says: no chance in it. `together`: further losses of pairs of parts."""
    without = ~np.array(design)
    accuracy = 0.6 - without @ np.array(loss)
    for (one, two), more in (together or {}).items():
        accuracy = accuracy - more * (without[:, one] & without[:, two])
    return [{seed: np.arange(2_000) < round(2_000 * each) for seed in range(seeds)} for each in accuracy]


def without(right, *lost: tuple[int, int]):
    """Less the cells (run, seed) that are lost."""
    return [
        {seed: images for seed, images in seeds.items() if (run, seed) not in lost} for run, seeds in enumerate(right)
    ]


def deltas(contrasts) -> list[float]:
    return [contrast.effect.delta for contrast in contrasts]


# -- complete designs


def test_a_main_effect_is_the_mean_without_a_part_less_the_mean_with_it():
    design = folded(4)
    right = answers(design)
    for part, contrast in enumerate(main_effects(design, right)):
        off, on = (
            [np.stack(list(r.values())) for r, run in zip(right, design, strict=True) if run[part] is there]
            for there in (False, True)
        )
        expected = contrast_effect(np.mean(off, axis=0) - np.mean(on, axis=0))
        assert contrast.effect.delta == pytest.approx(expected.delta)
        assert (contrast.effect.low, contrast.effect.high) == pytest.approx((expected.low, expected.high))
        assert contrast.effect.p_value == pytest.approx(expected.p_value)
        assert list(contrast.by_seed) == [0, 1, 2]
        assert contrast.clear


@pytest.mark.parametrize("parts", [2, 3, 5, 7, 8, 10, 20])
def test_main_effects_are_twice_the_coefficients_of_a_linear_model(parts):
    design = folded(parts)
    right = answers(design, loss=np.linspace(-0.03, 0.03, parts), images=300)
    columns = np.column_stack([np.ones(len(design)), np.where(np.array(design), -1, 1)])
    accuracy = [np.mean([images.mean() for images in seeds.values()]) for seeds in right]
    coefficients = np.linalg.lstsq(columns, np.array(accuracy), rcond=None)[0]
    assert deltas(main_effects(design, right)) == pytest.approx(2 * coefficients[1:])


def test_interactions_stand_for_those_that_are_aliased_with_them():
    design = folded(4)
    right = answers(design)
    found = interactions(design, right)
    assert list(found) == [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    column = np.array(signs(design, 0, 1))
    accuracy = np.array([np.mean(list(seeds.values())) for seeds in right])
    assert found[(0, 1), (2, 3)].effect.delta == pytest.approx(
        accuracy[column > 0].mean() - accuracy[column < 0].mean()
    )


def test_an_interaction_is_half_of_the_difference_between_two_effects():
    design = folded(3)
    found = interactions(design, exact(design, (0.1, 0.05, 0.0), {(0, 1): 0.04}))
    assert found[((0, 1),)].effect.delta == pytest.approx(-0.02)
    assert found[((0, 2),)].effect.delta == pytest.approx(0)


def test_with_interactions_intervals_of_main_effects_still_cover():
    design, covered, runs = folded(4), 0, 100
    gone = ~np.array(design)
    rng = np.random.default_rng(0)
    for _ in range(runs):
        together = 0.02 * (gone[:, 0] & gone[:, 1])
        accuracy = 0.7 - together[:, None, None] + 0.01 * rng.standard_normal((len(design), 3, 1))
        right = [dict(enumerate(each)) for each in rng.random((len(design), 3, 2_000)) < accuracy]
        for contrast, truth in zip(main_effects(design, right), (-0.01, -0.01, 0, 0), strict=True):
            covered += contrast.effect.low <= truth <= contrast.effect.high
    assert 0.93 < covered / (4 * runs) <= 1


def test_the_standard_error_is_that_of_half_of_all_runs_against_the_other_half():
    # Four times less variance than leaving one out at a time, with 8 runs: 4 s^2 / (8 S) against 2 s^2 / S.
    design = folded(4)
    variances = [
        main_effects(design, answers(design, luck=0.02, images=2_000, seed=seed))[1].effect.seed_variance
        for seed in range(60)
    ]
    assert np.mean(variances) == pytest.approx(2 * 0.02**2 / 4, rel=0.25)


def test_images_that_belong_together_are_read_as_clusters():
    design = folded(4)
    right = answers(design)
    clusters = np.arange(400) // 10
    (contrast, *_) = main_effects(design, right, clusters=clusters)
    assert contrast.effect.n_images == 40
    assert contrast.effect.delta == pytest.approx(main_effects(design, right)[0].effect.delta)


# -- what is missing


def test_a_seed_that_lacks_a_run_still_tells_of_factors_in_spite_of_interactions():
    design = folded(7)
    right = without(exact(design, SEVEN, {(0, 1): 0.06, (2, 5): -0.04}), (5, 1))
    contrasts = main_effects(design, right)
    truth = -np.array(SEVEN)
    for pair, more in {(0, 1): 0.06, (2, 5): -0.04}.items():
        truth[list(pair)] -= more / 2
    for contrast, expected in zip(contrasts, truth, strict=True):
        assert contrast.clear
        assert contrast.by_seed == pytest.approx({0: expected, 1: expected, 2: expected})


def test_a_run_that_is_lost_in_every_seed_leaves_its_pair_out():
    design = folded(6)
    loss = (0.1, 0.0, 0.05, 0.0, 0.02, 0.0)
    right = answers(design, loss=loss, images=4_000)
    contrasts = main_effects(design, without(right, *((5, seed) for seed in range(3))))
    assert all(contrast.clear for contrast in contrasts)
    assert deltas(contrasts) == pytest.approx(-np.array(loss), abs=0.02)


def test_where_every_pair_is_needed_a_seed_that_lacks_one_is_left_out():
    design = folded(8)
    right = without(exact(design, (*SEVEN, 0.01), {(0, 1): 0.06}), (3, 2))
    for contrast in main_effects(design, right):
        assert contrast.clear
        assert list(contrast.by_seed) == [0, 1]


def test_where_no_seed_has_the_pairs_single_runs_are_read_and_marked():
    design = folded(8)
    lost = [(3, seed) for seed in range(3)]
    loss = (*SEVEN, 0.01)
    contrasts = main_effects(design, without(exact(design, loss), *lost))
    assert deltas(contrasts) == pytest.approx(-np.array(loss))  # nothing interacts here
    assert not any(contrast.clear for contrast in contrasts)
    biased = main_effects(design, without(exact(design, loss, {(0, 1): 0.06}), *lost))
    assert deltas(biased)[0] != pytest.approx(-0.13, abs=1e-3)


def test_weights_of_single_runs_are_those_of_a_linear_model_over_the_runs_that_are_there():
    design = folded(8)
    there = [run not in (3, 9) for run in range(16)]
    rng = np.random.default_rng(0)
    accuracy = rng.random(16)
    columns = np.column_stack([np.ones(16), np.where(np.array(design), -1, 1)])[there]
    expected = np.linalg.lstsq(columns, accuracy[there], rcond=None)[0]
    assert run_weights(design, there) @ accuracy == pytest.approx(2 * expected[1:])


def test_weights_of_pairs_are_those_of_a_linear_model_over_half_differences():
    design = folded(7)
    there = [run != 12 for run in range(16)]
    accuracy = np.random.default_rng(0).random(16)
    pairs = [run for run in range(8) if run != 4]
    x = np.where(np.array(design), -1, 1)[pairs]
    expected = np.linalg.lstsq(x, (accuracy[pairs] - accuracy[[run + 8 for run in pairs]]) / 2, rcond=None)[0]
    assert pair_weights(design, there) @ accuracy == pytest.approx(2 * expected)


def test_a_factor_that_the_runs_do_not_tell_from_the_others_has_no_effect():
    design = folded(3)
    # Runs in which the first two factors always change together say nothing of either.
    lost = [(run, seed) for run, row in enumerate(design) if row[0] is not row[1] for seed in range(3)]
    first, second, third = main_effects(design, without(exact(design, (0.1, 0.0, 0.05)), *lost))
    assert first is None
    assert second is None
    assert third.effect.delta == pytest.approx(-0.05)
    assert third.clear


def test_without_any_run_there_is_no_effect():
    design = folded(3)
    nothing = [{} for _ in design]
    assert main_effects(design, nothing) == [None] * 3
    assert interactions(design, nothing) == {}


def test_interactions_are_those_of_the_seeds_that_have_all_runs():
    design = folded(4)
    right = answers(design)
    found = interactions(design, without(right, (2, 1)))
    assert all(list(contrast.by_seed) == [0, 2] for contrast in found.values())
    assert interactions(design, without(right, *((2, seed) for seed in range(3)))) == {}


def test_one_seed_gives_effects_without_intervals():
    design = folded(4)
    for contrast in main_effects(design, answers(design, seeds=1)):
        assert contrast.effect.reason == "one seed: no interval"


def test_as_many_runs_as_rows_are_needed():
    design = folded(2)
    with pytest.raises(ValueError, match="correctness of 4 runs, got 3"):
        main_effects(design, answers(design, loss=(0, 0))[:3])


# -- variances that borrow


def test_borrowed_variances_are_those_of_all_effects_of_the_design():
    design = folded(7)
    right = answers(design, loss=SEVEN, luck=0.02)
    main, joint = main_effects(design, right), interactions(design, right)
    moved, _ = borrowing(main, joint)
    expected = moderate([contrast.effect for contrast in (*main, *joint.values())])[:7]
    large = as_large(
        np.array([contrast.effect.seed_variance for contrast in (*main, *joint.values())]),
        np.full(len(main) + len(joint), 2.0),
    )
    for before, after, effect, p in zip(main, moved, expected, large[:7], strict=True):
        assert after.effect == (before.effect if p < 0.05 else effect)
        assert after.by_seed == before.by_seed
    assert np.mean([c.effect.high - c.effect.low for c in moved]) < np.mean(
        [c.effect.high - c.effect.low for c in main]
    )


def test_an_effect_whose_seeds_agree_less_than_all_others_keeps_its_own_variance():
    design = folded(7)
    right = answers(design, loss=SEVEN, luck=0.002, images=4_000)
    dice = np.random.default_rng(1)
    for seed, turned in enumerate((0.0, 0.1, 0.3)):  # without the first part, a seed loses more than another
        for run, images in enumerate(right):
            if not design[run][0]:
                images[seed] = images[seed] & (dice.random(4_000) >= turned)
    main, joint = main_effects(design, right), interactions(design, right)
    moved, _ = borrowing(main, joint)
    assert moved[0].effect == main[0].effect
    assert moved[1].effect != main[1].effect


def test_without_interactions_seven_effects_are_too_few_to_borrow_from():
    design = folded(7)
    right = without(answers(design, loss=SEVEN), *((5, seed) for seed in range(3)))
    main = main_effects(design, right)
    assert borrowing(main, {}) == (main, {})


# -- half-normal plots


def test_sizes_of_chance_effects_lie_on_a_line_in_a_half_normal_plot():
    sizes = np.sort(np.abs(np.random.default_rng(0).standard_normal(2_000)))
    quantiles = half_normal_quantiles(2_000)
    assert quantiles[:1] == pytest.approx(stats.halfnorm.ppf(0.5 / 2_000))
    assert np.corrcoef(sizes, quantiles)[0, 1] > 0.998


def test_lenths_error_is_that_of_the_chance_effects_whatever_the_others_are():
    chance = 0.3 * np.random.default_rng(0).standard_normal(400)
    assert lenth([*chance, 5, -7, 9]) == pytest.approx(0.3, rel=0.1)


def test_lenths_error_is_as_its_formula_by_hand():
    # 1.5 x the median of the sizes is 4.5; 100 is above 2.5 x that and left out; 1.5 x the median of 1 to 4 is 3.75.
    assert lenth([1, -2, 3, -4, 100]) == pytest.approx(3.75)
