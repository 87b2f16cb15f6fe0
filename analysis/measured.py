"""Tables of what measures left in a study's results folder. Nothing here builds or asks a network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pandas as pd

from ablations.measure_store import Arrays, MeasureStore
from ablations.record import Study
from ablations.store import DamagedRecord, Store
from analysis import attention, reliance
from analysis.shape_bias import bias_table, by_category, decide
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
    missing: list[str] = field(default_factory=list)
    """Finished cells that were not measured, such as "2 blocks, seed 0", with the reason where there is one."""


def read(store: Store, study: Study, name: str) -> Measured:
    """What a measure left; `name` is its name and version, as `Measure.name`."""
    kept, result = MeasureStore(store), Measured({entry.name: {} for entry in study.arms})
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
    return result


def shape_bias(
    found: Found,
    stimuli: Stimuli,
    classes: tuple[str, ...],
    *,
    baseline: str,
    kind: str = "small",
    ten_way: bool = False,
) -> pd.DataFrame:
    """As `analysis.shape_bias.bias_table`.

    Args: kind: small, through the images' own size, or sharp, without that bottleneck. ten_way: choose among all classes of
        the data instead of those that the stimuli have too.
    """
    return bias_table(_decisions(found, stimuli, classes, kind, ten_way), stimuli, baseline=baseline)


def shape_bias_by_category(found: Found, stimuli: Stimuli, classes: tuple[str, ...]) -> pd.DataFrame:
    """Columns: arm, seed, and those of `analysis.shape_bias.by_category`."""
    tables = [
        by_category(stimuli.table.assign(decision=answers)).assign(arm=arm, seed=seed)
        for arm, by_seed in _decisions(found, stimuli, classes, "small", False).items()
        for seed, answers in by_seed.items()
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _decisions(
    found: Found, stimuli: Stimuli, classes: tuple[str, ...], kind: str, ten_way: bool
) -> dict[str, dict[int, list[str]]]:
    among = tuple(category(name) for name in classes) if ten_way else stimuli.categories
    return _each(found, lambda arrays: decide(arrays[kind], classes, among))


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


def maps(found: Found) -> dict[str, dict[int, np.ndarray]]:
    """Raw maps by arm and seed."""
    return _each(found, lambda arrays: arrays["maps"])


def seen(found: Found, classes: tuple[str, ...]) -> dict[str, dict[int, attention.Seen]]:
    """What networks did with composites; they choose among all classes of the data."""

    def one(arrays: Arrays) -> attention.Seen:
        logits = arrays["logits"].astype(np.float64)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        confidence = weights.max(axis=1) / weights.sum(axis=1)
        return attention.Seen([category(classes[best]) for best in logits.argmax(axis=1)], confidence, arrays["maps"])

    return _each(found, one)


def _each(found: Found, change: Callable[[Arrays], T]) -> dict[str, dict[int, T]]:
    return {arm: {seed: change(arrays) for seed, arrays in by_seed.items()} for arm, by_seed in found.items()}
