"""Where networks look, in numbers: how much of a Grad-CAM map lies on the object, and on whose object.

The lift is the map's share inside the object's outline less the outline's share of the image: 0 for a map that points
nowhere. Most of what looks like attention to objects is not. They are in the middle, and they have more contrast than what
is around them, so that a blob in the middle and a map of each image's edges have a lift of .16, and networks with random
weights one of .02 to .1. So there stand beside it the specificity, which is the lift on the own outline less the mean
lift on other objects' outlines (0 for anything that is the same for all images), and the lift and specificity of that
blob and of the edges; what random weights score is an arm like any other. Networks with maps of different resolution are
compared at the coarsest.

Objects are the shapes of the cue-conflict stimuli, whose silhouettes are known, and composites: an object cut out of a
stimulus whose cues agree, on a test image of another class. On composites one can ask whether a network that answers
with the background's class was looking at the background.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, UInt8

from analysis.comparisons import judged
from analysis.crossed import CrossedDesign, ratio_values
from analysis.maps import coarsen, empty
from analysis.statistics import PairedEffect
from analysis.stimuli import Stimuli, category

MARGIN = 0.05
"""Differences in lift or specificity within this count as equivalent unless the caller says otherwise."""

CENTRE_SIGMA = 0.25
"""Standard deviation of the blob in the middle, as a share of the image's side."""

Maps = Mapping[str, Mapping[int, Float[np.ndarray, "n h w"]]]
"""Raw maps by arm and seed, in the order of the stimuli."""


def on_grid(masks: Bool[np.ndarray, "n size size"], size: int) -> Float[np.ndarray, "n grid grid"]:
    """The share of each of `size` x `size` equal areas that belongs to the object."""
    return coarsen(masks.astype(np.float32), size)


def lifts(maps: Float[np.ndarray, "n h w"], masks: Float[np.ndarray, "m h w"]) -> Float[np.ndarray, "n m"]:
    """Of every map on every mask: the map's share inside the mask less the mask's share of the image. NaN for empty maps."""
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    total = flat.sum(axis=1, keepdims=True)
    shares = np.divide(flat, total, out=np.full_like(flat, np.nan), where=total > 0)
    inside = shares @ masks.reshape(len(masks), -1).T.astype(np.float64)
    return inside - masks.mean(axis=(1, 2), dtype=np.float64)


def centre(size: int) -> Float[np.ndarray, "1 size size"]:
    """The map of a network that looks at the middle of every image: a Gaussian blob."""
    distance = (np.arange(size) + 0.5) / size - 0.5
    blob = np.exp(-(distance**2) / (2 * CENTRE_SIGMA**2))
    return (blob[:, None] * blob)[None]


def edges(images: UInt8[np.ndarray, "n 3 s s"], size: int) -> Float[np.ndarray, "n size size"]:
    """Maps that lie where an image has contrast: the grey image's steps to the right and down, averaged over areas."""
    grey = images.mean(axis=1, dtype=np.float32)
    steps = np.zeros_like(grey)
    steps[:, :, :-1] += np.abs(np.diff(grey, axis=2))
    steps[:, :-1] += np.abs(np.diff(grey, axis=1))
    return coarsen(steps, size)


@dataclass(frozen=True)
class Objects:
    """Stimuli with outlines, on one grid."""

    instances: Sequence[str]
    """A stimulus each: which object it shows."""
    masks: Mapping[str, Float[np.ndarray, "grid grid"]]
    """By object."""

    @classmethod
    def of(cls, stimuli: Stimuli, size: int) -> "Objects":
        """Those of stimuli that all have a silhouette (see `with_masks`)."""
        names = list(dict.fromkeys(stimuli.table["shape_instance"]))
        grids = on_grid(np.stack([stimuli.masks[name] for name in names]), size)
        return cls(list(stimuli.table["shape_instance"]), dict(zip(names, grids, strict=True)))

    def measure(self, maps: Float[np.ndarray, "n grid grid"]) -> tuple[np.ndarray, np.ndarray]:
        """Lift and specificity of each map, NaN for empty maps."""
        names = list(self.masks)
        all_lifts = lifts(maps, np.stack([self.masks[name] for name in names]))
        place = np.array([names.index(instance) for instance in self.instances])
        own = all_lifts[np.arange(len(maps)), place]
        others = (all_lifts.sum(axis=1) - own) / (len(names) - 1)
        return own, own - others


