"""Tables of what measures left in a study's results folder. Nothing here builds or asks a network."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
import pandas as pd

from ablations.measure_store import Arrays, MeasureStore, Null
from ablations.record import Study
from ablations.sealed import DamagedRecord
from ablations.store import Store
from analysis import reliance
from analysis.attention import SCENE, Scenes, Seen, attention_table, composite_table, cut_out
from analysis.shape_bias import Nulls, bias_table, by_category, decide
from analysis.stimuli import Stimuli, category

T = TypeVar("T")

RELIANCE = "reliance-2"
"""Name and version; those before left no true classes."""

CLUSTERS = "clusters"
"""What reliance leaves beside the true classes, where test images belong together."""

Found = Mapping[str, Mapping[int, Arrays]]
"""What a measure found, by arm (all of them) and seed."""


@dataclass
class Measured:
    """What one measure left of a study."""

    found: dict[str, dict[int, Arrays]]
    random: dict[str, dict[int, Arrays]] = field(default_factory=dict)
    """The same of the arms' networks with random weights, where they were asked; every arm is there."""
    missing: list[str] = field(default_factory=list)
    """Finished cells that were not measured, such as "2 blocks, seed 0", with the reason where there is one."""
    colours: Arrays | None = None
    """For shape bias: what a classifier of colours answers."""


def read(store: Store, study: Study, name: str) -> Measured:
    """What a measure left; `name` is its name and version, as `Measure.name`."""
    kept = MeasureStore(store)
    result = Measured({entry.name: {} for entry in study.arms}, {entry.name: {} for entry in study.arms})
    arms = {entry.name: entry for entry in study.arms}
    for cell in study.cells:
        try:
            record = store.sound(cell.key)
            if record is None:
                continue
            arrays = kept.read(record, name)
        except DamagedRecord as error:
            result.missing.append(f"{cell.arm}, seed {cell.seed}: {error}")
            continue
        if arrays is None:
            result.missing.append(f"{cell.arm}, seed {cell.seed}")
        else:
            result.found[cell.arm][cell.seed] = arrays
        before = _null(kept, Null.random_weights(arms[cell.arm], cell.seed), name)
        if before is not None:
            result.random[cell.arm][cell.seed] = before
    if name.startswith(SHAPE_BIAS):
        result.colours = _null(kept, Null.training_images(study), COLOURS + name.removeprefix(SHAPE_BIAS))
    return result


def _null(kept: MeasureStore, null: Null, name: str) -> Arrays | None:
    """What is damaged is as good as missing: it is made again when somebody measures."""
    try:
        return kept.read(null, name)
    except DamagedRecord:
        return None


# -- shape bias

SHAPE_BIAS, COLOURS = "shape_bias-1", "colours-1"
"""Names and versions."""


def colours_name(stimuli: Stimuli) -> str:
    """Of what a classifier of colours answers to these stimuli."""
    return f"{COLOURS}.{stimuli.fingerprint}.{len(stimuli)}"


@dataclass(frozen=True)
class Way:
    """How a network's answer to a stimulus is found."""

    kind: Literal["small", "sharp"] = "small"
    """small: stimuli through the images' own size; sharp: without that bottleneck."""
    all_classes: bool = False
    """Choosing among all classes of the data instead of those that the stimuli have, too."""

    def words(self, classes: int, size: int) -> str:
        """What it is called. Args: size: of the data's images, in pixels."""
        if self.kind == "sharp":
            return f"stimuli not made as small as the data's images ({size} pixels)"
        return f"choosing among all {classes} classes" if self.all_classes else "primary"


WAYS = (Way(), Way(all_classes=True), Way("sharp"))
"""The primary way first."""


def shape_bias(
    measured: Measured, stimuli: Stimuli, classes: tuple[str, ...], *, baseline: str, way: Way = WAYS[0]
) -> pd.DataFrame:
    """As `analysis.shape_bias.bias_table`."""
    found, random = (_decisions(each, stimuli, classes, way) for each in (measured.found, measured.random))
    colours = None if measured.colours is None else [stimuli.categories[one] for one in measured.colours["answers"]]
    return bias_table(found, stimuli, baseline=baseline, nulls=Nulls(random, colours))


