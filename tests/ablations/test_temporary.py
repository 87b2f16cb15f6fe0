import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ablations import temporary
from ablations.temporary import LONGEST, end_helpers, remove_left_overs, short_temporary_folder, study_folder
from cnnkit.errors import UserError

SESSION = (
    "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"  # Ray's, with the highest process id of Linux
)

SLEEP = shutil.which("sleep") or "/bin/sleep"


@pytest.fixture
def tmpdir_is(monkeypatch):
    """Sets TMPDIR; what a path resolves to is remembered by Python otherwise."""

    def change(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        return folder

    return change


@pytest.mark.parametrize("length", [4, 15, 16, 17, 20, 21, 24, 25, 29, 30, 60])
def test_sockets_have_names_that_fit_whatever_the_length_of_tmpdir(tmpdir_is, length):
    base = tmpdir_is(Path("/tmp/" + "x" * (length - 5)) if length > 5 else Path("/tmp"))
    try:
        with study_folder() as folder:
            assert len(f"{folder}/{SESSION}") <= 107
            assert folder.parent == (base if length <= LONGEST else Path("/tmp"))
        assert not folder.exists()
    finally:
        if base != Path("/tmp"):
            base.rmdir()


def test_at_least_sixteen_characters_are_short_enough():
    assert LONGEST >= 16


def test_where_no_folder_will_do_a_sentence_says_which_would(tmpdir_is, monkeypatch, tmp_path):
    tmpdir_is(tmp_path / ("x" * 60))
    monkeypatch.setattr(temporary.os, "access", lambda folder, mode: folder != Path("/tmp"))
    with pytest.raises(UserError, match=f"at most {LONGEST} characters"):
        short_temporary_folder()


def short_folder(tmpdir_is) -> Path:
    return tmpdir_is(Path(tempfile.mkdtemp(prefix="t", dir="/tmp")))


HOLD = """
import sys, tempfile
from ablations.temporary import study_folder
tempfile.tempdir = sys.argv[1]
with study_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def another_study(base: Path) -> tuple[subprocess.Popen, Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(base)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_running_studys_folder_stays_also_where_there_is_no_proc(tmpdir_is, monkeypatch):
    base = short_folder(tmpdir_is)
    process, folder = another_study(base)
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda self: not str(self).startswith("/proc") and exists(self))
    with process:
        remove_left_overs()
        assert folder.is_dir()
        process.communicate("")
    assert not folder.exists()
    base.rmdir()


def test_a_killed_studys_folder_is_removed_also_when_its_process_id_runs_again(tmpdir_is):
    base = short_folder(tmpdir_is)
    process, folder = another_study(base)
    with process:
        process.kill()
    (folder / "session").mkdir()
    assert folder.is_dir()
    remove_left_overs()
    assert not folder.exists()
    base.rmdir()


def test_folders_of_others_are_left_alone(tmpdir_is):
    base = short_folder(tmpdir_is)
    mine = base / "ablations-notes"
    mine.mkdir()
    (mine / "thesis.tex").write_text("x")
    remove_left_overs()
    assert [file.name for file in mine.iterdir()] == ["thesis.tex"]
    (mine / "thesis.tex").unlink()
    mine.rmdir()
    base.rmdir()


@pytest.fixture
def agent():
    """A process under a title of Ray's that carries no mark, in a group of its own."""
    with subprocess.Popen(["ray::DashboardAgent", "60"], executable=SLEEP, process_group=0) as process:
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes():  # its program is being loaded
            time.sleep(0.001)
        yield process
        process.kill()


def test_a_process_whose_title_has_taken_the_place_of_its_mark_is_known_by_its_group(agent, tmp_path):
    # As Ray's agents do, which write their title over a part of their environment.
    with subprocess.Popen([SLEEP, "60"], process_group=agent.pid) as other:
        end_helpers(tmp_path)
        assert agent.poll() is None
        end_helpers(tmp_path, [agent.pid])
        assert agent.wait(30) == -9
        assert other.poll() is None
        other.kill()


def test_a_process_that_is_just_starting_is_found_by_the_next_search(agent, tmp_path, monkeypatch):
    searches = iter([[], [agent.pid]])
    monkeypatch.setattr(temporary, "_helpers", lambda folder, groups: next(searches, []))
    end_helpers(tmp_path)
    assert agent.wait(30) == -9
