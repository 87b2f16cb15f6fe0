"""Trains every arm of a grid over several seeds and compares each arm with the baseline.

    python experiments/run_ablation.py --grid depth
    python experiments/run_ablation.py --grid depth --protocol quick --data PATH --seeds 5 --recipe.epochs 10
    python experiments/run_ablation.py --grid my_grid.yaml --dry-run

Writes one record a finished cell under --results, and the table as CSV. A finished cell is never trained again: the same
command after an interruption trains what is missing, more seeds or another grid only what is new. Exit code 0: all cells
finished; 1: some failed; 2: bad input; 3: the budget was over first; 130: interrupted.
"""

from ablations.interruption import interrupts_end_quietly

if __name__ == "__main__":
    interrupts_end_quietly()  # before the imports, which take a while

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ablations.cli import INTERRUPTED, OUT_OF_TIME, SOME_FAILED, console, known, names_of, parse, run_script
from ablations.grid_files import is_grid_file
from ablations.grids import GRIDS
from ablations.protocols import PROTOCOLS, Protocol, Split
from ablations.resources import gpu_is_visible
from ablations.text import wrapped
from ablations.units import counted, duration, seconds_of
from ablations.yaml_text import read_yaml, values_of
from cnnkit.description import DataOptions
from cnnkit.errors import UserError
from cnnkit.recipe import Recipe
from cnnkit.spec import ConvNetSpec, ModuleSpec

if TYPE_CHECKING:
    from rich.console import Console

    from ablations.plan import Plan
    from ablations.running import PreparedStudy
    from ablations.study import Outcome
    from analysis.looks import PlannedLooks
    from cnnkit.images import Data


LARGEST_SIZE = 4096
"""Pixels along a side of stored images."""


@dataclass
class Arguments:
    """The command line; the defaults of spec, recipe and split are the protocol's."""

    grid: str
    """Which grid of arms to train: one of those listed above, or a YAML or Python file."""
    protocol: str
    """documented, quick or smoke (described above); documented where a GPU is visible and the data are CIFAR-10, else quick."""
    spec: ConvNetSpec
    recipe: Recipe
    split: Split
    data: str = "auto"
    """A folder of images (CIFAR-10, CIFAR-100 or MNIST as they are downloaded, Parquet files with images, or a folder of
    pictures for each class); torchvision:NAME, which is downloaded; MODULE:FUNCTION, a function that returns images; sample, the
    packaged sample of CIFAR-10; or auto: all of CIFAR-10 where it is found or can be downloaded, else the sample."""
    data_size: int | None = None
    """Height and width at which images are stored, in pixels: the short side is scaled to it, and the middle cut out. By default
    pictures are stored at the size that the network takes, or their own where that is smaller."""
    data_columns: str | None = None
    """IMAGE,LABEL: the columns of Parquet files that hold images and classes, where that is not clear; or LABEL alone, such as
    coarse_label."""
    data_groups: str | None = None
    """Classes that are also looked at together: a YAML file, or YAML such as "{vehicles: [ship, truck], animals: [cat, dog]}"."""
    drop_duplicates: bool = False
    """Leave out images that stand in another part, too, and copies within a part."""
    results: Path = Path("results")
    """Where records go; one folder holds many studies of the same data."""
    seeds: str = "3"
    """N: seeds of each arm, 0 to N-1; more seeds later train only the new ones. Or rising numbers such as 3,5,10: planned
    looks, after each of which the arms stop that are settled, or unlikely to be."""
    variance: Literal["own", "moderated"] = "own"
    """Whether an arm's variance over seeds is its own, or borrows from the other arms' (at least 8); not to be changed once
    there are results."""
    class_: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """A class, or a group of classes, that gets a test of its own, such as cat; or several, separated by commas. The study
    keeps it, and when it was asked: before there are results, or later."""
    budget: str | None = None
    """Time such as 2h, 90m, 45min or 1h30m: no cell is started that would end later; the tables hold as they are."""
    dry_run: bool = False
    """Say what would be trained and what each arm costs, and stop."""
    gpu_fraction: str = "auto"
    """Share of a GPU for each trial: auto measures each arm's memory need; or a number above 0, at most 1."""
    cuda_graphs: bool = False
    """On GPUs, launch all kernels of an update together: faster where images are small; trained numbers are the same."""
    address: str | None = None
    """Address of a Ray cluster to join, such as auto or 10.0.0.1:6379; its nodes need not see the results folder."""
    shard: str | None = None
    """I/N: train only the I-th of N parts of the cells, on machines that share no Ray; copy the results together."""
    tune: str | None = None
    """FIELD=VALUE,VALUE: every seed of each arm chooses a field of the recipe for itself, by its validation accuracy; all values
    are trained with every seed, and the intervals hold for arms that are tuned so."""
    tune_once: bool = False
    """Choose once for each arm, on a seed of its own: fewer cells, and intervals for the values so chosen alone."""
    keep_weights: Literal["all", "none"] = "all"
    """Whether records keep the trained weights, which pictures of attention and further measures need."""
    measures: bool = True
    """At the end, ask the trained networks what they rely on and where they look, as experiments/measure.py does. It takes
    about a fifth of the time that training took; smoke does without unless it is asked for."""
    retry_diverged: bool = False
    """Train cells again whose loss became NaN; otherwise they stay recorded as diverged."""
    baseline: str | None = None
    """A network of your own as the baseline: MODULE:FUNCTION of a file in this folder, timm:NAME or torchvision:NAME. Grids vary
    its arguments where it has such."""
    baseline_arguments: str | None = None
    """Its keyword arguments, such as "{width: 32, dropout: 0.1}"."""
    network: str | None = None
    """For --grid transfer: the architecture that is pretrained, such as timm:resnet18."""
    weights: str | None = None
    """For --grid transfer: a file of weights for --network (safetensors, a state dict); left out, published ones are fetched."""


