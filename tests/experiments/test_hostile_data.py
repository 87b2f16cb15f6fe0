"""Forty data sets that something is wrong with, from the command line: one sentence, exit code 2, nothing half-written."""

import contextlib
import gzip
import importlib.util
import io
import os
import pickle
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ablations import cli
from ablations.protocols import PROTOCOLS
from ablations.text import printable

SCRIPT = Path(__file__).parents[2] / "experiments" / "run_ablation.py"


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("hostile_data_run_ablation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.main


def ended(main, arguments: list[str]) -> tuple[int, str]:
    """Exit code and standard error."""
    errors = io.StringIO()
    with (
        contextlib.redirect_stderr(errors),
        contextlib.redirect_stdout(io.StringIO()),
        pytest.raises(SystemExit) as end,
    ):
        sys.argv, before = ["script", *arguments], sys.argv
        try:
            cli.run_script(main)
        finally:
            sys.argv = before
    return end.value.code, errors.getvalue()


def png(width: int = 8, height: int = 8, shade: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (shade % 256, shade // 256 % 256, 9)).save(file, "PNG")
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def tree(folder: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def pictures(classes="ab", each: int = 20, under: str = "") -> dict[str, bytes]:
    return {f"{under}{name}/{i}.png": png(shade=i + 100 * k) for k, name in enumerate(classes) for i in range(each)}


def filled(folder: Path, content: bytes) -> None:
    """Pictures of which a third are this."""
    tree(folder, pictures())
    for i in range(13):
        (folder / f"a/{i}.png").write_bytes(content)


def special(make) -> object:
    def fill(folder: Path) -> None:
        tree(folder, pictures())
        for i in range(5):
            (folder / f"a/{i}.png").unlink()
            make(folder / f"a/{i}.png")

    return fill


def parquet(columns: dict, name: str = "train.parquet"):
    return lambda folder: pq.write_table(pa.table(columns), folder / name)


def idx(*changes: tuple[str, bytes | None]):
    def fill(folder: Path) -> None:
        files = {
            f"{stem}-{kind}": struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + bytes(int(np.prod(shape)))
            for stem, n in (("train", 40), ("t10k", 20))
            for kind, shape in (("images-idx3-ubyte", (n, 8, 8)), ("labels-idx1-ubyte", (n,)))
        }
        tree(folder / "MNIST" / "raw", files)
        for file, content in changes:
            (folder / "MNIST" / "raw" / file).unlink()
            if content is not None:
                (folder / "MNIST" / "raw" / file).write_bytes(content)

    return fill


def pickled(name: str, content: bytes):
    def fill(folder: Path) -> None:
        tree(
            folder / name,
            dict.fromkeys(["data_batch_1", "test_batch", "batches.meta", "train", "test", "meta"], content),
        )

    return fill


PACKED = gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 40, 8, 8) + bytes(10**8))


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


WRONG = {
    "an empty folder": lambda folder: None,
    "a file": lambda folder: (folder.rmdir(), folder.write_text("x")),
    "nothing": lambda folder: folder.rmdir(),
    "a link to itself": lambda folder: (folder.rmdir(), folder.symlink_to(folder)),
    "a pipe": lambda folder: (folder.rmdir(), os.mkfifo(folder)),
    "texts": lambda folder: tree(folder, {"a/1.txt": b"x", "b/2.txt": b"y"}),
    "loose pictures": lambda folder: tree(folder, {"1.png": png(), "2.png": png()}),
    "one class": lambda folder: tree(folder, pictures("a")),
    "one picture a class": lambda folder: tree(folder, pictures("ab", 1)),
    "empty pictures": lambda folder: filled(folder, b""),
    "text in pictures": lambda folder: filled(folder, b"text"),
    "truncated pictures": lambda folder: filled(folder, png(64, 64)[:70]),
    "bombs": lambda folder: filled(folder, bomb(30_000, 30_000)),
    "huge dimensions": lambda folder: filled(folder, bomb(2**31 - 1, 2**31 - 1)),
    "no pixels": lambda folder: filled(folder, bomb(0, 5)),
    "PostScript": lambda folder: filled(folder, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n"),
    "SVG": lambda folder: filled(folder, b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "pipes": special(os.mkfifo),
    "links to nothing": special(lambda file: file.symlink_to("nowhere")),
    "links to a device": special(lambda file: file.symlink_to("/dev/zero")),
    "training images only of one class": lambda folder: tree(
        folder, pictures("a", under="train/") | pictures("ab", under="test/")
    ),
    "test images only": lambda folder: tree(folder, pictures(under="test/")),
    "two validation folders": lambda folder: tree(
        folder, pictures(under="train/") | pictures(under="val/") | pictures(under="valid/")
    ),
    "a class that is not trained": lambda folder: tree(folder, pictures(under="train/") | pictures("ac", under="test/")),
    "annotations that leave the folder": lambda folder: tree(
        folder, pictures(under="train/") | {"val/val_annotations.txt": b"../../x.png\ta\n"}
    ),
    "annotations of nothing": lambda folder: tree(
        folder, pictures(under="train/") | {"val/val_annotations.txt": b"x.png\ta\ny.png\tb\n"}
    ),
    "no Parquet": lambda folder: tree(folder, {"train.parquet": b"no table"}),
    "a table without images": parquet({"a": [1, 2], "label": [0, 1]}),
    "a table without classes": parquet({"image": [png(), png()]}),
    "classes that are none": parquet({"image": [png(), png()], "label": [0, None]}),
    "rows that are no pictures": parquet({"image": [b"x", b"y"], "label": [0, 1]}),
    "two columns of images": parquet({"a": [png()], "b": [png()], "label": [0]}),
    "tables that do not fit": lambda folder: (
        parquet({"image": [png()] * 4, "label": [0, 1] * 2}, "train-0.parquet")(folder),
        parquet({"picture": [png()] * 4, "kind": [0, 1] * 2}, "train-1.parquet")(folder),
    ),
    "test rows only": parquet({"image": [png()] * 4, "label": [0, 1] * 2}, "test.parquet"),
    "a list in an image": parquet({"image": [[1], [2]], "label": [0, 1]}),
    "IDX without a head": idx(("train-images-idx3-ubyte", b"")),
    "IDX larger than memory": idx(("train-images-idx3-ubyte", struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 2**31))),
    "IDX without labels": idx(("train-labels-idx1-ubyte", None)),
    "IDX whose labels are fewer": idx(("t10k-labels-idx1-ubyte", struct.pack(">HBBI", 0, 8, 1, 3) + bytes(3))),
    "IDX of one class": idx(),
    "CIFAR-10 that is malicious": pickled("cifar-10-batches-py", pickle.dumps(Malicious())),
    "CIFAR-100 that is malicious": pickled("cifar-100-python", pickle.dumps(Malicious())),
    "CIFAR-100 that is damaged": pickled("cifar-100-python", b"\x80\x04."),
    "CIFAR-100 of nothing": pickled("cifar-100-python", pickle.dumps({"data": [], "fine_labels": [], "coarse_labels": []})),
    "a packed bomb": lambda folder: (
        idx(("train-images-idx3-ubyte", None))(folder),
        tree(folder / "MNIST/raw", {"train-images-idx3-ubyte.gz": PACKED}),
    ),
}  # fmt: skip


def assert_refused(main, folder: Path, *more: str) -> None:
    around = folder.parent
    code, error = ended(
        main, ["--grid", "dropout", "--protocol", "smoke", "--data", str(folder), "--results", "r", *more]
    )
    assert code == 2, error
    assert len(error.strip().splitlines()) == 1, error
    assert error.startswith("error: ")
    assert printable(error[:-1]) == error[:-1], error
    assert "Traceback" not in error
    assert not (around / "r").exists()
    assert not (around / "executed").exists()
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "ablations" / "pictures"
    assert not cache.exists() or not [one for one in cache.iterdir() if "unfinished" in one.name]


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_a_data_set_that_something_is_wrong_with_is_one_sentence(main, tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data set"
    folder.mkdir()
    make(folder)
    assert_refused(main, folder)


NAMES = st.sampled_from(
    [
        "train",
        "test",
        "val",
        "a",
        "b",
        "x.png",
        "y.jpg",
        "train.parquet",
        "train-images-idx3-ubyte",
        "\xe9",
        "data_batch_1",
    ]
)
CONTENTS = st.binary(max_size=30) | st.sampled_from([png(), bomb(9, 9), bomb(10**6, 10**6)])
FOLDERS = st.recursive(CONTENTS, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8)


def build(path: Path, content) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
        return
    path.mkdir()
    for name, inner in content.items():
        build(path / name, inner)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.dictionaries(NAMES, FOLDERS, max_size=4))
def test_any_folder_is_described_or_refused(main, tmp_path_factory, monkeypatch, content):
    around = tmp_path_factory.mktemp("any")
    with contextlib.chdir(around):
        build(around / "d", content)
        code, error = ended(main, ["--grid", "dropout", "--protocol", "smoke", "--data", "d", "--dry-run"])
        assert code in (0, 2), error
        assert code == 0 or len(error.strip().splitlines()) == 1, error


def test_on_other_data_than_the_documented_the_default_needs_no_gpu_hours(main, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tree(tmp_path / "d", pictures("abc"))
    monkeypatch.setitem(main.__globals__, "gpu_is_visible", lambda: True)
    for data, words in (
        ("d", "quick (these are not the documented data): 64 pixels"), ("sample", "documented (a GPU is visible): 224 pixels"),
    ):  # fmt: skip
        assert main(["--grid", "dropout", "--data", data, "--dry-run"]) == 0
        assert words in capsys.readouterr().out
    assert main(["--grid", "dropout", "--data", "d", "--protocol", "documented", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "the documented recipe on d (as asked)" in out
    assert "3 classes" in out


def test_the_network_follows_the_data_unless_it_is_told_otherwise(tmp_path, monkeypatch):
    from ablations import Settings, prepare_study

    monkeypatch.chdir(tmp_path)
    tree(tmp_path / "d", pictures("abc"))
    settings = Settings(dry_run=True)
    plan = prepare_study("dropout", "smoke", data="d", settings=settings).plan()
    assert {(arm.spec.num_classes, arm.spec.in_channels) for arm in plan.arms} == {(3, 3)}
    assert plan.study.protocol_changes == {}
    assert plan.study.name == "dropout-smoke"
    assert plan.study.data.image_size == 8
    assert plan.study.arms[0].costs.receptive_field_original == plan.study.arms[0].costs.receptive_field * 8 / 64
    grey = prepare_study(
        "dropout", PROTOCOLS["smoke"].changed(spec={"in_channels": 1}), data="d", settings=settings
    ).plan()
    assert grey.data.train.images.shape[1] == 1
    groups = {"first": ["a", "b"]}
    assert prepare_study("dropout", "smoke", data="d", groups=groups, settings=settings).plan().study.data.groups == {
        "first": ("a", "b")
    }


@pytest.mark.parametrize(
    "options",
    [
        ["--data-size", "0"], ["--data-size", "100000"], ["--data-columns", "a,b,c"], ["--data-groups", "{x: [nothing]}"],
        ["--data-groups", "{x: y}"], ["--data-groups", "[1]"], ["--data-groups", "absent.yaml"], ["--data-groups", "{x: []}"],
        ["--split.train", "1"], ["--spec.num-classes", "7"], ["--spec.in-channels", "2"],
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_one_sentence(main, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "d"
    tree(folder, pictures("ab"))
    if options[0] == "--data-columns":
        folder = folder / "train.parquet"
        pq.write_table(pa.table({"image": [png()] * 2, "label": [0, 1]}), folder)
    assert_refused(main, folder, *options)
