import pytest

from cnnkit.decoding import Canvas, _Worker
from cnnkit.errors import UserError


def test_a_worker_that_was_killed_is_one_sentence(tmp_path):
    with _Worker(Canvas(tmp_path / "canvas", 1, 3, 8)) as worker:
        worker.process.kill()
        worker.process.wait()
        with pytest.raises(UserError, match="a process that decoded pictures was ended"):
            worker((0, [b"x"]))


def test_a_worker_whose_file_an_interrupted_command_has_removed_ends_without_a_word(tmp_path, capfd):
    with _Worker(Canvas(tmp_path / "gone" / "canvas", 1, 3, 8)) as worker:
        with pytest.raises(UserError, match="a process that decoded pictures was ended"):
            worker((0, [b"x"]))
        assert worker.process.wait(30) == 0
    assert capfd.readouterr().err == ""
