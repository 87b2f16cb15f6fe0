"""Asks a study's trained networks what they rely on and where they look, and prints the tables.

    python experiments/measure.py results/studies/depth-quick --data PATH
    python experiments/measure.py results/studies/depth-quick --only shape_bias --stimuli FOLDER

Measures: shape_bias (245 packaged cue-conflict stimuli), reliance (accuracy kept under eight changes of test images),
attention (how much of a Grad-CAM map lies on the stimuli's objects), composites (objects on other classes' images). What
they find is kept with the results: a cell that was measured costs nothing again. At 64 pixels a cell takes about half a
minute on one core. Exit code 0: all finished cells are measured; 1: some are not, which are named; 2: bad input.
"""

from ablations.interruption import interrupts_end_quietly

if __name__ == "__main__":
    interrupts_end_quietly()  # before the imports, which take a while

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from ablations.cli import SOME_FAILED, console, known, parse, run_script
from ablations.store import Store
from ablations.units import duration
from analysis import measured
from analysis.outcomes import Outcomes
from analysis.reliance import IMAGES
from analysis.stimuli import read_stimuli
from cnnkit.data import load
from cnnkit.errors import UserError

NAMES = ("shape_bias", "reliance", "attention", "composites")


@dataclass
class Arguments:
    """The command line."""

    study: tyro.conf.Positional[Path]
    """A study's folder, or a results folder that holds one study."""
    only: tuple[str, ...] = NAMES
    """Which measures to take."""
    data: str = "auto"
    """The data that the study was trained on, as for run_ablation.py."""
    stimuli: Path | None = None
    """A folder of cue-conflict stimuli in the public layout; by default the packaged ones."""
    images: int = IMAGES
    """Test images for reliance, equally many of each class."""
    device: str = "auto"
    """cpu or cuda; auto takes a GPU where there is one."""


def main(arguments: Sequence[str]) -> int:
    """Measures what is missing, and prints a table a measure."""
    args = parse(Arguments, arguments, description=__doc__)
    names = [known("measure", name, list(NAMES)) for name in args.only]
    folder = Outcomes.from_store(args.study).study.folder
    assert folder is not None  # it lies in a results folder
    store = Store(folder.parent.parent)
    study = store.study(folder.name)
    assert study is not None
    data = load(args.data)
    if data.fingerprint != study.data.fingerprint:
        raise UserError(
            f"{args.study} was trained on other data ({study.data.text}), not on {data.describe()}; give --data that data"
        )
    stimuli = read_stimuli(args.stimuli)
    out = console()
    if stimuli.remark:
        out.print(f"stimuli: {stimuli.remark}", markup=False, soft_wrap=True)
    from analysis.measures import Images, ready

    asked = data.test.subset(args.images, "--images")
    images = Images(asked.images, asked.labels, study.data.classes, data.fingerprint)
    measures = ready(names, stimuli, images)

    import torch

    from ablations.measuring import Advance, measure_study

    def say(advance: Advance) -> None:
        left = f"; about {duration(advance.seconds_left)} left" if advance.done < advance.total else ""
        took = duration(advance.seconds)
        out.print(f"[{advance.done}/{advance.total}] {advance.cell}: {took}{left}", markup=False, soft_wrap=True)

    device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    result = measure_study(store, study, measures, device=device, search_paths=(str(Path.cwd()),), on_advance=say)
    for sentence in result.lacking:
        out.print(f"not measured: {sentence}", markup=False, soft_wrap=True)
    baseline = study.baseline.name
    for name, measure in zip(names, measures, strict=True):
        found = measured.read(store, study, measure.name).found
        if not found[baseline]:
            out.print(f"\n{name}: no finished cell of the baseline is measured", markup=False)
            continue
        table = measure.table(found, study.data.classes, baseline=baseline)
        table = table.drop(columns=["is_baseline", "p_value"], errors="ignore")
        out.print(
            f"\n{name}\n{table.to_string(index=False, na_rep='', float_format='{:.3f}'.format)}",
            markup=False,
            soft_wrap=True,
        )
    return SOME_FAILED if result.lacking else 0


if __name__ == "__main__":
    run_script(main)
