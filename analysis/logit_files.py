"""A folder of logits as a table of predictions: a file a run, as npz or safetensors, whose name says arm and seed.

    FOLDER/ARM/seed-0.npz           or  FOLDER/ARM-seed-0.npz, FOLDER/ARM_0.safetensors
        logits  (images, classes)   or  predictions (images,)
        labels  (images,)           or once for all runs in FOLDER/labels.npz, labels.npy or labels.safetensors

Files are read one by one, and of their logits only the answers are kept.
"""

import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ablations.text import printable
from ablations.units import counted
from cnnkit.errors import UserError

KINDS = (".npz", ".safetensors")
NAMED = re.compile(
    r"(?:(?P<arm>.+?)(?:[-_ .,=]+|(?=seed)))??(?:(?:seed|run|s|replicate|rep)[-_ =]*)?(?P<seed>\d{1,18})", re.IGNORECASE
)
"""A file's name without its ending: an arm and a seed, or a seed alone, where the folder is the arm's."""
LOGITS = ("logits", "outputs", "scores", "probabilities", "probs")
PREDICTIONS = ("predictions", "prediction", "preds", "pred", "y_pred")
LABELS = ("labels", "label", "targets", "target", "y_true", "y")
GROUPS = ("groups", "group", "clusters", "cluster")


