"""What a study consists of, and what of it is still missing."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ablations.arm import Arm
from ablations.cell import Cell, SplitSizes
from ablations.grids import GRIDS, arms_of
from ablations.protocols import PROTOCOLS, Protocol
from ablations.record import Command, Store, Study
from cnnkit.cost import cost
from cnnkit.data import Data
from cnnkit.errors import UserError
from cnnkit.spec import one_sentence


@dataclass(frozen=True)
class PlannedCell:
    """One arm and seed of a study."""

    arm: Arm
    cell: Cell

    @property
    def name(self) -> str:
        return f"{self.arm.name}, seed {self.cell.seed}"

    @property
    def work(self) -> int:
        """Multiply-adds of training (backward counts twice the forward) and of every evaluation."""
        recipe, split = self.cell.recipe, self.cell.split
        images = 3 * recipe.epochs * split.train + recipe.epochs * split.validation + split.test
        return images * cost(self.cell.spec).multiply_adds


@dataclass(frozen=True)
class Plan:
    """A study that is about to run, or that a dry run shows."""

    study: Study
    cells: list[PlannedCell]
    data: Data
    store: Store | None
    """None for a dry run on a results folder that does not exist yet."""

    def is_finished(self, planned: PlannedCell) -> bool:
        return self.store is not None and self.store.is_finished(planned.cell.key)

    @property
    def missing(self) -> list[PlannedCell]:
        """Cells without a record, a whole seed before the next: an interrupted study has complete seeds."""
        return [planned for planned in self.cells if not self.is_finished(planned)]


def changes(protocol: Protocol) -> dict[str, Any]:
    """The fields in which a protocol differs from the one of its name, as `spec.image_size`, say, and its value."""
    original = PROTOCOLS[protocol.name].model_dump(mode="json")
    return {
        f"{part}.{field}": value
        for part, fields in protocol.model_dump(mode="json").items()
        if isinstance(fields, dict)
        for field, value in fields.items()
        if value != original[part][field]
    }


def make_plan(
    grid: str, protocol: Protocol, data: Data, store: Store | None, *, seeds: int, arguments: list[str], now: str
) -> Plan:
    """The plan of the study `grid` under `protocol`; `data` is the whole data set.

    Raises: UserError: an arm cannot be built, or the study's name is taken by other arms.
    """
    try:
        arms = arms_of(GRIDS[grid], protocol.baseline())
    except ValidationError as error:
        raise UserError(f"grid {grid}: an arm cannot be built with this baseline: {one_sentence(error)}") from error
    used = data.subset(train=protocol.split.train, validation=protocol.split.validation, test=protocol.split.test)
    split = SplitSizes(train=len(used.train), validation=len(used.validation), test=len(used.test))
    cells = [
        PlannedCell(arm, Cell.of(arm, data=data.fingerprint, split=split, seed=seed))
        for seed in range(seeds)
        for arm in arms
    ]
    changed = changes(protocol)
    name = f"{grid}-{protocol.name}"
    if changed:
        name += "-" + hashlib.blake2b(json.dumps(changed, sort_keys=True).encode(), digest_size=3).hexdigest()
    earlier = store.study(name) if store is not None else None
    finished = sum(store is not None and store.is_finished(planned.cell.key) for planned in cells)
    command = Command(time=now, arguments=arguments, seeds=seeds, finished_before=finished)
    study = Study(
        name=name,
        grid=grid,
        question=(GRIDS[grid].__doc__ or "").strip().splitlines()[0],
        protocol=protocol.name,
        protocol_changes=changed,
        arms=arms,
        seeds=max(seeds, earlier.seeds if earlier else 0),
        data=data.fingerprint,
        data_source=data.source,
        data_description=used.describe(),
        split=split,
        commands=[*(earlier.commands if earlier else []), command],
    )
    return Plan(study, cells, used, store)
