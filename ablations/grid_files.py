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

Where both are given, `cross` is crossed with `pairs`. A network of the user's own is the baseline where

    baseline: {factory: "my_net:make", arguments: {width: 32}}

names it (timm:resnet18 and torchvision:vgg11 likewise, `pretrained: true` or `weights: FILE` beside it); its keyword
arguments are fields then. Or, instead of all these, a screening design (`ablations.designs`):

    design: screening
    factors:            two levels each, of a field, or by name with the fields that each level sets
      batch_norm: [true, false]
      dropout: [0.5, 0.0]
      head: {flat: {}, pooled: {head: pool, hidden_width: 0}}

In Python: `return screened(baseline, [TwoLevelFactor("batch norm", {True: {}, False: {"batch_norm": False}}), ...])`, both
from `ablations.screens`. A field is one of the spec's, or of the recipe's with `recipe.` before
it (`recipe.augmentation.flip`); `factory` and `arguments` name a network of the user's own.
"""

import contextlib
import functools
import hashlib
import itertools
import math
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ablations.arm import Arm, Level
from ablations.fields import FIELDS, arm_with, check_field, level_of, nearest, shortened
from ablations.screens import Layout, TwoLevelFactor, screened
from ablations.yaml_text import read_yaml
from cnnkit.errors import UserError, brief
from cnnkit.search_paths import add_search_paths, file_of, forget_users_modules, load_file
from cnnkit.spec import LIBRARY, ModuleSpec, one_sentence

MOST_ARMS = 1_000
SUFFIXES = (".yaml", ".yml", ".py")
SECTIONS = ("question", "baseline", "cross", "pairs", "arms", "design", "factors")
DESIGN = "screening"
"""The value of `design`."""
SWITCH: Mapping[str, Level] = {"on": True, "off": False}
"""Names of levels that are those of a switch."""


class OwnGrid:
    """A grid of the user's own: called with the baseline, it gives the arms. Its docstring is the question."""

    def __init__(
        self,
        question: str,
        arms: Callable[[Arm], list[Arm] | Layout],
        factories: Sequence[str] = (),
        *,
        file: Path | None = None,
    ) -> None:
        """Args: factories: networks of the user's own that a YAML file names, as MODULE:FUNCTION. file: where it was read."""
        self.__doc__ = question
        self.file = file
        self._arms, self._factories = arms, factories

    def __call__(self, baseline: Arm) -> list[Arm] | Layout:
        """Raises: UserError, ValidationError: an arm cannot be built."""
        return self._arms(baseline)

    @property
    def code(self) -> list[str]:
        """Whose code planning this study calls, a line for each factory that a YAML file names; found without calling any."""
        files = {factory: file_of(factory.partition(":")[0]) for factory in self._factories}
        return [f"{factory}, {f'in {file}' if file else 'of an installed package'}" for factory, file in files.items()]


def is_grid_file(name: str) -> bool:
    """Whether a --grid names a file rather than a built-in grid."""
    return name.lower().endswith(SUFFIXES)


