"""Runs a study's missing cells."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from ablations import files
from ablations.agenda import Agenda
from ablations.budget import Budget
from ablations.display import Display
from ablations.driver import Driver
from ablations.executor import train
from ablations.gpus import cluster_machine, gpu_shares
from ablations.job import Placement
from ablations.looks import Rule, needed_cells
from ablations.plan import Plan, PlannedCell, grouped, listed
from ablations.record import Failure
from ablations.resources import CpuPlan, Machine, cpu_plan, memory_cap, process_bytes, reserved_bytes
from ablations.session import StopOnRequest, logged_to, signals_stop, started_ray, tune
from ablations.statement import measured_pace


@dataclass(frozen=True)
class Outcome:
    """How a run of a study ended."""

    study: str
    folder: Path
    """The study's folder: its manifest, and its report once there is one."""
    finished: list[PlannedCell]
    """Of the cells that are needed, those that have a record, old ones and candidates among them."""
    failures: list[Failure]
    interrupted: bool
    """Whether a signal has ended it; the same call goes on."""
    complete: bool
    """Whether all cells that are needed are finished; of those among which a seed chooses, one, and the others have ended."""
    out_of_time: bool = False
    """Whether cells were left because the budget would not have lasted for them; the same call goes on."""


@dataclass(frozen=True)
class Options:
    """How a study uses the machine."""

    machine: Machine
    address: str | None = None
    gpu_fraction: float | None = None
    """Share of a GPU for every trial; None measures each arm."""
    shares: dict[str, float] = field(default_factory=dict)
    """Shares of arms that are set by hand, by the arm's name."""
    cuda_graphs: bool = False
    """Launch an update's kernels together on GPUs; trained numbers are the same."""
    keep_weights: bool = True
    retry_diverged: bool = False
    """Train cells again whose loss stopped being finite."""
    search_paths: tuple[str, ...] = ()
    """Folders of the user's own modules."""
    watch: Callable[[Path], None] = lambda folder: None
    """Called with the study's folder now and then while cells are trained: for pages that people look at meanwhile."""
    ends: float | None = None
    """When no trial should run any more, as `time.monotonic` counts; None: there is time."""


def run(plan: Plan, options: Options, display: Display, rule: Rule | None = None) -> Outcome:
    """Trains the cells of `plan` that are missing, or of those the ones that `rule` finds to be needed.

    Raises: UserError: the results folder cannot be written; Ray does not start, or has ended; no cluster answers.
    """
    assert plan.store is not None
    store = plan.store
    stopper = StopOnRequest()
    with files.one_sentence_errors(store.root):
        store.remove_left_overs()
        for sentence in store.set_damaged_aside(planned.cell.key for planned in plan.cells):
            display.line(sentence)
        for planned in plan.missing:
            if options.retry_diverged or not plan.diverged(planned):
                store.forget_failure(planned.cell.key)
        course = Course(plan, rule)
        missing, dropped = course.further(), False
        if missing:
            folder = store.study_folder(plan.study.name)
            folder.mkdir(parents=True, exist_ok=True)
            with display, signals_stop(stopper, display), logged_to(folder / "ray.log"):
                dropped = _train(plan, missing, course, options, display, stopper)
        needed = plan.of_shard(needed_cells(plan, rule))
    failures = [store.failure(planned.cell.key) for planned in needed if not plan.is_finished(planned)]
    finished = [planned for planned in needed if plan.is_finished(planned)]
    return Outcome(
        study=plan.study.name,
        folder=store.study_folder(plan.study.name),
        finished=finished,
        failures=[failure for failure in failures if failure is not None],
        interrupted=stopper.requested,
        complete=all(map(plan.is_over, grouped(needed))),
        out_of_time=dropped,
    )


class Course:
    """Which cells come next, and the manifest that grows with them."""

    def __init__(self, plan: Plan, rule: Rule | None) -> None:
        self.plan, self.rule = plan, rule
        self.cells: list[PlannedCell] = []
        """Those that this run was found to need so far, finished ones among them."""
        self._known: set[str] = set()

    def further(self, given_up: Collection[str] = ()) -> list[PlannedCell]:
        """Cells that are needed, were not named before, and are still to be trained; empty where there are none.

        Args: given_up: keys of cells that failed in this run.
        """
        needed = needed_cells(self.plan, self.rule, given_up)
        assert self.plan.store is not None
        if self.rule is not None:
            self.plan.store.write_study(self.plan.study.model_copy(update={"cells": listed(needed)}))
        self.cells = self.plan.of_shard(needed)
        new = [planned for planned in self.cells if planned.cell.key not in self._known]
        self._known.update(planned.cell.key for planned in new)
        return [p for p in new if not self.plan.is_finished(p) and not self.plan.diverged(p)]


