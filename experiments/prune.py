"""Frees disk in a results folder: the weights of finished cells, and what killed processes left.

    python experiments/prune.py results --dry-run
    python experiments/prune.py results

Accuracies, logits, learning curves and what measures found stay, and so do all tables. Pictures of attention, and measures
that were not taken, need the weights: run experiments/measure.py before. Checkpoints of cells that nobody trains any more go
with --checkpoints.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from ablations import files
from ablations.cli import console, parse, run_script
from ablations.measure_store import MeasureStore
from ablations.store import WEIGHTS, Store
from ablations.units import size


@dataclass
class Arguments:
    """The command line."""

    results: tyro.conf.Positional[Path]
    """A results folder."""
    dry_run: bool = False
    """Say what would be freed, and stop."""
    checkpoints: bool = False
    """Also remove the checkpoints of unfinished cells that no process is training: they would start anew."""


def main(arguments: Sequence[str]) -> int:
    """Prints what is freed."""
    args = parse(Arguments, arguments, description=__doc__)
    store, out = Store(args.results), console()
    weights = [store.cell_folder(key) / WEIGHTS for key in store.finished_keys()]
    weights = [file for file in weights if file.is_file()]
    idle = [
        store.root / "unfinished" / key
        for key in store.unfinished_keys()
        if args.checkpoints and not store.is_claimed(key)
    ]
    freed = files.used([*weights, *(file for folder in idle for file in folder.rglob("*"))])
    what = f"weights of {len(weights)} cells" + (f", checkpoints of {len(idle)} unfinished cells" if idle else "")
    for sentence in about_measures(store):
        out.print(sentence, markup=False, soft_wrap=True)
    if args.dry_run:
        out.print(f"would free {size(freed, 'B')}: {what}")
        return 0
    store.remove_left_overs()
    with files.one_sentence_errors(store.root):
        for file in weights:
            file.unlink(missing_ok=True)
    for folder in idle:
        shutil.rmtree(folder, ignore_errors=True)
    out.print(f"freed {size(freed, 'B')}: {what}")
    return 0


def about_measures(store: Store) -> list[str]:
    """What stays of measures, and what cannot be measured any more without weights."""
    kept = MeasureStore(store)
    finished = list(store.finished_keys())
    found = [file for key in finished for file in kept.files(key)]
    measured = {file.parent.name for file in found}
    bare = sum(key not in measured for key in finished if (store.cell_folder(key) / WEIGHTS).is_file())
    said = []
    if found:
        said.append(f"measures of {len(measured)} cells stay ({size(files.used(found), 'B')})")
    if bare:
        said.append(
            f"{bare} cells have weights and no measures, which experiments/measure.py takes as long as weights are there"
        )
    return said


if __name__ == "__main__":
    run_script(main)
