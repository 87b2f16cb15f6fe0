"""Studies as earlier versions left them: found, read and tabled as then, whatever has changed since."""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from ablations.record import looks
from ablations.store import Store
from analysis.outcomes import Outcomes
from analysis.study_tables import StudyTables

STORED = Path(__file__).parent / "stored"
TESTS_DATA = Path(__file__).parents[1] / "data"
STUDIES = [
    *((STORED / "format-1-studies", folder) for folder in sorted((STORED / "format-1-studies" / "expected").iterdir())),
    *((TESTS_DATA / "results", folder) for folder in sorted((TESTS_DATA / "expected").iterdir())),
]
"""A results folder and its study's tables as the code that wrote it made them."""


@pytest.mark.parametrize(("root", "expected"), STUDIES, ids=lambda path: path.name)
def test_a_study_of_format_1_has_the_same_tables_after_the_numerics_were_raised(monkeypatch, root, expected):
    monkeypatch.setattr("cnnkit.recipe.NUMERICS", 7)
    monkeypatch.setattr("ablations.cell.NUMERICS", 7)
    study = StudyTables(Outcomes.from_store(root, expected.name))
    cells = pd.read_csv(expected / "cells.csv")
    cells["changes"] = cells["changes"].str.removesuffix("; ")  # of a network without arguments
    pd.testing.assert_frame_equal(read_back(study.outcomes.cells)[[*cells]], cells, check_exact=True)
    tables = {"effects": study.effects, "factors": study.factor_effects}
    for file in sorted({expected / f"{name}.csv" for name in tables} & {*expected.iterdir()}):
        before, now = pd.read_csv(file), read_back(tables[file.stem])
        # Intervals and p-values are the statistics', which may become better ones.
        measured = [*before.loc[:, :"delta"], *before.columns.intersection(["paired_seeds", "seconds"])]
        if "changes" in before:
            before["changes"] = before["changes"].str.removesuffix("; ")
        pd.testing.assert_frame_equal(now[measured], before[measured], rtol=1e-12)


def test_a_manifest_with_fields_of_a_later_version_is_read(tmp_path):
    root = tmp_path / "results"
    shutil.copytree(STORED / "format-1-studies", root)
    for name in Store(root).studies():
        file = root / "studies" / name / "study.json"
        manifest = json.loads(file.read_text())
        for arm in manifest["arms"]:
            arm["colour"] = "blue"
            arm["spec"]["stochastic_depth"] = 0.0
            arm["recipe"]["mixup"] = 0
            arm["recipe"]["augmentation"]["cutout"] = False
        manifest["split"]["held_out"] = 0
        file.write_text(json.dumps(manifest))
        assert set(Outcomes.from_store(root, name).cells["status"]) == {"finished"}


def test_reading_imports_and_calls_nothing_that_a_manifest_names(tmp_path):
    root = tmp_path / "results"
    shutil.copytree(STORED / "format-1-studies", root)
    mark = tmp_path / "was_here"
    (tmp_path / "trap_module.py").write_text(f"import pathlib; pathlib.Path({str(mark)!r}).touch()\ndef make(): pass\n")
    file = root / "studies" / "squeeze_excitation-smoke" / "study.json"
    manifest = json.loads(file.read_text())
    manifest["costs"] = {}
    manifest["arms"][1]["spec"]["factory"] = "trap_module:make"
    manifest["arms"][2]["spec"].update(factory="subprocess:getoutput", arguments={"cmd": f"touch {mark}"})
    file.write_text(json.dumps(manifest))
    sys.path.insert(0, str(tmp_path))
    try:
        outcomes = Outcomes.from_store(root, "squeeze_excitation-smoke")
    finally:
        sys.path.remove(str(tmp_path))
    assert not mark.exists()
    assert [arm.costs is None for arm in outcomes.arms] == [False, True, True, True]


def test_a_manifest_of_format_1_that_is_written_anew_keeps_its_history_and_its_cells(tmp_path):
    root = tmp_path / "results"
    shutil.copytree(TESTS_DATA / "results", root)
    store = Store(root)
    study, commands = store.study("depth-smoke"), store.commands("depth-smoke")
    store.write_study(study)
    assert json.loads((root / "studies/depth-smoke/study.json").read_text())["format"] == 2
    assert store.study("depth-smoke") == study
    assert store.commands("depth-smoke") == commands
    assert len(looks(commands)) == 1


def read_back(table: pd.DataFrame) -> pd.DataFrame:
    """As a CSV file gives it."""
    from io import StringIO

    return pd.read_csv(StringIO(table.to_csv(index=False)))