@dataclass(frozen=True)
class LogitFiles:
    """What a folder holds."""

    table: pd.DataFrame
    """One row a prediction: arm, seed, image, label, prediction, and group where files say which images belong together."""
    read: Callable[[str, int], tuple[Float[np.ndarray, "images classes"], Int[np.ndarray, " images"]]]
    """Logits and labels of a run; KeyError where it has none."""
    classes: int | None
    """How many, where there are logits."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Run:
    file: Path
    arm: str
    seed: int


def read_folder(folder: Path) -> LogitFiles:
    """Every run of a folder.

    Raises: UserError: it holds no runs, or files that do not fit together, and which.
    """
    runs = _find(folder)
    shared = _shared_labels(folder)
    blocks, counts, first = [], set(), None
    for run in runs:
        found = _read(run.file, shared)
        counts.add(None if found.logits is None else found.logits.shape[1])
        if first is not None and (len(first.labels) != len(found.labels) or (first.labels != found.labels).any()):
            raise UserError(
                f"{run.file}: its labels are not those of {runs[0].file.relative_to(folder)}; all runs need the same test images "
                "in the same order"
            )
        first = first or found
        images = np.arange(len(found.labels))
        block = {"image": images, "label": found.labels, "prediction": found.answers}
        if found.groups is not None:
            block["group"] = found.groups
        blocks.append(pd.DataFrame(block).assign(arm=run.arm, seed=run.seed).astype({"arm": "category"}))
    if len(counts) > 1:
        raise UserError(
            f"{folder}: its files have logits of {' and '.join(str(count or 'no') for count in counts)} classes"
        )
    if len({"group" in block for block in blocks}) > 1:
        raise UserError(f"{folder}: some files have groups of images and others none")
    files = {(run.arm, run.seed): run.file for run in runs}

    def read(arm: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
        found = _read(files[arm, seed], shared)
        if found.logits is None:
            raise KeyError(f"{files[arm, seed]} has no logits")
        return found.logits.astype(np.float32), found.labels

    shown = runs[0]
    said = f"{shown.file.relative_to(folder)} is arm {shown.arm!r}, seed {shown.seed}, by its name"
    note = f"{counted(len(runs), 'file')}: {printable(said)}"
    table = pd.concat(blocks, ignore_index=True)
    return LogitFiles(table.assign(arm=table["arm"].astype("category")), read, counts.pop(), (note,))


def _find(folder: Path) -> list[_Run]:
    files = sorted(
        (f for f in folder.rglob("*") if f.suffix in KINDS and f.is_file() and f.stem not in LABELS),
        key=lambda file: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(file.relative_to(folder)))]
    )  # fmt: skip
    if not files:
        raise UserError(
            f"{folder} holds no runs; put them there as ARM/seed-0.npz with logits and labels, or as safetensors"
        )
    runs: dict[tuple[str, int], _Run] = {}
    for file in files:
        inner = file.relative_to(folder).parent
        match = NAMED.fullmatch(file.stem)
        arm = (
            "" if match is None else "/".join(filter(None, ("" if inner == Path() else str(inner), match["arm"] or "")))
        )
        if match is None or not arm:
            raise UserError(f"{file}: its name does not say arm and seed; call it ARM/seed-0{file.suffix}")
        run = _Run(file, printable(arm), int(match["seed"]))
        other = runs.setdefault((run.arm, run.seed), run)
        if other is not run:
            raise UserError(f"{other.file} and {file.name} are both {run.arm!r}, seed {run.seed}; remove one of them")
    return list(runs.values())


@dataclass(frozen=True)
class _Found:
    labels: Int[np.ndarray, " images"]
    answers: Int[np.ndarray, " images"]
    logits: np.ndarray | None
    groups: np.ndarray | None


def _shared_labels(folder: Path) -> np.ndarray | None:
    for name in LABELS:
        for kind in (".npy", *KINDS):
            file = folder / f"{name}{kind}"
            if file.is_file():
                arrays = _arrays(file)
                labels = _one(file, arrays, LABELS) if len(arrays) > 1 else next(iter(arrays.values()), None)
                if labels is None:
                    raise UserError(f"{file} has no labels; it has {', '.join(arrays) or 'nothing'}")
                return _whole(file, "labels", labels)
    return None


def _read(file: Path, shared: np.ndarray | None) -> _Found:
    arrays = _arrays(file)
    labels = _one(file, arrays, LABELS)
    if labels is None:
        labels = shared
    if labels is None:
        raise UserError(
            f"{file} has no labels; add them, or a file labels.npz for all runs (it has {', '.join(arrays) or 'nothing'})"
        )
    labels = _whole(file, "labels", labels)
    logits, answers = _one(file, arrays, LOGITS), _one(file, arrays, PREDICTIONS)
    if logits is None and answers is None and len(arrays) == 1 and shared is not None:
        only = next(iter(arrays.values()))
        logits, answers = (only, None) if only.ndim == 2 else (None, only)
    if logits is None and answers is None:
        raise UserError(f"{file} has neither logits nor predictions; it has {', '.join(arrays) or 'nothing'}")
    groups = _one(file, arrays, GROUPS)
    if logits is not None:
        if logits.ndim != 2 or logits.shape[0] != len(labels) or logits.shape[1] < 2 or logits.dtype.kind not in "fiu":
            raise UserError(
                f"{file}: logits are (images, classes) numbers for {len(labels):,} labels, not {logits.shape}"
            )
        if not np.isfinite(logits).all():
            raise UserError(f"{file}: its logits are not finite; leave the run out if it diverged")
        if len(labels) and (labels.min() < 0 or labels.max() >= logits.shape[1]):
            raise UserError(f"{file}: label {labels.max()} is none of the {logits.shape[1]} classes of its logits")
        answers = logits.argmax(axis=1)
    assert answers is not None
    answers = _whole(file, "predictions", answers)
    if len(answers) != len(labels) or (groups is not None and len(groups) != len(labels)):
        raise UserError(f"{file}: it has {len(labels):,} labels and {len(answers):,} predictions")
    return _Found(labels, answers, logits, None if groups is None else _whole(file, "groups", groups))


def _arrays(file: Path) -> Mapping[str, np.ndarray]:
    try:
        if file.suffix == ".safetensors":
            return {printable(name): array for name, array in load_file(file).items()}
        with file.open("rb") as stream:
            found = np.load(stream, allow_pickle=False)
            if file.suffix == ".npy":
                return {"labels": found}
            return {printable(name): found[name] for name in found.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, SafetensorError) as error:
        reason = printable((str(error).splitlines() or [type(error).__name__])[0])[:200].rstrip(".")
        raise UserError(f"{file} cannot be read: {reason}") from error


def _one(file: Path, arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray | None:
    found = [name for name in arrays if name.lower() in names]
    if len(found) > 1:
        raise UserError(f"{file} has both {found[0]} and {found[1]}; leave one out")
    return arrays[found[0]] if found else None


def _whole(file: Path, what: str, values: np.ndarray) -> np.ndarray:
    """(images,) whole numbers."""
    flat = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if (
        flat.ndim != 1
        or flat.dtype.kind not in "iufb"
        or (flat.dtype.kind == "f" and not (flat == np.floor(flat)).all())
    ):
        raise UserError(f"{file}: {what} are one whole number an image, not {values.dtype} {values.shape}")
    if not len(flat):
        raise UserError(f"{file} has no images")
    return flat.astype(np.int64)
