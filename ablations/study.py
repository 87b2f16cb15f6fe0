"""Runs a study's missing cells through Ray Tune.

The ledger of finished cells is the results root: Tune is given a list of what is missing, and its own
experiment state is thrown away. A trial is one cell; Tune places it, and starts it again when its process dies.
"""

import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablations.cell import Cell
from ablations.display import Display, Running, Tally
from ablations.gpus import cluster_machine, gpu_shares
from ablations.plan import Plan, PlannedCell
from ablations.record import Failure
from ablations.resources import CpuPlan, Machine, cpu_plan, memory_cap
from ablations.session import StopOnRequest, Trial, logged_to, signals_stop, started_ray, tune
from ablations.store import Store
from ablations.trainable import CellTrial, Common
from ablations.units import duration

ROUNDS = 3
"""How often cells whose process died (killed by the system for its memory, lost with its node) are handed to Tune. Tune starts
a trial again itself, once, but gives a trial up when a lost node fails it twice at one time."""


@dataclass(frozen=True)
class Outcome:
    """How a run of a study ended."""

    finished: list[PlannedCell]
    failures: list[Failure]
    interrupted: bool


class Watch(tune.Callback):
    """Turns Tune's events into the display's."""

    def __init__(self, plan: Plan, tally: Tally, display: Display) -> None:
        self.store, self.tally, self.display = plan.store, tally, display
        self.by_key = {planned.cell.key: planned for planned in plan.cells}
        self.deaths: dict[str, str] = {}
        """Cells whose process died in this round, and what Tune said of it."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that is never asked for

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.tally.begin(self._planned(trial))
        self.display.update(self.tally)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        planned = self._planned(trial)
        if "share" in result:
            self.tally.running[planned.cell.key] = Running(
                planned, result["share"], result["epoch"], result["validation_accuracy"]
            )
        self.display.update(self.tally)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        assert self.store is not None
        planned = self._planned(trial)
        finished = self.store.is_finished(planned.cell.key)
        if not finished and self.store.failure(planned.cell.key) is None:
            self.tally.set_back(planned)  # stopped by the user, or another study has it
            return
        self.tally.end(planned, failed=not finished)
        self.display.update(self.tally)
        left = self.tally.seconds_left()
        rest = f"; about {duration(left)} left" if left and (self.tally.running or self.tally.waiting) else ""
        done = f"[{self.tally.finished}/{self.tally.total}] {planned.name}: "
        if finished:
            record = self.store.read(planned.cell.key)
            self.display.line(
                f"{done}validation {record.curve[-1].validation_accuracy:.2%}, test {record.test_accuracy:.2%}, "
                f"{duration(record.train_seconds + record.evaluate_seconds)}{rest}"
            )
        else:
            self.display.line(f"{done}{failure_sentence(self.store, planned)}{rest}")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        assert self.store is not None
        planned = self._planned(trial)
        if self.store.is_finished(planned.cell.key):  # its process died after the record was written
            return self.on_trial_complete(iteration, trials, trial)
        error_file = Path(trial.error_file) if trial.error_file else None
        self.deaths[planned.cell.key] = (
            error_file.read_text(encoding="utf-8") if error_file and error_file.is_file() else ""
        )
        self.tally.set_back(planned)
        self.display.update(self.tally)

    def give_up(self, planned: PlannedCell) -> None:
        """A cell whose process died in every round becomes a failure."""
        assert self.store is not None
        sentence = "its process died each time that it was started (out of memory, perhaps)"
        failure = Failure(
            key=planned.cell.key, arm=planned.arm.name, seed=planned.cell.seed, kind="failed", sentence=sentence
        )
        self.store.write_failure(failure, self.deaths[planned.cell.key] or sentence)
        self.tally.waiting = [cell for cell in self.tally.waiting if cell is not planned]
        self.tally.end(planned, failed=True)
        self.display.update(self.tally)
        self.display.line(
            f"[{self.tally.finished}/{self.tally.total}] {planned.name}: {failure_sentence(self.store, planned)}"
        )

    def _planned(self, trial: Trial) -> PlannedCell:
        return self.by_key[Cell.model_validate(trial.config["trial"]["cell"]).key]


def failure_sentence(store: Store, planned: PlannedCell) -> str:
    """Why a cell did not finish, and where its log is."""
    failure = store.failure(planned.cell.key)
    assert failure is not None
    return f"{failure.kind}: {failure.sentence} (log: {store.root / 'failed' / (failure.key + '.log')})"


@dataclass(frozen=True)
class Options:
    """How a study uses the machine."""

    machine: Machine
    address: str | None = None
    gpu_fraction: float | None = None
    """Share of a GPU for every trial; None measures each arm."""
    shares: dict[str, float] = field(default_factory=dict)
    """Shares of arms that are set by hand, by the arm's name."""
    keep_weights: bool = True
    retry_diverged: bool = False
    """Train cells again whose loss stopped being finite."""
    search_paths: tuple[str, ...] = ()
    """Folders of the user's own modules."""
    run: str = field(default_factory=lambda: secrets.token_hex(8))
    """Names this run among those on the results root."""


