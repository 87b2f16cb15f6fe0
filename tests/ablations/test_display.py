import io
from dataclasses import replace

import pytest
from rich.console import Console

from ablations.cell import Cell, SplitSizes
from ablations.display import LiveDisplay, PlainDisplay, Running, Tally, display_for
from ablations.plan import PlannedCell
from ablations.protocols import PROTOCOLS
from ablations.units import duration, size


@pytest.fixture
def cells() -> list[PlannedCell]:
    arm = PROTOCOLS["quick"].baseline()
    split = SplitSizes(train=100, validation=10, test=10)
    return [PlannedCell(arm, Cell.of(arm, data="x", split=split, seed=seed)) for seed in range(3)]


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100)


def test_a_terminal_gets_the_live_view_and_a_pipe_gets_lines():
    assert isinstance(display_for(terminal()), LiveDisplay)
    assert isinstance(display_for(Console(file=io.StringIO())), PlainDisplay)


def test_the_live_view_shows_what_runs_and_keeps_the_lines(cells):
    console = terminal()
    with display_for(console) as display:
        tally = Tally(total=3, finished=0, waiting=cells)
        display.update(tally)
        tally.begin(cells[0])
        tally.advance(cells[0], 0.5, 3, 0.4321)
        display.update(tally)
        display.live.refresh()
        tally.end(cells[0], failed=False)
        display.line("[1/3] a cell: done")
    shown = console.file.getvalue()
    assert "0 of 3 cells done, 1 running, 2 waiting" in shown
    assert "3/5" in shown
    assert "43.2%" in shown
    assert "[1/3] a cell: done" in shown


def test_a_name_that_looks_like_a_command_to_the_terminal_is_shown_as_it_is(cells):
    console = terminal()
    odd = [replace(cells[0], arm=cells[0].arm.model_copy(update={"name": name})) for name in ("[/]", "[red]wide")]
    with display_for(console) as display:
        tally = Tally(total=2, finished=0, waiting=[])
        for place, planned in enumerate(odd):
            tally.running[str(place)] = Running(planned)
        display.update(tally)
        display.live.refresh()
        display.line("it failed: \x1b]0;a title\x07")
    shown = console.file.getvalue()
    assert "[/]" in shown
    assert "[red]wide" in shown
    assert r"it failed: \x1b]0;a title\x07" in shown


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time, to be set."""
    now = [0.0]
    monkeypatch.setattr("ablations.display.time.monotonic", lambda: now[0])
    return now


def test_the_last_cell_takes_its_own_time_though_places_beside_it_are_empty(cells, clock):
    tally = Tally(total=2, finished=0, waiting=cells[:2])
    tally.begin(cells[0])
    tally.begin(cells[1])
    clock[0] = 60.0
    tally.end(cells[0], failed=False)
    tally.advance(cells[1], 0.5, 3, None)
    assert tally.seconds_left() == pytest.approx(60), "not half of it: nothing can help the last cell"


def test_cells_that_wait_take_the_places_of_those_that_end(cells, clock):
    tally = Tally(total=3, finished=0, waiting=cells)
    tally.begin(cells[0])
    tally.begin(cells[1])
    clock[0] = 60.0
    tally.advance(cells[0], 0.5, 3, None)
    tally.advance(cells[1], 0.25, 2, None)  # slower: 180 s more
    assert tally.seconds_left() == pytest.approx(max(180, 60 + 120 / 0.75))


def test_while_a_cell_is_trained_or_waits_the_time_left_is_not_0(cells, clock):
    tally = Tally(total=2, finished=0, waiting=cells[:2])
    tally.begin(cells[0])
    clock[0] = 60.0
    tally.advance(cells[0], 1.0, 5, None)
    tally.end(cells[0], failed=False)
    tally.begin(cells[1])
    clock[0] = 119.9
    tally.advance(cells[1], 0.99999, 5, None)
    assert tally.seconds_left() == 1.0
    tally.end(cells[1], failed=False)
    assert tally.seconds_left() == 0.0


def test_what_a_cell_had_done_before_it_was_interrupted_says_nothing_about_the_pace(cells, clock):
    tally = Tally(total=1, finished=0, waiting=cells[:1])
    tally.begin(cells[0], goes_on=True)
    clock[0] = 10.0  # its process starts
    tally.advance(cells[0], 0.8, 5, None)
    assert tally.seconds_left() is None
    clock[0] = 40.0
    tally.advance(cells[0], 0.9, 5, None)
    assert tally.seconds_left() == pytest.approx(30)


def test_time_left_follows_from_the_work_that_is_done(cells, clock):
    tally = Tally(total=3, finished=0, waiting=cells)
    assert tally.seconds_left() is None
    tally.begin(cells[0])
    clock[0] = 30.0
    tally.advance(cells[0], 0.5, 3, None)
    assert tally.seconds_left() == pytest.approx(150)  # half a cell of three in 30 s
    tally.end(cells[0], failed=False)
    assert tally.seconds_left() == pytest.approx(60)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(45.4, "45 s"), (720, "12 min"), (12_000, "3 h 20 min"), (2e6, "23 days"), (1e12, "31,710 years")],
)
def test_durations_for_people(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(950, "950"), (26_084_650, "26.1 M"), (762_680_320, "763 M"), (1.2e9, "1.2 G"), (4e12, "4 T")]
)
def test_counts_for_people(count, text):
    assert size(count) == text
