import hashlib
import os
import pickle
import socket
import struct
import time
import zlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cnnkit import data as data_module
from cnnkit.data import CLASSES, Data, ImageSet, load
from cnnkit.description import CIFAR10_NORMALISATION, DataOptions
from cnnkit.errors import UserError
from cnnkit.readers import cifar10


def write_parquet(folder, train: ImageSet, test: ImageSet, order=None):
    """The `plain_text` layout, training rows in the given order."""
    folder.mkdir(parents=True)
    for part, images in (("train", train), ("test", test)):
        rows = range(len(images)) if order is None or part == "test" else order
        pngs = list(cifar10.pngs(images))
        table = pa.table(
            {"img": [{"bytes": pngs[i], "path": ""} for i in rows], "label": [int(images.labels[i]) for i in rows]}
        )
        pq.write_table(table, folder / f"{part}-00000-of-00001.parquet")


@pytest.fixture
def small(sample: Data) -> tuple[ImageSet, ImageSet]:
    """Ten training and two test images of each class."""
    return sample.train.subset(100, "train"), sample.test.subset(20, "test")


def test_the_sample_is_stratified_and_disjoint(sample):
    for part, count in ((sample.train, 400), (sample.validation, 50), (sample.test, 100)):
        assert np.bincount(part.labels).tolist() == [count] * 10
        assert part.images.shape == (10 * count, 3, 32, 32)
        assert part.images.dtype == np.uint8
    images = [image.tobytes() for part in (sample.train, sample.validation, sample.test) for image in part.images]
    assert len(set(images)) == 5_500
    assert sample.source == "sample"
    assert "SAMPLE" in sample.describe()


def test_the_sample_has_the_channel_means_of_cifar10(sample):
    # Published means of the training set; 4,000 images know them to about a hundredth.
    means = sample.train.images.mean((0, 2, 3)) / 255
    np.testing.assert_allclose(means, (0.4914, 0.4822, 0.4465), atol=0.01)


def test_any_subset_of_a_data_set_is_stratified(sample):
    part = sample.subset(train=500, validation=100, test=None)
    assert np.bincount(part.train.labels).tolist() == [50] * 10
    assert len(part.test) == 1_000
    with pytest.raises(UserError, match="an image of each of the 10 classes, got 5"):
        sample.subset(train=5)


def test_the_documented_split_is_80_10_10_and_says_what_is_unused(small, tmp_path):
    write_parquet(tmp_path / "d", *small)
    data = load(tmp_path / "d")
    assert (len(data.train), len(data.validation), len(data.test), data.unused) == (80, 10, 20, 10)
    assert np.bincount(data.train.labels).tolist() == [8] * 10
    assert "10 training images unused" in data.describe()


def test_another_draw_of_the_split_is_stratified_disjoint_and_of_all_images_that_do_not_test(small, tmp_path):
    write_parquet(tmp_path / "d", *small)
    data = load(tmp_path / "d")
    everything = {image.tobytes() for part in (data.train, data.validation, *data.rest) for image in part.images}
    assert len(everything) == 100
    drawn = data.redrawn(1)
    train, validation = ({image.tobytes() for image in part.images} for part in (drawn.train, drawn.validation))
    assert np.bincount(drawn.train.labels).tolist() == [8] * 10
    assert np.bincount(drawn.validation.labels).tolist() == [1] * 10
    assert train < everything
    assert validation < everything
    assert not train & validation
    before = {image.tobytes() for image in data.train.images}
    assert 60 <= len(train & before) < 80  # of 100 images, 64 are expected in both draws of 80
    assert drawn.fingerprint == data.fingerprint
    assert np.array_equal(drawn.test.images, data.test.images)
    of_image = {image.tobytes(): label for image, label in zip(small[0].images, small[0].labels, strict=True)}
    assert [of_image[image.tobytes()] for image in drawn.train.images] == drawn.train.labels.tolist()


