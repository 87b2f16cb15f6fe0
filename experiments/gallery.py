"""Shows where a study's networks look: sheets of images down and arms across, as PNG, and a table of all that they show.

    python experiments/gallery.py results/studies/depth-quick --classes cat
    python experiments/gallery.py results/studies/depth-quick --pick lost --images 64 --seeds 0 1 2
    python experiments/gallery.py results/studies/depth-quick --folder my_photos --cam layercam

Each cell has the image with the Grad-CAM map of what the network answers (or of the true class), its answer, the answer's
probability, and whether it is right. All cells have one colour scale, the map over its own mean. Writes sheet-001.png and so on,
gallery.csv, and what the study's page shows of it image by image. 64 images and 5 arms at 64 pixels take about 20 seconds on one
core. Networks whose weights are missing are named and left out. Exit code 0: all that was asked for is shown; 1: some is missing,
and named; 2: bad input.

picks:
    flips             right in the baseline and wrong in another arm, or the other way round, in half the seeds
    lost, gained      of these, those that the other arm loses or gains
    confident-errors  wrong with the highest probability
    typical           of their class, nearest to the median probability of the true class
    random            any
"""

from ablations.interruption import interrupts_end_quietly

if __name__ == "__main__":
    interrupts_end_quietly()  # before the imports, which take a while

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import tyro

from ablations.cli import SOME_FAILED, console, folders_of_code, known, parse, run_script
from ablations.store import Store
from ablations.units import counted
from analysis.outcomes import Outcomes
from analysis.picking import MEANINGS, Pick, picked
from cnnkit.errors import UserError


@dataclass
class Arguments:
    """The command line."""

    study: tyro.conf.Positional[Path]
    """A study's folder, or a results folder that holds one study."""
    classes: tuple[str, ...] = ()
    """Images of these classes only."""
    pick: str = "flips"
    """Which test images: see above."""
    images: int = 24
    """How many images at most."""
    target: str = "predicted"
    """What maps explain: predicted, each network's own answer, or true, the true class."""
    cam: str = "gradcam"
    """The method: gradcam, gradcam++, layercam, hirescam or eigencam."""
    layer: str | None = None
    """The module whose output is explained, for networks of your own; by default the last map before the classifier."""
    folder: Path | None = None
    """Pictures of your own in the place of test images; in a folder that is called like a class, they show that class."""
    arms: tuple[str, ...] = ()
    """Arms to show; by default all."""
    seeds: tuple[int, ...] = ()
    """Seeds to show of each arm; by default the first."""
    data: str | None = None
    """The folder of the data that the study was trained on; by default what its commands named, and the usual places."""
    code: Path | None = None
    """The folder of a network of your own, where that is not the current one."""
    device: str = "auto"
    """cpu or cuda; auto takes a GPU where there is one."""
    out: Path | None = None
    """A folder for the sheets; STUDY/gallery by default."""


def main(arguments: Sequence[str]) -> int:
    """Writes the gallery, and says where."""
    args = parse(Arguments, arguments, description=__doc__)
    outcomes = Outcomes.from_store(args.study)
    folder = outcomes.study.folder
    assert folder is not None  # it lies in a results folder
    out = folder / "gallery" if args.out is None else args.out
    _check(args, outcomes, out)

    import matplotlib as mpl

    mpl.use("agg")  # files need no window
    import torch

    from analysis import gallery
    from analysis.gradcam import METHODS

    pick = next(one for one in get_args(Pick) if one == known("pick", args.pick, list(MEANINGS)))
    method = next(one for one in METHODS if one == known("method", args.cam, list(METHODS)))
    target = next(one for one in get_args(gallery.Target) if one == known("target", args.target, ["predicted", "true"]))
    store = Store(folder.parent.parent)
    study = store.study(folder.name)
    assert study is not None
    arms = args.arms or tuple(arm.name for arm in outcomes.arms)
    skipped: list[str] = []
    say = console()
    if args.folder is not None:
        files = gallery.files_in(args.folder)[: args.images]
        of_data = study.data
        subjects: Iterable[gallery.Subject] = gallery.photos(
            files, size=of_data.image_size, channels=of_data.channels, classes=outcomes.classes, skipped=skipped
        )
        what = f"Pictures of {args.folder.name}"
    else:
        from analysis.study_images import find_images

        images = find_images(outcomes, args.data)
        places = picked(outcomes, pick, images=args.images, arms=args.arms, classes=args.classes)
        subjects, what = gallery.of_test_images(outcomes, images, places), f"Test images: {MEANINGS[pick]}"
        if len(places) < args.images:
            few = counted(len(places), "image")
            say.print(
                f"only {few} {'is' if len(places) == 1 else 'are'} {MEANINGS[pick]}", markup=False, soft_wrap=True
            )
    device = ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    seeds = args.seeds or outcomes.seeds[:1]
    wanted = [(arm, seed) for arm in arms for seed in seeds]
    cells, missing = gallery.trained_cells(store, study, wanted, device=device, search_paths=folders_of_code(args.code))
    for sentence in missing:
        say.print(f"not shown: {sentence}", markup=False, soft_wrap=True)
    if not cells:
        raise UserError(f"{args.study}: no network of these arms and seeds can be loaded, so there is nothing to show")
    caption = (
        f"{what}. Each cell: the image in grey under the {args.cam} map of "
        f"{'what the network answers' if target == 'predicted' else 'the true class'}, then the answer, its probability, and "
        "whether it is right. A square is a position of the map."
    )
    made = gallery.pages(subjects, cells, outcomes.classes, target=target, method=method, layer=args.layer)
    try:
        table, sheets = gallery.write(made, out, title=f"{study.name}: where networks look", caption=caption)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error
    for line in skipped:
        say.print(f"left out: {line}", markup=False, soft_wrap=True)
    frame = gallery.summary(table)
    say.print(frame.to_string(index=False, na_rep="", float_format="{:.2f}".format), markup=False, soft_wrap=True)
    say.print(
        "overlap: how much of a map lies where the baseline's does, mean of images, 0 to 1, at the coarsest map's resolution",
        markup=False,
        soft_wrap=True,
    )
    say.print(f"wrote {counted(sheets, 'sheet')} and gallery.csv to {out}", markup=False, soft_wrap=True)
    return SOME_FAILED if missing or skipped else 0


def _check(args: Arguments, outcomes: Outcomes, out: Path) -> None:
    """Raises: UserError: what the command line names is not there, or the folder for the sheets holds other things."""
    for name in args.classes:
        known("class", name, list(outcomes.classes))
    for name in args.arms:
        known("arm", name, [arm.name for arm in outcomes.arms])
    for seed in args.seeds:
        if seed not in outcomes.seeds:
            raise UserError(f"--seeds {seed}: the study has {', '.join(map(str, outcomes.seeds))}")
    if args.images < 1:
        raise UserError(f"--images {args.images}: give at least one")
    if args.folder is not None and args.classes:
        raise UserError(
            "--classes choose among test images; with --folder, give a folder of the pictures that you want"
        )
    if args.device not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {args.device}: cpu, cuda or auto")
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "gallery.csv").is_file())):
        raise UserError(f"--out {out} holds something that is not a gallery; give a new folder")


if __name__ == "__main__":
    run_script(main)
