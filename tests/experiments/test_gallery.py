"""`experiments/gallery.py` on a study that was trained here."""

import importlib.util
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ablations.arm import Arm
from ablations.job import Job
from ablations.plan import Plan, make_plan
from ablations.protocols import PROTOCOLS
from ablations.store import Store
from ablations.trial import result_of
from cnnkit.errors import UserError
from cnnkit.recipe import Recipe

SCRIPT = Path(__file__).parents[2] / "experiments" / "gallery.py"
SMALL = PROTOCOLS["smoke"].vary(
    spec=PROTOCOLS["smoke"].spec.vary(image_size=32, widths=(4, 8), hidden_width=0), recipe=Recipe(epochs=1)
)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("script_gallery", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    # tyro looks the class of the arguments up by its module
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


def grid(baseline: Arm) -> list[Arm]:
    """Does a third block matter?"""
    return [baseline, baseline.variant("3 blocks", {"blocks": 3}, widths=(4, 8, 8))]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, sample) -> Plan:
    """Two arms and two seeds; one cell kept no weights."""
    data = sample.subset(train=100, validation=50, test=100)
    root = tmp_path_factory.mktemp("script") / "results"
    store = Store.open(root, data=data.fingerprint, data_description=data.describe())
    protocol = SMALL.changed(split={"test": 100})
    plan = make_plan(grid, "g", protocol, sample, store, seeds=range(2), arguments=[], now="2026-01-01")
    store.write_study(plan.study)
    for planned in plan.cells:
        kept = (planned.arm.name, planned.cell.seed) != ("3 blocks", 1)
        job = Job(cell=planned.cell, arm=planned.arm.name, protocol="smoke", keep_weights=kept)
        store.write(result_of(job, plan.data))
    return plan


def shown(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "gallery.csv")


def test_the_flips_of_all_arms_are_written_in_sheets_with_a_table(script, trained, tmp_path, capsys):
    out = tmp_path / "gallery"
    arguments = [str(trained.store.root), "--out", str(out)]
    assert script.main([*arguments, "--images", "10"]) == 0
    said = capsys.readouterr().out
    assert f"wrote 2 sheets and gallery.csv to {out}" in said
    assert sorted(file.name for file in out.iterdir()) == [
        "gallery.csv",
        "looks.safetensors",
        "sheet-001.png",
        "sheet-002.png",
    ]
    table = shown(out).set_index(["image", "arm"])["right"].unstack()
    assert len(table) == 10
    assert (table["baseline"] != table["3 blocks"]).sum() >= 5, "at least one of two seeds flips each"
    with Image.open(out / "sheet-001.png") as image:
        assert image.width > 600
    assert plt.get_fignums() == []
    assert script.main([*arguments, "--images", "3"]) == 0
    assert sorted(file.name for file in out.iterdir()) == [
        "gallery.csv",
        "looks.safetensors",
        "sheet-001.png",
    ]  # replaced whole


def test_the_class_of_the_documented_figure_is_one_call(script, trained, tmp_path):
    out = tmp_path / "cats"
    arguments = [
        str(trained.store.root),
        "--data",
        "sample",
        "--classes",
        "cat",
        "--pick",
        "typical",
        "--out",
        str(out),
    ]
    assert script.main(arguments) == 0
    assert set(shown(out)["true_class"]) == {"cat"}


def test_weights_that_are_missing_are_named_and_the_rest_is_shown(script, trained, tmp_path, capsys):
    out = tmp_path / "gallery"
    root = str(trained.store.root)
    rest = ["--data", "sample", "--pick", "random", "--images", "2", "--out", str(out)]
    assert script.main([root, "--seeds", "0", "1", *rest]) == 1
    assert "not shown: 3 blocks, seed 1 has no weights" in capsys.readouterr().out
    assert shown(out)[["arm", "seed"]].drop_duplicates().to_numpy().tolist() == [
        ["baseline", 0],
        ["baseline", 1],
        ["3 blocks", 0],
    ]
    with pytest.raises(UserError, match="no network of these arms and seeds can be loaded"):
        script.main([root, "--arms", "3 blocks", "--seeds", "1", *rest])


def test_pictures_of_ones_own_need_no_data_set(script, trained, tmp_path, capsys):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    Image.fromarray(np.full((50, 70, 3), 120, np.uint8)).save(tmp_path / "photos" / "cat" / "mine.jpg")
    (tmp_path / "photos" / "notes.txt").write_text("hello")
    out = tmp_path / "out"
    arguments = [str(trained.store.root), "--folder", str(tmp_path / "photos"), "--out", str(out)]
    assert script.main([*arguments, "--data", "/nowhere"]) == 1
    assert "left out: notes.txt is not a readable picture" in capsys.readouterr().out
    assert shown(out)["image"].tolist() == ["mine.jpg"] * 2


def test_of_a_folder_of_all_sorts_the_pictures_are_shown_and_the_rest_is_named(script, trained, tmp_path, capsys):
    folder = tmp_path / "all sorts"
    folder.mkdir()
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    Image.fromarray(ramp.astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(np.dstack([ramp] * 4)).save(folder / "glass.png")
    Image.fromarray(ramp).convert("CMYK").save(folder / "print.jpg")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    (folder / "clip.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom")
    (folder / "photo.heic").write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")
    (folder / "notes.txt").write_text("hello")
    out = tmp_path / "out"
    assert script.main([str(trained.store.root), "--folder", str(folder), "--out", str(out)]) == 1
    said = capsys.readouterr().out
    for name in ("clip.mp4", "photo.heic", "notes.txt"):
        assert f"left out: {name} is not a readable picture" in said
    assert "NA" not in said  # whether an answer is right is not known
    assert sorted(set(shown(out)["image"])) == ["deep.png", "dot.png", "glass.png", "print.jpg"]
    for name in ("deep.png", "glass.png", "print.jpg", "dot.png"):
        (folder / name).unlink()
    with pytest.raises(UserError, match="none of the files is a readable picture"):
        script.main([str(trained.store.root), "--folder", str(folder), "--out", str(tmp_path / "none")])
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--classes", "kat"], "no class 'kat': did you mean 'cat'"),
        (["--pick", "flip"], "no pick 'flip': did you mean 'flips'"),
        (["--cam", "gradcam+"], "no method 'gradcam[+]': did you mean"),
        (["--target", "truth"], "no target 'truth'"),
        (["--arms", "9 blocks"], "no arm '9 blocks': did you mean '3 blocks'"),
        (["--seeds", "7"], "--seeds 7: the study has 0, 1"),
        (["--images", "0"], "--images 0"),
        (["--device", "tpu"], "--device tpu"),
        (["--code", "/nowhere"], "--code /nowhere is no folder"),
        (["--folder", "/nowhere"], "no folder of pictures at /nowhere"),
        (["--folder", ".", "--classes", "cat"], "--classes choose among test images"),
        (["--layer", "bloks.0", "--pick", "random"], "no layer 'bloks.0'; did you mean 'blocks.0'"),
    ],
)
def test_what_is_not_there_is_one_sentence(script, trained, tmp_path, arguments, words):
    out = tmp_path / "out"
    with pytest.raises(UserError, match=words):
        script.main([str(trained.store.root), "--data", "sample", "--out", str(out), *arguments])
    assert not out.exists()
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_things_is_not_replaced(script, trained, tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(UserError, match="holds something that is not a gallery"):
        script.main([str(trained.store.root), "--data", "sample", "--out", str(tmp_path)])
    assert (tmp_path / "thesis.tex").exists()
