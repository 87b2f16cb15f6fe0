"""Trains the documented baseline over several seeds, and holds the documented 65.89 % against them.

    python experiments/reproduce_baseline.py --data PATH_TO_CIFAR10
    python experiments/reproduce_baseline.py --data PATH_TO_CIFAR10 --precision bf16 --seeds 5
    python experiments/reproduce_baseline.py --data PATH_TO_CIFAR10 --protocol quick

Three seeds of the documented protocol (224 pixels, 40,000 images, 5 epochs) take about five hours in fp32 on two CPU cores,
three in bf16 where they have it, and less than a minute a seed on an H100. A run that was stopped goes on with the same
command, after its last finished epoch.

It ends with the reproduction: documented against measured accuracy with a verdict, each class side by side, and the document's
numbers against each other, on the terminal, on the study's page and as CSV beside it. It is the study that
`run_ablation.py --grid documented` runs, so that they share their cells; one in another arithmetic, in the same results folder,
stands beside it on the page.
"""

from ablations.interruption import interrupts_end_quietly

if __name__ == "__main__":
    interrupts_end_quietly()  # before the imports, which take a while

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.cli import INTERRUPTED, SOME_FAILED, console, known, parse, run_script
from ablations.protocols import PROTOCOLS
from cnnkit.recipe import Precision

if TYPE_CHECKING:
    from rich.console import Console

    from ablations.running import PreparedStudy
    from ablations.study import Outcome

GRID = "documented"


@dataclass
class Arguments:
    """The command line."""

    seeds: int = 3
    """Seeds, 0 to N-1; more seeds later train only the new ones."""
    protocol: str = "documented"
    """documented, or quick or smoke to try it out: only of the documented one is there a verdict."""
    precision: Precision | None = None
    """Arithmetic, where it is not the protocol's: bf16 takes half of the time on CPUs and GPUs that have it."""
    cuda_graphs: bool = False
    """On GPUs, launch all kernels of an update together, as in run_ablation.py."""
    data: str = "auto"
    """A folder with CIFAR-10; sample; or auto, as in run_ablation.py."""
    results: Path = Path("results")
    """Where records go."""
    measures: bool = True
    """At the end, ask the trained networks what they rely on and where they look, as experiments/measure.py does."""
    dry_run: bool = False
    """Say what would be trained and how long it takes, and stop."""


def as_run_ablation(args: Arguments, protocol: str) -> list[str]:
    """The arguments with which run_ablation.py would run the same study."""
    return [
        *("--grid", GRID, "--protocol", protocol, "--data", args.data, "--results", str(args.results)),
        *("--seeds", str(args.seeds)),
        *(() if args.precision is None else ("--recipe.precision", args.precision)),
        *(("--cuda-graphs",) if args.cuda_graphs else ()),
    ]


def main(arguments: Sequence[str]) -> int:
    """Parses, says what will happen, trains, and prints the reproduction."""
    args = parse(Arguments, arguments, description=__doc__)
    name = known("protocol", args.protocol, list(PROTOCOLS))
    protocol = PROTOCOLS[name]
    if args.precision is not None:
        protocol = protocol.changed(recipe={"precision": args.precision})
    out = console()
    out.print(f"{GRID}, {name}: loading PyTorch and the data ...", markup=False, soft_wrap=True)

    from ablations.running import Settings, prepare_study

    settings = Settings(
        seeds=args.seeds, dry_run=args.dry_run, cuda_graphs=args.cuda_graphs,
        arguments=tuple(as_run_ablation(args, name)),
    )  # fmt: skip
    prepared = prepare_study(GRID, protocol, data=args.data, results=args.results, settings=settings, out=out)
    describe(prepared, out)
    if args.dry_run:
        return 0
    outcome = prepared.run(out)
    for failure in outcome.failures:
        out.print(f"seed {failure.seed} {failure.kind}: {failure.sentence}", markup=False, soft_wrap=True)
    interrupted = outcome.interrupted or (args.measures and measure(prepared, outcome, out))
    if args.measures and not interrupted and outcome.finished:
        gallery_of_cats(outcome, args.data, out)
    if (outcome.folder / "study.json").is_file():
        report(prepared, outcome, out)
    if interrupted:
        out.print("stopped early; the same command goes on", markup=False)
        return INTERRUPTED
    return 0 if outcome.complete else SOME_FAILED


def describe(prepared: "PreparedStudy", out: "Console") -> None:
    """What will happen, and how long it takes."""
    from ablations.statement import statement
    from analysis.documented import documented

    published = documented()
    low, high = published.accuracy_interval()
    shows = (
        f"whether {100 * published.test_accuracy:.2f} % (on other test images {100 * low:.2f} to {100 * high:.2f} %) is a number "
        f"that one more seed could give"
    )
    lines = statement(
        prepared.plan(), prepared.machine, prepared.results, why_protocol="as asked", best_difference=shows, shard=None
    )
    for head, text in lines:
        out.print(f"[bold]{head:>9}[/bold]  ", end="")
        out.print(text, markup=False, soft_wrap=True)
    out.print()


def measure(prepared: "PreparedStudy", outcome: "Outcome", out: "Console") -> bool:
    """What the trained networks rely on and where they look. Returns whether a signal has ended it."""
    from analysis.measures import all_measures

    return prepared.measure_if_possible(outcome, all_measures, out)


def gallery_of_cats(outcome: "Outcome", data: str, out: "Console") -> None:
    """Grad-CAM maps of the class that the document shows, as experiments/gallery.py draws them; a line where it cannot."""
    seeds = sorted({planned.cell.seed for planned in outcome.finished})[:3]
    arguments = [str(outcome.folder), "--classes", "cat", "--pick", "typical", "--images", "8"]
    arguments += ["--seeds", *map(str, seeds), *(() if data == "auto" else ("--data", data))]
    script = str(Path(__file__).with_name("gallery.py"))
    done = subprocess.run([sys.executable, script, *arguments], check=False, capture_output=True, text=True)
    if done.returncode and done.stderr:
        out.print(f"gallery: {done.stderr.strip().removeprefix('error: ')}", markup=False, soft_wrap=True)


def report(prepared: "PreparedStudy", outcome: "Outcome", out: "Console") -> None:
    """The reproduction on the terminal, and the study's page."""
    import matplotlib as mpl

    from analysis import report, reproduction_tables
    from analysis.outcomes import Outcomes
    from analysis.reproduction import Reproduction
    from analysis.study_images import images_of
    from analysis.study_tables import StudyTables

    study = StudyTables(Outcomes.from_store(outcome.folder.parent.parent, outcome.study))
    found = study.reproduction
    assert isinstance(found, Reproduction), "it is a study of the baseline alone"
    tables = (
        reproduction_tables.accuracy(found.accuracies),
        reproduction_tables.classes(found.classes),
        reproduction_tables.ranks(found.ranks),
        reproduction_tables.checks(found.checks),
    )
    for table in tables:
        out.print()
        out.print(table.caption, style="bold", markup=False, soft_wrap=True)
        out.print(table.for_terminal())
    out.print()
    for sentence in (f"{found.verdict.kind}: {found.verdict.sentence}", found.arithmetic):
        out.print(sentence, markup=False, soft_wrap=True)
    mpl.use("agg")  # files need no window
    try:
        page = str(report.write(study, outcome.folder / report.FOLDER, images=images_of(study.outcomes, prepared.data)))
    except OSError as error:
        page = f"could not be written ({error.strerror}); experiments/report.py writes it when there is room"
    out.print(f"\nreport: {page}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    run_script(main)
