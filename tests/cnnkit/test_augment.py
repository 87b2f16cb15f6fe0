import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference

from cnnkit.augment import PARAMETERS, augment, draw, to_input, to_unit
from cnnkit.recipe import NO_AUGMENTATION
from cnnkit.seeds import generator


@pytest.fixture(scope="module")
def images(sample):
    """(8, 3, 32, 32) real images in [0, 1]."""
    return to_unit(torch.from_numpy(sample.train.images[:8].copy()))


def uniforms(count: int, **values: float) -> torch.Tensor:
    """Middles of every range, but for those given: a middle changes nothing."""
    columns = ("flip", "rotation", "brightness", "contrast", "saturation")
    result = torch.full((count, PARAMETERS), 0.5)
    for name, value in values.items():
        result[:, columns.index(name)] = value
    return result


def test_without_strengths_nothing_changes(images):
    assert torch.equal(augment(images, draw(8, generator(0, "x")), NO_AUGMENTATION), images)


def test_a_flip_mirrors_left_and_right_and_each_image_has_its_own(images):
    flip = NO_AUGMENTATION.vary(flip=0.5)
    u = uniforms(8)
    u[:4, 0], u[4:, 0] = 0.1, 0.9
    result = augment(images, u, flip)
    assert torch.equal(result[:4], images[:4].flip(3))
    assert torch.equal(result[4:], images[4:])


def test_a_flip_is_the_same_with_and_without_rotation(images):
    u = uniforms(8, flip=0.0)
    rotating = augment(images, u, NO_AUGMENTATION.vary(flip=0.5, rotation=10))
    torch.testing.assert_close(rotating, images.flip(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("degrees", [-10.0, 4.0, 10.0])
def test_rotation_is_torchvisions(images, degrees):
    result = augment(images, uniforms(8, rotation=(degrees / 10 + 1) / 2, flip=0.9), NO_AUGMENTATION.vary(rotation=10))
    expected = reference.rotate(images, degrees, InterpolationMode.BILINEAR)
    # Away from the corners, where torchvision fills with black and we repeat the edge.
    middle = (slice(None), slice(None), slice(6, 26), slice(6, 26))
    torch.testing.assert_close(result[middle], expected[middle], atol=1e-4, rtol=0)


def test_a_flip_comes_before_the_rotation(images):
    u = uniforms(8, rotation=1.0, flip=0.0)
    both = augment(images, u, NO_AUGMENTATION.vary(flip=0.5, rotation=10))
    one_by_one = augment(images.flip(3), uniforms(8, rotation=1.0, flip=0.9), NO_AUGMENTATION.vary(rotation=10))
    torch.testing.assert_close(both, one_by_one, atol=1e-5, rtol=0)


@pytest.mark.parametrize("factor", [0.8, 1.1])
@pytest.mark.parametrize(
    ("name", "adjust"),
    [
        ("brightness", reference.adjust_brightness),
        ("contrast", reference.adjust_contrast),
        ("saturation", reference.adjust_saturation),
    ],
)
def test_jitter_is_torchvisions(images, name, adjust, factor):
    u = uniforms(8, **{name: ((factor - 1) / 0.2 + 1) / 2})
    result = augment(images, u, NO_AUGMENTATION.vary(**{name: 0.2}))
    torch.testing.assert_close(result, adjust(images, factor), atol=2e-4, rtol=0)


@pytest.mark.parametrize("factor", [0.8, 1.1])
@pytest.mark.parametrize(
    ("name", "adjust"), [("brightness", reference.adjust_brightness), ("contrast", reference.adjust_contrast)]
)
def test_jitter_of_grey_images_is_torchvisions(images, name, adjust, factor):
    grey = images.mean(1, keepdim=True)
    u = uniforms(8, **{name: ((factor - 1) / 0.2 + 1) / 2})
    expected = torch.stack([adjust(image, factor) for image in grey])
    torch.testing.assert_close(augment(grey, u, NO_AUGMENTATION.vary(**{name: 0.2})), expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_saturation_is_of_colour_alone(images, channels):
    others = images[:, :1].expand(-1, channels, -1, -1).contiguous()
    assert torch.equal(augment(others, draw(8, generator(0, "x")), NO_AUGMENTATION.vary(saturation=1)), others)


def test_parameters_differ_between_images_and_agree_between_runs():
    a, b = (draw(100, generator(3, "augmentation", 1)) for _ in range(2))
    assert torch.equal(a, b)
    assert len(np.unique(a[:, 1].numpy())) > 90
    assert not torch.equal(a, draw(100, generator(3, "augmentation", 2)))


def test_inputs_are_normalised_and_scaled(images):
    inputs = to_input(images, 64)
    assert inputs.shape == (8, 3, 64, 64)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    normalised = reference.normalize(images, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    expected = reference.resize(normalised, [64, 64], InterpolationMode.BILINEAR)
    torch.testing.assert_close(inputs, expected)
    torch.testing.assert_close(to_input(images, 32), normalised)
