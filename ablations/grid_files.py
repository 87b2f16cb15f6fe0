"""Grids of the user's own, from a YAML or a Python file.

A Python file defines `grid(baseline: Arm) -> list[Arm]`, as those in `ablations.grids`. A YAML file has a `question` and any of

    cross:              every combination of these levels
      dropout: [0.0, 0.5]
      recipe.learning_rate: [0.0001, 0.0003]
    pairs:              lists of one length, taken together: first with first, second with second
      widths: [[32, 64], [32, 64, 128]]
      recipe.epochs: [5, 8]
    arms:               single arms
      - {name: wide, widths: [64, 128, 256, 512]}
      - {name: SE net, factory: "my_net:make", arguments: {reduction: 8}}

Where both are given, `cross` is crossed with `pairs`. A field is one of the spec's, or of the recipe's with `recipe.` before
it (`recipe.augmentation.flip`); `factory` and `arguments` name a network of the user's own.
"""

import importlib.util
import itertools
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ablations.arm import Arm
from cnnkit.errors import UserError, brief
from cnnkit.recipe import Augmentation, Recipe
from cnnkit.spec import ConvNetSpec, one_sentence

Grid = Callable[[Arm], list[Arm]]
SECTIONS = ("question", "cross", "pairs", "arms")
FIELDS = (
    *ConvNetSpec.model_fields,
    *(f"recipe.{field}" for field in Recipe.model_fields),
    *(f"recipe.augmentation.{field}" for field in Augmentation.model_fields),
)


def is_grid_file(name: str) -> bool:
    """Whether a --grid names a file rather than a built-in grid."""
    return name.endswith((".yaml", ".yml", ".py"))


def load_grid(file: Path) -> Grid:
    """The grid that `file` describes; its docstring is the question.

    Raises: UserError: the file is missing or malformed. The grid itself raises it for an arm that cannot be built.
    """
    if not file.is_file():
        raise UserError(f"no grid file at {file}")
    return _python_grid(file) if file.suffix == ".py" else _yaml_grid(file)


def _python_grid(file: Path) -> Grid:
    spec = importlib.util.spec_from_file_location(f"grid_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file does
        raise UserError(f"{file} cannot be imported: {brief(error)}") from error
    function = getattr(module, "grid", None)
    if not callable(function):
        raise UserError(f"{file} defines no function `grid(baseline)` that returns the arms")

    def grid(baseline: Arm) -> list[Arm]:
        try:
            arms = function(baseline)
        except (UserError, ValidationError):
            raise
        except Exception as error:  # whatever the user's function does
            raise UserError(f"{file}: grid(baseline) failed with {brief(error)}") from error
        if not isinstance(arms, list | tuple) or not all(isinstance(arm, Arm) for arm in arms):
            raise UserError(f"{file}: grid(baseline) must return a list of arms, got {type(arms).__name__}")
        return list(arms)

    grid.__doc__ = function.__doc__ or module.__doc__ or f"The grid of {file.name}"
    return grid


def _yaml_grid(file: Path) -> Grid:
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or brief(error)
        raise UserError(f"{file}{where}: not readable as YAML ({problem})") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected sections question, cross, pairs, arms, got {type(content).__name__}")
    for section in content:
        if section not in SECTIONS:
            raise UserError(f"{file}: no section {section!r}; {_nearest(str(section), SECTIONS)}")
    cross = _levels(file, "cross", content.get("cross") or {})
    pairs = _levels(file, "pairs", content.get("pairs") or {})
    lengths = {len(levels) for levels in pairs.values()}
    if len(lengths) > 1:
        raise UserError(f"{file}: the lists of pairs must have one length, got {', '.join(map(str, sorted(lengths)))}")
    singles = content.get("arms") or []
    if not isinstance(singles, list) or not all(isinstance(arm, dict) for arm in singles):
        raise UserError(f"{file}: arms must be a list of mappings such as {{name: wide, widths: [64, 128]}}")
    if not (cross or pairs or singles):
        raise UserError(f"{file}: no arms; give cross, pairs or arms")
    combined = [
        dict(itertools.chain(zip(cross, levels, strict=True), zip(pairs, together, strict=True)))
        for levels in itertools.product(*cross.values())
        for together in (zip(*pairs.values(), strict=True) if pairs else [()])
    ]

    def grid(baseline: Arm) -> list[Arm]:
        arms = []
        if cross or pairs:
            arms += [_arm(file, baseline, _name(fields), fields) for fields in combined]
        for number, fields in enumerate(singles, start=1):
            name = fields.get("name")
            if not isinstance(name, str) or not name:
                raise UserError(f"{file}: arm {number} has no name")
            arms.append(_arm(file, baseline, name, {key: value for key, value in fields.items() if key != "name"}))
        return arms

    grid.__doc__ = str(content.get("question") or f"The grid of {file.name}")
    return grid


def _levels(file: Path, section: str, factors: object) -> dict[str, list[Any]]:
    if not isinstance(factors, dict):
        raise UserError(f"{file}: {section} must map fields to lists of levels, got {type(factors).__name__}")
    for field, levels in factors.items():
        _check_field(file, field, FIELDS)
        if not isinstance(levels, list) or not levels:
            raise UserError(f"{file}: {section}.{field} must be a list of levels, got {levels!r}")
    return factors


def _check_field(file: Path, field: object, fields: tuple[str, ...]) -> None:
    if field not in fields:
        raise UserError(f"{file}: no field {field!r}; {_nearest(str(field), fields)}")


def _name(fields: Mapping[str, Any]) -> str:
    """An arm's name from its levels: `dropout 0.5, widths 32-64`."""

    def text(value: Any) -> str:
        return "-".join(map(str, value)) if isinstance(value, list) else str(value)

    return ", ".join(f"{field.rpartition('.')[2]} {text(value)}" for field, value in fields.items())


def _arm(file: Path, baseline: Arm, name: str, fields: Mapping[str, Any]) -> Arm:
    recipe: dict[str, Any] = {}
    augmentation: dict[str, Any] = {}
    spec: dict[str, Any] = {}
    for field, value in fields.items():
        _check_field(file, field, (*FIELDS, "factory", "arguments"))
        if field.startswith("recipe.augmentation."):
            augmentation[field.rpartition(".")[2]] = value
        elif field.startswith("recipe."):
            recipe[field.removeprefix("recipe.")] = value
        else:
            spec[field] = value
    if augmentation:
        recipe["augmentation"] = {**baseline.recipe.augmentation.model_dump(), **augmentation}
    levels = {
        field: value if isinstance(value, str | bool | int | float) else str(value) for field, value in fields.items()
    }
    try:
        if "factory" not in spec:
            return baseline.variant(name, levels, recipe=recipe, **spec)
        others = [field for field in spec if field not in ("factory", "arguments")]
        if others:
            raise UserError(f"{file}: arm {name!r}: {others[0]} goes with our spec, not with a factory; use arguments")
        return baseline.replaced(name, levels, spec["factory"], spec.get("arguments"), recipe=recipe)
    except ValidationError as error:
        raise UserError(f"{file}: arm {name!r}: {one_sentence(error)}") from error


def _nearest(name: str, names: tuple[str, ...]) -> str:
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names)}"