def _train(
    plan: Plan,
    missing: list[PlannedCell],
    course: Course,
    options: Options,
    display: Display,
    stopper: StopOnRequest,
) -> bool:
    """Returns whether cells were left because there was no time."""
    assert plan.store is not None
    folder = plan.store.study_folder(plan.study.name)
    here = options.machine
    driver = None
    try:
        with started_ray(
            options.address, cores=here.cores, gpus=here.gpus, memory=here.memory, display=display, stopper=stopper
        ) as scratch:
            if stopper.stop_all():
                return False
            machine = here if options.address is None else cluster_machine()
            baseline = plan.baseline
            cpu = cpu_plan(baseline.spec, baseline.recipe, cores=machine.node_cores, memory=machine.memory)
            graphs, shares = options.cuda_graphs, {}
            if machine.gpus:
                possible = missing if course.rule is None else plan.missing
                shares = gpu_shares(possible, machine, options.gpu_fraction, plan.data, cuda_graphs=graphs)
            shares.update(options.shares)
            agenda = Agenda(missing, plan.store)
            placing = Placing(machine, cpu, shares, graphs)
            driver = Driver(
                replace(plan, cells=course.cells),
                agenda,
                display,
                lambda planned: placing.placement(planned, alone=agenda.needs_all(planned)),
                keep_weights=options.keep_weights,
                watch=lambda: options.watch(folder),
                further=course.further,
                budget=None if options.ends is None else Budget(options.ends, measured_pace(plan, machine.device_type)),
            )
            display.update(driver.tally)
            train(
                driver,
                stopper,
                lambda planned: placing.request(planned, alone=agenda.needs_all(planned)),
                at_once=placing.at_once,
                scratch=scratch,
                search_paths=options.search_paths,
                elsewhere=options.address is not None,
            )
    except KeyboardInterrupt:
        if not stopper.requested:
            raise
    return driver is not None and bool(driver.dropped)


@dataclass(frozen=True)
class Placing:
    """Which part of the machine each cell gets."""

    machine: Machine
    cpu: CpuPlan
    shares: dict[str, float]
    """Share of a GPU by the arm's name; empty on CPUs."""
    cuda_graphs: bool = False

    @property
    def at_once(self) -> int:
        """About how many cells are trained side by side."""
        if self.shares:
            return int(self.machine.gpus / min(self.shares.values()))
        return max(1, self.machine.cores // self.cpu.threads)

    def share(self, planned: PlannedCell, *, alone: bool) -> float:
        """The cell's share of a GPU; 0 on CPUs."""
        share = self.shares.get(planned.called, 0.0)
        return 1.0 if share and alone else share

    def placement(self, planned: PlannedCell, *, alone: bool) -> Placement:
        """Where the cell's trial runs. On a GPU that it has for itself, its memory is the whole GPU's."""
        share = self.share(planned, alone=alone)
        on_gpu = bool(share and self.machine.gpu_name)
        return Placement(
            device_type="cuda" if on_gpu else "cpu",
            threads=self.cpu.threads,
            trials_at_once=int(self.machine.gpus * (1 / share)) if share else self.cpu.at_once,
            gpu_share=share,
            memory_cap=memory_cap(share, self.machine.gpu_memory) if on_gpu else None,
            cuda_graphs=on_gpu and self.cuda_graphs,
        )

    def request(self, planned: PlannedCell, *, alone: bool) -> tune.PlacementGroupFactory:
        """What the cell's trial asks Ray for. On CPUs that is the memory that its own arm needs, too; a trial that runs alone
        takes all cores of a node.
        """
        share = self.share(planned, alone=alone)
        node = self.machine.node_cores
        if share:
            bundle = {"CPU": float(node) if alone else 1.0, "GPU": share}
        else:
            need = process_bytes(planned.cell.spec, planned.cell.recipe)
            at_once = max(1, min(self.cpu.at_once, node // self.cpu.threads))
            bundle = {
                "CPU": float(node if alone else self.cpu.threads),
                "memory": reserved_bytes(need, memory=self.machine.memory, at_once=at_once),
            }
        return tune.PlacementGroupFactory([bundle])
