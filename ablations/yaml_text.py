"""YAML as a grid is written in it: mappings, lists, text, numbers, true, false and null, as YAML 1.2 reads them.

What YAML has beyond that would be a trap here, and is refused with its line: a key given twice (the last would win), tags,
numbers that are not finite, aliases that unfold without end. Dates, `no`, `1:30` and `0777` are text or numbers as they look.
"""

import math
import re
from pathlib import Path
from typing import Any, NoReturn

import yaml

from cnnkit.errors import UserError, brief

LARGEST_FILE = 1_000_000  # bytes
DEEPEST = 50
"""Levels of nesting."""
MOST_VALUES = 100_000
"""Values of a file once its aliases are written out."""
LONGEST_NUMBER = 30  # characters
TAG = "tag:yaml.org,2002:"


def read_yaml(file: Path) -> Any:
    """What `file` holds, as plain Python values; the keys of mappings are text.

    Raises: UserError: it cannot be read, or holds what a grid has no use for.
    """
    try:
        with file.open("rb") as stream:
            text = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    if len(text) > LARGEST_FILE:
        raise UserError(f"{file} has more than {LARGEST_FILE:,} bytes, too many for a grid; write it in Python")
    return values_of(text, str(file))


def values_of(text: str | bytes, where: str) -> Any:
    """What YAML says, as `read_yaml`. `where`: what the sentence about an error calls it.

    Raises: UserError: it is no YAML, or more than a grid may hold.
    """
    try:
        root = yaml.compose(text, _Loader)
        return None if root is None else _Values().of(root, depth=1)
    except _Refused as error:
        raise UserError(f"{where}{_line(error)}: {error.problem}") from error
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or brief(error)
        raise UserError(f"{where}{_line(error)}: not readable as YAML ({problem})") from error


class _Refused(yaml.MarkedYAMLError):
    """YAML, but not for a grid."""


def _refuse(place: yaml.Node | yaml.Event, problem: str) -> NoReturn:
    raise _Refused(problem=problem, problem_mark=place.start_mark)  # type: ignore[arg-type]  # the stubs miss the C mark


def _line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f", line {mark.line + 1}"


class _Loader(yaml.BaseLoader):
    """Nodes with the tags of YAML 1.2's core schema (section 10.3.2). PyYAML's own, of 1.1, take `1e-4` for text."""

    yaml_implicit_resolvers: dict[str, Any] = {}
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEEPEST:
            _refuse(self.peek_event(), f"nested more than {DEEPEST} levels deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", [*"-+."]),
    ("merge", "<<", ["<"]),
):
    _Loader.add_implicit_resolver(TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), _first)


class _Values:
    """Turns nodes into values, and counts them: an alias is written out wherever it stands."""

    count = 0

    def of(self, node: yaml.Node, depth: int) -> Any:
        """Raises: _Refused."""
        self.count += 1
        if self.count > MOST_VALUES:
            _refuse(node, f"more than {MOST_VALUES:,} values, its aliases written out")
        if depth > DEEPEST:
            _refuse(node, f"nested more than {DEEPEST} levels deep, its aliases written out")
        kind = node.tag.removeprefix(TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.of(part, depth + 1) for part in node.value]
        if isinstance(node, yaml.ScalarNode) and kind in ("str", "null", "bool", "int", "float", "merge"):
            return _scalar(node, kind)
        _refuse(node, f"the tag {node.tag.replace(TAG, '!!')} means nothing in a grid; write a plain value")

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            if key.tag == TAG + "merge":
                for mapping in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if not isinstance(mapping, yaml.MappingNode):
                        _refuse(value, "<< takes a mapping, or a list of them")
                    merged = {**self.of(mapping, depth + 1), **merged}
                continue
            if key.tag != TAG + "str":
                given = key.value if isinstance(key, yaml.ScalarNode) else f"a {key.id}"
                _refuse(key, f"a key must be text, got {given or 'nothing'}; put it into quotes")
            name = _scalar(key, "str")
            if name in lines:
                _refuse(key, f"{name!r} is given twice, first in line {lines[name]}")
            lines[name] = key.start_mark.line + 1
            values[name] = self.of(value, depth + 1)
        return {**merged, **values}


def _scalar(node: yaml.ScalarNode, kind: str) -> Any:
    text = str(node.value)
    match kind:
        case "null":
            return None
        case "bool" if text.lower() in ("true", "false"):
            return text.lower() == "true"
        case "bool":
            _refuse(node, f"{text!r} is neither true nor false")
        case "int" | "float" if len(text) > LONGEST_NUMBER:
            _refuse(node, f"{text[:8]}... is a number of more than {LONGEST_NUMBER} digits")
        case "int":
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        case "float":
            number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
            if not math.isfinite(number):
                _refuse(node, f"{text} is not a finite number")
            return number
    if any("\ud800" <= char <= "\udfff" for char in text):
        _refuse(node, "text with half a character (a lone surrogate)")
    return text