def load_grid(file: Path) -> OwnGrid:
    """The grid that `file` describes; its docstring is the question. Modules beside it are found from now on.

    Raises: UserError: the file is missing or malformed.
    """
    try:
        mode = file.stat().st_mode
    except FileNotFoundError as error:
        raise UserError(f"no grid file at {file}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(mode):
        raise UserError(f"{file} is {'a folder' if stat.S_ISDIR(mode) else 'no regular file'}; give a grid's file")
    add_search_paths([str(file.resolve().parent)])
    forget_users_modules()
    return _python_grid(file) if file.suffix.lower() == ".py" else _yaml_grid(file)


def _question(otherwise: str, text: object) -> str:
    """`text` in one line that disturbs no terminal, or another where it says nothing."""
    words = " ".join(str(text or "").split())
    return "".join(char for char in words if char.isprintable()) or otherwise


# -- Python


def _python_grid(file: Path) -> OwnGrid:
    name = f"grid_{file.stem}_{hashlib.blake2b(os.fsencode(file.resolve()), digest_size=6).hexdigest()}"
    with _users_code(f"{file} cannot be imported"):
        module = load_file(name, file)
    function = getattr(module, "grid", None)
    if not callable(function):
        raise UserError(f"{file} defines no function `grid(baseline)` that returns the arms")
    question = _first_line(function) or _first_line(module)
    return OwnGrid(
        _question(f"The grid of {file.name}", question), _checked(function, f"{file}: grid(baseline)"), file=file
    )


def grid_of(function: Callable[[Arm], object], name: str) -> OwnGrid:
    """A grid that is given as a function, what it returns checked."""
    return OwnGrid(_question(f"The grid {name}", _first_line(function)), _checked(function, f"grid {name}"))


def _checked(function: Callable[[Arm], object], what: str) -> Callable[[Arm], list[Arm] | Layout]:
    def layout(baseline: Arm) -> list[Arm] | Layout:
        with _users_code(f"{what} failed"):
            made = function(baseline)
            if isinstance(made, Iterator):
                made = list(itertools.islice(made, MOST_ARMS + 1))
        given = made.arms if isinstance(made, Layout) else made
        if not isinstance(given, list | tuple):
            raise UserError(f"{what} must return a list of arms, got {type(given).__name__}")
        if not given:
            raise UserError(f"{what} returns no arms")
        _check_number(what, len(given))
        for arm in given:
            if not isinstance(arm, Arm):
                raise UserError(f"{what} must return a list of arms, got {type(arm).__name__} in it")
        # Copies of arms that were changed by hand are checked, too.
        arms = [Arm.model_validate(arm.model_dump(warnings=False)) for arm in given]
        return replace(made, arms=arms) if isinstance(made, Layout) else arms

    return layout


@contextlib.contextmanager
def _said_of(file: Path) -> Iterator[None]:
    """What is wrong is said to be wrong in this file."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


@contextlib.contextmanager
def _users_code(what: str) -> Iterator[None]:
    """Whatever the user's code does wrong is said in one sentence, an attempt to end the program included. The current folder
    and the program's output are afterwards what they were.
    """
    try:
        with contextlib.chdir(Path.cwd()), contextlib.redirect_stdout(sys.stdout):
            yield
    except (UserError, ValidationError, KeyboardInterrupt):
        raise
    except SystemExit as error:
        raise UserError(f"{what}: it ends the program (SystemExit: {error.code})") from error
    except BaseException as error:
        raise UserError(f"{what}: {brief(error)}") from error


def _first_line(value: object) -> str:
    """Of the docstring of a function or a module."""
    while isinstance(value, functools.partial):
        value = value.func
    text = value.__doc__
    return text.strip().splitlines()[0] if isinstance(text, str) and text.strip() else ""


# -- YAML


def _yaml_grid(file: Path) -> OwnGrid:
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected sections {', '.join(SECTIONS)}, got {_kind(content)}")
    for section in content:
        if section not in SECTIONS:
            raise UserError(f"{file}: no section {section!r}; {nearest(section, SECTIONS)}")
    if not isinstance(content.get("question"), str | None):
        raise UserError(f"{file}: question must be text, got {_kind(content['question'])}; put it into quotes")
    own = _baseline(file, content.get("baseline"))
    if "factors" in content or "design" in content:
        return _screening_grid(file, content, own)
    cross = _levels(file, "cross", content.get("cross"))
    pairs = _levels(file, "pairs", content.get("pairs"))
    both = next((field for field in cross if field in pairs), None)
    if both is not None:
        raise UserError(f"{file}: {both} stands in cross and in pairs; give it once")
    lengths = {len(levels) for levels in pairs.values()}
    if len(lengths) > 1:
        raise UserError(f"{file}: the lists of pairs must have one length, got {', '.join(map(str, sorted(lengths)))}")
    singles = [_single(file, number, arm) for number, arm in enumerate(_list(file, content.get("arms")), start=1)]
    if not (cross or pairs or singles):
        raise UserError(f"{file}: no arms; give cross, pairs, arms or factors")
    combinations = (
        math.prod(len(levels) for levels in cross.values()) * max(lengths, default=1) if cross or pairs else 0
    )
    _check_number(file, combinations + len(singles))
    combined = [
        dict(itertools.chain(zip(cross, levels, strict=True), zip(pairs, together, strict=True)))
        for levels in itertools.product(*cross.values())
        for together in (zip(*pairs.values(), strict=True) if pairs else [()])
        if combinations
    ]
    named = [*((_name(fields), fields) for fields in combined), *singles]

    def arms(baseline: Arm) -> list[Arm]:
        baseline = _own(file, baseline, own)
        made = [_arm(file, baseline, name, fields) for name, fields in named]
        return made if any(arm.is_baseline for arm in made) else [baseline, *made]

    factories = _factories([own or {}, *(fields for _, fields in named)])
    return OwnGrid(_question(f"The grid of {file.name}", content.get("question")), arms, factories, file=file)


def _baseline(file: Path, fields: object) -> dict[str, Any] | None:
    """The fields of a baseline of the user's own; None where the protocol's is to be compared with."""
    if not isinstance(fields, dict | None):
        raise UserError(f"{file}: baseline must be a mapping such as {{factory: my_net:make}}, got {_kind(fields)}")
    return fields


def _own(file: Path, baseline: Arm, fields: Mapping[str, Any] | None) -> Arm:
    """The baseline with a file's own fields."""
    if fields is None:
        return baseline
    if isinstance(baseline.spec, ModuleSpec):
        raise UserError(f"{file} has a baseline of its own; leave --baseline away")
    name = fields.get("name", "baseline")
    if not isinstance(name, str):
        raise UserError(f"{file}: baseline: a name must be text, got {name!r}; put it into quotes")
    given = {field: value for field, value in fields.items() if field != "name"}
    with _said_of(file):
        try:
            return arm_with(baseline, name, {}, given).as_baseline()
        except ValidationError as error:
            raise UserError(f"baseline: {one_sentence(error)}") from error


def _factories(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """Whose code is called, as MODULE:FUNCTION; libraries' models are no code of the user's."""
    named = [network for fields in arms if isinstance(network := fields.get("factory"), str)]
    return [network for network in dict.fromkeys(named) if ":" in network and not LIBRARY.match(network)]


def _list(file: Path, arms: object) -> list[Any]:
    if not isinstance(arms, list | None):
        raise UserError(f"{file}: arms must be a list of mappings such as {{name: wide, widths: [64, 128]}}")
    return arms or []


def _single(file: Path, number: int, arm: object) -> tuple[str, dict[str, Any]]:
    """The name and the fields of one of `arms`."""
    if not isinstance(arm, dict):
        raise UserError(f"{file}: arms must be a list of mappings such as {{name: wide, widths: [64, 128]}}")
    name = arm.get("name")
    if name is None:
        raise UserError(f"{file}: arm {number} has no name")
    if not isinstance(name, str):
        raise UserError(f"{file}: arm {number}: a name must be text, got {name!r}; put it into quotes")
    return name, {field: value for field, value in arm.items() if field != "name"}


def _check_number(what: object, arms: int) -> None:
    if arms > MOST_ARMS:
        raise UserError(f"{what}: {arms:,} arms, and a study takes at most {MOST_ARMS:,}; give fewer levels")


def _kind(value: object) -> str:
    """What a value of YAML is called."""
    return {dict: "a mapping", list: "a list", str: "text", type(None): "nothing"}.get(type(value), repr(value))


def _levels(file: Path, section: str, factors: object) -> dict[str, list[Any]]:
    if factors is None:
        return {}
    if not isinstance(factors, dict):
        raise UserError(f"{file}: {section} must map fields to lists of levels, got {_kind(factors)}")
    for field, levels in factors.items():
        _check_of_recipe(file, field)
        if not isinstance(levels, list) or not levels:
            raise UserError(f"{file}: {section}.{field} must be a list of levels, got {shortened(levels)}")
    return factors


def _check_of_recipe(file: Path, field: str) -> None:
    """Fields of the network are known when there is a baseline."""
    if field.startswith("recipe."):
        with _said_of(file):
            check_field(field, FIELDS)


def _name(fields: Mapping[str, Any]) -> str:
    """An arm's name from its levels: `dropout 0.5, widths 32-64`."""

    def text(value: Any) -> str:
        return "-".join(map(str, value)) if isinstance(value, list) else str(value)

    return ", ".join(f"{field.rpartition('.')[2]} {text(value)}" for field, value in fields.items())


def _arm(file: Path, baseline: Arm, name: str, fields: Mapping[str, Any]) -> Arm:
    levels = {field: level_of(value) for field, value in fields.items()}
    with _said_of(file):
        try:
            return arm_with(baseline, name, levels, fields)
        except ValidationError as error:
            raise UserError(f"arm {name!r}: {one_sentence(error)}") from error


# -- YAML: a screening design


def _screening_grid(file: Path, content: Mapping[str, Any], own: Mapping[str, Any] | None) -> OwnGrid:
    """The grid of a file with `factors`."""
    others = [section for section in content if section not in ("question", "baseline", "design", "factors")]
    if others:
        raise UserError(f"{file}: {others[0]} does not go with factors; put it into a grid of its own")
    if content.get("design") != DESIGN:
        asked = f"got {shortened(content['design'])}" if "design" in content else "got none"
        raise UserError(f"{file}: factors need `design: {DESIGN}`, {asked}; for every combination of levels use cross")
    given = content.get("factors")
    if not isinstance(given, dict) or not given:
        raise UserError(f"{file}: factors must map each factor to its two levels, got {_kind(given)}")
    factors = [_factor(file, name, levels) for name, levels in given.items()]

    def layout(baseline: Arm) -> Layout:
        with _said_of(file):
            return screened(_own(file, baseline, own), factors)

    factories = _factories([own or {}])
    return OwnGrid(_question(f"The grid of {file.name}", content.get("question")), layout, factories, file=file)


def _factor(file: Path, name: str, levels: object) -> TwoLevelFactor:
    """`dropout: [0.5, 0.0]`, a field with two levels; or `head: {flat: {head: flatten}, pooled: {head: pool}}`, levels by name
    with their fields, none where a level is as the baseline.
    """
    where = f"{file}: factors.{name}"
    by_level: dict[Level, Mapping[str, Any]]
    if isinstance(levels, list):
        _check_of_recipe(file, name)
        by_level = {level_of(level): {name: level} for level in levels}
        short = name.rpartition(".")[2].replace("_", " ")
    elif isinstance(levels, dict) and all(isinstance(fields, dict | None) for fields in levels.values()):
        by_level = {SWITCH.get(level, level): fields or {} for level, fields in levels.items()}
        short = name
    else:
        raise UserError(f"{where} must be a list of two levels, or two levels by name with the fields of each")
    if len(by_level) != 2 or len(levels) != 2:
        raise UserError(f"{where}: a screening design takes factors of two different levels, got {shortened(levels)}")
    for fields in by_level.values():
        for field in fields:
            _check_of_recipe(file, field)
    return TwoLevelFactor(short, by_level)
