"""Hands a study's curves, hyperparameters and final numbers to other tools.

    python experiments/export.py results/studies/depth-quick --to tensorboard
    python experiments/export.py results/studies/depth-quick --to csv --out depth-csv

STUDY is a study's folder, or a results folder that holds one study. `tensorboard` writes a run for each finished cell, with its
learning curve, what its arm is, and its final numbers, to be seen with `tensorboard --logdir FOLDER`. `csv` writes curves.csv (a
row an epoch) and cells.csv (a row a cell, whether finished or not, with what its arm is). Reads only what the study left behind;
seconds. Safe while the study runs: run it again, and what is there is replaced.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from ablations.cli import console, parse, run_script
from analysis import export
from analysis.outcomes import Outcomes
from cnnkit.errors import UserError


@dataclass
class Arguments:
    """The command line."""

    study: tyro.conf.Positional[Path]
    """A study's folder, or a results folder that holds one study."""
    to: Literal["tensorboard", "csv"]
    """What to write."""
    out: Path | None = None
    """A folder for it, new or of an earlier export; STUDY/tensorboard or STUDY/csv by default."""


def main(arguments: Sequence[str]) -> int:
    """Writes the files, and says where."""
    args = parse(Arguments, arguments, description=__doc__)
    outcomes = Outcomes.from_store(args.study)
    assert outcomes.study.folder is not None  # it lies in a results folder
    folder = outcomes.study.folder / args.to if args.out is None else args.out.resolve()
    if folder.exists() and not export.may_replace(folder):
        raise UserError(f"--out {folder} holds something that is not an export; give a new folder")
    try:
        {"tensorboard": export.to_tensorboard, "csv": export.to_csv}[args.to](outcomes, folder)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error
    finished, cells, out = len(outcomes.finished), len(outcomes.cells), console()
    out.print(f"wrote {finished} of {cells} cells, those that are finished, to {folder}", markup=False, soft_wrap=True)
    if outcomes.left_out:
        out.print(outcomes.left_out, markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    run_script(main)
