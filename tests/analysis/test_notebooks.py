"""The notebooks run on stored real studies, and those that are kept are what their sources make."""

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest

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