def run(plan: Plan, options: Options, display: Display) -> Outcome:
    """Trains the cells of `plan` that are missing.

    Raises: UserError: no cluster answers at the address.
    """
    assert plan.store is not None
    store = plan.store
    store.remove_left_overs()
    missing = [planned for planned in plan.missing if options.retry_diverged or not plan.diverged(planned)]
    tally = Tally(total=len(plan.cells), finished=len(plan.cells) - len(plan.missing), waiting=missing)
    stopper = StopOnRequest()
    if missing:
        for planned in missing:
            store.forget_failure(planned.cell.key)
        baseline = plan.study.baseline
        cpu = cpu_plan(baseline.spec, baseline.recipe, cores=options.machine.cores, memory=options.machine.memory)
        with (
            display,
            signals_stop(stopper, display),
            logged_to(store.study_folder(plan.study.name) / "ray.log"),
            started_ray(options.address, options.machine, cpu.at_once, cpu.threads),
            signals_stop(stopper, display),  # again: Ray has put a handler of its own in the place of ours
        ):
            display.update(tally)
            machine = options.machine if options.address is None else cluster_machine()
            shares = gpu_shares(missing, machine, options.gpu_fraction, plan.data) if machine.gpus else {}
            shares.update(options.shares)
            watch = Watch(plan, tally, display)
            rounds = 0
            while missing and not stopper.requested:
                watch.deaths.clear()
                _fit(plan, missing, machine, cpu, shares, stopper, watch, options)
                rounds += bool(watch.deaths)
                missing = [p for p in missing if not plan.is_finished(p) and store.failure(p.cell.key) is None]
                if stopper.requested:
                    break
                if rounds == ROUNDS:
                    for planned in missing:
                        if planned.cell.key in watch.deaths:
                            watch.give_up(planned)
                    missing = [planned for planned in missing if planned.cell.key not in watch.deaths]
                elsewhere = [p for p in missing if store.claimed_by_another(p.cell.key, options.run)]
                if elsewhere and len(elsewhere) == len(missing):
                    _wait_for_others(store, elsewhere, options.run, stopper, display)
    failures = [store.failure(planned.cell.key) for planned in plan.missing]
    return Outcome(
        finished=[planned for planned in plan.cells if plan.is_finished(planned)],
        failures=[failure for failure in failures if failure is not None],
        interrupted=stopper.requested,
    )


def _wait_for_others(
    store: Store, cells: list[PlannedCell], run: str, stopper: StopOnRequest, display: Display
) -> None:
    """Until one of `cells`, which other studies are training, is finished or free."""
    display.line(f"waiting for {len(cells)} cells that another study on this results folder is training")
    while not stopper.requested and all(
        store.claimed_by_another(planned.cell.key, run) and not store.is_finished(planned.cell.key) for planned in cells
    ):
        time.sleep(1)


def _fit(
    plan: Plan,
    cells: list[PlannedCell],
    machine: Machine,
    cpu: CpuPlan,
    shares: dict[str, float],
    stopper: StopOnRequest,
    watch: Watch,
    options: Options,
) -> None:
    """Hands the cells to Tune. The images go to the trials once, through the object store."""
    assert plan.store is not None

    def placement(planned: PlannedCell) -> dict[str, Any]:
        share = shares.get(planned.arm.name, 0.0)
        on_gpu = bool(share and machine.gpu_name)
        return {
            "device_type": "cuda" if on_gpu else "cpu",
            "threads": cpu.threads,
            "trials_at_once": cpu.at_once if not share else int(machine.gpus * (1 / share)),
            "gpu_share": share,
            "memory_cap": memory_cap(share, machine.gpu_memory) if on_gpu else None,
        }

    trials = [
        {"cell": planned.cell.model_dump(mode="json"), "arm": planned.arm.name, "placement": placement(planned)}
        for planned in cells
    ]
    trainable = tune.with_parameters(
        CellTrial,
        data=plan.data,
        common=Common(
            root=str(plan.store.root.resolve()),
            protocol=plan.study.protocol,
            run=options.run,
            keep_weights=options.keep_weights,
            search_paths=list(options.search_paths),
        ),
    )
    scratch = plan.store.scratch("tune").resolve()

    def request(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        placed = config["trial"]["placement"]
        bundle = {"CPU": 1.0 if placed["gpu_share"] else float(placed["threads"])}
        return tune.PlacementGroupFactory([{**bundle, **({"GPU": placed["gpu_share"]} if placed["gpu_share"] else {})}])

    def name(trial: Trial) -> str:
        return Cell.model_validate(trial.config["trial"]["cell"]).key

    tuner = tune.Tuner(
        tune.with_resources(trainable, request),
        param_space={"trial": tune.grid_search(trials)},
        tune_config=tune.TuneConfig(
            reuse_actors=True, trial_name_creator=name, trial_dirname_creator=name, max_concurrent_trials=None
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(scratch),
            verbose=0,
            stop=stopper,
            callbacks=[watch],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=1),
        ),
    )
    try:
        tuner.fit()
    except KeyboardInterrupt:
        stopper.requested = True
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
