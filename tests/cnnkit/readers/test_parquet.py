"""Parquet files of real pictures in the Hugging Face image layout."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnkit.data import load
from cnnkit.description import DataOptions
from cnnkit.errors import UserError

NAMES = ["ship", "cat", "truck"]


def png(image) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.moveaxis(image, 0, -1)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def rows(sample):
    """Ninety encoded pictures and their classes."""
    images = [sample.train.images[sample.train.labels == label][:30] for label in (8, 3, 9)]
    return [(png(image), place) for place, one in enumerate(images) for image in one]


def table(rows, *, image="image", label="label", names=NAMES, struct=True, **more):
    cells = [{"bytes": content, "path": f"{i}.png"} if struct else content for i, (content, _) in enumerate(rows)]
    made = pa.table({image: cells, label: [place for _, place in rows], **more})
    if names is None:
        return made
    features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def test_the_columns_are_found_by_their_types_and_classes_have_their_names(rows, tmp_path):
    data_folder = tmp_path / "pets" / "data"
    data_folder.mkdir(parents=True)
    pq.write_table(table(rows[::2], image="photo", label="kind"), data_folder / "train-00000-of-00001.parquet")
    pq.write_table(table(rows[1::2], image="photo", label="kind"), data_folder / "test-00000-of-00001.parquet")
    data = load(tmp_path / "pets")
    assert data.about.classes == tuple(NAMES)
    assert len(data.test) == 45
    assert np.bincount(data.test.labels).tolist() == [15, 15, 15]
    assert data.describe().startswith("pets: ")
    encoded = {content for content, place in rows[1::2] if place == 1}
    assert {image.tobytes() for image in data.test.images[data.test.labels == 1]} == {
        np.moveaxis(np.asarray(Image.open(io.BytesIO(content))), -1, 0).tobytes() for content in encoded
    }


@pytest.mark.parametrize("layout", ["train/0000.parquet", "all.parquet", "default/train-00000-of-00001.parquet"])
def test_one_part_is_split(rows, tmp_path, layout):
    file = tmp_path / layout
    file.parent.mkdir(exist_ok=True)
    pq.write_table(table(rows, struct=False), file, row_group_size=7)
    for place in (tmp_path, file):
        assert [len(part) for part in load(place).parts] == [72, 9, 9]


def test_rows_in_another_order_and_other_files_are_the_same_data(rows, tmp_path):
    order = np.random.default_rng(0).permutation(len(rows))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    pq.write_table(table(rows), tmp_path / "a" / "train.parquet")
    mixed = [rows[i] for i in order]
    pq.write_table(table(mixed[:50]), tmp_path / "b" / "train-0.parquet")
    pq.write_table(table(mixed[50:]), tmp_path / "b" / "train-1.parquet")
    assert load(tmp_path / "a").fingerprint == load(tmp_path / "b").fingerprint


def test_text_is_a_class_too_and_numbers_need_not_begin_at_nought(rows, tmp_path):
    words = [(content, NAMES[place]) for content, place in rows]
    pq.write_table(table(words, names=None), tmp_path / "train.parquet")
    assert load(tmp_path).about.classes == ("cat", "ship", "truck")
    pq.write_table(
        table([(content, 10 * place + 5) for content, place in rows], names=None), tmp_path / "train.parquet"
    )
    assert load(tmp_path).about.classes == ("5", "15", "25")


def test_of_several_columns_one_is_asked_for(rows, tmp_path):
    more = {"coarse": [place > 0 for _, place in rows]}
    pq.write_table(
        table(rows, label="fine", names=None, coarse=[int(one) for one in more["coarse"]]), tmp_path / "train.parquet"
    )
    with pytest.raises(
        UserError, match="several columns that may hold classes: fine, coarse; choose by --data-columns"
    ):
        load(tmp_path)
    assert len(load(tmp_path, options=DataOptions(columns="coarse")).about.classes) == 2
    assert len(load(tmp_path, options=DataOptions(columns="image,fine")).about.classes) == 3
    with pytest.raises(UserError, match="no column 'x'"):
        load(tmp_path, options=DataOptions(columns="image,x"))


def test_a_part_without_classes_is_left_out_and_said(rows, tmp_path):
    pq.write_table(table(rows), tmp_path / "train.parquet")
    pq.write_table(table([(content, -1) for content, _ in rows]), tmp_path / "test.parquet")
    data = load(tmp_path)
    assert "its test images have no classes and are not used" in data.describe()
    assert len(data.test) == 9


def test_broken_rows_are_named(rows, tmp_path):
    pq.write_table(table([*rows[:5], (b"broken", 0), *rows[6:]]), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"1 of 90 pictures cannot be read \(train.parquet, row 5: not a picture"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"image": [b"x"] * 4, "label": [0, 1, 0, None]}, "row 3: no class"),
        ({"image": [b"x"] * 4, "label": [0, 1, 2, 3]}, "none of its files that were looked at is a picture"),
        ({"image": [b"x"] * 4, "label": [0] * 4}, "all images are of one class"),
        ({"image": [b"x"] * 4}, "no column of classes"),
        ({"label": [0, 1]}, "no column of images"),
        ({"image": ["a.png"] * 2, "label": [0, 1]}, "no column of images"),
        ({"image": pa.array([None, None], pa.binary()), "label": [0, 1]}, "none of its files that were looked at"),
        ({"a": [b"x"], "b": [b"x"], "label": [0]}, "several columns that may hold images: a, b"),
        ({"image": [b"x"], "label": [1.5]}, "no column of classes"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "one class"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path, columns, words):
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=words) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


VALUES = (
    st.none()
    | st.integers(-3, 3)
    | st.integers()
    | st.text(max_size=3)
    | st.binary(max_size=5)
    | st.booleans()
    | st.floats()
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    columns=st.dictionaries(
        st.sampled_from(["image", "img", "label", "bytes", "x", ""]),
        st.lists(VALUES, min_size=2, max_size=2),
        max_size=4,
    ),
    metadata=st.none()
    | st.binary(max_size=20)
    | st.sampled_from([b'{"info": 3}', b'{"info": {"features": {"label": 1}}}']),
)
def test_any_table_is_data_or_one_sentence(tmp_path_factory, columns, metadata):
    folder = tmp_path_factory.mktemp("any")
    try:
        made = pa.table(columns)
        if metadata is not None:
            made = made.replace_schema_metadata({"huggingface": metadata})
        pq.write_table(made, folder / "train.parquet")
    except (pa.ArrowException, OverflowError):
        return  # no table at all
    with pytest.raises(UserError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", range(0, 2_000, 97))
def test_a_damaged_file_is_one_sentence_or_the_same_data(rows, tmp_path, place):
    pq.write_table(table(rows), tmp_path / "train.parquet")
    content = bytearray((tmp_path / "train.parquet").read_bytes())
    content[-1 - place] ^= 0x55
    (tmp_path / "train.parquet").write_bytes(content)
    try:
        load(tmp_path)
    except UserError as error:
        assert "\n" not in str(error)
