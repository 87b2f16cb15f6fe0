"""A cell: one arm trained with one seed, and the key under which its result is found again. Imports pydantic only."""

import hashlib
import json
from functools import cached_property
from typing import Any

from pydantic import NonNegativeInt

from ablations.arm import Arm
from cnnkit.recipe import NUMERICS, Recipe
from cnnkit.spec import ConvNetSpec, ModuleSpec, Spec, Stored


class SplitSizes(Stored):
    """How many images the cell was trained, validated and tested on."""

    train: int
    validation: int
    test: int

    def passes(self, epochs: int, *, frozen: bool = False) -> int:
        """Forward passes of one image in a cell: in training, a backward pass counted as two, and in every evaluation.
        `frozen`: no backward pass goes through more than the last layer.
        """
        return self.passes_until(epochs, frozen=frozen) + self.test

    def passes_until(self, epochs: int, part: float = 0.0, *, frozen: bool = False) -> int:
        """The same until `epochs` epochs are over, and a `part` of the next one's updates, 0 to 1."""
        update = 1 if frozen else 3
        return epochs * (update * self.train + self.validation) + round(update * part * self.train)


class Cell(Spec):
    """Everything that can change a cell's numbers. The arm's name is not among it."""

    spec: ConvNetSpec | ModuleSpec
    recipe: Recipe
    data: str
    """Fingerprint of the data set."""
    split: SplitSizes
    seed: NonNegativeInt
    numerics: int = NUMERICS

    @classmethod
    def of(cls, arm: Arm, *, data: str, split: SplitSizes, seed: int) -> "Cell":
        """The cell of `arm` and `seed` on a data set with this fingerprint and split."""
        return cls(spec=arm.spec, recipe=arm.recipe, data=data, split=split, seed=seed)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the key hashes. Spec and recipe enter with the fields that differ from their defaults, so
        that a field which is added later, its default being the old behaviour, orphans no finished cell.
        """
        return {
            "spec": self.spec.changed_fields(),
            "recipe": self.recipe.changed_fields(),
            "data": self.data,
            "split": self.split.model_dump(),
            "seed": self.seed,
            "numerics": self.numerics,
        }

    @cached_property
    def key(self) -> str:
        """20 hexadecimal digits, a hash of the canonical JSON of `identity`."""
        return key_of(self.identity)


def key_of(identity: dict[str, Any]) -> str:
    """The key of a cell with this identity."""
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=10).hexdigest()
