import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ablations.record import Command
from analysis.outcomes import Outcomes
from analysis.study_images import find_images
from analysis.thumbnails import TestImages
from cnnkit.data import SAMPLE
from cnnkit.errors import UserError

STORED = Path(__file__).parents[1] / "data" / "results"


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    return Outcomes.from_store(STORED, "depth-smoke")


def test_the_images_of_a_study_have_its_labels(outcomes):
    found = find_images(outcomes)
    assert isinstance(found, TestImages)
    assert np.array_equal(found.labels, outcomes.labels)


def test_they_are_found_where_the_studys_command_found_them(outcomes, tmp_path, monkeypatch):
    """A description that does not say where its data came from."""
    shutil.copytree(SAMPLE, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    about = outcomes.study
    command = Command(time="2026-01-01", arguments=["--data", str(tmp_path / "mine")], seeds=3, finished_before=0)
    own = about.data.model_copy(update={"source": "other"})
    assert isinstance(find_images(replace(outcomes, study=replace(about, data=own, commands=(command,)))), TestImages)


def test_reading_a_study_calls_no_function_that_its_commands_name(outcomes, tmp_path, monkeypatch):
    (tmp_path / "malicious_data.py").write_text("open('executed', 'w').close()\ndef make(): pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    about = outcomes.study
    command = Command(time="2026-01-01", arguments=["--data", "malicious_data:make"], seeds=3, finished_before=0)
    other = about.data.model_copy(update={"fingerprint": "0" * 16})
    assert "was not found" in find_images(replace(outcomes, study=replace(about, data=other, commands=(command,))))
    assert not (tmp_path / "executed").exists()


def test_other_data_are_not_taken_for_the_studys(outcomes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    about = outcomes.study
    other = about.data.model_copy(update={"fingerprint": "0" * 16})
    elsewhere = replace(outcomes, study=replace(about, data=other, commands=()))
    assert "was not found" in find_images(elsewhere)
    with pytest.raises(UserError, match="holds other data"):
        find_images(elsewhere, "sample")
    with pytest.raises(UserError, match="no data folder"):
        find_images(elsewhere, str(tmp_path / "nothing"))
