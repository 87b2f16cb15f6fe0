import io
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from analysis import report, tables
from analysis.flipping import flipping_images
from analysis.outcomes import Outcomes
from analysis.render import latex, with_minus_signs
from analysis.studied import Answers
from analysis.study_tables import StudyTables
from analysis.thumbnails import TestImages

STORED = Path(__file__).parents[1] / "data" / "results"


class Page(HTMLParser):
    """Tables by id (rows of texts), attributes of all tags, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "table":
            self._rows = self.tables.setdefault(dict(attrs)["id"], [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if {"style", "script"} & {*self._open}:
            return
        self.text += data
        if self._open and self._open[-1] in ("td", "th"):
            self._rows[-1][-1] += data


def study(root: Path = STORED) -> StudyTables:
    return StudyTables(Outcomes.from_store(root, "depth-smoke"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The report of a real study."""
    folder = tmp_path_factory.mktemp("study") / "report"
    report.write(study(), folder)
    return folder


@pytest.fixture(scope="module")
def page(folder) -> Page:
    return Page((folder / report.PAGE).read_text(encoding="utf-8"))


def test_the_page_loads_nothing_and_runs_its_own_script_only(folder, page):
    tags = {tag for tag, _, _ in page.attributes}
    assert not tags & {"link", "iframe", "object"}
    sources = [value for _, name, value in page.attributes if name in ("src", "srcset")]
    assert sources
    assert all(value.startswith(("data:image/svg+xml;base64,", "data:image/png;base64,")) for value in sources)
    text = (folder / report.PAGE).read_text(encoding="utf-8")
    assert "@import" not in text
    assert "url(" not in text
    assert text.count("<script") == 1
    assert (Path(report.__file__).parent / "report.js").read_text(encoding="utf-8") in text


def test_every_link_leads_to_a_place_in_the_page_or_to_a_file_beside_it(folder, page):
    links = {value for tag, name, value in page.attributes if (tag, name) == ("a", "href")}
    anchors = {value for _, name, value in page.attributes if name == "id"}
    assert {"#effects", "#images-that-flip", "effects.csv", "forest.svg"} <= links
    for link in links:
        assert link.removeprefix("#") in anchors if link.startswith("#") else (folder / link).is_file()
    written = {file.name for file in folder.iterdir()} - {report.PAGE}
    assert written == {link for link in links if not link.startswith("#")}


def test_every_table_is_there_as_csv_and_latex_and_every_figure_as_svg(folder, page):
    for name in page.tables:
        name = name.removesuffix("-significant")  # a part of a table, whose files hold all of it
        assert (folder / f"{name}.csv").is_file()
        assert "\\toprule" in (folder / f"{name}.tex").read_text(encoding="utf-8")
    names = re.findall(r"File: (\w+)\.svg", page.text)
    assert {"forest", "cost", "learning_curves", "per_class"} <= set(names)
    for name in names:
        assert b"<svg" in (folder / f"{name}.svg").read_bytes()


@pytest.mark.parametrize("name", ["effects", "arms"])
def test_page_csv_latex_and_terminal_show_the_same_numbers(folder, page, name):
    results = study()
    make = {"effects": tables.effects, "arms": tables.arms}[name]
    terminal = Console(file=io.StringIO(), width=200)
    terminal.print(make(results.effects).for_terminal())
    source = (folder / f"{name}.tex").read_text(encoding="utf-8")
    # What the numbers in the CSV look like, without anything else that the study knows.
    texts = dict.fromkeys(["verdict", "changes", "chosen", "trained_on"], str)
    effects, written = (
        pd.read_csv(folder / f"{file}.csv", dtype=texts).fillna(dict.fromkeys(texts, "")) for file in ("effects", name)
    )
    shown = make(effects if name == "effects" else effects.assign(**written)).shown()
    header, *rows = page.tables[name]
    assert header == shown.columns.tolist()
    assert rows == [[with_minus_signs(text) for text in row] for row in shown.itertuples(index=False)]
    for row in shown.itertuples(index=False):
        assert " & ".join(map(latex, row)) in source
        assert all(text in terminal.file.getvalue() for text in row)
    assert shown["arm"].tolist() == results.effects["arm"].tolist()


