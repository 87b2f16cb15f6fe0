"""A study's report: one self-contained HTML page, with every table as CSV and LaTeX and every figure as SVG beside it."""

import base64
import contextlib
import os
import shlex
import shutil
from collections.abc import Hashable, Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeGuard
from uuid import uuid4

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ablations.files import move_folder, remove
from ablations.interruption import removed_if_interrupted
from ablations.text import printable, quoted
from ablations.units import counted, duration
from analysis import figures, methods, tables, verdict_rows
from analysis.effects import remarks
from analysis.metric import Metric
from analysis.outcomes import Outcomes
from analysis.page_parts import Picture, Section
from analysis.render import Table, with_minus_signs
from analysis.sections import Source, make_all
from analysis.study_figures import FIGURES
from analysis.study_tables import StudyTables
from analysis.thumbnails import TestImages
from cnnkit.description import DataDescription
from cnnkit.errors import UserError

FOLDER, PAGE = "report", "report.html"
"""Where a report lies in a study's folder."""
HALF, WHOLE = 4.2, 8.6
"""Inches of a figure that takes half of the page's width, and of one that takes all of it: one inch is shown as 1.35."""


def write(study: StudyTables, folder: Path, *, images: TestImages | str = "nobody gave them") -> Path:
    """Writes report.html, each table as CSV and LaTeX, and each figure as SVG, into `folder`; returns the page's path.

    What an earlier report left there is replaced.

    Args: images: the study's test images, or why they are not there.
    Raises: OSError: the folder cannot be written.
    """
    unfinished = folder.with_name(f"{folder.name}.{uuid4().hex[:8]}.unfinished")
    with removed_if_interrupted(unfinished):
        try:
            unfinished.mkdir(parents=True)
            sections = make_all(Source(study, images, lambda name: _picture(name, study, unfinished)))
            cells = tables.cells(study.outcomes.cells, metric=study.metric)
            written = [table for section in sections for table in section.all_tables if not table.files]
            for table in (cells, *written):
                table.write(unfinished)
            (unfinished / "references.bib").write_text(
                methods.references(study.outcomes, margin=study.margin, asked=study.measures.taken), encoding="utf-8"
            )
            (unfinished / PAGE).write_text(_page(study, sections, cells), encoding="utf-8")
            _put_in_place(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder / PAGE


def _put_in_place(unfinished: Path, folder: Path) -> None:
    """Raises: OSError: what stood in the place of `folder` stays."""
    earlier = unfinished.with_name(f"{unfinished.name}.earlier")
    moved = False
    while not moved:  # where another shard writes its report in the same moment, the last one stays
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder, earlier)
        try:
            moved = move_folder(unfinished, folder)
        except OSError:
            with contextlib.suppress(OSError):
                os.rename(earlier, folder)
            raise
        remove(earlier)


