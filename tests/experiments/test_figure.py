"""`experiments/figure.py` on the stored study. Its refusals are in `test_bad_input.py`."""

import importlib.util
import shutil
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "experiments" / "figure.py"
STORED = Path(__file__).parents[1] / "ablations" / "stored" / "format-1"
STUDY = STORED / "studies" / "batch_norm-smoke-4b295f"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("script_figure", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    # tyro looks the class of the arguments up by its module
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


NAMES = ("forest", "cost", "learning_curves", "per_class")


def test_these_figures_have_a_name_and_the_docstring_lists_them(script):
    assert tuple(script.FIGURES) == NAMES
    for name in NAMES:
        assert f"\n    {name} " in script.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_drawn_at_the_asked_width(script, tmp_path, capsys, name):
    file = tmp_path / "f.png"
    assert script.main([str(STUDY), name, "--width", "4", "--out", str(file)]) == 0
    with Image.open(file) as image:
        assert image.width == 4 * 300
    assert capsys.readouterr().out == f"wrote {file}\n"
    assert plt.get_fignums() == []


@pytest.mark.parametrize(("suffix", "beginning"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("PNG", b"\x89PNG")])
def test_the_suffix_says_the_format(script, tmp_path, suffix, beginning):
    file = tmp_path / f"f.{suffix}"
    script.main([str(STORED), "forest", "--out", str(file)])
    assert file.read_bytes().startswith(beginning)


def test_without_out_the_figure_is_a_pdf_of_its_name_here(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script.main([str(STORED), "per_class"])
    assert [file.name for file in tmp_path.iterdir()] == ["per_class.pdf"]


def test_cells_that_are_not_finished_are_left_out_and_said(script, tmp_path, capsys):
    shutil.copytree(STORED, tmp_path / "r")
    shutil.rmtree(tmp_path / "r" / "cells" / "3196dc14053c68f317a6")  # no batch norm, seed 0
    for name in NAMES:
        script.main([str(tmp_path / "r"), name, "--out", str(tmp_path / "f.pdf")])
        assert "1 of 4 cells are not finished and left out" in capsys.readouterr().out
