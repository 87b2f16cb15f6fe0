"""Against the model that it assumes, simulated with the packaged stimuli's own design, and against simple formulas."""

import numpy as np
import pytest

from analysis.crossed import CrossedDesign, ratio_values
from analysis.statistics import contrast_effect
from analysis.stimuli import Stimuli, read_stimuli


@pytest.fixture(scope="module")
def conflict() -> Stimuli:
    stimuli = read_stimuli()
    return stimuli.only(stimuli.conflict)


@pytest.fixture(scope="module")
def design(conflict: Stimuli) -> CrossedDesign:
    return CrossedDesign(conflict.table["shape_instance"], conflict.table["texture_instance"], conflict.pairs)


def simulated(stimuli: Stimuli, rng: np.random.Generator, *, seeds: int, instances: float, seed: float) -> np.ndarray:
    """Values of the crossed model, whose true mean is 0: (seeds, stimuli)."""
    noise = rng.standard_normal((seeds, len(stimuli))) + seed * rng.standard_normal((seeds, 1))
    for kind in ("shape_instance", "texture_instance"):
        names, of = np.unique(stimuli.table[kind].to_numpy(str), return_inverse=True)
        noise += (instances * rng.standard_normal(len(names)))[of]  # in all seeds alike
        noise += (0.3 * rng.standard_normal((seeds, len(names))))[:, of]  # in each seed by itself
    return noise


def coverage(stimuli, design, *, runs: int, **model: float) -> tuple[float, float]:
    """How often the intervals hold 0: those of the design, and those that take every stimulus for independent."""
    rng = np.random.default_rng(0)
    held = np.zeros(2)
    for _ in range(runs):
        values = simulated(stimuli, rng, **model)
        for i, effect in enumerate((design.effect(values), contrast_effect(values))):
            held[i] += effect.low <= 0 <= effect.high
    crossed, naive = held / runs
    return crossed, naive


def test_the_interval_covers_where_one_that_takes_stimuli_for_independent_does_not(conflict, design):
    crossed, naive = coverage(conflict, design, runs=300, seeds=10, instances=0.5, seed=0.1)
    # Of 300 runs at a true 95 %, a share below .911 or above .983 has a chance of 1 in 400 on either side.
    assert 0.911 <= crossed <= 0.983
    assert naive < 0.85


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize(("instances", "seed"), [(0.0, 0.0), (0.0, 0.5), (0.5, 0.1), (1.0, 0.3)])
def test_the_interval_covers(conflict, design, seeds, instances, seed):
    crossed, _ = coverage(conflict, design, runs=2000, seeds=seeds, instances=instances, seed=seed)
    assert crossed > 0.935  # three standard errors of the simulation below 95 %