def test_which_images_a_draw_takes_depends_on_its_number_and_not_on_what_was_used_before(small, tmp_path):
    write_parquet(tmp_path / "d", *small)
    data = load(tmp_path / "d")
    fewer = data.subset(train=30, validation=10, keep_rest=True)
    assert len(fewer.train) + len(fewer.validation) + sum(map(len, fewer.rest)) == 100
    one, again, other = (data.redrawn(1), fewer.redrawn(1), data.redrawn(2))
    assert np.array_equal(again.train.images, one.train.subset(30, "train").images)
    assert not np.array_equal(one.train.images, other.train.images)
    with pytest.raises(UserError, match="keep_rest"):
        data.subset(train=30).redrawn(1)


def test_the_split_depends_on_the_pixels_not_on_the_rows(small, tmp_path):
    write_parquet(tmp_path / "a", *small)
    write_parquet(tmp_path / "b", *small, order=np.random.default_rng(0).permutation(100).tolist())
    a, b = load(tmp_path / "a"), load(tmp_path / "b")
    assert a.fingerprint == b.fingerprint
    assert np.array_equal(a.train.images, b.train.images)
    assert np.array_equal(a.validation.labels, b.validation.labels)


def test_both_layouts_give_the_same_split(small, tmp_path, monkeypatch):
    train, test = small
    write_parquet(tmp_path / "parquet", train, test)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def dump(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    from torchvision.datasets import CIFAR10

    batches = []
    for i, rows in enumerate(np.array_split(np.random.default_rng(1).permutation(100), 5), start=1):
        content = {"data": train.images[rows].reshape(len(rows), -1), "labels": train.labels[rows].tolist()}
        batches.append(dump(f"data_batch_{i}", content))
    test_batch = dump("test_batch", {"data": test.images.reshape(20, -1), "labels": test.labels.tolist()})
    meta = dump("batches.meta", {"label_names": list(CLASSES)})
    monkeypatch.setattr(CIFAR10, "train_list", batches)
    monkeypatch.setattr(CIFAR10, "test_list", [test_batch])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta[1]})
    for given in (tmp_path, folder):
        if given == tmp_path:
            (tmp_path / "parquet").rename(tmp_path.parent / f"{tmp_path.name}-parquet")
        a, b = load(tmp_path.parent / f"{tmp_path.name}-parquet"), load(given)
        assert a.fingerprint == b.fingerprint
        assert np.array_equal(a.train.images, b.train.images)
        assert np.array_equal(a.test.labels, b.test.labels)
    (folder / "data_batch_3").write_bytes(b"damaged")
    with pytest.raises(UserError, match="damaged"):
        load(folder)


def test_which_images_belong_together_goes_with_a_subset_and_stands_in_the_description(sample):
    assert sample.description.test_clusters is None
    clusters = np.arange(len(sample.test)) // 5
    data = replace(sample, test=replace(sample.test, clusters=clusters))
    few = data.subset(test=100)
    for image, cluster in zip(few.test.images, few.description.test_clusters, strict=True):
        place = next(i for i, other in enumerate(data.test.images) if np.array_equal(image, other))
        assert cluster == clusters[place]


def test_another_image_is_another_fingerprint(small, tmp_path):
    train, test = small
    changed = train.images.copy()
    changed[0, 0, 0, 0] ^= 1
    write_parquet(tmp_path / "a", train, test)
    write_parquet(tmp_path / "b", ImageSet(changed, train.labels), test)
    assert load(tmp_path / "a").fingerprint != load(tmp_path / "b").fingerprint


def test_auto_takes_what_it_finds(small, tmp_path, monkeypatch):
    write_parquet(tmp_path / "data", *small)
    monkeypatch.chdir(tmp_path)
    assert load("auto").path.name == "data"


def test_auto_without_data_and_network_falls_back_to_the_sample(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data_module, "user_cache_path", lambda name: tmp_path / "cache")

    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_connection", no_network)
    assert load("auto").source == "sample"


def test_a_network_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(data_module, "NETWORK_PATIENCE", 0.2)

    def silence(*args, **kwargs):
        time.sleep(8)
        raise OSError("timed out")

    monkeypatch.setattr(socket, "create_connection", silence)
    started = time.monotonic()
    assert not data_module._network_answers()
    assert time.monotonic() - started < 6


