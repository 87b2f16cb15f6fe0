"""What a study consists of, and what of it is still missing."""

import contextlib
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from ablations.arm import Arm
from ablations.cell import Cell, SplitSizes
from ablations.grid_files import OwnGrid
from ablations.grids import Grid, layout_of
from ablations.protocols import PROTOCOLS, Protocol
from ablations.record import ArmEntry, Candidate, ClassQuestion, Command, LookPlan, Study, StudyCell, Tuning
from ablations.screens import Layout
from ablations.store import Store
from ablations.units import counted
from cnnkit.cost import cost
from cnnkit.description import DataDescription
from cnnkit.errors import UserError
from cnnkit.images import Data
from cnnkit.recipe import Recipe
from cnnkit.spec import ModuleSpec, one_sentence

TUNING_SEED = 1_000_000
"""Seed of the cells from which --tune chooses; no study's own seeds reach it."""

MOST_CELLS = 20_000
LONGEST_FOLDER_NAME = 56
"""Characters of a grid's name in the name of a study's folder, beside which protocol and hashes have room."""


@dataclass(frozen=True)
class PlannedCell:
    """One arm and seed of a study."""

    arm: Arm
    cell: Cell
    tried: dict[str, Any] = field(default_factory=dict)
    """Fields of the recipe with values that may be chosen by validation accuracy; empty where there is no choice."""

    @property
    def called(self) -> str:
        """The arm's name, and the values that are tried."""
        values = ", ".join(f"{name} {value}" for name, value in self.tried.items())
        return f"{self.arm.name} ({values})" if values else self.arm.name

    @property
    def name(self) -> str:
        return f"{self.called}, seed {self.cell.seed}"

    @property
    def passes(self) -> int:
        """Forward passes of one image in training (backward counts as two) and in every evaluation."""
        return self.cell.split.passes(self.cell.recipe.epochs, frozen=self.cell.recipe.is_frozen)

    @property
    def work(self) -> int:
        """Multiply-adds of the whole trial."""
        return self.passes * cost(self.cell.spec).multiply_adds


@dataclass(frozen=True)
class Plan:
    """A study that is about to run, or that a dry run shows."""

    study: Study
    arms: list[Arm]
    """Of the study, of which its manifest keeps what reading needs."""
    command: Command
    """The run of the study that this is."""
    cells: list[PlannedCell]
    """Those that this run is to train, where a shard is not all of the study; with planned looks, at most."""
    data: Data
    store: Store | None
    """None for a dry run on a results folder that does not exist yet."""
    others: list[PlannedCell] = field(default_factory=list)
    """Those that other shards train."""

    @property
    def baseline(self) -> Arm:
        """The arm that the others are compared with."""
        return next(arm for arm in self.arms if arm.is_baseline)

    def is_finished(self, planned: PlannedCell) -> bool:
        """Whether the cell has a record that can be trusted."""
        return self.store is not None and self.store.is_finished(planned.cell.key)

    @property
    def missing(self) -> list[PlannedCell]:
        """Cells that are not finished, a whole seed before the next: an interrupted study has complete seeds."""
        return [planned for planned in self.cells if not self.is_finished(planned)]

    @property
    def faults(self) -> list[str]:
        """Sentences on cells of which something stands in their place that cannot be trusted: a run moves it aside, and trains
        them again.
        """
        if self.store is None:
            return []
        return [fault for planned in self.cells if (fault := self.store.fault(planned.cell.key)) is not None]

    def of_shard(self, cells: Sequence[PlannedCell]) -> list[PlannedCell]:
        """Of `cells` those that are not other shards'."""
        others = {planned.cell.key for planned in self.others}
        return [planned for planned in cells if planned.cell.key not in others]

    def diverged(self, planned: PlannedCell) -> bool:
        """Whether the cell's loss stopped being finite the last time; training it again would give the same."""
        failure = self.store.failure(planned.cell.key) if self.store is not None else None
        return failure is not None and failure.kind == "diverged"

    def is_over(self, group: Sequence[PlannedCell]) -> bool:
        """Whether an arm and seed has its result: of its candidates one is finished, and none is still to be trained."""
        return any(map(self.is_finished, group)) and all(self.is_finished(p) or self.diverged(p) for p in group)

    def shard(self, index: int, count: int) -> "Plan":
        """Every `count`-th cell from the `index`-th (counted from 1) on, candidates of one choice together. It depends on
        no machine's progress, so that shards that know nothing of each other share the cells out.
        """
        mine = [planned for group in grouped(self.cells)[index - 1 :: count] for planned in group]
        keys = {planned.cell.key for planned in mine}
        return replace(self, cells=mine, others=[planned for planned in self.cells if planned.cell.key not in keys])


