"""How alike variances are, on simulated studies whose true variances are known."""

import math

import numpy as np
import pytest

from analysis.moderation import prior
from analysis.outcomes import Outcomes
from analysis.studied import Answers, Description, StudiedArm, cell_table
from analysis.variance_survey import surveys


def study(name: str, sds: list[float], *, seeds: int = 5, rng: np.random.Generator, keys: str = "") -> Outcomes:
    """Arms whose accuracies vary by these standard deviations, and a baseline that varies by 0.5 points."""
    accuracies = {"base": 0.6 + 0.005 * rng.standard_normal(seeds)}
    accuracies |= {f"arm {n}": 0.6 + sd * rng.standard_normal(seeds) for n, sd in enumerate(sds)}
    rows = [
        {
            "arm": arm, "is_baseline": arm == "base", "seed": seed, "status": "finished", "test_accuracy": accuracy,
            "key": f"{keys or name} {arm} {seed}",
        }
        for arm, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]  # fmt: skip
    return Outcomes(
        tuple(StudiedArm(arm, is_baseline=arm == "base") for arm in accuracies), ("cat", "dog"), cell_table(rows),
        lambda: Answers(np.zeros(0, dtype=np.int64), {}), study=Description(name, protocol="quick"),
    )  # fmt: skip


def test_where_all_variances_are_equal_that_is_within_the_interval_and_the_ratio_is_what_chance_gives():
    inside = usual = 0
    for run in range(20):
        rng = np.random.default_rng(run)
        (found,) = surveys([study(f"s{n}", [0.005] * 15, rng=rng) for n in range(4)])
        inside += math.isinf(found.prior_df_interval[1])
        usual += found.ratio < found.equal_ratio[1]
    assert inside >= 18
    assert usual >= 18


def test_where_arms_really_differ_equal_variances_are_excluded_and_the_noisy_one_stands_out():
    rng = np.random.default_rng(0)
    noisy = [study("s", [0.003] * 14 + [0.05], rng=rng, seeds=6)]
    (found,) = surveys([*noisy, *(study(f"s{n}", [0.003] * 14, rng=rng, seeds=6) for n in range(3))])
    assert not math.isinf(found.prior_df_interval[1])
    assert found.ratio > found.equal_ratio[1]
    assert set(found.arms.loc[found.arms["stands_out"], "arm"]) == {"arm 14"}
    assert "standing out: arm 14" in found.sentence()


def test_the_estimate_is_that_of_moderated_variances():
    rng = np.random.default_rng(1)
    studies = [study(f"s{n}", rng.uniform(0.002, 0.01, 12).tolist(), rng=rng) for n in range(2)]
    (found,) = surveys(studies)
    known = prior(found.arms["sd"].to_numpy() ** 2, found.arms["seeds"].to_numpy() - 1.0)
    assert found.prior_df == pytest.approx(float(known.df))
    assert found.sd**2 == pytest.approx(float(known.variance))
    low, high = found.prior_df_interval
    assert low <= found.prior_df <= high


def test_the_correlation_of_arms_that_share_a_baseline_is_measured():
    (found,) = surveys([study(f"s{n}", [0.005] * 15, seeds=40, rng=np.random.default_rng(n)) for n in range(3)])
    assert found.correlation == pytest.approx(0.5, abs=0.1)


def test_arms_that_studies_share_count_once_and_few_seeds_not_at_all():
    first, again = (study(name, [0.005] * 9, rng=np.random.default_rng(0), keys="same") for name in ("a", "b"))
    (found,) = surveys([first, again])
    assert len(found.arms) == 9
    assert surveys([study("c", [0.005] * 9, seeds=4, rng=np.random.default_rng(0))]) == []
    assert surveys([study("d", [0.005] * 7, rng=np.random.default_rng(0))]) == []
