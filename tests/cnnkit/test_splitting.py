import numpy as np
import pytest

from cnnkit.errors import UserError
from cnnkit.images import digests_of
from cnnkit.splitting import Table, fingerprint, split

CLASSES = ("a", "b", "c")


def table(labels, contents=None) -> Table:
    """Images of one pixel, each of its own content unless contents are given."""
    contents = np.arange(len(labels)) if contents is None else np.asarray(contents)
    digests = digests_of(contents.astype(np.int64)[:, None])
    return Table(np.asarray(labels), digests, digests)


def parts(one: Table, given, **options):
    options = {"drop_duplicates": False, "where": "here", **options}
    return split(one, {name: np.asarray(rows) for name, rows in given.items()}, CLASSES, **options)


def labels_of(one: Table, made, part):
    return np.bincount(one.labels[made.rows[part]], minlength=3).tolist()


def test_one_tree_is_split_by_class_and_nothing_is_lost():
    one = table([0] * 100 + [1] * 50 + [2] * 10)
    made = parts(one, {"train": range(160)})
    assert labels_of(one, made, "validation") == labels_of(one, made, "test") == [10, 5, 1]
    assert sorted(np.concatenate([*made.rows.values()]).tolist()) == list(range(160))
    assert made.notes == ("validation and test images made from the training images",)


def test_a_split_depends_on_the_content_and_not_on_the_order():
    order = np.random.default_rng(0).permutation(90)
    one = table([i % 3 for i in range(90)])
    other = table([i % 3 for i in order], order)
    first, second = parts(one, {"train": range(90)}), parts(other, {"train": range(90)})
    for part in ("train", "validation", "test"):
        assert first.rows[part].tolist() == order[second.rows[part]].tolist()
    assert fingerprint(one, first.rows) == fingerprint(other, second.rows)


def test_without_test_images_the_validation_images_are_the_test_images():
    one = table([0, 1, 2] * 20)
    made = parts(one, {"train": range(30), "validation": range(30, 60)})
    assert sorted(made.rows["test"]) == list(range(30, 60))
    assert labels_of(one, made, "validation") == [1, 1, 1]
    assert "its validation images are the test images" in made.notes


def test_parts_that_are_given_are_taken_as_they_are():
    one = table([0, 1, 2] * 10)
    given = {"train": range(12), "validation": range(12, 21), "test": range(21, 30)}
    made = parts(one, given)
    assert {part: sorted(rows.tolist()) for part, rows in made.rows.items()} == {p: list(r) for p, r in given.items()}
    assert made.notes == ()


def test_an_image_in_two_classes_is_said():
    contents = [*range(28), 0, 0]
    again = parts(table([0, 1, 2] * 10, contents), {"train": range(30)})  # content 0 in the classes a, b and c
    assert again.notes[0] == "1 image in two classes, so that one label is wrong"


def test_duplicates_stay_where_they_are_tested():
    contents = [0, 1, 2, 3, 4, 5, 0, 6, 7, 1, 8, 9]
    one = table([0, 1, 2] * 4, contents)
    given = {"train": range(6), "validation": range(6, 9), "test": range(9, 12)}
    made = parts(table([c % 3 for c in contents], contents), given, drop_duplicates=True)
    kept = {part: sorted(np.asarray(contents)[rows].tolist()) for part, rows in made.rows.items()}
    assert kept == {"train": [2, 3, 4, 5], "validation": [0, 6, 7], "test": [1, 8, 9]}
    assert made.notes[0] == "2 duplicates left out"
    assert fingerprint(one, made.rows) != fingerprint(one, parts(one, given).rows)
    again = parts(table([0, 1, 2] * 10), {"train": range(30)}, drop_duplicates=True)
    assert again.notes[0] == "no duplicates"


@pytest.mark.parametrize(
    ("labels", "given", "words"),
    [
        ([0, 1, 2], {"test": range(3)}, "no training images"),
        ([0, 1, 2] * 3 + [0], {"train": range(1), "test": range(1, 10)}, "1 training image, of which"),
        (
            [0, 0, 0, 1, 1, 1, 2, 2],
            {"train": range(8)},
            "class c has 2 training images, of which 2 parts cannot be made",
        ),
        ([0, 1] * 9, {"train": range(18)}, "no training image of the class c"),
    ],
)
def test_what_cannot_be_split_is_one_sentence(labels, given, words):
    with pytest.raises(UserError, match=words):
        parts(table(labels), given)


def test_classes_without_test_images_are_said():
    one = table([0, 1, 2] * 10 + [0, 1])
    made = parts(one, {"train": range(30), "test": [30, 31]})
    assert "no test image of c" in made.notes
