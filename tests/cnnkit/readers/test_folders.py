"""Folders of real pictures, written from the packaged images in the layouts that people have."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnkit.data import find, load
from cnnkit.description import DataOptions
from cnnkit.errors import UserError

NAMES = ("ship", "cat", "truck")


def write(folder: Path, images, names=NAMES, *, kind="png", size=None, mode="RGB", start=0):
    """Pictures by class, each image set's first ones."""
    for place, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images[place], start=start):
            picture = Image.fromarray(np.moveaxis(image, 0, -1)).convert(mode)
            picture = picture if size is None else picture.resize(size)
            picture.save(folder / name / f"{number}.{kind}")


@pytest.fixture(scope="session")
def some(sample):
    """Thirty real images of each of three classes."""
    return [sample.train.images[sample.train.labels == label][:30] for label in (8, 3, 9)]


def parts(some, *ranges):
    return [[one[a:b] for one in some] for a, b in ranges]


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "val", "test"), ("Training", "valid", "TEST"), ("trn", "dev", "testing_set")],
)
def test_parts_are_known_by_any_usual_name(some, tmp_path, train, validation, test):
    for name, images in zip((train, validation, test), parts(some, (0, 20), (20, 25), (25, 30)), strict=True):
        write(tmp_path / name, images)
    data = load(tmp_path)
    assert data.about.classes == ("cat", "ship", "truck")
    assert [len(part) for part in data.parts] == [60, 15, 15]
    assert np.bincount(data.test.labels).tolist() == [5, 5, 5]
    stored = {image.tobytes() for image in data.test.images}
    assert stored == {image.tobytes() for one in some for image in one[25:]}, (
        "PNG of the stored size is kept bit for bit"
    )
    assert f"{tmp_path.name}: 60 training / 15 validation / 15 test images, 3 classes, 32x32 pixels" in data.describe()


def test_a_part_that_is_missing_is_made_and_said(some, tmp_path):
    train, test = parts(some, (0, 20), (20, 30))
    write(tmp_path / "a" / "train", train)
    write(tmp_path / "a" / "test", test)
    assert "validation images made from the training images" in load(tmp_path / "a").describe()
    write(tmp_path / "b" / "train", train)
    write(tmp_path / "b" / "val", test)
    data = load(tmp_path / "b")
    assert [len(part) for part in data.parts] == [54, 6, 30]
    assert "its validation images are the test images" in data.describe()
    write(tmp_path / "c", some)
    assert [len(part) for part in load(tmp_path / "c").parts] == [72, 9, 9]


def test_a_tree_is_split_by_content_whatever_files_are_called(some, tmp_path):
    write(tmp_path / "a", some)
    write(tmp_path / "b", [one[::-1] for one in some], start=1000)
    first, second = load(tmp_path / "a"), load(tmp_path / "b")
    assert first.fingerprint == second.fingerprint
    assert np.array_equal(first.test.images, second.test.images)


def test_a_split_does_not_depend_on_the_size_that_pictures_are_stored_at(some, tmp_path):
    write(tmp_path, some, kind="jpg", size=(120, 90))
    small, large = (load(tmp_path, options=DataOptions(size=size)) for size in (16, 48))
    assert small.train.images.shape[1:] == (3, 16, 16)
    assert np.array_equal(small.test.labels, large.test.labels)
    assert small.fingerprint != large.fingerprint
    means = [data.test.images.mean((1, 2, 3)) for data in (small, large)]
    assert np.corrcoef(*means)[0, 1] > 0.999, "the same pictures in the same order"


def test_pictures_are_stored_at_what_the_network_takes_unless_they_are_smaller(some, tmp_path):
    write(tmp_path / "large", some, kind="jpg", size=(120, 90))
    write(tmp_path / "small", some)
    assert find(tmp_path / "large", image_size=64).about.image_size == 64
    assert find(tmp_path / "small", image_size=64).about.image_size == 32
    assert find(tmp_path / "large", image_size=64, options=DataOptions(size=90)).about.image_size == 90


