"""Compares runs of anybody's training loop: effects with intervals, figures and a page, from a table of results.

    python experiments/compare.py predictions.parquet --baseline plain
    python experiments/compare.py runs.csv --baseline resnet18 --value-column test_acc
    python experiments/compare.py wandb_export.csv --baseline "lr 0.1, depth 18" --arm-column lr depth --value-column val_loss
    python experiments/compare.py logits/ --baseline plain --classes cat dog ship

TABLE is CSV (comma, semicolon or tab; packed or not) or Parquet, with

    one row a prediction    arm, seed, image, label, and prediction or correct (1 or 0)
    one row a run           arm, seed, and the value of a metric; of tables with steps the last of each run counts

or a folder of logits: FOLDER/ARM/seed-0.npz (or .safetensors) with logits (images, classes) and labels (images,). Columns with
usual names are found, and what was found is printed. Predictions carry intervals for new seeds and new test images, classes and
confusions; one number a run carries intervals for new seeds on this test set only. Runs pair by seed where arms share seeds;
else they are compared as independent ones, whose intervals are mostly wider.

Writes OUT/report.html, with its tables (csv, tex) and figures (svg) beside it. A million predictions take a few seconds.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import tyro

from ablations.cli import console, parse, run_script
from analysis import report, tables
from analysis.effects import remarks
from analysis.frames import Options, named_columns
from analysis.logit_files import read_folder
from analysis.outcomes import Outcomes
from analysis.study_tables import StudyTables
from analysis.table_files import read_file
from cnnkit.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class Arguments:
    """The command line."""

    table: tyro.conf.Positional[Path]
    """CSV or Parquet, or a folder of logits."""
    baseline: str
    """The arm that the others are compared with."""
    out: Path | None = None
    """A folder for the report, made, or replaced where it holds one of this script's; ./NAME-comparison by default."""
    against: str | None = None
    """An arm that all others are compared with, in the baseline's place."""
    margin: float | None = None
    """Differences within it count as equivalent: percentage points for accuracies (1 by default), else the metric's unit (none by
    default)."""
    arm_column: tuple[str, ...] = ()
    """What is compared; of several columns, each combination of values is an arm."""
    seed_column: str | None = None
    """Which runs of two arms belong together."""
    image_column: str | None = None
    """Which test image a row is about."""
    label_column: str | None = None
    """The image's class."""
    prediction_column: str | None = None
    """The class that the network answers."""
    correct_column: str | None = None
    """Whether it is right."""
    value_column: str | None = None
    """The metric, of a table with one row a run."""
    group_column: str | None = None
    """Test images that belong together, such as the video that a frame is from."""
    step_column: str | None = None
    """Of a table with several rows a run: the last counts."""
    status_column: str | None = None
    """Whether a run has finished."""
    tag_column: str | None = None
    """Which metric a row has, of a table with several."""
    only: str | None = None
    """The metric, of a table that has a row for each of several."""
    unit: str | None = None
    """Of the metric; %: percentages."""
    lower_is_better: bool = False
    """For losses and errors."""
    higher_is_better: bool = False
    """Where the metric's name tells otherwise."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of their numbers."""
    unpaired: bool = False
    """Compare runs as independent ones, though they have seeds in common."""


def main(arguments: Sequence[str]) -> int:
    """Reads the table, says how it was taken, and prints and writes what follows from it."""
    args = parse(Arguments, arguments, description=__doc__)
    folder = Path(f"{args.table.stem or args.table.resolve().name}-comparison") if args.out is None else args.out
    report.require_own(folder.resolve())
    if (folder.resolve().parent / "study.json").is_file():
        raise UserError(f"--out {folder} is the place of that study's own report; give another folder")
    outcomes = read(args)
    if args.against is not None:
        outcomes = outcomes.against(args.against)
    study = StudyTables(outcomes, margin_of(args, outcomes))
    out = console()
    describe(study, out)
    mpl.use("agg")  # files need no window
    try:
        page = report.write(study, folder.resolve(), images="a table holds none")
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from error
    out.print(f"\nreport: {page}, with its tables (csv, tex) and figures (svg) beside it", markup=False, soft_wrap=True)
    return 0


