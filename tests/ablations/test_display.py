import io

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
        tally.running[cells[0].cell.key] = Running(cells[0], progress=0.5, epoch=3, validation_accuracy=0.4321)
        display.update(tally)
        display.live.refresh()
        tally.end(cells[0], failed=False)
        display.line("[1/3] a cell: done")
    shown = console.file.getvalue()
    assert "0 of 3 cells done, 1 running, 2 waiting" in shown
    assert "3/5" in shown
    assert "43.2%" in shown
    assert "[1/3] a cell: done" in shown


def test_time_left_follows_from_the_work_that_is_done(cells, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("ablations.display.time.monotonic", lambda: clock[0])
    tally = Tally(total=3, finished=0, waiting=cells)
    assert tally.seconds_left() is None
    tally.begin(cells[0])
    clock[0] = 30.0
    tally.running[cells[0].cell.key] = Running(cells[0], progress=0.5)
    assert tally.seconds_left() == pytest.approx(150)  # half a cell of three in 30 s
    tally.end(cells[0], failed=False)
    assert tally.seconds_left() == pytest.approx(60)


@pytest.mark.parametrize(("seconds", "text"), [(45.4, "45 s"), (720, "12 min"), (12_000, "3 h 20 min")])
def test_durations_for_people(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(950, "950"), (26_084_650, "26.1 M"), (762_680_320, "763 M"), (1.2e9, "1.2 G")]
)
def test_counts_for_people(count, text):
    assert size(count) == text
