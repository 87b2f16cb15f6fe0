"""The format on disk: one results root. Knows neither Ray nor torch.

    ROOT/ablations.json             what this folder is, and the data set that it was begun with
    ROOT/cells/KEY/record.json      identity, provenance, learning curve and accuracies of a finished cell
    ROOT/cells/KEY/logits.safetensors     validation and test logits (float32) and labels (int64)
    ROOT/cells/KEY/weights.safetensors    the last epoch's weights
    ROOT/unfinished/KEY/            checkpoint of a cell that is being trained, and which run has it
    ROOT/runs/                      runs that live, as `ablations.claims` knows them
    ROOT/damaged/KEY-N/             what was found in the place of a record, kept
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
import time
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ablations import claims, files
from ablations.cell import key_of
from ablations.checkpoints import DamagedCheckpoint, packed, unpacked
from ablations.earlier_manifests import upgraded
from ablations.record import (
    FORMAT,
    MANIFEST_FORMAT,
    Candidate,
    CellResult,
    Command,
    Failure,
    Part,
    Record,
    Root,
    Study,
    StudyCell,
)
from ablations.sealed import DamagedRecord, as_json, content_of, is_altered, parse, parsed, seal_of, sealed_json
from cnnkit.errors import UserError
from cnnkit.spec import Stored, one_sentence

KEY = re.compile(r"[0-9a-f]{20}")
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")

CHECKPOINT = "checkpoint.pt"
FOLDERS = ("cells", "unfinished", "failed", "studies", "runs")
MORE_FOLDERS = ("damaged", "measures")
"""That are made when there is something for them."""
HASHED = 2**30
"""Bytes of weights that a store hashes to judge its cells, about a second's worth; of the rest sizes are compared."""
WEIGHTS = "weights.safetensors"

Stamp = tuple[int, int, int, int]
"""Of a file: it is another one, or was written to, where any of these differs."""