def read(args: Arguments) -> Outcomes:
    """The outcomes of the table or the folder."""
    if args.lower_is_better and args.higher_is_better:
        raise UserError("--lower-is-better and --higher-is-better exclude each other; give one")
    options = options_of(args)
    path = args.table
    name = path.resolve().name if path.is_dir() else path.name.partition(".")[0]
    if not path.is_dir():
        file = read_file(path, named_columns(options))
        outcomes = Outcomes.from_frame(
            file.table, baseline=args.baseline, name=name, source=f"the table {path.name}", **options
        )
        return with_notes(outcomes, *file.notes, *outcomes.study.notes, fingerprint=f"SHA-256 {fingerprint(path)}")
    files = read_folder(path)
    if files.classes is not None:
        options["classes"] = options.get("classes") or tuple(map(str, range(files.classes)))
        if len(options["classes"] or ()) != files.classes:
            raise UserError(
                f"--classes names {len(options['classes'] or ())} classes, and the logits have {files.classes}"
            )
    options |= {"arm": "arm", "seed": "seed", "image": "image", "label": "label", "prediction": "prediction"}
    source = f"the folder {name}"
    outcomes = Outcomes.from_frame(files.table, baseline=args.baseline, name=name, source=source, **options)
    if files.classes is not None:
        outcomes = replace(outcomes, read_logits=lambda arm, seed, part: files.read(arm, seed))
    return with_notes(outcomes, *files.notes)


def options_of(args: Arguments) -> Options:
    """What the command line says of the table."""
    options: Options = {"paired": not args.unpaired}
    if args.arm_column:
        options["arm"] = args.arm_column
    for role in ("seed", "image", "label", "prediction", "correct", "value", "group", "step", "status", "tag"):
        column = getattr(args, f"{role}_column")
        if column is not None:
            options[role] = column
    if args.only is not None:
        options["only"] = args.only
    if args.unit is not None:
        options["unit"] = args.unit
    if args.lower_is_better or args.higher_is_better:
        options["lower_is_better"] = args.lower_is_better
    if args.classes:
        options["classes"] = args.classes
    return options


def with_notes(outcomes: Outcomes, *notes: str, fingerprint: str = "") -> Outcomes:
    """With these notes on how it was read."""
    return replace(outcomes, study=replace(outcomes.study, notes=notes, fingerprint=fingerprint))


def fingerprint(path: Path) -> str:
    """The first 12 digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def margin_of(args: Arguments, outcomes: Outcomes) -> float:
    """As results are held."""
    metric = outcomes.metric
    if args.margin is None:
        return metric.margin
    if not args.margin > 0 or (metric.is_share and args.margin >= 100):
        what = "percentage points, above 0 and below 100" if metric.is_share else "a difference above 0"
        raise UserError(f"--margin {args.margin:g}: give {what}")
    return args.margin / metric.scale


def describe(study: StudyTables, out: "Console") -> None:
    """How the table was taken, the table of effects, and what it says and does not say."""
    outcomes = study.outcomes
    for note in outcomes.study.notes:
        out.print(note, markup=False, soft_wrap=True)
    out.print()
    crossed = [] if study.factor_effects.empty else [tables.factors(study.factor_effects)]
    for table in (tables.effects_of(study), *crossed):
        out.print(table.for_terminal())
        out.print()
    for sentence in filter(None, study.effects["sentence"]):
        out.print(sentence, markup=False, soft_wrap=True)
    for note in [*remarks(study.effects), *outcomes.remarks]:
        out.print(note, markup=False, soft_wrap=True)


if __name__ == "__main__":
    run_script(main)