def value_of(option: str, arguments: Sequence[str]) -> str | None:
    """What the command line gives for `option`, before it is parsed as a whole: the protocol sets the other defaults."""
    for i, argument in enumerate(arguments):
        if argument == option and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(option + "="):
            return argument.removeprefix(option + "=")
    return None


def read_arguments(arguments: Sequence[str]) -> tuple[Arguments, Protocol, str]:
    """The command line, the protocol with its changes, and why that protocol was chosen."""
    asked = value_of("--protocol", arguments)
    if asked is not None:
        name, why = known("protocol", asked, list(PROTOCOLS)), "as asked"
    elif gpu_is_visible():
        from cnnkit.data import is_documented

        documented = is_documented(value_of("--data", arguments) or "auto")
        name, why = ("documented", "a GPU is visible") if documented else ("quick", "these are not the documented data")
    else:
        name, why = "quick", "no GPU is visible"
    protocol = PROTOCOLS[name]
    grids = "\n".join(f"  {grid}: {(function.__doc__ or '').splitlines()[0]}" for grid, function in GRIDS.items())
    protocols = "\n".join(f"  {protocol.name}: {protocol.purpose}" for protocol in PROTOCOLS.values())
    args = parse(
        Arguments,
        arguments,
        description=f"{__doc__}\ngrids:\n\n{grids}\n\nprotocols:\n\n{protocols}",
        default=Arguments(
            grid=tyro.MISSING,
            protocol=name,
            spec=protocol.spec,
            recipe=protocol.recipe,
            split=protocol.split,
            measures=name != "smoke",
        ),
    )
    changed = Protocol(
        name=name,
        purpose=protocol.purpose,
        spec=args.spec,
        network=own_network(args.baseline, args.baseline_arguments),
        recipe=args.recipe,
        split=args.split,
    )
    return args, changed, why


def own_network(factory: str | None, arguments: str | None) -> ModuleSpec | None:
    """The values of --baseline and --baseline-arguments as a network."""
    if factory is None:
        if arguments is not None:
            raise UserError("--baseline-arguments: give --baseline, too, whose arguments they are")
        return None
    given = {} if arguments is None else values_of(arguments, "--baseline-arguments")
    if not isinstance(given, dict):
        raise UserError(f"--baseline-arguments {_short(arguments or '')}: give a mapping such as {{width: 32}}")
    return ModuleSpec(factory=factory, arguments=given)


