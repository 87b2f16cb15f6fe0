"""Runs a study's missing cells through Ray Tune. Nothing else in the project knows Ray.

The ledger of finished cells is the results root: Tune is given a list of what is missing, and its own
experiment state is thrown away. A trial is one cell; Tune places it, and starts it again when its process dies.
"""

import contextlib
import gc
import logging
import os
import secrets
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablations.cell import Cell
from ablations.display import Display, Running, Tally
from ablations.plan import Plan, PlannedCell
from ablations.record import Failure, Store
from ablations.resources import GIB, CpuPlan, Machine, cpu_plan, gpu_share, memory_cap, training_bytes
from ablations.units import duration
from cnnkit.data import Data
from cnnkit.errors import UserError
from cnnkit.recipe import Recipe
from cnnkit.spec import ConvNetSpec, ModuleSpec

# Ray and Tune read these when they are imported, or started.
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_WARN_THRESHOLD_S": "1000",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
}
os.environ.update(QUIET)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.experiment import Trial  # noqa: E402

WORKER_ENVIRONMENT = {
    # glibc's allocator gives large maps back to the system and asks for them again with every batch, which halves the
    # speed of training on CPUs; it is read when a process starts.
    "MALLOC_MMAP_THRESHOLD_": str(32 * GIB),
    "MALLOC_TRIM_THRESHOLD_": str(32 * GIB),
    "MALLOC_TOP_PAD_": str(GIB // 4),
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
STUDY_FOLDER = "ABLATIONS_STUDY_FOLDER"
"""Environment variable by which the processes of a study that was killed are known."""
SLICE_SECONDS = 1.0
"""How long a trial trains between two reports; a stop waits no longer than that."""
ROUNDS = 3
"""How often cells whose process died (killed by the system for its memory, lost with its node) are handed to Tune. Tune starts
a trial again itself, once, but gives a trial up when a lost node fails it twice at one time."""


@dataclass(frozen=True)
class Outcome:
    """How a run of a study ended."""

    finished: list[PlannedCell]
    failures: list[Failure]
    interrupted: bool


@dataclass(frozen=True)
class Common:
    """What all trials of a run have in common."""

    root: str
    protocol: str
    run: str
    """Names this run of the study; its trials may take over one another's cells when a process or a node dies."""
    keep_weights: bool
    search_paths: list[str]
    """Folders of the user's own modules."""


class CellTrial(tune.Trainable):
    """A cell as Tune sees it: a step is about a second of training. One process trains one cell after another."""

    def setup(self, config: dict[str, Any], data: Data, common: "Common") -> None:
        from cnnkit.module import add_search_paths

        add_search_paths(common.search_paths)
        self.data, self.store, self.common = data, Store(Path(common.root)), common
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        from ablations.trial import Placement, run_cell

        self._release()
        trial = config["trial"]
        self.cell, self.arm = Cell.model_validate(trial["cell"]), trial["arm"]
        key = self.cell.key
        self.claimed = not self.store.is_finished(key) and self.store.claim(key, self.common.run)
        if not self.claimed:
            return  # another study has trained it by now, or is training it
        self.run = run_cell(
            self.cell,
            self.data,
            self.store,
            arm=self.arm,
            protocol=self.common.protocol,
            placement=Placement.model_validate(trial["placement"]),
            keep_weights=self.common.keep_weights,
        )

    def step(self) -> dict[str, Any]:
        from cnnkit.train import Diverged

        deadline = time.monotonic() + SLICE_SECONDS
        self.store.touch(self.cell.key)
        try:
            for progress, accuracy in self.run:
                if time.monotonic() > deadline:
                    return {
                        "epoch": progress.epoch,
                        "share": (progress.epoch - 1 + progress.update / progress.updates) / self.cell.recipe.epochs,
                        "validation_accuracy": accuracy,
                    }
        except Diverged as error:
            self._fail("diverged", str(error), error.epoch)
        except Exception as error:  # whatever one cell does must not end the others
            self._fail("failed", f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}", None)
        self._release()
        return {"done": True}

    def _fail(self, kind: str, sentence: str, epoch: int | None) -> None:
        failure = Failure.model_validate(
            {
                "key": self.cell.key,
                "arm": self.arm,
                "seed": self.cell.seed,
                "kind": kind,
                "sentence": sentence,
                "epoch": epoch,
            }
        )
        self.store.write_failure(failure, traceback.format_exc())
        self.store.release(self.cell.key)

    def _release(self) -> None:
        """Lets go of the model, and on a GPU of its memory, before the next cell."""
        import torch

        self.run = iter(())
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def cleanup(self) -> None:
        self._release()
        if self.claimed:
            self.store.release(self.cell.key)


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


class StopOnRequest(tune.Stopper):
    """Ends a study when a signal has asked for it: trials stop after the slice of training they are in."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.requested


@contextlib.contextmanager
def signals_stop(stopper: StopOnRequest, display: Display) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks for a stop, the second stops now."""

    def handle(number: int, frame: object) -> None:
        if stopper.requested:
            raise KeyboardInterrupt
        stopper.requested = True
        display.line("stopping: what is finished stays; again to stop without waiting for what is being written")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def logged_to(file: Path) -> Iterator[None]:
    """Sends what Ray and Tune log to `file`: what concerns the user reaches them as a sentence of ours."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # On the root, since `ray.init` takes the handlers of Ray's own logger away.
    ray_logger, root = logging.getLogger("ray"), logging.getLogger()
    before = ray_logger.handlers, ray_logger.propagate
    ray_logger.handlers, ray_logger.propagate = [], True
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        ray_logger.handlers, ray_logger.propagate = before
        handler.close()


@contextlib.contextmanager
def started_ray(address: str | None, machine: Machine, at_once: int, threads: int) -> Iterator[None]:
    """Ray: inside this process and gone with it, or an existing cluster at `address`."""
    common: dict[str, Any] = {
        "log_to_driver": False,
        "runtime_env": {"env_vars": {**QUIET, **WORKER_ENVIRONMENT}},
    }
    if address is not None:
        try:
            ray.init(address, **common)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"--address {address}: no Ray cluster answers there; start one with `ray start`") from error
        try:
            yield
        finally:
            ray.shutdown()
        return
    remove_left_overs()
    folder = Path(tempfile.mkdtemp(prefix=f"ablations-{os.getpid()}-", dir=short_temporary_folder()))
    os.environ[STUDY_FOLDER] = str(folder)
    # Ray protects a cluster that it starts by a token. One of our own, in memory, keeps Ray from writing one into the
    # home directory, readable for all.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        ray.init(
            num_cpus=max(machine.cores, at_once * threads),
            num_gpus=machine.gpus,
            include_dashboard=False,
            _temp_dir=str(folder),
            _node_ip_address="127.0.0.1",
            **common,
        )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def short_temporary_folder() -> Path:
    """The temporary folder, or /tmp where that path is too long for the names of Ray's sockets (107 bytes)."""
    folder = Path(tempfile.gettempdir())
    return folder if len(str(folder)) < 30 else Path("/tmp")


def remove_left_overs() -> None:
    """What studies on this machine left that were killed outright: temporary folders, and helpers of Ray that did not notice."""
    for folder in short_temporary_folder().glob("ablations-*-*"):
        process = folder.name.split("-")[1]
        if not process.isdigit() or Path(f"/proc/{process}").exists() or folder.stat().st_uid != os.getuid():
            continue
        mark = f"{STUDY_FOLDER}={folder}\0".encode()
        for other in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (other / "environ").read_bytes() + b"\0":
                    os.kill(int(other.name), signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def probe_bytes(spec: ConvNetSpec | ModuleSpec, recipe: Recipe) -> int:
    """GPU memory that two training steps and an evaluation reserve, in bytes, measured on the GPU of this process."""
    import numpy as np
    import torch

    from cnnkit.data import ImageSet
    from cnnkit.evaluate import BATCH_SIZE
    from cnnkit.model import build
    from cnnkit.train import Training

    rng = np.random.default_rng(0)

    def noise(count: int) -> ImageSet:
        pixels = rng.integers(0, 256, (count, spec.in_channels, 32, 32), dtype=np.uint8)
        return ImageSet(pixels, rng.integers(0, spec.num_classes, count))

    data = Data(noise(2 * recipe.batch_size), noise(BATCH_SIZE), noise(BATCH_SIZE), 0, "", "other", Path())
    one_epoch = recipe.model_copy(update={"epochs": 1})
    training = Training(build(spec), one_epoch, data, image_size=spec.image_size, seed=0, device="cuda")
    for _ in training.run():
        pass
    reserved = torch.cuda.max_memory_reserved()
    del training
    gc.collect()
    torch.cuda.empty_cache()
    return reserved


def probed_bytes(cells: list[PlannedCell]) -> dict[str, int]:
    """Memory need of each arm by its name, measured one after the other on one GPU of the cluster."""
    arms = {planned.arm.name: planned.arm for planned in cells}
    task = ray.remote(num_gpus=1, max_calls=1)(
        lambda networks: [probe_bytes(spec, recipe) for spec, recipe in networks]
    )
    needs = ray.get(task.remote([(arm.spec, arm.recipe) for arm in arms.values()]))
    return dict(zip(arms, needs, strict=True))


def gpu_shares(cells: list[PlannedCell], machine: Machine, fraction: float | None, data: Data) -> dict[str, float]:
    """Share of a GPU for each arm by its name: `fraction` for all, or from each arm's own need of memory: measured
    where there is a GPU, estimated where Ray was only told of one.
    """
    if fraction is not None:
        return {planned.arm.name: fraction for planned in cells}
    images = sum(part.images.nbytes for part in (data.train, data.validation, data.test))
    if machine.gpu_name:
        needs = probed_bytes(cells)
    else:
        needs = {planned.arm.name: training_bytes(planned.arm.spec, planned.arm.recipe) for planned in cells}
    return {name: gpu_share(need + images, machine.gpu_memory) for name, need in needs.items()}


def cluster_machine() -> Machine:
    """The resources of the cluster that this process has joined."""
    resources = ray.cluster_resources()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(resources.get("GPU", 0))
    name, memory = "", 0
    if gpus:
        name, memory = ray.get(ray.remote(num_gpus=1, max_calls=1)(_describe_gpu).remote())
    return Machine(
        cores=int(resources.get("CPU", 1)),
        memory=int(min(node.get("memory", 8 * GIB) for node in nodes)),
        gpus=gpus,
        gpu_memory=memory,
        gpu_name=name,
    )


def _describe_gpu() -> tuple[str, int]:
    import torch

    if not torch.cuda.is_available():
        return "", 16 * GIB
    card = torch.cuda.get_device_properties(0)
    return card.name, card.total_memory


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
