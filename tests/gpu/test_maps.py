"""What is measured on a trained network is the same on a GPU and on the CPU, to rounding."""

import numpy as np
import pytest
import torch

from analysis.gradcam import METHODS, grad_cam
from cnnkit import BASELINE, Recipe, build, fit
from cnnkit.augment import to_input, to_unit
from cnnkit.evaluate import calibration_error, per_class, predict, top1
from cnnkit.train import configure_arithmetic


@pytest.fixture(scope="module")
def trained(sample):
    """A network that has learnt something, on the CPU."""
    model = build(BASELINE.vary(image_size=64, widths=(8, 16, 32)))
    fit(model, Recipe(epochs=2, learning_rate=1e-3), sample.subset(train=1000), image_size=64)
    return model


@pytest.mark.parametrize("method", sorted(METHODS))
def test_raw_maps_on_a_gpu_are_the_cpus(device, method, trained, sample):
    configure_arithmetic()
    images = to_input(to_unit(torch.from_numpy(sample.test.images[:20].copy())), 64)
    labels = sample.test.labels[:20]
    expected = grad_cam(trained.cpu(), images, labels, method=method)
    maps = grad_cam(trained.to(device), images.to(device), labels, method=method)
    trained.cpu()
    assert maps.any()
    scale = expected.max(axis=(1, 2), keepdims=True)
    assert np.abs(maps - expected).max() <= (1e-3 * scale).max()


def test_measures_of_logits_are_the_same_on_a_gpu(device, trained, sample):
    configure_arithmetic()
    pixels = torch.from_numpy(sample.test.images.copy())
    expected = predict(trained.cpu(), pixels, 64).numpy()
    logits = predict(trained.to(device), pixels.to(device), 64).numpy()
    trained.cpu()
    labels = sample.test.labels
    assert np.abs(logits - expected).max() < 1e-4 * np.abs(expected).max()
    assert top1(logits, labels) == pytest.approx(top1(expected, labels), abs=2 / len(labels))
    assert calibration_error(logits, labels) == pytest.approx(calibration_error(expected, labels), abs=5e-3)
    assert np.allclose(per_class(logits, labels).recall, per_class(expected, labels).recall, atol=0.02)
