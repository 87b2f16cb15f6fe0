"""Every script judges a cell alike: what a run would train again is finished for no table, figure, export or dry run.

The scripts' `main` is called in this process, on copies of the stored study of 15 cells.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ablations.cell import Cell
from ablations.record import CellResult, Command, Failure, Record
from ablations.store import Store
from analysis.outcomes import Outcomes
from cnnkit.errors import UserError

STORED = Path(__file__).parents[1] / "data" / "results"
SCRIPTS = Path(__file__).parents[2] / "experiments"
NAMES = ("run_ablation", "status", "report", "figure", "export")


@pytest.fixture(scope="module")
def mains() -> dict[str, Callable[[list[str]], int]]:
    found = {}
    for name in NAMES:
        spec = importlib.util.spec_from_file_location(f"soundness_{name}", SCRIPTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        found[name] = module.main
    return found


@pytest.fixture
def root(tmp_path) -> Path:
    shutil.copytree(STORED, tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture
def keys(root) -> dict[tuple[str, int], str]:
    return {(row.arm, row.seed): row.key for row in Outcomes.from_store(root, "depth-smoke").cells.itertuples()}


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def add_weights(root: Path, key: str) -> Path:
    """The stored cells keep none: this one gets some."""
    from safetensors.numpy import load_file, save

    folder = root / "cells" / key
    record = Record.model_validate_json((folder / "record.json").read_bytes())
    same = {name: getattr(record, name) for name in vars(record) if name in CellResult.__dataclass_fields__}
    logits = load_file(folder / "logits.safetensors")
    shutil.rmtree(folder)
    result = CellResult(
        cell=Cell.model_validate(record.identity), weights=save({"w": logits["test_logits"]}), **same, **logits
    )
    Store(root).write(result)
    return folder / "weights.safetensors"


HARMS: dict[str, Callable[[Path, str], object]] = {
    "deleted logits": lambda root, key: (root / "cells" / key / "logits.safetensors").unlink(),
    "a flipped bit in the logits": lambda root, key: flipped(root / "cells" / key / "logits.safetensors"),
    "a flipped bit in the record": lambda root, key: flipped(root / "cells" / key / "record.json"),
    "a flipped bit in the weights": lambda root, key: flipped(add_weights(root, key)),
    "no record": lambda root, key: (root / "cells" / key / "record.json").unlink(),
    "an empty folder": lambda root, key: [file.unlink() for file in (root / "cells" / key).iterdir()],
}


@pytest.mark.parametrize("harm", HARMS)
def test_what_a_run_would_train_again_is_finished_for_nobody(mains, root, keys, harm, capsys, tmp_path):
    key = keys["3 blocks", 1]
    HARMS[harm](root, key)
    study = str(root / "studies" / "depth-smoke")

    def said(script: str, *arguments: str, code: int = 0) -> str:
        assert mains[script](list(arguments)) == code
        return capsys.readouterr().out

    row = next(line for line in said("status", str(root)).splitlines() if line.startswith("depth-smoke"))
    assert row.split()[1:7] == ["15", "14", "0", "0", "0", "1"]
    left_out = rf"1 of 15 cells left out: 1 damaged \({re.escape(str(root / 'cells' / key))}.*\)"
    exported = said("export", study, "--to", "csv", "--out", str(tmp_path / "csv"))
    assert "wrote 14 of 15 cells" in exported
    assert re.search(left_out, exported)
    assert re.search(left_out, said("report", study, "--out", str(tmp_path / "report")))
    drawn = said("figure", study, "cost", "--out", str(tmp_path / "cost.svg"))
    assert re.search(left_out, drawn)
    assert "not finished" not in drawn
    dry = ["--grid", "depth", "--protocol", "smoke", "--data", "sample", "--results", str(root), "--dry-run"]
    described = said("run_ablation", *dry)
    assert "15: 14 finished, 1 to train, 1 of them again since they are damaged" in described
    assert re.search(
        rf"{re.escape(str(root / 'cells' / key))}.*; a run moves it aside and trains the cell again", described
    )
    store = Store(root)
    assert len(store.set_damaged_aside(keys.values())) == 1, "what the run does"
    assert sum(not store.is_finished(one) for one in keys.values()) == 1


def test_one_line_says_how_many_cells_are_left_out_and_why(mains, root, keys, capsys, tmp_path):
    shutil.rmtree(root / "cells" / keys["2 blocks", 0])
    shutil.rmtree(root / "cells" / keys["2 blocks", 1])
    shutil.rmtree(root / "cells" / keys["6 blocks", 2])
    failure = Failure(key=keys["6 blocks", 2], arm="6 blocks", seed=2, kind="diverged", sentence="the loss became NaN")
    store = Store(root)
    store.write_failure(failure, "")
    flipped(root / "cells" / keys["3 blocks", 1] / "logits.safetensors")
    assert mains["report"]([str(root / "studies" / "depth-smoke"), "--out", str(tmp_path / "report")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("4 of 15 cells left out: 1 damaged, 1 diverged, 2 missing (")
    assert "logits.safetensors: altered since it was written" in lines[1]
    assert "6 blocks, seed 2 diverged: the loss became NaN" in lines[1]


def test_a_whole_study_says_nothing_of_what_is_left_out(mains, root, capsys, tmp_path):
    assert mains["report"]([str(root / "studies" / "depth-smoke"), "--out", str(tmp_path / "report")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


MANIFESTS: dict[str, Callable[[Path], object]] = {
    "text": lambda file: file.write_text("{"),
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "an edited one": lambda file: file.write_text(
        file.read_text().replace('"is_baseline": true', '"is_baseline": false')
    ),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_status_names_a_manifest_that_cannot_be_read_and_its_exit_code_says_so(mains, root, what, capsys):
    file = root / "studies" / "depth-smoke" / "study.json"
    MANIFESTS[what](file)
    assert mains["status"]([str(root)]) == 1
    lines = capsys.readouterr().out.splitlines()
    (named,) = [line for line in lines if str(file) in line]
    assert "it has" not in named, "a study that is there, and is not"
    assert [line.split()[0] for line in lines if line.startswith(("depth", "batch"))] == ["batch_norm_dropout-smoke"]


def test_status_of_nothing_but_an_unreadable_manifest_shows_no_table(mains, root, capsys):
    shutil.rmtree(root / "studies" / "batch_norm_dropout-smoke")
    (root / "studies" / "depth-smoke" / "study.json").write_text("{")
    assert mains["status"]([str(root)]) == 1
    assert "needed" not in capsys.readouterr().out.splitlines()[1]


def test_reports_and_figures_of_an_edited_manifest_are_refused_with_what_to_do(mains, root):
    store = Store(root)
    written = store.study("depth-smoke")
    (root / "studies" / "depth-smoke" / "study.json").unlink()
    about = store.about
    store = Store.open(root, data=about.data, data_description=about.data_description)
    store.write_study(written)
    file = root / "studies" / "depth-smoke" / "study.json"
    content = json.loads(file.read_text())
    for arm in content["arms"]:
        arm["is_baseline"] = arm["name"] == "2 blocks"
    file.write_text(json.dumps(content))
    for script, more in (("report", []), ("figure", ["forest"]), ("export", ["--to", "csv"])):
        with pytest.raises(
            UserError, match="altered since it was written; move it away and run the study's command again"
        ):
            mains[script]([str(file.parent), *more])


def test_a_report_says_that_it_does_not_know_how_often_a_study_was_looked_at(root):
    command = Command(time="2026-01-01T00:00:00+00:00", arguments=[], seeds=3, finished_before=9)
    Store(root).write_command("depth-smoke", command)
    (file,) = (root / "studies" / "depth-smoke" / "commands").iterdir()
    assert not any("how often" in remark for remark in Outcomes.from_store(root, "depth-smoke").remarks)
    file.write_text(file.read_text().replace('"finished_before": 9', '"finished_before": 0'))
    remarks = Outcomes.from_store(root, "depth-smoke").remarks
    assert (
        f"{file}: altered since it was written, so that it is not known how often the study was looked at." in remarks
    )


def test_a_key_that_leads_out_of_the_results_folder_is_a_sentence(mains, root):
    file = root / "studies" / "depth-smoke" / "study.json"
    upgraded = Store(root).study("depth-smoke").model_dump(mode="json")
    upgraded["cells"][0]["key"] = "../../../etc"
    file.write_text(json.dumps(upgraded))
    with pytest.raises(UserError, match=re.escape(str(file))):
        mains["report"]([str(file.parent)])


@pytest.mark.parametrize("here", ["studies", "studies/depth-smoke", "studies/depth-smoke/commands"])
def test_a_study_is_found_however_its_folder_is_called_from_here(mains, root, here, monkeypatch, tmp_path):
    (root / here).mkdir(exist_ok=True)
    monkeypatch.chdir(root / here)
    study = os.path.relpath(root / "studies" / "depth-smoke")
    for named in (study, f"{study}/study.json", f"{study}/../depth-smoke/."):
        assert mains["export"]([named, "--to", "csv", "--out", str(tmp_path / "csv")]) == 0


def test_a_study_is_found_through_a_link_and_not_without_its_results_folder(mains, root, tmp_path):
    link, alone = tmp_path / "link", tmp_path / "studies" / "alone"
    link.symlink_to(root / "studies" / "depth-smoke")
    assert mains["export"]([str(link), "--to", "csv", "--out", str(tmp_path / "csv")]) == 0
    shutil.copytree(link, alone)
    with pytest.raises(UserError, match=f"{re.escape(str(alone))} lies in no results folder"):
        mains["export"]([str(alone), "--to", "csv"])


def test_python_without_texts_is_one_sentence():
    command = [sys.executable, "-OO", str(SCRIPTS / "run_ablation.py"), "--grid", "depth", "--dry-run"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: Python's option -OO")
    assert len(result.stderr.splitlines()) == 1


def test_a_report_that_cannot_be_replaced_is_not_said_to_be_written(mains, root, capsys, monkeypatch):
    study = root / "studies" / "depth-smoke"
    assert mains["report"]([str(study)]) == 0
    page = study / "report" / "report.html"
    before = page.read_bytes()
    capsys.readouterr()

    def refused(source, target):
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr("analysis.report.os.rename", refused)
    with pytest.raises(UserError, match="Permission denied"):
        mains["report"]([str(study)])
    assert page.read_bytes() == before
    assert not [*study.glob("*.unfinished*")]


def test_a_link_in_the_place_of_a_report_is_replaced_and_what_it_names_stays(mains, root, tmp_path):
    study = root / "studies" / "depth-smoke"
    other = tmp_path / "other"
    other.mkdir()
    (other / "report.html").write_text("precious")
    (study / "report").symlink_to(other)
    assert mains["report"]([str(study)]) == 0
    assert "<html" in (study / "report" / "report.html").read_text(encoding="utf-8")
    assert not (study / "report").is_symlink()
    assert (other / "report.html").read_text() == "precious"
