"""IDX files of real handwritten digits (scikit-learn's, 8x8)."""

import gzip
import struct

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cnnkit import Augmentation, ConvNetSpec, Recipe, build, fit
from cnnkit.data import find, load
from cnnkit.description import DataOptions
from cnnkit.errors import UserError

DIGITS = load_digits()
IMAGES = (DIGITS.images * (255 / 16)).round().astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write(folder, *, packed: bool = True, order=None):
    """The digits as torchvision keeps MNIST: 1,500 to train, 297 to test."""
    folder.mkdir(parents=True)
    order = np.arange(1500) if order is None else order
    for stem, images, labels in (
        ("train", IMAGES[:1500][order], DIGITS.target[:1500][order]),
        ("t10k", IMAGES[1500:], DIGITS.target[1500:]),
    ):
        for name, array in ((f"{stem}-images-idx3-ubyte", images), (f"{stem}-labels-idx1-ubyte", labels)):
            content = idx(array)
            (folder / f"{name}.gz" if packed else folder / name).write_bytes(
                gzip.compress(content) if packed else content
            )
    return folder


def test_digits_are_read_packed_or_not_from_any_folder_above(tmp_path):
    write(tmp_path / "a" / "MNIST" / "raw")
    write(tmp_path / "b" / "MNIST" / "raw", packed=False, order=np.random.default_rng(0).permutation(1500))
    both = [load(tmp_path / "a"), load(tmp_path / "b" / "MNIST"), load(tmp_path / "b" / "MNIST" / "raw")]
    assert len({data.fingerprint for data in both}) == 1
    data = both[0]
    assert (data.about.name, data.about.classes, data.about.channels) == ("MNIST", tuple("0123456789"), 1)
    assert data.about.citation.startswith("@article{lecun1998gradient,")
    assert (len(data.train), len(data.validation), len(data.test)) == (1350, 150, 297)
    assert data.describe().startswith(
        "MNIST: 1,350 training / 150 validation / 297 test images, 10 classes, grey 8x8 pixels; validation images made from"
    )


def test_normalisation_is_that_of_the_training_images(tmp_path):
    data = load(write(tmp_path / "MNIST" / "raw"))
    pixels = data.train.images / 255
    np.testing.assert_allclose(data.about.normalisation.mean, pixels.mean((0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(data.about.normalisation.std, pixels.std((0, 2, 3)), atol=1e-6)


def test_grey_images_are_colour_ones_on_demand_and_stored_at_any_size(tmp_path):
    folder = write(tmp_path / "MNIST" / "raw")
    plain, other = load(folder), load(folder, options=DataOptions(size=12, channels=3))
    assert other.train.images.shape == (1350, 3, 12, 12)
    assert np.array_equal(other.train.images[:, 0], other.train.images[:, 2])
    assert np.array_equal(other.test.labels, plain.test.labels), "the order depends on the images as they came"
    assert other.fingerprint != plain.fingerprint
    assert find(folder, options=DataOptions(size=12, channels=3)).about.image_size == 12


def test_a_network_of_one_channel_learns_digits(tmp_path):
    data = load(write(tmp_path / "MNIST" / "raw"))
    spec = ConvNetSpec(image_size=8, in_channels=1, widths=(16, 32), hidden_width=32)
    result = fit(
        build(spec), Recipe(epochs=3, learning_rate=3e-3, augmentation=Augmentation(flip=0)), data, image_size=8
    )
    assert result.test_accuracy > 0.6  # ten classes: chance is 0.1


def test_fashion_mnist_has_its_names(tmp_path):
    write(tmp_path / "FashionMNIST" / "raw")
    assert load(tmp_path).about.classes[9] == "Ankle boot"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train-images-idx3-ubyte", b"", "not an IDX file"),
        ("train-images-idx3-ubyte", b"\0\0\x0d\x03" + b"\0" * 12, "not an IDX file of bytes"),
        ("train-images-idx3-ubyte", struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 2**31), "says that it holds"),
        ("train-images-idx3-ubyte", struct.pack(">HBB3I", 0, 8, 3, 1500, 8, 8) + b"\0" * 9, "does not hold the 1,500"),
        ("train-images-idx3-ubyte.gz", gzip.compress(b"x")[:-4], "is damaged"),
        ("train-images-idx3-ubyte.gz", b"no gzip", "is damaged"),
        ("t10k-labels-idx1-ubyte", idx(np.arange(5)), "and its labels are 5"),
        ("t10k-labels-idx1-ubyte", idx(np.full(297, 11)), "label 11"),
        ("t10k-labels-idx1-ubyte", None, "t10k-labels-idx1-ubyte is missing"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, name, content, words):
    folder = write(tmp_path / "MNIST" / "raw", packed=False)
    (folder / name.removesuffix(".gz")).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
