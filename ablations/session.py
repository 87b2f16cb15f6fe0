"""Ray for the length of a study: started quietly, logged to a file, stopped by signals, and gone without a trace."""

import contextlib
import logging
import math
import os
import secrets
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ablations.cli import BAD_INPUT, INTERRUPTED
from ablations.display import Display
from ablations.interruption import SENTENCE
from ablations.resources import GIB
from ablations.temporary import STUDY_FOLDER, end_helpers, remove_left_overs, study_folder
from cnnkit.errors import UserError, brief

# Ray and Tune read these when they are imported, or started.
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_NUM_REDIS_GET_RETRIES": "60",
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
from ray.job_config import JobConfig  # noqa: E402
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
TOKEN = secrets.token_hex(32)
"""Ray protects a cluster that it starts by a token. One of our own, in memory, keeps Ray from writing one into the home
directory, readable for all. One for the process, since Ray reads it once."""
HTTP2_SETTINGS = b"\x04"
HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + HTTP2_SETTINGS + b"\0" * 5
"""What a client says first: the preface and an empty frame of settings (RFC 9113, section 3.4)."""
ANSWER_SECONDS = 25.0
"""How long a cluster has to answer."""
START_TRIES = 3
"""How often Ray is started here; it gives up after half a minute, which a busy machine may need."""
END_SECONDS = 20.0
"""How long Ray has to end by itself."""
GRACE_SECONDS = 10.0
"""How long the study has to end by itself after a part of Ray has."""
SHORT_SECONDS = 4.0
"""How long Ray has to end by itself that has not even started: after five it complains that parts of it are missing."""
SIGNAL_SECONDS = 2.0
"""How long a signal may take to be heard here after Ray's processes have."""
PULSE_SECONDS = 0.5
SILENCE_SECONDS = 30.0
"""How long the head of a cluster may be silent; after a minute Ray would end this process."""


class _Log(logging.FileHandler):
    """A log that may fail: on a full disk, where logging's own complaint would be a page long, or in a folder that is gone."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # the file is opened for the first record
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        pass


@contextlib.contextmanager
def logged_to(file: Path) -> Iterator[None]:
    """Sends what Ray and Tune log to `file`: what concerns the user reaches them as a sentence of ours."""
    handler = _Log(file, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # On the root, since `ray.init` takes the handlers of Ray's own logger away.
    ray_logger, root = logging.getLogger("ray"), logging.getLogger()
    before = ray_logger.handlers, ray_logger.propagate
    ray_logger.handlers, ray_logger.propagate = [], True
    root.addHandler(handler)
    worker = ray._private.worker
    printed = getattr(worker, "print_to_stdstream", None)
    # Errors of its processes Ray prints, whatever `log_to_driver` says.
    worker.print_to_stdstream = lambda data, *_, **__: ray_logger.error("%s", "\n".join(map(str, data["lines"])))
    try:
        yield
    finally:
        worker.print_to_stdstream = printed
        root.removeHandler(handler)
        ray_logger.handlers, ray_logger.propagate = before
        with contextlib.suppress(OSError):
            handler.close()


@contextlib.contextmanager
def started_ray(
    address: str | None, *, cores: int, gpus: int, memory: int, display: Display, stopper: "StopOnRequest"
) -> Iterator[Path]:
    """Ray: started here and gone at the end, or an existing cluster at `address`. Yields a folder for temporary files.

    Args: cores, gpus, memory (bytes): what trials may use of this machine.
    Raises: UserError: Ray does not start, or no cluster answers.
    """
    remove_left_overs()
    with study_folder() as folder:
        if address is not None:
            life = _joined(address, stopper, display, folder)
            try:
                yield folder
            finally:
                life.end()
            return
        variables = {STUDY_FOLDER: str(folder), "RAY_AUTH_TOKEN": TOKEN}
        with environment(variables), only_on_this_machine(), deaf_to_signals() as groups:
            try:
                life = _started(folder, groups, display, stopper, num_cpus=cores, num_gpus=gpus, _memory=memory)
                try:
                    yield folder
                finally:
                    life.end()
            finally:
                end_helpers(folder, groups)


def _started(folder: Path, groups: list[int], display: Display, stopper: "StopOnRequest", **resources: int) -> "_Life":
    for left in reversed(range(START_TRIES)):
        # Not an existing cluster that RAY_ADDRESS names, say.
        life = _Life(
            stopper,
            display,
            folder,
            groups,
            address="local",
            include_dashboard=False,
            _temp_dir=str(folder),
            **resources,
        )
        try:
            life.begin()
            return life
        except Exception as error:  # Ray raises plain exceptions here
            life.end()
            end_helpers(folder, groups)
            if stopper.requested:  # the signal has ended what was starting, too
                raise KeyboardInterrupt from error
            if not left or stopper.stop_all():
                raise UserError(
                    f"Ray does not start on this machine ({brief(error)}): it may be too busy, or have too little memory or "
                    f"disk; try again when there is more room"
                ) from error
            display.line("Ray has not started, the machine may be busy; trying again")
        except KeyboardInterrupt:
            life.end(SHORT_SECONDS)
            raise
    raise AssertionError("unreachable")


def _joined(address: str, stopper: "StopOnRequest", display: Display, folder: Path) -> "_Life":
    nobody = UserError(f"--address {address}: no Ray cluster answers there; start one with `ray start`")
    where = _host_and_port(address)
    if where is not None and not _speaks_ray(where):
        raise nobody
    life = _Life(stopper, display, folder, [], address=address)
    try:
        life.begin(ANSWER_SECONDS)
    except Exception as error:
        life.end(seconds=1)
        raise nobody from error
    return life


def _speaks_ray(where: tuple[str, int]) -> bool:
    """Whether something listens there that may be Ray: which speaks HTTP/2, and says so at once. Ray itself, asked to join
    something else, waits long and warns on the terminal.
    """
    try:
        with socket.create_connection(where, timeout=ANSWER_SECONDS / 3) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return True  # it waits for a handshake
            connection.sendall(HTTP2_HELLO)
            return connection.recv(9)[3:4] == HTTP2_SETTINGS
    except OSError:
        return False


def _host_and_port(address: str) -> tuple[str, int] | None:
    """The parts of 10.0.0.1:6379, say; None of `auto`."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdigit() else None


