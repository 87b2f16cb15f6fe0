"""Draws one figure of a study, at a column's width.

    python experiments/figure.py results/studies/depth-quick forest --width 3.25 --out forest.pdf

STUDY is a study's folder, or a results folder that holds one study. NAME is one of

    forest           differences in test accuracy to the baseline, with intervals, every seed dotted
    steps            the baseline's accuracy less the loss of each arm in turn, for arms that make one change each
    looks            how far each arm went through planned looks, and how it ended
    two_factor       accuracy by the levels of two factors that a grid crosses, every seed dotted
    main_effects     what each factor of a screening design changes, averaged over the others, every seed dotted
    half_normal      sizes of a screening design's effects against those of chance alone
    cost             test accuracy against multiply-adds, with the Pareto frontier
    learning_curves  validation accuracy by epoch, a thin line per seed, a bold mean per arm
    losses           loss by epoch on training and on validation images, mean over seeds
    reliability      accuracy of the answers of each confidence
    per_class        change in each class's recall from the baseline
    shape_bias       shape bias by category and arm, of studies that were measured (experiments/measure.py)
    reliance         accuracy kept under each change of the test images, likewise
    attention        how much of the Grad-CAM maps lies on objects, likewise
    composites       where they look when they err, on objects put on other classes' images, likewise
    stimuli          where the arms look on cue-conflict stimuli, likewise; as wide as there are arms
    reproduction     test accuracy of the documented study and of each seed, of a study of the documented network alone
    documented_classes  F1 of each class in the documented study and here, likewise
    confusion        what images of each class are answered as, likewise

Reads only what the study left behind, and writes one file; about 3 seconds. Safe while the study runs: cells that are not
finished, or damaged, are left out, and one line says how many and why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import tyro

from ablations.cli import console, known, parse, run_script, share_of_points
from analysis import figures
from analysis.outcomes import Outcomes
from analysis.study_figures import FIGURES
from analysis.study_tables import StudyTables
from analysis.verdicts import MARGIN
from cnnkit.errors import UserError

SUFFIXES = (".pdf", ".png", ".svg")
NARROWEST, WIDEST = 3.0, 20.0  # inches; in less, numbers and names cover each other


@dataclass
class Arguments:
    """The command line."""

    study: tyro.conf.Positional[Path]
    """A study's folder, or a results folder that holds one study."""
    name: tyro.conf.Positional[str]
    """The figure: forest, steps, looks, two_factor, main_effects, half_normal, cost, learning_curves, losses, reliability,
    per_class, shape_bias, reliance, attention, composites, stimuli, reproduction, documented_classes or confusion."""
    width: float = figures.COLUMN
    """In inches; the height follows from the number of arms."""
    out: Path | None = None
    """The file to write, as .pdf, .png (300 dots an inch) or .svg; NAME.pdf by default."""
    margin: float = 100 * MARGIN
    """Differences within so many percentage points count as equivalent."""


def main(arguments: Sequence[str]) -> int:
    """Writes the figure, and says where."""
    args = parse(Arguments, arguments, description=__doc__)
    name = known("figure", args.name, list(FIGURES))
    out = Path(f"{args.name}.pdf") if args.out is None else args.out
    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {out}: a figure is written as {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if not NARROWEST <= args.width <= WIDEST:
        raise UserError(f"--width {args.width:g}: from {NARROWEST:g} to {WIDEST:g} inches")
    study = StudyTables(Outcomes.from_store(args.study), share_of_points("--margin", args.margin))
    mpl.use("agg")  # a file needs no window
    with mpl.rc_context({**figures.STYLE, "figure.figsize": (args.width, 2.4)}):
        try:
            figure = FIGURES[name].draw(study).figure.canvas.figure
        except figures.NothingToDraw as error:
            raise UserError(f"{args.study}: {error}, so there is nothing to draw") from error
        try:
            figure.savefig(out)
        except OSError as error:
            raise UserError(f"cannot write {out}: {error.strerror}") from error
        finally:
            plt.close(figure)
    console().print(f"wrote {out}", markup=False, soft_wrap=True)
    if study.outcomes.left_out:
        console().print(study.outcomes.left_out, markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    run_script(main)