def with_masks(stimuli: Stimuli) -> Bool[np.ndarray, " n"]:
    """Which stimuli have a silhouette, so that something can be measured inside of their object."""
    return stimuli.table["shape_instance"].isin(stimuli.masks).to_numpy()


def attention_table(maps: Maps, stimuli: Stimuli, *, baseline: str, margin: float = MARGIN) -> pd.DataFrame:
    """One row an arm and measure (lift, specificity), compared at the coarsest resolution of all arms' maps.

    Columns: arm, is_baseline, measure, seeds, resolution (positions along a side at which arms are compared),
    own_resolution, empty (share of maps that are 0 everywhere, which are left out), value, low, high (95 % interval for
    new seeds and new objects and textures), centre and edges (the same of a blob in the middle, and of each image's
    contrast), delta, delta_low, delta_high, p_value, adjusted_p (Holm over arms), paired_seeds, verdict, remark.

    Args: maps: of `stimuli`, all of which have a silhouette (`Stimuli.only`, `with_masks`). Seeds without any map that is
        not empty are left out. margin: of equivalence, in lift.
    Raises: ValueError: there are no maps, or the stimuli are too few for an interval.
    """
    sizes = {arm: {min(one.shape[1:]) for one in by_seed.values()} for arm, by_seed in maps.items()}
    size = min((size for found in sizes.values() for size in found), default=0)
    if not size:
        raise ValueError("no maps")
    objects = Objects.of(stimuli, size)
    table = stimuli.table
    design = CrossedDesign(table["shape_instance"], table["texture_instance"], stimuli.pairs)
    blob = objects.measure(np.repeat(centre(size), len(stimuli), axis=0))
    contrast = objects.measure(edges(stimuli.images, size))
    measured = {
        arm: {
            seed: objects.measure(coarsen(one, size)) for seed, one in sorted(by_seed.items()) if not empty(one).all()
        }
        for arm, by_seed in maps.items()
    }
    rows = []
    for which, name in enumerate(("lift", "specificity")):
        values = {arm: {seed: pair[which] for seed, pair in found.items()} for arm, found in measured.items()}
        reference = values[baseline]
        effects = {
            arm: None if arm == baseline else _difference(found, reference, design) for arm, found in values.items()
        }
        columns = judged(effects, margin=margin, more="more on the object", less="less on the object")
        for arm, found in values.items():
            effect = design.effect(_values(list(found.values()))) if found else None
            rows.append(
                {
                    "arm": arm,
                    "is_baseline": arm == baseline,
                    "measure": name,
                    "seeds": len(found),
                    "resolution": size,
                    "own_resolution": max(sizes[arm], default=0),
                    "empty": float(np.mean([empty(one).mean() for one in maps[arm].values()]))
                    if maps[arm]
                    else math.nan,
                    "value": effect.delta if effect else math.nan,
                    "low": effect.low if effect else math.nan,
                    "high": effect.high if effect else math.nan,
                    "centre": float(blob[which].mean()),
                    "edges": float(contrast[which].mean()),
                    **columns[arm],
                }
            )
    return pd.DataFrame(rows)


def _values(seeds: Sequence[Float[np.ndarray, " stimuli"]]) -> Float[np.ndarray, "seeds stimuli"]:
    """Values whose mean is that of the stimuli whose map is not empty."""
    found = np.stack(seeds)
    there = ~np.isnan(found)
    return ratio_values(np.where(there, found, 0.0), there)


