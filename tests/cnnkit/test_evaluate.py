import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, classification_report

from cnnkit import ConvNetSpec, build
from cnnkit.augment import to_input, to_unit
from cnnkit.evaluate import calibration_error, per_class, predict, top1


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4, 200)


def test_accuracy_and_per_class_measures_are_scikit_learns(logits, labels):
    assert top1(logits, labels) == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    report = classification_report(labels, logits.argmax(1), output_dict=True)
    ours = per_class(logits, labels)
    for name, column in (("precision", "precision"), ("recall", "recall"), ("f1-score", "f1"), ("support", "support")):
        assert getattr(ours, column) == pytest.approx([report[str(i)][name] for i in range(4)])


def test_a_class_that_is_never_predicted_has_precision_zero(labels):
    logits = np.zeros((200, 4), dtype=np.float32)
    logits[:, 0] = 1
    assert per_class(logits, labels).precision[1:] == [0, 0, 0]


def test_calibration_error_by_hand():
    # Two images at confidence .9, one right: |.5 - .9| = .4; two at .6, both right: |1 - .6| = .4.
    confident, unsure = np.log([0.9, 0.1]), np.log([0.6, 0.4])
    logits = np.array([confident, confident, unsure, unsure], dtype=np.float32)
    assert calibration_error(logits, np.array([0, 1, 0, 0]), bins=10) == pytest.approx(0.4, abs=1e-6)


def test_prediction_is_in_evaluation_mode_and_leaves_the_mode_as_it_was(sample):
    model = build(ConvNetSpec(image_size=32, widths=(4, 8), dropout=0.9)).train()
    images = torch.from_numpy(sample.test.images[:30].copy())
    first, second = predict(model, images, 32), predict(model, images, 32, batch_size=7)
    torch.testing.assert_close(first, second)
    assert model.training
    torch.testing.assert_close(first, model.eval()(to_input(to_unit(images), 32)))
