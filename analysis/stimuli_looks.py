"""Where networks look on cue-conflict stimuli, as a sheet, from what the measure of attention left: no network is needed."""

import numpy as np
import pandas as pd

from analysis.figures import NothingToDraw
from analysis.picking import softmax
from analysis.sheets import Column, Look, Row
from analysis.stimuli import Stimuli, category
from analysis.study_measures import StudyMeasures

SHOWN = 64
"""Pixels along a side at which a stimulus is shown."""


def rows_and_columns(measures: StudyMeasures) -> tuple[list[Row], list[Column]]:
    """A row a shape category: of its conflicting stimuli, the one to which the arms give most different answers. A column an
    arm that has the measure in the baseline's first seed. An answer is right where it names the shape.

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
    places = _most_disputed(stimuli, answers)
    images = stimuli.only(np.isin(np.arange(len(stimuli)), places)).shrunk(SHOWN)
    rows = [
        Row(
            f"{stimuli.table['shape'][place]}\nmade of {stimuli.table['texture'][place]}",
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
    sizes = {arm: "×".join(map(str, one["maps"].shape[1:])) for arm, one in arrays.items()}
    return rows, [Column(arm, f"seed {seed}, map {size}") for arm, size in sizes.items()]


def _most_disputed(stimuli: Stimuli, answers: pd.DataFrame) -> list[int]:
    """A place for each shape category, in their order."""
    disputed = np.where(stimuli.conflict, answers.nunique(axis=1), 0)
    shapes = stimuli.table["shape"].to_numpy()
    of_each = [np.flatnonzero(shapes == shape) for shape in np.unique(shapes)]
    return sorted(int(places[disputed[places].argmax()]) for places in of_each)
