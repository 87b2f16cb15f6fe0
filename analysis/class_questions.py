"""Questions about one class, or one group of classes: each is a test of its own, corrected for the number of arms alone.

A table of all classes (`analysis.per_class`) asks dozens of questions at once, and each pays for the others. Whoever wants to
know of one class, and says so before there are results, asks one. Where the class is named afterwards, perhaps because of
what was seen, the numbers are the same and the claim is not: the table says when it was asked.

Where looks were planned, an arm's seeds are those of its last look, tested at that look's level. The arm stopped for what
was seen of all classes together; that any of the looks errs is still at most as likely as their levels together.
"""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.effects import compared, corrected
from analysis.looks import Course
from analysis.looks import course as course_of
from analysis.outcomes import Outcomes
from analysis.per_class import Row, recall_effect, rows_of
from analysis.statistics import PairedEffect
from analysis.verdicts import MARGIN

COLUMNS = (
    *("class", "asked", "arm", "baseline_recall", "arm_recall", "delta", "low", "high", "p_value", "adjusted_p"),
    *(
        "adjusted_equivalence_p",
        "p_better",
        "shown_low",
        "shown_high",
        "shown_level",
        "paired_seeds",
        "verdict",
        "remark",
    ),
)


def class_question_table(outcomes: Outcomes, *, margin: float = MARGIN) -> pd.DataFrame:
    """One row a question and arm, in the order in which they were asked; none about a class with fewer than two test images.

    Columns: class (or group), asked (beforehand, or after how many cells had finished), arm, baseline_recall, arm_recall
    (means over the seeds that are compared, 0 to 1), and of their difference what `effects.effect_table` has of the accuracies':
    delta, low, high, p_value, adjusted_p (Holm over the arms of this question, and for looks), adjusted_equivalence_p, p_better,
    shown_low, shown_high, shown_level, paired_seeds, verdict, remark.

    Args: margin: of equivalence, 0 to 1.
    """
    plan = outcomes.study.looks
    course = None if plan is None else course_of(outcomes, plan)
    about = {row.name: row for row in rows_of(outcomes) if row.kind != "difference"} if len(outcomes.labels) else {}
    rows = [
        {"class": question.name, "asked": question.asked, **row}
        for question in outcomes.study.class_questions
        if question.name in about
        for row in _answers(outcomes, about[question.name], course, margin)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _answers(outcomes: Outcomes, about: Row, course: Course | None, margin: float) -> list[dict[str, object]]:
    seeds = {arm.name: _seeds(outcomes, arm.name, course) for arm in outcomes.arms if not arm.is_baseline}
    effects: dict[str, PairedEffect | None] = {}
    for arm, shared in seeds.items():
        level = 0.95 if course is None or not shared else 1 - course.level(course.standings[arm].look)
        effects[arm] = recall_effect(outcomes, arm, about, shared, level=level) if shared else None
    p_values = {arm: math.nan if each is None else each.p_value for arm, each in effects.items()}
    equivalence = {arm: math.nan if each is None else each.equivalence_p(margin) for arm, each in effects.items()}
    differs, equivalent = (corrected(values, outcomes.looks, course) for values in (p_values, equivalence))
    lost = outcomes.cells[outcomes.cells["status"] == "diverged"]["arm"].value_counts()
    return [
        {
            "arm": arm,
            "baseline_recall": _recall(outcomes, outcomes.baseline.name, about, seeds[arm]),
            "arm_recall": _recall(outcomes, arm, about, seeds[arm]),
            **compared(
                effect,
                differs[arm],
                equivalent[arm],
                margin=margin,
                diverged=int(lost.get(arm, 0)),
                baseline_diverged=int(lost.get(outcomes.baseline.name, 0)),
            ),
        }
        for arm, effect in effects.items()
    ]


def _seeds(outcomes: Outcomes, arm: str, course: Course | None) -> list[int]:
    """Those that arm and baseline share; with planned looks, those of the arm's last."""
    shared = sorted(outcomes.correct[arm].keys() & outcomes.correct[outcomes.baseline.name].keys())
    if course is None:
        return shared
    standing = course.standings.get(arm)
    return [] if standing is None else [seed for seed in shared if seed < course.plan.seeds[standing.look]]


def _recall(outcomes: Outcomes, arm: str, about: Row, seeds: list[int]) -> float:
    if not seeds:
        return math.nan
    of_class = [outcomes.labels == place for place in np.flatnonzero(about.weights)]
    right: Mapping[int, np.ndarray] = outcomes.correct[arm]
    return float(np.mean([[right[seed][own].mean() for own in of_class] for seed in seeds]))
