"""Which figures a study has, by name: from its tables to Axes, with the caption that says how to read each."""

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from analysis import (
    figures,
    fit_figures,
    measure_figures,
    reproduction_figures,
    screening_figures,
    sheets,
    stimuli_looks,
)
from analysis.factors import repeated_changes
from analysis.reproduction import Reproduction
from analysis.shape_bias import published
from analysis.study_tables import StudyTables


@dataclass(frozen=True)
class StudyFigure:
    """A figure that can be drawn of any study."""

    name: str
    caption: str
    draw: Callable[[StudyTables], Axes]
    """Raises `figures.NothingToDraw` where the study has nothing to show in it."""
    wide: bool = False
    """Whether a page gives it its whole width."""


def _forest(study: StudyTables) -> Axes:
    return figures.forest(study.effects, study.seed_differences, metric=study.metric)


def _steps(study: StudyTables) -> Axes:
    if not any(arm.changes for arm in study.outcomes.arms):
        raise figures.NothingToDraw("what the arms change is not known")
    repeated = repeated_changes(study.outcomes.arms)
    if repeated:
        raise figures.NothingToDraw(f"more than one arm changes {repeated[0]}, and such changes do not add up")
    return figures.steps(study.effects)


def _looks(study: StudyTables) -> Axes:
    if study.looks is None:
        raise figures.NothingToDraw("its looks were not planned")
    return figures.looks(study.looks)


def _two_factor(study: StudyTables) -> Axes:
    """A panel for each two of the factors; returns the first."""
    if study.design is None:
        raise figures.NothingToDraw("its arms do not cross two factors")
    pairs = [pair for _, pair in study.factor_accuracies.groupby(["factor", "other_factor"], sort=False)]
    if len(pairs) < 2:
        return figures.two_factor(study.factor_accuracies)
    size = mpl.rcParams["figure.figsize"][0], 2.5 * len(pairs)
    panels = plt.subplots(len(pairs), figsize=size, layout="constrained")[1]
    for pair, ax in zip(pairs, panels, strict=True):
        figures.two_factor(pair, ax=ax)
    return panels[0]


def _main_effects(study: StudyTables) -> Axes:
    if study.screening is None:
        raise figures.NothingToDraw(NO_SCREENING)
    return figures.forest(study.screening.main, study.screening.seed_differences)


def _half_normal(study: StudyTables) -> Axes:
    if study.screening is None:
        raise figures.NothingToDraw(NO_SCREENING)
    return screening_figures.half_normal(study.screening.main, study.screening.interactions)


NO_SCREENING = "its arms are no screening design"


def _attention(study: StudyTables) -> Axes:
    """A panel for lift and one for specificity; returns the first."""
    table = study.measures.attention
    if table.empty:
        return measure_figures.attention(table)
    size = mpl.rcParams["figure.figsize"][0], 2 * (1.2 + 0.26 * table["arm"].nunique())
    panels = plt.subplots(2, figsize=size, layout="constrained")[1]
    for measure, ax in zip(("lift", "specificity"), panels, strict=True):
        measure_figures.attention(table, measure, ax=ax)
    return panels[0]


def _stimuli(study: StudyTables) -> Axes:
    rows, columns = stimuli_looks.rows_and_columns(study.measures)
    return sheets.sheet(
        rows, columns, title="", caption="Right: the answer names the shape. A square is a position of the map."
    )


def _reproduction(study: StudyTables) -> Reproduction:
    found = study.reproduction
    if found is None:
        raise figures.NothingToDraw("it is no study of the documented network alone")
    return found


