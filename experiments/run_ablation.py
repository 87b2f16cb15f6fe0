"""Trains every arm of a grid over several seeds and compares each arm with the baseline.

    python experiments/run_ablation.py --grid depth
    python experiments/run_ablation.py --grid depth --protocol quick --data PATH --seeds 5 --recipe.epochs 10
    python experiments/run_ablation.py --grid depth --dry-run

Writes one record a finished cell under --results, and the table as CSV. The same command after an interruption trains
only what is missing.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import ValidationError

from ablations.cli import INTERRUPTED, SOME_FAILED, refuse, run_script
from ablations.grids import GRIDS
from ablations.protocols import PROTOCOLS, Protocol, Split
from cnnkit.errors import UserError
from cnnkit.recipe import Recipe
from cnnkit.spec import ConvNetSpec, one_sentence


@dataclass
class Arguments:
    """The command line; the defaults of spec, recipe and split are the protocol's."""

    grid: str
    """Which grid of arms to train (listed below)."""
    protocol: str
    """documented, quick or smoke (described below); documented where a GPU is visible, else quick."""
    spec: ConvNetSpec
    recipe: Recipe
    split: Split
    data: str = "auto"
    """A folder with CIFAR-10 (Parquet or cifar-10-batches-py); sample, the packaged sample; or auto: the full set where it
    is found or can be downloaded, else the sample."""
    results: Path = Path("results")
    """Where records go; one folder holds many studies of the same data."""
    seeds: int = 3
    """Seeds of each arm, 0 to N-1; more seeds later train only the new ones."""
    dry_run: bool = False
    """Say what would be trained and what each arm costs, and stop."""
    gpu_fraction: str = "auto"
    """Share of a GPU for each trial: auto measures each arm's memory need; or a number above 0, at most 1."""
    address: str | None = None
    """Address of a Ray cluster to join, such as auto or 10.0.0.1:6379; its nodes must see the results folder."""


def gpu_is_visible() -> bool:
    """Whether an NVIDIA driver offers a GPU; asked without importing torch."""
    return (
        shutil.which("nvidia-smi") is not None
        and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1")
        and any(Path("/proc/driver/nvidia/gpus").glob("*"))
    )


def known(kind: str, name: str, names: Sequence[str]) -> str:
    """`name` if it is one of `names`. Raises: UserError: with the nearest name."""
    if name in names:
        return name
    near = get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names)}"
    raise UserError(f"no {kind} {name!r}: {hint}")


def value_of(option: str, arguments: Sequence[str]) -> str | None:
    """What the command line gives for `option`, before it is parsed as a whole: the protocol sets the other defaults."""
    for i, argument in enumerate(arguments):
        if argument == option and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(option + "="):
            return argument.removeprefix(option + "=")
    return None


def parse(arguments: Sequence[str]) -> tuple[Arguments, str]:
    """The arguments, and why their protocol was chosen."""
    asked = value_of("--protocol", arguments)
    if asked is not None:
        name, why = known("protocol", asked, list(PROTOCOLS)), "as asked"
    elif gpu_is_visible():
        name, why = "documented", "a GPU is visible"
    else:
        name, why = "quick", "no GPU is visible"
    protocol = PROTOCOLS[name]
    grids = "\n".join(f"  {grid}: {(function.__doc__ or '').splitlines()[0]}" for grid, function in GRIDS.items())
    protocols = "\n".join(f"  {protocol.name}: {protocol.purpose}" for protocol in PROTOCOLS.values())
    defaults = Arguments(
        grid=tyro.MISSING, protocol=name, spec=protocol.spec, recipe=protocol.recipe, split=protocol.split
    )
    parsed = tyro.cli(
        Arguments,
        default=defaults,
        args=list(arguments),
        description=f"{__doc__}\ngrids:\n\n{grids}\n\nprotocols:\n\n{protocols}",
        config=(tyro.conf.OmitSubcommandPrefixes,),
    )
    return parsed, why


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


def main(arguments: Sequence[str]) -> int:
    """Parses, says what will happen, trains, and prints the table."""
    args, why_protocol = parse(arguments)
    known("grid", args.grid, list(GRIDS))
    fraction = gpu_share(args.gpu_fraction)
    if args.seeds < 1:
        raise UserError(f"--seeds {args.seeds}: at least one seed is needed")
    protocol = Protocol(
        name=args.protocol,
        purpose=PROTOCOLS[args.protocol].purpose,
        spec=args.spec,
        recipe=args.recipe,
        split=args.split,
    )

    from rich.console import Console

    from ablations.display import display_for
    from ablations.plan import make_plan
    from ablations.record import Store
    from ablations.resources import Machine
    from ablations.statement import statement, table_of_arms
    from analysis.statistics import best_half_width
    from cnnkit.data import load

    console = Console(highlight=False)
    data = load(args.data)
    store = None
    if not args.dry_run:
        store = Store.open(args.results, data=data.fingerprint, data_description=data.describe())
    elif (args.results / "ablations.json").is_file():
        store = Store.reading(args.results, data=data.fingerprint, data_description=data.describe())
    plan = make_plan(
        args.grid,
        protocol,
        data,
        store,
        seeds=args.seeds,
        arguments=list(arguments),
        now=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    machine = Machine.this()
    n_images = len(plan.data.test)
    if args.seeds == 1:
        best = "one seed: differences without intervals; give --seeds 3 or more to know how sure they are"
    else:
        half_width = 100 * best_half_width(args.seeds, n_images)
        best = (
            f"differences above about {half_width:.1f} points, at best: what {args.seeds} seeds and {n_images:,} test "
            f"images allow if seeds add no variance"
        )
    for head, text in statement(plan, machine, why_protocol=why_protocol, best_difference=best):
        console.print(f"[bold]{head:>9}[/bold]  ", end="")
        console.print(text, markup=False, soft_wrap=True)
    console.print()
    if args.dry_run:
        console.print(table_of_arms(plan))
        return 0

    assert store is not None
    store.write_study(plan.study)

    from ablations.study import Options, run
    from analysis.effects import effect_table, for_terminal
    from analysis.results import load as load_results

    outcome = run(plan, Options(machine, args.address, fraction), display_for(console))
    effects = effect_table(load_results(args.results, plan.study.name).trials)
    csv = store.study_folder(plan.study.name) / "effects.csv"
    effects.to_csv(csv, index=False)
    title = f"{plan.study.name}: {plan.study.question}"
    if data.source == "sample":
        title += "\non the packaged SAMPLE of CIFAR-10, not the full data set"
    console.print()
    console.print(for_terminal(effects, title))
    console.print(f"\ntable: {csv}\nrecords: {store.root / 'cells'}", markup=False, soft_wrap=True)
    for failure in outcome.failures:
        console.print(f"{failure.arm}, seed {failure.seed} {failure.kind}: {failure.sentence}", markup=False)
    if outcome.interrupted:
        console.print("stopped early; the same command goes on", markup=False)
        return INTERRUPTED
    return SOME_FAILED if len(outcome.finished) < len(plan.cells) else 0


if __name__ == "__main__":
    try:
        run_script(main)
    except ValidationError as error:
        refuse(one_sentence(error))