def check_grid(name: str) -> None:
    """Raises: UserError: `name` is neither a file's nor a built-in grid's, as is known before anything is loaded."""
    if is_grid_file(name) or name in GRIDS:
        return
    if name and os.path.exists(name):  # noqa: PTH110 -- no error where a name is too long
        raise UserError(f"--grid {name}: the file of a grid ends in .yaml, .yml or .py")
    known("grid", name, list(GRIDS))


def gpu_share(text: str) -> float | None:
    """The value of --gpu-fraction; None is auto."""
    if text == "auto":
        return None
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise UserError(f"--gpu-fraction {text}: give auto, or a number above 0 and at most 1")
    return share


def shard_of(text: str | None) -> tuple[int, int] | None:
    """The value of --shard as (I, N)."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shard {text}: give I/N with I from 1 to N, such as 1/4")
    return int(match[1]), int(match[2])


def seeds_of(text: str) -> tuple[int, ...]:
    """The value of --seeds: one number, or those of planned looks."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[+-]?[0-9]{1,18}", part) for part in parts):
        raise UserError(f"--seeds {_short(text)}: give a number such as 5, or rising numbers such as 3,5,10")
    return tuple(map(int, parts))


def _short(text: str) -> str:
    return text if len(text) < 60 else text[:60] + " ..."


def budget_of(text: str | None) -> float | None:
    """The value of --budget in seconds."""
    if text is None:
        return None
    seconds = seconds_of(text)
    if not seconds:
        raise UserError(f"--budget {_short(text)}: give a time such as 2h, 90m, 45min or 1h30m, at most ten years")
    return seconds


def candidates_of(text: str | None) -> tuple[str, list[str]] | None:
    """The value of --tune as a field of the recipe and its values."""
    if text is None:
        return None
    field, _, values = text.partition("=")
    fields = [name for name in Recipe.model_fields if name != "augmentation"]
    listed = list(dict.fromkeys(value.strip() for value in values.split(",") if value.strip()))
    if len(listed) < 2:
        raise UserError(f"--tune {text}: give a field and at least two values, such as learning_rate=1e-4,3e-4")
    return known("field of the recipe", field, fields), listed


def data_options(args: Arguments, arguments: Sequence[str]) -> DataOptions:
    """How images are read and stored. Channels that were asked for by the network's own option are, even if they are 3."""
    if args.data_size is not None and not 1 <= args.data_size <= LARGEST_SIZE:
        raise UserError(f"--data-size {args.data_size}: give pixels from 1 to {LARGEST_SIZE}")
    asked = any(value_of(option, arguments) for option in ("--spec.in-channels", "--spec.in_channels"))
    return DataOptions(
        size=args.data_size,
        channels=args.spec.in_channels if asked else None,
        columns=args.data_columns,
        drop_duplicates=args.drop_duplicates,
    )


def groups_of(text: str | None) -> dict[str, list[str]] | None:
    """The value of --data-groups, whose names are checked with the data."""
    if text is None:
        return None
    found = values_of(text, "--data-groups") if text.lstrip().startswith("{") else read_yaml(Path(text))
    if isinstance(found, dict) and isinstance(found.get("groups"), dict):
        found = found["groups"]
    if not isinstance(found, dict) or not found:
        raise UserError(
            f"--data-groups {_short(text)}: give groups and their classes, such as {{vehicles: [ship, truck]}}"
        )
    return found


def can_show(seeds: int, images: int, *, runs: int | None = None) -> str:
    """The smallest difference that so many seeds and images could tell from none. Args: runs: of a screening design."""
    from analysis.statistics import best_half_width

    if seeds == 1:
        return "one seed: differences without intervals; give --seeds 3 or more to know how sure they are"
    if runs is not None:
        half_width = best_half_width(seeds, images) * (2 / runs) ** 0.5
        return (
            f"main effects above about {100 * half_width:.1f} points if seeds add no variance of their own, and other images "
            f"would show the same; only larger ones if not ({seeds} seeds, {images:,} test images)"
        )
    if best_half_width(seeds, images) > 1:
        return f"no difference at all: {counted(images, 'test image')} are too few; give more of them"
    return (
        f"differences above about {100 * best_half_width(seeds, images):.1f} points if seeds add no variance of their own, "
        f"only larger ones if they do ({seeds} seeds, {images:,} test images)"
    )


