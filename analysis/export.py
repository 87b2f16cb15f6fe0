"""A study's learning curves, hyperparameters and final numbers for other tools."""

import contextlib
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd

from ablations.interruption import removed_if_interrupted
from analysis.outcomes import Outcomes
from analysis.render import csv_text
from analysis.studied import StudiedArm

MARK = "made-by-ablations-export"
"""A file in each folder that was written here, which may be replaced."""
FINAL = ("validation_accuracy", "test_accuracy", "seconds", "parameters", "multiply_adds")
"""Columns of `Outcomes.cells` that TensorBoard shows beside the hyperparameters."""
CURVES = ("train_loss", "validation_loss", "validation_accuracy", "learning_rate")
"""Columns of `Outcomes.epochs` that become curves."""

Plain = str | float | int | bool


def may_replace(folder: Path) -> bool:
    """Whether a folder is empty, or an export."""
    return folder.is_dir() and (not any(folder.iterdir()) or (folder / MARK).is_file())


def hyperparameters(arm: StudiedArm) -> dict[str, Plain]:
    """What an arm is, by field: spec.batch_norm, recipe.augmentation.flip and so on, and its level of each factor.

    What is no text and no number (widths) is text.
    """
    parts: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("spec", arm.spec),
        ("recipe", arm.recipe),
        ("level", arm.levels),
    )
    return {"arm": arm.name} | {
        name: value for part, values in parts for name, value in _flat(part, values) if value is not None
    }


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Plain | None]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}.{name}", value)
        elif value is None or isinstance(value, str | float | int):
            yield f"{prefix}.{name}", value
        elif isinstance(value, list | tuple):
            yield f"{prefix}.{name}", ", ".join(map(str, value))
        else:
            yield f"{prefix}.{name}", str(value)


def to_csv(outcomes: Outcomes, folder: Path) -> None:
    """Writes curves.csv, a row an epoch of a finished cell, and cells.csv, a row a cell with its hyperparameters.

    Raises: OSError: the folder cannot be written.
    """
    fields = pd.DataFrame([hyperparameters(arm) for arm in outcomes.arms])
    cells = outcomes.cells.merge(fields, on="arm", how="left")
    with _replacing(folder) as unfinished:
        for name, table in (("curves", outcomes.epochs), ("cells", cells)):
            table.map(csv_text).to_csv(unfinished / f"{name}.csv", index=False)


def to_tensorboard(outcomes: Outcomes, folder: Path) -> None:
    """Writes a run for each finished cell, in a folder of its number, arm and seed.

    Raises: OSError: the folder cannot be written.
    """
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    fields = {arm.name: hyperparameters(arm) for arm in outcomes.arms}
    epochs = dict(iter(outcomes.epochs.groupby(["arm", "seed"])))
    place = {arm.name: number for number, arm in enumerate(outcomes.arms, start=1)}
    with _replacing(folder) as unfinished:
        for cell in outcomes.finished.to_dict("records"):
            arm, seed = cell["arm"], cell["seed"]
            final = {f"final/{name}": float(cell[name]) for name in FINAL if not pd.isna(cell[name])}
            run = unfinished / f"{place[arm]:02d} {_file_name(arm)}, seed {seed}"
            with SummaryWriter(str(run), write_to_disk=True) as writer:
                for row in epochs[arm, seed].to_dict("records") if (arm, seed) in epochs else ():
                    for name in CURVES:
                        if row[name] is not None and not math.isnan(row[name]):
                            writer.add_scalar(name, row[name], row["epoch"])
                for summary in hparams({**fields[arm], "seed": seed}, dict.fromkeys(final, 0.0)):
                    writer.file_writer.add_summary(summary)
                for name, value in final.items():
                    writer.add_scalar(name, value, cell["epochs"] if not pd.isna(cell["epochs"]) else 0)


def _file_name(text: str) -> str:
    """Part of a file's name on any system, which holds 255 bytes at most."""
    plain = "".join(letter if letter.isalnum() or letter in " -+.," else "_" for letter in text)
    return plain.encode()[:160].decode(errors="ignore")


@contextlib.contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A new folder to write into, which takes the folder's place when it is whole."""
    unfinished = folder.with_name(f"{folder.name}.{uuid4().hex[:8]}.unfinished")
    with removed_if_interrupted(unfinished):
        try:
            unfinished.mkdir(parents=True)
            yield unfinished
            (unfinished / MARK).touch()
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
