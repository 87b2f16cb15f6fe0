"""What a study left behind, as tidy tables. Imports neither Ray nor the trainer."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablations.record import ArmEntry, Part, Record, Study, seeds_added_after_looking
from ablations.store import DamagedRecord, Store
from cnnkit.data import CLASSES
from cnnkit.errors import UserError
from cnnkit.metrics import Epoch, PerClass


@dataclass(frozen=True)
class Results:
    """The cells of one study."""

    store: Store
    study: Study
    trials: pd.DataFrame
    """One row a cell: arm, is_baseline, seed, key, status (finished, running, missing, failed, diverged, damaged), note,
    changes (what the arm changes in the baseline, in words), protocol (its name, and what the command line changed in
    it), epochs (of the arm's recipe), parameters, head_share, multiply_adds, receptive_field (original pixels), work
    (multiply-adds of the whole trial), and for finished cells validation_accuracy, test_accuracy (0 to 1), seconds,
    device, device_type, precision, threads, trials_at_once, gpu_share, micro_batch (NaN for others)."""
    records: dict[str, Record]
    """Records of the finished cells, by their keys."""

    @property
    def _finished(self) -> pd.DataFrame:
        return self.trials[self.trials["status"] == "finished"]

    @property
    def epochs(self) -> pd.DataFrame:
        """Learning curves: one row an epoch of a finished cell, with arm, is_baseline, seed, epoch (from 1), train_loss,
        validation_loss, validation_accuracy (0 to 1), learning_rate, train_seconds, evaluate_seconds.
        """
        return pd.DataFrame(
            [
                {"arm": row.arm, "is_baseline": row.is_baseline, "seed": row.seed, **epoch.model_dump()}
                for row in self._finished.itertuples()
                for epoch in self.records[str(row.key)].curve
            ],
            columns=["arm", "is_baseline", "seed", *Epoch.model_fields],
        )

    @property
    def per_class(self) -> pd.DataFrame:
        """One row a class of a finished cell, with arm, is_baseline, seed, class, precision, recall, f1 (0 to 1), support
        (test images).
        """
        return pd.DataFrame(
            [
                {
                    "arm": row.arm,
                    "is_baseline": row.is_baseline,
                    "seed": row.seed,
                    "class": name,
                    **dict(zip(measures, values, strict=True)),
                }
                for row in self._finished.itertuples()
                for measures, table in [_transposed(self.records[str(row.key)])]
                for name, values in zip(CLASSES, table, strict=True)
            ],
            columns=["arm", "is_baseline", "seed", "class", *PerClass.model_fields],
        )

    def logits(self, arm: str, seed: int, part: Part = "test") -> tuple[np.ndarray, np.ndarray]:
        """Logits (images, classes) float32 and labels (images,) int64 of a finished cell.

        Raises: KeyError: the cell is not finished. DamagedRecord: its logits were truncated or altered.
        """
        cells = self._finished
        keys = cells.loc[(cells["arm"] == arm) & (cells["seed"] == seed), "key"]
        if not len(keys):
            raise KeyError(f"{arm}, seed {seed} is not finished")
        return self.store.logits(self.records[keys.iloc[0]], part)

    @cached_property
    def _test(self) -> tuple[np.ndarray, dict[str, dict[int, np.ndarray]]]:
        """The test set's labels, and each cell's predictions. Logits are dropped one by one: all of them fill gigabytes."""
        read = defaultdict(list)  # (arm, seed, key, predictions), by the labels that were stored beside them
        for row in self._finished.itertuples():
            arm, seed, key = str(row.arm), int(str(row.seed)), str(row.key)
            try:
                logits, labels = self.store.logits(self.records[key], "test")
            except DamagedRecord as error:
                self.damaged.append(str(error))
                continue
            read[labels.astype(np.int64).tobytes()].append((arm, seed, key, logits.argmax(1).astype(np.int8)))
        most = max(read, key=lambda labels: len(read[labels]), default=b"")
        predicted: dict[str, dict[int, np.ndarray]] = {arm.name: {} for arm in self.study.arms}
        for labels_read, cells in read.items():
            for arm, seed, key, predictions in cells:
                if labels_read == most:
                    predicted[arm][seed] = predictions
                else:
                    folder = self.store.cell_folder(key)
                    self.damaged.append(f"{folder}: its test labels are not those of most of the study's cells")
        return np.frombuffer(most, dtype=np.int64), predicted

    @property
    def labels(self) -> np.ndarray:
        """Class of each test image, a position in `cnnkit.data.CLASSES`: (images,) int64. Empty where no cell can be read."""
        return self._test[0]

    @property
    def predictions(self) -> dict[str, dict[int, np.ndarray]]:
        """For each arm and seed, the class that its finished cell predicts for each test image: (images,) int8.

        A cell is left out if its logits are damaged, or its labels differ from those of most of the study's cells;
        `trials` keeps it, and `damaged` names it.
        """
        return self._test[1]

    @cached_property
    def correct(self) -> dict[str, dict[int, np.ndarray]]:
        """For each arm and seed, which test images its finished cell gets right: (images,) bool. As `predictions`."""
        return {
            arm: {seed: predicted == self.labels for seed, predicted in seeds.items()}
            for arm, seeds in self.predictions.items()
        }

    @cached_property
    def damaged(self) -> list[str]:
        """What is wrong with records that were left out, as far as they have been read."""
        return self.trials.loc[self.trials["status"] == "damaged", "note"].tolist()

    @cached_property
    def seeds_added_after_looking(self) -> bool:
        """Whether seeds were added when there were results to look at."""
        return seeds_added_after_looking(self.store.commands(self.study.name))

    @property
    def remarks(self) -> list[str]:
        """What a reader must know of how the study came about: sentences on each damaged record, and on added seeds."""
        notes = [*self.damaged] if self.correct else []  # all logits have been read
        if self.seeds_added_after_looking:
            notes.append("Seeds were added after results had been seen; p-values do not account for that.")
        return notes


def _transposed(record: Record) -> tuple[tuple[str, ...], list[tuple[float, ...]]]:
    measures = record.per_class.model_dump()
    return tuple(measures), list(zip(*measures.values(), strict=True))


def load(path: Path | str, study: str | None = None) -> Results:
    """The results of a study.

    Args: path: a results root, or a study's folder in it. study: the study's name; not needed where there is one.
    Raises: UserError: there is no such study, or its manifest names no arms, seeds or baseline to compare with.
    """
    path = Path(path)
    if path.parent.name == "studies":
        path, study = path.parent.parent, path.name
    store = Store(path)
    names = store.studies()
    if study is None:
        if len(names) != 1:
            raise UserError(f"{path} holds {len(names)} studies ({', '.join(names)}); name one of them")
        study = names[0]
    manifest = store.study(study)
    if manifest is None:
        raise UserError(f"{path} has no study {study!r}; it has {', '.join(names) or 'none'}")
    lacks = _lacks(manifest)
    if lacks:
        file = store.study_folder(study) / "study.json"
        raise UserError(f"{file} names {lacks}; move it away and run the study's command again")
    rows, records = [], {}
    entries = {arm.name: (arm, _of_arm(manifest, arm)) for arm in manifest.arms}
    cells = sorted(manifest.cells, key=lambda cell: list(entries).index(cell.arm))
    for cell in cells:
        arm, of_arm = entries[cell.arm]
        standing, record = _standing(store, cell.key)
        rows.append({**of_arm, "seed": cell.seed, "key": cell.key, "work": arm.work, **standing})
        if record is not None:
            records[cell.key] = record
    return Results(store, manifest, pd.DataFrame(rows, columns=COLUMNS), records)


def _lacks(study: Study) -> str:
    """What a manifest would need to be compared; nothing where it is as this software writes it."""
    if not study.arms:
        return "no arms"
    if study.seeds < 1 or not study.cells:
        return "no seeds"
    if len({arm.name for arm in study.arms}) < len(study.arms):
        return "two arms alike"
    if not {cell.arm for cell in study.cells} <= {arm.name for arm in study.arms}:
        return "cells of no arm of its own"
    baselines = sum(arm.is_baseline for arm in study.arms)
    return "" if baselines == 1 else f"{baselines or 'no'} baseline{'s' if baselines else ''} among its arms"


COLUMNS = [
    *("arm", "is_baseline", "seed", "key", "status", "note", "changes", "protocol", "epochs", "parameters"),
    *("head_share", "multiply_adds", "receptive_field", "work", "validation_accuracy", "test_accuracy", "seconds"),
    *("device", "device_type", "precision", "threads", "trials_at_once", "gpu_share", "micro_batch"),
]
"""Of `Results.trials`, which has them whether a cell is finished or not."""


def _of_arm(study: Study, arm: ArmEntry) -> dict[str, Any]:
    """What the trials of an arm have in common."""
    costs = arm.costs
    return {
        "arm": arm.name,
        "is_baseline": arm.is_baseline,
        "changes": _in_words(arm.changes),
        "protocol": f"{study.protocol}{f' with {_in_words(study.protocol_changes)}' if study.protocol_changes else ''}",
        "epochs": arm.epochs,
        "parameters": costs.parameters if costs else None,
        "head_share": costs.head_share if costs else None,
        "multiply_adds": costs.multiply_adds if costs else None,
        "receptive_field": costs.receptive_field_original if costs else None,
    }


def _standing(store: Store, key: str) -> tuple[dict[str, Any], Record | None]:
    """How a cell stands, and its record where it is finished."""
    if store.is_finished(key):
        try:
            record = store.read(key)
        except DamagedRecord as error:
            return {"status": "damaged", "note": str(error)}, None
        return _measured(record), record
    failure = store.failure(key)
    if failure is not None:
        return {"status": failure.kind, "note": failure.sentence}, None
    return {"status": "running" if store.claimed_by_another(key, run="") else "missing", "note": ""}, None


def _in_words(changes: Mapping[str, Any]) -> str:
    """Such as: no batch norm; widths 32, 64; dropout 0."""
    return "; ".join(_change(field, value) for field, value in changes.items())


def _change(field: str, value: Any) -> str:
    name = field.removeprefix("spec.").removeprefix("recipe.").replace("_", " ").replace(".", " ")
    if isinstance(value, bool):
        return name if value else f"no {name}"
    if isinstance(value, list):
        return f"{name} {', '.join(map(str, value))}"
    if isinstance(value, dict):
        return ", ".join(_change(*item) for item in value.items())
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def _measured(record: Record) -> dict[str, Any]:
    provenance = record.provenance
    return {
        "status": "finished",
        "note": "",
        "validation_accuracy": record.curve[-1].validation_accuracy,
        "test_accuracy": record.test_accuracy,
        "seconds": record.train_seconds + record.evaluate_seconds,
        "device": provenance.device,
        "device_type": provenance.device_type,
        "precision": provenance.precision,
        "threads": provenance.threads,
        "trials_at_once": provenance.trials_at_once,
        "gpu_share": provenance.gpu_share,
        "micro_batch": provenance.micro_batch,
    }
