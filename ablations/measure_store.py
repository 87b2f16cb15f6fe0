"""What measures found in trained networks, as it lies in a results folder. Knows neither Ray nor torch.

    ROOT/measures/KEY/NAME-VERSION.safetensors    a cell's arrays, with what they belong to and a hash of them inside

One file a cell and measure, there whole or not at all, and read like a record: every name checked, the hash compared. It
names the weights that it was found in, so that a cell that was trained again is measured again.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ablations import files
from ablations.record import Record
from ablations.store import WEIGHTS, DamagedRecord, Store
from cnnkit.errors import brief

Arrays = Mapping[str, np.ndarray]
NAME = re.compile(r"[a-z][a-z0-9_]{0,40}-[A-Za-z0-9._-]{1,60}")


def plain_name(measure: str) -> str:
    """A measure's name without its version."""
    return measure.partition("-")[0]


class MeasureStore:
    """What measures left in a results folder."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def file(self, record: Record, name: str) -> Path:
        """Raises: ValueError: `name` is not a measure's name and version, a path for example."""
        if not NAME.fullmatch(name):
            raise ValueError(f"not a measure's name and version: {name!r}")
        self.store.cell_folder(record.key)
        return self.store.root / "measures" / record.key / f"{name}.safetensors"

    def has(self, record: Record, name: str) -> bool:
        """Whether there is something that can be used."""
        try:
            return self.read(record, name) is not None
        except DamagedRecord:
            return False

    def files(self, key: str) -> list[Path]:
        """What measures left of a cell, whichever weights it was found in and whether it can be read or not."""
        return sorted((self.store.root / "measures" / key).glob("*.safetensors"))

    def counts(self, keys: Iterable[str]) -> dict[str, int]:
        """How many of the cells have something of each measure, in any version, by its plain name."""
        return dict(Counter(name for key in keys for name in {plain_name(file.name) for file in self.files(key)}))

    def write(self, record: Record, name: str, arrays: Arrays) -> None:
        """Keeps what a measure found in a cell's network.

        Raises: UserError: the disk refuses it.
        """
        about = _about(record, name, arrays)
        with files.one_sentence_errors(self.store.root):
            file = self.file(record, name)
            files.folder(self.store.root, "measures", record.key)
            files.write(file, save({key: np.ascontiguousarray(array) for key, array in arrays.items()}, about))

    def read(self, record: Record, name: str) -> Arrays | None:
        """What the measure found in the cell's network; None where it was not taken of these weights.

        Raises: DamagedRecord: the file was truncated or altered.
        """
        file = self.file(record, name)
        try:
            content = files.read(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedRecord(f"{file}: {error.strerror or error}") from error
        try:
            arrays = load(content)
            length = int.from_bytes(content[:8], "little")
            about = json.loads(content[8 : 8 + length])["__metadata__"]
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise DamagedRecord(f"{file}: {brief(error)}") from error
        expected = _about(record, name, arrays)
        if about.get("weights") != expected["weights"] and about.get("digest") == expected["digest"]:
            return None
        if about != expected:
            raise DamagedRecord(f"{file}: altered since it was written, or of another cell")
        return arrays


def _about(record: Record, name: str, arrays: Arrays) -> dict[str, str]:
    digest = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        digest.update(f"{key} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return {
        "cell": record.key,
        "measure": name,
        "weights": record.files.get(WEIGHTS, ""),
        "digest": digest.hexdigest(),
    }
