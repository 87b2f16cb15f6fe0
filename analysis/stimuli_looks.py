"""Where networks look on cue-conflict stimuli, from what the measure of attention left: no network is needed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from analysis.figures import NothingToDraw
from analysis.picking import softmax
from analysis.sheets import Column, Look, Row
from analysis.stimuli import Stimuli, category
from analysis.study_measures import StudyMeasures

SHOWN = 64
"""Pixels along a side at which a stimulus is shown."""


@dataclass(frozen=True)
class Shown:
    """A stimulus, and what each arm made of it."""

    shape: str
    texture: str
    image: UInt8[np.ndarray, "channels size size"]
    looks: Sequence[Look]
    """One an arm. An answer is right where it names the shape."""


@dataclass(frozen=True)
class Gallery:
    """Stimuli down, arms across."""

    arms: Sequence[str]
    seed: int
    """Of the arms' networks."""
    stimuli: Sequence[Shown]


def gallery(measures: StudyMeasures, *, of_each: int = 1) -> Gallery:
    """Of the conflicting stimuli of each shape category those to which the arms give most different answers, and all arms that
    have the measure in the baseline's first seed.

    Args: of_each: stimuli of a category.
    Raises: NothingToDraw: no cell of the baseline is measured.
    """
    found, baseline = measures.read("attention"), measures.outcomes.baseline.name
    if found is None or not found.found[baseline]:
        raise NothingToDraw("no cell of the baseline has been asked where it looks (experiments/measure.py)")
    seed = min(found.found[baseline])
    arrays = {arm: by_seed[seed] for arm, by_seed in found.found.items() if seed in by_seed}
    classes = np.array([category(name) for name in measures.outcomes.classes])
    probabilities = {arm: softmax(one["logits"]) for arm, one in arrays.items()}
    answers = pd.DataFrame({arm: classes[one.argmax(axis=1)] for arm, one in probabilities.items()})
    stimuli = measures.outlined
    places = _most_disputed(stimuli, answers, of_each)
    images = stimuli.only(np.isin(np.arange(len(stimuli)), places)).shrunk(SHOWN)
    shown = [
        Shown(
            str(stimuli.table["shape"][place]),
            str(stimuli.table["texture"][place]),
            image,
            [
                Look(
                    answers[arm][place],
                    float(probabilities[arm][place].max()),
                    bool(answers[arm][place] == stimuli.table["shape"][place]),
                    one["maps"][place],
                )
                for arm, one in arrays.items()
            ],
        )
        for place, image in zip(places, images, strict=True)
    ]
    return Gallery(list(arrays), seed, shown)


def rows_and_columns(measures: StudyMeasures) -> tuple[list[Row], list[Column]]:
    """The gallery as a sheet.

    Raises: NothingToDraw: as `gallery`.
    """
    found = gallery(measures)
    rows = [Row(f"{one.shape}\nmade of {one.texture}", one.image, one.looks) for one in found.stimuli]
    sizes = ["×".join(map(str, look.map.shape)) for look in found.stimuli[0].looks]
    return rows, [Column(arm, f"seed {found.seed}, map {size}") for arm, size in zip(found.arms, sizes, strict=True)]


def _most_disputed(stimuli: Stimuli, answers: pd.DataFrame, of_each: int) -> list[int]:
    """Places of each shape category's, in their order."""
    disputed = np.where(stimuli.conflict, answers.nunique(axis=1), 0)
    shapes = stimuli.table["shape"].to_numpy()
    chosen: list[int] = []
    for shape in np.unique(shapes):
        places = np.flatnonzero(shapes == shape)
        chosen += places[np.argsort(-disputed[places], kind="stable")][:of_each].tolist()
    return sorted(chosen)
