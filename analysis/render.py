"""A table for people: one frame of numbers and one list of columns, from which CSV, terminal, HTML and LaTeX all come.

The CSV has the numbers in full, under the names that the functions which computed them document. The others show the
same text, each in its own typography.
"""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from pandas.api.types import is_numeric_dtype

from ablations.text import FittedTable, Heading, printable

MINUS = re.compile(r"(?<![\w.])-(?=\.?\d)")
LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
}


FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """What a table shows of a row."""

    header: str
    text: Callable[[pd.Series], str]
    align: Literal["left", "right"] = "right"
    priority: int = 1
    """0: always there. Where a terminal is too narrow, the columns with the largest number are left out first."""


@dataclass(frozen=True, repr=False)
class Table:
    """A table of a report."""

    name: str
    """Of its files."""
    caption: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()
    """What a reader must know to read it right."""
    files: str = ""
    """For a table that shows a part of another: that one's name, whose files hold all of it."""

    @property
    def file(self) -> str:
        """Its files' name, without .csv or .tex."""
        return self.files or self.name

    def shown(self) -> pd.DataFrame:
        """What people see: strings, under the columns' headers."""
        rows = [[printable(column.text(row)) for column in self.columns] for _, row in self.frame.iterrows()]
        return pd.DataFrame(rows, columns=[column.header for column in self.columns], dtype=object)

    def for_terminal(self) -> FittedTable:
        """The table as rich prints it, with the columns that there is room for."""
        headings = [Heading(column.header, column.align, column.priority) for column in self.columns]
        return FittedTable(headings, self.shown().to_numpy().tolist())

    def html_rows(self) -> list[list[str]]:
        """The cells' texts, to be escaped by whoever writes them into a page."""
        return [[with_minus_signs(text) for text in row] for row in self.shown().itertuples(index=False)]

    def __repr__(self) -> str:
        """As plain text, for a prompt."""
        return f"{self.caption}\n\n{self.shown().to_string(index=False)}\n\n{' '.join(self.notes)}".rstrip()

    def _repr_html_(self) -> str:
        """The table as a notebook shows it."""
        rows = self.shown().map(with_minus_signs).to_html(index=False, border=0)
        notes = "".join(f"<p><small>{html.escape(note)}</small></p>" for note in self.notes)
        return f"<b>{html.escape(self.caption)}</b>\n{rows}\n{notes}"

    def latex(self) -> str:
        """A table across both columns of a page, with booktabs' rules; needs the packages booktabs and adjustbox."""
        shown = self.shown().style.hide(axis="index").format(latex).format_index(latex, axis="columns")
        tabular = shown.to_latex(hrules=True, column_format="".join(column.align[0] for column in self.columns))
        notes = f"\n\\par\\smallskip\\raggedright\\footnotesize {latex(' '.join(self.notes))}" if self.notes else ""
        return (
            "% \\usepackage{booktabs,adjustbox}\n"
            "\\begin{table*}\n\\centering\\small\n"
            f"\\caption{{{latex(self.caption)}}}\n\\label{{tab:{self.name}}}\n"
            f"\\begin{{adjustbox}}{{max width=\\textwidth,max totalheight=0.9\\textheight}}\n"
            f"{tabular}\\end{{adjustbox}}{notes}\n\\end{{table*}}\n"
        )

    def write(self, folder: Path) -> None:
        """Writes NAME.csv and NAME.tex."""
        texts = [str(name) for name in self.frame if not is_numeric_dtype(self.frame[name])]
        safe = self.frame.assign(**{name: self.frame[name].map(csv_text) for name in texts})
        safe.to_csv(folder / f"{self.name}.csv", index=False)
        (folder / f"{self.name}.tex").write_text(self.latex(), encoding="utf-8")


def csv_text(value: object) -> object:
    """A text as it may stand in a CSV that a spreadsheet opens, which would run one that begins like a formula.

    Such a text gets an apostrophe before it. Numbers stay, those that are texts too, and so does all that is no text.
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def with_minus_signs(text: str) -> str:
    """Negative numbers with a real minus sign."""
    return MINUS.sub("−", text)


def latex(text: object) -> str:
    """Plain text as LaTeX shows it."""
    return MINUS.sub("$-$", "".join(LATEX.get(character, character) for character in str(text)))
