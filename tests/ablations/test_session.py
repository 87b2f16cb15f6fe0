"""Starting and ending Ray, without Ray."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from ablations import session
from ablations.interruption import SENTENCE
from ablations.session import StopOnRequest, logged_to, signals_ignored, signals_stop, started_ray
from cnnkit.errors import UserError


class Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


class FakeRay:
    """Ray's `init` and `shutdown`; the first starts fail."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.arguments, self.shut_down = failures, [], 0

    def init(self, **arguments):
        self.arguments.append({**arguments, "RAY_ADDRESS": os.environ.get("RAY_ADDRESS")})
        if len(self.arguments) <= self.failures:
            raise Exception("The current node timed out during startup. This could happen because some of the raylet")

    def shutdown(self):
        self.shut_down += 1


@pytest.fixture
def fake(monkeypatch):
    def put(failures: int = 0) -> FakeRay:
        ray = FakeRay(failures)
        monkeypatch.setattr(session.ray, "init", ray.init)
        monkeypatch.setattr(session.ray, "shutdown", ray.shutdown)
        return ray

    return put


def start(display: Lines, stopper: StopOnRequest | None = None, address: str | None = None):
    return started_ray(address, cores=2, gpus=0, memory=2**30, display=display, stopper=stopper or StopOnRequest())


def test_a_busy_machine_gets_a_second_chance_and_is_told(fake):
    ray, display = fake(failures=1), Lines()
    with start(display) as folder:
        assert folder.is_dir()
    assert len(ray.arguments) == 2
    assert len(display.lines) == 1
    assert "trying again" in display.lines[0]
    assert not folder.exists()


def test_a_machine_on_which_ray_never_starts_gets_one_sentence(fake):
    fake(failures=99)
    with (
        pytest.raises(UserError, match=r"Ray does not start on this machine .*timed out during startup"),
        start(Lines()),
    ):
        raise AssertionError("unreachable")


def test_a_local_study_ignores_a_cluster_that_the_environment_names(fake, monkeypatch):
    ray = fake()
    monkeypatch.setenv("RAY_ADDRESS", "10.1.2.3:6379")
    with start(Lines()):
        pass
    assert ray.arguments[0]["address"] == "local"


def test_what_a_study_puts_into_the_environment_is_gone_after_it(fake):
    fake()
    before = dict(os.environ)
    with start(Lines()):
        assert "RAY_AUTH_TOKEN" in os.environ
    assert dict(os.environ) == before


def test_an_address_where_nothing_listens_is_said_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    with (
        pytest.raises(UserError, match=f"--address {address}: no Ray cluster answers"),
        start(Lines(), address=address),
    ):
        raise AssertionError("unreachable")
    assert time.monotonic() - began < 20


@pytest.fixture
def listener():
    """A server that says `words` to who connects, if anything; its address."""
    servers = []

    def listening(words: bytes | None) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    if words is not None:
                        connection.sendall(words)
                    servers.append(connection)

        threading.Thread(target=serve, daemon=True).start()
        return f"127.0.0.1:{server.getsockname()[1]}"

    yield listening
    for server in servers:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.mark.parametrize("words", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_an_address_where_something_else_listens_is_not_joined(fake, listener, monkeypatch, words):
    ray = fake()
    monkeypatch.setattr(session, "ANSWER_SECONDS", 0.9)
    address = listener(words)
    with pytest.raises(UserError, match=f"--address {address}: no Ray cluster"), start(Lines(), address=address):
        raise AssertionError("unreachable")
    assert ray.arguments == []


SETTINGS = b"\0\0\0\4" + b"\0" * 5


def test_a_cluster_is_joined(fake, listener):
    ray, address = fake(), listener(SETTINGS)
    with start(Lines(), address=address):
        assert ray.arguments[0]["address"] == address
    assert ray.shut_down == 1


def test_a_cluster_that_answers_and_then_hangs_has_an_end(fake, listener, monkeypatch):
    fake()
    monkeypatch.setattr(session, "ANSWER_SECONDS", 0.9)
    hung = threading.Event()
    monkeypatch.setattr(session.ray, "init", lambda **arguments: hung.wait())
    with (
        pytest.raises(UserError, match="no Ray cluster answers there"),
        start(Lines(), address=listener(SETTINGS)),
    ):
        raise AssertionError("unreachable")
    hung.set()


def test_the_first_signal_asks_for_a_stop_and_the_second_stops_now():
    stopper, display = StopOnRequest(), Lines()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), signals_stop(stopper, display):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopper.requested
        assert len(display.lines) == 1
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before


def test_signals_wait_while_ray_ends():
    with signals_ignored():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_study_may_run_beside_the_main_thread():
    said = []

    def run() -> None:
        with signals_stop(StopOnRequest(), Lines()):
            said.append("ran")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert said == ["ran"]


def test_what_ray_prints_of_its_processes_goes_to_the_log(tmp_path, capfd):
    with logged_to(tmp_path / "ray.log"):
        session.ray._private.worker.print_to_stdstream({"lines": ["Raylet is terminated."], "pid": "raylet"})
    assert "Raylet is terminated." in (tmp_path / "ray.log").read_text()
    assert capfd.readouterr() == ("", "")


def test_a_log_that_cannot_be_written_says_nothing(tmp_path, capfd):
    full = tmp_path / "ray.log"
    full.symlink_to("/dev/full")
    with logged_to(full):
        session.logging.getLogger("ray").error("something")
    assert capfd.readouterr() == ("", "")


RUNNER = """
import sys, time
from pathlib import Path
from ablations.interruption import interrupts_end_quietly, removed_if_interrupted
interrupts_end_quietly()
folder = Path(sys.argv[1])
with removed_if_interrupted(folder):
    folder.mkdir()
    print("ready", flush=True)
    while True:
        try:
            time.sleep(60)
        except BaseException:  # as some libraries do
            pass
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_script_that_is_interrupted_says_one_line_and_leaves_nothing_half(number, tmp_path):
    folder = tmp_path / "report"
    command = [sys.executable, "-c", RUNNER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors == f"{SENTENCE}\n"
    assert not folder.exists()


NATIVE = """
import ctypes, os, signal
from ablations import session

def init(**arguments):
    ctypes.CDLL(None).signal(signal.SIGTERM, 0)  # as Ray's native code does, behind Python's back

class Display:
    def line(self, text):
        print(text)

session.ray.init, session.ray.shutdown = init, lambda: None
stopper = session.StopOnRequest()
resources = {"cores": 1, "gpus": 0, "memory": 2**30}
with (
    session.signals_stop(stopper, Display()),
    session.started_ray(None, **resources, display=Display(), stopper=stopper),
):
    os.kill(os.getpid(), signal.SIGTERM)
print(stopper.requested)
"""


def test_a_handler_that_native_code_of_rays_takes_is_put_back():
    result = subprocess.run([sys.executable, "-c", NATIVE], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "True"
