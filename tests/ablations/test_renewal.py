import shutil
import sys
import time
from pathlib import Path

import pytest

from ablations.renewal import Renewal, finished_with_a_pair
from ablations.store import Store

STORED = Path(__file__).parents[1] / "data" / "results"
NOTE = "import pathlib, sys; (pathlib.Path(sys.argv[1]) / 'page').write_text('here')"
WORK = f"import time, math; end = time.process_time() + 0.3\nwhile time.process_time() < end: math.sqrt(2)\n{NOTE}"


@pytest.fixture
def folder(tmp_path) -> Path:
    shutil.copytree(STORED, tmp_path / "results")
    return tmp_path / "results" / "studies" / "depth-smoke"


def leave(folder: Path, *cells: tuple[str, int]) -> None:
    """Takes away all other cells of the study."""
    store = Store(folder.parent.parent)
    for cell in store.study(folder.name).cells:
        if (cell.arm, cell.seed) not in cells:
            shutil.rmtree(store.cell_folder(cell.key), ignore_errors=True)


def wait_for(renewal: Renewal, folder: Path, count: int, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while renewal.renewals < count and time.monotonic() < end:
        renewal(folder)
        time.sleep(0.02)


def test_there_is_a_page_from_the_first_pair_on(folder):
    leave(folder, ("4 blocks", 0), ("2 blocks", 1))  # no seed in common
    assert not finished_with_a_pair(folder)
    with Renewal([sys.executable, "-c", NOTE], cores=2, start=0, first=0, pause=0) as renewal:
        wait_for(renewal, folder, 1, seconds=0.3)
        assert not (folder / "page").exists()
        leave(folder)
        shutil.copytree(STORED / "cells", folder.parent.parent / "cells", dirs_exist_ok=True)
        leave(folder, ("4 blocks", 0), ("2 blocks", 0))
        assert len(finished_with_a_pair(folder)) == 2
        wait_for(renewal, folder, 1)
    assert (folder / "page").read_text() == "here"


def test_where_no_cell_has_finished_since_nothing_is_renewed(folder):
    with Renewal([sys.executable, "-c", NOTE], cores=2, start=0, first=0, pause=0) as renewal:
        wait_for(renewal, folder, 1)
        (folder / "page").unlink()
        wait_for(renewal, folder, 2, seconds=0.3)
        assert not (folder / "page").exists()


def test_the_next_renewal_waits_until_the_last_has_cost_one_percent(folder):
    with Renewal([sys.executable, "-c", WORK], cores=2, start=0, first=0, pause=0) as renewal:
        wait_for(renewal, folder, 1)
        assert renewal._next - time.monotonic() > 0.9 * 0.3 / 2 / 0.01


def test_the_first_renewal_too_waits_until_it_costs_one_percent(folder):
    with Renewal([sys.executable, "-c", NOTE], cores=2, start=0, first=4.0) as renewal:
        assert renewal._next - time.monotonic() > 0.9 * 4.0 / 2 / 0.01
        renewal(folder)
        assert renewal._process is None


def test_a_command_that_still_runs_ends_with_the_study(folder):
    with Renewal([sys.executable, "-c", "import time; time.sleep(60)"], cores=2, start=0, first=0) as renewal:
        renewal(folder)
        process = renewal._process
    assert process is not None
    assert process.returncode is not None


def test_a_folder_that_cannot_be_read_ends_no_study(tmp_path):
    with Renewal([sys.executable, "-c", NOTE], cores=2, start=0, first=0) as renewal:
        renewal(tmp_path / "results" / "studies" / "none")
        assert renewal._process is None
