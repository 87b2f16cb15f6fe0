"""Decides the documented study's claims by the studies at hand, and says what is missing.

    python experiments/claims.py results
    python experiments/claims.py results --data PATH_TO_CIFAR10
    python experiments/claims.py results more_results --data PATH --out docs/results/documented --page docs/documented-study.md

RESULTS are results folders, of which every study counts that has the documented network as its baseline; their manifests, records
and measures are read, and nothing is trained. With --data (all of CIFAR-10) a linear classifier that sees no shape is trained,
too, in
about a minute, and objects on other backgrounds are made again, which two of the claims need. Without studies at all it
lists what is to be run. The rules stand in analysis/claims.py.

--out writes every table as CSV and every figure as PNG, --page the page that shows them. Exit code 0, whatever the verdicts are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from ablations.cli import console, parse, run_script
from ablations.store import Store
from cnnkit.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from analysis.evidence import Evidence
    from analysis.study_tables import StudyTables
    from cnnkit.data import Data


@dataclass
class Arguments:
    """The command line."""

    results: tyro.conf.Positional[tuple[Path, ...]]
    """Results folders."""
    data: str | None = None
    """A folder with CIFAR-10, for the classifier that sees no shape and for attention in errors; without it they are not
    measured."""
    out: Path | None = None
    """A folder for tables and figures, made or renewed."""
    page: Path | None = None
    """A Markdown file that shows them; needs --out."""


def main(arguments: Sequence[str]) -> int:
    """Collects what there is, prints the ledger, and writes what was asked for."""
    args = parse(Arguments, arguments, description=__doc__)
    if args.page is not None and args.out is None:
        raise UserError("--page shows the tables of --out; give it, too")
    out = console()

    from analysis import claims_tables
    from analysis.claims import ledger

    evidence = gather(args.results, args.data, out)
    table = claims_tables.ledger(ledger(evidence))
    out.print(table.caption, style="bold", markup=False, soft_wrap=True)
    out.print(table.for_terminal())
    out.print()
    for row in table.frame.itertuples():
        out.print(f"{row.claim} {row.verdict}: {row.sentence}", markup=False, soft_wrap=True)
    missing = table.frame[table.frame["verdict"] == "not measured"]
    if len(missing):
        out.print("\nwhat is not measured is measured by", markup=False)
        for command in dict.fromkeys(missing["command"]):
            out.print(f"  {command}", markup=False, soft_wrap=True)
    if args.out is not None:
        write(evidence, args.out, args.page, out)
    return 0


def gather(folders: Sequence[Path], data: str | None, out: "Console") -> "Evidence":
    """All that the folders, and the images where they are given, have to decide by.

    Raises: UserError: a folder holds no results, or the images are not CIFAR-10's.
    """
    from analysis.claim_rules import CARD
    from analysis.evidence import Evidence
    from analysis.memory import memory_table

    evidence = Evidence(tuple(found_studies(folders, out)), memory=memory_table(CARD))
    if data is None:
        return evidence
    from cnnkit.data import load

    images = load(data)
    return replace(evidence, control=control(images), composites=composites(evidence, images, out))


def found_studies(folders: Sequence[Path], out: "Console") -> "list[StudyTables]":
    """Every study of the folders that can be read, one line for each that cannot."""
    from analysis.outcomes import Outcomes
    from analysis.study_tables import StudyTables

    studies = []
    for folder in folders:
        if not (folder / "studies").is_dir():
            raise UserError(f"{folder} is no results folder: it has no studies")
        for name in Store(folder).studies():
            try:
                studies.append(StudyTables(Outcomes.from_store(folder, name)))
            except UserError as error:
                out.print(f"left out: {error}", markup=False, soft_wrap=True)
    return studies


def control(data: "Data") -> "pd.DataFrame":
    """Recall of a classifier that sees no shape, trained and tested on all of the data's images."""
    from analysis import shape_blind

    about = data.description
    answered = shape_blind.answers(data.train.images, data.train.labels, data.test.images)
    return shape_blind.recall_table(answered, data.test.labels, about.classes, about.groups)


def composites(evidence: "Evidence", data: "Data", out: "Console") -> "pd.DataFrame":
    """What the baseline of the first study that was asked does with objects on other classes' images."""
    import pandas as pd

    from analysis import measured
    from analysis.evidence import source_of
    from analysis.measures import Images, ready
    from analysis.stimuli import read_stimuli

    for study in evidence.baselines():
        folder = study.outcomes.study.folder
        if (
            folder is None
            or study.outcomes.study.data is None
            or study.outcomes.study.data.fingerprint != data.fingerprint
        ):
            continue
        store = Store(folder.parent.parent)
        manifest = store.study(folder.name)
        try:
            (asked,) = ready(["composites"], read_stimuli(), Images.of(data))
        except UserError as error:
            out.print(f"objects on other backgrounds: {error}", markup=False, soft_wrap=True)
            return pd.DataFrame()
        if manifest is None:
            continue
        left = measured.read(store, manifest, asked.name)
        baseline = study.outcomes.baseline.name
        if len(left.found[baseline]) > 1:
            own = measured.Measured({baseline: left.found[baseline]}, {baseline: left.random[baseline]})
            table = asked.table(own, study.outcomes.classes, baseline=baseline)
            return table.assign(source=source_of(study.outcomes))
    return pd.DataFrame()


def write(evidence: "Evidence", folder: Path, page: Path | None, out: "Console") -> None:
    """Tables, figures and page.

    Raises: UserError: one of them cannot be written.
    """
    import os

    import matplotlib as mpl

    from analysis import documented_figures, documented_page, documented_tables

    mpl.use("agg")  # files need no window
    try:
        documented_tables.write_tables(evidence, folder)
        found = documented_tables.read_tables(folder)
        drawn = documented_figures.draw(found, folder)
        if page is not None:
            where = os.path.relpath(folder, page.parent)
            page.write_text(documented_page.render(found, results=where), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}") from error
    wrote = f"wrote {len(found)} tables and {len(drawn)} figures into {folder}"
    out.print(f"{wrote}{'' if page is None else f', and {page}'}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    run_script(main)