def require_own(folder: Path) -> None:
    """Raises: UserError: a report would take the place of something else."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / PAGE).is_file())):
        raise UserError(f"--out {folder} holds something that is not a report; give a new folder")


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
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # filters stand in the order of the marks
    factors = None if study.screening is None else study.screening.main
    rows = verdict_rows.verdict_rows(effects if factors is None else factors, study.metric)
    is_open = {row.arm for row in rows if row.kind in ("inconclusive", "no interval", "")}
    folded = is_open if len(is_open) > verdict_rows.SEVERAL else set()
    return environment.get_template("report.html.jinja").render(
        study=about,
        subtitle=" on ".join(filter(None, (about.protocol, about.data_text))) or about.source,
        metric=study.metric,
        by_image=outcomes.detail != "value",
        compared="seeds that both have"
        if effects["paired"].all()
        else "seeds that both have, or over all runs where seeds do not pair",
        baseline=outcomes.baseline.name,
        baseline_value=_baseline_value(effects, study.metric),
        answers=verdict_rows.answers(effects)
        if factors is None
        else verdict_rows.answers(factors, verdict_rows.NOT_ESTIMATED),
        is_screening=factors is not None,
        quoted=quoted,
        running=_running(outcomes.cells),
        warnings=_warnings(outcomes, effects),
        rows=[row for row in rows if row.arm not in folded],
        folded=[row for row in rows if row.arm in folded],
        scale=verdict_rows.scale(rows, study.margin, study.metric),
        sections=sections,
        facts=_facts(study),
        commands=[f"{_minute(c.time)}  run_ablation.py {shlex.join(c.arguments)}" for c in about.commands],
        methods=methods.paragraph(outcomes, margin=study.margin, asked=study.measures.taken),
        bibtex=methods.references(outcomes, margin=study.margin, asked=study.measures.taken).splitlines(),
        cells=cells,
        verdicts=("better", "worse"),
        signed=with_minus_signs,
        style=_own("report.css"),
        script=_own("report.js"),
        version=version("ablations"),
    )


def _own(name: str) -> Markup:
    """A file of this package, as it is."""
    return Markup(files("analysis").joinpath(name).read_text(encoding="utf-8"))


def _seen(value: object) -> object:
    """Whatever the page shows, but for what its own macros have made."""
    return value if isinstance(value, Markup) else printable(value)


def _baseline_value(effects: pd.DataFrame, metric: Metric) -> str:
    row = effects[effects["is_baseline"]].iloc[0]
    return f"{metric.value(row['test_mean'])}, {counted(row['seeds'], 'seed')}" if row["seeds"] else "not finished"


def _running(cells: pd.DataFrame) -> str:
    """Where a study stands whose cells are being trained; empty where none is."""
    status = cells["status"]
    if not (status == "running").any():
        return ""
    last = cells["finished"].dropna()
    when = f", the last at {_minute(max(last))} UTC" if len(last) else ""
    return (
        f"The study is running: {int((status == 'finished').sum())} of {len(cells)} cells are finished{when}. Verdicts may "
        "change; this page is renewed as cells finish, so load it again."
    )


def _warnings(outcomes: Outcomes, effects: pd.DataFrame) -> list[str]:
    data = outcomes.study.data
    sample = [f"Trained on the packaged sample of {data.name}, not on the full data set."] if _is_sample(data) else []
    return [*sample, *remarks(effects), *outcomes.remarks]


def _is_sample(data: DataDescription | None) -> TypeGuard[DataDescription]:
    return data is not None and data.source == "sample"


def _picture(name: str, study: StudyTables, folder: Path) -> Picture:
    """Draws a figure into `folder` and for the page."""
    figure = FIGURES[name]
    size = (WHOLE if figure.wide else HALF, 2.8)
    with mpl.rc_context({**figures.STYLE, "figure.figsize": size, "svg.hashsalt": name}):
        try:
            drawn = figure.draw(study).figure.canvas.figure
        except figures.NothingToDraw as error:
            return Picture(name, figure.caption, str(error), "", figure.wide)
        file = folder / f"{name}.svg"
        drawn.savefig(file, metadata={"Date": None})
        plt.close(drawn)
    image = f"data:image/svg+xml;base64,{base64.b64encode(file.read_bytes()).decode()}"
    return Picture(name, figure.caption, f"Figure: {figure.caption}", image, figure.wide)


def _facts(study: StudyTables) -> list[tuple[str, str]]:
    """What was run, on what, as far as it is known."""
    outcomes = study.outcomes
    cells, done = outcomes.cells, outcomes.finished
    lost = cells[cells["status"] != "finished"]
    baseline, tuning = methods.in_short(outcomes.baseline), outcomes.study.tuning
    facts = [
        ("protocol", "; the baseline: ".join(filter(None, (outcomes.study.protocol, baseline)))),
        ("tuned", "" if tuning is None else f"{tuning.words}, by every seed for itself on the validation images"),
        ("data", outcomes.study.data_text),
        ("source", ", ".join(filter(None, (outcomes.study.source, outcomes.study.fingerprint)))),
        ("read as", "; ".join(outcomes.study.notes)),
        ("cells", f"{len(outcomes.arms)} arms x {_seeds(cells)}: "
                  f"{_listed(cells['status'].value_counts(sort=False))}"),
        ("not finished", "; ".join(f"{quoted(str(row.arm))}, seed {row.seed}: {row.status}" for row in lost.itertuples())),
        ("machine", "; ".join(sorted({_machine(row) for row in done.dropna(subset=["device"]).to_dict("records")}))),
        ("versions", "; ".join(sorted(set(done["versions"].dropna())))),
        ("trained", " to ".join(_minute(time) for time in _span(done)) + (" UTC" if _span(done) else "")),
        ("measured", _measured(study)),
        ("time", f"{duration(done['seconds'].sum())} of trials in all" if done["seconds"].any() else ""),
    ]  # fmt: skip
    return [(name, text) for name, text in facts if text]


def _measured(study: StudyTables) -> str:
    """Of how many cells each measure was taken; empty where results do not lie in a folder that could hold any."""
    outcomes = study.outcomes
    done = len(outcomes.finished)
    if outcomes.study.folder is None or not done:
        return ""
    counts = study.measures.counts()
    if not counts:
        return f"none of {counted(done, 'finished cell')} (experiments/measure.py asks those that have weights)"
    each = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in sorted(counts.items()))
    return f"of {counted(done, 'finished cell')}: {each}"


def _seeds(cells: pd.DataFrame) -> str:
    """How many of an arm: 5 seeds, or 3 to 10 seeds."""
    counts = cells.groupby("arm")["seed"].nunique()
    least, most = int(counts.min()), int(counts.max())
    return counted(most, "seed") if least == most else f"{least} to {most} seeds"


def _machine(cell: Mapping[Hashable, Any]) -> str:
    """A device and how it was used, as far as that is known."""
    threads, at_once = cell["threads"], cell["trials_at_once"]
    parts = (
        *(str(cell[name]) for name in ("device_type", "precision") if not pd.isna(cell[name])),
        "" if pd.isna(threads) else f"{counted(threads, 'thread')} a trial",
        "" if pd.isna(at_once) else f"{at_once:g} at once",
    )
    known = ", ".join(filter(None, parts))
    return f"{cell['device']} ({known})" if known else str(cell["device"])


def _span(done: pd.DataFrame) -> list[str]:
    """When the first trial began and the last one ended; nothing where that is not known."""
    started, ended = done["started"].dropna(), done["finished"].dropna()
    return [min(started), max(ended)] if len(started) and len(ended) else []


def _listed(counts: "pd.Series[int]") -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _minute(time: str) -> str:
    """Of a time in ISO 8601, the date and the minute."""
    return time[:16].replace("T", " ")
