"""Names in any script. Warnings of a missing glyph would be errors here."""

import itertools
import json
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from matplotlib.font_manager import FontProperties, findfont, get_font

from analysis import fonts
from analysis.figures import STYLE, NothingToDraw
from analysis.outcomes import Outcomes
from analysis.study_figures import FIGURES
from analysis.study_tables import StudyTables

STORED = Path(__file__).parents[1] / "data" / "results"
CHINESE, THAI = "\u6b8b\u5dee\u8fde\u63a5", "\u0e01\u0e32\u0e23"


def only_in(font: str) -> str:
    """A character that this font has, which comes with matplotlib, and matplotlib's own has not."""
    plain, other = (get_font(findfont(FontProperties(family=[name]))).get_charmap() for name in ("DejaVu Sans", font))
    return chr(max(set(other) - set(plain)))


@pytest.fixture(autouse=True)
def _closed():
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("study", ["depth-smoke", "batch_norm_dropout-smoke"])
def test_every_figure_of_arms_with_names_in_other_scripts_is_drawn(name, study, tmp_path, monkeypatch):
    manifest = json.loads((STORED / "studies" / study / "study.json").read_text(encoding="utf-8"))
    (tmp_path / "studies" / study).mkdir(parents=True)
    (tmp_path / "cells").symlink_to(STORED / "cells")
    for arm, word in zip(manifest["arms"], itertools.cycle((CHINESE, THAI)), strict=False):
        arm["name"] += f" {word}"
        arm["levels"] = {f"{factor} {CHINESE}": level for factor, level in arm["levels"].items()}
    (tmp_path / "studies" / study / "study.json").write_text(json.dumps(manifest), encoding="utf-8")
    (tmp_path / "ablations.json").write_text((STORED / "ablations.json").read_text())
    tables = StudyTables(Outcomes.from_store(tmp_path, study))
    with mpl.rc_context(STYLE):
        try:
            figure = FIGURES[name].draw(tables).figure
        except NothingToDraw as error:
            pytest.skip(str(error))
        figure.savefig(tmp_path / "f.png")


def test_a_character_that_no_font_has_is_its_number(monkeypatch):
    monkeypatch.setattr(fonts, "WIDE", ())
    with mpl.rc_context({"font.family": fonts.families()}):
        assert fonts.drawable("\u6b8b\u5dee 4 blocks") == "U+6B8B U+5DEE 4 blocks"
        assert fonts.drawable("4 blocks × é") == "4 blocks × é"
        assert fonts.drawable("two\nlines") == "two\nlines"


def test_a_character_that_an_installed_font_has_is_drawn_with_it(tmp_path, monkeypatch):
    character = only_in("STIXGeneral")
    monkeypatch.setattr(fonts, "WIDE", ("No Such Font", "STIXGeneral"))
    assert fonts.families() == ["sans-serif", "STIXGeneral"]
    with mpl.rc_context({"font.family": fonts.families()}):
        assert fonts.drawable(character) == character
        figure, ax = plt.subplots()
        ax.set_title(character)
        figure.savefig(tmp_path / "f.png")  # a missing glyph would warn
    with mpl.rc_context({"font.family": ["sans-serif"]}):
        assert fonts.drawable(character) == f"U+{ord(character):04X}"
