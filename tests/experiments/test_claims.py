"""The reproduction and the ledger as a person starts them; and the page in the docs, made again from its tables."""

import base64
import html
import importlib.util
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ablations.record import ArmEntry, Command
from ablations.store import Store
from analysis import documented_figures, documented_page, documented_tables, report
from analysis.claim_rules import CARD
from analysis.claims import CLAIMS
from analysis.evidence import KINDS, Evidence
from analysis.gallery import Page, write
from analysis.memory import memory_table
from analysis.outcomes import Outcomes
from analysis.sheets import Column, Look, Row
from analysis.study_tables import StudyTables
from cnnkit.errors import UserError

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RESULTS = ROOT / "tests" / "data" / "results"
MEASURED = ROOT / "tests" / "data" / "measured"


def script(name: str):
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "experiments" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def claims():
    return script("claims")


@pytest.fixture(scope="module")
def reproduce():
    return script("reproduce_baseline")


# -- the page in the docs


def test_the_docs_page_is_what_its_tables_say():
    found = documented_tables.read_tables(DOCS / "results" / "documented")
    assert documented_page.render(found) == (DOCS / "documented-study.md").read_text(encoding="utf-8")


def test_every_figure_and_table_that_the_docs_page_names_is_there():
    text = (DOCS / "documented-study.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((results/documented/[\w./-]+)\)", text)
    assert len(links) > 5
    assert all((DOCS / link).is_file() for link in links)
    pictures = {Path(link).stem for link in links if link.endswith(".png")}
    assert pictures <= {figure.name for figure in documented_figures.FIGURES} | {"gallery"}


def test_the_docs_page_names_no_machines_folder():
    for file in (DOCS / "documented-study.md", *(DOCS / "results" / "documented").glob("*.csv")):
        assert not re.search(r"/(home|root|tmp|work|Users)/", file.read_text(encoding="utf-8")), file


def test_the_docs_ledger_has_every_claim_of_the_code_with_its_rule():
    table = documented_tables.read_tables(DOCS / "results" / "documented")["claims"]
    assert [*zip(table["name"], table["rule"], strict=True)] == [(claim.name, claim.rule) for claim in CLAIMS]
    assert set(table["verdict"]) <= set(KINDS)


# -- the ledger


def test_the_ledger_lists_what_is_missing_with_its_command(claims, capsys):
    assert claims.main([str(RESULTS)]) == 0
    out = capsys.readouterr().out
    assert "what is not measured is measured by" in out
    assert "--grid documented_claims" in out
    assert "Larger batches run out of memory" in out


def test_tables_figures_and_page_are_written_and_read_back_alike(claims, tmp_path, capsys):
    folder, page = tmp_path / "tables", tmp_path / "page.md"
    assert claims.main([str(MEASURED), "--out", str(folder), "--page", str(page)]) == 0
    assert "figures into" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert text == documented_page.render(documented_tables.read_tables(folder), results="tables")
    for row in documented_page.records(pd.read_csv(folder / "claims.csv")):
        assert row["claim"] in text
    assert (folder / "memory.png").is_file()
    again = tmp_path / "again"
    assert claims.main([str(MEASURED), "--out", str(again)]) == 0
    for file in folder.glob("*.csv"):
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name


def test_a_figure_names_the_study_that_it_shows_and_its_command_without_a_machines_folders(tmp_path):
    study = StudyTables(Outcomes.from_store(MEASURED))
    commands = [
        Command(
            time="2026-01-01",
            arguments=["--grid", "/home/me/g.yaml", "--data", "/d", "--results=/r"],
            seeds=1,
            finished_before=0,
        )
    ]
    about = replace(study.outcomes.study, commands=commands)
    documented_tables.write_tables(Evidence((StudyTables(replace(study.outcomes, study=about)),)), tmp_path)
    text = documented_page.render(documented_tables.read_tables(tmp_path))
    run = "python experiments/run_ablation.py --grid g.yaml --data PATH_TO_CIFAR10 --results=RESULTS"
    assert f"Study depth-measured: `{run}`." in text
    assert "/home" not in text


