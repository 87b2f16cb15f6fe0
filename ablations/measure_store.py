"""What measures found in trained networks, as it lies in a results folder. Knows neither Ray nor torch.

    ROOT/measures/KEY/NAME-VERSION.safetensors    a cell's arrays, with what they belong to and a hash of them inside
    ROOT/nulls/KEY/NAME-VERSION.safetensors       the same of what no training has part in

One file a cell and measure, there whole or not at all, and read like a record: every name checked, the hash compared. It
names the weights that it was found in, so that a cell that was trained again is measured again. Nulls depend on data or on
an arm's network, and not on a cell, so all studies of a folder share them.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ablations import files
from ablations.record import ArmEntry, Record, Study
from ablations.sealed import DamagedRecord
from ablations.store import WEIGHTS, Store
from cnnkit.errors import brief
from cnnkit.spec import ConvNetSpec, ModuleSpec

Arrays = Mapping[str, np.ndarray]
NAME = re.compile(r"[a-z][a-z0-9_]{0,40}-[A-Za-z0-9._-]{1,60}")


def plain_name(measure: str) -> str:
    """A measure's name without its version."""
    return measure.partition("-")[0]


@dataclass(frozen=True)
class Null:
    """What a measure is asked of where nothing was learnt from the study's training, to compare networks with."""

    key: str

    @classmethod
    def random_weights(cls, arm: ArmEntry, seed: int) -> Self:
        """Of the arm's network as it was before its training under this seed. Arms that differ in their recipe share it.

        Fields of the network that have their defaults are left out, as in a cell's key: a new field orphans nothing.
        """
        default = (ModuleSpec(factory="") if "factory" in arm.spec else ConvNetSpec()).model_dump(mode="json")
        own = {name: value for name, value in arm.spec.items() if name not in default or value != default[name]}
        return cls(_digest({"spec": own, "seed": seed}))

    @classmethod
    def training_images(cls, study: Study) -> Self:
        """Of what can be learnt from the study's training images without a network."""
        return cls(_digest({"data": study.data.fingerprint, "train": study.split.train}))


class MeasureStore:
    """What measures left in a results folder."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def file(self, of: Record | Null, name: str) -> Path:
        """Raises: ValueError: `name` is not a measure's name and version, a path for example."""
        if not NAME.fullmatch(name):
            raise ValueError(f"not a measure's name and version: {name!r}")
        self.store.cell_folder(of.key)
        return self.store.root / _folder(of) / of.key / f"{name}.safetensors"

    def has(self, of: Record | Null, name: str) -> bool:
        """Whether there is something that can be used."""
        try:
            return self.read(of, name) is not None
        except DamagedRecord:
            return False

    def files(self, key: str) -> list[Path]:
        """What measures left of a cell, whichever weights it was found in and whether it can be read or not."""
        return sorted((self.store.root / "measures" / key).glob("*.safetensors"))

    def counts(self, keys: Iterable[str]) -> dict[str, int]:
        """How many of the cells have something of each measure, in any version, by its plain name."""
        return dict(Counter(name for key in keys for name in {plain_name(file.name) for file in self.files(key)}))

    def write(self, of: Record | Null, name: str, arrays: Arrays) -> None:
        """Keeps what a measure found in a cell's network, or in a null.

        Raises: UserError: the disk refuses it.
        """
        about = _about(of, name, arrays)
        with files.one_sentence_errors(self.store.root):
            file = self.file(of, name)
            files.folder(self.store.root, _folder(of), of.key)
            files.write(file, save({key: np.ascontiguousarray(array) for key, array in arrays.items()}, about))

    def read(self, of: Record | Null, name: str) -> Arrays | None:
        """What the measure found in the cell's network, or in a null; None where it was not taken of these weights.

        Raises: DamagedRecord: the file was truncated or altered.
        """
        file = self.file(of, name)
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
        expected = _about(of, name, arrays)
        if about.get("weights") != expected["weights"] and about.get("digest") == expected["digest"]:
            return None
        if about != expected:
            raise DamagedRecord(f"{file}: altered since it was written, or of another cell")
        return arrays


def _folder(of: Record | Null) -> str:
    return "measures" if isinstance(of, Record) else "nulls"


def _about(of: Record | Null, name: str, arrays: Arrays) -> dict[str, str]:
    digest = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        digest.update(f"{key} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return {
        "cell": of.key,
        "measure": name,
        "weights": of.files.get(WEIGHTS, "") if isinstance(of, Record) else "",
        "digest": digest.hexdigest(),
    }


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=10).hexdigest()
