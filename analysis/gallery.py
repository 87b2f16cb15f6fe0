"""Galleries: what the networks of a study answer to images, where they look for it, sheet by sheet and as a table.

A sheet is made, handed out and forgotten before the next one is begun, so that memory does not grow with their number.
Pictures show each map in its own resolution; numbers compare maps at the coarsest of all.
"""

import gc
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal
from uuid import uuid4

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from ablations.interruption import removed_if_interrupted
from ablations.measuring import TrainedNetwork
from ablations.record import Study
from ablations.sealed import DamagedRecord
from ablations.store import Store
from analysis.figures import STYLE
from analysis.gradcam import Method
from analysis.kept_looks import FILE, KeptLooks
from analysis.looking import Looked, look
from analysis.maps import coarsen, empty
from analysis.outcomes import Outcomes
from analysis.picking import softmax
from analysis.pictures import NoPicture, read_picture
from analysis.render import csv_text
from analysis.sheets import ROWS, Column, Look, Row, sheet
from analysis.thumbnails import TestImages
from cnnkit.errors import UserError

Target = Literal["predicted", "true"]

SHOWN = 256
"""Pixels along a side at which a picture of one's own is shown."""


@dataclass(frozen=True)
class Subject:
    """An image that networks are asked about."""

    name: str
    """Which image it is."""
    pixels: UInt8[np.ndarray, "channels size size"]
    """As networks get it: at the size of the images that they were trained on."""
    shown: UInt8[np.ndarray, "channels height width"]
    """As people see it."""
    true_class: int | None = None
    """Position in the class names; None where nobody knows."""


@dataclass(frozen=True)
class Cell:
    """A trained network of a study."""

    arm: str
    seed: int
    is_baseline: bool
    network: TrainedNetwork


@dataclass(frozen=True)
class Page:
    """What a sheet shows."""

    rows: list[Row]
    columns: list[Column]
    table: pd.DataFrame
    """A row an image and network: image, true_class (empty where nobody knows), arm, seed, answer, probability, right,
    explained (the class that the map is of), map (positions along its sides, such as 4x4), empty (whether it is 0
    everywhere), compared_at (the coarsest map's positions along a side), overlap (see `overlaps`; NaN without the baseline)."""


def pages(
    subjects: Iterable[Subject],
    cells: Sequence[Cell],
    classes: Sequence[str],
    *,
    target: Target = "predicted",
    method: Method = "gradcam",
    layer: str | None = None,
    rows: int = ROWS,
) -> Iterator[Page]:
    """The sheets of a gallery, one after another.

    Args: target: whether maps explain each network's own answer, or the true class. rows: images a sheet.
    Raises: UserError: a network has no map to explain, or the true class of an image is not known.
    """
    left = iter(subjects)
    while batch := list(islice(left, rows)):
        yield _page(batch, cells, classes, target, method, layer)


def _page(
    subjects: list[Subject],
    cells: Sequence[Cell],
    classes: Sequence[str],
    target: Target,
    method: Method,
    layer: str | None,
) -> Page:
    pixels = np.stack([subject.pixels for subject in subjects])
    truth = [subject.true_class for subject in subjects]
    known = [one for one in truth if one is not None]
    if target == "true" and len(known) < len(truth):
        unknown = next(subject.name for subject in subjects if subject.true_class is None)
        raise UserError(f"{unknown}: nobody knows its true class, which --target true would explain")
    found: list[Looked] = []
    for cell in cells:
        try:
            found.append(
                look(cell.network, pixels, classes=known if target == "true" else None, method=method, layer=layer)
            )
        except UserError as error:
            raise UserError(f"{cell.arm}, seed {cell.seed}: {error}") from error
    coarsest = min(min(one.maps.shape[1:]) for one in found)
    tables, looks = [], []
    for cell, one in zip(cells, found, strict=True):
        probabilities = softmax(one.logits)
        answers = probabilities.argmax(axis=1)
        certain = probabilities.max(axis=1)
        right = [None if true is None else bool(answer == true) for answer, true in zip(answers, truth, strict=True)]
        looks.append(
            [
                Look(classes[answer], float(share), hit, raw)
                for answer, share, hit, raw in zip(answers, certain, right, one.maps, strict=True)
            ]
        )
        height, width = one.maps.shape[1:]
        reference = next(
            (f.maps for c, f in zip(cells, found, strict=True) if c.is_baseline and c.seed == cell.seed), None
        )
        tables.append(
            pd.DataFrame(
                {
                    "image": [subject.name for subject in subjects],
                    "true_class": ["" if true is None else classes[true] for true in truth],
                    "arm": cell.arm,
                    "seed": cell.seed,
                    "answer": [classes[answer] for answer in answers],
                    "probability": certain,
                    "right": pd.array(right, dtype="boolean"),
                    "explained": [classes[one] for one in (known if target == "true" else answers)],
                    "map": f"{height}x{width}",
                    "empty": empty(one.maps),
                    "compared_at": coarsest,
                    "overlap": np.nan if reference is None else overlaps(one.maps, reference, coarsest),
                }
            )
        )
    titles = [
        subject.name if true is None else f"{classes[true]}\n{subject.name}"
        for subject, true in zip(subjects, truth, strict=True)
    ]
    return Page(
        [
            Row(title, subject.shown, [by_cell[place] for by_cell in looks])
            for place, (title, subject) in enumerate(zip(titles, subjects, strict=True))
        ],
        [Column(cell.arm, _detail(cell, one)) for cell, one in zip(cells, found, strict=True)],
        pd.concat(tables, ignore_index=True),
    )


def _detail(cell: Cell, found: Looked) -> str:
    height, width = found.maps.shape[1:]
    return f"seed {cell.seed}, map {height}×{width}"


