"""`experiments/figure.py` on the stored study. Its refusals are in `test_bad_input.py`."""

import importlib.util
import shutil
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from ablations.arm import Arm
from ablations.grids import GRIDS, arms_of
from analysis import figures
from analysis.outcomes import Outcomes
from analysis.studied import Answers, StudiedArm, cell_table
from analysis.study_figures import FIGURES
from analysis.study_tables import StudyTables
from cnnkit.errors import UserError

SCRIPT = Path(__file__).parents[2] / "experiments" / "figure.py"
STORED = Path(__file__).parents[1] / "ablations" / "stored" / "format-1"
STUDY = STORED / "studies" / "batch_norm-smoke-4b295f"
CROSSED = Path(__file__).parents[1] / "data" / "results" / "studies" / "batch_norm_dropout-smoke"

SCREENED = Path(__file__).parents[1] / "data" / "screening" / "studies" / "screen-smoke"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("script_figure", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    # tyro looks the class of the arguments up by its module
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


MEASURED = ("shape_bias", "reliance", "attention", "composites", "stimuli")
REPRODUCED = ("reproduction", "documented_classes", "confusion")
OF_DESIGNS = ("looks", "two_factor", "main_effects", "half_normal")
NAMES = ("forest", "steps", *OF_DESIGNS, "cost", "learning_curves", "losses", "reliability", "per_class")


def test_these_figures_have_a_name_and_the_docstring_lists_them(script):
    assert tuple(script.FIGURES) == NAMES + MEASURED + REPRODUCED
    for name in script.FIGURES:
        assert f"\n    {name} " in script.__doc__


@pytest.mark.parametrize("name", [name for name in NAMES if name != "looks"])
def test_every_figure_is_drawn_at_the_asked_width(script, tmp_path, capsys, name):
    file = tmp_path / "f.png"
    study = {"two_factor": CROSSED, "main_effects": SCREENED, "half_normal": SCREENED}.get(name, STUDY)
    assert script.main([str(study), name, "--width", "4", "--out", str(file)]) == 0
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


@pytest.mark.parametrize(("margin", "found"), [("1", "inconclusive"), ("60", "equivalent")])
def test_the_margin_decides_what_the_forest_calls_equivalent(script, tmp_path, margin, found):
    file = tmp_path / "f.svg"
    with mpl.rc_context({"svg.fonttype": "none"}):
        script.main([str(STORED), "forest", "--margin", margin, "--out", str(file)])
    assert f">{found}</text>" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("margin", ["0", "100", "nan"])
def test_a_margin_that_is_no_difference_is_refused(script, tmp_path, margin):
    with pytest.raises(UserError, match="--margin"):
        script.main([str(STORED), "forest", "--margin", margin, "--out", str(tmp_path / "f.svg")])


def test_cells_that_are_not_finished_are_left_out_and_said(script, tmp_path, capsys):
    shutil.copytree(STORED, tmp_path / "r")
    shutil.rmtree(tmp_path / "r" / "cells" / "3196dc14053c68f317a6")  # no batch norm, seed 0
    for name in set(NAMES) - set(OF_DESIGNS):
        script.main([str(tmp_path / "r"), name, "--out", str(tmp_path / "f.pdf")])
        assert "1 of 4 cells left out: 1 missing" in capsys.readouterr().out


def test_records_that_are_damaged_are_left_out_and_named(script, tmp_path, capsys):
    root = tmp_path / "r"
    shutil.copytree(CROSSED.parents[1], root)
    key = (
        Outcomes.from_store(root, CROSSED.name)
        .cells.query("arm == 'no batch norm, dropout 0' and seed == 1")["key"]
        .iloc[0]
    )
    (root / "cells" / key / "logits.safetensors").write_bytes(b"")
    script.main([str(root / "studies" / CROSSED.name), "two_factor", "--out", str(tmp_path / "f.pdf")])
    wrote, notice = capsys.readouterr().out.splitlines()
    assert wrote.startswith("wrote ")
    assert key in notice


@pytest.mark.parametrize(
    ("study", "name", "words"),
    [
        *((STUDY, name, "no cell of the baseline has been asked") for name in MEASURED),
        (STUDY, "looks", "its looks were not planned, so there is nothing to draw"),
        (STUDY, "main_effects", "its arms are no screening design, so there is nothing to draw"),
        (CROSSED, "half_normal", "its arms are no screening design"),
        (STUDY, "two_factor", "its arms do not cross two factors, so there is nothing to draw"),
        (CROSSED.parent / "depth-smoke", "two_factor", "its arms do not cross two factors"),
        (CROSSED.parent / "depth-smoke", "steps", "more than one arm changes widths"),
        (CROSSED, "steps", "more than one arm changes dropout"),
    ],
)
def test_a_study_without_the_design_of_a_figure_is_refused(script, tmp_path, study, name, words):
    with pytest.raises(UserError, match=words):
        script.main([str(study), name, "--out", str(tmp_path / "f.pdf")])
    assert not list(tmp_path.iterdir())


def test_each_two_of_three_factors_have_a_panel():
    arms = arms_of(GRIDS["regularisation"], Arm(name="baseline", is_baseline=True))
    dice = np.random.default_rng(0)
    predictions = {arm.name: {seed: dice.choice(2, 200, p=(0.6, 0.4)) for seed in range(3)} for arm in arms}
    outcomes = Outcomes(
        arms=tuple(StudiedArm(arm.name, arm.is_baseline, arm.levels) for arm in arms),
        classes=("cat", "dog"),
        cells=cell_table([]),
        read_answers=lambda: Answers(np.zeros(200, dtype=np.int64), predictions),
    )
    with mpl.rc_context(figures.STYLE):
        first = FIGURES["two_factor"].draw(StudyTables(outcomes))
    panels = first.figure.axes
    assert [ax.get_xlabel() for ax in panels] == ["Batch norm", "Batch norm", "Dropout"]
    assert ["mean over weight decay" in ax.get_ylabel() for ax in panels] == [True, False, False]
    plt.close(first.figure)