def changes(protocol: Protocol, data: DataDescription) -> dict[str, Any]:
    """The fields in which a protocol differs from the one of its name on such data, as `spec.image_size`, say, and its value."""
    original = PROTOCOLS[protocol.name].fitted(data).model_dump(mode="json")
    network = {} if protocol.network is None else protocol.network.changed_fields()
    return {
        f"{part}.{field}": value
        for part, fields in {**protocol.model_dump(mode="json"), "network": network}.items()
        if isinstance(fields, dict)
        for field, value in fields.items()
        if value != (original[part] or {}).get(field)
    }


def make_plan(
    grid: Grid,
    grid_name: str,
    protocol: Protocol,
    data: Data,
    store: Store | None,
    *,
    seeds: Sequence[int],
    arguments: list[str],
    now: str,
    tuned: dict[str, dict[str, Any]] | None = None,
    tuning: Tuning | None = None,
    looks: LookPlan | None = None,
    classes: Sequence[str] = (),
) -> Plan:
    """The plan of the study of `grid` under `protocol`.

    Args: data: the whole data set. seeds: those to train. now: UTC, ISO 8601. tuned: fields of the recipe that were
        chosen for an arm on the validation images, by the arm's name. tuning: what every seed chooses for itself. looks: after
        which arms may stop, the last with all seeds; then the manifest lists the cells of the first, and grows with each.
        classes: that a question is asked about.
    Raises: UserError: an arm cannot be built, or two arms are the same.
    """
    protocol = fitted(protocol, data.about)
    layout = layout_for(grid, grid_name, protocol, data.about)
    arms = layout.arms
    for i, arm in enumerate(arms):
        chosen = (tuned or {}).get(arm.name)
        if chosen:
            arms[i] = arm.model_copy(update={"recipe": arm.recipe.vary(**chosen)})
    if len(arms) * len(seeds) > MOST_CELLS:
        raise UserError(
            f"{len(arms):,} arms x {len(seeds):,} seeds are more than the {MOST_CELLS:,} cells that a study may have; give fewer "
            f"arms or seeds"
        )
    sizes = protocol.split
    redraws = any(arm.recipe.split_seed for arm in arms)
    used = data.subset(train=sizes.train, validation=sizes.validation, test=sizes.test, keep_rest=redraws)
    split = SplitSizes(train=len(used.train), validation=len(used.validation), test=len(used.test))
    if tuning is not None:
        tuning = checked(tuning, arms)
    tried = [one for arm in arms for one in ([(arm, {})] if tuning is None else candidates_of(arm, tuning))]
    cells = [
        PlannedCell(arm, Cell.of(arm, data=data.fingerprint, split=split, seed=seed), values)
        for seed in seeds
        for arm, values in tried
    ]
    changed = changes(protocol, data.about)
    name = f"{folder_name(grid_name)}-{protocol.name}"
    told_apart = {
        **changed,
        **({"tuned": sorted({field for fields in tuned.values() for field in fields})} if tuned else {}),
        **({"tuned by each seed": tuning.model_dump(mode="json")} if tuning else {}),
    }
    if told_apart:
        name += "-" + hashlib.blake2b(json.dumps(told_apart, sort_keys=True).encode(), digest_size=3).hexdigest()
    finished = [planned for planned in cells if store is not None and store.is_finished(planned.cell.key)]
    command = Command(time=now, arguments=arguments, seeds=len(seeds), finished_before=len(finished))
    known = sum(not planned.arm.is_baseline for planned in finished)
    if looks is not None:
        looks = looks.model_copy(update={"finished_before": known})
    baseline = next(arm for arm in arms if arm.is_baseline)
    study = Study(
        name=name,
        grid=grid_name,
        question=(grid.__doc__ or "").strip().splitlines()[0],
        protocol=protocol.name,
        protocol_changes=changed,
        arms=[entry_of(arm, baseline, split, data.about) for arm in arms],
        seeds=len(seeds),
        cells=listed(cells if looks is None else [p for p in cells if p.cell.seed < looks.seeds[0]]),
        data=used.description,
        split=split,
        tuned=tuned or {},
        tuning=tuning,
        looks=looks,
        class_questions=[ClassQuestion(name=name, finished_before=known) for name in dict.fromkeys(classes)],
        screening=layout.screening,
        notes=list(layout.notes),
    )
    return Plan(study if store is None else store.named(study), arms, command, cells, used, store)


