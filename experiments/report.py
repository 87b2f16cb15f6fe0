"""Writes a study's report: one HTML page that needs no network, with every table as CSV and LaTeX, every figure as SVG.

    python experiments/report.py results/studies/depth-quick
    python experiments/report.py results/studies/depth-quick --margin 0.5 --out depth-report
    python experiments/report.py results/studies/depth-quick --class cat
    python experiments/report.py results/studies/residual-quick --against "2 convolutions" --out against-2-convolutions

STUDY is a study's folder, or a results folder that holds one study. Reads only what the study left behind, and trains
nothing; about 10 seconds. Safe while the study runs: cells that are not finished are named and left out. `run_ablation.py`
writes the same report at its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import tyro

from ablations.cli import console, names_of, parse, run_script, share_of_points
from analysis import report, tables
from analysis.outcomes import Outcomes
from analysis.study_images import find_images
from analysis.study_tables import StudyTables
from analysis.verdicts import MARGIN
from cnnkit.errors import UserError


@dataclass
class Arguments:
    """The command line."""

    study: tyro.conf.Positional[Path]
    """A study's folder, or a results folder that holds one study."""
    out: Path | None = None
    """A folder for the report, made or replaced; STUDY/report by default."""
    margin: float = 100 * MARGIN
    """Differences within so many percentage points count as equivalent."""
    data: str | None = None
    """A folder with the data set, for the images that the page shows; where the study's commands found it, by default."""
    class_: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """A class, or a group of classes, that gets a test of its own; or several, separated by commas. What was not asked when the
    study was planned (run_ablation.py --class) is labelled so."""
    against: str | None = None
    """An arm that all others are compared with, in the baseline's place; needs --out."""


def main(arguments: Sequence[str]) -> int:
    """Writes the report, and says where."""
    args = parse(Arguments, arguments, description=__doc__)
    margin = share_of_points("--margin", args.margin)
    outcomes = Outcomes.from_store(args.study)
    if args.against is not None:
        if args.out is None:
            raise UserError("--against writes another report than the study's own; give it a folder with --out")
        outcomes = outcomes.against(args.against)
    if args.class_ is not None:
        outcomes = outcomes.asking(*names_of("--class", args.class_))
    assert outcomes.study.folder is not None  # it lies in a results folder
    folder = outcomes.study.folder / report.FOLDER if args.out is None else args.out.resolve()
    report.require_own(folder)
    mpl.use("agg")  # files need no window
    study = StudyTables(outcomes, margin=margin)
    try:
        page = report.write(study, folder, images=find_images(outcomes, args.data))
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from error
    out = console()
    if args.class_ is not None:
        table = tables.class_questions(study.class_questions, baseline=outcomes.baseline.name)
        out.print(table.for_terminal())
    out.print(f"wrote {page}, with its tables (csv, tex) and figures (svg) beside it", markup=False, soft_wrap=True)
    if outcomes.left_out:
        out.print(outcomes.left_out, markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    run_script(main)
