"""Against the library on the whole network, which is the reference."""

import copy

import numpy as np
import pytest
import timm
import torch
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from torch import nn

from analysis.gradcam import METHODS, grad_cam
from analysis.maps import coarsen, empty, relative
from cnnkit import BASELINE, build
from cnnkit.augment import to_input, to_unit
from cnnkit.data import Data
from cnnkit.errors import UserError
from cnnkit.model import ConvNet

SMALL = BASELINE.vary(image_size=32, widths=(8, 16), hidden_width=16)
LIBRARY = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "layercam": LayerCAM,
    "hirescam": HiResCAM,
    "eigencam": EigenCAM,
}


def inputs(data: Data, size: int, count: int = 6) -> torch.Tensor:
    return to_input(to_unit(torch.from_numpy(data.test.images[:count].copy())), size)


def of_the_library(model: nn.Module, layer: nn.Module, images, classes, method: str = "gradcam") -> np.ndarray:
    """Raw maps of the library on the whole network, as it computes them before it scales."""
    raw = []

    class Raw(LIBRARY[method]):
        def get_cam_image(self, *arguments, **options):
            raw.append(super().get_cam_image(*arguments, **options))
            return raw[-1]

    model = copy.deepcopy(model)
    layer = dict(model.named_modules())[layer]
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with Raw(model=model, target_layers=[layer]) as cam:
        cam(images, targets=[ClassifierOutputTarget(int(c)) for c in classes])
    return np.maximum(raw[0], 0)


class ActivatedFirst(nn.Module):
    """A `ConvNet` as it is usually written: every block activates, then pools, so that the map has a module of its own."""

    def __init__(self, model: ConvNet) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        for block in self.model.blocks:
            block.pool_first = False
        last = self.model.blocks[-1]
        last.act = nn.Sequential(last.act)  # in blocks of one convolution, used once

    def forward(self, x):
        return self.model(x)


SPECS = {
    "baseline": BASELINE.vary(image_size=64),
    "no batch norm": BASELINE.vary(image_size=64, batch_norm=False),
    "residual": BASELINE.vary(image_size=64, residual=True),
    "2 blocks": BASELINE.vary(image_size=64, widths=(32, 64)),
    "6 blocks": BASELINE.vary(image_size=64, widths=(32, 64, 128, 256, 512, 512)),
    "pooled head": BASELINE.vary(image_size=64, head="pool"),
    "GELU, pooled last": BASELINE.vary(image_size=64, activation="gelu"),
}


@pytest.mark.parametrize("name", SPECS)
def test_maps_equal_the_library_on_the_whole_network(name, sample):
    model = build(SPECS[name], seed=1)
    images, classes = inputs(sample, 64), [3, 0, 1, 9, 5, 5]
    expected = of_the_library(
        ActivatedFirst(model).eval(), f"model.blocks.{len(model.blocks) - 1}.act", images, classes
    )
    found = grad_cam(model, images, classes)
    size = 64 // 2 ** (len(model.blocks) - 1)
    assert found.shape == (6, size, size)
    assert np.array_equal(found, expected)
    assert found.any()


def test_the_baseline_at_its_own_size_equals_the_library(sample):
    model = build(BASELINE, seed=0)
    images = inputs(sample, 224, 2)
    expected = of_the_library(ActivatedFirst(model).eval(), "model.blocks.3.act", images, [3, 8])
    assert np.array_equal(grad_cam(model, images, [3, 8]), expected)


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_of_the_library_come_along(method, sample):
    model = build(SPECS["baseline"], seed=1)
    images, classes = inputs(sample, 64, 3), [3, 0, 1]
    expected = of_the_library(ActivatedFirst(model).eval(), "model.blocks.3.act", images, classes, method)
    assert np.array_equal(grad_cam(model, images, classes, method=method), expected)


@pytest.mark.parametrize("layer", [None, "layer3", "layer4.1.conv2"])
def test_resnet18_equals_the_library(layer, sample):
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=10).eval()
    images, classes = inputs(sample, 64, 4), [3, 0, 1, 9]
    expected_layer = layer or "layer4"
    found = grad_cam(model, images, classes, layer=layer)
    assert np.array_equal(found, of_the_library(model, expected_layer, images, classes))


def test_what_later_layers_do_in_place_leaves_the_map_alone(sample):
    """The library on the whole network keeps the tensor itself, which an addition and a ReLU in place then change."""
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=10).eval()
    images = inputs(sample, 64, 2)
    kept = []

    def keep(_module, _inputs, output):
        output.retain_grad()
        kept.append(output)
        return output.clone()

    handle = model.layer4[1].bn2.register_forward_hook(keep)
    model(images)[:, 3].sum().backward()
    handle.remove()
    weights = kept[0].grad.mean((2, 3), keepdim=True)
    expected = torch.relu((weights * kept[0]).sum(1)).detach().numpy()
    found = grad_cam(model, images, [3, 3], layer="layer4.1.bn2")
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-9)
    assert not np.allclose(of_the_library(model, "layer4.1.bn2", images, [3, 3]), expected, rtol=1e-2)