def test_a_given_path_never_falls_back(tmp_path):
    with pytest.raises(UserError, match="no data folder at"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no data set that is known"):
        load(tmp_path)


def png_of(width: int, height: int) -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def bomb(size: int) -> bytes:
    """A PNG of a few bytes that unpacks to `size` x `size` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"img": [{"bytes": b"not an image", "path": ""}], "label": [0]}, "row 0: not a readable image"),
        ({"img": [{"bytes": png_of(32, 32)[:60], "path": ""}], "label": [0]}, "row 0: not a readable image"),
        ({"img": [{"bytes": None, "path": ""}], "label": [0]}, "img should be a struct of bytes"),
        (
            {"img": pa.array([{"bytes": None}], pa.struct({"bytes": pa.binary()})), "label": [0]},
            "row 0: not a readable image",
        ),
        ({"img": [{"bytes": "text"}], "label": [0]}, "img should be a struct of bytes"),
        ({"img": [{"bytes": 10**10}], "label": [0]}, "img should be a struct of bytes"),
        ({"img": [{"path": "x.png"}], "label": [0]}, "img should be a struct of bytes"),
        ({"img": [{"bytes": png_of(32, 32)}], "label": [-1]}, "label -1"),
        ({"img": [{"bytes": bomb(10_000)}], "label": [0]}, "row 0: an image of 10000x10000 pixels"),
        ({"img": [{"bytes": bomb(60_000)}], "label": [0]}, "row 0: not a readable image"),
        ({"img": [{"bytes": POSTSCRIPT}], "label": [0]}, "row 0: not a readable image"),
        ({"img": [{"bytes": png_of(28, 32), "path": ""}], "label": [0]}, "row 0: an image of 28x32 pixels"),
        ({"img": [{"bytes": png_of(32, 32), "path": ""}], "label": [10]}, "label 10"),
        ({"img": [{"bytes": png_of(32, 32), "path": ""}], "label": ["cat"]}, "label an integer"),
        ({"img": ["x"], "label": [0]}, "img should be a struct"),
        ({"img": [{"bytes": png_of(32, 32), "path": ""}], "label": [3]}, "equally many images of each class"),
    ],
)
def test_a_parquet_file_that_is_not_cifar10_is_refused_in_one_sentence(tmp_path, table, words):
    for part in ("train", "test"):
        pq.write_table(pa.table(table), tmp_path / f"{part}-0.parquet")
    with pytest.raises(UserError, match=words) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_truncated_parquet_file_is_refused_in_one_sentence(small, tmp_path):
    write_parquet(tmp_path / "d", *small)
    file = tmp_path / "d" / "train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="not a readable Parquet file") as caught:
        load(tmp_path / "d")
    assert "\n" not in str(caught.value)


def test_images_that_are_in_two_parts_are_counted_in_the_description(small, tmp_path):
    train, test = small
    assert load("sample").warning == ""
    leaking = ImageSet(
        np.concatenate([test.images, train.images[::3]]), np.concatenate([test.labels, train.labels[::3]])
    )
    write_parquet(tmp_path / "d", train, leaking)
    data = load(tmp_path / "d")
    both = {image.tobytes() for image in train.images[::3]}
    in_train = sum(image.tobytes() in both for image in data.train.images)
    in_validation = sum(image.tobytes() in both for image in data.validation.images)
    assert in_train > 10
    assert in_validation
    assert data.warning == (
        f"{in_train} of 54 test images are training images, too, {in_validation} of 54 test images are validation images, too"
    )
    assert data.describe().endswith(f"; WARNING: {data.warning}")
    assert data.description.text == data.describe(), "what the manifest and the page show"


def test_duplicates_of_cifar10_are_left_out_on_demand_which_is_another_data_set(small, tmp_path):
    train, test = small
    write_parquet(tmp_path / "d", train, ImageSet(np.concatenate([test.images, train.images[::3]]),
                                                  np.concatenate([test.labels, train.labels[::3]])))  # fmt: skip
    plain, clean = load(tmp_path / "d"), load(tmp_path / "d", options=DataOptions(drop_duplicates=True))
    assert plain.warning
    assert clean.warning == ""
    assert len(clean.test) == len(plain.test)
    assert len(clean.train) + len(clean.validation) == len(plain.train) + len(plain.validation) - sum(
        plain.test.count_in(ImageSet(part.images[i : i + 1], part.labels[i : i + 1]))
        for part in (plain.train, plain.validation)
        for i in range(len(part))
    )
    assert clean.fingerprint != plain.fingerprint


def test_cifar10_is_stored_at_another_size_or_grey_on_demand(sample):
    other = load("sample", options=DataOptions(size=16, channels=1))
    assert other.train.images.shape == (4_000, 1, 16, 16)
    assert np.array_equal(other.test.labels, sample.test.labels), "the same images in the same order"
    assert other.fingerprint != sample.fingerprint
    assert len(other.about.normalisation.mean) == 1


def test_cifar10_is_what_it_was():
    """Its fingerprint and its normalisation are part of every key and of every trained number."""
    data = load("sample")
    assert data.fingerprint == "ee7207581883be22"
    assert data.about.normalisation == CIFAR10_NORMALISATION
    assert data.about.options == DataOptions()


def test_only_the_images_that_are_used_are_warned_of(small, tmp_path):
    train, _ = small
    write_parquet(tmp_path / "d", train, train)
    data = load(tmp_path / "d")
    assert data.warning.startswith("80 of 100 test images are training images, too")
    used = data.subset(train=10, test=20)
    assert int(used.warning.split()[0]) == used.test.count_in(used.train) <= 10


def test_a_part_without_images_of_a_class_is_refused(small, tmp_path):
    train, test = small
    write_parquet(tmp_path / "a", train.subset(50, "five of each class are too few to split"), test)
    with pytest.raises(UserError, match="no validation image of the class airplane"):
        load(tmp_path / "a")
    keep = test.labels != 3
    write_parquet(tmp_path / "b", train, ImageSet(test.images[keep], test.labels[keep]))
    with pytest.raises(UserError, match="no test image of the class cat"):
        load(tmp_path / "b")


@pytest.mark.parametrize("file", ["train-1.parquet", "test-1.parquet", "validation-0.parquet"])
@pytest.mark.parametrize("kind", ["a link to itself", "a link to nothing", "a folder", "a pipe"])
def test_what_cannot_be_read_is_one_sentence(small, tmp_path, file, kind):
    write_parquet(tmp_path / "d", *small)
    odd = tmp_path / "d" / file
    match kind:
        case "a link to itself":
            odd.symlink_to(odd)
        case "a link to nothing":
            odd.symlink_to("nowhere")
        case "a folder":
            odd.mkdir()
        case "a pipe":
            os.mkfifo(odd)
    with pytest.raises(UserError) as caught:
        load(tmp_path / "d")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_path_that_cannot_be_is_one_sentence(name):
    with pytest.raises(UserError, match=r"cannot be read|no data folder"):
        load(name)


def test_a_table_without_end_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "MOST_ROWS", 3)
    table = pa.table({"img": [{"bytes": png_of(32, 32), "path": ""}] * 4, "label": [0] * 4})
    for part in ("train", "test"):
        pq.write_table(table, tmp_path / f"{part}-0.parquet")
    with pytest.raises(UserError, match="has 4 rows"):
        load(tmp_path)


def test_columns_of_one_name_are_refused(tmp_path):
    column = pa.array([{"bytes": png_of(32, 32)}])
    table = pa.Table.from_arrays([column, column, pa.array([0])], names=["img", "img", "label"])
    for part in ("train", "test"):
        pq.write_table(table, tmp_path / f"{part}-0.parquet")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        load(tmp_path)


class Malicious:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return exec, (f"open({str(self.file)!r}, 'w').close()",)


def test_a_pickle_of_a_stranger_is_not_executed(tmp_path):
    folder, trace = tmp_path / "cifar-10-batches-py", tmp_path / "executed"
    folder.mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps(Malicious(trace)))
    with pytest.raises(UserError, match="damaged"):
        load(tmp_path)
    pickle.loads((folder / "test_batch").read_bytes())
    assert trace.exists(), "the pickle would have run"


def test_a_data_set_one_folder_deeper_is_pointed_to(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 8, 8, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        file = tmp_path / "unpacked" / "data" / ("cat", "dog")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    with pytest.raises(UserError, match=r"of one class, data; .*; its folder .*unpacked.data holds a data set"):
        load(tmp_path / "unpacked")
    assert len(load(tmp_path / "unpacked" / "data").about.classes) == 2


def test_data_without_a_name_are_not_the_current_folder():
    with pytest.raises(UserError, match="the data have no name"):
        load("")