def test_differences_are_printed_from_the_numbers_in_percentage_points(folder, page):
    numbers = pd.read_csv(folder / "effects.csv").set_index("arm")
    header, *rows = page.tables["effects"]
    for arm, *texts in rows:
        row, text = numbers.loc[arm], texts[header.index("difference [interval]") - 1].replace("−", "-")
        delta, low, high = (f"{100 * row[name]:+.2f}" for name in ("delta", "shown_low", "shown_high"))
        assert text == ("baseline" if row["is_baseline"] else f"{delta} [{low}, {high}]")


def test_each_arm_has_a_row_with_its_number_its_interval_and_what_else_moved(folder, page):
    numbers = pd.read_csv(folder / "effects.csv").set_index("arm")
    for blocks in (2, 3, 5, 6):
        row = numbers.loc[f"{blocks} blocks"]
        low, high = (with_minus_signs(f"{100 * row[f'shown_{end}']:+.2f}") for end in ("low", "high"))
        delta = with_minus_signs(f"{100 * row['delta']:+.2f}")
        assert f"{blocks} blocks{delta}[{low}, {high}], 3 seeds" in page.text
        assert f"{row['parameters_ratio']:.2g}x parameters" in page.text
    assert page.text.count("inconclusive") < 12, "a badge, the answer and tables say it, no sentence beside the badge"


def test_what_is_not_significant_is_folded_away(folder):
    html = (folder / report.PAGE).read_text(encoding="utf-8")
    unfolded = re.sub(r"<details>.*?</details>", "", html, flags=re.DOTALL)
    assert "None of the 24 confusions in the table is significant." in unfolded
    assert 'id="confusions"' not in unfolded
    assert 'id="confusions"' in html


def test_the_page_says_what_was_run(page):
    for text in (
        "packaged SAMPLE of CIFAR-10",
        "ee7207581883be22",
        "5 arms x 3 seeds: 15 finished",
        "torch 2.",
        "2026-11-24 11:56 UTC",
    ):
        assert text in page.text
    assert "--grid depth --protocol smoke" in page.text
    assert "4 comparisons are adjusted by Holm's method [holm1979simple]" in page.text


def test_every_reference_of_the_methods_is_in_the_bibliography(folder, page):
    cited = set(re.findall(r"\[([a-z]+\d{4}[a-z]+)\]", page.text))
    keys = set(re.findall(r"@\w+\{(\w+),", (folder / "references.bib").read_text(encoding="utf-8")))
    assert cited == keys


def test_a_study_half_way_is_reported_with_what_is_missing(tmp_path):
    root = tmp_path / "results"
    shutil.copytree(STORED, root)
    trials = study(root).outcomes.cells
    for key in trials.loc[trials["arm"] == "6 blocks", "key"]:
        shutil.rmtree(root / "cells" / key)
    page = Page(report.write(study(root), tmp_path / "report").read_text(encoding="utf-8"))
    assert "without a finished pair of cells: 6 blocks" in page.text
    assert re.search(r"no finished pair of cells\s+missing", page.text)
    assert "12 finished, 3 missing" in page.text
    assert "nan" not in page.text.split()


def test_what_a_manifest_says_is_text_and_nothing_else(tmp_path):
    root = tmp_path / "results"
    shutil.copytree(STORED, root)
    manifest = root / "studies" / "depth-smoke" / "study.json"
    name = r"<script>alert(1)</script> & 50% \\input{x} [bold]_$^$"
    manifest.write_text(manifest.read_text().replace('"2 blocks"', f'"{name}"'))
    results = study(root)
    page = Page(report.write(results, tmp_path / "report").read_text(encoding="utf-8"))
    assert [tag for tag, _, _ in page.attributes if tag == "script"] == []  # the page's own has no attribute
    assert "alert" in page.text
    plain = name.replace("\\\\", "\\")
    assert page.tables["effects"][1][0] == plain
    source = (tmp_path / "report" / "effects.tex").read_text(encoding="utf-8")
    assert r"$<$script$>$alert(1)$<$/script$>$ \& 50\% \textbackslash{}input\{x\} [bold]\_\$" in source
    out = Console(file=io.StringIO(), width=250)
    out.print(tables.effects(results.effects).for_terminal())
    assert plain in out.file.getvalue()


