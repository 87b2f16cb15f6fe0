"""Images in a mapped file train to the numbers of images in memory, whether the device has room for them or not."""

import numpy as np
import pytest

from cnnkit import ConvNetSpec, Recipe, build, train
from cnnkit.images import Data, ImageSet


@pytest.mark.parametrize("proportion", [0.4, 0.0])
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_where_images_lie_changes_no_number(tiny, sample, tmp_path, monkeypatch, device, proportion, cuda_graphs):
    monkeypatch.setattr(train, "IMAGES_PROPORTION", proportion)
    parts = {}
    for name in ("train", "validation", "test"):
        images = getattr(sample, name)
        (tmp_path / name).write_bytes(images.pixels.tobytes())
        pixels = np.memmap(tmp_path / name, np.uint8, "r", shape=images.pixels.shape)
        parts[name] = ImageSet(pixels, images.labels)
    mapped = Data(**parts, about=sample.about).subset(train=200, validation=100, test=100)
    spec, recipe = ConvNetSpec(image_size=32, widths=(8, 16), hidden_width=16), Recipe(epochs=2)

    def logits(data: Data) -> np.ndarray:
        run = train.Training(build(spec), recipe, data, image_size=32, seed=0, device=device, cuda_graphs=cuda_graphs)
        for _ in run.run():
            pass
        return run.result().test_logits

    assert np.array_equal(logits(mapped), logits(tiny))
