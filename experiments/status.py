"""How the studies of a results folder stand: cells done, running, failed and missing, measured, time used and needed, disk.

    python experiments/status.py
    python experiments/status.py OTHER_RESULTS

Reads only; takes a second or two. Safe while studies run. Exit code 0: all studies can be read; 1: some cannot, which are named.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from ablations import files
from ablations.cli import console, parse, run_script
from ablations.measure_store import MeasureStore
from ablations.store import WEIGHTS, Store
from ablations.text import FittedTable, Heading, printable
from ablations.units import duration, size
from cnnkit.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Arguments:
    """The command line."""

    results: tyro.conf.Positional[Path] = Path("results")
    """A results folder: what --results of run_ablation.py names."""


UNREADABLE = 1
STATUSES = ("finished", "running", "failed", "diverged", "damaged", "missing")
HEADINGS = (
    Heading("study", "left", 0), Heading("cells", priority=1), Heading("done", priority=1), Heading("running", priority=2),
    Heading("failed", priority=2), Heading("diverged", priority=2), Heading("damaged", priority=2),
    Heading("missing", priority=2), Heading("trained", priority=4), Heading("GPU-hours", priority=5),
    Heading("needed", priority=3),
)  # fmt: skip


def headings(rows: Sequence[Sequence[str]]) -> list[Heading]:
    """Those of the table; where there is little room, a column of nothing but zeros is the first to go."""
    return [
        replace(heading, priority=6)
        if heading.priority and all(row[place] in ("0", "0.0") for row in rows)
        else heading
        for place, heading in enumerate(HEADINGS)
    ]


def needed(cells: "pd.DataFrame") -> str:
    """How long the cells that are not finished will train, at the pace of those that are."""
    done = cells[cells["status"] == "finished"]
    left = cells[cells["status"].isin(["missing", "running", "failed", "damaged"])]
    if left.empty:
        return "nothing"
    if done.empty:
        return "not known yet"
    if cells["work"].isna().any():  # what an arm costs is not known: cells are taken as alike
        return duration(len(left) * done["seconds"].mean())
    return duration(left["work"].sum() * done["seconds"].sum() / done["work"].sum())


def main(arguments: Sequence[str]) -> int:
    """Prints a table, a line a study."""
    args = parse(Arguments, arguments, description=__doc__)
    store = Store(args.results)

    from analysis.outcomes import Outcomes

    out = console()
    out.print(f"{args.results}: {printable(store.about.data_description)}", markup=False, soft_wrap=True)
    rows, unreadable, measured = [], [], []
    for name in store.studies():
        try:
            cells = Outcomes.of_study(store, name).cells
        except UserError as error:
            unreadable.append(str(error))
            continue
        counts = cells["status"].value_counts()
        if taken := MeasureStore(store).counts(cells["key"]):
            of_each = ", ".join(f"{measure} {count}" for measure, count in sorted(taken.items()))
            measured.append(f"{name}: cells measured: {of_each}, of {len(cells)}")
        done = cells[cells["status"] == "finished"]
        seconds = done["seconds"].sum()
        rows.append(
            [
                printable(name),
                str(len(cells)),
                *(str(counts.get(status, 0)) for status in STATUSES),
                duration(seconds),
                f"{(done['seconds'] * done['gpu_share']).sum() / 3600:.1f}",
                needed(cells),
            ]
        )
    if rows or not unreadable:
        out.print(FittedTable(headings(rows), rows))
    for sentence in (*measured, *unreadable):
        out.print(printable(sentence), markup=False, soft_wrap=True)
    used = files.used(args.results.rglob("*"))
    weights = files.used(args.results.glob(f"cells/*/{WEIGHTS}"))
    out.print(
        f"trained and needed: a trial's own time, added up; disk: {size(used, 'B')}, of which weights {size(weights, 'B')}"
    )
    return UNREADABLE if unreadable else 0


if __name__ == "__main__":
    run_script(main)
