"""What a study is going to do, said before it does it."""

import contextlib
import shutil
import string
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from ablations import aliasing
from ablations.designs import ScreeningDesign
from ablations.plan import Plan, PlannedCell
from ablations.resources import CpuPlan, Machine, cpu_plan, training_bytes
from ablations.sealed import DamagedRecord
from ablations.text import FittedTable, Heading, printable
from ablations.units import counted, duration, level_text, size
from cnnkit.cost import cost

START_SECONDS = 20  # Ray and the first workers

# Multiply-adds a second and thread on CPU cores with native bf16, measured with this software at 64 and 224
# pixels; a guess for other machines, and replaced by the pace of finished cells as soon as there are some.
GUESSED_PACE = {"fp32": 4.0e10, "bf16": 7.0e10, "fp16": 4.0e10}


@dataclass(frozen=True)
class Pace:
    """How fast a trial goes, in multiply-adds a second, and where that is known from."""

    multiply_adds: float
    source: str


def pace(plan: Plan, machine: Machine, cpu: CpuPlan) -> Pace | None:
    """From cells of this results folder that were trained like this; else a guess for CPUs, nothing for GPUs."""
    precision = plan.baseline.recipe.precision
    measured = measured_pace(plan, machine.device_type)
    if measured is not None:
        return Pace(measured, "from the finished cells")
    if machine.device_type == "cuda":
        return None
    return Pace(GUESSED_PACE[precision] * cpu.threads, "a guess; the live view knows better after a minute")


def measured_pace(plan: Plan, device_type: str) -> float | None:
    """Multiply-adds a second of the plan's finished cells that were trained on such a device; None where there are none."""
    work, seconds = 0.0, 0.0
    for planned in plan.cells:
        if not plan.is_finished(planned) or plan.store is None:
            continue
        try:
            record = plan.store.read(planned.cell.key)
        except DamagedRecord:
            continue
        if record.provenance.device_type == device_type:
            work += planned.work
            seconds += record.train_seconds + record.evaluate_seconds
    return work / seconds if seconds else None


def expected_seconds(plan: Plan, machine: Machine, cpu: CpuPlan, known: Pace) -> float:
    """Until the missing cells are trained, trials running side by side."""
    at_once = machine.gpus or cpu.at_once
    return START_SECONDS + sum(planned.work for planned in plan.missing) / (known.multiply_adds * at_once)


def expected_bytes(cells: list[PlannedCell]) -> int:
    """Disk that the records of `cells` take: weights, logits and labels."""
    return sum(
        4 * cost(planned.arm.spec).parameters
        + (4 * planned.arm.spec.num_classes + 8) * (planned.cell.split.validation + planned.cell.split.test)
        for planned in cells
    )


