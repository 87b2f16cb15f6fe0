"""Shape bias: of the answers that follow one of two conflicting cues, the share that follows shape.

Geirhos et al. 2019, arXiv:1811.12231. A ratio alone says little, so everything here keeps what it leaves out beside it: how
many answers followed neither cue, whether the network can name the stimuli at all (those whose two cues agree), and
what networks score that see no shape. Values are comparable between arms that saw the stimuli the same way, never
with ImageNet networks or people, who saw 224 pixels and chose among 16 categories.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, UInt8

from analysis.comparisons import judged, level, renamed
from analysis.crossed import CrossedDesign, ratio_values
from analysis.statistics import PairedEffect
from analysis.stimuli import PACKAGED, Stimuli, category

COMPETENT = 0.5
"""A network that names fewer of the agreeing stimuli than this cannot name the stimuli, and its bias says little."""

MARGIN = 0.05
"""Differences in shape bias within this count as equivalent unless the caller says otherwise."""

Decisions = Mapping[str, Mapping[int, Sequence[str]]]
"""By arm and seed: the category that was answered to each stimulus."""


@dataclass(frozen=True)
class ShapeBias:
    """One observer's shape bias with the counts that it is made of."""

    value: float
    """0: every cue-following answer follows texture, 1: every one follows shape."""
    shape_hits: int
    texture_hits: int
    neither: int
    """Answers to conflicting cues that follow neither, which the value leaves out."""


def shape_bias(decisions: pd.DataFrame) -> ShapeBias:
    """Share of cue-following answers that follow shape: 0 all texture, 1 all shape.

    Stimuli whose two cues agree, and answers that match neither cue, are left out. A missing answer matches neither.
    `ship` is `boat` and `automobile` is `car`, in any of the columns.

    Args: decisions: one row per stimulus, columns `shape`, `texture`, `decision` (category names).
    Raises: ValueError: a column or a cue is missing, or no answer follows either cue, so the ratio does not exist.
    Source: Geirhos et al. 2019, arXiv:1811.12231, section 2.
    """
    counts = _counts(decisions)
    followed = counts.shape_hits + counts.texture_hits
    if not followed:
        raise ValueError(
            f"of {counts.neither} answers to conflicting cues none follows shape or texture, so shape bias does not exist"
        )
    return ShapeBias(counts.shape_hits / followed, counts.shape_hits, counts.texture_hits, counts.neither)


def by_category(decisions: pd.DataFrame) -> pd.DataFrame:
    """Shape bias of the stimuli of each shape category.

    Columns: shape, value (NaN where no answer follows either cue), shape_hits, texture_hits, neither.

    Args: decisions: as in `shape_bias`.
    """
    rows = []
    for shape, answers in decisions.assign(shape=_column(decisions, "shape")).groupby("shape"):
        counts = _counts(answers)
        followed = counts.shape_hits + counts.texture_hits
        value = counts.shape_hits / followed if followed else math.nan
        rows.append((shape, value, counts.shape_hits, counts.texture_hits, counts.neither))
    return pd.DataFrame(rows, columns=["shape", "value", "shape_hits", "texture_hits", "neither"])


def agreeing_accuracy(decisions: pd.DataFrame) -> float:
    """Share right of the stimuli whose two cues agree; NaN where there are none. Args: as in `shape_bias`."""
    shape, texture, decision = (_column(decisions, name) for name in ("shape", "texture", "decision"))
    agree = shape == texture
    return float((decision == shape)[agree].mean()) if agree.any() else math.nan


def _counts(decisions: pd.DataFrame) -> ShapeBias:
    """The counts, their ratio left open."""
    shape, texture, decision = (_column(decisions, name) for name in ("shape", "texture", "decision"))
    conflict = shape != texture
    shape_hits, texture_hits = (int(((decision == cue) & conflict).sum()) for cue in (shape, texture))
    return ShapeBias(math.nan, shape_hits, texture_hits, int(conflict.sum()) - shape_hits - texture_hits)


def _column(decisions: pd.DataFrame, name: str) -> np.ndarray:
    """A column's category names, as the stimuli have them; whatever its type and the frame's index."""
    if name not in decisions.columns:
        raise ValueError(f"decisions need the columns shape, texture and decision; {name!r} is missing")
    values = decisions[name]
    if name != "decision" and values.isna().any():
        raise ValueError(f"column {name!r} has {int(values.isna().sum())} missing values: every stimulus has both cues")
    return np.array([category(value) if isinstance(value, str) else value for value in values], dtype=object)


def decide(logits: Float[np.ndarray, "n classes"], classes: Sequence[str], among: Sequence[str]) -> list[str]:
    """Each row's answer: the category with the highest logit, of those in `among` only.

    Args: classes: names of the logits' columns. among: categories to choose from, as the stimuli name them.
    """
    columns = [column for column, name in enumerate(classes) if category(name) in among]
    names = [category(classes[column]) for column in columns]
    return [names[best] for best in logits[:, columns].argmax(axis=1)]


