"""A study's report: one self-contained HTML page, with every table as CSV and LaTeX and every figure as SVG beside it."""

import base64
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from ablations.units import counted, duration
from analysis import figures, methods, per_class, tables
from analysis.effects import MARGIN, effect_table, remarks
from analysis.factors import design, factor_effects
from analysis.render import Table, with_minus_signs
from analysis.results import Results
from analysis.study_figures import FIGURES, StudyFigure

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


def write(results: Results, folder: Path, *, margin: float = MARGIN) -> Path:
    """Writes report.html, each table as CSV and LaTeX, and each figure as SVG, into `folder`; returns the page's path.

    What an earlier report left there is replaced.

    Args: margin: differences within it count as equivalent, 0 to 1.
    Raises: OSError: the folder cannot be written.
    """
    unfinished = folder.with_name(f"{folder.name}.{uuid4().hex[:8]}.unfinished")
    unfinished.mkdir(parents=True)
    effects = effect_table(results.trials, results.correct, margin=margin)
    sections = _sections(results, effects, unfinished)
    cells = tables.cells(results.trials)
    for table in (cells, *(table for section in sections for table in _tables_of(section))):
        table.write(unfinished)
    (unfinished / "references.bib").write_text(methods.BIBTEX, encoding="utf-8")
    (unfinished / PAGE).write_text(_page(results, effects, sections, cells, margin), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        unfinished.rename(folder)
    except OSError:
        if not (folder / PAGE).is_file():  # else another shard has just written the same
            raise
        shutil.rmtree(unfinished)
    return folder / PAGE


def _tables_of(section: Section) -> list[Table]:
    return [*section.tables, *(table for _, table in section.details)]


def _page(results: Results, effects: pd.DataFrame, sections: list[Section], cells: Table, margin: float) -> str:
    study = results.study
    environment = Environment(
        loader=PackageLoader("analysis", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    sentences = [
        (row["verdict"], with_minus_signs(row["sentence"])) for _, row in effects.iterrows() if row["sentence"]
    ]
    return environment.get_template("report.html.jinja").render(
        study=study,
        subtitle=f"{effects.iloc[0]['protocol']} on {study.data.text}",
        answer=_answer(effects),
        warnings=_warnings(results, effects),
        sentences=sentences,
        sections=sections,
        facts=_facts(results),
        commands=[
            f"{_minute(c.time)}  run_ablation.py {shlex.join(c.arguments)}" for c in results.store.commands(study.name)
        ],
        methods=methods.paragraph(results, margin=margin),
        bibtex=methods.BIBTEX,
        cells=cells,
        verdicts=("better", "worse"),
        version=version("ablations"),
    )


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


def _warnings(results: Results, effects: pd.DataFrame) -> list[str]:
    warnings = []
    if results.study.data.source == "sample":
        warnings.append("Trained on the packaged sample of CIFAR-10, not on the full data set.")
    return [*warnings, *remarks(effects), *results.remarks]


def _sections(results: Results, effects: pd.DataFrame, folder: Path) -> list[Section]:
    def pictures(*names: str) -> list[Picture]:
        return [_picture(FIGURES[name], results, folder) for name in names]

    title = results.study.name
    return [
        Section(
            "Effects",
            figures=[*pictures("forest", "cost"), *(drawn for drawn in pictures("steps") if drawn.image)],
            tables=[tables.effects(effects, title=title), tables.arms(effects, title=title)],
        ),
        *_by_factor(results, pictures),
        Section("Learning", figures=pictures("learning_curves")),
        *_by_class(results, pictures("per_class")),
    ]


def _by_factor(results: Results, pictures: Callable[..., list[Picture]]) -> list[Section]:
    """Main effects and interactions; nothing of it where the grid crosses no factors."""
    if design(results.study.arms) is None:
        return []
    found = factor_effects(results.study.arms, results.correct)
    return [
        Section(
            "Factors",
            [with_minus_signs(sentence[0].upper() + sentence[1:]) for sentence in found["sentence"]],
            pictures("two_factor"),
            [] if found.empty else [tables.factors(found)],
        )
    ]


def _by_class(results: Results, drawn: list[Picture]) -> list[Section]:
    """Which classes, confusions and images an arm changes; nothing of it where no arm has a pair."""
    changes = per_class.class_effects(results)
    details = [("Recall, precision and F1 of each arm and class", tables.class_table(per_class.class_table(results)))]
    if changes.empty:
        return [Section("Classes", figures=drawn, details=details)]
    changed = per_class.gained_and_lost(per_class.confusions(results))
    return [
        Section(
            "Classes",
            figures=drawn,
            tables=[tables.groups(changes)],
            details=[("Differences by class", tables.class_effects(changes)), *details],
        ),
        Section("Confusions and images", tables=[tables.confusions(changed), tables.flips(per_class.flips(results))]),
    ]


def _picture(figure: StudyFigure, results: Results, folder: Path) -> Picture:
    """Draws a figure into `folder` and for the page."""
    with mpl.rc_context({**figures.STYLE, "svg.hashsalt": figure.name}):
        try:
            drawn = figure.draw(results).figure.canvas.figure
        except figures.NothingToDraw as error:
            return Picture(figure.name, figure.caption, str(error), "")
        file = folder / f"{figure.name}.svg"
        drawn.savefig(file, metadata={"Date": None})
        plt.close(drawn)
    image = f"data:image/svg+xml;base64,{base64.b64encode(file.read_bytes()).decode()}"
    return Picture(figure.name, figure.caption, f"Figure: {figure.caption}", image)


def _facts(results: Results) -> list[tuple[str, str]]:
    """What was run, on what."""
    study, trials = results.study, results.trials
    done = trials[trials["status"] == "finished"]
    counts = trials["status"].value_counts(sort=False)
    facts = [
        ("protocol", f"{trials['protocol'].iloc[0]}; the baseline: {methods.in_short(study.baseline)}"),
        ("data", study.data.text),
        ("cells", f"{len(study.arms)} arms x {counted(study.seeds, 'seed')}: {_listed(counts)}"),
    ]
    lost = trials[trials["status"] != "finished"]
    if len(lost):
        facts.append(
            ("not finished", "; ".join(f"{row.arm}, seed {row.seed}: {row.status}" for row in lost.itertuples()))
        )
    if len(done):
        provenance = [record.provenance for record in results.records.values()]
        facts += [
            ("machine", "; ".join(sorted({f"{p.device} ({p.device_type}, {p.precision}, {counted(p.threads, 'thread')} "
                                          f"a trial, {p.trials_at_once} at once)" for p in provenance}))),
            ("versions", "; ".join(sorted({", ".join(f"{k} {v}" for k, v in p.versions.items()) for p in provenance}))),
            ("trained", f"{_minute(min(p.started for p in provenance))} to {_minute(max(p.finished for p in provenance))} UTC"),
            ("time", f"{duration(done['seconds'].sum())} of trials in all"),
        ]  # fmt: skip
    return facts


def _listed(counts: "pd.Series[int]") -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _minute(time: str) -> str:
    """Of a time in ISO 8601, the date and the minute."""
    return time[:16].replace("T", " ")