def free_bytes(folder: Path) -> int | None:
    """Room on the disk on which a folder is, or would be; None where that is not known."""
    for path in (folder, *folder.absolute().parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(path).free
    return None


def statement(
    plan: Plan, machine: Machine, results: Path, *, why_protocol: str, best_difference: str, shard: str | None
) -> list[tuple[str, str]]:
    """Headed lines: what will be trained, how, on what, how long it takes, and what it can show at best."""
    study, missing = plan.study, plan.missing
    spec, recipe = plan.baseline.spec, plan.baseline.recipe
    of_shard = f", shard {shard}" if shard else ""
    cpu = cpu_plan(spec, recipe, cores=machine.cores, memory=machine.memory)
    known = pace(plan, machine, cpu)
    if not missing:
        time = "nothing to train"
    elif known is None:
        time = "not known before the first cell on this GPU is finished"
    else:
        time = f"about {duration(expected_seconds(plan, machine, cpu, known))} ({known.source})"
    changed = "".join(f", {field}={value}" for field, value in study.protocol_changes.items())
    where = (
        f"{machine.gpus} x {machine.gpu_name}"
        if machine.gpus
        else f"{machine.cores} CPU cores: {cpu.at_once} trials at once, {cpu.threads} thread each"
    )
    return [
        ("question", study.question),
        *_design(plan),
        (
            "cells",
            f"{_cells(plan, of_shard)}: {len(plan.cells) - len(missing)} finished, {len(missing)} to train"
            + (f", {len(plan.faults)} of them again since they are damaged" if plan.faults else ""),
        ),
        (
            "protocol",
            f"{study.data.recipe_name(study.protocol)} ({why_protocol}): {spec.image_size} pixels, "
            f"{counted(recipe.epochs, 'epoch')}, batch {recipe.batch_size}, {recipe.precision}"
            f"{'; changed: ' + changed[2:] if changed else ''}{_without_colour(plan)}",
        ),
        ("data", study.data.text + ("" if plan.data.source == "sample" else f", from {plan.data.path}")),
        *_starts(plan),
        *_warnings(plan, machine, results),
        ("machine", where),
        ("time", time),
        ("disk", size(expected_bytes(missing), "B")),
        ("can show", best_difference),
        ("results", f"{plan.store.root if plan.store else 'a new folder'}, study {study.name}"),
        ("Ctrl-C", "is safe: the same command goes on where it stopped"),
    ]


def _without_colour(plan: Plan) -> str:
    """What of the augmentation the images are not changed by."""
    jittered = any(arm.recipe.augmentation.saturation for arm in plan.arms)
    return "; saturation changes nothing in images without colour" if jittered and plan.data.about.channels != 3 else ""


def _design(plan: Plan) -> list[tuple[str, str]]:
    """How the arms are laid out, where the grid says so."""
    design = plan.study.screening
    lines = [("note", note) for note in plan.study.notes]
    if design is not None:
        runs = len(design.runs)
        lines.append(
            (
                "design",
                f"{aliasing.size_in_words(design)}, folded over: a main effect is the mean of {runs // 2} runs less that of the "
                f"{runs // 2} others, with {Fraction(2, runs)} of the variance of one run's difference to the baseline",
            )
        )
    return lines


def _cells(plan: Plan, of_shard: str) -> str:
    """How many the plan has, and what they are."""
    if plan.study.looks is None:
        values = "" if plan.study.tuning is None else f" x {len(plan.study.tuning.values)} values"
        return f"{len(plan.study.arms)} arms x {plan.command.seeds} seeds{values}{of_shard} = {len(plan.cells)}"
    seeds = 1 + max((planned.cell.seed for planned in plan.cells), default=0)
    return f"{len(plan.study.arms)} arms, up to the look at {seeds} seeds{of_shard}, {len(plan.cells)}"


def _starts(plan: Plan) -> list[tuple[str, str]]:
    """Which arms start from which weights, and of which only the last layer is trained."""
    by_start: dict[str, list[str]] = {}
    for arm in plan.arms:
        by_start.setdefault(arm.start, []).append(printable(arm.name))
    by_start.pop("", None)
    lines = [("weights", f"{', '.join(names)}: {start}") for start, names in by_start.items()]
    frozen = [printable(arm.name) for arm in plan.arms if arm.recipe.is_frozen]
    if frozen:
        what = "the last layer alone is trained; all before it stays in evaluation mode, batch norm with the statistics it has"
        lines.append(("frozen", f"{', '.join(frozen)}: {what}"))
    return lines


def _warnings(plan: Plan, machine: Machine, results: Path) -> list[tuple[str, str]]:
    """What is wrong with the data, and what is too large for the machine."""
    sentences = []
    if plan.data.warning:
        sentences.append(
            f"{plan.data.warning}: accuracies on them say little about new images; remove them from --data"
        )
    memory = machine.gpu_memory if machine.gpus else machine.memory
    needs = {arm.name: training_bytes(arm.spec, arm.recipe) for arm in plan.arms}
    large = {name: need for name, need in needs.items() if memory and need > memory}
    if large:
        name, need = max(large.items(), key=lambda item: item[1])
        others = f" and {len(large) - 1} more arms" if len(large) > 1 else ""
        where = "a GPU" if machine.gpus else "this machine"
        sentences.append(
            f"{name}{others} needs up to {size(need, 'B')} in training, and {where} has {size(memory, 'B')}"
        )
    room, records = free_bytes(results), expected_bytes(plan.missing)
    if room is not None and records > room:
        sentences.append(f"records take {size(records, 'B')}, and the disk of {results} has {size(room, 'B')} left")
    return [("WARNING", sentence) for sentence in sentences]


ARMS = (
    Heading("arm", "left", 0), Heading("parameters", priority=3), Heading("head", priority=6), Heading("mult-adds", priority=3),
    Heading("field", priority=5), Heading("memory", priority=4), Heading("done", priority=2), Heading("missing", priority=1),
)  # fmt: skip


def table_of_arms(plan: Plan) -> RenderableType:
    """What each arm costs, and how many of its cells are finished and missing."""
    rows = []
    for arm in plan.arms:
        cells = [planned for planned in plan.cells if planned.arm.name == arm.name]
        finished = sum(plan.is_finished(planned) for planned in cells)
        costs = cost(arm.spec, original_size=plan.data.about.image_size)
        rows.append(
            [
                printable(arm.name) + (" (baseline)" if arm.is_baseline else ""),
                size(costs.parameters),
                "" if costs.head_share is None else f"{costs.head_share:.0%}",
                size(costs.multiply_adds),
                f"{costs.receptive_field} ({costs.receptive_field_original:.3g})" if costs.receptive_field else "",
                size(training_bytes(arm.spec, arm.recipe), "B"),
                str(finished),
                str(len(cells) - finished),
            ]
        )
    what = "Head: share of the parameters; field: receptive field in input (original) pixels; memory: a training step."
    return Group(FittedTable(ARMS, rows), Text(f"{what} Blank: not known.", style="italic"))


LETTERS = string.ascii_uppercase
"""By which the columns of a design are called; there are as many as a design has factors at most."""


def table_of_design(design: ScreeningDesign) -> RenderableType:
    """Each factor's two levels, each run's, and what the design does not tell apart."""
    factors = [
        [letter, printable(factor.name), *(printable(level_text(level)) for level in factor.levels)]
        for letter, factor in zip(LETTERS, design.factors, strict=False)
    ]
    runs = [
        [str(place), *("+" if at_first else "-" for at_first in run.at_first), printable(run.arm)]
        for place, run in enumerate(design.runs, start=1)
    ]
    of_factors = (Heading("", "left", 0), Heading("factor", "left", 0), Heading("+", "left"), Heading("-", "left"))
    letters = [Heading(letter, priority=0) for letter in LETTERS[: len(factors)]]
    of_runs = (Heading("run", priority=0), *letters, Heading("arm", "left"))
    names = [printable(name) for name in design.names]
    aliased = [pairs for pairs in aliasing.strings(design.combinations) if len(pairs) > 1]
    return Group(
        FittedTable(of_factors, factors),
        Text(),
        FittedTable(of_runs, runs),
        Text(),
        *(Text(sentence) for sentence in aliasing.what_is_clear(design)),
        *(Text(f"  {aliasing.in_names(pairs, names)}") for pairs in aliased),
        Text(),
    )
