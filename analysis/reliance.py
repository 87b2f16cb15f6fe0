"""What a network relies on: the share of its accuracy that is kept when one kind of information is taken from the images.

Changes are made at the images' own size, before they are scaled up to what the network takes: at that size a change takes
what it says, and no network sees another image than another does. What is kept is accuracy on changed images over
accuracy on the same images unchanged. It is not 0 where nothing is left to rely on: guessing keeps something, too.

Widths in pixels are those for images of 32 pixels a side; for others they grow and shrink with the image.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, UInt8

from analysis.comparisons import judged, level
from analysis.crossed import ratio_values
from analysis.statistics import PairedEffect, contrast_effect

MARGIN = 0.05
"""Differences in the share that is kept within this count as equivalent unless the caller says otherwise."""

IMAGES = 2_000
"""Test images that a profile is made from unless the caller says otherwise."""

SIDE = 32
"""Pixels along the side of an image for which widths are given."""
LOW_PASS_SIGMA = 1.5
"""Standard deviation, in pixels, of the Gaussian that divides low from high frequencies."""
BILATERAL_SIGMA, BILATERAL_RADIUS = 3.0, 3
"""Of the bilateral filter in space, in pixels; the radius is at most `WIDEST_RADIUS`, since its cost grows with its square."""
WIDEST_RADIUS = 7
NOISE_SIGMA = 0.1
"""Standard deviation of the noise; pixels are 0 to 1."""

Images = UInt8[np.ndarray, "n c h w"]


@dataclass(frozen=True)
class Change:
    """A change of images that takes one kind of information away."""

    name: str
    takes: str
    """What is gone afterwards."""
    apply: Callable[[Images, np.random.Generator], Images]
    parts: int = 1
    """Height and width must be multiples of this."""
    channels: tuple[int, ...] | None = None
    """How many channels images have that it can be made of; None: any."""

    def fits(self, images: Images) -> bool:
        """Whether the change can be made of such images, and does anything to them."""
        _, channels, height, width = images.shape
        return height % self.parts == width % self.parts == 0 and (self.channels is None or channels in self.channels)


def patch_shuffle(images: Images, rng: np.random.Generator, *, parts: int) -> Images:
    """Each image cut into `parts` x `parts` equal patches, which change places at random."""
    n, channels, height, width = images.shape
    h, w = height // parts, width // parts
    patches = images.reshape(n, channels, parts, h, parts, w).transpose(0, 2, 4, 1, 3, 5)
    patches = patches.reshape(n, parts * parts, channels, h, w)
    order = rng.permuted(np.tile(np.arange(parts * parts), (n, 1)), axis=1)
    mixed = np.take_along_axis(patches, order[:, :, None, None, None], axis=1)
    mixed = mixed.reshape(n, parts, parts, channels, h, w).transpose(0, 3, 1, 4, 2, 5)
    return np.ascontiguousarray(mixed.reshape(images.shape))


def bilateral(images: Images, rng: np.random.Generator) -> Images:
    """Bilateral filter: neighbours are averaged with those of a similar colour, so fine texture goes and edges stay."""
    scale = _scale(images)
    diameter = 2 * min(WIDEST_RADIUS, max(1, round(BILATERAL_RADIUS * scale))) + 1
    sigma = BILATERAL_SIGMA * scale
    return _each(images, lambda image: cv2.bilateralFilter(image, d=diameter, sigmaColor=60, sigmaSpace=sigma))


def grey(images: Images, rng: np.random.Generator) -> Images:
    """Each pixel's luma (ITU-R BT.601) in all three channels."""
    return _each(images, lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


def low_pass(images: Images, rng: np.random.Generator) -> Images:
    """Blurred by a Gaussian."""
    return _bytes(_blurred(images))


def high_pass(images: Images, rng: np.random.Generator) -> Images:
    """What the blur takes, around each image's own mean colour."""
    means = images.mean(axis=(2, 3), keepdims=True)
    return _bytes(images - _blurred(images) + means)


def noise(images: Images, rng: np.random.Generator) -> Images:
    """Gaussian noise, drawn for each pixel and channel."""
    return _bytes(images + 255 * NOISE_SIGMA * rng.standard_normal(images.shape, dtype=np.float32))


CHANGES: tuple[Change, ...] = (
    *(
        Change(
            f"patch shuffle {parts}x{parts}",
            "where things are, beyond the size of a patch",
            functools.partial(patch_shuffle, parts=parts),
            parts,
        )
        for parts in (2, 4, 8)
    ),
    Change("bilateral filter", "texture inside of edges", bilateral, channels=(1, 3)),
    Change("grey", "colour", grey, channels=(3,)),
    Change("low-pass", "details", low_pass),
    Change("high-pass", "large areas of light and colour", high_pass),
    Change("noise", "faint details", noise),
)


def changes(images: Images, *, seed: int = 0) -> Iterator[tuple[str, Images]]:
    """Each change that can be made of the images, by its name, and the images after it. The same seed, the same images.

    Each change draws from a generator of its own, so that leaving one out moves no other.
    """
    for place, change in enumerate(CHANGES):
        if change.fits(images):
            yield change.name, change.apply(images, np.random.default_rng([seed, place]))


def changed(images: Images, *, seed: int = 0) -> dict[str, Images]:
    """All of them."""
    return dict(changes(images, seed=seed))


def _each(images: Images, change: Callable[[np.ndarray], np.ndarray]) -> Images:
    """The change of each image as OpenCV has it: (h, w, c)."""
    last = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    done = np.stack([change(image).reshape(image.shape) for image in last])
    return np.ascontiguousarray(done.transpose(0, 3, 1, 2))


def _blurred(images: Images) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    sigma = LOW_PASS_SIGMA * _scale(images)
    return gaussian_filter(images.astype(np.float32), (0, 0, sigma, sigma), mode="nearest")


def _scale(images: Images) -> float:
    return min(images.shape[2:]) / SIDE


def _bytes(values: np.ndarray) -> Images:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


# -- arms

Answers = Mapping[str, Bool[np.ndarray, " images"]]
"""Whether a network is right on each image, by the change's name; "" is unchanged."""

UNCHANGED = ""


def reliance_table(
    answers: Mapping[str, Mapping[int, Answers]],
    *,
    baseline: str,
    margin: float = MARGIN,
    clusters: Int[np.ndarray, " images"] | None = None,
) -> pd.DataFrame:
    """One row an arm and change: the share of accuracy kept, and its paired difference to the baseline.

    Columns: arm, is_baseline, change, seeds, accuracy (unchanged), changed_accuracy (means of seeds, 0 to 1), value (share
    kept, the mean of the seeds' shares), low, high (95 % interval for new seeds and new test images), delta, delta_low,
    delta_high, p_value, adjusted_p (Holm over all rows), paired_seeds, verdict, remark.

    Args: answers: by arm and seed. Seeds that are right on no image are left out. margin: of equivalence, 0 to 1. clusters: which
        images belong together, as in `statistics.paired_effect`.
    """
    names = list(dict.fromkeys(name for arm in answers.values() for seed in arm.values() for name in seed if name))
    usable = {
        arm: {seed: one for seed, one in sorted(by_seed.items()) if one[UNCHANGED].any()}
        for arm, by_seed in answers.items()
    }
    differences = {
        (arm, name): None if arm == baseline else _difference(usable[arm], usable[baseline], name, clusters)
        for arm in usable
        for name in names
    }
    columns = judged(differences, margin=margin, more="relies less", less="relies more")
    return pd.DataFrame(
        [
            {
                "arm": arm,
                "is_baseline": arm == baseline,
                "change": name,
                "seeds": len(by_seed),
                "accuracy": _accuracy(by_seed, UNCHANGED),
                "changed_accuracy": _accuracy(by_seed, name),
                **level(_kept(list(by_seed.values()), name, clusters)),
                **columns[arm, name],
            }
            for arm, by_seed in usable.items()
            for name in names
        ]
    )


def reliance_by_class(
    answers: Mapping[str, Mapping[int, Answers]], labels: Int[np.ndarray, " images"], classes: Sequence[str]
) -> pd.DataFrame:
    """Columns: arm, change, class, images, accuracy (unchanged), value (share of it kept; means of seeds, NaN where no seed
    is right on any image of the class).
    """
    rows = []
    for arm, by_seed in answers.items():
        for position, name in enumerate(classes):
            of_class = labels == position
            whole = [float(one[UNCHANGED][of_class].mean()) for one in by_seed.values()] if of_class.any() else []
            for change in dict.fromkeys(key for one in by_seed.values() for key in one if key):
                kept = [
                    one[change][of_class].mean() / accuracy
                    for one, accuracy in zip(by_seed.values(), whole, strict=bool(whole))
                    if accuracy > 0
                ]
                value = float(np.mean(kept)) if kept else np.nan
                accuracy = float(np.mean(whole)) if whole else np.nan
                rows.append((arm, change, name, int(of_class.sum()), accuracy, value))
    return pd.DataFrame(rows, columns=["arm", "change", "class", "images", "accuracy", "value"])


def _accuracy(by_seed: Mapping[int, Answers], name: str) -> float:
    return float(np.mean([one[name].mean() for one in by_seed.values()])) if by_seed else np.nan


def _values(seeds: Sequence[Answers], name: str) -> np.ndarray:
    return ratio_values(np.stack([one[name] for one in seeds]), np.stack([one[UNCHANGED] for one in seeds]))


def _step(seeds: Sequence[Answers]) -> float:
    """How far the value of an image moves where one more is right: see `contrast_effect`."""
    return 1 / float(np.mean([one[UNCHANGED].mean() for one in seeds]))


def _kept(seeds: Sequence[Answers], name: str, clusters: np.ndarray | None) -> PairedEffect | None:
    return contrast_effect(_values(seeds, name), clusters=clusters, step=_step(seeds)) if seeds else None


def _difference(
    arm: Mapping[int, Answers], baseline: Mapping[int, Answers], name: str, clusters: np.ndarray | None
) -> PairedEffect | None:
    """Over the seeds that both have; None where there are none."""
    seeds = sorted(arm.keys() & baseline.keys())
    if not seeds:
        return None
    own, other = [arm[seed] for seed in seeds], [baseline[seed] for seed in seeds]
    return contrast_effect(
        _values(own, name) - _values(other, name), clusters=clusters, step=max(_step(own), _step(other))
    )