def test_tables_of_an_earlier_run_do_not_stay(tmp_path):
    (tmp_path / "undocumented.csv").write_text("arm\n", encoding="utf-8")
    documented_tables.write_tables(Evidence((), memory=memory_table(CARD)), tmp_path)
    assert not (tmp_path / "undocumented.csv").exists()
    assert {file.stem for file in tmp_path.glob("*.csv")} == {"claims", "document", "memory"}


def test_without_a_measurement_the_page_has_commands_in_the_place_of_numbers(tmp_path):
    documented_tables.write_tables(Evidence(()), tmp_path)
    text = documented_page.render(documented_tables.read_tables(tmp_path))
    assert text.count("Not measured. Command: `python experiments/") >= 4
    assert "is not measured" in text.split("\n\n")[2]


def test_a_folder_without_results_is_refused_in_one_sentence(claims, tmp_path):
    with pytest.raises(UserError, match="no results folder"):
        claims.main([str(tmp_path)])
    with pytest.raises(UserError, match="--out"):
        claims.main([str(RESULTS), "--page", str(tmp_path / "page.md")])


# -- the reproduction


def test_a_dry_run_of_the_reproduction_says_its_time_and_trains_nothing(reproduce, tmp_path, capsys):
    assert reproduce.main(["--data", "sample", "--results", str(tmp_path / "r"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "1 arms x 3 seeds = 3" in out
    assert "about" in next(line for line in out.splitlines() if line.strip().startswith("time"))
    assert "whether 65.89 % (on other test images 64.95 to 66.81 %)" in out
    assert not (tmp_path / "r").exists()


def test_the_reproduction_is_the_study_that_run_ablation_runs(reproduce):
    args = reproduce.Arguments(seeds=4, precision="bf16", data="sample")
    assert reproduce.as_run_ablation(args, "documented") == [
        *(
            "--grid",
            "documented",
            "--protocol",
            "documented",
            "--data",
            "sample",
            "--results",
            "results",
            "--seeds",
            "4",
        ),
        *("--recipe.precision", "bf16"),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--protocol", "quik"], "quick"), (["--seeds", "0"], "at least one seed"), (["--data", "nowhere"], "nowhere")],
)
def test_a_reproduction_that_cannot_be_is_refused_in_one_sentence(reproduce, tmp_path, arguments, words):
    results = tmp_path / "r"
    with pytest.raises(UserError, match=words) as refused:
        reproduce.main([*arguments, "--results", str(results)])
    assert "\n" not in str(refused.value)
    assert not results.exists()


def baseline_alone(root: Path) -> StudyTables:
    """The baseline's cells of a stored study, as a study of their own."""
    shutil.copytree(RESULTS, root)
    store = Store(root)
    study = store.study("depth-smoke")
    arm = next(arm for arm in study.arms if arm.is_baseline)
    alone = study.model_copy(
        update={
            "name": "documented-smoke",
            "arms": [ArmEntry.model_validate(arm.model_dump())],
            "cells": [cell for cell in study.cells if cell.arm == arm.name],
        }
    )
    store.write_study(alone)
    return StudyTables(Outcomes.from_store(root, "documented-smoke"))


def test_the_page_of_the_baseline_alone_has_the_reproduction_and_its_tables(tmp_path):
    study = baseline_alone(tmp_path / "results")
    page = report.write(study, tmp_path / "report")
    text = page.read_text(encoding="utf-8")
    assert 'id="reproduction"' in text
    assert "not the documented protocol" in text
    for name in ("reproduction", "reproduction-classes", "reproduction-document", "reproduction-confusion"):
        assert (tmp_path / "report" / f"{name}.csv").is_file()
    for name in ("reproduction", "documented_classes", "confusion"):
        assert (tmp_path / "report" / f"{name}.svg").is_file()


def test_the_first_sheet_of_a_gallery_stands_on_the_page(tmp_path):
    study = baseline_alone(tmp_path / "results")
    gallery = study.outcomes.study.folder / "gallery"
    gallery.mkdir()
    Image.fromarray(np.zeros((4, 6, 3), dtype=np.uint8)).save(gallery / "sheet-001.png")
    text = report.write(study, tmp_path / "report").read_text(encoding="utf-8")
    assert 'id="gallery"' in text
    assert base64.b64encode((gallery / "sheet-001.png").read_bytes()).decode() in text
    assert all((tmp_path / "report" / file).is_file() for file in re.findall(r'href="([\w-]+\.svg)"', text))


def test_a_gallery_is_browsed_on_the_page_image_by_image(tmp_path):
    study = baseline_alone(tmp_path / "results")
    folder = study.outcomes.study.folder / "gallery"
    truth, answers = ("cat", "dog", ""), ("cat", "<b>cat", "bird")
    right = (True, False, None)
    image, raw = np.full((3, 8, 8), 99, dtype=np.uint8), np.eye(4, dtype=np.float32)
    rows = [Row(f"{of}\ntest image {i}", image, [Look(answers[i], 0.5, right[i], raw)]) for i, of in enumerate(truth)]
    table = pd.DataFrame(
        {
            "image": [f"test image {i}" for i in range(3)], "true_class": truth, "arm": "baseline", "seed": 0,
            "answer": answers, "probability": 0.5, "right": pd.array(right, dtype="boolean"), "explained": answers,
            "map": "4x4", "empty": False, "compared_at": 4, "overlap": 1.0,
        }
    )  # fmt: skip
    write([Page(rows, [Column("baseline", "seed 0")], table)], folder, title="t", caption="c", dots=50)
    text = report.write(study, tmp_path / "report").read_text(encoding="utf-8")
    section = text[text.index('id="gallery"') :]
    assert section.count('class="card looks"') == 3
    assert "&lt;b&gt;cat 50 %" in section
    assert ">cat: test image 0<" in section
    assert [section.count(f'<li class="{kind}">') for kind in ("right", "wrong", "unknown")] == [1, 1, 1]
    assert html.unescape(section).count('"class": "not known", "arm": "baseline", "answer": "not known"') == 1
    content = (folder / "looks.safetensors").read_bytes()
    for spoilt in (content[:-9], content.replace(b"0.5", b"5.0", 1), b"", b"\xff" * 20):
        (folder / "looks.safetensors").write_bytes(spoilt)
        text = report.write(study, tmp_path / "report").read_text(encoding="utf-8")
        assert "Not shown image by image" in text
        assert 'alt="Figure: The first sheet' in text


def test_the_gallery_of_the_documented_study_stands_on_the_page_in_the_docs(tmp_path):
    study = baseline_alone(tmp_path / "results")
    gallery = study.outcomes.study.folder / "gallery"
    gallery.mkdir()
    Image.fromarray(np.zeros((4, 6, 3), dtype=np.uint8)).save(gallery / "sheet-001.png")
    (gallery / "gallery.csv").write_text(
        "image,true_class,arm,seed\ntest image 7,cat,baseline,0\ntest image 7,cat,baseline,1\n"
    )
    folder = tmp_path / "documented"
    documented_tables.write_tables(Evidence((study,)), folder)
    assert (folder / "gallery.png").read_bytes() == (gallery / "sheet-001.png").read_bytes()
    text = documented_page.render(documented_tables.read_tables(folder), results="documented")
    assert "on 1 images of the class cat" not in text
    assert "](documented/gallery.png)" in text
    assert "--classes cat --pick typical --images 1 --seeds 0 1" in text
    documented_tables.write_tables(Evidence(()), folder)
    assert not (folder / "gallery.png").exists()


def test_the_page_of_another_study_has_no_reproduction(tmp_path):
    study = StudyTables(Outcomes.from_store(RESULTS, "depth-smoke"))
    assert study.reproduction is None
