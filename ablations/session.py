"""Ray for the length of a study: started quietly, logged to a file, stopped by signals, and gone without a trace."""

import contextlib
import logging
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablations.display import Display
from ablations.resources import GIB, Machine
from cnnkit.errors import UserError

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
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",
}
os.environ.update(QUIET)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.experiment import Trial  # noqa: E402

# Whoever needs Ray takes it from here, so that the settings above are there before it is imported.
__all__ = ["Trial", "ray", "tune"]

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


class StopOnRequest(tune.Stopper):
    """Ends a study before its cells are trained: trials stop after the slice of training they are in."""

    def __init__(self) -> None:
        self.requested = False
        """A signal has asked for it."""
        self.ended = False
        """It cannot go on."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.requested or self.ended


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
