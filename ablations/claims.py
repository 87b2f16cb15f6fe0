"""Which run trains which cell, so that studies at once on one results folder do not train a cell twice.

    ROOT/runs/RUN.lock, RUN.json     a run: a lock for as long as its process lives, and where that process is
    ROOT/runs/claims.lock            held for the moment in which a claim is looked at and changed
    ROOT/unfinished/KEY/claim.json   which run has the cell

On one machine a run lives while the kernel keeps its lock. Of a run on another machine only its heartbeat is seen, the
time at which RUN.json was touched last. A claim of a run that does not live is free. A folder that was copied holds no
locks, and none of its RUN.json is the file that its run touches, so copied claims are free as well.
"""

import contextlib
import os
import secrets
import socket
import time
import uuid
import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from ablations import files
from ablations.locks import Lock, NoLocks, is_held
from cnnkit.errors import UserError
from cnnkit.spec import Stored

HEARTBEAT_HOLDS = 600.0
"""Seconds that another machine's run is taken to live after its last heartbeat."""
PATIENCE = 60.0
"""Seconds to wait for the lock on claims, which nobody holds longer than some milliseconds."""


class Claim(Stored):
    """Which run trains a cell."""

    run: str
    host: str = ""
    process: int = 0


class RunOnDisk(Stored):
    """What others can know of a run."""

    machine: str
    """Of `this_machine`."""
    file: int
    """Number (inode) of the file that this stands in, which a copy has not."""
    locks: bool
    """Whether the file system has locks; else the heartbeat is all there is."""


@cache
def this_machine() -> str:
    """The running kernel: the same in all its containers, another one after a restart."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{socket.gethostname()}-{uuid.getnode():x}"


class Run:
    """A run on a results folder and the cells that it has claimed. It lives until `end`, or as long as its process."""

    def __init__(self, root: Path) -> None:
        """Raises: OSError: the folder cannot be written."""
        self.root, self.name = root, secrets.token_hex(8)
        self._lock = Lock(_folder(root) / f"{self.name}.lock")
        self._claims_lock: Lock | None = Lock(_folder(root) / "claims.lock")
        try:
            self._lock.acquire()
        except NoLocks:
            self._claims_lock = None
        self._announce()
        self._end = weakref.finalize(self, _clear_away, self._lock, self._file)  # at the interpreter's end, too

    def take(self, key: str) -> bool:
        """Whether this run has the cell now.

        Raises: OSError. UserError: the claims stay locked.
        """
        with self.exclusively():
            file = _claim_file(self.root, key)
            holder = _read(file)
            if holder is not None and holder.run == self.name:
                return True
            if holder is not None and is_alive(self.root, holder.run):
                return False
            files.remove(file)  # of a run that lives no longer
            files.folder(self.root, "unfinished", key)
            claim = Claim(run=self.name, host=socket.gethostname(), process=os.getpid())
            return files.create(file, claim.model_dump_json().encode())

    def release(self, key: str) -> None:
        """Gives a cell back, if this run has it; its checkpoint stays."""
        with self.exclusively():
            file = _claim_file(self.root, key)
            holder = _read(file)
            if holder is not None and holder.run == self.name:
                files.remove(file)
            with contextlib.suppress(OSError):
                file.parent.rmdir()  # where no checkpoint is left in it

    def beat(self) -> None:
        """Says to other machines that the run lives."""
        try:
            os.utime(self._file)
        except FileNotFoundError:  # somebody took it for dead, after a long sleep of this machine, say
            self._announce()

    def end(self) -> None:
        """The run's claims are free from now on."""
        self._end()

    @property
    def _file(self) -> Path:
        return _folder(self.root) / f"{self.name}.json"

    def _announce(self) -> None:
        """Writes what others can know. Only its own file knows the file's number, so it is written in place."""
        descriptor = os.open(
            self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), files.MODE
        )
        with os.fdopen(descriptor, "wb") as stream:
            number = os.fstat(stream.fileno()).st_ino
            about = RunOnDisk(machine=this_machine(), file=number, locks=self._claims_lock is not None)
            stream.write(about.model_dump_json().encode())

    @contextlib.contextmanager
    def exclusively(self) -> Iterator[None]:
        """No other run changes claims or manifests in the meantime.

        Raises: UserError: the lock stays another's.
        """
        if self._claims_lock is None:
            yield
            return
        if not self._claims_lock.acquire(patience=PATIENCE):
            raise UserError(f"{self._claims_lock.file} is held by another process; end it, then run the command again")
        try:
            yield
        finally:
            self._claims_lock.release()


def _clear_away(lock: Lock, file: Path) -> None:
    lock.release()
    for left in (file, lock.file):
        files.remove(left)


def is_claimed(root: Path, key: str, *, but_by: str | None = None) -> bool:
    """Whether a living run has the cell. Changes nothing. `but_by`: a run whose own claim does not count."""
    claim = _read(_claim_file(root, key))
    return claim is not None and claim.run != but_by and is_alive(root, claim.run)


def is_alive(root: Path, run: str) -> bool:
    """Whether a run's process lives, as far as can be known from here."""
    if not run.isalnum():
        return False
    file = root / "runs" / f"{run}.json"
    try:
        about = RunOnDisk.model_validate_json(files.read(file))
        status = file.stat()
    except (OSError, ValidationError):
        # A run is announced once it holds its lock, and a lock may be seen a moment before its announcement.
        return _holds(root, run)
    if about.machine == this_machine() and about.locks:
        return _holds(root, run)
    return status.st_ino == about.file and time.time() - status.st_mtime < HEARTBEAT_HOLDS


def remove_dead_runs(root: Path) -> None:
    """What runs left that live no longer."""
    for file in (root / "runs").glob("*.json"):
        if not is_alive(root, file.stem):
            files.remove(file.with_suffix(".lock"))
            files.remove(file)
    for file in (root / "runs").glob("*.lock"):  # of one that was killed before it was announced
        with contextlib.suppress(OSError):
            announced = file.name == "claims.lock" or file.with_suffix(".json").exists()
            if not announced and time.time() - file.lstat().st_mtime > HEARTBEAT_HOLDS and not _holds(root, file.stem):
                files.remove(file)


def _holds(root: Path, run: str) -> bool:
    try:
        return is_held(root / "runs" / f"{run}.lock")
    except NoLocks:
        return False


def _folder(root: Path) -> Path:
    return files.folder(root, "runs")


def _claim_file(root: Path, key: str) -> Path:
    return root / "unfinished" / key / "claim.json"


def _read(file: Path) -> Claim | None:
    try:
        return Claim.model_validate_json(files.read(file))
    except (OSError, ValidationError):
        return None