def test_of_two_shards_that_end_at_once_one_leaves_its_report(folder, tmp_path, monkeypatch):
    remove = shutil.rmtree

    def remove_as_another_writes(path, **options):
        remove(path, **options)
        if Path(path) == tmp_path / "report":
            shutil.copytree(folder, path)

    monkeypatch.setattr(report.shutil, "rmtree", remove_as_another_writes)
    page = report.write(study(), tmp_path / "report")
    assert page.read_text(encoding="utf-8") == (folder / report.PAGE).read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report"]


def test_an_earlier_report_is_replaced_whole(folder, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "old.csv").write_text("")
    report.write(study(), tmp_path / "report")
    assert sorted(file.name for file in (tmp_path / "report").iterdir()) == sorted(
        file.name for file in folder.iterdir()
    )


def test_names_with_commas_can_be_told_apart_in_the_answer(tmp_path):
    root = tmp_path / "results"
    shutil.copytree(STORED, root)
    manifest = root / "studies" / "depth-smoke" / "study.json"
    manifest.write_text(
        manifest.read_text().replace('"2 blocks"', '"2 blocks, wide"').replace('"4 blocks"', '"4: all"')
    )
    page = Page(report.write(study(root), tmp_path / "report").read_text(encoding="utf-8"))
    assert "Against “4: all”: better: 3 blocks; inconclusive: “2 blocks, wide”, 5 blocks, 6 blocks." in page.text


def test_images_that_flip_are_shown_with_what_the_arms_answered(sample, tmp_path):
    test = sample.subset(test=500).test
    images = TestImages(test.images, test.labels)
    outcomes = study().outcomes
    written = report.write(study(), tmp_path / "report", images=images)
    html = written.read_text(encoding="utf-8")
    found = flipping_images(outcomes)
    assert html.count('class="card"') == len(found) > 20
    assert html.count("data:image/png;base64,") == len(found) == html.count('loading="lazy"')
    assert f"{found[0].answers[0].most} ({found[0].answers[0].right} of 3 right)" in html
    assert written.stat().st_size < 5e6


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("the data set is not where it was", "are not shown: the data set is not where it was."),
        ("reversed", "the labels of those that were found are not the study's"),
    ],
)
def test_a_page_without_the_images_says_why(sample, tmp_path, given, words):
    test = sample.subset(test=500).test
    images = TestImages(test.images, test.labels[::-1]) if given == "reversed" else given
    page = Page(report.write(study(), tmp_path / "report", images=images).read_text(encoding="utf-8"))
    assert words in page.text
    assert "Images that flip" in page.text


def test_what_is_known_of_a_device_is_said_and_nothing_else(tmp_path):
    outcomes = study().outcomes
    cells = outcomes.cells.assign(threads=pd.NA, trials_at_once=pd.NA).astype(
        {"threads": "Int64", "trials_at_once": "Int64"}
    )
    page = Page(report.write(StudyTables(replace(outcomes, cells=cells)), tmp_path / "a").read_text(encoding="utf-8"))
    assert "AMD EPYC, 2 cores (cpu, bf16)" in page.text


def test_of_many_arms_those_that_are_not_settled_are_folded_and_counted(tmp_path):
    outcomes = study().outcomes
    arms = {arm.name: arm for arm in outcomes.arms}
    copies = [f"{name}, again {n}" for name in ("2 blocks", "5 blocks", "6 blocks") for n in range(4)]
    of = {copy: copy.partition(",")[0] for copy in copies}
    cells = pd.concat(
        [outcomes.cells, *(outcomes.cells[outcomes.cells["arm"] == of[copy]].assign(arm=copy) for copy in copies)]
    )
    many = replace(
        outcomes,
        arms=(*outcomes.arms, *(replace(arms[of[copy]], name=copy) for copy in copies)),
        cells=cells,
        curves={},
        read_logits=None,
        read_answers=lambda: Answers(
            outcomes.labels, {**outcomes.predictions, **{copy: outcomes.predictions[of[copy]] for copy in copies}}
        ),
    )
    html = report.write(StudyTables(many), tmp_path / "report").read_text(encoding="utf-8")
    unfolded = re.sub(r"<details>.*?</details>", "", html, flags=re.DOTALL)
    rows = re.findall(r'<li class="verdict (\w+)"><b class="arm">(.*?)</b>', unfolded)
    assert {kind for kind, _ in rows} <= {"baseline", "better", "worse", "equivalent"}
    assert re.search(r"<summary>1[2-6] arms that are not settled</summary>", html)
    assert re.search(r"and (\d+) others", html)
