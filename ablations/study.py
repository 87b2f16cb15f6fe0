"""Runs a study's missing cells."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ablations import files
from ablations.agenda import Agenda
from ablations.display import Display
from ablations.driver import Driver
from ablations.executor import train
from ablations.gpus import cluster_machine, gpu_shares
from ablations.job import Placement
from ablations.plan import Plan, PlannedCell
from ablations.record import Failure
from ablations.resources import CpuPlan, Machine, cpu_plan, memory_cap, process_bytes, reserved_bytes
from ablations.session import StopOnRequest, logged_to, signals_stop, started_ray, tune


@dataclass(frozen=True)
class Outcome:
    """How a run of a study ended."""

    study: str
    folder: Path
    """The study's folder: its manifest, and its report once there is one."""
    finished: list[PlannedCell]
    """Of the cells that the run was asked for, those that have a record, old ones among them."""
    failures: list[Failure]
    interrupted: bool
    """Whether a signal has ended it; the same call goes on."""
    complete: bool
    """Whether all cells that the run was asked for are finished."""


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


def run(plan: Plan, options: Options, display: Display) -> Outcome:
    """Trains the cells of `plan` that are missing.

    Raises: UserError: the results folder cannot be written; Ray does not start, or has ended; no cluster answers.
    """
    assert plan.store is not None
    store = plan.store
    stopper = StopOnRequest()
    with files.one_sentence_errors(store.root):
        store.remove_left_overs()
        for sentence in store.set_damaged_aside(planned.cell.key for planned in plan.cells):
            display.line(sentence)
        missing = [planned for planned in plan.missing if options.retry_diverged or not plan.diverged(planned)]
        if missing:
            for planned in missing:
                store.forget_failure(planned.cell.key)
            folder = store.study_folder(plan.study.name)
            folder.mkdir(parents=True, exist_ok=True)
            with display, signals_stop(stopper, display), logged_to(folder / "ray.log"):
                _train(plan, missing, options, display, stopper)
    failures = [store.failure(planned.cell.key) for planned in plan.missing]
    finished = [planned for planned in plan.cells if plan.is_finished(planned)]
    return Outcome(
        study=plan.study.name,
        folder=store.study_folder(plan.study.name),
        finished=finished,
        failures=[failure for failure in failures if failure is not None],
        interrupted=stopper.requested,
        complete=len(finished) == len(plan.cells),
    )


def _train(plan: Plan, missing: list[PlannedCell], options: Options, display: Display, stopper: StopOnRequest) -> None:
    assert plan.store is not None
    folder = plan.store.study_folder(plan.study.name)
    here = options.machine
    try:
        with started_ray(
            options.address, cores=here.cores, gpus=here.gpus, memory=here.memory, display=display, stopper=stopper
        ) as scratch:
            if stopper.stop_all():
                return
            machine = here if options.address is None else cluster_machine()
            baseline = plan.baseline
            cpu = cpu_plan(baseline.spec, baseline.recipe, cores=machine.node_cores, memory=machine.memory)
            graphs, shares = options.cuda_graphs, {}
            if machine.gpus:
                shares = gpu_shares(missing, machine, options.gpu_fraction, plan.data, cuda_graphs=graphs)
            shares.update(options.shares)
            agenda = Agenda(missing, plan.store)
            placing = Placing(machine, cpu, shares, graphs)
            driver = Driver(
                plan,
                agenda,
                display,
                lambda planned: placing.placement(planned, alone=agenda.needs_all(planned)),
                keep_weights=options.keep_weights,
                watch=lambda: options.watch(folder),
            )
            display.update(driver.tally)
            train(
                driver,
                stopper,
                lambda planned: placing.request(planned, alone=agenda.needs_all(planned)),
                at_once=placing.at_once,
                scratch=scratch,
                search_paths=options.search_paths,
            )
    except KeyboardInterrupt:
        if not stopper.requested:
            raise


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
        share = self.shares.get(planned.arm.name, 0.0)
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