def test_batches_change_nothing(sample):
    model = build(SPECS["baseline"], seed=1)
    images, classes = inputs(sample, 64), [3, 0, 1, 9, 5, 5]
    whole = grad_cam(model, images, classes)
    one_by_one = grad_cam(model, images, classes, batch_size=1)
    assert one_by_one == pytest.approx(whole, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize(
    "build_model", [lambda: build(SMALL, seed=0), lambda: timm.create_model("resnet18", num_classes=10)]
)
def test_the_network_is_afterwards_as_it_was(build_model, sample):
    model = build_model()
    images = inputs(sample, 32)
    model(images).sum().backward()  # gradients of somebody else's
    model.train()
    first = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d)).eval()  # a mode of its own
    frozen = next(model.parameters()).requires_grad_(False)
    gradients = {
        name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter is not frozen
    }
    state = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    numbers = torch.random.get_rng_state()
    grad_cam(model, images, [0] * 6)
    assert [module.training for module in model.modules()] == modes
    assert not first.training
    assert not frozen.requires_grad
    assert all(parameter.requires_grad for parameter in model.parameters() if parameter is not frozen)
    assert all(torch.equal(dict(model.named_parameters())[name].grad, gradient) for name, gradient in gradients.items())
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
    assert torch.equal(torch.random.get_rng_state(), numbers)


def test_training_mode_frozen_parameters_and_what_surrounds_the_call_change_nothing(sample):
    model = build(SMALL, seed=0)
    images, classes = inputs(sample, 32), [0, 1, 2, 3, 4, 5]
    expected = grad_cam(model.eval(), images, classes)
    assert np.array_equal(grad_cam(model.train(), images, classes), expected)
    model.requires_grad_(False)
    assert np.array_equal(grad_cam(model, images, classes), expected)
    with torch.no_grad():
        assert np.array_equal(grad_cam(model, images, classes), expected)
    with torch.inference_mode():
        assert np.array_equal(grad_cam(model, images.clone(), classes), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(grad_cam(model, images, classes), expected)


def test_one_image_has_the_map_that_it_has_among_others(sample):
    model = build(SMALL, seed=0)
    images = inputs(sample, 32)
    assert grad_cam(model, images[2:3], [7])[0] == pytest.approx(
        grad_cam(model, images, [7] * 6)[2], rel=1e-4, abs=1e-9
    )


def test_classes_may_be_a_list_an_array_or_a_tensor(sample):
    model = build(SMALL, seed=0)
    images = inputs(sample, 32)
    classes = [0, 1, 2, 3, 4, 5]
    maps = [grad_cam(model, images, kind) for kind in (classes, np.array(classes), torch.tensor(classes))]
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])


def test_a_class_that_nothing_raises_has_an_empty_map_and_is_marked(sample):
    model = build(SMALL.vary(hidden_width=0, batch_norm=False), seed=0)
    with torch.no_grad():  # every position lowers class 0, and raises class 1
        model.head.classifier.weight[0] = -1
        model.head.classifier.weight[1] = 1
    images = inputs(sample, 32, 4)
    maps = grad_cam(model, images, [0, 1, 0, 1])
    assert empty(maps).tolist() == [True, False, True, False]
    assert not maps[0].any()
    multiples = relative(maps)
    assert not multiples[[0, 2]].any()
    assert multiples[[1, 3]].mean(axis=(1, 2)) == pytest.approx([1, 1], rel=1e-5)


def test_a_module_that_is_used_twice_is_explained_at_its_last_use(sample):
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
            self.act = nn.ReLU(inplace=True)
            self.last = nn.Linear(4, 10)

        def forward(self, x):
            return self.last(self.act(self.second(self.act(self.first(x)))).mean((2, 3)))

    torch.manual_seed(0)
    model = Twice()
    images = inputs(sample, 32, 3)
    found = grad_cam(model, images, [1, 2, 3])
    maps = torch.relu(model.second(torch.relu(model.first(images))))
    # The gradient of a mean of all positions is the class's weight over their number.
    weights = model.last.weight[[1, 2, 3]][:, :, None, None] / maps[0, 0].numel()
    assert found == pytest.approx(torch.relu((weights * maps).sum(1)).detach().numpy(), rel=1e-4, abs=1e-8)


def test_what_cannot_be_explained_is_one_clear_sentence(sample):
    model, images = build(SMALL, seed=0), inputs(sample, 32)
    with pytest.raises(ValueError, match="a class for each of 6 images"):
        grad_cam(model, images, [1, 2])
    with pytest.raises(ValueError, match="need images"):
        grad_cam(model, images[:0], [])
    with pytest.raises(ValueError, match="need images"):
        grad_cam(model, (images * 50).byte(), [0] * 6)
    with pytest.raises(UserError, match=r"no layer 'blocks.2'; did you mean 'blocks\.[01]'"):
        grad_cam(model, images, [0] * 6, layer="blocks.2")
    with pytest.raises(UserError, match="layer 'head' has no map"):
        grad_cam(model, images, [0] * 6, layer="head")
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    with pytest.raises(UserError, match="the network has no map"):
        grad_cam(flat, images, [0] * 6)
    with pytest.raises(ValueError, match=r"bfloat16; explain a copy in fp32"):
        grad_cam(copy.deepcopy(model).bfloat16(), images, [0] * 6)
    assert not any(module._forward_hooks for module in model.modules())


def test_maps_of_two_resolutions_are_compared_at_the_coarser():
    maps = np.random.default_rng(0).random((2, 8, 8)).astype(np.float32)
    coarse = coarsen(maps, 4)
    assert coarse == pytest.approx(maps.reshape(2, 4, 2, 4, 2).mean((2, 4)))
    with pytest.raises(ValueError, match="cannot be shown at 8x8"):
        coarsen(coarse, 8)


@pytest.mark.parametrize("size", [2, 3, 5, 7])
def test_a_coarser_map_keeps_the_mean_also_where_its_areas_cut_positions(size):
    maps = np.random.default_rng(0).random((3, 7, 7))
    assert coarsen(maps, size).mean(axis=(1, 2)) == pytest.approx(maps.mean(axis=(1, 2)))
