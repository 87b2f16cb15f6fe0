"""CIFAR-100's layouts, with real images in the place of its own."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnkit.data import load
from cnnkit.description import DataOptions
from cnnkit.errors import UserError
from cnnkit.readers.cifar10 import pngs
from cnnkit.readers.cifar100 import COARSE, FINE


@pytest.fixture(scope="module")
def content(sample):
    """Images with fine classes 0 to 99, coarse ones a fifth of them."""
    fine = {"train": np.arange(2000) % 100, "test": np.arange(500) % 100}
    images = {"train": sample.train.subset(2000, "x"), "test": sample.test.subset(500, "x")}
    return {part: (images[part], fine[part], fine[part] // 5) for part in fine}


def write_batches(folder, content):
    (folder / "cifar-100-python").mkdir(parents=True)
    for part, (images, fine, coarse) in content.items():
        rows = {
            "data": images.images.reshape(len(images), -1),
            "fine_labels": fine.tolist(),
            "coarse_labels": coarse.tolist(),
        }
        (folder / "cifar-100-python" / part).write_bytes(pickle.dumps(rows, protocol=2))


def test_both_layouts_and_both_kinds_of_classes(content, tmp_path):
    write_batches(tmp_path / "a", content)
    (tmp_path / "b").mkdir()
    for part, (images, fine, coarse) in content.items():
        cells = [{"bytes": png, "path": ""} for png in pngs(images)]
        table = pa.table({"img": cells, "fine_label": fine, "coarse_label": coarse})
        pq.write_table(table.replace_schema_metadata({"x": json.dumps({})}), tmp_path / "b" / f"{part}-0.parquet")
    a, b = load(tmp_path / "a"), load(tmp_path / "b")
    assert a.fingerprint == b.fingerprint
    assert a.about.classes == FINE
    assert a.about.groups[COARSE[0]] == FINE[:5]
    assert [len(part) for part in a.parts] == [1800, 200, 500]
    coarse = load(tmp_path / "a", options=DataOptions(columns="coarse_label"))
    assert coarse.about.classes == COARSE
    assert coarse.about.name == "CIFAR-100 (coarse classes)"
    with pytest.raises(UserError, match="CIFAR-100 has fine_label and coarse_label"):
        load(tmp_path / "a", options=DataOptions(columns="x"))


class Malicious:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return exec, (f"open({str(self.file)!r}, 'w').close()",)


@pytest.mark.parametrize("what", ["malicious", "truncated", "another", "too many"])
def test_a_pickle_of_a_stranger_calls_nothing(content, tmp_path, what):
    write_batches(tmp_path, content)
    file, trace = tmp_path / "cifar-100-python" / "train", tmp_path / "executed"
    match what:
        case "malicious":
            file.write_bytes(pickle.dumps(Malicious(trace)))
        case "truncated":
            file.write_bytes(file.read_bytes()[:1000])
        case "another":
            file.write_bytes(pickle.dumps([1, 2]))
        case "too many":
            rows = pickle.loads(file.read_bytes())
            file.write_bytes(pickle.dumps({**rows, "fine_labels": [100] * 2000}, protocol=2))
    with pytest.raises(UserError, match=r"is damaged, or not CIFAR-100's|are not those of CIFAR-100") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    assert not trace.exists()
