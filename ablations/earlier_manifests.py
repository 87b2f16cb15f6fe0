"""Manifests of earlier formats, read as today's. Nothing is built, imported or called for it, whoever wrote the manifest.

Format 1 kept its arms whole and listed no cells: which cells a study had was computed from the arms when it was read.
Here that is done as it was done then, on the JSON itself, so that no later field, default or version of the training
code changes which records an old study finds.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ablations.arm import StoredLevel, differing, flat_fields
from ablations.cell import SplitSizes, key_of
from ablations.record import ArmEntry, Command, Study, StudyCell
from cnnkit.cost import Cost, cost
from cnnkit.description import cifar10
from cnnkit.recipe import Recipe
from cnnkit.spec import ConvNetSpec, ModuleSpec, Spec, Stored

NUMERICS_OF_FORMAT_1 = 1
"""`cnnkit.recipe.NUMERICS` while format 1 was written."""


class _Recipe1(BaseModel):
    """What must be known of a recipe; all of its fields are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    epochs: int
    augmentation: dict[str, Any]


class _Arm1(Stored):
    name: str
    spec: dict[str, Any]
    recipe: _Recipe1
    levels: dict[str, StoredLevel] = {}
    is_baseline: bool = False


class _Study1(Stored):
    """A manifest of format 1."""

    name: str
    grid: str
    question: str
    protocol: str
    protocol_changes: dict[str, Any]
    arms: list[_Arm1]
    seeds: int
    data: str
    data_source: str
    data_description: str
    split: SplitSizes
    commands: list[Command]
    tuned: dict[str, dict[str, Any]] = {}
    costs: dict[str, Cost] = {}


def upgraded(manifest: bytes) -> tuple[Study, list[Command]]:
    """A manifest of format 1 as today's, and the commands that stood in it.

    Raises: ValidationError: it is not a manifest of format 1.
    """
    old = _Study1.model_validate_json(manifest)
    baseline = next((arm for arm in old.arms if arm.is_baseline), None)
    cells = [
        StudyCell(arm=arm.name, seed=seed, key=_key(arm, old, seed)) for seed in range(old.seeds) for arm in old.arms
    ]
    study = Study(
        name=old.name,
        grid=old.grid,
        question=old.question,
        protocol=old.protocol,
        protocol_changes=old.protocol_changes,
        arms=[_entry(arm, baseline, old) for arm in old.arms],
        seeds=old.seeds,
        cells=cells,
        data=cifar10(text=old.data_description, fingerprint=old.data, source=old.data_source),
        split=old.split,
        tuned=old.tuned,
    )
    return study, old.commands


def _entry(arm: _Arm1, baseline: _Arm1 | None, study: _Study1) -> ArmEntry:
    recipe = arm.recipe.model_dump()
    others = {} if baseline is None else flat_fields(baseline.spec, baseline.recipe.model_dump())
    return ArmEntry(
        name=arm.name,
        is_baseline=arm.is_baseline,
        levels=arm.levels,
        changes=differing(flat_fields(arm.spec, recipe), others),
        spec=arm.spec,
        recipe=recipe,
        epochs=arm.recipe.epochs,
        passes=study.split.passes(arm.recipe.epochs),
        costs=study.costs.get(arm.name) or _computed_cost(arm.spec),
    )


def _computed_cost(spec: dict[str, Any]) -> Cost | None:
    """Of a network of ours, by formula. That of a network of the user's own could be had by building it alone."""
    if "factory" in spec:
        return None
    try:
        return cost(ConvNetSpec.model_validate(spec))
    except ValidationError:
        return None


def _key(arm: _Arm1, study: _Study1, seed: int) -> str:
    """Of a cell, as `ablations.cell.Cell` made it in format 1."""
    return key_of(
        {
            "spec": _changed(arm.spec, ModuleSpec if "factory" in arm.spec else ConvNetSpec),
            "recipe": _changed(arm.recipe.model_dump(), Recipe),
            "data": study.data,
            "split": study.split.model_dump(),
            "seed": seed,
            "numerics": NUMERICS_OF_FORMAT_1,
        }
    )


def _changed(fields: dict[str, Any], spec: type[Spec]) -> dict[str, Any]:
    """The fields that differ from their defaults. One that this version does not know counts as changed unless it is off."""
    changed = {}
    for name, value in fields.items():
        field = spec.model_fields.get(name)
        if field is None:
            same = not value
        elif isinstance(field.default, Spec) and isinstance(value, dict):
            value = _changed(value, type(field.default))
            same = not value
        else:
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            same = value == default
        if not same:
            changed[name] = value
    return changed