class Store:
    """A results root. `Store.open` begins or goes on with one, `Store(path)` reads one."""

    def __init__(self, root: Path) -> None:
        """Raises: UserError: `root` is not a results folder."""
        self.root = root
        self._run: claims.Run | None = None
        self._judged: dict[str, tuple[list[Stamp], str | None]] = {}
        self._hashed = 0
        if not os.path.lexists(root / "ablations.json"):
            if any((root / "studies").glob("*/study.json")):
                raise UserError(
                    f"{root} has studies, but no ablations.json, which says of which data they are; run the command of one of "
                    f"its studies again, which writes it anew and trains nothing that is finished"
                )
            raise UserError(f"{root} is not a results folder: it has no ablations.json; give the --results of a study")
        try:
            self.about = parse(Root, root / "ablations.json")
        except DamagedRecord as error:
            raise UserError(
                f"{root} cannot be read: {error}; move ablations.json away and run the command of one of its studies again, "
                f"which writes it anew and trains nothing that is finished"
            ) from error
        if self.about.format > FORMAT:
            raise UserError(f"{root} was written by a newer version (format {self.about.format}); update this software")

    @classmethod
    def open(cls, root: Path, *, data: str, data_description: str) -> "Store":
        """The results root at `root`, made where there is none.

        Raises: UserError: the folder holds something else, cannot be written, or was begun with other data.
        """
        about = root / "ablations.json"
        try:
            root.mkdir(parents=True, exist_ok=True)
            if not about.exists():
                # What another process puts there, which starts at this moment, is no stranger's.
                ours = (*FOLDERS, *MORE_FOLDERS)
                if any(entry.name not in ours and files.UNFINISHED not in entry.name for entry in root.iterdir()):
                    if not about.exists():
                        raise UserError(
                            f"{root} holds files that are not results; give --results an empty or a new folder"
                        )
                else:
                    files.create(about, as_json(Root(data=data, data_description=data_description)))
            for folder in FOLDERS:
                files.folder(root, folder)
            if not os.access(root / "cells", os.W_OK):
                raise PermissionError(13, "Permission denied", str(root / "cells"))
        except OSError as error:
            inside = f"{error.filename}: " if error.filename not in {None, str(root)} else ""
            raise UserError(f"cannot write to the results folder {root}: {inside}{error.strerror}") from error
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
        """Whether the cell has a record that can be trusted. Whoever asks, for a run, a dry run or a table, is told the same."""
        return os.path.lexists(self.cell_folder(key)) and self.fault(key) is None

    def has_record(self, key: str) -> bool:
        """Whether there is a record, sound or not; nothing is read."""
        folder = self.cell_folder(key)
        return not folder.is_symlink() and (folder / "record.json").is_file()

    def finished_keys(self) -> Iterator[str]:
        """Keys of all finished cells."""
        for folder in sorted((self.root / "cells").glob("*")):
            if KEY.fullmatch(folder.name) and self.is_finished(folder.name):
                yield folder.name

    def sound(self, key: str) -> Record | None:
        """A finished cell's record; None where nothing stands in the cell's place.

        Raises: DamagedRecord: what stands there cannot be trusted; a run of the study trains the cell again.
        """
        if not os.path.lexists(self.cell_folder(key)):
            return None
        fault = self.fault(key)
        if fault is not None:
            raise DamagedRecord(fault)
        try:
            return self.read(key)
        except FileNotFoundError:  # it was moved away in this moment
            return None

    def fault(self, key: str) -> str | None:
        """What is wrong with what stands in a cell's place; None where it can be trusted, or nothing stands there.

        Record and logits are hashed, and the weights of the first gigabyte, of the others only the size is looked at: these may
        have been pruned. A cell is read once, and again when one of its files is another one than before.
        """
        folder = self.cell_folder(key)
        stamps = [_stamp(folder / name) for name in ("", "record.json", "logits.safetensors", WEIGHTS)]
        if key not in self._judged or self._judged[key][0] != stamps:
            self._judged[key] = stamps, self._judge(key)
        return self._judged[key][1]

    def write(self, result: CellResult) -> Record:
        """Writes a finished cell's record, its files hashed here, and removes its checkpoint and earlier failures.

        What is no record and stands in its place is set aside. Where somebody else has finished the same cell first,
        with the same numbers, theirs stays.

        Raises: UserError: the disk refuses it; nothing has changed then.
        """
        key = result.cell.key
        target = self.cell_folder(key)
        logits = {
            "validation_logits": result.validation_logits,
            "validation_labels": result.validation_labels,
            "test_logits": result.test_logits,
            "test_labels": result.test_labels,
        }
        parts = {"logits.safetensors": save(logits)}
        if result.weights is not None:
            parts[WEIGHTS] = result.weights
        record = Record(
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
            files={name: hashlib.sha256(content).hexdigest() for name, content in parts.items()},
        )
        record = record.model_copy(update={"seal": seal_of(record.model_dump(mode="json"))})
        with files.one_sentence_errors(target):
            unfinished = self.scratch(key)
            try:
                files.folder(self.root, "unfinished", unfinished.name)
                for name, content in parts.items():
                    files.write(unfinished / name, content)
                files.write(unfinished / "record.json", as_json(record))
                files.folder(self.root, "cells")
                while not files.move_folder(unfinished, target):
                    if self.is_finished(key):
                        break
                    with contextlib.suppress(FileNotFoundError):  # it is gone in this moment
                        self._set_aside(key)
            finally:
                files.remove(unfinished)
            self.forget_failure(key)
            files.remove(self.root / "unfinished" / key / CHECKPOINT)
        self.release(key)
        return record

    def set_damaged_aside(self, keys: Iterable[str]) -> list[str]:
        """Moves what cannot be trusted out of the way of cells that are to be trained: records that were altered or cut
        short, and folders without one. It is kept in ROOT/damaged. A sentence for each.

        Raises: UserError: the disk refuses it; a result is there by a link, which nothing is wrong with but that it is not read.
        """
        said = []
        for key in keys:
            fault = self.fault(key)
            if fault is not None:
                self._refuse_links(key)
                folder = self.cell_folder(key)
                with (
                    files.one_sentence_errors(folder),
                    contextlib.suppress(FileNotFoundError),
                ):  # another run was faster
                    said.append(f"{fault}; moved to {self._set_aside(key)}, and the cell is trained again")
        return said

    def _refuse_links(self, key: str) -> None:
        """Results under git-annex or DVC are links: to train such a cell again would cost more than to copy its files."""
        folder = self.cell_folder(key)
        for path in (folder, folder / "record.json", folder / "logits.safetensors", folder / WEIGHTS):
            if path.is_symlink():
                raise UserError(
                    f"{path} {files.LINK}; put the files themselves there (cp -rL copies them so, git annex unlock brings them "
                    f"back), or remove the link to have the cell trained again"
                )

    def _judge(self, key: str) -> str | None:
        folder = self.cell_folder(key)
        if not os.path.lexists(folder):
            return None
        if folder.is_symlink():
            return f"{folder} {files.LINK}"
        if not folder.is_dir():
            return f"{folder} is no folder"
        try:
            record = self.read(key)
            self._checked(record, "logits.safetensors")
            if WEIGHTS in record.files and os.path.lexists(folder / WEIGHTS):
                return self._fault_of_weights(record)
        except DamagedRecord as error:
            return str(error)
        except FileNotFoundError:
            return f"{folder} holds no record"
        except OSError as error:
            return f"{error.filename or folder}: {error.strerror or error}"
        return None

    def _fault_of_weights(self, record: Record) -> str | None:
        """Raises: DamagedRecord, OSError."""
        file = self.cell_folder(record.key) / WEIGHTS
        size = file.lstat().st_size
        if self._hashed + size <= HASHED:
            self._checked(record, WEIGHTS)
            self._hashed += size
        elif not _has_its_size(file):
            return f"{file}: cut short"
        return None

    def _set_aside(self, key: str) -> Path:
        source, place = self.cell_folder(key), files.folder(self.root, "damaged")
        target = next(path for n in count(1) if not os.path.lexists(path := place / f"{key}-{n}"))
        os.rename(source, target)
        return target

    def read(self, key: str) -> Record:
        """A finished cell's record.

        Raises: DamagedRecord: it was truncated or altered. FileNotFoundError: the cell is not finished.
        """
        file = self.cell_folder(key) / "record.json"
        content = content_of(file)
        record = parsed(Record, file, content)
        if record.key != key or key_of(record.identity) != key:
            raise DamagedRecord(f"{file}: the identity does not belong to this cell")
        if not record.seal or is_altered(content):
            raise DamagedRecord(f"{file}: altered since it was written")
        return record

    def logits(self, record: Record, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Logits (images, classes) float32 and labels (images,) int64 of a part.

        Raises: DamagedRecord: the file was truncated or altered.
        """
        file = self.cell_folder(record.key) / "logits.safetensors"
        try:
            tensors = load(self._checked(record, file.name))
            logits, labels = tensors[f"{part}_logits"], tensors[f"{part}_labels"]
        except (SafetensorError, KeyError) as error:
            raise DamagedRecord(f"{file}: {error}") from error
        if logits.ndim != 2 or labels.shape != logits.shape[:1] or logits.dtype != np.float32:
            raise DamagedRecord(f"{file}: logits {logits.shape} and labels {labels.shape} do not fit")
        return logits, labels

    def weights(self, record: Record) -> bytes:
        """The cell's weights, as safetensors.

        Raises: DamagedRecord: the file is missing, truncated or altered.
        """
        return self._checked(record, WEIGHTS)

    def _checked(self, record: Record, name: str) -> bytes:
        """A file of a record, which is read once, so that what was checked is what is used."""
        file = self.cell_folder(record.key) / name
        try:
            content = files.read(file)
        except FileNotFoundError as error:
            raise DamagedRecord(f"{file}: missing") from error
        except OSError as error:
            raise DamagedRecord(f"{file}: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != record.files.get(name):
            raise DamagedRecord(f"{file}: altered since it was written")
        return content

    # -- cells that are being trained

    def unfinished_keys(self) -> Iterator[str]:
        """Keys of all cells that somebody began and that are not finished, or of which something is left."""
        for folder in sorted((self.root / "unfinished").glob("*")):  # of a copy by git, empty folders are missing
            if KEY.fullmatch(folder.name) and not folder.is_symlink():
                yield folder.name

    def write_checkpoint(self, key: str, state: bytes) -> None:
        """Keeps what an unfinished cell needs to go on, in the place of what was kept before.

        Raises: UserError: the disk refuses it; the earlier checkpoint stays.
        """
        self.cell_folder(key)
        with files.one_sentence_errors(self.root):
            files.write(files.folder(self.root, "unfinished", key) / CHECKPOINT, packed(key, state))

    def read_checkpoint(self, key: str) -> bytes | None:
        """What was kept last of an unfinished cell, or None.

        Raises: DamagedCheckpoint: it was not this cell's, or not whole; it is gone now. UserError: it cannot be read just
            now, and stays.
        """
        self.cell_folder(key)
        file = self.root / "unfinished" / key / CHECKPOINT
        if not os.path.lexists(file):
            return None
        with files.one_sentence_errors(file):
            try:
                return unpacked(key, files.read(file))
            except DamagedCheckpoint:
                files.remove(file)
                raise

    def claim(self, key: str) -> bool:
        """Takes a cell for this store, so that two studies at once do not both train it; False where another has it.

        A claim ends with `release`, with `end_run` or with the process. On other machines it ends when `renew` has not been
        called for `claims.HEARTBEAT_HOLDS`.

        Raises: UserError: the results folder cannot be written.
        """
        self.cell_folder(key)
        with files.one_sentence_errors(self.root):
            return self._living_run().take(key)

    def is_claimed(self, key: str) -> bool:
        """Whether another living run has the cell. Changes nothing."""
        self.cell_folder(key)
        return claims.is_claimed(self.root, key, but_by=self._run.name if self._run else None)

    def renew(self) -> None:
        """Says to other machines that this store's run lives; to be called every half minute or so."""
        if self._run is not None:
            with contextlib.suppress(OSError):
                self._run.beat()

    def release(self, key: str) -> None:
        """Gives a cell back, if this store has it; its checkpoint stays."""
        self.cell_folder(key)
        if self._run is not None:
            with files.one_sentence_errors(self.root):
                self._run.release(key)

    def end_run(self) -> None:
        """All claims of this store are free."""
        if self._run is not None:
            self._run.end()
            self._run = None

    def _living_run(self) -> claims.Run:
        if self._run is None:
            self._run = claims.Run(self.root)
        return self._run

    def remove_left_overs(self) -> None:
        """What runs that live no longer left half-written."""
        for folder in (self.root / "unfinished").glob("*@*"):
            if not claims.is_alive(self.root, folder.name.partition("@")[2]):
                files.remove(folder)
        claims.remove_dead_runs(self.root)
        yesterday = time.time() - 86_400
        # Manifests and commands, and whole reports.
        for file in self.root.glob(f"studies/*/*{files.UNFINISHED}"):
            with contextlib.suppress(OSError):
                if file.lstat().st_mtime < yesterday:
                    files.remove(file)

    def scratch(self, name: str) -> Path:
        """A folder's name for what this store writes and removes again; `remove_left_overs` knows it."""
        return self.root / "unfinished" / f"{name}@{self._living_run().name}"

    # -- failures

    def write_failure(self, failure: Failure, log: str) -> Path:
        """Notes why a cell did not finish; returns the log's path.

        Raises: UserError: the disk refuses it.
        """
        self.cell_folder(failure.key)
        folder = self.root / "failed"
        file = folder / f"{failure.key}.log"
        with files.one_sentence_errors(file):
            files.folder(self.root, "failed")
            files.write(file, log.encode(errors="replace"))
            files.write(folder / f"{failure.key}.json", as_json(failure))
        return file

    def failure(self, key: str) -> Failure | None:
        """Why a cell did not finish the last time, or None."""
        self.cell_folder(key)
        file = self.root / "failed" / f"{key}.json"
        try:
            failure = parse(Failure, file) if file.is_file() else None
        except (DamagedRecord, FileNotFoundError):
            return None
        return failure if failure is not None and failure.key == key else None

    def forget_failure(self, key: str) -> None:
        """Before a cell is tried again, and after it has finished."""
        for suffix in ("json", "log"):
            files.remove(self.root / "failed" / f"{key}.{suffix}")

    # -- studies

    def study_folder(self, name: str) -> Path:
        """Raises: UserError: `name` cannot be a folder's name."""
        if not STUDY_NAME.fullmatch(name):
            raise UserError(f"{name!r} cannot be a study's name; use letters, digits, dots, dashes and underscores")
        return self.root / "studies" / name

    def studies(self) -> list[str]:
        """Names of all studies."""
        return sorted(file.parent.name for file in (self.root / "studies").glob("*/study.json"))

    def named(self, study: Study) -> Study:
        """The study under the name that it has in this folder, with the cells that it has there already.

        Where another study has its name, it gets one of its own, which its arms give.

        Raises: UserError: a manifest of either name is damaged, or of a later version, or the study's looks were planned
            otherwise.
        """
        for name in (study.name, f"{study.name}-{study.hash_of_arms}"):
            earlier = self.study(name)
            if earlier is None or study.is_same_study(earlier):
                study = study.model_copy(update={"name": name})
                return study if earlier is None else self._going_on(study, earlier)
        raise UserError(f"{self.study_folder(name)} holds another study; move it away and run the command again")

    def write_study(self, study: Study) -> Study:
        """Writes a study's manifest, with the cells that it had before. Commands that format 1 kept in it become files.

        Raises: UserError: another study has the name, or the disk refuses it.
        """
        with files.one_sentence_errors(self.root), self._living_run().exclusively():
            return self._write_study(study)

    def _write_study(self, study: Study) -> Study:
        folder = self.study_folder(study.name)
        earlier, commands = self._manifest(study.name) or (None, [])
        if earlier is not None:
            if not study.is_same_study(earlier):
                raise UserError(
                    f"{folder} holds another study of that name, whose arms differ; run the command again, and this one "
                    f"gets a name of its own"
                )
            study = self._going_on(study, earlier)
        with files.one_sentence_errors(folder):
            files.folder(self.root, "studies", study.name)
            for command in commands:
                self.write_command(study.name, command)
            file, content = folder / "study.json", sealed_json(study)
            if earlier is not None:
                files.write(file, content)
            elif not files.create(file, content):  # somebody was faster
                return self._write_study(study)
        return study

    def _going_on(self, study: Study, earlier: Study) -> Study:
        """The study with the cells that it had before.

        Raises: UserError: it stops arms by another plan than before, and there are results that could have been looked at.
        """
        if not study.has_plan_of(earlier):
            others = [cell for cell in earlier.cells if cell.arm != earlier.baseline.name]
            if any(self.is_finished(cell.key) for cell in others):
                then, now = (each.looks.words if each.looks else "one look, own variances" for each in (earlier, study))
                raise UserError(
                    f"study {earlier.name} has results under another plan ({then}), and a plan that is made after results can "
                    f"be seen ({now}) is none; give the first plan's --seeds and --variance, or another --results folder"
                )
            return study
        return study.with_cells_of(earlier)

    def study(self, name: str) -> Study | None:
        """A study's manifest, or None where there is no such study. Nothing is imported, built or called for it.

        Raises: UserError: the manifest is damaged, or of a later version.
        """
        manifest = self._manifest(name)
        return None if manifest is None else self.decided(manifest[0])

    def decided(self, study: Study) -> Study:
        """The study with what its seeds have chosen, as far as their candidates have ended: the highest validation accuracy of
        the last epoch, of several the first. A candidate that diverged is not chosen. The test images have no say.

        It follows from the records alone, so shards, copies and interrupted studies come to the same choice.
        """
        if not any(cell.candidates for cell in study.cells):
            return study
        return study.model_copy(update={"cells": [self._decided(cell) for cell in study.cells]})

    def _decided(self, cell: StudyCell) -> StudyCell:
        if not cell.candidates:
            return cell
        best: tuple[float, Candidate] | None = None
        for candidate in cell.candidates:
            failure = self.failure(candidate.key)
            if not self.is_finished(candidate.key):
                if failure is None or failure.kind != "diverged":
                    return cell.choosing(None)
                continue
            try:
                accuracy = self.read(candidate.key).curve[-1].validation_accuracy
            except (DamagedRecord, FileNotFoundError, IndexError):
                return cell.choosing(None)
            if best is None or accuracy > best[0]:
                best = accuracy, candidate
        return cell.choosing(best and best[1])

    def write_command(self, name: str, command: Command) -> None:
        """Keeps one run of a study, under a name that its content gives."""
        folder = self.study_folder(name) / "commands"
        digest = hashlib.blake2b(command.model_dump_json().encode(), digest_size=6).hexdigest()
        file = folder / f"{re.sub('[^0-9T]', '', command.time)[:15]}-{digest}.json"
        with files.one_sentence_errors(file):
            files.folder(self.root, "studies", name, folder.name)
            files.write(file, sealed_json(command))

    def commands(self, name: str) -> list[Command]:
        """The runs of a study by time, those of copies and shards among them; not those of `damaged_commands`.

        Raises: UserError: the manifest is damaged, or of a later version.
        """
        found = {command.model_dump_json(): command for command in (self._manifest(name) or (None, []))[1]}
        for file in self._files_of_commands(name):
            with contextlib.suppress(DamagedRecord, FileNotFoundError):
                command = _command(file)
                found[command.model_dump_json()] = command
        return sorted(found.values(), key=lambda command: command.time)

    def damaged_commands(self, name: str) -> list[str]:
        """What is wrong with files that would say how a study was run, a sentence each."""
        said = []
        for file in self._files_of_commands(name):
            try:
                _command(file)
            except DamagedRecord as error:
                said.append(str(error))
            except FileNotFoundError:
                continue
        return said

    def _files_of_commands(self, name: str) -> list[Path]:
        return sorted((self.study_folder(name) / "commands").glob("*.json"))

    def _manifest(self, name: str) -> tuple[Study, list[Command]] | None:
        file = self.study_folder(name) / "study.json"
        if not os.path.lexists(file):
            return None
        try:
            content = files.read(file)
            written_in = _Format.model_validate_json(content).format
            if written_in > MANIFEST_FORMAT:
                raise UserError(f"{file} was written by a newer version (format {written_in}); update this software")
            if written_in == 1:
                return upgraded(content)
            if is_altered(content):
                raise _unusable(file, "altered since it was written")
            return Study.model_validate_json(content), []
        except ValidationError as error:
            raise _unusable(file, one_sentence(error)) from error
        except OSError as error:
            raise _unusable(file, error.strerror or str(error)) from error


class _Format(Stored):
    """Of a manifest, before it is known what else stands in it."""

    format: int


def _unusable(manifest: Path, why: str) -> UserError:
    return UserError(
        f"{manifest}: {why}; move it away and run the study's command again, which writes it anew and trains nothing that is "
        f"finished"
    )


def _command(file: Path) -> Command:
    """Raises: DamagedRecord. FileNotFoundError."""
    content = content_of(file)
    command = parsed(Command, file, content)
    if is_altered(content):
        raise DamagedRecord(f"{file}: altered since it was written")
    return command


def _has_its_size(file: Path) -> bool:
    """Whether a safetensors file is as long as its header says, which is read alone."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(min(length, size))
    try:
        ends = [part["data_offsets"][1] for name, part in json.loads(header).items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return False
    return 8 + length + max(ends, default=0) == size


def _stamp(path: Path) -> Stamp:
    """Zeros where there is nothing."""
    try:
        status = path.lstat()
    except OSError:
        return 0, 0, 0, 0
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
