"""Simulated networks: correctness arrays with known effects and variances, to measure what an interval really covers.

Image i has a difficulty, and network (arm a, seed s) is right where a skill lies below a threshold:

    skill[a, s, i] = sqrt(between) image_i + sqrt(within - between) arm_image_ai + sqrt(1 - within) noise_asi
    right[a, s, i] = skill[a, s, i] < Phi^-1(accuracy_as)
    accuracy_as    = accuracy of the arm + N(0, seed_sd^2 / 2)

with standard normal image, arm_image and noise. So accuracy_as is exactly the network's accuracy on the population of
images, and every study draws new seeds and new images. Most images are easy for both arms or hard for both.

`between` and `within` follow from shares that can be observed. The baseline has 60 % accuracy; it and an arm differ in
being right on 20 % of the images, two seeds of one arm on 20 % (the arm does not matter to which images are right),
17 % or 12 %. The difference of the two shares is the arm-by-image variance. Over seeds, the difference of the
population accuracies varies with a standard deviation of 0.3, 0.8 or 1.5 points.

For comparison: the documented network and its variants of 2, 3, 5 and 6 blocks, trained with 3 seeds at 64 pixels on
8,000 images to 52 - 63 %, differed on 16 - 20 % of the images within an arm, on 15 - 24 % between arms and seeds, and
their paired differences to the baseline varied over seeds with standard deviations of 0.4 to 1.3 points.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from jaxtyping import Bool
from scipy import optimize, stats

from analysis.statistics import Parts, half_width, variance_parts

ACCURACY = 0.6
"""Of the baseline, on the population of images."""
DISAGREEMENT = 0.2
"""Share of images on which exactly one of an arm and the baseline is right, both at `ACCURACY`."""
EFFECTS = (0.0, 0.01, 0.02)
LEVEL = 0.95
RESAMPLES = 1_000


@dataclass(frozen=True)
class Setting:
    """One cell of the simulation's grid."""

    seeds: int
    images: int
    seed_sd: float
    """Over seeds, of the difference of the population accuracies (0 to 1)."""
    seed_disagreement: float
    """Share of images on which exactly one of two seeds of the same arm is right."""

    @property
    def arm_image_sd(self) -> float:
        """Over images, of the difference between the arms' chances of being right."""
        return float(np.sqrt(max(DISAGREEMENT - self.seed_disagreement, 0)))


GRID = tuple(
    Setting(*values) for values in product((3, 5, 10), (2_000, 10_000), (0.003, 0.008, 0.015), (0.2, 0.17, 0.12))
)


@cache
def correlation(disagreement: float) -> float:
    """Of two networks' skills at `ACCURACY`, so that exactly one is right on this share of the images."""
    threshold = stats.norm.ppf(ACCURACY)

    def excess(rho: float) -> float:
        both = stats.multivariate_normal.cdf([threshold, threshold], cov=[[1, rho], [rho, 1]])
        return 2 * (ACCURACY - float(both)) - disagreement

    return float(optimize.brentq(excess, 0.0, 0.9999))


def studies(
    setting: Setting, effects: tuple[float, ...], runs: int, rng: np.random.Generator
) -> Iterator[tuple[Bool[np.ndarray, "effects seeds images"], Bool[np.ndarray, "seeds images"]]]:
    """Draws `runs` studies: the arm's correctness at each effect (the same luck in all), and the baseline's."""
    between, within = correlation(DISAGREEMENT), correlation(setting.seed_disagreement)
    for _ in range(runs):
        shared = np.sqrt(between) * rng.standard_normal(setting.images, dtype=np.float32)
        own = np.sqrt(within - between) * rng.standard_normal((2, 1, setting.images), dtype=np.float32)
        skill = rng.standard_normal((2, setting.seeds, setting.images), dtype=np.float32)
        skill *= np.float32(np.sqrt(1 - within))
        skill += (shared + own).astype(np.float32)
        luck = setting.seed_sd / np.sqrt(2) * rng.standard_normal((2, setting.seeds))
        arm = stats.norm.ppf(ACCURACY + luck[0] + np.array(effects)[:, None])
        baseline = stats.norm.ppf(ACCURACY + luck[1])
        yield skill[0] < arm[..., None].astype(np.float32), skill[1] < baseline[:, None].astype(np.float32)


def coverage(setting: Setting, *, runs: int, seed: int) -> dict[str, float]:
    """Simulates `runs` studies of one setting. Shares of the runs, all at a nominal level of 95 %.

    Returns:
        coverage, coverage_1_point, coverage_2_points: the interval of `paired_effect` holds the true effect of 0, 1 or
            2 points.
        false_positive_rate, power_1_point, power_2_points: the same interval leaves 0 out.
        coverage_paired_t, coverage_bootstrap: the same of a paired t interval and a percentile bootstrap over seeds,
            without an effect.
        coverage_satterthwaite: the same of our standard error with Satterthwaite's degrees of freedom.
        image_share: the images' part of the estimated variance, on average.
    """
    fields = setting.seeds, setting.images, round(1e6 * setting.seed_sd), round(1e6 * setting.seed_disagreement)
    rng = np.random.default_rng([seed, *fields])
    parts = np.empty((4, len(EFFECTS), runs))
    by_seed = np.empty((runs, setting.seeds))
    for run, (arm, baseline) in enumerate(studies(setting, EFFECTS, runs, rng)):
        for index in range(len(EFFECTS)):
            differences = arm[index].astype(np.float64) - baseline
            parts[:, index, run] = variance_parts(differences)
            if EFFECTS[index] == 0:
                by_seed[run] = differences.mean(axis=1)
    delta, seed_part, image_part, rest_part = parts[0], parts[1] / setting.seeds, parts[2], parts[3] / setting.seeds
    estimated = Parts(seed_part, image_part, rest_part, seed_df=setting.seeds - 1, image_df=setting.images - 1)
    half = half_width(estimated, level=LEVEL)
    covered = (np.abs(delta - np.array(EFFECTS)[:, None]) <= half).mean(axis=1)
    positive = (np.abs(delta) > half).mean(axis=1)

    tail, df = (1 - LEVEL) / 2, setting.seeds - 1
    variance = seed_part[0] + image_part[0]
    satterthwaite = stats.t.isf(tail, df * (variance / seed_part[0]) ** 2) * np.sqrt(variance)
    weights = rng.multinomial(setting.seeds, np.full(setting.seeds, 1 / setting.seeds), RESAMPLES) / setting.seeds
    low, high = np.quantile(by_seed @ weights.T, (tail, 1 - tail), axis=1)
    shares = {
        "coverage": covered[0],
        "coverage_1_point": covered[1],
        "coverage_2_points": covered[2],
        "false_positive_rate": positive[0],
        "power_1_point": positive[1],
        "power_2_points": positive[2],
        "coverage_paired_t": np.mean(np.abs(delta[0]) <= stats.t.isf(tail, df) * np.sqrt(seed_part[0])),
        "coverage_bootstrap": np.mean((low <= 0) & (high >= 0)),
        "coverage_satterthwaite": np.mean(np.abs(delta[0]) <= satterthwaite),
        "image_share": np.mean(image_part[0] / variance),
    }
    return {name: float(share) for name, share in shares.items()}
