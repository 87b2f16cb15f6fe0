import io

import pandas as pd
import pytest
from rich.console import Console

from analysis.render import Column, Table, csv_text, latex, with_minus_signs


@pytest.fixture
def table() -> Table:
    frame = pd.DataFrame({"arm": ["100% & more_<x>", "plain"], "delta": [-0.0123, 0.5]})
    columns = (
        Column("arm", lambda row: row["arm"], "left"),
        Column("difference", lambda row: f"{100 * row['delta']:+.2f} [-1.00, +1.00]"),
    )
    return Table("effects", "Differences, 95 %", frame, columns, ("A note of 5 %.",))


def test_csv_has_the_numbers_in_full(table, tmp_path):
    table.write(tmp_path)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "effects.csv"), table.frame)


def test_the_terminal_shows_brackets_as_they_are(table):
    out = Console(file=io.StringIO(), width=80)
    out.print(table.for_terminal())
    assert "-1.23 [-1.00, +1.00]" in out.file.getvalue()


def test_at_a_prompt_it_is_plain_text(table):
    assert repr(table).splitlines()[0] == "Differences, 95 %"
    assert "plain +50.00 [-1.00, +1.00]" in repr(table)


def test_latex_escapes_what_it_must_and_has_booktabs_rules(table):
    text = table.latex()
    assert r"100\% \& more\_$<$x$>$ & $-$1.23 [$-$1.00, +1.00] \\" in text
    assert r"\caption{Differences, 95 \%}" in text
    assert [rule for rule in ("\\toprule", "\\midrule", "\\bottomrule") if rule in text] == [
        "\\toprule",
        "\\midrule",
        "\\bottomrule",
    ]


@pytest.mark.parametrize(
    ("plain", "shown"),
    [("-1.5", "−1.5"), ("[-1, +2]", "[−1, +2]"), ("two-way", "two-way"), ("8-16", "8-16"), ("1e-4", "1e-4")],
)
def test_only_negative_numbers_get_a_minus_sign(plain, shown):
    assert with_minus_signs(plain) == shown


@pytest.mark.parametrize(
    ("plain", "shown"), [("a\\b", r"a\textbackslash{}b"), ("{x}^~", r"\{x\}\textasciicircum{}\textasciitilde{}")]
)
def test_latex_of_rare_characters(plain, shown):
    assert latex(plain) == shown


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-x", "@SUM(A1)", "  =1", "＝1+1", "-5 %", "+1 block"])
def test_a_spreadsheet_runs_no_text(text, tmp_path):
    assert csv_text(text) == f"'{text}"
    frame = pd.DataFrame({"arm": [text, "plain"], "delta": [-0.5, 0.5]})
    Table("effects", "", frame, ()).write(tmp_path)
    assert pd.read_csv(tmp_path / "effects.csv")["arm"].tolist() == [f"'{text}", "plain"]


@pytest.mark.parametrize("value", ["-0.5", "+1.5e-3", "0", "4 blocks", "a=b", "", -0.5, 3, None, True])
def test_numbers_and_other_texts_stay_as_they_are(value):
    assert csv_text(value) == value


@pytest.mark.parametrize("text", ["\t=1", "\r=1", "a\x1b"])
def test_a_csv_has_no_control_characters(text):
    assert csv_text(text).isprintable()
