"""What a report's page is put together from: sections with texts, figures, tables and cards. Values only.

A measure of one's own gets onto the page as a function from a `Source` to its sections, added to `sections.MAKERS`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.render import Table


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it."""

    name: str
    """Of its file, which is NAME.svg, and of its place in the page."""
    caption: str
    alt: str
    """What it shows, or why there is nothing to draw."""
    image: str
    """A data URI; empty where there is nothing to draw."""
    wide: bool = False
    """Whether it takes the page's whole width."""
    has_file: bool = True
    """Whether it lies beside the page as NAME.svg."""


@dataclass(frozen=True)
class Answer:
    """What an arm answered to an image."""

    arm: str
    text: str
    right: bool | None
    """None where nobody knows."""
    is_baseline: bool = False
    image: str = ""
    """A data URI: where it looked, say."""


@dataclass(frozen=True)
class Card:
    """One image, with what is said about it."""

    title: str
    image: str
    """A data URI."""
    answers: Sequence[Answer]
    marks: Sequence[Mapping[str, str]]
    """By what it is found: a filter keeps a card if one of its marks has all that is asked for, such as
    {"class": "cat", "arm": "2 blocks", "change": "lost"}. All cards of a section have the same names in their marks.
    """


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    texts: Sequence[str] = ()
    figures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    details: Sequence[tuple[str, Table]] = ()
    """Tables that are folded away under a line of text."""
    cards: Sequence[Card] = ()
    about_cards: str = ""
    """What they show; stands above them."""

    @property
    def anchor(self) -> str:
        """Its place in the page."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())

    @property
    def all_tables(self) -> list[Table]:
        """Those that are folded away, too."""
        return [*self.tables, *(table for _, table in self.details)]
