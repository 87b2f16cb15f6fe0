"""How the studies of a results folder stand: cells done, running, failed and missing, time used and needed, disk.

    python experiments/status.py results

Reads only; takes a second or two. Safe while studies run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.table import Table

from ablations.cli import console, parse, run_script
from ablations.store import Store
from ablations.units import duration, size
from cnnkit.errors import UserError


@dataclass
class Arguments:
    """The command line."""

    results: tyro.conf.Positional[Path]
    """A results folder."""


def main(arguments: Sequence[str]) -> int:
    """Prints a table, a line a study."""
    args = parse(Arguments, arguments, description=__doc__)
    store = Store(args.results)

    from analysis.results import load

    out = console()
    out.print(f"{args.results}: {store.about.data_description}", markup=False, soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("study", no_wrap=True)
    columns = ("cells", "done", "running", "failed", "diverged", "damaged", "missing", "trained", "GPU-hours", "needed")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    unreadable = []
    for name in store.studies():
        try:
            trials = load(args.results, name).trials
        except UserError as error:
            unreadable.append(str(error))
            continue
        counts = trials["status"].value_counts()
        done = trials[trials["status"] == "finished"]
        left = trials[trials["status"].isin(["missing", "running", "failed"])]
        seconds = done["seconds"].sum() if len(done) else 0.0
        gpu_hours = (done["seconds"] * done["gpu_share"]).sum() / 3600 if len(done) else 0.0
        # The pace of what is done, in multiply-adds of a whole trial a second.
        needed = "not known yet" if len(left) else "nothing"
        if len(left) and seconds:
            needed = duration(left["work"].sum() * seconds / done["work"].sum())
        table.add_row(
            name,
            str(len(trials)),
            *(
                str(counts.get(status, 0))
                for status in ("finished", "running", "failed", "diverged", "damaged", "missing")
            ),
            duration(seconds),
            f"{gpu_hours:.1f}",
            needed,
        )
    out.print(table)
    for sentence in unreadable:
        out.print(sentence, markup=False, soft_wrap=True)
    used = sum(file.stat().st_size for file in args.results.rglob("*") if file.is_file())
    weights = sum(file.stat().st_size for file in args.results.glob("cells/*/weights.safetensors"))
    out.print(
        f"trained and needed: a trial's own time, added up; disk: {size(used, 'B')}, of which weights {size(weights, 'B')}"
    )
    return 0


if __name__ == "__main__":
    run_script(main)