# -- arms


@dataclass(frozen=True)
class Nulls:
    """What is compared with an arm's bias: observers that learnt no shapes."""

    random: Decisions = field(default_factory=dict)
    """Answers of the arms' networks with random weights, as they were before their training."""
    colours: Sequence[str] | None = None
    """See `colour_answers`."""


def bias_table(
    decisions: Decisions, stimuli: Stimuli, *, baseline: str, margin: float = MARGIN, nulls: Nulls | None = None
) -> pd.DataFrame:
    """One row an arm: its shape bias over seeds, and the paired difference to the baseline.

    Columns: arm, is_baseline, seeds, without_ratio (seeds left out because no answer follows either cue), value (mean of
    the seeds' biases), low, high (95 % interval for new seeds and stimuli of new shapes and textures, cut at 0 and 1),
    shape_hits, texture_hits, neither (means over seeds), agreeing (accuracy on the agreeing stimuli), competent, delta,
    delta_low, delta_high, p_value, adjusted_p (Holm), paired_seeds, verdict, remark; and of what learnt no shapes random,
    random_low, random_high (the arm's network with random weights), colours (a classifier of colours alone) and constant
    (always the same answer). What cannot be computed, or is not known, is NaN.

    Args: decisions: answers in the order of `stimuli`. margin: of equivalence, 0 to 1.
    Raises: ValueError: the stimuli are too few for an interval, or answers are not as many as stimuli.
    """
    nulls = nulls or Nulls()
    conflict, table = stimuli.conflict, stimuli.table
    design = CrossedDesign(
        table["shape_instance"][conflict], table["texture_instance"][conflict], stimuli.pairs[conflict]
    )
    measured = {arm: _Measured.of(by_seed, stimuli) for arm, by_seed in decisions.items()}
    random = {arm: _Measured.of(nulls.random.get(arm, {}), stimuli) for arm in decisions}
    effects = {arm: own.difference(measured[baseline], design) for arm, own in measured.items()}
    differences = judged(
        {arm: None if arm == baseline else effect for arm, effect in effects.items()},
        margin=margin,
        more="more shape",
        less="more texture",
    )
    colours = math.nan if nulls.colours is None else _value(stimuli, nulls.colours)
    constant = constant_bias(stimuli)
    return pd.DataFrame(
        [
            {
                "arm": arm,
                "is_baseline": arm == baseline,
                "seeds": len(own.seeds),
                "without_ratio": len(decisions[arm]) - len(own.seeds),
                **own.level(design),
                "shape_hits": own.mean_count("shape"),
                "texture_hits": own.mean_count("texture"),
                "neither": own.mean_count("neither"),
                "agreeing": own.agreeing,
                "competent": not own.agreeing < COMPETENT,  # where no cues agree, nothing is known against it
                **differences[arm],
                **renamed(random[arm].level(design), "random"),
                "colours": colours,
                "constant": constant,
            }
            for arm, own in measured.items()
        ]
    )


@dataclass(frozen=True)
class _Measured:
    """An arm's answers to the conflicting stimuli, in the seeds whose ratio exists."""

    seeds: tuple[int, ...]
    shape: Bool[np.ndarray, "seeds stimuli"]
    texture: Bool[np.ndarray, "seeds stimuli"]
    agreeing: float
    """Accuracy on the agreeing stimuli, the mean of all seeds."""

    @classmethod
    def of(cls, by_seed: Mapping[int, Sequence[str]], stimuli: Stimuli) -> "_Measured":
        conflict = stimuli.conflict
        shapes, textures = (stimuli.table[cue].to_numpy(object)[conflict] for cue in ("shape", "texture"))
        hits, agreeing = {}, []
        for seed, answers in sorted(by_seed.items()):
            if len(answers) != len(stimuli):
                raise ValueError(f"{len(answers)} answers to {len(stimuli)} stimuli")
            agreeing.append(agreeing_accuracy(stimuli.table.assign(decision=list(answers))))
            answered = np.array([category(answer) for answer in answers], dtype=object)[conflict]
            by_cue = answered == shapes, answered == textures
            if by_cue[0].any() or by_cue[1].any():
                hits[seed] = by_cue
        empty = np.zeros((0, int(conflict.sum())), bool)
        shape, texture = (np.stack([hits[s][cue] for s in hits]) if hits else empty for cue in (0, 1))
        return cls(tuple(hits), shape, texture, float(np.mean(agreeing)) if agreeing else math.nan)

    def level(self, design: CrossedDesign) -> dict[str, float]:
        """Columns value, low and high."""
        return level(design.effect(self.values()) if self.seeds else None)

    def values(self, seeds: Sequence[int] | None = None) -> Float[np.ndarray, "seeds stimuli"]:
        """See `ratio_values`; of some seeds, or of all."""
        rows = [self.seeds.index(seed) for seed in (self.seeds if seeds is None else seeds)]
        return ratio_values(self.shape[rows], self.shape[rows] | self.texture[rows])

    def difference(self, baseline: "_Measured", design: CrossedDesign) -> PairedEffect | None:
        """Over the seeds that both have; None where there are none."""
        seeds = sorted(set(self.seeds) & set(baseline.seeds))
        return design.effect(self.values(seeds) - baseline.values(seeds)) if seeds else None

    def mean_count(self, followed: str) -> float:
        """Answers that follow shape, texture or neither: the mean of the seeds."""
        if not self.seeds:
            return math.nan
        counted = {"shape": self.shape, "texture": self.texture, "neither": ~(self.shape | self.texture)}[followed]
        return float(counted.sum(axis=1).mean())