def answers(stimuli: Stimuli, rng: np.random.Generator, *, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Shape and texture hits of two arms, of which the second sees more shape: (arms, seeds, stimuli) each."""
    shape = np.zeros((2, seeds, len(stimuli))) + np.array([0.0, 0.5])[:, None, None]
    shape += 0.3 * rng.standard_normal((2, seeds, 1))
    for kind in ("shape_instance", "texture_instance"):
        names, of = np.unique(stimuli.table[kind].to_numpy(str), return_inverse=True)
        shape += (0.8 * rng.standard_normal(len(names)) + 0.4 * rng.standard_normal((2, 1, len(names))))[..., of]
        shape += (0.2 * rng.standard_normal((2, seeds, len(names))))[..., of]
    noise = rng.gumbel(size=(3, *shape.shape))
    shape, texture, other = shape + noise[0], -shape + noise[1], 0.5 + noise[2]
    return (shape > texture) & (shape > other), (texture > shape) & (texture > other)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 10])
def test_intervals_of_shape_biases_and_their_difference_cover(conflict, design, seeds):
    rng = np.random.default_rng(0)
    many = [answers(conflict, rng, seeds=10) for _ in range(2000)]
    truth = np.mean([(shape.sum(2) / (shape | texture).sum(2)).mean(1) for shape, texture in many], axis=0)
    held = np.zeros(2)
    runs = 1000
    for _ in range(runs):
        shape, texture = answers(conflict, rng, seeds=seeds)
        baseline, arm = (ratio_values(*of) for of in zip(shape, shape | texture, strict=True))
        for i, (values, true) in enumerate(((arm, truth[1]), (arm - baseline, truth[1] - truth[0]))):
            effect = design.effect(values)
            held[i] += effect.low <= true <= effect.high
    assert (held / runs > 0.929).all(), held / runs  # three standard errors of the simulation below 95 %


def test_the_parts_of_the_variance_are_found_without_bias(conflict, design):
    rng = np.random.default_rng(0)
    runs, seeds = 400, 4
    found = [design.effect(simulated(conflict, rng, seeds=seeds, instances=0.5, seed=0.4)) for _ in range(runs)]
    shares = {
        kind: conflict.table[kind].value_counts().to_numpy() / len(conflict)
        for kind in ("shape_instance", "texture_instance")
    }
    instances = sum(float(np.square(share).sum()) for share in shares.values())
    # Means of 400 skewed estimates, each with a relative standard deviation below 1: within 15 % at three standard errors.
    rest = 1 / len(conflict) + 0.3**2 * instances
    assert np.mean([effect.rest_variance for effect in found]) == pytest.approx(rest, rel=0.15)
    assert np.mean([effect.image_variance for effect in found]) == pytest.approx(0.5**2 * instances, rel=0.15)
    assert np.mean([effect.seed_variance for effect in found]) == pytest.approx(0.4**2 + rest, rel=0.15)


def test_degrees_of_freedom_are_those_of_the_scarcer_kind_within_its_categories(design):
    assert design.degrees_of_freedom == 21 - 7


def test_what_a_pair_of_categories_has_in_common_is_no_uncertainty(conflict, design):
    by_pair = dict(zip(sorted(set(conflict.pairs)), np.random.default_rng(0).standard_normal(42), strict=True))
    values = np.tile(conflict.pairs.map(by_pair).to_numpy(float), (3, 1))
    effect = design.effect(values)
    assert effect.high - effect.low == pytest.approx(0, abs=1e-7)
    assert effect.delta == pytest.approx(values[0].mean())


def test_order_and_names_of_the_stimuli_change_nothing(conflict, design):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, len(conflict)))
    order = rng.permutation(len(conflict))
    table = conflict.table.iloc[order]
    again = CrossedDesign(
        "x" + table["shape_instance"], "y" + table["texture_instance"], "z" + conflict.pairs.iloc[order]
    )
    one, other = design.effect(values), again.effect(values[:, order])
    assert [one.delta, one.low, one.high] == pytest.approx([other.delta, other.low, other.high])


def test_one_seed_has_no_interval(design, conflict):
    effect = design.effect(np.ones((1, len(conflict))))
    assert effect.delta == 1
    assert np.isnan(effect.low)
    assert effect.reason == "one seed: no interval"


def test_too_few_stimuli_are_refused():
    with pytest.raises(ValueError, match="too few for an interval"):
        CrossedDesign(["cat1", "cat2", "dog1"], ["dog1", "dog1", "cat1"], ["cat-dog", "cat-dog", "dog-cat"])


def test_ratio_values_average_to_the_ratio_and_move_as_it_does():
    rng = np.random.default_rng(0)
    among = rng.random((1, 1000)) < 0.6
    hits = among & (rng.random((1, 1000)) < 0.3)
    values = ratio_values(hits, among)[0]
    assert values.mean() == pytest.approx(hits.sum() / among.sum())
    # Leaving one out moves the ratio as the values' mean says, to first order.
    for k in range(20):
        kept = np.arange(1000) != k
        moved = hits[0, kept].sum() / among[0, kept].sum() - hits.sum() / among.sum()
        assert moved == pytest.approx(values[kept].mean() - values.mean(), abs=5e-6)


def test_a_ratio_of_nothing_is_refused():
    with pytest.raises(ValueError, match="does not exist"):
        ratio_values(np.zeros((2, 5)), np.array([[1] * 5, [0] * 5]))
