"""Data sets that functions return, and torchvision's names."""

import time

import numpy as np
import pytest
from PIL import Image

from cnnkit.data import load
from cnnkit.description import DataOptions
from cnnkit.errors import UserError
from cnnkit.readers import torchvision_names
from cnnkit.search_paths import add_search_paths

MODULE = """
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import Dataset, TensorDataset

DIGITS = load_digits()
IMAGES = (DIGITS.images * (255 / 16)).round().astype(np.uint8)


def arrays():
    return IMAGES, DIGITS.target


def parts():
    return {
        "train": (IMAGES[:1500], DIGITS.target[:1500]), "test": (IMAGES[1500:] / 255, DIGITS.target[1500:]),
        "name": "digits", "classes": [f"digit {i}" for i in range(10)], "groups": {"small": ["digit 0", "digit 1"]},
    }


def dataset():
    return TensorDataset(torch.from_numpy(IMAGES).float()[:, None] / 255, torch.from_numpy(DIGITS.target))


class Photos(Dataset):
    classes = ["nought", "other"]

    def __len__(self):
        return 60

    def __getitem__(self, index):
        from PIL import Image

        size = (20 + index % 3, 20)
        return Image.fromarray(IMAGES[index]).convert("RGB").resize(size), int(DIGITS.target[index] > 0)


def videos():
    return {**parts(), "test_clusters": [f"video {i // 9}" for i in range(297)]}


def few_videos():
    return {**parts(), "test_clusters": [1, 2]}


def nothing():
    return None


def broken():
    raise RuntimeError("no data today")


def unequal():
    return IMAGES, DIGITS.target[:5]


def normalised():
    return (IMAGES - 128.0) / 64, DIGITS.target


def strange():
    return {"training": (IMAGES, DIGITS.target)}


def out_of_range():
    return {"train": (IMAGES, DIGITS.target), "classes": ["a", "b"]}


def no_group():
    return {**parts(), "groups": {"x": ["digit 11"]}}


not_a_function = 3
"""


@pytest.fixture(autouse=True)
def _module(tmp_path):
    (tmp_path / "digit_data.py").write_text(MODULE)
    add_search_paths([str(tmp_path)])


def test_arrays_of_a_function_are_a_data_set():
    data = load("digit_data:arrays")
    assert data.train.images.shape == (1437, 1, 8, 8)
    assert [len(part) for part in data.parts] == [1437, 180, 180]
    assert data.about.name == "digit_data"
    assert data.about.classes == tuple("0123456789")


def test_parts_names_and_groups_of_a_function_are_kept():
    data = load("digit_data:parts")
    assert (data.about.name, data.about.classes[3], len(data.test)) == ("digits", "digit 3", 297)
    assert data.about.groups == {"small": ("digit 0", "digit 1")}


def test_a_torch_dataset_is_the_data_set_of_its_arrays():
    assert load("digit_data:dataset").fingerprint == load("digit_data:arrays").fingerprint


def test_pictures_of_several_sizes_are_stored_in_one():
    data = load("digit_data:Photos")
    assert data.train.images.shape[1:] == (3, 20, 20)
    assert data.about.classes == ("nought", "other")
    assert load("digit_data:Photos", options=DataOptions(size=10)).train.images.shape[1:] == (3, 10, 10)


def test_test_images_that_belong_together_are_told(sample):
    data = load("digit_data:videos")
    whole = load("digit_data:parts")
    assert np.array_equal(data.test.images, whole.test.images)
    clusters = data.description.test_clusters
    assert sorted(np.bincount(clusters).tolist()) == [9] * 33
    namespace: dict = {}
    exec(MODULE, namespace)
    originals = {image.tobytes(): i // 9 for i, image in enumerate(namespace["IMAGES"][1500:])}
    of_video = [originals[image.tobytes()] for image in data.test.images]
    assert len(set(zip(of_video, clusters, strict=True))) == 33, "one number a video"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("few_videos", "test_clusters of shape"),
        ("nothing", "expected a pair of arrays or a torch Dataset, got NoneType"),
        ("broken", "failed with RuntimeError: no data today"),
        ("unequal", "1797 training images and 5 classes"),
        ("normalised", "pixels from -2 to"),
        ("strange", "returned 'training', which means nothing"),
        ("out_of_range", "is not one of the 2"),
        ("no_group", "no class 'digit 11'"),
        ("not_a_function", "cannot be called"),
        ("absent", "has no function 'absent'"),
    ],
)
def test_what_is_wrong_with_a_function_is_one_sentence(name, words):
    with pytest.raises(UserError, match=words) as caught:
        load(f"digit_data:{name}")
    assert "\n" not in str(caught.value)


def test_a_name_that_torchvision_does_not_have_is_one_sentence():
    with pytest.raises(UserError, match=r"did you mean torchvision:STL10\?"):
        load("torchvision:STL")


def test_without_a_network_a_name_of_torchvisions_is_one_sentence_in_time(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torchvision_names, "PATIENCE", 0.3)
    monkeypatch.setattr("torchvision.datasets.utils.urllib.request.urlopen", lambda *_, **__: time.sleep(60))
    started = time.monotonic()
    with pytest.raises(UserError, match="nothing arrives from the network"):
        load("torchvision:STL10")
    assert time.monotonic() - started < 20


def test_a_data_set_that_torchvision_has_on_the_disk_is_read(monkeypatch, tmp_path, sample):
    """Its own reader, on files in its own layout."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    root = tmp_path / "ablations" / "torchvision" / "EuroSAT" / "eurosat" / "2750"
    for name, label in (("Forest", 4), ("River", 8)):
        (root / name).mkdir(parents=True)
        for number, image in enumerate(sample.train.images[sample.train.labels == label][:20]):
            Image.fromarray(np.moveaxis(image, 0, -1)).save(root / name / f"{number}.jpg")
    data = load("torchvision:EuroSAT")
    assert data.about.classes == ("Forest", "River")
    assert data.train.images.shape[1:] == (3, 32, 32)
    assert sum(map(len, data.parts)) == 40
