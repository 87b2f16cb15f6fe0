"""Which figures a study has, by name: from its results to Axes, with the caption that says how to read each."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes

from analysis import figures
from analysis.effects import effect_table, seed_differences
from analysis.results import Results


@dataclass(frozen=True)
class StudyFigure:
    """A figure that can be drawn of any study."""

    name: str
    caption: str
    draw: Callable[[Results], Axes]
    """Raises `figures.NothingToDraw` where the study has nothing to show in it."""


def _forest(results: Results) -> Axes:
    effects = effect_table(results.trials, results.correct)
    return figures.forest(effects, seed_differences(results.trials, results.correct))


def _cost(results: Results) -> Axes:
    return figures.accuracy_against_cost(effect_table(results.trials, results.correct))


FIGURES: dict[str, StudyFigure] = {
    figure.name: figure
    for figure in (
        StudyFigure(
            "forest",
            "Differences in test accuracy to the baseline: mean, 95 % interval for new seeds and new test images (not "
            "adjusted for the number of arms), and below it a dot per seed. Filled: significant after Holm's correction.",
            _forest,
        ),
        StudyFigure(
            "cost",
            "Test accuracy against multiply-adds; bars are standard deviations over seeds. Filled arms are the Pareto "
            "frontier: no other arm is as accurate at this cost or less.",
            _cost,
        ),
        StudyFigure(
            "learning_curves",
            "Validation accuracy after each epoch: a thin line per seed, a bold mean per arm. Curves that still climb at "
            "the end compare speeds of learning as well as architectures.",
            lambda results: figures.learning_curves(results.epochs),
        ),
        StudyFigure(
            "per_class",
            "Change in each class's recall from the baseline, in percentage points, mean over the shared seeds.",
            lambda results: figures.per_class(results.per_class),
        ),
    )
}
