"""What a study left behind, as tidy tables. Imports neither Ray nor the trainer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ablations.cell import Cell
from ablations.plan import PlannedCell
from ablations.record import DamagedRecord, Record, Store, Study
from cnnkit.cost import cost
from cnnkit.errors import UserError


@dataclass(frozen=True)
class Results:
    """The cells of one study."""

    study: Study
    trials: pd.DataFrame
    """One row a cell: arm, is_baseline, seed, key, status (finished, running, missing, failed, diverged, damaged), note,
    parameters, head_share, multiply_adds, receptive_field (original pixels), work (multiply-adds of the whole trial), and
    for finished cells validation_accuracy, test_accuracy (0 to 1), seconds, device, device_type, precision, threads,
    trials_at_once, gpu_share, micro_batch."""


def load(path: Path | str, study: str | None = None) -> Results:
    """The results of a study.

    Args: path: a results root, or a study's folder in it. study: the study's name; not needed where there is one.
    Raises: UserError: there is no such study.
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
    rows = [
        _row(store, manifest, arm_index, seed)
        for arm_index in range(len(manifest.arms))
        for seed in range(manifest.seeds)
    ]
    return Results(manifest, pd.DataFrame(rows))


def _row(store: Store, study: Study, arm_index: int, seed: int) -> dict[str, Any]:
    arm = study.arms[arm_index]
    planned = PlannedCell(arm, Cell.of(arm, data=study.data, split=study.split, seed=seed))
    key = planned.cell.key
    costs = cost(arm.spec)
    row: dict[str, Any] = {
        "arm": arm.name,
        "is_baseline": arm.is_baseline,
        "seed": seed,
        "key": key,
        "status": "missing",
        "note": "",
        "parameters": costs.parameters,
        "head_share": costs.head_share,
        "multiply_adds": costs.multiply_adds,
        "receptive_field": costs.receptive_field_original,
        "work": planned.work,
    }
    if store.is_finished(key):
        try:
            return {**row, **_measured(store.read(key))}
        except DamagedRecord as error:
            return {**row, "status": "damaged", "note": str(error)}
    failure = store.failure(key)
    if failure is not None:
        return {**row, "status": failure.kind, "note": failure.sentence}
    return {**row, "status": "running"} if store.claimed_by_another(key, run="") else row


def _measured(record: Record) -> dict[str, Any]:
    provenance = record.provenance
    return {
        "status": "finished",
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
