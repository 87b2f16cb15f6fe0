import importlib.util
import re
import shutil
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

from cnnkit.errors import UserError

STORED = Path(__file__).parents[1] / "data" / "results"
SCRIPT = Path(__file__).parents[2] / "experiments" / "report.py"


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("report_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def root(tmp_path) -> Path:
    shutil.copytree(STORED, tmp_path / "results")
    return tmp_path / "results"


def test_the_report_goes_into_the_studys_folder_and_can_be_written_again(main, root, capsys):
    study = root / "studies" / "batch_norm_dropout-smoke"
    for _ in range(2):
        assert main([str(study)]) == 0
    page = study / "report" / "report.html"
    assert page.is_file()
    assert str(page) in capsys.readouterr().out
    assert not [*study.glob("*.unfinished")]
    text = page.read_text(encoding="utf-8")
    assert "Main effects and interactions" in text
    assert "atch norm off instead of on" in text


def test_the_margin_decides_what_is_equivalent(main, root, tmp_path):
    main([str(root / "studies" / "depth-smoke"), "--margin", "40", "--out", str(tmp_path / "wide")])
    text = re.sub(r"</?b>", "", (tmp_path / "wide" / "report.html").read_text(encoding="utf-8"))
    assert "equivalent within the margin: 2 blocks, 5 blocks, 6 blocks" in text
    assert "within 40 percentage points" in text


def test_a_question_about_a_class_is_printed_and_stands_on_the_page(main, root, tmp_path, capsys):
    main([str(root / "studies" / "depth-smoke"), "--class", "cat, animals", "--out", str(tmp_path / "asked")])
    said = capsys.readouterr().out
    assert "p Holm, arms" in said
    assert said.count("after 12 cells beside those of the baseline had finished") == 8
    page = (tmp_path / "asked" / "report.html").read_text(encoding="utf-8")
    assert "Asked later, so that a significant answer wants to be confirmed on new seeds: cat (after 12 cells" in page
    assert (tmp_path / "asked" / "class_questions.csv").is_file()
    with pytest.raises(UserError, match="no class 'catt'"):
        main([str(root / "studies" / "depth-smoke"), "--class", "catt"])


def test_page_and_figures_have_one_margin(main, root, tmp_path):
    with mpl.rc_context({"svg.fonttype": "none"}):  # text that can be read back
        main([str(root / "studies" / "depth-smoke"), "--margin", "40", "--out", str(tmp_path / "wide")])
    forest = (tmp_path / "wide" / "forest.svg").read_text(encoding="utf-8")
    assert len(re.findall(r">equivalent</text>", forest)) == 3
    assert "inconclusive" not in forest


def test_a_folder_that_holds_something_else_is_left_alone(main, root, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    with pytest.raises(UserError, match="something that is not a report"):
        main([str(root / "studies" / "depth-smoke"), "--out", str(tmp_path / "mine")])
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--margin", "0"], "--margin 0: give percentage points"),
        (["--margin", "wide"], "margin"),
        (["--out", "/proc/report"], "cannot write /proc/report"),
    ],
)
def test_bad_input_is_one_sentence(main, root, arguments, words):
    with pytest.raises(UserError, match=words):
        main([str(root / "studies" / "depth-smoke"), *arguments])


def test_a_studys_folder_that_was_renamed_is_one_sentence_and_gets_no_second_one(main, root):
    folder = root / "studies" / "depth-smoke"
    folder.rename(root / "studies" / "renamed")
    with pytest.raises(UserError, match="renamed holds the study depth-smoke; give the folder that name again"):
        main([str(root / "studies" / "renamed")])
    assert not folder.exists()
