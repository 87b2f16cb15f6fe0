"""The notebooks run on stored real studies, and those that are kept are what their sources make."""

import importlib.util
import re
import shutil
from pathlib import Path

import nbformat
import pytest

from ablations.store import Store

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "analysis" / "notebooks").glob("*.py"))


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_notebooks", ROOT / "experiments" / "make_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def printed(notebook) -> list[str]:
    return [o.text for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "stream"]


def shown(notebook, kind: str) -> list[str]:
    """Outputs of a MIME type."""
    outputs = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    return [data[kind] for data in outputs if kind in data]


def tables(notebook) -> list[list[str]]:
    """Words of the tables, without their markup, which is pandas' own."""
    return [re.sub(r"<[^>]*>", " ", table).split() for table in shown(notebook, "text/html")]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_notebook_runs_and_gives_what_the_kept_one_shows(script, source, monkeypatch):
    monkeypatch.delenv("ABLATIONS_STUDY", raising=False)
    fresh = script.executed(source)
    kept = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert printed(fresh) == printed(kept)
    assert tables(fresh) == tables(kept) != []
    assert len(shown(fresh, "image/png")) == len(shown(kept, "image/png")) > 0


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_kept_notebook_is_made_from_its_source_and_names_no_machine(script, source):
    kept = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    made = script.unexecuted(source)
    assert [(c.cell_type, c.id, c.source) for c in kept.cells] == [(c.cell_type, c.id, c.source) for c in made.cells]
    assert kept.metadata == made.metadata
    assert all(not cell.metadata for cell in kept.cells)
    text = "".join([*printed(kept), *shown(kept, "text/html"), *shown(kept, "text/plain")])
    assert not re.search(r"/(home|root|tmp|Users)/", text)
    assert source.with_suffix(".ipynb").stat().st_size < 500_000


def test_another_study_is_given_by_the_environment(script, monkeypatch):
    stored = ROOT / "tests" / "ablations" / "stored" / "format-1" / "studies" / "batch_norm-smoke-4b295f"
    monkeypatch.setenv("ABLATIONS_STUDY", str(stored))
    notebook = script.executed(ROOT / "analysis" / "notebooks" / "depth_study.py")
    assert "no batch norm" in " ".join(tables(notebook)[0])


@pytest.mark.parametrize("name", ["shape_bias", "where_it_looks"])
def test_notebooks_of_measures_show_a_study_that_lost_a_seed_and_one_cells_measures(
    script, name, monkeypatch, tmp_path
):
    """Its weights are not kept either: what measures left is enough."""
    root = shutil.copytree(ROOT / "tests" / "data" / "measured", tmp_path / "results")
    store = Store(root)
    study = store.study("depth-measured")
    keys = {(cell.arm, cell.seed): cell.key for cell in study.cells}
    shutil.rmtree(store.cell_folder(keys["5 blocks", 0]))
    shutil.rmtree(root / "measures" / keys["5 blocks", 1])
    monkeypatch.setenv("ABLATIONS_STUDY", str(root / "studies" / "depth-measured"))
    notebook = script.executed(ROOT / "analysis" / "notebooks" / f"{name}.py")
    assert "5 blocks, seed 1" in "".join(printed(notebook))
    assert "4 blocks" in " ".join(tables(notebook)[0])
