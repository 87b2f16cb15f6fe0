"""Effects where less is known than the answers of paired runs: one number a run, and runs whose seeds do not pair.

One number a run: the difference of two runs of one seed is all that there is, and its mean has a paired t interval, for new seeds
on the same test set. What other test images would give is not in the numbers, and so not in the interval.

Seeds that do not pair: the mean of an arm's runs less the mean of the baseline's, whose variances over seeds add up, with
the degrees of freedom of Welch's t test. Where the answers to the same test images are known, images still pair, and their
part of the variance is that of the difference of both means, image by image, less what the runs' own noise leaves in it.

Rounding: numbers that were rounded to a step r vary by r^2 / 12 at least, whatever they show. So the variance of a difference is
never taken to be smaller than r^2 / 6: that three differences of rounded numbers are alike is no certainty.

Sources: Student 1908, Biometrika 6:1-25; Welch 1947, Biometrika 34:28-35 (unequal variances); Sheppard 1898, Proceedings
of the London Mathematical Society 29:353-380 (variance of rounding).
"""

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from analysis.statistics import PairedEffect, by_cluster, effect_from_parts, tested, variance_parts

ONE_SEED = "one seed: no interval"


def run_effect(
    differences: Float[np.ndarray, " seeds"], *, resolution: float = 0.0, level: float = 0.95
) -> PairedEffect:
    """The mean of a metric's differences between runs of one seed, for new seeds on the same test set.

    Args: resolution: to which the metric was rounded.
    """
    variance = max(float(differences.var(ddof=1)), resolution**2 / 6) if len(differences) > 1 else math.nan
    return effect_from_parts(differences, variance, 0.0, 0.0, n_images=0, images="fixed", level=level)


def unpaired_run_effect(
    arm: Float[np.ndarray, " seeds"], baseline: Float[np.ndarray, " others"], *, resolution: float = 0.0, level: float = 0.95
) -> PairedEffect:  # fmt: skip
    """The mean of a metric over an arm's runs less that over the baseline's, for new seeds on the same test set."""
    if min(len(arm), len(baseline)) < 2:
        return _without_interval(arm, baseline, n_images=0)
    least = resolution**2 / 12
    variances = [max(float(values.var(ddof=1)), least) for values in (arm, baseline)]
    return _welch(arm, baseline, variances, n_images=0, level=level)


def unpaired_effect(
    arm: Bool[np.ndarray, "seeds images"] | Real[np.ndarray, "seeds images"],
    baseline: Bool[np.ndarray, "others images"] | Real[np.ndarray, "others images"],
    *,
    clusters: Int[np.ndarray, " images"] | None = None,
    level: float = 0.95,
    step: float = 1.0,
) -> PairedEffect:
    """As `statistics.contrast_effect` of arm minus baseline, of seeds that have nothing in common, on the same test images.

    Raises: ValueError: not the same images, no seed, or fewer than two images.
    """
    if arm.ndim != 2 or baseline.ndim != 2 or arm.shape[1] != baseline.shape[1] or not len(arm) or not len(baseline):
        raise ValueError(f"need (seeds, images) of the same images, got {arm.shape} and {baseline.shape}")
    own, other = arm.astype(np.float64), baseline.astype(np.float64)
    if clusters is not None:
        own, other = (by_cluster(values, clusters) for values in (own, other))
    n_images = own.shape[1]
    if n_images < 2:
        raise ValueError("need at least two images")
    means = own.mean(axis=1), other.mean(axis=1)
    if min(len(own), len(other)) < 2:
        return replace(_without_interval(*means, n_images=n_images), step=step, clustered=clusters is not None)
    parts = [variance_parts(values, step=0.0) for values in (own, other)]
    rest = parts[0][3] / len(own) + parts[1][3] / len(other)  # of the difference of the means
    seen = float((own.mean(axis=0) - other.mean(axis=0)).var(ddof=1)) / n_images
    unseen, least = (step / n_images) ** 2, min(len(own), len(other))
    effect = _welch(
        *means,
        [part[1] for part in parts],
        image_variance=max(seen - rest, 0.0) + unseen,
        rest_variance=least * rest + 2 * unseen / least,
        n_images=n_images,
        level=level,
        step=step,
    )
    return replace(effect, clustered=clusters is not None)


def _welch(
    arm: Float[np.ndarray, " seeds"],
    baseline: Float[np.ndarray, " others"],
    variances: list[float],
    *,
    n_images: int,
    level: float,
    image_variance: float = 0.0,
    rest_variance: float = 0.0,
    step: float = 0.0,
) -> PairedEffect:
    """Args: variances: of one seed of the arm, and of one of the baseline."""
    sizes = len(arm), len(baseline)
    squares = [variance / size for variance, size in zip(variances, sizes, strict=True)]
    spread = sum(square**2 / (size - 1) for square, size in zip(squares, sizes, strict=True))
    effect = replace(
        _without_interval(arm, baseline, n_images=n_images),
        level=level,
        seed_variance=min(sizes) * sum(squares),
        image_variance=image_variance,
        rest_variance=rest_variance,
        step=step,
        seed_df=sum(squares) ** 2 / spread if spread else float(sum(sizes) - 2),
        reason="",
    )
    return tested(effect)


def _without_interval(
    arm: Float[np.ndarray, " seeds"], baseline: Float[np.ndarray, " others"], *, n_images: int
) -> PairedEffect:
    against = arm[:, None] - baseline
    return PairedEffect(
        delta=float(arm.mean() - baseline.mean()),
        low=math.nan,
        high=math.nan,
        level=0.95,
        p_value=math.nan,
        p_better=float(np.mean((against > 0) + 0.5 * (against == 0))),
        n_seeds=min(len(arm), len(baseline)),
        n_images=n_images,
        images="new" if n_images else "fixed",
        seed_variance=math.nan,
        image_variance=math.nan,
        rest_variance=math.nan,
        step=0.0,
        paired=False,
        reason=ONE_SEED,
    )
