import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.stimuli import PACKAGED, read_stimuli, write_packaged
from cnnkit.data import CLASSES
from cnnkit.errors import UserError


@pytest.fixture(scope="module")
def packaged():
    return read_stimuli()


def write(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


@pytest.fixture
def folder(tmp_path: Path, packaged) -> Path:
    """The first 20 stimuli and their silhouettes in the public layout."""
    few = packaged.only(np.arange(len(packaged)) < 20)
    for name, shape, image in zip(few.table["name"], few.table["shape"], few.images, strict=True):
        write(tmp_path / "cue-conflict" / shape / f"{name}.png", np.moveaxis(image, 0, -1))
    for instance in set(few.table["shape_instance"]):
        shape = instance.rstrip("0123456789")
        write(
            tmp_path / "silhouettes" / shape / f"{instance}.png",
            np.where(packaged.masks[instance], 0, 255).astype("uint8"),
        )
    return tmp_path


def test_the_packaged_stimuli_are_those_of_seven_categories_with_all_their_silhouettes(packaged):
    assert len(packaged) == 245
    assert packaged.conflict.sum() == 210
    assert packaged.categories == ("airplane", "bird", "boat", "car", "cat", "dog", "truck")
    assert packaged.table["shape_instance"].nunique() == 67
    assert packaged.table["texture_instance"].nunique() == 21
    assert set(packaged.masks) == set(packaged.table["shape_instance"])
    assert (packaged.pairs.value_counts() == 5).all()
    assert packaged.images.shape == (245, 3, 224, 224)
    assert sum(file.stat().st_size for file in PACKAGED.iterdir()) < 12e6


def test_the_silhouettes_are_the_outlines_of_the_stimuli(packaged):
    """Edges of a stimulus lie on its own silhouette's outline more than on others', averaged over shapes."""
    grey = packaged.images.mean(axis=1)
    edges = np.abs(np.diff(grey, axis=1))[:, :, :-1] + np.abs(np.diff(grey, axis=2))[:, :-1]
    outlines = {
        name: (mask[:-1, :-1] != mask[1:, :-1]) | (mask[:-1, :-1] != mask[:-1, 1:])
        for name, mask in packaged.masks.items()
    }
    own, other = [], []
    names = list(outlines)
    for k, instance in enumerate(packaged.table["shape_instance"]):
        relative = edges[k] / edges[k].mean()
        own.append(relative[outlines[instance]].mean())
        other.append(relative[outlines[names[(names.index(instance) + 30) % 67]]].mean())
    assert np.mean(own) > 1.2 * np.mean(other)


def test_a_folder_in_the_public_layout_gives_the_same(folder, packaged):
    found = read_stimuli(folder)
    few = packaged.only(np.arange(len(packaged)) < 20)
    assert found.table.equals(few.table)
    assert np.array_equal(found.images, few.images)
    assert all(np.array_equal(found.masks[name], packaged.masks[name]) for name in set(few.table["shape_instance"]))
    assert found.remark == ""
    assert read_stimuli(folder / "cue-conflict").table.equals(few.table)


def test_of_sixteen_categories_those_that_the_classes_can_name_are_kept(folder, packaged):
    write(folder / "cue-conflict" / "bear" / "bear1-cat2.png", np.moveaxis(packaged.images[0], 0, -1))
    write(
        folder / "cue-conflict" / "cat" / "0001_cue_dnn_00_cat_00_cat1-oven3.png",
        np.moveaxis(packaged.images[0], 0, -1),
    )
    found = read_stimuli(folder)
    assert set(found.table["name"].tail(2)) <= {"bear1-cat2", "cat1-oven3"} | set(packaged.table["name"])
    assert len(found) == 22
    assert found.of_classes(CLASSES).table.equals(read_stimuli(folder).of_classes(CLASSES).table)
    assert len(found.of_classes(CLASSES)) == 20


def test_what_cannot_be_used_is_named_counted_and_left_out(folder):
    cats = folder / "cue-conflict" / "airplane"
    good = next(cats.iterdir())
    (cats / "airplane1-cat1.png").write_bytes(good.read_bytes()[:200])
    (cats / "airplane1-cat2.png").write_bytes(b"not a picture")
    shutil.copy(good, cats / "holiday.png")
    shutil.copy(good, cats / f"0001_{good.name}")
    write(cats / "airplane1-dog1.png", np.zeros((64, 64, 3), "uint8"))
    write(cats / "airplane1-dog2.png", np.zeros((64, 32, 3), "uint8"))
    silhouette = folder / "silhouettes" / "airplane" / "airplane2.png"
    silhouette.unlink()
    (folder / "silhouettes" / "airplane" / "airplane3.png").write_bytes(b"")
    found = read_stimuli(folder)
    assert len(found) == 20
    assert {"airplane2", "airplane3"}.isdisjoint(found.masks)
    for part in (
        "2 left out: not a readable image (airplane1-cat1.png, airplane1-cat2.png)",
        "1 left out: not named like cat7-truck2.png (holiday.png)",
        "1 left out: a second stimulus of this name",
        "1 left out: 64x64 pixels, most have 224x224 (airplane1-dog1.png)",
        "1 left out: not square (airplane1-dog2.png)",
        "1 left out: no silhouette",
        "1 left out: a silhouette that is not a readable image (airplane3.png)",
    ):
        assert part in found.remark


def test_a_folder_without_stimuli_is_refused_in_one_sentence(tmp_path, folder):
    with pytest.raises(UserError, match="no folder of stimuli"):
        read_stimuli(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no PNG images"):
        read_stimuli(tmp_path / "empty")
    write(tmp_path / "photos" / "me.png", np.zeros((8, 8, 3), "uint8"))
    with pytest.raises(UserError, match="holds no stimulus that can be used: of 1 PNG images all are left out"):
        read_stimuli(tmp_path / "photos")


def test_classes_that_the_stimuli_do_not_have_are_refused_in_one_sentence(packaged):
    with pytest.raises(UserError, match=r"this needs classes that the stimuli have .* the data's are 0, 1, 2, \.\.\."):
        packaged.of_classes([str(digit) for digit in range(10)])


def test_stimuli_are_shrunk_without_aliasing(packaged):
    """As area averages of 7x7 pixels but for the filter's shape: means agree, and fine stripes turn grey."""
    small = packaged.shrunk(32)
    assert small.shape == (245, 3, 32, 32)
    assert small.dtype == np.uint8
    blocks = packaged.images.reshape(245, 3, 32, 7, 32, 7).mean(axis=(3, 5))
    assert np.abs(small - blocks).mean() < 4
    stripes = np.zeros((1, 3, 224, 224), "uint8")
    stripes[..., ::2] = 255
    from dataclasses import replace

    grey = replace(packaged.only(np.arange(245) < 1), images=stripes).shrunk(32)
    assert np.abs(grey.astype(int) - 127).max() < 12


def test_what_is_packaged_looks_the_same(tmp_path, packaged, monkeypatch):
    """Written and read again: at 224 pixels within 2.5 grey levels on average, at 32 pixels within a quarter."""
    few = packaged.only(np.arange(len(packaged)) % 40 == 0)
    write_packaged(few, tmp_path)
    monkeypatch.setattr("analysis.stimuli.PACKAGED", tmp_path)
    again = read_stimuli()
    assert again.table.equals(few.table)
    assert np.abs(again.images.astype(int) - few.images).mean() < 2.5
    assert np.abs(again.shrunk(32).astype(int) - few.shrunk(32)).mean() < 0.25
    assert set(again.masks) == set(few.masks)


def test_the_packaged_stimuli_say_whose_they_are():
    text = (PACKAGED / "ATTRIBUTION.md").read_text()
    assert "Geirhos" in text
    assert "CC BY 4.0" in text
    assert "Changed" in text
