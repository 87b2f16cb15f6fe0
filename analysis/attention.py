"""Where networks look, in numbers: how much of a Grad-CAM map lies on the object, and on whose object.

The lift is the map's share inside the object's outline less the outline's share of the image: 0 for a map that points
nowhere. Most of what looks like attention to objects is not. They are in the middle, and they have more contrast than what
is around them, so that a blob in the middle and a map of each image's edges have a lift of .16, and networks with random
weights one of .02 to .1. So there stand beside it the specificity, which is the lift on the own outline less the mean
lift on other objects' outlines (0 for anything that is the same for all images), and the lift and specificity of that
blob and of the edges, and those of the arm's own network with random weights. What training added is the difference to
these, in the same seed, from the same initial weights; arms are compared by what it added where that is known of all of
them. Networks with maps of different resolution are compared at the coarsest.

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
from analysis.stimuli import Stimuli, category, shrunk

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


def edges(images: UInt8[np.ndarray, "n c s s"], size: int) -> Float[np.ndarray, "n size size"]:
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


def attention_table(
    maps: Maps, stimuli: Stimuli, *, baseline: str, random: Maps | None = None, margin: float = MARGIN
) -> pd.DataFrame:
    """One row an arm and measure (lift, specificity), compared at the coarsest resolution of all arms' maps.

    Columns: arm, is_baseline, measure, seeds, resolution (positions along a side at which arms are compared),
    own_resolution, empty (share of maps that are 0 everywhere, which are left out), value, low, high (95 % interval for
    new seeds and new objects and textures), centre and edges (the same of a blob in the middle, and of each image's
    contrast), random, random_low, random_high (of the arm's network with random weights), added, added_low, added_high
    (paired: value less random), own_added, own_added_low, own_added_high (the same at the arm's own resolution, which a coarse
    map of another arm cannot blur), compared (what the following compares, added or value), delta, delta_low, delta_high,
    p_value, adjusted_p (Holm over arms), paired_seeds, verdict, remark.

    Args: maps: of `stimuli`, all of which have a silhouette (`Stimuli.only`, `with_masks`). Seeds without any map that is
        not empty are left out. random: the same of the networks before their training. margin: of equivalence, in lift.
    Raises: ValueError: there are no maps, or the stimuli are too few for an interval.
    """
    # An arm that lost its cells is compared with nothing, and may have coarser maps than the others.
    random = {arm: (random or {}).get(arm, {}) if maps[arm] else {} for arm in maps}
    sizes = {arm: {min(one.shape[1:]) for one in by_seed.values()} for arm, by_seed in maps.items()}
    size = min((size for found in sizes.values() for size in found), default=0)
    if not size:
        raise ValueError("no maps")
    objects = Objects.of(stimuli, size)
    table = stimuli.table
    design = CrossedDesign(table["shape_instance"], table["texture_instance"], stimuli.pairs)
    blob = objects.measure(np.repeat(centre(size), len(stimuli), axis=0))
    contrast = objects.measure(edges(stimuli.images, size))
    measured, untrained = (
        {
            arm: {
                seed: objects.measure(coarsen(one, size))
                for seed, one in sorted(found.get(arm, {}).items())
                if not empty(one).all()
            }
            for arm in maps
        }
        for found in (maps, random)
    )
    finer = {arm: _own(stimuli, maps[arm], random[arm]) for arm in maps}
    rows = []
    for which, name in enumerate(("lift", "specificity")):
        values, before = (
            {arm: _Values.of({seed: pair[which] for seed, pair in found.items()}) for arm, found in each.items()}
            for each in (measured, untrained)
        )
        added = {arm: values[arm].less(before[arm]) for arm in maps}
        is_known = all(added[arm].by_seed.keys() == values[arm].by_seed.keys() for arm in maps)
        compared = added if is_known else values
        effects = {
            arm: None if arm == baseline else compared[arm].less(compared[baseline]).effect(design) for arm in maps
        }
        columns = judged(effects, margin=margin, more="more on the object", less="less on the object")
        for arm in maps:
            rows.append(
                {
                    "arm": arm,
                    "is_baseline": arm == baseline,
                    "measure": name,
                    "seeds": len(values[arm].by_seed),
                    "resolution": size,
                    "own_resolution": max(sizes[arm], default=0),
                    "empty": _mean([empty(one).mean() for one in maps[arm].values()]),
                    **values[arm].columns(design, "value"),
                    "centre": float(blob[which].mean()),
                    "edges": float(contrast[which].mean()),
                    **before[arm].columns(design, "random"),
                    **added[arm].columns(design, "added"),
                    **finer[arm][which].columns(design, "own_added"),
                    "compared": "added" if is_known else "value",
                    **columns[arm],
                }
            )
    return pd.DataFrame(rows).rename(columns={"value_low": "low", "value_high": "high"})


def _own(
    stimuli: Stimuli, trained: Mapping[int, np.ndarray], random: Mapping[int, np.ndarray]
) -> tuple["_Values", "_Values"]:
    """What training added to an arm's lift and specificity at its own resolution, in the seeds of which both are known."""
    both = [{seed: one for seed, one in sorted(found.items()) if not empty(one).all()} for found in (trained, random)]
    size = min((min(one.shape[1:]) for found in both for one in found.values()), default=0)
    if not size:
        return _Values({}), _Values({})
    objects = Objects.of(stimuli, size)
    measured = [{seed: objects.measure(coarsen(one, size)) for seed, one in found.items()} for found in both]
    after, before = (
        [_Values.of({seed: pair[which] for seed, pair in found.items()}) for which in (0, 1)] for found in measured
    )
    return after[0].less(before[0]), after[1].less(before[1])


@dataclass(frozen=True)
class _Values:
    """By seed, values whose mean over stimuli is a lift or specificity (of the maps that are not empty), or a difference."""

    by_seed: Mapping[int, Float[np.ndarray, " stimuli"]]

    @classmethod
    def of(cls, found: Mapping[int, Float[np.ndarray, " stimuli"]]) -> "_Values":
        """Args: found: NaN for empty maps."""
        if not found:
            return cls({})
        stacked = np.stack(list(found.values()))
        there = ~np.isnan(stacked)
        return cls(dict(zip(found, ratio_values(np.where(there, stacked, 0.0), there), strict=True)))

    def less(self, others: "_Values") -> "_Values":
        """The paired difference, in the seeds that both have."""
        return _Values(
            {seed: self.by_seed[seed] - others.by_seed[seed] for seed in self.by_seed if seed in others.by_seed}
        )

    def effect(self, design: CrossedDesign) -> PairedEffect | None:
        """None where there are no seeds."""
        return design.effect(np.stack(list(self.by_seed.values()))) if self.by_seed else None

    def columns(self, design: CrossedDesign, name: str) -> dict[str, float]:
        """NAME, NAME_low, NAME_high."""
        return interval(self.effect(design), name)


def interval(effect: PairedEffect | None, name: str) -> dict[str, float]:
    """Columns of a quantity that may be below 0: NAME, NAME_low, NAME_high."""
    low, mean, high = (math.nan,) * 3 if effect is None else (effect.low, effect.delta, effect.high)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


# -- composites


@dataclass(frozen=True)
class Scenes:
    """What composites show: every object of a class on every background of every other."""

    table: pd.DataFrame
    """A row a composite: object (instance), background (which test image), object_class, background_class (categories)."""
    masks: Mapping[str, Float[np.ndarray, "size size"]]
    """By object: the share of each area that it covers."""

    def __len__(self) -> int:
        return len(self.table)


@dataclass(frozen=True)
class Composites(Scenes):
    """The same with its pictures."""

    images: UInt8[np.ndarray, "n c size size"]


def cut_out(stimuli: Stimuli) -> Stimuli:
    """The stimuli whose objects can be put on other backgrounds: one of each object, with agreeing cues and a silhouette."""
    whole = stimuli.only(~stimuli.conflict & with_masks(stimuli))
    return whole.only(~whole.table["shape_instance"].duplicated().to_numpy())


def composites(
    stimuli: Stimuli,
    images: UInt8[np.ndarray, "n c size size"],
    labels: Int[np.ndarray, " n"],
    classes: Sequence[str],
    *,
    backgrounds: int = 5,
) -> Composites:
    """Objects cut out of the stimuli whose cues agree, at the images' own size (or that of the stimuli where that is less), on
    the first images of each other class.

    Args: stimuli: those that the classes can name (`Stimuli.of_classes`), in the images' channels. backgrounds: images of
        each class.
    Raises: ValueError: no stimulus has agreeing cues and a silhouette, or a class has too few images.
    """
    whole = cut_out(stimuli)
    if not len(whole):
        raise ValueError("no stimulus has agreeing cues and a silhouette, so there is no object to cut out")
    size = min(images.shape[-1], stimuli.images.shape[-1])
    behind = {}
    for position, name in enumerate(classes):
        if category(name) in stimuli.categories:
            found = np.flatnonzero(labels == position)[:backgrounds]
            if len(found) < backgrounds:
                raise ValueError(f"{len(found)} images of class {name} are too few for {backgrounds} backgrounds")
            behind[category(name)] = found
    rows, made, masks = [], [], {}
    for name, of, image in zip(whole.table["shape_instance"], whole.table["shape"], whole.images, strict=True):
        mask = whole.masks[name]
        masks[name] = on_grid(mask[None], size)[0]
        # Averaged within the outline only, so that nothing of the stimulus's own background comes along.
        cut = coarsen((image * mask).astype(np.float32), size)
        for background_class, found in behind.items():
            if background_class == of:
                continue
            for background in found:
                behind_it = images[background]
                if behind_it.shape[-1] != size:
                    behind_it = shrunk(behind_it, size)
                pixels = cut + (1 - masks[name]) * behind_it
                made.append(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
                rows.append((name, int(background), of, background_class))
    return Composites(pd.DataFrame(rows, columns=SCENE), masks, np.stack(made))


SCENE = ["object", "background", "object_class", "background_class"]


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


def composite_table(
    seen: Mapping[str, Mapping[int, Seen]],
    made: Scenes,
    *,
    baseline: str,
    random: Mapping[str, Mapping[int, Seen]] | None = None,
) -> pd.DataFrame:
    """One row an arm: what it answers to composites, and whether it looks at the object less where it is wrong.

    Columns: arm, is_baseline, seeds, resolution, right, background, other (shares of answers, means of seeds), lift (mean of
    all maps that are not empty), lift_right, lift_background, lift_other (mean lift of the answers of a kind; NaN where
    there are none), centre (lift of a blob in the middle), random (lift of all maps of the arm's network with random
    weights), wrong_value, wrong_low, wrong_high (lift of right answers less that of wrong ones of equal confidence, with a
    95 % interval for new seeds, objects and backgrounds), background_value, background_low, background_high (the same
    against answers of the background's class only).

    Args: random: what the networks did with them before their training.
    Raises: ValueError: there are no networks.
    """
    random = {arm: (random or {}).get(arm, {}) if seen[arm] else {} for arm in seen}
    size = min((min(one.maps.shape[1:]) for arm in seen.values() for one in arm.values()), default=0)
    if not size:
        raise ValueError("no networks")
    masks = {name: coarsen(mask[None].astype(np.float32), size)[0] for name, mask in made.masks.items()}
    objects = Objects(list(made.table["object"]), masks)
    pairs = made.table["object_class"] + "-" + made.table["background_class"]
    design = CrossedDesign(made.table["object"], made.table["background"], pairs)
    blob = objects.measure(np.repeat(centre(size), len(made), axis=0))[0].mean()
    rows = []
    for arm, by_seed in seen.items():
        found, before = (
            [_Looked.of(one, made, objects, size) for _, one in sorted(each.items())]
            for each in (by_seed, random.get(arm, {}))
        )
        row: dict[str, object] = {"arm": arm, "is_baseline": arm == baseline, "seeds": len(found), "resolution": size}
        for kind in KINDS:
            row[kind] = _mean([one.kind[kind].mean() for one in found])
        row["lift"] = _mean([one.mean() for one in found])
        for kind in KINDS:
            row[f"lift_{kind}"] = _mean([one.lift[one.kind[kind]].mean() for one in found if one.kind[kind].any()])
        row |= {"centre": float(blob), "random": _mean([one.mean() for one in before])}
        for name in ("wrong", "background"):
            matched = [values for one in found if (values := one.against(name)) is not None]
            columns = interval(design.effect(np.stack(matched)) if matched else None, f"{name}_value")
            row |= {key.replace("_value_", "_"): value for key, value in columns.items()}
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Looked:
    """Lifts of one network, and which of its answers are of which kind; empty maps belong to none."""

    lift: Float[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]
    kind: Mapping[str, Bool[np.ndarray, " n"]]

    @classmethod
    def of(cls, one: Seen, made: Scenes, objects: Objects, size: int) -> "_Looked":
        lift, _ = objects.measure(coarsen(one.maps, size))
        answers = np.array([category(answer) for answer in one.answers], dtype=object)
        there = ~np.isnan(lift)
        right = (answers == made.table["object_class"].to_numpy(object)) & there
        background = (answers == made.table["background_class"].to_numpy(object)) & there
        kinds = {"right": right, "background": background, "other": there & ~right & ~background}
        return cls(np.nan_to_num(lift), np.asarray(one.confidence, float), kinds)

    def mean(self) -> float:
        """Lift of all maps that are not empty; NaN where all are."""
        there = np.logical_or.reduce(list(self.kind.values()))
        return float(self.lift[there].mean()) if there.any() else math.nan

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
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else math.nan
