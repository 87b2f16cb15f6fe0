"""The format on disk: one results root. Knows neither Ray nor torch.

    ROOT/ablations.json             what this folder is, and the data set that it was begun with
    ROOT/cells/KEY/record.json      identity, provenance, learning curve and accuracies of a finished cell
    ROOT/cells/KEY/logits.safetensors     validation and test logits (float32) and labels (int64)
    ROOT/cells/KEY/weights.safetensors    the last epoch's weights
    ROOT/unfinished/KEY/            checkpoint of a cell that is being trained, and which process has it
    ROOT/failed/KEY.json, KEY.log   why a cell failed, and the traceback
    ROOT/studies/NAME/study.json    the manifest: question, arms, cells, what the data is
    ROOT/studies/NAME/commands/     one file for each run of the study, so that copies of shards lose none

A cell's folder appears by a rename, so a cell is complete or not there. Records are read as if a stranger had written
them: JSON and safetensors only (no pickle), every name checked, every file's hash compared.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ablations.cell import key_of
from ablations.earlier_manifests import upgraded
from ablations.record import FORMAT, MANIFEST_FORMAT, CellResult, Claim, Command, Failure, Part, Record, Root, Study
from cnnkit.errors import UserError
from cnnkit.spec import Stored, one_sentence

KEY = re.compile(r"[0-9a-f]{20}")
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")

CLAIM_SECONDS = 1800
"""How long another machine's claim holds without a sign of life; evaluating a large test set takes minutes."""

ModelT = TypeVar("ModelT", bound=BaseModel)


class DamagedRecord(Exception):
    """A record that cannot be trusted; the text names it and says why."""


