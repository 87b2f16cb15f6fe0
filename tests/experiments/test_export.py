import importlib.util
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from tensorboardX.proto.event_pb2 import Event

from ablations.store import Store
from analysis.export import MARK
from analysis.outcomes import Outcomes
from cnnkit.errors import UserError

STORED = Path(__file__).parents[1] / "data" / "results"
SCRIPT = Path(__file__).parents[2] / "experiments" / "export.py"
STUDY = str(STORED / "studies" / "depth-smoke")


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("export_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.main


def events(folder: Path) -> Iterator[Event]:
    """As TensorBoard reads them: length, checksum, event, checksum."""
    for file in folder.glob("events*"):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


@pytest.mark.parametrize("name", ["\N{CJK UNIFIED IDEOGRAPH-4E00}" * 200, "\U00020000" * 200, "a/b" * 60])
def test_a_long_name_in_any_script_is_no_longer_than_a_file_name_may_be(name):
    from analysis.export import _file_name

    assert 20 < len(f"12 {_file_name(name)}, seed 1000000".encode()) < 255
    assert "/" not in _file_name(name)


def test_tensorboard_shows_every_curve_the_hyperparameters_and_the_final_numbers(main, tmp_path, capsys):
    out = tmp_path / "runs"
    assert main([STUDY, "--to", "tensorboard", "--out", str(out)]) == 0
    assert "15 of 15 cells" in capsys.readouterr().out
    outcomes = Outcomes.from_store(STORED, "depth-smoke")
    runs = sorted(folder for folder in out.iterdir() if folder.is_dir())
    assert len(runs) == 15
    assert runs[0].name == "01 2 blocks, seed 0"
    found = [(value, event.step) for event in events(runs[0]) for value in event.summary.value]
    curve = outcomes.epochs.query("arm == '2 blocks' and seed == 0").set_index("epoch")
    for name in ("train_loss", "validation_loss", "validation_accuracy"):
        shown = {step: value.simple_value for value, step in found if value.tag == name}
        assert shown == pytest.approx(curve[name].to_dict())
    cell = outcomes.cells.query("arm == '2 blocks' and seed == 0").iloc[0]
    final = {value.tag: value.simple_value for value, _ in found}
    assert final["final/test_accuracy"] == pytest.approx(cell["test_accuracy"])
    fields = b"".join(value.metadata.plugin_data.content for value, _ in found)
    for name in (b"spec.batch_norm", b"recipe.learning_rate", b"recipe.augmentation.flip", b"level.blocks", b"32, 64"):
        assert name in fields


def test_csv_has_a_row_an_epoch_and_a_row_a_cell(main, tmp_path):
    main([STUDY, "--to", "csv", "--out", str(tmp_path / "csv")])
    curves, cells = (pd.read_csv(tmp_path / "csv" / f"{name}.csv") for name in ("curves", "cells"))
    assert len(curves) == 30
    assert len(cells) == 15
    outcomes = Outcomes.from_store(STORED, "depth-smoke")
    assert cells["test_accuracy"].tolist() == pytest.approx(outcomes.cells["test_accuracy"].tolist())
    assert cells["recipe.learning_rate"].tolist() == [1e-4] * 15
    assert cells["spec.widths"][0] == "32, 64"


def test_a_study_half_way_exports_what_is_there_and_again_later(main, tmp_path, capsys):
    root = tmp_path / "results"
    shutil.copytree(STORED, root)
    store = Store(root)
    cells = store.study("depth-smoke").cells
    shutil.rmtree(store.cell_folder(cells[0].key))
    folder = root / "studies" / "depth-smoke"
    for kind in ("tensorboard", "csv"):
        for _ in range(2):
            assert main([str(folder), "--to", kind]) == 0
        assert "14 of 15 cells" in capsys.readouterr().out
    assert len([run for run in (folder / "tensorboard").iterdir() if run.is_dir()]) == 14
    assert len(pd.read_csv(folder / "csv" / "cells.csv")) == 15


def test_what_is_no_export_is_left_alone(main, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    with pytest.raises(UserError, match="something that is not an export"):
        main([STUDY, "--to", "csv", "--out", str(tmp_path / "mine")])
    with pytest.raises(UserError, match="cannot write /proc/export"):
        main([STUDY, "--to", "csv", "--out", "/proc/export"])
    assert not (tmp_path / "mine" / MARK).exists()