def main(arguments: Sequence[str]) -> int:
    """Parses, says what will happen, trains, and prints the table."""
    args, protocol, why_protocol = read_arguments(arguments)
    fraction, shard, tune = gpu_share(args.gpu_fraction), shard_of(args.shard), candidates_of(args.tune)
    seeds, budget = seeds_of(args.seeds), budget_of(args.budget)
    if args.tune_once and tune is None:
        raise UserError("--tune-once: give --tune FIELD=VALUE,VALUE, too")
    check_grid(args.grid)
    out = console()
    out.print(f"{args.grid}, {protocol.name}: loading PyTorch and the data ...", markup=False, soft_wrap=True)
    sys.stdout.flush()

    from ablations.renewal import Renewal
    from ablations.running import Settings, prepare_study

    settings = Settings(
        seeds=seeds[-1],
        looks=looks_of(seeds, args.variance),
        classes=() if args.class_ is None else names_of("--class", args.class_),
        budget=budget,
        tune=tune,
        tune_once=args.tune_once,
        shard=shard,
        address=args.address,
        gpu_fraction=fraction,
        cuda_graphs=args.cuda_graphs,
        keep_weights=args.keep_weights == "all",
        retry_diverged=args.retry_diverged,
        dry_run=args.dry_run,
        network=args.network or "",
        weights=args.weights or "",
        arguments=tuple(arguments),
    )
    prepared = prepare_study(
        args.grid, protocol, data=args.data, options=data_options(args, arguments), groups=groups_of(args.data_groups),
        results=args.results, settings=settings, out=out,
    )  # fmt: skip
    describe(prepared, why_protocol, args.shard, out)
    if args.dry_run:
        return 0
    page = Renewal([sys.executable, str(Path(__file__).with_name("report.py"))], cores=prepared.machine.cores)
    with page:  # which people look at meanwhile
        outcome = prepared.run(out, watch=page)
    for failure in outcome.failures:
        out.print(
            f"{failure.arm}, seed {failure.seed} {failure.kind}: {failure.sentence}", markup=False, soft_wrap=True
        )
    measures = args.measures and not outcome.out_of_time
    interrupted = outcome.interrupted or (measures and measure(prepared, outcome, out))
    nothing = interrupted and not outcome.finished  # then there is nothing to be reported, and nobody waits
    if (outcome.folder / "study.json").is_file() and not nothing:
        report(outcome, prepared.data, out)
    if interrupted:
        out.print("stopped early; the same command goes on", markup=False)
        return INTERRUPTED
    if outcome.out_of_time:
        out.print("the budget is over before the cells are; the same command goes on", markup=False)
        return OUT_OF_TIME
    if shard:
        then = " and run the same command for the next look" if len(seeds) > 1 else ""
        out.print(f"a shard: run the others, then copy their results folders together{then}", markup=False)
    return 0 if outcome.complete else SOME_FAILED


def looks_of(seeds: Sequence[int], variance: Literal["own", "moderated"]) -> "PlannedLooks | None":
    """The plan by which arms stop; None where all have all seeds, and variances of their own."""
    if len(seeds) == 1 and variance == "own":
        return None
    from analysis.looks import plan_looks

    return plan_looks(*seeds, variance=variance)


def expectation(prepared: "PreparedStudy", plan: "Plan") -> list[tuple[str, str]]:
    """How many cells a study with planned looks takes, as lines; nothing for other studies."""
    if plan.study.looks is None:
        return []
    from analysis.expectations import expected_cells, known_spread

    spread = known_spread(prepared.store, plan.study)
    tuning = plan.study.tuning
    expected = expected_cells(
        plan.study.looks,
        arms=len(plan.arms) - 1,
        images=plan.study.split.test,
        spread=spread,
        candidates=1 if tuning is None else len(tuning.values),
    )
    first, *others = expected.lines()
    return [("looks", f"{plan.study.looks.words}: {first}"), *(("", line) for line in others)]