def test_grey_pictures_stay_one_channel(some, tmp_path):
    write(tmp_path / "grey", some, mode="L")
    assert load(tmp_path / "grey").train.images.shape[1] == 1
    assert load(tmp_path / "grey", options=DataOptions(channels=3)).train.images.shape[1] == 3
    write(tmp_path / "colour", some)
    assert "; 90 pictures: colour left out" in load(tmp_path / "colour", options=DataOptions(channels=1)).describe()
    write(tmp_path / "mixed", some, mode="L")
    Image.fromarray(np.moveaxis(some[0][0], 0, -1)).save(tmp_path / "mixed" / "cat" / "7.png")
    assert load(tmp_path / "mixed").train.images.shape[1] == 3


def test_colour_that_the_first_look_does_not_see_is_not_lost(sample, tmp_path):
    grey = [sample.train.images[sample.train.labels == label][:100] for label in (8, 3, 9)]
    write(tmp_path, grey, mode="L")
    Image.fromarray(np.moveaxis(grey[0][0], 0, -1)).save(tmp_path / "cat" / "1.png")
    if find(tmp_path).about.channels == 3:
        pytest.skip("the look has seen it")
    data = load(tmp_path)
    assert data.about.channels == data.train.images.shape[1] == 3


def test_tiny_imagenet_is_read_as_it_is_downloaded(some, tmp_path):
    ids = ("n02", "n01", "n03")
    for place, name in enumerate(ids):
        (tmp_path / "train" / name / "images").mkdir(parents=True)
        for number, image in enumerate(some[place][:20]):
            Image.fromarray(np.moveaxis(image, 0, -1)).save(
                tmp_path / "train" / name / "images" / f"{name}_{number}.JPEG"
            )
        (tmp_path / "train" / name / f"{name}_boxes.txt").write_text("x\t0\t0\t1\t1\n")
    (tmp_path / "val" / "images").mkdir(parents=True)
    (tmp_path / "test" / "images").mkdir(parents=True)
    lines = []
    for number in range(30):
        place = number % 3
        Image.fromarray(np.moveaxis(some[place][20 + number // 3], 0, -1)).save(
            tmp_path / f"val/images/val_{number}.JPEG"
        )
        lines.append(f"val_{number}.JPEG\t{ids[place]}\t0\t0\t62\t62\n")
        Image.new("RGB", (64, 64)).save(tmp_path / f"test/images/test_{number}.JPEG")
    (tmp_path / "val" / "val_annotations.txt").write_text("".join(lines))
    (tmp_path / "words.txt").write_text("n01\tcat, true cat\nn02\tship\nn03\ttruck\nn04\tcat\n")
    data = load(tmp_path)
    assert data.about.classes == ("cat", "ship", "truck")
    assert np.bincount(data.test.labels).tolist() == [10, 10, 10]
    assert "30 test pictures have no class and are not used" in data.describe()


def test_a_class_may_be_called_like_a_part(some, tmp_path):
    write(tmp_path, some, names=("car", "train", "bus"))
    assert load(tmp_path).about.classes == ("bus", "car", "train")


def test_broken_pictures_are_named_counted_and_left_out(sample, tmp_path):
    images = [sample.train.images[sample.train.labels == label][:60] for label in (8, 3, 9)]
    write(tmp_path, images)
    file = tmp_path / "cat" / "7.png"
    file.write_bytes(file.read_bytes()[:200])
    data = load(tmp_path)
    assert sum(map(len, data.parts)) == 179
    assert "1 broken picture left out (cat/7.png)" in data.describe()
    (tmp_path / "cat" / "8.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"2 of 180 pictures cannot be read \(cat/7.png: .*more than one per cent"):
        load(tmp_path)


def test_the_second_start_decodes_nothing_and_a_changed_picture_all_anew(some, tmp_path):
    write(tmp_path, some)
    told = []
    first = load(tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (90, 90)
    told.clear()
    second = load(tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == []
    assert second.describe() == first.describe()
    assert second.about == first.about
    assert all(np.array_equal(a.images, b.images) for a, b in zip(first.parts, second.parts, strict=True))
    Image.new("RGB", (32, 32)).save(tmp_path / "cat" / "3.png")
    assert load(tmp_path).fingerprint != first.fingerprint


def test_duplicates_across_parts_are_said_and_left_out_on_demand(some, tmp_path):
    write(tmp_path / "train", [one[:20] for one in some])
    write(tmp_path / "test", [one[15:25] for one in some])
    data = load(tmp_path)
    in_train = int(data.warning.split()[0])
    assert 10 <= in_train <= 15
    assert "test images are training images, too" in data.describe()
    clean = load(tmp_path, options=DataOptions(drop_duplicates=True))
    assert clean.warning == ""
    assert "15 duplicates left out" in clean.describe()
    assert (len(clean.test), len(clean.train) + len(clean.validation)) == (30, 45)
    assert clean.fingerprint != data.fingerprint


def test_whoever_reads_the_images_of_a_study_again_decodes_nothing(some, tmp_path):
    write(tmp_path, some, kind="jpg", size=(120, 90))
    data = load(tmp_path, image_size=64)
    told = []
    again = load(tmp_path, options=data.about.options, progress=lambda done, total: told.append(done))
    assert again.fingerprint == data.fingerprint
    assert told == []


def test_uneven_classes_are_said(some, tmp_path):
    write(tmp_path, [some[0], some[1][:10], some[2][:20]])
    assert "classes of 8 to 24 training images" in load(tmp_path).describe()


CODE = """
import sys
from pathlib import Path
from cnnkit.data import load
data = load(Path(sys.argv[1]))
print(data.fingerprint, len(data.train))
"""


def test_two_processes_at_once_decode_once_and_agree(some, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(tmp_path / "d", some, kind="jpg", size=(200, 150))
    running = [
        subprocess.Popen([sys.executable, "-c", CODE, tmp_path / "d"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert len(said) == 1
    folders = [one for one in (tmp_path / "cache/ablations/pictures").iterdir() if one.is_dir()]
    assert len(folders) == 1
    assert "unfinished" not in folders[0].name


INTERRUPTED = """
import sys
import cnnkit.decoding
from ablations.interruption import interrupts_end_quietly
cnnkit.decoding.WORTH_PROCESSES = 1
interrupts_end_quietly()
import ablations.running
from cnnkit.data import load
load(sys.argv[1], progress=lambda done, total: print(done, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_pictures_are_decoded_ends_all_processes_and_leaves_nothing(some, tmp_path, monkeypatch, number):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for copy in range(20):
        write(tmp_path / "d", some, kind="jpg", size=(600, 450), start=copy * 30)
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, tmp_path / "d"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    process.stdout.readline()
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.strip() == "interrupted; the same command goes on where it stopped"
    assert [one for one in (tmp_path / "cache/ablations/pictures").iterdir() if one.is_dir()] == []
    for _ in range(100):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("a process is left")


def test_decoding_that_fails_leaves_nothing_half_written(some, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(tmp_path / "d", some)

    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(tmp_path / "d", progress=interrupted)
    assert [one for one in (tmp_path / "cache/ablations/pictures").iterdir() if one.is_dir()] == []
    load(tmp_path / "d")


@pytest.mark.parametrize("damage", ["a flipped bit", "a short file", "no about", "another about"])
def test_a_damaged_cache_is_made_anew(some, tmp_path, monkeypatch, damage):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(tmp_path / "d", some)
    right = load(tmp_path / "d").test.images.copy()
    folder = next(one for one in (tmp_path / "cache/ablations/pictures").iterdir() if one.is_dir())
    match damage:
        case "a flipped bit":
            content = bytearray((folder / "test.pixels").read_bytes())
            content[100] ^= 1
            (folder / "test.pixels").write_bytes(content)
        case "a short file":
            (folder / "test.pixels").write_bytes((folder / "test.pixels").read_bytes()[:-1])
        case "no about":
            (folder / "about.json").unlink()
        case "another about":
            about = json.loads((folder / "about.json").read_text())
            (folder / "about.json").write_text(json.dumps({**about, "counts": {"test": -1}}))
    assert np.array_equal(load(tmp_path / "d").test.images, right)


def test_a_cache_without_room_is_one_sentence(some, tmp_path, monkeypatch):
    write(tmp_path / "d", some)
    (tmp_path / "cache").write_text("a file in the folder's place")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="set XDG_CACHE_HOME to a folder with room"):
        load(tmp_path / "d")


def hostile(folder: Path, some, kind: str) -> None:
    """Makes a folder of pictures that something is wrong with."""
    write(folder, some)
    match kind:
        case "one class":
            for name in ("cat", "truck"):
                (folder / name).rename(folder.parent / f"away-{name}")
        case "pipes":
            for number in range(30):
                (folder / "cat" / f"{number}.png").unlink()
                os.mkfifo(folder / "cat" / f"{number}.png")
        case "links to nothing":
            for number in range(30):
                (folder / "cat" / f"{number}.png").unlink()
                (folder / "cat" / f"{number}.png").symlink_to("nowhere")
        case "text":
            for number in range(30):
                (folder / "cat" / f"{number}.png").write_text("no picture")
        case "no pictures":
            for file in folder.rglob("*.png"):
                file.rename(file.with_suffix(".txt"))
        case "two of a class":
            for name in ("ship", "truck"):
                for number in range(2, 30):
                    (folder / name / f"{number}.png").unlink()
        case "test only":
            (folder / "cat").rename(folder / "test")
            (folder / "test" / "a").mkdir()
            (folder / "train").mkdir()
            for name in ("ship", "truck"):
                (folder / name).rename(folder / "test" / name)
        case "strange class":
            (folder / "train").mkdir()
            for name in NAMES:
                (folder / name).rename(folder / "train" / name)
            write(folder / "test", some, names=("ship", "cat", "dog"))
        case "two training folders":
            for name in ("train", "training"):
                write(folder / name, some)
        case "annotations of nothing":
            write(folder / "train", some)
            (folder / "val").mkdir()
            (folder / "val" / "val_annotations.txt").write_text("../../etc/passwd\tcat\n")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("one class", "all pictures are of one class, ship"),
        ("pipes", "30 of 90 pictures cannot be read .*not a regular file"),
        ("links to nothing", "30 of 90 pictures cannot be read"),
        ("text", "30 of 90 pictures cannot be read .*not a picture"),
        ("no pictures", "no data set that is known"),
        ("two of a class", "class ship has 2 training images"),
        ("test only", "no training images|no data set"),
        ("strange class", "the class dog has test images and no training images"),
        ("two training folders", "two folders with training images"),
        ("annotations of nothing", "val_annotations.txt, line 1"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_sentence(some, tmp_path, kind, words):
    hostile(tmp_path / "d", some, kind)
    with pytest.raises(UserError, match=words) as caught:
        load(tmp_path / "d")
    assert "\n" not in str(caught.value)


def test_names_in_odd_encodings_are_shown_and_links_into_themselves_are_entered_once(some, tmp_path):
    names = ("größe", "规模", "x\x1b[31m")
    write(tmp_path, some, names=names)
    odd = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.rename(tmp_path / "规模", odd)
    (tmp_path / "größe" / "loop").symlink_to(tmp_path / "größe")
    (tmp_path / "größe" / "up").symlink_to("..")  # where the other classes' pictures lie
    data = load(tmp_path)
    assert sum(map(len, data.parts)) == 90
    assert all(name.isprintable() for name in data.about.classes)
    assert len(set(data.about.classes)) == 3