def shape_bias_by_category(found: Found, stimuli: Stimuli, classes: tuple[str, ...]) -> pd.DataFrame:
    """Columns: arm, seed, and those of `analysis.shape_bias.by_category`."""
    tables = [
        by_category(stimuli.table.assign(decision=answers)).assign(arm=arm, seed=seed)
        for arm, by_seed in _decisions(found, stimuli, classes, WAYS[0]).items()
        for seed, answers in by_seed.items()
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _decisions(found: Found, stimuli: Stimuli, classes: tuple[str, ...], way: Way) -> dict[str, dict[int, list[str]]]:
    among = tuple(category(name) for name in classes) if way.all_classes else stimuli.categories
    return _each(found, lambda arrays: decide(arrays[way.kind], classes, among))


# -- reliance


def answers(found: Found) -> dict[str, dict[int, dict[str, np.ndarray]]]:
    """Whether each image was answered right, unchanged and after each change: for the tables of `analysis.reliance`."""

    def right(arrays: Arrays) -> dict[str, np.ndarray]:
        given = {
            name: answered == arrays["labels"] for name, answered in arrays.items() if name not in ("labels", CLUSTERS)
        }
        return {reliance.UNCHANGED: given.pop("unchanged"), **{name: given[name] for name in _in_order(given)}}

    return _each(found, right)


def clusters(found: Found) -> np.ndarray | None:
    """Which of the images belong together; None where each stands for itself. It is the same for all cells."""
    return next((arrays.get(CLUSTERS) for by_seed in found.values() for arrays in by_seed.values()), None)


def _in_order(names: Mapping[str, np.ndarray]) -> list[str]:
    return [change.name for change in reliance.CHANGES if change.name in names]


# -- attention


def maps(found: Found) -> dict[str, dict[int, np.ndarray]]:
    """Raw maps by arm and seed."""
    return _each(found, lambda arrays: arrays["maps"])


def attention(measured: Measured, stimuli: Stimuli, *, baseline: str) -> pd.DataFrame:
    """As `analysis.attention.attention_table`."""
    return attention_table(maps(measured.found), stimuli, baseline=baseline, random=maps(measured.random))


# -- composites

COMPOSITES = "composites-2"
"""Name and version; those before did not say which objects and backgrounds they are."""


def composites_name(stimuli: Stimuli, data: str) -> str:
    """Of composites of these stimuli and the first test images of the data with this fingerprint."""
    both = hashlib.blake2b(f"{stimuli.fingerprint}{data}".encode(), digest_size=8).hexdigest()
    return f"{COMPOSITES}.{both}.{len(stimuli)}"


def packed_scenes(made: Scenes, stimuli: Stimuli) -> Arrays:
    """Objects as places in `cut_out(stimuli)`, backgrounds as places among test images, the backgrounds' classes as positions in
    the stimuli's categories.
    """
    objects = list(cut_out(stimuli).table["shape_instance"])
    return {
        "object": np.array([objects.index(name) for name in made.table["object"]], np.int16),
        "background": made.table["background"].to_numpy(np.int32),
        "background_class": np.array(
            [stimuli.categories.index(name) for name in made.table["background_class"]], np.int16
        ),
    }


def scenes(arrays: Arrays, stimuli: Stimuli) -> Scenes:
    """What `packed_scenes` packed, with the outlines in full."""
    objects = cut_out(stimuli)
    shown = objects.table.iloc[arrays["object"]]
    columns = (
        shown["shape_instance"],
        arrays["background"],
        shown["shape"],
        [stimuli.categories[one] for one in arrays["background_class"]],
    )
    table = pd.DataFrame({name: np.asarray(values) for name, values in zip(SCENE, columns, strict=True)})
    return Scenes(table, {name: stimuli.masks[name] for name in objects.table["shape_instance"]})


def composites(measured: Measured, stimuli: Stimuli, classes: tuple[str, ...], *, baseline: str) -> pd.DataFrame:
    """As `analysis.attention.composite_table`.

    Raises: ValueError: no network was asked.
    """
    first = next((arrays for by_seed in measured.found.values() for arrays in by_seed.values()), None)
    if first is None:
        raise ValueError("no networks")
    given, random = (seen(each, classes) for each in (measured.found, measured.random))
    return composite_table(given, scenes(first, stimuli), baseline=baseline, random=random)


def seen(found: Found, classes: tuple[str, ...]) -> dict[str, dict[int, Seen]]:
    """What networks did with composites; they choose among all classes of the data."""

    def one(arrays: Arrays) -> Seen:
        logits = arrays["logits"].astype(np.float64)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        confidence = weights.max(axis=1) / weights.sum(axis=1)
        return Seen([category(classes[best]) for best in logits.argmax(axis=1)], confidence, arrays["maps"])

    return _each(found, one)


def _each(found: Found, change: Callable[[Arrays], T]) -> dict[str, dict[int, T]]:
    return {arm: {seed: change(arrays) for seed, arrays in by_seed.items()} for arm, by_seed in found.items()}
