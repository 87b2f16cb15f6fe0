"""A study's results folder as outcomes: manifest, records and logits are read, and nothing else."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ablations.record import ArmEntry, Record, Study, StudyCell
from ablations.sealed import DamagedRecord
from ablations.store import Store
from ablations.text import printable, quoted
from analysis.studied import Answers, Description, Excluded, StudiedArm, cell_table, in_words
from cnnkit.errors import UserError


def only_study(store: Store) -> str:
    names = store.studies()
    if len(names) != 1:
        raise UserError(f"{store.root} holds {len(names)} studies ({', '.join(names)}); name one of them")
    return names[0]


def lacks(study: Study) -> str:
    """What a manifest would need to be compared; nothing where it is as this software writes it."""
    names = [arm.name for arm in study.arms]
    baselines = sum(arm.is_baseline for arm in study.arms)
    if not names:
        return "no arms"
    if not study.cells:
        return "no seeds"
    if len(set(names)) < len(names):
        return "two arms alike"
    if not {cell.arm for cell in study.cells} <= set(names):
        return "cells of arms that it does not have"
    if study.screening is not None and not {run.arm for run in study.screening.runs} <= set(names):
        return "a design of arms that it does not have"
    if len({(cell.arm, cell.seed) for cell in study.cells}) < len(study.cells):
        return "two cells of one arm and seed"
    if len(study.data.classes) < 2 or len(set(study.data.classes)) < len(study.data.classes):
        return "fewer than two classes, or two alike"
    return "" if baselines == 1 else f"{baselines or 'no'} baseline{'s' if baselines else ''} among its arms"


def protocol_of(study: Study) -> str:
    name = study.data.recipe_name(study.protocol)
    return name + (f" with {in_words(study.protocol_changes)}" if study.protocol_changes else "")


def of_store(store: Store, manifest: Study, description: Description) -> dict[str, Any]:
    manifest = store.decided(manifest)
    by_seed = [] if manifest.tuning is None else [manifest.tuning.field]
    arms = {entry.name: _studied(entry, manifest.tuned.get(entry.name, {}), by_seed) for entry in manifest.arms}
    entries = {entry.name: entry for entry in manifest.arms}
    order = {name: place for place, name in enumerate(arms)}
    rows, records = [], {}
    for cell in sorted(manifest.cells, key=lambda cell: (order[cell.arm], cell.seed)):
        standing, record = _standing(store, cell, entries[cell.arm])
        rows.append(
            {
                **_of_arm(arms[cell.arm], description),
                **({"chosen": in_words(cell.chosen)} if cell.chosen else {}),
                **({"epochs": cell.chosen["epochs"]} if "epochs" in cell.chosen else {}),
                "seed": cell.seed,
                "key": cell.key,
                **printable(standing),
            }
        )
        if record is not None:
            records[cell.arm, cell.seed] = record
    classes = tuple(manifest.data.classes)
    return {
        "arms": tuple(arms.values()),
        "classes": classes,
        "cells": cell_table(rows),
        "read_answers": lambda: _with_clusters(
            answers_of(store, records, list(arms), len(classes)),
            manifest.data.test_clusters,
            store.study_folder(manifest.name),
        ),
        "groups": {name: members for name, members in manifest.data.groups.items() if members and {*members} <= {*classes}},
        "curves": {cell: record.curve for cell, record in records.items()},
        "read_logits": lambda arm, seed, part: store.logits(records[arm, seed], part),
        "study": description,
    }  # fmt: skip


def _studied(entry: ArmEntry, chosen: Mapping[str, Any], by_seed: Sequence[str]) -> StudiedArm:
    return StudiedArm(
        name=entry.name,
        is_baseline=entry.is_baseline,
        levels=entry.levels,
        changes={name: value for name, value in entry.changes.items() if name not in {*chosen, *by_seed}},
        chosen=chosen,
        spec=entry.spec,
        recipe=entry.recipe,
        start=entry.start,
        epochs=entry.epochs,
        costs=entry.costs,
        work=entry.work,
    )


def _of_arm(arm: StudiedArm, study: Description) -> dict[str, Any]:
    """What the cells of an arm have in common."""
    return {
        "arm": arm.name,
        "is_baseline": arm.is_baseline,
        "changes": in_words(arm.changes),
        "chosen": in_words(arm.chosen),
        "protocol": study.protocol,
        "epochs": arm.epochs,
        "parameters": arm.costs and arm.costs.parameters,
        "head_share": arm.costs and arm.costs.head_share,
        "multiply_adds": arm.costs and arm.costs.multiply_adds,
        "receptive_field": arm.costs and arm.costs.receptive_field_original,
        "work": arm.work,
    }


def _standing(store: Store, cell: StudyCell, arm: ArmEntry) -> tuple[dict[str, Any], Record | None]:
    """The status of a cell, and its record where it is finished."""
    if cell.candidates and not cell.chosen:
        return _undecided(store, cell), None
    key = cell.key
    try:
        record = store.sound(key)
    except DamagedRecord as error:
        return {"status": "damaged", "note": str(error)}, None
    if record is not None:
        if record.seed != cell.seed or not arm.choosing(cell.chosen).is_of(record.identity):
            of = f"{quoted(arm.name)}, seed {cell.seed}"
            note = f"{store.cell_folder(key)}: it is not a cell of {of}, whatever the manifest says"
            return {"status": "damaged", "note": note}, None
        return _measured(record), record
    failure = store.failure(key)
    if failure is not None:
        return {"status": failure.kind, "note": failure.sentence}, None
    return {"status": "running" if store.is_claimed(key) else "missing", "note": ""}, None


def _undecided(store: Store, cell: StudyCell) -> dict[str, Any]:
    """The status of a cell that is still to be chosen."""
    fault = next(filter(None, map(store.fault, cell.keys)), None)
    if fault is not None:
        return {"status": "damaged", "note": fault}
    failures = [store.failure(key) for key in cell.keys if not store.is_finished(key)]
    known = [failure for failure in failures if failure is not None]
    failed = next((failure for failure in known if failure.kind == "failed"), None)
    if failed is not None:
        return {"status": "failed", "note": failed.sentence}
    if len(known) == len(cell.keys):
        return {"status": "diverged", "note": f"all {len(known)} values; {known[0].sentence}"}
    if not failures:
        note = f"no candidate of {quoted(cell.arm)}, seed {cell.seed} has a learning curve"
        return {"status": "damaged", "note": note}
    running = any(map(store.is_claimed, cell.keys))
    ended = len(cell.keys) - len(failures) + len(known)
    return {"status": "running" if running else "missing", "note": f"{ended} of {len(cell.keys)} values tried"}


def _measured(record: Record) -> dict[str, Any]:
    provenance = record.provenance
    return {
        "status": "finished",
        "note": "",
        "validation_accuracy": record.curve[-1].validation_accuracy if record.curve else None,
        "test_accuracy": record.test_accuracy,
        "seconds": record.train_seconds + record.evaluate_seconds,
        "device": provenance.device,
        "device_type": provenance.device_type,
        "precision": provenance.precision,
        "threads": provenance.threads,
        "trials_at_once": provenance.trials_at_once,
        "gpu_share": provenance.gpu_share,
        "micro_batch": provenance.micro_batch,
        "peak_memory": record.peak_memory,
        "versions": ", ".join(f"{name} {version}" for name, version in provenance.versions.items()),
        "started": provenance.started,
        "finished": provenance.finished,
    }


def answers_of(store: Store, records: Mapping[tuple[str, int], Record], arms: Sequence[str], classes: int) -> Answers:
    """Predictions from the records' logits, which are dropped one by one: all of them fill gigabytes.

    A cell is left out if its logits are damaged, or its labels differ from those of most of the study's cells.
    """
    kind = np.min_scalar_type(classes - 1)
    damaged: list[Excluded] = []

    def leave_out(cell: tuple[str, int], reason: str) -> None:
        damaged.append(Excluded(*cell, "damaged", printable(reason)))

    read: dict[bytes, list[tuple[tuple[str, int], np.ndarray]]] = defaultdict(list)  # by the labels beside them
    for cell, record in records.items():
        try:
            logits, labels = store.logits(record, "test")
        except DamagedRecord as error:
            leave_out(cell, str(error))
            continue
        if logits.shape[1] != classes or not ((labels >= 0) & (labels < classes)).all():
            leave_out(cell, f"{store.cell_folder(record.key)}: its logits or labels are not of {classes} classes")
            continue
        read[labels.astype(np.int64).tobytes()].append((cell, logits.argmax(1).astype(kind)))
    most = max(read, key=lambda labels: len(read[labels]), default=b"")
    predictions: dict[str, dict[int, np.ndarray]] = {arm: {} for arm in arms}
    for labels_read, cells in read.items():
        for (arm, seed), predicted in cells:
            if labels_read == most:
                predictions[arm][seed] = predicted
            else:
                folder = store.cell_folder(records[arm, seed].key)
                leave_out((arm, seed), f"{folder}: its test labels are not those of most of the study's cells")
    return Answers(np.frombuffer(most, dtype=np.int64), predictions, damaged=tuple(damaged))


def _with_clusters(answers: Answers, clusters: Sequence[int] | None, folder: Path) -> Answers:
    """Raises: UserError: the clusters are those of other test images."""
    if clusters is None or not len(answers.labels):
        return answers
    if len(clusters) != len(answers.labels):
        raise UserError(
            f"{folder / 'study.json'} names the clusters of {len(clusters):,} test images, and the cells have "
            f"{len(answers.labels):,}; move it away and run the study's command again"
        )
    return replace(answers, clusters=np.array(clusters, dtype=np.int64))
