"""Networks of timm, torchvision and public model files, as the baseline of a study with one arm that changes an argument."""

from pathlib import Path

import numpy as np
import pytest

from ablations.arm import Arm
from ablations.cell import Cell, SplitSizes
from ablations.job import Job
from ablations.plan import arms_for
from ablations.protocols import PROTOCOLS
from ablations.trial import result_of
from cnnkit.description import cifar10
from cnnkit.errors import UserError
from cnnkit.search_paths import add_search_paths

CIFAR10 = cifar10(text="", fingerprint="", source="sample")
NETWORKS = Path(__file__).parents[1] / "cnnkit" / "networks"

FAST = {
    "timm:resnet18": {"drop_rate": 0.3},
    "torchvision:squeezenet1_1": {"dropout": 0.0},
    "cifar_models:resnet20": {"width": 8},
}
SLOW = {
    "cifar_models:WideResNet": {"dropRate": 0.3},
    "small_vgg:make": {"batch_norm": False},
    "timm:convnext_atto": {"drop_path_rate": 0.1},
    "timm:densenet121": {"growth_rate": 16},
    "timm:efficientnet_lite0": {"drop_path_rate": 0.2},
    "timm:ghostnet_050": {"drop_rate": 0.0},
    "timm:mixer_s16_224": {"drop_path_rate": 0.1},
    "timm:mobilenetv3_small_050": {"drop_rate": 0.2},
    "timm:nf_regnet_b0": {"drop_path_rate": 0.1},
    "timm:regnetx_002": {"drop_path_rate": 0.1},
    "timm:repvgg_a0": {"drop_path_rate": 0.1},
    "timm:rexnet_100": {"drop_path_rate": 0.1},
    "timm:swin_tiny_patch4_window7_224": {"drop_path_rate": 0.0},
    "timm:vgg11_bn": {"drop_rate": 0.5},
    "timm:vit_tiny_patch16_224": {"depth": 6},
    "torchvision:alexnet": {"dropout": 0.0},
    "torchvision:convnext_tiny": {"stochastic_depth_prob": 0.0},
    "torchvision:densenet121": {"drop_rate": 0.2},
    "torchvision:efficientnet_b0": {"dropout": 0.0},
    "torchvision:mnasnet0_5": {"dropout": 0.0},
    "torchvision:mobilenet_v2": {"dropout": 0.5},
    "torchvision:regnet_y_400mf": {"activation": {"$ref": "torch.nn:Hardswish"}},
    "torchvision:resnet18": {"zero_init_residual": True},
    "torchvision:shufflenet_v2_x0_5": {
        "inverted_residual": {"$ref": "torchvision.models.shufflenetv2:InvertedResidual"}
    },
    "torchvision:vgg11_bn": {"dropout": 0.1},
}
REFUSED = {
    "cifar_models:LeNet": ({"hidden": 60}, "cannot take 2 images of 3x64x64"),
    "timm:mixer_s16_224": ({"num_blocks": 4}, "multiple values for keyword argument 'num_blocks'"),
    "timm:inception_v3": ({"drop_rate": 0.3}, "cannot take 2 images of 3x64x64"),
    "torchvision:googlenet": ({"aux_logits": False}, "return the logits alone, in training, too"),
    "torchvision:maxvit_t": ({"stochastic_depth_prob": 0.1}, "maxvit_t"),
}


@pytest.fixture(autouse=True)
def _networks():
    add_search_paths([str(NETWORKS)])


def arms_of_study(factory: str, changed: dict, **arguments) -> list[Arm]:
    def grid(baseline: Arm) -> list[Arm]:
        own = baseline.replaced("as it is", {}, factory, arguments).as_baseline()
        return [own, own.variant("changed", {"changed": True}, **changed)]

    return arms_for(grid, "foreign", PROTOCOLS["smoke"], CIFAR10)


def trains(arms: list[Arm], data) -> None:
    split = SplitSizes(train=len(data.train), validation=len(data.validation), test=len(data.test))
    keys = set()
    for arm in arms:
        cell = Cell.of(arm, data=data.fingerprint, split=split, seed=0)
        keys.add(cell.key)
        result = result_of(Job(cell=cell, arm=arm.name, protocol="smoke"), data)
        assert np.isfinite(result.test_logits).all()
        assert result.test_logits.shape == (len(data.test), 10)
    assert len(keys) == 2


@pytest.mark.parametrize(("factory", "changed"), FAST.items(), ids=FAST)
def test_a_foreign_network_is_baseline_and_arm(factory, changed, tiny):
    trains(arms_of_study(factory, changed), tiny.subset(train=50, validation=10, test=20))


@pytest.mark.slow
@pytest.mark.parametrize(("factory", "changed"), SLOW.items(), ids=SLOW)
def test_twenty_more_foreign_networks_are_baseline_and_arm(factory, changed, tiny):
    trains(arms_of_study(factory, changed), tiny)


@pytest.mark.slow
def test_a_network_with_further_outputs_is_trained_where_its_code_can_leave_them_out(tiny):
    arms = arms_of_study("torchvision:googlenet", {"transform_input": True}, aux_logits=False, init_weights=False)
    trains(arms, tiny)


@pytest.mark.slow
@pytest.mark.parametrize("factory", REFUSED)
def test_a_foreign_network_that_cannot_be_trained_so_is_refused_in_one_sentence(factory):
    changed, words = REFUSED[factory]
    with pytest.raises(UserError) as caught:
        arms_of_study(factory, changed)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