class Store:
    """A results root. `Store.open` begins or goes on with one, `Store(path)` reads one."""

    def __init__(self, root: Path) -> None:
        """Raises: UserError: `root` is not a results folder."""
        self.root = root
        if not (root / "ablations.json").is_file():
            raise UserError(f"{root} is not a results folder: it has no ablations.json; give the --results of a study")
        try:
            self.about = _parse(Root, root / "ablations.json")
        except DamagedRecord as error:
            raise UserError(f"{root} cannot be read: {error}") from error
        if self.about.format > FORMAT:
            raise UserError(f"{root} was written by a newer version (format {self.about.format}); update this software")

    @classmethod
    def open(cls, root: Path, *, data: str, data_description: str) -> "Store":
        """The results root at `root`, made where there is none.

        Raises: UserError: the folder holds something else, cannot be written, or was begun with other data.
        """
        try:
            root.mkdir(parents=True, exist_ok=True)
            if not (root / "ablations.json").exists():
                if any(root.iterdir()):
                    raise UserError(f"{root} holds files that are not results; give --results an empty or a new folder")
                _write_json(root / "ablations.json", Root(data=data, data_description=data_description))
            for folder in ("cells", "unfinished", "failed", "studies"):
                (root / folder).mkdir(exist_ok=True)
            if not os.access(root / "cells", os.W_OK):
                raise PermissionError(13, "Permission denied", str(root / "cells"))
        except OSError as error:
            raise UserError(f"cannot write to the results folder {root}: {error.strerror}") from error
        return cls.reading(root, data=data, data_description=data_description)

    @classmethod
    def reading(cls, root: Path, *, data: str, data_description: str) -> "Store":
        """The results root at `root`, for a study of this data; nothing is written.

        Raises: UserError: the folder is not a results root, or was begun with other data.
        """
        store = cls(root)
        if store.about.data != data:
            raise UserError(
                f"{root} was begun with other data ({store.about.data_description}), not with {data_description}; "
                f"give --results another folder, or --data the first data"
            )
        return store

    # -- cells

    def cell_folder(self, key: str) -> Path:
        """Raises: ValueError: `key` is not a key, a path for example."""
        if not KEY.fullmatch(key):
            raise ValueError(f"not a cell's key: {key!r}")
        return self.root / "cells" / key

    def is_finished(self, key: str) -> bool:
        """Whether the cell has a record."""
        return (self.cell_folder(key) / "record.json").is_file()

    def finished_keys(self) -> Iterator[str]:
        """Keys of all finished cells."""
        for folder in sorted((self.root / "cells").iterdir()):
            if KEY.fullmatch(folder.name) and (folder / "record.json").is_file():
                yield folder.name

    def write_checkpoint(self, key: str, state: bytes) -> None:
        """Keeps what an unfinished cell needs to go on, in the place of what was kept before."""
        file = self._unfinished(key) / "checkpoint.pt"
        unfinished = file.with_name(f"{file.name}.{os.getpid()}.unfinished")
        with unfinished.open("wb") as stream:
            stream.write(state)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, file)

    def read_checkpoint(self, key: str) -> bytes | None:
        """What was kept last of an unfinished cell, or None."""
        self.cell_folder(key)
        file = self.root / "unfinished" / key / "checkpoint.pt"
        return file.read_bytes() if file.is_file() else None

    def _unfinished(self, key: str) -> Path:
        self.cell_folder(key)
        folder = self.root / "unfinished" / key
        folder.mkdir(exist_ok=True)
        return folder

    def claim(self, key: str, run: str) -> bool:
        """Takes a cell for this process, so that two studies at once do not both train it.

        A claim ends with its process, with `release` or `write`, or when `touch` has not been called for `CLAIM_SECONDS`
        from another machine. `run` names the study's run, which may take its own cells over when a node is lost.
        """
        mine = Claim(run=run, host=socket.gethostname(), process=os.getpid())
        file = self._unfinished(key) / "claim.json"
        for _ in range(2):
            try:
                with file.open("x", encoding="utf-8") as stream:
                    stream.write(mine.model_dump_json())
                return True
            except FileExistsError:
                if self.claimed_by_another(key, run):
                    return False
                file.unlink(missing_ok=True)
        return False

    def claimed_by_another(self, key: str, run: str) -> bool:
        """Whether a living process of another run has the cell."""
        self.cell_folder(key)
        file = self.root / "unfinished" / key / "claim.json"
        try:
            claim, age = _parse(Claim, file), time.time() - file.stat().st_mtime
        except (OSError, DamagedRecord):
            return False
        if claim.run == run:
            return False
        if claim.host == socket.gethostname():
            return _is_alive(claim.process)
        return age < CLAIM_SECONDS

    def touch(self, key: str) -> None:
        """Says that the claim's process is alive."""
        with contextlib.suppress(OSError):
            os.utime(self.root / "unfinished" / key / "claim.json")

    def release(self, key: str) -> None:
        """Gives a claimed cell back; its checkpoint stays."""
        (self.root / "unfinished" / key / "claim.json").unlink(missing_ok=True)

    def remove_left_overs(self) -> None:
        """Half-written records and scratch folders of processes of this machine that were killed."""
        for folder in (self.root / "unfinished").glob("*"):  # of a copy by git, empty folders are missing
            _, _, owner = folder.name.partition("@")
            host, _, process = owner.rpartition(":")
            if host == socket.gethostname() and process.isdigit() and not _is_alive(int(process)):
                shutil.rmtree(folder, ignore_errors=True)

    def scratch(self, name: str) -> Path:
        """A folder's name for what this process writes and removes again; `remove_left_overs` knows it."""
        return self.root / "unfinished" / f"{name}@{socket.gethostname()}:{os.getpid()}"

    def write(self, result: CellResult) -> Record:
        """Writes a finished cell's record, its files hashed here, and removes its checkpoint and earlier failures."""
        key = result.cell.key
        folder = self.cell_folder(key)
        unfinished = self.scratch(key)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        logits = {
            "validation_logits": result.validation_logits,
            "validation_labels": result.validation_labels,
            "test_logits": result.test_logits,
            "test_labels": result.test_labels,
        }
        save_file(logits, unfinished / "logits.safetensors")
        if result.weights is not None:
            (unfinished / "weights.safetensors").write_bytes(result.weights)
        files = {file.name: _sha256(file) for file in sorted(unfinished.iterdir())}
        complete = Record(
            key=key,
            identity=result.cell.identity,
            arm=result.arm,
            provenance=result.provenance,
            curve=list(result.curve),
            test_accuracy=result.test_accuracy,
            per_class=result.per_class,
            calibration_error=result.calibration_error,
            train_seconds=result.train_seconds,
            evaluate_seconds=result.evaluate_seconds,
            peak_memory=result.peak_memory,
            files=files,
        )
        complete = complete.model_copy(update={"seal": _seal(complete.model_dump(mode="json"))})
        _write_json(unfinished / "record.json", complete)
        try:
            os.rename(unfinished, folder)
        except OSError:
            if not self.is_finished(key):  # else somebody finished the same cell first, with the same numbers
                raise
            shutil.rmtree(unfinished)
        self.forget_failure(key)
        shutil.rmtree(self.root / "unfinished" / key, ignore_errors=True)
        return complete

    def read(self, key: str) -> Record:
        """A finished cell's record.

        Raises: DamagedRecord: it was truncated or altered. FileNotFoundError: the cell is not finished.
        """
        file = self.cell_folder(key) / "record.json"
        record = _parse(Record, file)
        if record.key != key or key_of(record.identity) != key:
            raise DamagedRecord(f"{file}: the identity does not belong to this cell")
        if _seal(json.loads(file.read_bytes())) != record.seal:
            raise DamagedRecord(f"{file}: altered since it was written")
        return record

    def logits(self, record: Record, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Logits (images, classes) float32 and labels (images,) int64 of a part.

        Raises: DamagedRecord: the file was truncated or altered.
        """
        file = self.cell_folder(record.key) / "logits.safetensors"
        self._check(record, file)
        try:
            with safe_open(file, framework="numpy") as tensors:
                logits, labels = tensors.get_tensor(f"{part}_logits"), tensors.get_tensor(f"{part}_labels")
        except (SafetensorError, OSError) as error:
            raise DamagedRecord(f"{file}: {error}") from error
        if logits.ndim != 2 or labels.shape != logits.shape[:1] or logits.dtype != np.float32:
            raise DamagedRecord(f"{file}: logits {logits.shape} and labels {labels.shape} do not fit")
        return logits, labels

    def weights_file(self, record: Record) -> Path:
        """The cell's weights.

        Raises: DamagedRecord: the file is missing, truncated or altered.
        """
        file = self.cell_folder(record.key) / "weights.safetensors"
        self._check(record, file)
        return file

    def _check(self, record: Record, file: Path) -> None:
        if not file.is_file() or file.is_symlink():
            raise DamagedRecord(f"{file}: missing")
        if _sha256(file) != record.files.get(file.name):
            raise DamagedRecord(f"{file}: altered since it was written")

    # -- failures

    def write_failure(self, failure: Failure, log: str) -> Path:
        """Notes why a cell did not finish; returns the log's path."""
        self.cell_folder(failure.key)
        file = self.root / "failed" / f"{failure.key}.log"
        file.write_text(log, encoding="utf-8")
        _write_json(self.root / "failed" / f"{failure.key}.json", failure)
        return file

    def failure(self, key: str) -> Failure | None:
        """Why a cell did not finish the last time, or None."""
        self.cell_folder(key)
        file = self.root / "failed" / f"{key}.json"
        try:
            return _parse(Failure, file) if file.is_file() else None
        except DamagedRecord:
            return None

    def forget_failure(self, key: str) -> None:
        """Before a cell is tried again, and after it has finished."""
        for suffix in ("json", "log"):
            (self.root / "failed" / f"{key}.{suffix}").unlink(missing_ok=True)

    # -- studies

    def study_folder(self, name: str) -> Path:
        """Raises: UserError: `name` cannot be a folder's name."""
        if not STUDY_NAME.fullmatch(name):
            raise UserError(f"{name!r} cannot be a study's name; use letters, digits, dots, dashes and underscores")
        return self.root / "studies" / name

    def studies(self) -> list[str]:
        """Names of all studies."""
        return sorted(file.parent.name for file in (self.root / "studies").glob("*/study.json"))

    def write_study(self, study: Study) -> None:
        """Writes or replaces a study's manifest. Commands that an earlier format kept in it become files."""
        folder = self.study_folder(study.name)
        folder.mkdir(parents=True, exist_ok=True)
        for command in (self._manifest(study.name) or (None, []))[1]:
            self.write_command(study.name, command)
        _write_json(folder / "study.json", study)

    def study(self, name: str) -> Study | None:
        """A study's manifest, or None where there is no such study. Nothing is imported, built or called for it.

        Raises: UserError: the manifest is damaged, or of a later version.
        """
        manifest = self._manifest(name)
        return None if manifest is None else manifest[0]

    def write_command(self, name: str, command: Command) -> None:
        """Keeps one run of a study, under a name that its content gives."""
        folder = self.study_folder(name) / "commands"
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.blake2b(command.model_dump_json().encode(), digest_size=6).hexdigest()
        _write_json(folder / f"{re.sub('[^0-9T]', '', command.time)[:15]}-{digest}.json", command)

    def commands(self, name: str) -> list[Command]:
        """The runs of a study by time, those of copies and shards among them. A file that cannot be read is left out.

        Raises: UserError: the manifest is damaged, or of a later version.
        """
        found = {command.model_dump_json(): command for command in (self._manifest(name) or (None, []))[1]}
        for file in (self.study_folder(name) / "commands").glob("*.json"):
            with contextlib.suppress(DamagedRecord, OSError):
                command = _parse(Command, file)
                found[command.model_dump_json()] = command
        return sorted(found.values(), key=lambda command: command.time)

    def _manifest(self, name: str) -> tuple[Study, list[Command]] | None:
        file = self.study_folder(name) / "study.json"
        if not file.is_file():
            return None
        try:
            written_in = _parse(_Format, file).format
            if written_in > MANIFEST_FORMAT:
                raise UserError(f"{file} was written by a newer version (format {written_in}); update this software")
            return upgraded(file.read_bytes()) if written_in == 1 else (_parse(Study, file), [])
        except ValidationError as error:
            raise _unusable(DamagedRecord(f"{file}: {one_sentence(error)}")) from error
        except DamagedRecord as error:
            raise _unusable(error) from error


class _Format(Stored):
    """Of a manifest, before it is known what else stands in it."""

    format: int


def _unusable(error: DamagedRecord) -> UserError:
    return UserError(f"{error}; move it away and run the study's command again")


def _is_alive(process: int) -> bool:
    """Whether a process of this machine with this number runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, and is somebody else's
        return True
    return True


def _parse(model: type[ModelT], file: Path) -> ModelT:
    """Raises: DamagedRecord: `file` is not what `model` describes."""
    try:
        return model.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise DamagedRecord(f"{file}: {one_sentence(error)}") from error


def _write_json(file: Path, value: BaseModel) -> None:
    """Writes readable JSON; the file is there whole or not at all."""
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.unfinished")
    unfinished.write_text(json.dumps(value.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    os.replace(unfinished, file)


def _seal(record: dict[str, Any]) -> str:
    """Hash of a record's JSON values, its own seal left out. Taken of what was read, so that fields that a later
    version knows or has forgotten do not break it.
    """
    content = {name: value for name, value in record.items() if name != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
