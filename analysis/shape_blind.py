"""A classifier that sees no shape: whatever pattern over classes it shows, too, is no evidence of a shape bias.

It knows how often each colour occurs in an image and how often each direction and strength of a grey step does, at two scales,
and nothing of where: shuffling the pixels' neighbourhoods over the image would change none of it. The classifier is a
linear discriminant (Fisher 1936; scikit-learn, covariance shrunk as by Ledoit and Wolf 2004).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8
from scipy import stats

from analysis.documented import proportion_interval
from analysis.shape_bias import colour_shares
from analysis.statistics import SIGNIFICANT

DIRECTIONS = 8
STRENGTHS = (0.02, 0.06, 0.15)
"""Of grey steps (grey is 0 to 1), the borders between weak and strong ones; weaker ones than the first count as flat."""
SCALES = (1, 2)
"""Sides, in pixels, of the areas that are averaged before steps are taken."""

RECALLS = ("kind", "class", "recall", "low", "high", "images")


def gradient_shares(images: UInt8[np.ndarray, "n c h w"]) -> Float[np.ndarray, "n bins"]:
    """Square roots of the proportions of pixels with a grey step of each direction and strength, at each of `SCALES`."""
    grey = images.mean(axis=1, dtype=np.float32) / 255
    parts = []
    for scale in SCALES:
        n, height, width = grey.shape
        small = grey[:, : height // scale * scale, : width // scale * scale]
        small = small.reshape(n, height // scale, scale, width // scale, scale).mean(axis=(2, 4))
        down, right = np.gradient(small, axis=(1, 2))
        strength = np.digitize(np.hypot(down, right), STRENGTHS)  # 0: flat
        direction = (np.arctan2(down, right) / (2 * math.pi) * DIRECTIONS).round().astype(np.int64) % DIRECTIONS
        codes = np.where(strength == 0, 0, 1 + (strength - 1) * DIRECTIONS + direction).reshape(n, -1)
        bins = 1 + len(STRENGTHS) * DIRECTIONS
        rows = np.arange(n)[:, None] * bins
        counts = np.bincount((codes + rows).ravel(), minlength=n * bins).reshape(n, bins)
        parts.append(np.sqrt(counts / codes.shape[1]))
    return np.concatenate(parts, axis=1)


def features(images: UInt8[np.ndarray, "n c h w"]) -> Float[np.ndarray, "n bins"]:
    """What the classifier sees of each image: colours and grey steps without their places."""
    return np.concatenate([colour_shares(images), gradient_shares(images)], axis=1)


def answers(
    train: UInt8[np.ndarray, "n c h w"], labels: Int[np.ndarray, " n"], test: UInt8[np.ndarray, "m c h w"]
) -> Int[np.ndarray, " m"]:
    """The class that the classifier gives each test image, after it has seen the training images."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    classifier.fit(features(train), labels)
    return np.asarray(classifier.predict(features(test)))


def recall_table(
    answered: Int[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    classes: Sequence[str],
    groups: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """Recall of one classifier by class and group of classes, and of the first group less the second.

    Columns: kind (class, group, difference), class (or the groups' names), recall, low, high (95 % for new test images: Wilson's
    of a class, normal of means of classes and of their difference), images.
    """
    right = answered == labels
    rows: list[tuple[object, ...]] = []
    mean, variance, images = {}, {}, {}
    for place, name in enumerate(classes):
        own = right[labels == place]
        low, high = proportion_interval(int(own.sum()), len(own))
        rows.append(("class", name, own.mean(), low, high, len(own)))
        mean[name], variance[name], images[name] = (
            float(own.mean()),
            float(own.mean() * (1 - own.mean()) / len(own)),
            len(own),
        )
    quantile = float(stats.norm.ppf(1 - SIGNIFICANT / 2))
    found = []
    for name, members in groups.items():
        value = float(np.mean([mean[one] for one in members]))
        spread = sum(variance[one] for one in members) / len(members) ** 2
        half = quantile * math.sqrt(spread)
        count = sum(images[one] for one in members)
        rows.append(("group", name, value, value - half, value + half, count))
        found.append((name, value, spread, count))
    if len(found) == 2:
        (one, a, var_a, n_a), (other, b, var_b, n_b) = found
        half = quantile * math.sqrt(var_a + var_b)
        rows.append(("difference", f"{one} - {other}", a - b, a - b - half, a - b + half, n_a + n_b))
    return pd.DataFrame(rows, columns=RECALLS)
