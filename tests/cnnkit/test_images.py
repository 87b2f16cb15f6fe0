import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnkit import ConvNetSpec, Recipe, build
from cnnkit.errors import UserError
from cnnkit.images import Data, ImageSet, digests_of, shares
from cnnkit.train import Training


def mapped(images: ImageSet, file) -> ImageSet:
    """The same images in a file that is mapped into memory."""
    file.write_bytes(images.pixels.tobytes())
    return ImageSet(np.memmap(file, np.uint8, "r", shape=images.pixels.shape), images.labels)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=30).filter(any), st.floats(0, 1))
def test_a_stratified_subset_has_of_each_class_its_share_and_at_least_one(sizes, part):
    counts = np.array(sizes)
    count = max(int(part * counts.sum()), int((counts > 0).sum()))
    given_each = shares(counts, count)
    assert given_each.sum() == count
    assert (given_each <= counts).all()
    assert (given_each[counts > 0] >= 1).all()
    exact = counts * count / counts.sum()
    if (exact[counts > 0] >= 1).all():
        assert (np.abs(given_each - exact) <= 1).all()


def test_subsets_of_uneven_classes_keep_their_proportions(sample):
    keep = (sample.train.labels < 3) | (sample.train.rank < 40)
    uneven = sample.train.chosen(keep)
    assert np.bincount(uneven.labels).tolist() == [400] * 3 + [40] * 7
    assert np.bincount(uneven.subset(148, "x").labels).tolist() == [40] * 3 + [4] * 7


def test_images_in_a_mapped_file_are_those_in_memory(sample, tmp_path):
    whole = mapped(sample.test, tmp_path / "x")
    part, same = whole.subset(100, "x"), sample.test.subset(100, "x")
    assert part.is_mapped
    assert part.pixels is whole.pixels, "no image is copied"
    assert np.array_equal(part.images, same.images)
    assert np.array_equal(part.labels, same.labels)
    assert np.array_equal(part.digests, digests_of(same.images))
    assert np.array_equal(part.subset(20, "x").images, same.subset(20, "x").images)
    assert part.count_in(whole) == 100


def test_a_mapped_file_travels_by_its_name(sample, tmp_path):
    part = mapped(sample.test, tmp_path / "x").subset(500, "x")
    sent = pickle.dumps(part)
    assert len(sent) < 20_000
    received = pickle.loads(sent)
    assert received.is_mapped
    assert np.array_equal(received.images, part.images)
    assert len(pickle.dumps(part.in_memory())) > part.nbytes, "for other machines, the images themselves"
    (tmp_path / "x").unlink()
    with pytest.raises(UserError, match="not on"):
        pickle.loads(sent)


def test_another_split_of_a_mapped_file_stays_in_the_file_also_in_another_process(sample, tmp_path):
    whole = mapped(sample.train, tmp_path / "x")
    train, rest = whole.subset(2_000, "x"), whole.without(whole.subset(2_000, "x"))
    validation = rest.subset(500, "x")
    data = Data(train, validation, sample.test, sample.about, rest=(rest.without(validation),))
    there = pickle.loads(pickle.dumps(data))
    in_memory = data.in_memory()
    for drawn in (data.redrawn(5), there.redrawn(5)):
        assert drawn.train.is_mapped
        assert drawn.validation.is_mapped
        assert np.array_equal(drawn.train.images, in_memory.redrawn(5).train.images)
        assert np.array_equal(drawn.validation.labels, in_memory.redrawn(5).validation.labels)


def test_training_on_a_mapped_file_gives_the_numbers_of_images_in_memory(tiny, sample, tmp_path):
    spec, recipe = ConvNetSpec(image_size=32, widths=(8, 16), hidden_width=16), Recipe(epochs=1)

    def logits(data: Data) -> np.ndarray:
        training = Training(build(spec), recipe, data, image_size=32, seed=0)
        for _ in training.run():
            pass
        return training.result().test_logits

    names = ("train", "validation", "test")
    files = {name: mapped(getattr(sample, name), tmp_path / name) for name in names}
    data = Data(**files, about=sample.about).subset(train=200, validation=100, test=100)
    assert all(part.is_mapped for part in data.parts)
    assert np.array_equal(logits(data), logits(tiny))
