"""A study's report: one self-contained HTML page, with every table as CSV and LaTeX and every figure as SVG beside it."""

import base64
import shlex
import shutil
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeGuard
from uuid import uuid4

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ablations.interruption import removed_if_interrupted
from ablations.text import printable
from ablations.units import counted, duration
from analysis import figures, methods, tables
from analysis.effects import remarks
from analysis.outcomes import Outcomes
from analysis.render import Table, with_minus_signs
from analysis.study_figures import FIGURES, StudyFigure
from analysis.study_tables import StudyTables
from cnnkit.description import DataDescription

FOLDER, PAGE = "report", "report.html"
"""Where a report lies in a study's folder."""


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it."""

    name: str
    caption: str
    alt: str
    """What it shows, or why there is nothing to draw."""
    image: str
    """A data URI; empty where there is nothing to draw."""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    texts: Sequence[str] = ()
    figures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    details: Sequence[tuple[str, Table]] = ()
    """Tables that are folded away under a line of text."""


def write(study: StudyTables, folder: Path) -> Path:
    """Writes report.html, each table as CSV and LaTeX, and each figure as SVG, into `folder`; returns the page's path.

    What an earlier report left there is replaced.

    Raises: OSError: the folder cannot be written.
    """
    unfinished = folder.with_name(f"{folder.name}.{uuid4().hex[:8]}.unfinished")
    with removed_if_interrupted(unfinished):
        try:
            unfinished.mkdir(parents=True)
            sections = _sections(study, unfinished)
            cells = tables.cells(study.outcomes.cells)
            for table in (cells, *(table for section in sections for table in _tables_of(section))):
                table.write(unfinished)
            (unfinished / "references.bib").write_text(methods.BIBTEX, encoding="utf-8")
            (unfinished / PAGE).write_text(_page(study, sections, cells), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            try:
                unfinished.rename(folder)
            except OSError:
                if not (folder / PAGE).is_file():  # else another shard has just written the same
                    raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder / PAGE


def _tables_of(section: Section) -> list[Table]:
    return [*section.tables, *(table for _, table in section.details)]


def _page(study: StudyTables, sections: list[Section], cells: Table) -> str:
    outcomes, effects = study.outcomes, study.effects
    about = outcomes.study
    environment = Environment(
        loader=PackageLoader("analysis", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_seen,
    )
    sentences = [
        (row["verdict"], with_minus_signs(row["sentence"])) for _, row in effects.iterrows() if row["sentence"]
    ]
    return environment.get_template("report.html.jinja").render(
        study=about,
        subtitle=" on ".join(filter(None, (about.protocol, about.data_text))),
        answer=_answer(effects),
        warnings=_warnings(outcomes, effects),
        sentences=sentences,
        sections=sections,
        facts=_facts(outcomes),
        commands=[f"{_minute(c.time)}  run_ablation.py {shlex.join(c.arguments)}" for c in about.commands],
        methods=methods.paragraph(outcomes, margin=study.margin),
        bibtex=methods.BIBTEX.splitlines(),
        cells=cells,
        verdicts=("better", "worse"),
        version=version("ablations"),
    )


def _seen(value: object) -> object:
    """Whatever the page shows, but for what its own macros have made."""
    return value if isinstance(value, Markup) else printable(value)


def _answer(effects: pd.DataFrame) -> str:
    """The verdicts in one sentence."""
    others = effects[~effects["is_baseline"]]
    baseline = effects.loc[effects["is_baseline"], "arm"].iloc[0]
    parts = []
    for kind, phrase in (
        ("better", "better"),
        ("worse", "worse"),
        ("equivalent", "equivalent within the margin"),
        ("inconclusive", "inconclusive"),
        ("no interval", "without an interval, having one seed"),
        ("", "without a finished pair of cells"),
    ):
        arms = others.loc[others["verdict"] == kind, "arm"].tolist()
        if arms:
            parts.append(f"{phrase}: {', '.join(arms)}")
    if not parts:
        return f"The study has no arm beside {baseline}."
    return f"Against {baseline}, of {counted(len(others), 'arm')}: {'; '.join(parts)}."


def _warnings(outcomes: Outcomes, effects: pd.DataFrame) -> list[str]:
    data = outcomes.study.data
    sample = [f"Trained on the packaged sample of {data.name}, not on the full data set."] if _is_sample(data) else []
    return [*sample, *remarks(effects), *outcomes.remarks]


def _is_sample(data: DataDescription | None) -> TypeGuard[DataDescription]:
    return data is not None and data.source == "sample"


def _sections(study: StudyTables, folder: Path) -> list[Section]:
    def pictures(*names: str) -> list[Picture]:
        return [_picture(FIGURES[name], study, folder) for name in names]

    title = study.outcomes.study.name
    return [
        Section(
            "Effects",
            figures=[*pictures("forest", "cost"), *(drawn for drawn in pictures("steps") if drawn.image)],
            tables=[tables.effects(study.effects, title=title), tables.arms(study.effects, title=title)],
        ),
        *_by_factor(study, pictures),
        Section("Learning", figures=pictures("learning_curves")),
        *_by_class(study, pictures("per_class")),
    ]


def _by_factor(study: StudyTables, pictures: Callable[..., list[Picture]]) -> list[Section]:
    """Main effects and interactions; nothing of it where the grid crosses no factors."""
    if study.design is None:
        return []
    found = study.factor_effects
    return [
        Section(
            "Factors",
            [with_minus_signs(sentence[0].upper() + sentence[1:]) for sentence in found["sentence"]],
            pictures("two_factor"),
            [] if found.empty else [tables.factors(found)],
        )
    ]


def _by_class(study: StudyTables, drawn: list[Picture]) -> list[Section]:
    """Which classes, confusions and images an arm changes; nothing of it where no arm has a pair."""
    changes = study.class_effects
    details = [("Recall, precision and F1 of each arm and class", tables.class_table(study.class_table))]
    if changes.empty:
        return [Section("Classes", figures=drawn, details=details)]
    return [
        Section(
            "Classes",
            figures=drawn,
            tables=[tables.groups(changes)] if (changes["kind"] != "class").any() else [],
            details=[("Differences by class", tables.class_effects(changes)), *details],
        ),
        Section("Confusions and images", tables=[tables.confusions(study.gained_and_lost), tables.flips(study.flips)]),
    ]


def _picture(figure: StudyFigure, study: StudyTables, folder: Path) -> Picture:
    """Draws a figure into `folder` and for the page."""
    with mpl.rc_context({**figures.STYLE, "svg.hashsalt": figure.name}):
        try:
            drawn = figure.draw(study).figure.canvas.figure
        except figures.NothingToDraw as error:
            return Picture(figure.name, figure.caption, str(error), "")
        file = folder / f"{figure.name}.svg"
        drawn.savefig(file, metadata={"Date": None})
        plt.close(drawn)
    image = f"data:image/svg+xml;base64,{base64.b64encode(file.read_bytes()).decode()}"
    return Picture(figure.name, figure.caption, f"Figure: {figure.caption}", image)


def _facts(outcomes: Outcomes) -> list[tuple[str, str]]:
    """What was run, on what, as far as it is known."""
    cells, done = outcomes.cells, outcomes.finished
    lost = cells[cells["status"] != "finished"]
    baseline = methods.in_short(outcomes.baseline)
    facts = [
        ("protocol", "; the baseline: ".join(filter(None, (outcomes.study.protocol, baseline)))),
        ("data", outcomes.study.data_text),
        ("cells", f"{len(outcomes.arms)} arms x {counted(len(outcomes.seeds), 'seed')}: "
                  f"{_listed(cells['status'].value_counts(sort=False))}"),
        ("not finished", "; ".join(f"{row.arm}, seed {row.seed}: {row.status}" for row in lost.itertuples())),
        ("machine", "; ".join(sorted({_machine(row) for row in done.dropna(subset=["device"]).to_dict("records")}))),
        ("versions", "; ".join(sorted(set(done["versions"].dropna())))),
        ("trained", " to ".join(_minute(time) for time in _span(done)) + (" UTC" if _span(done) else "")),
        ("time", f"{duration(done['seconds'].sum())} of trials in all" if done["seconds"].any() else ""),
    ]  # fmt: skip
    return [(name, text) for name, text in facts if text]


def _machine(cell: Mapping[Hashable, Any]) -> str:
    threads = counted(cell["threads"], "thread")
    return (
        f"{cell['device']} ({cell['device_type']}, {cell['precision']}, {threads} a trial, "
        f"{cell['trials_at_once']:g} at once)"
    )


def _span(done: pd.DataFrame) -> list[str]:
    """When the first trial began and the last one ended; nothing where that is not known."""
    started, ended = done["started"].dropna(), done["finished"].dropna()
    return [min(started), max(ended)] if len(started) and len(ended) else []


def _listed(counts: "pd.Series[int]") -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _minute(time: str) -> str:
    """Of a time in ISO 8601, the date and the minute."""
    return time[:16].replace("T", " ")