def _difference(
    arm: Mapping[int, np.ndarray], baseline: Mapping[int, np.ndarray], design: CrossedDesign
) -> PairedEffect | None:
    """Over the seeds that both have; None where there are none."""
    seeds = sorted(arm.keys() & baseline.keys())
    if not seeds:
        return None
    return design.effect(_values([arm[seed] for seed in seeds]) - _values([baseline[seed] for seed in seeds]))


# -- composites


@dataclass(frozen=True)
class Composites:
    """Objects on backgrounds of other classes: every object of a class on every background of every other."""

    table: pd.DataFrame
    """A row a composite: object (instance), background (test image), object_class, background_class (categories)."""
    images: UInt8[np.ndarray, "n 3 size size"]
    masks: Mapping[str, Float[np.ndarray, "size size"]]
    """By object: the share of each pixel that it covers."""

    def __len__(self) -> int:
        return len(self.table)


def composites(
    stimuli: Stimuli,
    images: UInt8[np.ndarray, "n 3 size size"],
    labels: Int[np.ndarray, " n"],
    classes: Sequence[str],
    *,
    backgrounds: int = 5,
) -> Composites:
    """Objects cut out of the stimuli whose cues agree, at the images' own size, on the first images of each other class.

    Args: stimuli: those that the classes can name (`Stimuli.of_classes`). backgrounds: images of each class.
    Raises: ValueError: no stimulus has agreeing cues and a silhouette, or a class has too few images.
    """
    whole = stimuli.only(~stimuli.conflict & with_masks(stimuli))
    if not len(whole):
        raise ValueError("no stimulus has agreeing cues and a silhouette, so there is no object to cut out")
    size = images.shape[-1]
    behind = {}
    for position, name in enumerate(classes):
        if category(name) in stimuli.categories:
            found = np.flatnonzero(labels == position)[:backgrounds]
            if len(found) < backgrounds:
                raise ValueError(f"{len(found)} images of class {name} are too few for {backgrounds} backgrounds")
            behind[category(name)] = found
    rows, made, masks = [], [], {}
    for name, of, image in zip(whole.table["shape_instance"], whole.table["shape"], whole.images, strict=True):
        if name in masks:
            continue  # one picture of each object
        mask = whole.masks[name]
        masks[name] = on_grid(mask[None], size)[0]
        # Averaged within the outline only, so that nothing of the stimulus's own background comes along.
        cut = coarsen((image * mask).astype(np.float32), size)
        for background_class, found in behind.items():
            if background_class == of:
                continue
            for background in found:
                pixels = cut + (1 - masks[name]) * images[background]
                made.append(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
                rows.append((name, str(background), of, background_class))
    table = pd.DataFrame(rows, columns=["object", "background", "object_class", "background_class"])
    return Composites(table, np.stack(made), masks)


@dataclass(frozen=True)
class Seen:
    """What one network did with the composites."""

    answers: Sequence[str]
    """Categories."""
    confidence: Float[np.ndarray, " n"]
    """The answer's probability."""
    maps: Float[np.ndarray, "n h w"]
    """Raw maps of the answer."""


KINDS = ("right", "background", "other")
"""Of answers to a composite: the object's class, the background's, or neither."""


def composite_table(seen: Mapping[str, Mapping[int, Seen]], made: Composites, *, baseline: str) -> pd.DataFrame:
    """One row an arm: what it answers to composites, and whether it looks at the object less where it is wrong.

    Columns: arm, is_baseline, seeds, resolution, right, background, other (shares of answers, means of seeds), lift_right,
    lift_background, lift_other (mean lift of the answers of a kind; NaN where there are none), wrong_value, wrong_low,
    wrong_high (lift of right answers less that of wrong ones of equal confidence, with a 95 % interval for new seeds,
    objects and backgrounds), background_value, background_low, background_high (the same against answers of the
    background's class only).

    Raises: ValueError: there are no networks.
    """
    size = min((min(one.maps.shape[1:]) for arm in seen.values() for one in arm.values()), default=0)
    if not size:
        raise ValueError("no networks")
    masks = {name: coarsen(mask[None], size)[0] for name, mask in made.masks.items()}
    objects = Objects(list(made.table["object"]), masks)
    pairs = made.table["object_class"] + "-" + made.table["background_class"]
    design = CrossedDesign(made.table["object"], made.table["background"], pairs)
    rows = []
    for arm, by_seed in seen.items():
        found = [_Looked.of(one, made, objects, size) for _, one in sorted(by_seed.items())]
        row: dict[str, object] = {"arm": arm, "is_baseline": arm == baseline, "seeds": len(found), "resolution": size}
        for kind in KINDS:
            row[kind] = _mean([one.kind[kind].mean() for one in found])
        for kind in KINDS:
            row[f"lift_{kind}"] = _mean([one.lift[one.kind[kind]].mean() for one in found if one.kind[kind].any()])
        for name in ("wrong", "background"):
            matched = [values for one in found if (values := one.against(name)) is not None]
            effect = design.effect(np.stack(matched)) if matched else None
            row[f"{name}_value"] = effect.delta if effect else math.nan
            row[f"{name}_low"] = effect.low if effect else math.nan
            row[f"{name}_high"] = effect.high if effect else math.nan
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Looked:
    """Lifts of one network, and which of its answers are of which kind; empty maps belong to none."""

    lift: Float[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]
    kind: Mapping[str, Bool[np.ndarray, " n"]]

    @classmethod
    def of(cls, one: Seen, made: Composites, objects: Objects, size: int) -> "_Looked":
        lift, _ = objects.measure(coarsen(one.maps, size))
        answers = np.array([category(answer) for answer in one.answers], dtype=object)
        there = ~np.isnan(lift)
        right = (answers == made.table["object_class"].to_numpy(object)) & there
        background = (answers == made.table["background_class"].to_numpy(object)) & there
        kinds = {"right": right, "background": background, "other": there & ~right & ~background}
        return cls(np.nan_to_num(lift), np.asarray(one.confidence, float), kinds)

    def against(self, name: str) -> np.ndarray | None:
        """See `matched_difference`; None where no answers can be matched."""
        wrong = self.kind["background"] if name == "background" else self.kind["background"] | self.kind["other"]
        try:
            return matched_difference(self.lift, self.kind["right"], wrong, self.confidence)
        except ValueError:
            return None


def matched_difference(
    values: Float[np.ndarray, " n"],
    first: Bool[np.ndarray, " n"],
    second: Bool[np.ndarray, " n"],
    by: Float[np.ndarray, " n"],
    *,
    bins: int = 5,
) -> Float[np.ndarray, " n"]:
    """Values whose mean is the first group's mean less the second's among members of equal `by`, and which vary as that
    difference does when members are exchanged.

    Equal means in the same of `bins` equally large bins of the members of both groups; each bin counts as many members
    of the second group as there are in it. Bins that hold but one of the groups are left out.

    Raises: ValueError: no bin holds both.
    """
    both = first | second
    if not both.any():
        raise ValueError("no member of either group")
    edges = np.quantile(by[both], np.arange(1, bins) / bins)
    bin_of = np.searchsorted(edges, by, side="right")
    shared = [b for b in range(bins) if (first & (bin_of == b)).any() and (second & (bin_of == b)).any()]
    total = sum(int((second & (bin_of == b)).sum()) for b in shared)
    if not total:
        raise ValueError("no bin holds members of both groups")
    difference = 0.0
    influence = np.zeros(len(values))
    for b in shared:
        one, other = first & (bin_of == b), second & (bin_of == b)
        weight = other.sum() / total
        difference += weight * (values[one].mean() - values[other].mean())
        influence[one] += weight * (values[one] - values[one].mean()) / one.sum()
        influence[other] -= weight * (values[other] - values[other].mean()) / other.sum()
    return difference + len(values) * influence


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
