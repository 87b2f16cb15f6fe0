import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from ablations.cli import console
from ablations.text import FittedTable, Heading, printable, wrapped
from ablations.units import seconds_of


def shown(table: FittedTable, width: int) -> list[str]:
    out = Console(file=io.StringIO(), width=width)
    out.print(table)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


@pytest.fixture
def table() -> FittedTable:
    headings = (
        Heading("arm", "left", 0), Heading("seeds", priority=3), Heading("difference", priority=1), Heading("cost", priority=4),
    )  # fmt: skip
    rows = [["batch norm", "3", "+1.20 [+0.20, +2.20]", "62.3 M (1.2x)"], ["none", "3", "baseline", "52.1 M"]]
    return FittedTable(headings, rows)


def test_all_is_shown_where_there_is_room(table):
    header, first, second = shown(table, 80)
    assert header.split() == ["arm", "seeds", "difference", "cost"]
    assert first == "batch norm      3  +1.20 [+0.20, +2.20]  62.3 M (1.2x)"
    assert second.split() == ["none", "3", "baseline", "52.1", "M"]


def test_the_least_important_columns_go_first_and_are_named(table):
    assert shown(table, 52)[0].split() == ["arm", "seeds", "difference"]
    assert shown(table, 52)[-1] == "No room for: cost."
    assert shown(table, 36)[0].split() == ["arm", "difference"]
    assert shown(table, 36)[-1] == "No room for: seeds, cost."


@pytest.mark.parametrize("width", range(12, 70))
def test_names_are_there_whole_at_every_width(table, width):
    lines = shown(table, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "none" in "".join(lines)
    assert "batchnorm" in "".join(line[:10].strip() for line in lines[1:3]).replace(" ", "")


def test_a_long_name_is_wrapped_and_leaves_room_for_the_numbers():
    name = "batch norm and dropout and weight decay and residual links and pooling"
    table = FittedTable([Heading("arm", "left", 0), Heading("difference")], [[name, "+1.20 [+0.20, +2.20]"]])
    lines = shown(table, 80)
    assert "+1.20 [+0.20, +2.20]" in lines[1]
    assert " ".join(line[:58].strip() for line in lines[1:]).split() == name.split()


def test_wide_characters_count_twice():
    table = FittedTable([Heading("arm", "left", 0), Heading("n", priority=1)], [["残差连接", "1"], ["plain", "2"]])
    (_, first, second) = shown(table, 80)
    assert cell_len(first) == cell_len(second)


def test_markup_and_links_in_a_name_are_text():
    table = FittedTable([Heading("arm", "left", 0)], [["[bold]x[/bold] [link=http://a]y[/link]"]])
    assert shown(table, 80)[1] == "[bold]x[/bold] [link=http://a]y[/link]"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain", "plain"),
        ("Tiefe 3 × 残差 ± é", "Tiefe 3 × 残差 ± é"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\tc", r"a\nb\tc"),
        ("user\u202etxt.exe", r"user\u202etxt.exe"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("\ud800", r"\ud800"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text, seen):
    assert printable(text) == seen
    assert printable({text: [(text, 1)]}) == {seen: [(seen, 1)]}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7_200), ("90m", 5_400), ("45min", 2_700), ("1h30m", 5_400), ("1.5 h", 5_400), ("1h 5min 30s", 3_930)]
    + [(text, None) for text in ("", "90", "1h30", "30m1h", "h", "soon", "-1h", "1e3m", "٣h")],
)
def test_durations_are_read_as_people_write_them(text, seconds):
    assert seconds_of(text) == seconds


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_sentences_are_broken_between_words_on_a_terminal_and_not_at_all_elsewhere(monkeypatch):
    path = "/" + "/".join("folder" for _ in range(12))
    sentence = f"what is finished is kept in {path} and the same command goes on where it stopped, with what is missing"
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    for file, is_terminal in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr("sys.stdout", file)
        console().print(sentence, markup=False, soft_wrap=True)
        lines = file.getvalue().rstrip("\n").split("\n")
        assert " ".join(lines) == sentence
        assert (len(lines) > 1) == is_terminal
        assert path in "".join(lines), "a path can be copied"
        assert not is_terminal or all(len(line) <= 60 for line in lines if path not in line)


def test_a_sentence_obeys_no_character_of_a_stranger(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr("sys.stdout", file)
    console().print("two\nlines \x1b[31m[red]", markup=False, soft_wrap=True)
    assert file.getvalue() == "two\nlines \\x1b[31m[red]\n"


@pytest.mark.parametrize("indent", [0, 11])
def test_further_lines_stand_below_the_first(indent):
    text = wrapped("one two three four five six seven", 20, indent=indent)
    first, *others = text.split("\n")
    assert len(first) <= 20 - indent
    assert all(line.startswith(" " * indent) and len(line) <= 20 for line in others)
    assert text.split() == ["one", "two", "three", "four", "five", "six", "seven"]
