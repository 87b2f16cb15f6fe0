"""Runs a study's missing cells."""

from dataclasses import dataclass, field

from ablations.agenda import Agenda
from ablations.display import Display
from ablations.driver import Driver
from ablations.executor import train
from ablations.gpus import cluster_machine, gpu_shares
from ablations.job import Placement
from ablations.plan import Plan, PlannedCell
from ablations.record import Failure
from ablations.resources import CpuPlan, Machine, cpu_plan, memory_cap
from ablations.session import StopOnRequest, logged_to, signals_stop, started_ray, tune


@dataclass(frozen=True)
class Outcome:
    """How a run of a study ended."""

    finished: list[PlannedCell]
    failures: list[Failure]
    interrupted: bool


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


def run(plan: Plan, options: Options, display: Display) -> Outcome:
    """Trains the cells of `plan` that are missing.

    Raises: UserError: no cluster answers at the address.
    """
    assert plan.store is not None
    store = plan.store
    store.remove_left_overs()
    for sentence in store.set_damaged_aside(planned.cell.key for planned in plan.cells):
        display.line(sentence)
    missing = [planned for planned in plan.missing if options.retry_diverged or not plan.diverged(planned)]
    stopper = StopOnRequest()
    if missing:
        for planned in missing:
            store.forget_failure(planned.cell.key)
        baseline = plan.baseline
        cpu = cpu_plan(baseline.spec, baseline.recipe, cores=options.machine.cores, memory=options.machine.memory)
        with (
            display,
            signals_stop(stopper, display),
            logged_to(store.study_folder(plan.study.name) / "ray.log"),
            started_ray(options.address, options.machine, cpu.at_once, cpu.threads),
            signals_stop(stopper, display),  # again: Ray has put a handler of its own in the place of ours
        ):
            machine = options.machine if options.address is None else cluster_machine()
            graphs = options.cuda_graphs
            shares = (
                gpu_shares(missing, machine, options.gpu_fraction, plan.data, cuda_graphs=graphs)
                if machine.gpus
                else {}
            )
            shares.update(options.shares)
            agenda = Agenda(missing, store)
            placing = Placing(machine, cpu, shares, graphs)
            driver = Driver(
                plan, agenda, display, lambda planned: placing.placement(planned, alone=agenda.needs_all(planned)),
                keep_weights=options.keep_weights,
            )  # fmt: skip
            display.update(driver.tally)
            train(
                driver, stopper, lambda planned: placing.request(planned, alone=agenda.needs_all(planned)),
                at_once=placing.at_once, search_paths=options.search_paths,
            )  # fmt: skip
    failures = [store.failure(planned.cell.key) for planned in plan.missing]
    return Outcome(
        finished=[planned for planned in plan.cells if plan.is_finished(planned)],
        failures=[failure for failure in failures if failure is not None],
        interrupted=stopper.requested,
    )


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
        """What the cell's trial asks Ray for. A trial that runs alone takes all cores of a node."""
        share = self.share(planned, alone=alone)
        bundle = {"CPU": 1.0 if share else float(self.cpu.threads)}
        if alone:
            bundle["CPU"] = float(self.machine.cores)
        if share:
            bundle["GPU"] = share
        return tune.PlacementGroupFactory([bundle])
