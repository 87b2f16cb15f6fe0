"""The fields of an arm under one name each, as grids write them.

A field of the spec is called as it is (`batch_norm`), one of the recipe has `recipe.` before it (`recipe.weight_decay`,
`recipe.augmentation.flip`); `factory` and `arguments` name a network of the user's own. Where such a network is the baseline, its
keyword arguments are fields, too (`arguments.weights` for one that is called as a field is).
"""

import textwrap
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from ablations.arm import Arm, Level
from cnnkit.errors import UserError
from cnnkit.recipe import Augmentation, Recipe
from cnnkit.spec import ConvNetSpec, ModuleSpec

FIELDS = (
    *ConvNetSpec.model_fields,
    *(f"recipe.{field}" for field in Recipe.model_fields),
    *(f"recipe.augmentation.{field}" for field in Augmentation.model_fields),
)
"""What a `ConvNetSpec` and its recipe have."""
OF_A_NETWORK = ("factory", "arguments", "pretrained", "weights", "normalisation", "initialise")
"""What makes a network of the user's own."""
ARGUMENT = "arguments."


def arm_with(baseline: Arm, name: str, levels: dict[str, Level], fields: Mapping[str, Any]) -> Arm:
    """An arm that differs from the baseline in these fields; the baseline itself where nothing differs in the end.

    Raises: UserError: a field does not exist, or is given twice. ValidationError: the arm cannot be built or trained.
    """
    recipe: dict[str, Any] = {}
    augmentation: dict[str, Any] = {}
    spec: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    is_own = isinstance(baseline.spec, ModuleSpec)
    for field, value in _dotted(name, fields):
        if field.startswith("recipe.augmentation."):
            check_field(field, FIELDS)
            augmentation[field.rpartition(".")[2]] = value
        elif field.startswith("recipe."):
            check_field(field, FIELDS)
            recipe[field.removeprefix("recipe.")] = value
        elif field.startswith(ARGUMENT):
            arguments[field.removeprefix(ARGUMENT)] = value
        elif is_own and field not in ModuleSpec.model_fields:
            arguments[field] = value
        else:
            if "factory" in fields and field not in (*FIELDS, *OF_A_NETWORK):
                raise UserError(
                    f"arm {name!r}: no field {shortened(field)}; what a factory takes stands in arguments: {{{field}: ...}}"
                )
            check_field(field, (*FIELDS, *OF_A_NETWORK))
            spec[field] = value
    if augmentation:
        recipe["augmentation"] = {**baseline.recipe.augmentation.model_dump(), **augmentation}
    of_a_network = [field for field in spec if field in OF_A_NETWORK] + [f"{ARGUMENT}{field}" for field in arguments]
    if "factory" in spec:
        others = [field for field in spec if field not in OF_A_NETWORK]
        if others:
            raise UserError(f"arm {name!r}: {others[0]} goes with our spec, not with a factory; use arguments")
        given = _merged(name, spec.pop("arguments", None), arguments)
        return baseline.replaced(name, levels, spec.pop("factory"), given, recipe=recipe, **spec)
    if is_own:
        given = _merged(name, spec.pop("arguments", None), arguments)
        return baseline.variant(name, levels, recipe=recipe, arguments=given, **spec)
    if of_a_network:
        raise UserError(f"arm {name!r}: {of_a_network[0]} goes with a factory, which is not given")
    return baseline.variant(name, levels, recipe=recipe, **spec)


def _merged(name: str, whole: Any, single: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that are given together and one by one."""
    if not isinstance(whole, Mapping | None):
        raise UserError(f"arm {name!r}: arguments must be a mapping such as {{width: 32}}, got {shortened(whole)}")
    return {**(whole or {}), **single}


def _dotted(name: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields, `recipe.augmentation: {flip: 0}` written as `recipe.augmentation.flip: 0`."""
    whole = fields.get("recipe.augmentation")
    for field, value in fields.items():
        if field == "recipe.augmentation" and isinstance(value, dict):
            yield from ((f"recipe.augmentation.{part}", level) for part, level in value.items())
        elif isinstance(whole, dict) and field.removeprefix("recipe.augmentation.") in whole:
            raise UserError(f"arm {name!r}: {field} is given twice, once in recipe.augmentation")
        else:
            yield field, value


def overlapping(fields: Mapping[str, Any], others: Mapping[str, Any]) -> str | None:
    """The first of `fields` that is one of `others`, or a part of one, or has one for a part."""
    for field in fields:
        if any(f"{field}.".startswith(f"{other}.") or f"{other}.".startswith(f"{field}.") for other in others):
            return field
    return None


def check_field(field: str, fields: tuple[str, ...]) -> None:
    """Raises: UserError: it is none of them; with the nearest one."""
    if field not in fields:
        raise UserError(f"no field {shortened(field)}; {nearest(field, fields)}")


def level_of(value: Any) -> Level:
    """A field's value as the level of a factor: what is neither text nor a number or a switch, as text."""
    return value if isinstance(value, str | bool | int | float) else str(value)


def shortened(value: object) -> str:
    """A value in a sentence."""
    return textwrap.shorten(repr(value), 80, placeholder=" ...")


def nearest(name: str, names: tuple[str, ...]) -> str:
    """What may have been meant."""
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names)}"
