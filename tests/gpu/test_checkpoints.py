"""A run that began on one device goes on on another."""

import itertools

import numpy as np
import pytest
import torch

from cnnkit import ConvNetSpec, Recipe, build
from cnnkit.train import Training

SPEC = ConvNetSpec(
    image_size=32, widths=(8, 16), hidden_width=16, dropout=0.0
)  # dropout's numbers are each device's own
OVER = [("cpu", "cpu", "cpu"), pytest.param(("cuda", "cpu", "cuda"), marks=pytest.mark.gpu)]
BACK = [pytest.param(("cpu", "cuda", "cpu"), marks=pytest.mark.gpu)]


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "nadam"])
@pytest.mark.parametrize("way", OVER + BACK)
def test_a_checkpoint_goes_on_elsewhere_and_back(way, optimizer, sample):
    data = sample.subset(train=1000, validation=100, test=100)
    recipe = Recipe(epochs=3, batch_size=50, optimizer=optimizer, learning_rate=1e-3, schedule="cosine")

    def begin(device: str) -> Training:
        return Training(build(SPEC), recipe, data, image_size=32, seed=0, device=device)

    whole = begin(way[0])
    for _ in whole.run():
        pass
    run = begin(way[0])
    for epoch, (here, there) in enumerate(itertools.zip_longest(way, way[1:]), start=1):
        for progress in run.run():
            if progress.ends_epoch:
                break
        assert (progress.epoch, run.device.type) == (epoch, here)
        if there is None:
            break
        next_run = begin(there)
        next_run.restore(run.state())
        for (name, before), after in zip(
            run.model.state_dict().items(), next_run.model.state_dict().values(), strict=True
        ):
            assert after.device.type == there
            assert torch.equal(before.cpu(), after.cpu()), name
        logits = [some.predict(some.validation_images) for some in (run, next_run)]
        assert np.allclose(*logits, rtol=1e-3, atol=1e-4)
        run = next_run
    losses = [[epoch.train_loss for epoch in some.curve] for some in (run, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    assert losses[0][-1] < losses[0][0]
    assert [epoch.learning_rate for epoch in run.curve] == [epoch.learning_rate for epoch in whole.curve]
    if len(set(way)) == 1:
        assert losses[0] == losses[1]