def grouped(cells: Sequence[PlannedCell]) -> list[list[PlannedCell]]:
    """Cells by arm and seed, in their order: one, or the candidates among which the seed chooses."""
    groups: dict[tuple[str, int], list[PlannedCell]] = {}
    for planned in cells:
        groups.setdefault((planned.arm.name, planned.cell.seed), []).append(planned)
    return list(groups.values())


def listed(cells: Sequence[PlannedCell]) -> list[StudyCell]:
    """Cells as a manifest lists them."""
    return [_listed(group) for group in grouped(cells)]


def _listed(group: Sequence[PlannedCell]) -> StudyCell:
    first = group[0]
    if not first.tried:
        return StudyCell(arm=first.arm.name, seed=first.cell.seed, key=first.cell.key)
    candidates = [Candidate(fields=planned.tried, key=planned.cell.key) for planned in group]
    return StudyCell.among(first.arm.name, first.cell.seed, candidates)


def folder_name(grid_name: str) -> str:
    """What a grid's author calls it, as part of a folder's name on any system."""
    letters = unicodedata.normalize("NFKD", grid_name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    return re.sub("[^A-Za-z0-9._-]+", "-", letters).strip("-._")[:LONGEST_FOLDER_NAME] or "grid"


def entry_of(arm: Arm, baseline: Arm, split: SplitSizes, data: DataDescription) -> ArmEntry:
    """What a manifest keeps of an arm."""
    return ArmEntry(
        name=arm.name,
        is_baseline=arm.is_baseline,
        levels=arm.levels,
        changes=arm.changes_from(baseline),
        spec=arm.spec.model_dump(mode="json"),
        recipe=arm.recipe.model_dump(mode="json"),
        epochs=arm.recipe.epochs,
        passes=split.passes(arm.recipe.epochs, frozen=arm.recipe.is_frozen),
        start=arm.start,
        costs=cost(arm.spec, original_size=data.image_size),
    )


def fitted(protocol: Protocol, data: DataDescription) -> Protocol:
    """As `Protocol.fitted`. Raises: UserError: the network cannot be built so."""
    try:
        return protocol.fitted(data)
    except ValidationError as error:
        raise UserError(f"{protocol.name} on {data.name}: {one_sentence(error)}") from error


def arms_for(grid: Grid, grid_name: str, protocol: Protocol, data: DataDescription) -> list[Arm]:
    """The arms of `layout_for`. Raises: as it does."""
    return layout_for(grid, grid_name, protocol, data).arms


def layout_for(grid: Grid, grid_name: str, protocol: Protocol, data: DataDescription) -> Layout:
    """What `grid` lays out under `protocol` on such data, networks of the user's own tried to see that they can be trained.

    Raises: UserError: an arm cannot be built, or two arms are the same.
    """
    with _named(grid, grid_name):
        layout = layout_of(grid, protocol.baseline())
        arms = layout.arms
        for arm in arms:
            if arm.spec.num_classes != len(data.classes):
                raise UserError(
                    f"arm {arm.name!r}: {data.name} has {len(data.classes)} classes, the network "
                    f"num_classes={arm.spec.num_classes}"
                )
            if arm.spec.in_channels != data.channels:
                raise UserError(
                    f"arm {arm.name!r}: the images have {counted(data.channels, 'channel')}, the network "
                    f"in_channels={arm.spec.in_channels}"
                )
        # The default needs no check, and so no import of timm, which takes longer than the rest of a dry run.
        for optimizer in {arm.recipe.optimizer for arm in arms} - {Recipe().optimizer}:
            from cnnkit.train import check_optimizer

            check_optimizer(optimizer)
        return replace(layout, arms=[_completed(arm) for arm in arms])


@contextlib.contextmanager
def _named(grid: Grid, grid_name: str) -> Iterator[None]:
    """Errors of a grid say which file it is, or what it is called."""
    file = grid.file if isinstance(grid, OwnGrid) else None
    where = f"grid {grid_name}" if file is None else str(file)
    try:
        yield
    except ValidationError as error:
        raise UserError(f"{where}: an arm cannot be built with this baseline: {one_sentence(error)}") from error
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    except UserError as error:
        if file is None or str(file) in str(error):
            raise
        raise UserError(f"{where}: {error}") from error


def _completed(arm: Arm) -> Arm:
    if not isinstance(arm.spec, ModuleSpec):
        return arm
    from cnnkit.own import completed, started_from
    from cnnkit.rehearsal import rehearse

    try:
        spec = completed(arm.spec)
        rehearse(spec, arm.recipe)
        return arm.model_copy(update={"spec": spec, "start": started_from(spec)})
    except UserError as error:
        raise UserError(f"arm {arm.name!r}: {error}") from error


def candidates_of(arm: Arm, tuning: Tuning) -> list[tuple[Arm, dict[str, Any]]]:
    """The arm with each of the values, and the value as the recipe has it.

    Raises: UserError: a value does not suit the field, or two are the same.
    """
    tried: dict[Any, Arm] = {}
    for value in tuning.values:
        try:
            recipe = arm.recipe.vary(**{tuning.field: value})
        except ValidationError as error:
            raise UserError(f"--tune {tuning.field}: {one_sentence(error)}") from error
        tried[getattr(recipe, tuning.field)] = arm.model_copy(update={"recipe": recipe})
    if len(tried) < len(tuning.values):
        raise UserError(f"--tune {tuning.field}: two of the values {', '.join(map(str, tuning.values))} are the same")
    return [(one, {tuning.field: value}) for value, one in tried.items()]


def checked(tuning: Tuning, arms: Sequence[Arm]) -> Tuning:
    """With its values as a recipe has them, numbers in the place of texts.

    Raises: UserError: a value does not suit the field, two are the same, or two arms differ in nothing but what is chosen.
    """
    seen: dict[str, str] = {}
    values: list[Any] = []
    for arm in arms:
        tried = candidates_of(arm, tuning)
        values = [fields[tuning.field] for _, fields in tried]
        one = tried[0][0]
        same = json.dumps([one.spec.model_dump(mode="json"), one.recipe.model_dump(mode="json")], sort_keys=True)
        if same in seen:
            raise UserError(
                f"--tune {tuning.field}: the arms {seen[same]!r} and {arm.name!r} differ in nothing else, so there is nothing to "
                f"compare once it is chosen for both"
            )
        seen[same] = arm.name
    return tuning.model_copy(update={"values": values})


def tuning_plan(
    plan: Plan, tuning: Tuning, store: Store | None
) -> tuple[Plan, dict[str, list[tuple[Any, PlannedCell]]]]:
    """The cells from which each arm's best value of a recipe's field is chosen once: every value, on a seed of its own.

    Raises: UserError: a value does not suit the field, or two arms differ in nothing else.
    """
    tuning = checked(tuning, plan.arms)
    candidates: dict[str, list[tuple[Any, PlannedCell]]] = {}
    for arm in plan.arms:
        for tried, values in candidates_of(arm, tuning):
            cell = Cell.of(tried, data=plan.study.data.fingerprint, split=plan.study.split, seed=TUNING_SEED)
            candidates.setdefault(arm.name, []).append((values[tuning.field], PlannedCell(tried, cell, values)))
    cells = [planned for tried in candidates.values() for _, planned in tried]
    return replace(plan, cells=cells, store=store), candidates


def chosen_values(
    field: str, candidates: dict[str, list[tuple[Any, PlannedCell]]], store: Store
) -> dict[str, dict[str, Any]]:
    """For each arm the value with the highest validation accuracy of the last epoch. The test set has no say.

    Raises: UserError: none of an arm's candidates finished.
    """
    chosen: dict[str, dict[str, Any]] = {}
    for arm, tried in candidates.items():
        finished = [
            (store.read(planned.cell.key).curve[-1].validation_accuracy, value)
            for value, planned in tried
            if store.is_finished(planned.cell.key)
        ]
        if not finished:
            raise UserError(f"--tune {field}: no candidate of arm {arm!r} finished, so none can be chosen")
        best = max(accuracy for accuracy, _ in finished)
        chosen[arm] = {field: next(value for accuracy, value in finished if accuracy == best)}
    return chosen
