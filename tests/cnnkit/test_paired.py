from pathlib import Path

import pytest
import torch

from cnnkit import build
from cnnkit.search_paths import add_search_paths
from cnnkit.spec import ModuleSpec


@pytest.fixture(autouse=True)
def _networks():
    add_search_paths([str(Path(__file__).parent / "networks")])


def drawn(factory, seed=0, initialise="by_name", **arguments):
    spec = ModuleSpec(factory=factory, arguments=arguments, image_size=32, initialise=initialise)
    return build(spec, seed=seed).state_dict()


def test_arms_share_initial_weights_wherever_name_and_shape_agree():
    shallow = drawn("timm:resnet18")
    wider = drawn("timm:resnet18", stem_type="deep", stem_width=32)
    assert torch.equal(shallow["layer1.0.conv1.weight"], wider["layer1.0.conv1.weight"])
    assert torch.equal(shallow["fc.weight"], wider["fc.weight"])
    as_coded, others = (
        drawn("timm:resnet18", initialise="as_coded", **a) for a in ({}, {"stem_type": "deep", "stem_width": 32})
    )
    assert not torch.equal(as_coded["layer1.0.conv1.weight"], others["layer1.0.conv1.weight"])


@pytest.mark.parametrize("factory", ["timm:resnet18", "timm:convnext_atto", "torchvision:vgg11", "small_vgg:make"])
def test_weights_keep_the_distribution_that_the_networks_code_gives_them(factory):
    arguments = {"num_classes": 10} if factory.startswith("torchvision") else {}
    by_name, as_coded = (drawn(factory, initialise=how, **arguments) for how in ("by_name", "as_coded"))
    for name, tensor in as_coded.items():
        if not tensor.is_floating_point() or tensor.numel() < 1000:
            continue
        if tensor.std() == 0:
            assert torch.equal(by_name[name], tensor)
        else:
            assert not torch.equal(by_name[name], tensor), name
            assert float(by_name[name].std()) == pytest.approx(float(tensor.std()), rel=0.1), name
            assert by_name[name].abs().max() <= tensor.abs().max() * 1.5


def test_seeds_draw_other_weights_and_the_same_ones_again():
    one, again, other = (drawn("small_vgg:make", seed) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["0.weight"], other["0.weight"])