# -- what a bias is compared with


def published() -> pd.DataFrame:
    """What people and ImageNet networks answered, as their authors published it: context, not comparable with CIFAR-10's.

    Columns: observer, shape, value, shape_hits, texture_hits, neither; a row an observer and shape category (of 16).
    """
    table = pd.read_csv(PACKAGED / "published.csv")
    return table.assign(value=table["shape_hits"] / (table["shape_hits"] + table["texture_hits"]))


def constant_answers(stimuli: Stimuli, answer: str) -> list[str]:
    """Of a network that always gives the same answer: a shape bias of exactly 1/2 where shapes and textures are balanced."""
    return [answer] * len(stimuli)


def constant_bias(stimuli: Stimuli) -> float:
    """Of networks that always give the same answer, the mean of the categories; NaN where there is no conflict."""
    found = [_value(stimuli, constant_answers(stimuli, answer)) for answer in stimuli.categories]
    return float(np.nanmean(found)) if not np.isnan(found).all() else math.nan


def colour_answers(
    train: UInt8[np.ndarray, "n c h w"],
    labels: Int[np.ndarray, " n"],
    classes: Sequence[str],
    stimuli: Stimuli,
    *,
    rows: Int[np.ndarray, " n"] | None = None,
) -> list[str]:
    """Of a classifier that knows how often each colour (or shade of grey) occurs in an image, and nothing of where: a
    linear discriminant on the square roots of joint colour histograms.

    Args: train: may be a file that is mapped into memory. labels: positions in `classes`, one for each of `rows` of `train`, by
        default all. Stimuli are shrunk to the training images' size.
    Raises: ValueError: fewer than two of the stimuli's categories have training images.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    shared = [position for position, name in enumerate(classes) if category(name) in stimuli.categories]
    keep = np.flatnonzero(np.isin(labels, shared))
    if len(np.unique(labels[keep])) < 2:
        raise ValueError("fewer than two of the stimuli's categories have training images")
    classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    classifier.fit(colour_shares(train, keep if rows is None else rows[keep]), labels[keep])
    shown = stimuli.shrunk(train.shape[-1])
    return [category(classes[answer]) for answer in classifier.predict(colour_shares(shown))]


def _value(stimuli: Stimuli, answers: Sequence[str]) -> float:
    """The bias of one observer; NaN where no answer follows either cue."""
    counts = _counts(stimuli.table.assign(decision=list(answers)))
    followed = counts.shape_hits + counts.texture_hits
    return counts.shape_hits / followed if followed else math.nan


COLOURS = 64
"""Of a histogram: 4 steps of each of three channels, or 64 shades of grey."""


def colour_shares(
    images: UInt8[np.ndarray, "n c h w"], places: Int[np.ndarray, " m"] | None = None
) -> Float[np.ndarray, "m colours"]:
    """Square roots of the proportions of each colour in the images, or in those at some places; each channel is cut into equal
    steps.

    A few images at a time, since a whole training set in wider numbers than bytes is large.
    """
    channels = images.shape[1]
    levels = round(COLOURS ** (1 / channels))
    places = np.arange(len(images)) if places is None else places
    return np.concatenate(
        [_histograms(images[part], levels) for part in np.array_split(places, len(places) // 500 + 1)]
    )


def _histograms(images: np.ndarray, levels: int) -> np.ndarray:
    steps = (images.astype(np.int64) * levels) // 256
    codes = steps[:, 0]
    for channel in range(1, steps.shape[1]):
        codes = codes * levels + steps[:, channel]
    codes, colours = codes.reshape(len(images), -1), levels ** steps.shape[1]
    rows = np.arange(len(images))[:, None] * colours
    counts = np.bincount((codes + rows).ravel(), minlength=len(images) * colours)
    return np.sqrt(counts.reshape(len(images), -1) / codes.shape[1])
