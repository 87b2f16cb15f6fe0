"""Draws one figure of a study, at a column's width.

    python experiments/figure.py results/studies/depth-quick forest --width 3.25 --out forest.pdf

STUDY is a study's folder, or a results folder that holds one study. NAME is one of

    forest           differences in test accuracy to the baseline, with intervals, every seed dotted
    steps            the baseline's accuracy less the loss of each arm in turn, for arms that make one change each
    two_factor       accuracy by the levels of two factors that a grid crosses, every seed dotted
    cost             test accuracy against multiply-adds, with the Pareto frontier
    learning_curves  validation accuracy by epoch, a thin line per seed, a bold mean per arm
    per_class        change in each class's recall from the baseline

Reads only what the study left behind, and writes one file; about 3 seconds. Safe while the study runs: cells that are not
finished are left out, and their number is said.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import tyro
from matplotlib.axes import Axes

from ablations.cli import console, known, parse, run_script
from analysis import figures
from analysis.effects import effect_table, seed_differences
from analysis.factors import design, factor_accuracies, repeated_changes
from analysis.results import Results, load
from cnnkit.errors import UserError


def forest(results: Results) -> Axes:
    effects = effect_table(results.trials, results.correct)
    return figures.forest(effects, seed_differences(results.trials, results.correct))


def steps(results: Results) -> Axes:
    study = results.study
    repeated = repeated_changes(study.arms, tuned={field for fields in study.tuned.values() for field in fields})
    if repeated:
        raise UserError(
            f"{study.name}: more than one arm changes {repeated[0]}, so their effects are no steps of one sum"
        )
    return figures.steps(effect_table(results.trials, results.correct))


def two_factor(results: Results) -> Axes:
    """A panel for each two of the factors."""
    if design(results.study.arms) is None:
        raise UserError(f"{results.study.name}: its arms do not cross two factors")
    accuracies = factor_accuracies(results.study.arms, results.correct)
    pairs = [pair for _, pair in accuracies.groupby(["factor", "other_factor"], sort=False)]
    if len(pairs) < 2:
        return figures.two_factor(accuracies)
    width = mpl.rcParams["figure.figsize"][0]
    panels = plt.subplots(len(pairs), figsize=(width, 2.5 * len(pairs)), layout="constrained")[1]
    for pair, ax in zip(pairs, panels, strict=True):
        figures.two_factor(pair, ax=ax)
    return panels[0]


def cost(results: Results) -> Axes:
    return figures.accuracy_against_cost(effect_table(results.trials, results.correct))


def learning_curves(results: Results) -> Axes:
    return figures.learning_curves(results.epochs)


def per_class(results: Results) -> Axes:
    return figures.per_class(results.per_class)


FIGURES: dict[str, Callable[[Results], Axes]] = {
    figure.__name__: figure for figure in (forest, steps, two_factor, cost, learning_curves, per_class)
}
"""Every figure by its name."""

SUFFIXES = (".pdf", ".png", ".svg")
NARROWEST, WIDEST = 3.0, 20.0  # inches; in less, numbers and names cover each other


@dataclass
class Arguments:
    """The command line."""

    study: tyro.conf.Positional[Path]
    """A study's folder, or a results folder that holds one study."""
    name: tyro.conf.Positional[str]
    """The figure: forest, steps, two_factor, cost, learning_curves or per_class."""
    width: float = figures.COLUMN
    """In inches; the height follows from the number of arms."""
    out: Path | None = None
    """The file to write, as .pdf, .png (300 dots an inch) or .svg; NAME.pdf by default."""


def main(arguments: Sequence[str]) -> int:
    """Writes the figure, and says where."""
    args = parse(Arguments, arguments, description=__doc__)
    draw = FIGURES[known("figure", args.name, list(FIGURES))]
    out = Path(f"{args.name}.pdf") if args.out is None else args.out
    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {out}: a figure is written as {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if not NARROWEST <= args.width <= WIDEST:
        raise UserError(f"--width {args.width:g}: from {NARROWEST:g} to {WIDEST:g} inches")
    results = load(args.study)
    mpl.use("agg")  # a file needs no window
    with mpl.rc_context({**figures.STYLE, "figure.figsize": (args.width, 2.4)}):
        try:
            figure = draw(results).figure.canvas.figure
        except figures.NothingToDraw as error:
            raise UserError(f"{args.study}: {error}, so there is nothing to draw yet") from error
        try:
            figure.savefig(out)
        except OSError as error:
            raise UserError(f"cannot write {out}: {error.strerror}") from error
        finally:
            plt.close(figure)
    left_out = int((results.trials["status"] != "finished").sum())
    remark = f"; {left_out} of {len(results.trials)} cells are not finished and left out" if left_out else ""
    console().print(f"wrote {out}{remark}", markup=False, soft_wrap=True)
    for notice in results.damaged:
        console().print(notice, markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    run_script(main)