class _OursAlone(list[str]):
    """The folders that Ray puts before all others on its processes' paths: where our packages are, if they are not installed.

    Ray would add the script's folder and the current one, in which a user's `random.py` or `ablations.py` would take the
    place of what everybody else means by that. Trials add the user's folders after everything else.
    """

    def __init__(self) -> None:
        ours = Path(__file__).resolve().parents[1]
        super().__init__([] if ours.name in ("site-packages", "dist-packages") else [str(ours)])

    def extend(self, folders: Iterable[str]) -> None:
        pass


class _Life:
    """Ray from its start to its end, in a thread of its own.

    So signals are heard while it starts, it puts no handler in the place of ours, and a start that never ends does not hold
    us up. Ray's processes end with the thread that started them, so the thread lives as long as they shall.
    """

    def __init__(
        self, stopper: "StopOnRequest", display: Display, folder: Path, groups: list[int], **arguments: Any
    ) -> None:
        self.stopper, self.display, self.folder, self.arguments = stopper, display, folder, arguments
        self.groups = groups
        """Process groups of Ray's processes, which grows as they are started."""
        self.begun, self.over = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self.heard = time.monotonic()
        """When the head of the cluster answered last."""
        self.thread = threading.Thread(target=self._run, daemon=True, name="Ray")

    def _run(self) -> None:
        try:
            ray.init(
                log_to_driver=False,
                job_config=JobConfig(_py_driver_sys_path=_OursAlone()),
                runtime_env={"env_vars": {**QUIET, **WORKER_ENVIRONMENT}},
                **self.arguments,
            )
        except BaseException as error:
            self.error = error
        self.begun.set()
        while not self.over.wait(PULSE_SECONDS):
            dead = self._dead_part() if self.error is None else None
            if dead is not None:
                self._end_without(dead)
        ray.shutdown()

    def _end_without(self, part: str) -> None:
        """Ends the study without a part of Ray's, which left alone would end this process with a message of its own.

        A signal to all processes of a group, as `timeout` and batch systems send it, ends Ray's, too. Then it is the signal that
        ends the study, whichever of the two is noticed first.
        """
        self._wait(lambda: self.stopper.requested, SIGNAL_SECONDS)
        if not self.stopper.requested:
            self.stopper.end(
                UserError(f"{part} has ended, killed perhaps; what is finished stays, and the same command goes on")
            )
        elif not self.over.wait(SIGNAL_SECONDS) and _main_thread_hears():
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # as a second one: stop now
        if not self.over.wait(GRACE_SECONDS):
            self._abandon()

    def _wait(self, until: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not until() and not self.over.is_set() and time.monotonic() < end:
            time.sleep(0.02)

    def _abandon(self) -> None:
        """The main thread hangs in a call of Ray's that never returns; a minute later Ray would end this process all the same,
        with exit code 1 and words of its own.
        """
        with contextlib.suppress(Exception):
            self.display.__exit__(None, None, None)
            sys.stdout.flush()
        end_helpers(self.folder, self.groups)
        shutil.rmtree(self.folder, ignore_errors=True)
        interrupted = self.stopper.error is None
        os.write(2, f"{SENTENCE if interrupted else f'error: {self.stopper.error}'}\n".encode())
        os._exit(INTERRUPTED if interrupted else BAD_INPUT)

    def _dead_part(self) -> str | None:
        """A process of Ray's without which there is no going on, if it has ended."""
        node = ray._private.worker._global_node
        started_here = getattr(node, "all_processes", {})
        for name in ("raylet", "gcs_server"):
            if any(info.process.poll() is not None for info in started_here.get(name, [])):
                return f"Ray's {name}"
        head = _host_and_port(node.gcs_address) if node is not None and not started_here else None
        if head is not None and time.monotonic() - self.heard > SILENCE_SECONDS / 4:
            try:
                socket.create_connection(head, timeout=SILENCE_SECONDS / 4).close()
                self.heard = time.monotonic()
            except OSError:
                if time.monotonic() - self.heard > SILENCE_SECONDS:
                    return f"the Ray cluster at {node.gcs_address}"
        return None

    def begin(self, seconds: float | None = None) -> None:
        """Raises: TimeoutError: Ray has not started within `seconds`. KeyboardInterrupt: a stop was asked for. Exception: as Ray
        does.
        """
        self.thread.start()
        until = math.inf if seconds is None else time.monotonic() + seconds
        while not self.begun.wait(0.02):
            reinstall_handlers()
            if self.stopper.requested:
                raise KeyboardInterrupt
            if time.monotonic() > until:
                raise TimeoutError(f"no answer within {seconds:.0f} s")
        reinstall_handlers()
        if self.error is not None:
            raise self.error

    def end(self, seconds: float = END_SECONDS) -> None:
        """Waits for the end, but no longer than `seconds`; signals have no effect meanwhile."""
        with signals_ignored():
            self.over.set()
            self.thread.join(seconds)
        if self.thread.is_alive() and self.stopper.requested:
            end_helpers(self.folder, self.groups)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where its native code would complain until this process ends


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def only_on_this_machine() -> Iterator[None]:
    """Has Ray use the loopback address, which it does on Windows and macOS by itself, and elsewhere not even if asked by
    `_node_ip_address`.
    """
    from ray._private import ray_constants

    before = getattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with environment({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def deaf_to_signals() -> Iterator[list[int]]:
    """Ray's processes do not hear signals that are meant for the study, which terminals and `timeout` send to its whole group,
    batch systems to all of its processes: this one ends them when what they do is written. Without its raylet it would end at
    once, with exit code 1. Ray itself has them block Ctrl-C alone. Yields the process groups that they have, as they start.
    """
    from ray._private import services

    groups: list[int] = []
    popen = getattr(services, "ConsolePopen", None)
    if popen is None or os.name != "posix":
        yield groups
        return

    class Deaf(popen):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, preexec_fn: Callable[[], None] | None = None, **more: Any) -> None:
            def prepare() -> None:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
                if preexec_fn is not None:
                    preexec_fn()

            super().__init__(*arguments, preexec_fn=prepare, process_group=0, **more)
            groups.append(self.pid)

        def terminate(self) -> None:
            self.kill()

    services.ConsolePopen = Deaf
    try:
        yield groups
    finally:
        services.ConsolePopen = popen


class StopOnRequest(tune.Stopper):
    """Ends a study before its cells are trained: trials stop after the slice of training they are in."""

    def __init__(self) -> None:
        self.requested = False
        """A signal has asked for it."""
        self.error: Exception | None = None
        """Why the study cannot go on."""

    def end(self, error: Exception) -> None:
        """The study cannot go on; the first reason counts."""
        self.error = self.error or error

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.requested or self.error is not None


SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def signals_stop(stopper: StopOnRequest, display: Display) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks for a stop, the second stops now."""

    def handle(number: int, frame: object) -> None:
        if stopper.requested:
            raise KeyboardInterrupt
        stopper.requested = True
        display.line("stopping: what is finished stays; again to stop without waiting for what is being written")

    with _handled(handle):
        yield


def reinstall_handlers() -> None:
    """Puts this process's handlers of signals back: Ray's native code takes that of SIGTERM, to print a stack and abort."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.getsignal(number))


def _main_thread_hears() -> bool:
    """Whether a signal would be handled, and not end this process as the system ends it."""
    return hasattr(signal, "pthread_kill") and callable(signal.getsignal(signal.SIGINT))


@contextlib.contextmanager
def signals_ignored() -> Iterator[None]:
    """Ctrl-C and SIGTERM have no effect for a while, because what runs is the end already."""
    with _handled(lambda number, frame: None):
        yield


@contextlib.contextmanager
def _handled(handle: Callable[[int, Any], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # where signals cannot be handled
        yield
        return
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