def overlaps(
    maps: Float[np.ndarray, "n h w"], others: Float[np.ndarray, "n h2 w2"], size: int
) -> Float[np.ndarray, " n"]:
    """How much of a map lies where another one's does, at `size` x `size` positions: 0 nothing, 1 all. NaN of empty maps."""
    shares = []
    for each in (maps, others):
        flat = coarsen(each, size).reshape(len(each), -1).astype(np.float64)
        total = flat.sum(axis=1, keepdims=True)
        shares.append(np.divide(flat, total, out=np.full_like(flat, np.nan), where=total > 0))
    return np.minimum(*shares).sum(axis=1)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Of all pages' tables, a row a network: arm, seed, images, right (share; of those that are known), map, empty (count),
    compared_at, overlap (mean).
    """
    return (
        table.assign(right=table["right"].astype("Float64").astype("float64"))
        .groupby(["arm", "seed"], sort=False)
        .agg(
            images=("image", "size"),
            right=("right", "mean"),
            map=("map", "first"),
            empty=("empty", "sum"),
            compared_at=("compared_at", "first"),
            overlap=("overlap", "mean"),
        )
        .reset_index()
    )


def write(made: Iterable[Page], folder: Path, *, title: str, caption: str, dots: int = 200) -> tuple[pd.DataFrame, int]:
    """Writes sheet-001.png and so on, gallery.csv and what a page shows (`analysis.kept_looks`) into `folder`; returns the
    table and the number of sheets.

    What an earlier gallery left there is replaced, once all sheets are there.

    Args: dots: an inch.
    Raises: OSError: the folder cannot be written. UserError: there is no image.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f"{folder.name}.{uuid4().hex[:8]}.unfinished")
    tables: list[pd.DataFrame] = []
    kept = KeptLooks()
    with removed_if_interrupted(unfinished):
        try:
            unfinished.mkdir()
            for number, page in enumerate(made, start=1):
                with mpl.rc_context(STYLE):
                    ax = sheet(page.rows, page.columns, title=f"{title} ({number})", caption=caption)
                    drawn = ax.figure.canvas.figure
                    drawn.savefig(unfinished / f"sheet-{number:03}.png", dpi=dots)
                    plt.close(drawn)
                    del ax, drawn
                    gc.collect()  # a figure refers to itself, and a hundred of them would be there before Python looks
                tables.append(page.table)
                kept.add(page.rows, page.table)
            if not tables:
                raise UserError("none of the files is a readable picture, so there is nothing to show")
            table = pd.concat(tables, ignore_index=True)
            texts = ("image", "true_class", "arm", "answer", "explained")
            table.assign(**{name: table[name].map(csv_text) for name in texts}).to_csv(
                unfinished / "gallery.csv", index=False
            )
            (unfinished / FILE).write_bytes(kept.to_bytes())
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return table, len(tables)


# -- networks and images


def files_in(folder: Path) -> list[Path]:
    """All files of a folder and of those in it, but for hidden ones, by name.

    Raises: UserError: there is no such folder, or no file in it.
    """
    if not folder.is_dir():
        raise UserError(f"no folder of pictures at {folder}")
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    if not files:
        raise UserError(f"{folder} holds no pictures")
    return files


def trained_cells(
    store: Store, study: Study, wanted: Sequence[tuple[str, int]], *, device: str, search_paths: Sequence[str] = ()
) -> tuple[list[Cell], list[str]]:
    """The networks of these arms and seeds, and a sentence on each that is missing."""
    import torch

    keys = {(cell.arm, cell.seed): cell for cell in study.cells}
    found, missing = [], []
    for arm, seed in wanted:
        cell = keys.get((arm, seed))
        try:
            record = None if cell is None else store.sound(cell.key)
            if cell is None or record is None:
                missing.append(f"{arm}, seed {seed} is not finished")
                continue
            network = TrainedNetwork.load(store, study, cell, record, torch.device(device), search_paths)
        except (DamagedRecord, UserError) as error:
            missing.append(str(error))
            continue
        found.append(Cell(arm, seed, arm == study.baseline.name, network))
    return found, missing


def of_test_images(outcomes: Outcomes, images: TestImages | str, places: Iterable[int]) -> Iterator[Subject]:
    """Test images by their places.

    Args: images: as `analysis.study_images.find_images`.
    Raises: UserError: the images are not there, or are not those that the study has answers to.
    """
    if isinstance(images, str):
        raise UserError(images)
    if not np.array_equal(images.labels, outcomes.labels):
        raise UserError("the labels of the test images that were found are not the study's; give its data by --data")
    for place in places:
        pixels = images.images[place]
        yield Subject(f"test image {place}", pixels, pixels, int(images.labels[place]))


def photos(
    files: Sequence[Path], *, size: int, channels: int, classes: Sequence[str], skipped: list[str]
) -> Iterator[Subject]:
    """Pictures of one's own: the middle square, shrunk to the size of the images that networks were trained on.

    A picture in a folder that is called like a class shows that class. What is no readable picture is left out.

    Args: skipped: gets a line on each that is left out.
    """
    for file in files:
        try:
            picture = read_picture(file, "L" if channels == 1 else "RGB")
        except NoPicture:
            skipped.append(f"{file.name} is not a readable picture")
            continue
        small, large = (_square(picture, side) for side in (size, SHOWN))
        of = classes.index(file.parent.name) if file.parent.name in classes else None
        yield Subject(file.name, small, large, of)


def _square(picture: Image.Image, side: int) -> UInt8[np.ndarray, "channels side side"]:
    """The middle of a picture at this size, antialiased (bilinear)."""
    fitted = ImageOps.fit(picture, (side, side), Image.Resampling.BILINEAR)
    return np.moveaxis(np.atleast_3d(np.asarray(fitted)), -1, 0)