FIGURES: dict[str, StudyFigure] = {
    figure.name: figure
    for figure in (
        StudyFigure(
            "forest",
            "Differences to the baseline: mean, interval of the test behind the verdict, and below it a dot per seed.",
            _forest,
        ),
        StudyFigure(
            "steps",
            "The baseline's test accuracy less the loss of each arm in turn, as if losses added up: each change was trained "
            "alone, never their sum.",
            _steps,
        ),
        StudyFigure(
            "looks",
            "How far each arm went through the planned looks, and how it ended: a line to its last number of seeds.",
            _looks,
        ),
        StudyFigure(
            "two_factor",
            "Test accuracy at the levels of two factors: a thin line per seed, a bold mean per level of one factor. Parallel "
            "lines: the factors add up. The baseline is a diamond, or a dashed line where it is none of the points.",
            _two_factor,
        ),
        StudyFigure(
            "main_effects",
            "What each factor's other level changes in test accuracy, averaged over the other factors: mean, interval of the "
            "test behind the verdict, and below it a dot per seed.",
            _main_effects,
        ),
        StudyFigure(
            "half_normal",
            "Sizes of main effects (circles) and of interactions of two factors (squares, halved) against what they would be if "
            "all were chance, along the line. Filled: significant after Holm's correction; red: costs accuracy. An interaction "
            "stands for all of its string.",
            _half_normal,
        ),
        StudyFigure(
            "cost",
            "Test accuracy against multiply-adds; bars are standard deviations over seeds. Filled arms are the Pareto "
            "frontier: no other arm is as accurate at this cost or less.",
            lambda study: figures.accuracy_against_cost(study.effects),
        ),
        StudyFigure(
            "learning_curves",
            "Validation accuracy after each epoch: a thin line per seed, a bold mean per arm. Curves that still climb at "
            "the end compare speeds of learning as well as architectures.",
            lambda study: figures.learning_curves(study.epochs),
        ),
        StudyFigure(
            "losses",
            "Loss after each epoch on validation images (solid) and during it on training images (dashed), mean over seeds. The "
            "training loss has dropout and augmentation, which the validation loss is free of.",
            lambda study: fit_figures.losses(study.epochs),
        ),
        StudyFigure(
            "reliability",
            "Share of right answers (%) among those of each confidence, all seeds of an arm together. Below the diagonal, "
            "networks are surer than they are right.",
            lambda study: fit_figures.reliability(study.calibration.by_confidence),
        ),
        StudyFigure(
            "per_class",
            "Change in each class's recall from the baseline, in percentage points, mean over the shared seeds. Bold: "
            "significant after Holm's correction over all classes and arms.",
            lambda study: figures.per_class(study.recalls, effects=study.class_effects),
            wide=True,
        ),
        StudyFigure(
            "shape_bias",
            "Shape bias by shape category, mean over seeds, and of all categories with 95 % intervals for new seeds and new "
            "stimuli; hollow, each arm's network with random weights. Dashed: a network that always answers the same; dotted: a "
            "classifier of colours alone. Grey: people and ImageNet networks as Geirhos et al. (2019) published them, who saw "
            "larger images and chose among 16 categories: context, not to be compared with the arms.",
            lambda study: measure_figures.shape_bias(
                study.measures.shape_bias_by_category, study.measures.shape_bias, published=published()
            ),
        ),
        StudyFigure(
            "reliance",
            "Share of its accuracy that an arm keeps under each change of the test images, with 95 % intervals for new seeds "
            "and new test images. Lower: it relied more on what the change takes.",
            lambda study: measure_figures.reliance(study.measures.reliance),
        ),
        StudyFigure(
            "attention",
            "How much more of the Grad-CAM maps lies on the object than a map has there that points nowhere (lift), and than "
            "lies on other images' objects (specificity), with 95 % intervals. Hollow: the same network with random weights, "
            "which the filled mark is to be read against. Lines: what a blob in the middle of every image and a map of its "
            "edges score without any network.",
            _attention,
        ),
        StudyFigure(
            "composites",
            "How much more of the Grad-CAM maps lies on an object that was put on another class's image, by what the network "
            "answers; hollow, the same network with random weights. Where errors lie to the left of right answers, the network "
            "looks away from the object when it errs.",
            lambda study: measure_figures.composites(study.measures.composites),
        ),
        StudyFigure(
            "stimuli",
            "Grad-CAM maps of what each arm answers to stimuli with the shape of one thing and the texture of another: of each "
            "shape, the stimulus to which the arms give most different answers. One colour scale: the map over its own mean.",
            _stimuli,
            wide=True,
        ),
        StudyFigure(
            "reproduction",
            "Test accuracy of the documented run with the interval of its test set, and of each seed here with the "
            "interval for one new seed.",
            lambda study: reproduction_figures.accuracy(_reproduction(study).accuracies, _reproduction(study).by_seed),
        ),
        StudyFigure(
            "documented_classes",
            "F1 of each class in the documented study and here, the mean over seeds. A star: neither lies in the other's "
            "interval.",
            lambda study: reproduction_figures.classes(_reproduction(study).classes),
        ),
        StudyFigure(
            "confusion",
            "What the images of each class (rows) are answered as (columns), in percent, mean over the baseline's seeds.",
            lambda study: reproduction_figures.confusion(_reproduction(study).confusion),
        ),
    )
}