def describe(prepared: "PreparedStudy", why_protocol: str, shard: str | None, out: "Console") -> None:
    """What will happen; for a dry run, what each arm costs."""
    from ablations.statement import statement, table_of_arms, table_of_design

    plan, tuning = prepared.expected(), prepared.tuning()
    design = plan.study.screening
    best = can_show(plan.command.seeds, len(plan.data.test), runs=None if design is None else len(design.runs))
    lines = statement(
        plan, prepared.machine, prepared.results, why_protocol=why_protocol, best_difference=best, shard=shard
    )
    if tuning is not None:
        lines = [
            (head, f"{text.rpartition(' ')[0]} {tuning.study}" if head == "results" else text) for head, text in lines
        ]
        lines.append(
            (
                "tuning",
                f"before that, {tuning.field} of each arm by validation accuracy: {len(tuning.plan.cells)} cells on a seed of "
                f"their own, {len(tuning.plan.missing)} to train; intervals are for the values so chosen",
            )
        )
    if plan.study.tuning is not None:
        lines.append(("tuning", f"every seed of an arm chooses its {plan.study.tuning.words} by validation accuracy"))
    lines += expectation(prepared, plan)
    questions = [f"{question.name}, asked {question.asked}" for question in plan.study.class_questions]
    if questions:
        lines.append(("classes", f"recall of {'; '.join(questions)}: each a test of its own"))
    if prepared.settings.budget is not None:
        lines.append(("budget", f"{duration(prepared.settings.budget)}: no cell is started that would end later"))
    for head, text in lines:
        out.print(f"[bold]{head:>9}[/bold]  ", end="")
        out.print(wrapped(text, out.width, indent=11) if out.is_terminal else text, markup=False, soft_wrap=True)
    out.print()
    if prepared.settings.dry_run:
        if design is not None:
            out.print(table_of_design(design))
        out.print(table_of_arms(plan))
        for fault in plan.faults:
            out.print(f"{fault}; a run moves it aside and trains the cell again", markup=False, soft_wrap=True)


def measure(prepared: "PreparedStudy", outcome: "Outcome", out: "Console") -> bool:
    """What the trained networks rely on and where they look, for the report. Returns whether a signal has ended it."""
    from analysis.measures import all_measures

    return prepared.measure_if_possible(outcome, all_measures, out)


def report(outcome: "Outcome", data: "Data", out: "Console") -> None:
    """The tables of the whole study, whichever part of it this command trained, and its report."""
    import matplotlib as mpl

    from analysis import report, tables
    from analysis.effects import remarks
    from analysis.outcomes import Outcomes
    from analysis.study_images import images_of
    from analysis.study_tables import StudyTables

    root = outcome.folder.parent.parent
    outcomes = Outcomes.from_store(root, outcome.study)
    study = StudyTables(outcomes)
    title = f"{outcomes.study.name}: {outcomes.study.question}"
    if data.source == "sample":
        title += f"\non the packaged SAMPLE of {data.about.name}, not the full data set"
    out.print()
    out.print(title, style="bold", markup=False, soft_wrap=True)
    crossed = [] if study.factor_effects.empty else [tables.factors(study.factor_effects)]
    asked = study.class_questions
    questions = [] if asked.empty else [tables.class_questions(asked, baseline=outcomes.baseline.name)]
    screened, sentences = study.screening, study.effects["sentence"]
    if screened is not None:
        crossed = [tables.main_effects(screened)]
        crossed += [] if screened.interactions.empty else [tables.interactions(screened)]
        sentences = screened.main["sentence"]
    shown = [tables.effects(study.effects), *questions, tables.arms(study.effects)]
    for table in [*shown, *crossed] if screened is None else [*crossed, *shown]:
        out.print()
        out.print(table.for_terminal())
    out.print()
    for sentence in filter(None, sentences):
        out.print(sentence, markup=False, soft_wrap=True)
    for note in [*(screened.remarks if screened else ()), *remarks(study.effects), *outcomes.remarks]:
        out.print(note, markup=False, soft_wrap=True)
    mpl.use("agg")  # files need no window
    try:
        page = str(report.write(study, outcome.folder / report.FOLDER, images=images_of(outcomes, data)))
    except OSError as error:
        page = f"could not be written ({error.strerror}); experiments/report.py writes it when there is room"
    out.print(f"\nreport: {page}\nrecords: {root / 'cells'}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    run_script(main)
