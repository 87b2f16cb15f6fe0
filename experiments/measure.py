"""Asks a study's trained networks what they rely on and where they look, and prints the tables.

    python experiments/measure.py results/studies/depth-quick --data PATH
    python experiments/measure.py results/studies/depth-quick --only shape_bias --stimuli FOLDER
    python experiments/measure.py results/studies/depth-quick --list

run_ablation.py does so at its end; this is for studies of before, for other stimuli, and to see the tables. What is found is
kept with the results: a cell that was measured costs nothing again. Networks are asked with their trained and, but for
reliance, with their random weights. At 64 pixels a cell takes 10 to 15 s on one core; where
more than a minute is left, cells are measured side by side on all cores or GPUs, or on a Ray cluster. Exit code 0: all
finished cells are measured; 1: some are not, which are named; 2: bad input; 130: interrupted.
"""

from ablations.interruption import interrupts_end_quietly

if __name__ == "__main__":
    interrupts_end_quietly()  # before the imports, which take a while

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from ablations.cli import INTERRUPTED, SOME_FAILED, console, folders_of_code, known, parse, run_script
from ablations.measure_store import MeasureStore, plain_name
from ablations.record import Study
from ablations.resources import Machine
from ablations.store import Store
from analysis import measured
from analysis.outcomes import Outcomes
from analysis.stimuli import read_stimuli
from cnnkit.data import load
from cnnkit.errors import UserError
from cnnkit.search_paths import add_search_paths

if TYPE_CHECKING:
    from rich.console import Console

    from analysis.measures import Asked

ABOUT = {
    "shape_bias": "whether shape or texture decides, of stimuli that have the shape of one thing and the texture of another",
    "reliance": "accuracy kept when one kind of information is taken from the test images, eight ways",
    "attention": "how much of a Grad-CAM map lies on the stimuli's objects",
    "composites": "the same of objects on other classes' images, and what errors have to do with it",
}


@dataclass
class Arguments:
    """The command line."""

    study: tyro.conf.Positional[Path]
    """A study's folder, or a results folder that holds one study."""
    only: tuple[str, ...] = tuple(ABOUT)
    """Which measures to take."""
    list: bool = False
    """Say which measures there are, and how many cells of the study have them, and stop."""
    data: str = "auto"
    """The data that the study was trained on, as for run_ablation.py."""
    stimuli: Path | None = None
    """A folder of cue-conflict stimuli in the public layout; by default the packaged ones."""
    images: int | None = None
    """Test images for reliance, of each class its share; by default 2,000."""
    code: Path | None = None
    """The folder of a network of your own, where that is not the current one."""
    device: str = "auto"
    """cpu or cuda; auto takes GPUs where there are some."""
    address: str | None = None
    """Address of a Ray cluster to measure on, such as auto or 10.0.0.1:6379; its nodes need not see the results folder."""


def main(arguments: Sequence[str]) -> int:
    """Measures what is missing, and prints a table a measure."""
    args = parse(Arguments, arguments, description=__doc__)
    names = [known("measure", name, [*ABOUT]) for name in args.only]
    known("device", args.device, ["auto", "cpu", "cuda"])
    store, study = opened(args.study)
    out = console()
    if args.list:
        describe(store, study, out)
        return 0
    add_search_paths(folders_of_code(args.code))
    data = load(args.data, options=study.data.options)
    if data.fingerprint != study.data.fingerprint:
        found = "which is not in the usual places" if args.data == "auto" else f"not on {data.describe()}"
        raise UserError(f"{args.study} was trained on other data ({study.data.text}), {found}; give --data that data")
    stimuli = read_stimuli(args.stimuli)
    if stimuli.remark:
        out.print(f"stimuli: {stimuli.remark}", markup=False, soft_wrap=True)
    from analysis.measures import Images, ready_as_far_as_possible

    images = Images.of(data.subset(train=study.split.train), args.images)
    measures, left_out = ready_as_far_as_possible(names, stimuli, images)
    if not measures:
        raise UserError("; ".join(left_out))
    for sentence in left_out:
        out.print(sentence, markup=False, soft_wrap=True)

    from ablations.side_by_side import Where, take_measures

    device = None if args.device == "auto" else args.device
    where = Where(Machine.this(), args.address, device, search_paths=folders_of_code(args.code))
    result = take_measures(store, study, measures, where, out)
    if result.interrupted:
        out.print("stopped early; the same command goes on", markup=False)
        return INTERRUPTED
    for measure in measures:
        report(measure, store, study, out)
    return SOME_FAILED if result.lacking or left_out else 0


def opened(folder: Path) -> tuple[Store, Study]:
    """The results folder and the manifest of the study."""
    inside = Outcomes.from_store(folder).study.folder
    assert inside is not None  # it lies in a results folder
    store = Store(inside.parent.parent)
    study = store.study(inside.name)
    assert study is not None
    return store, study


def describe(store: Store, study: Study, out: "Console") -> None:
    """The measures, and how many cells of the study have each."""
    counts = MeasureStore(store).counts(cell.key for cell in study.cells)
    for name, about in ABOUT.items():
        have = f"{counts.get(name, 0)} of {len(study.cells)} cells"
        out.print(f"{name}: {about} ({have})", markup=False, soft_wrap=True)


def report(measure: "Asked", store: Store, study: Study, out: "Console") -> None:
    """A measure's tables; of shape bias also what other ways of asking give."""
    from analysis.measures import ShapeBias

    name, baseline, classes = plain_name(measure.name), study.baseline.name, study.data.classes
    found = measured.read(store, study, measure.name)
    if not found.found[baseline]:
        out.print(f"\n{name}: no finished cell of the baseline is measured", markup=False)
        return
    try:
        tables = {name: measure.table(found, classes, baseline=baseline)}
        if isinstance(measure, ShapeBias):
            others = measure.other_tables(found, classes, baseline=baseline)
            tables |= {f"{name}, {way}": table for way, table in others.items()}
    except ValueError as error:  # stimuli of somebody's own that are too few for an interval
        out.print(f"\n{name}: {error}", markup=False, soft_wrap=True)
        return
    for title, table in tables.items():
        table = table.drop(columns=["is_baseline", "p_value"], errors="ignore")
        text = table.to_string(index=False, na_rep="", float_format="{:.3f}".format)
        out.print(f"\n{title}\n{text}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    run_script(main)
