"""Text for people: what a stranger wrote, without what a terminal or a page would obey, and tables that fit the width."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ablations.arm import JOINERS, NOT_SHOWN

GAP = 2
NAME_PART = 0.4
"""Of a line, what a text may fill before it is wrapped so that others have room."""


def printable(value: Any) -> Any:
    r"""A text in which every character can be seen: the others are written as Python writes them, such as \x1b and \u202e.

    Of lists and dicts, all texts in them, keys too; anything else as it is.
    """
    if isinstance(value, str):
        return value if value.isascii() and value.isprintable() else "".join(map(_seen, value))
    if isinstance(value, dict):
        return {printable(name): printable(content) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(printable, value))
    return value


def _seen(character: str) -> str:
    if unicodedata.category(character) in NOT_SHOWN and character not in JOINERS:
        return character.encode("unicode_escape").decode()
    return character


@dataclass(frozen=True)
class Heading:
    """A column of a table for the terminal."""

    text: str
    align: Literal["left", "right"] = "right"
    """Texts stand at the left, and are wrapped where they are long; numbers at the right, and are whole or not there."""
    priority: int = 1
    """0: always there. Of the others, those with the largest number are left out first."""


@dataclass(frozen=True)
class FittedTable:
    """A table that shows as many of its columns as a terminal has room for, and says which it has left out."""

    headings: Sequence[Heading]
    rows: Sequence[Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self._that_fit(options.max_width)
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
        for place, width in shown.items():
            heading = self.headings[place]
            text = heading.align == "left"
            table.add_column(
                Text(heading.text), justify=heading.align, width=width, no_wrap=not text, overflow="fold" if text else "ellipsis",
            )  # fmt: skip
        for row in self.rows:
            table.add_row(*(Text(row[place]) for place in shown))
        yield table
        left_out = [heading.text for place, heading in enumerate(self.headings) if place not in shown]
        if left_out:
            yield Text(f"No room for: {', '.join(left_out)}.", style="italic")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)

    def _that_fit(self, room: int) -> dict[int, int]:
        """Places of the columns that are shown, with their widths (cells)."""
        wide = [
            max(cell_len(heading.text), *(cell_len(row[place]) for row in self.rows), 1)
            for place, heading in enumerate(self.headings)
        ]
        short = [
            min(width, max(_longest_word(heading.text), int(NAME_PART * room))) if heading.align == "left" else width
            for heading, width in zip(self.headings, wide, strict=True)
        ]
        shown = list(range(len(wide)))
        while _line(short[place] for place in shown) > room:
            place = max(shown, key=lambda place: (self.headings[place].priority, place))
            if self.headings[place].priority == 0:
                break
            shown.remove(place)
        widths = {place: short[place] for place in shown}
        for place in shown:  # what is left over goes to the texts, the first first
            widths[place] += max(0, min(wide[place] - short[place], room - _line(widths.values())))
        too_wide = _line(widths.values()) - room
        for place in sorted(shown, key=lambda place: -widths[place]):  # columns that are always there, on a narrow line
            less = max(0, min(too_wide, widths[place] - 1))
            widths[place], too_wide = widths[place] - less, too_wide - less
        return widths


def wrapped(text: str, width: int, *, indent: int = 0) -> str:
    """Text with its lines broken between words; a word that is longer than a line, such as a path, stays whole.

    Args: width: of a line, in cells. indent: cells before the first line, which stand there already; further lines get blanks.
    """
    lines = []
    for line in text.split("\n"):
        used = 0
        words: list[str] = []
        for word in line.split(" "):
            if words and used + 1 + cell_len(word) > width - indent:
                lines.append(" ".join(words))
                words, used = [], 0
            used += cell_len(word) + bool(words)
            words.append(word)
        lines.append(" ".join(words))
    return f"\n{' ' * indent}".join(lines)


def _line(widths: Any) -> int:
    listed = list(widths)
    return sum(listed) + GAP * (len(listed) - 1)


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=1)


def quoted(name: str) -> str:
    """A name as a list of names can hold it: in quotation marks where it has a comma or the like of its own."""
    return f"“{name}”" if any(mark in name for mark in ",;:“”") else name
