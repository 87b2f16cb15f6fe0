import functools
import json
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from cnnkit import BASELINE, ConvNetSpec, Recipe, build
from cnnkit.search_paths import add_search_paths
from cnnkit.spec import ModuleSpec, one_sentence


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"image_size": 32, "widths": (8,) * 6}, ["block 6", "1x1", "32 pixels", "at most 5 blocks"]),
        ({"image_size": 64, "head": "pool", "pool_size": 8}, ["4x4", "block 4", "at most 4"]),
        ({"kernel_size": 4}, ["kernel_size", "odd", "4"]),
        ({"widths": ()}, ["widths"]),
        ({"widths": (8, 0)}, ["widths.1", "greater than 0"]),
        ({"dropout": 1.0}, ["dropout", "less than 1"]),
        ({"droput": 0.1}, ["droput", "no such field"]),
        ({"activation": "swash"}, ["activation", "swash"]),
        ({"pool_size": 2}, ["pool_size=2", "head='pool'"]),
    ],
)
def test_a_spec_that_cannot_be_built_is_refused_in_one_sentence(fields, words):
    with pytest.raises(ValidationError) as caught:
        ConvNetSpec(**fields)
    sentence = one_sentence(caught.value)
    assert "\n" not in sentence
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"epochs": 0}, ["epochs"]),
        ({"schedule": "cosine", "warmup_epochs": 5}, ["warmup_epochs=5", "epochs=5"]),
        ({"warmup_epochs": 1}, ["warmup_epochs", "schedule"]),
        ({"schedule": "step"}, ["decay_epochs"]),
        ({"schedule": "step", "decay_epochs": 30}, ["30 epochs", "epochs=5"]),
        ({"precision": "int8"}, ["precision", "int8"]),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused_in_one_sentence(fields, words):
    with pytest.raises(ValidationError) as caught:
        Recipe(**fields)
    sentence = one_sentence(caught.value)
    assert all(word in sentence for word in words), sentence


def test_a_spec_survives_json_and_is_hashable():
    spec = ConvNetSpec(image_size=64, widths=(8, 16), residual=True)
    assert ConvNetSpec.model_validate_json(spec.model_dump_json()) == spec
    assert len({spec, ConvNetSpec.model_validate(json.loads(spec.model_dump_json()))}) == 1


def test_a_varied_spec_is_validated_again():
    with pytest.raises(ValidationError):
        BASELINE.vary(widths=(8,) * 9)
    assert BASELINE.vary(dropout=0).dropout == 0
    assert BASELINE.dropout == 0.5


def test_a_spec_is_identified_by_what_differs_from_the_defaults():
    assert BASELINE.changed_fields() == {}
    assert BASELINE.vary(widths=(8, 16)).changed_fields() == {"widths": [8, 16]}


class Colour(Enum):
    RED = "red"


def test_arguments_are_kept_as_json_whatever_they_were_in_python():
    given = {
        "width": np.int64(4), "rate": np.float32(0.5), "flag": np.bool_(True), "sizes": (1, (2, 3)), "file": Path("a/b"),
        "colour": Colour.RED, "act": nn.GELU, "norm": "batch", "loss": F.mse_loss, "dtype": torch.bfloat16, "by": {1: None},
    }  # fmt: skip
    spec = ModuleSpec(factory="net:make", arguments=given)
    assert spec.arguments == {
        "width": 4, "rate": 0.5, "flag": True, "sizes": [1, [2, 3]], "file": "a/b", "colour": "red",
        "act": {"$ref": "torch.nn.modules.activation:GELU"}, "norm": "batch", "loss": {"$ref": "torch.nn.functional:mse_loss"},
        "dtype": {"$ref": "torch:bfloat16"}, "by": {"1": None},
    }  # fmt: skip
    assert ModuleSpec.model_validate_json(spec.model_dump_json()) == spec
    assert type(spec.arguments["width"]) is int


def test_a_network_gets_the_classes_and_types_that_its_arguments_name(tmp_path):
    (tmp_path / "takes_anything.py").write_text(
        "from torch import nn\ndef make(**given):\n    net = nn.Linear(1, 1)\n    net.given = given\n    return net\n"
    )
    add_search_paths([str(tmp_path)])
    given = {"act": nn.GELU, "layers": [{"norm": nn.BatchNorm2d}], "dtype": torch.bfloat16, "width": 3}
    assert build(ModuleSpec(factory="takes_anything:make", arguments=given)).given == given


def test_plain_arguments_are_hashed_as_they_always_were():
    spec = ModuleSpec(
        factory="net:make", arguments={"width": 4, "rate": 0.1, "names": ["a", None], "deep": {"x": True}}
    )
    assert spec.changed_fields() == {
        "factory": "net:make",
        "arguments": {"width": 4, "rate": 0.1, "names": ["a", None], "deep": {"x": True}},
    }


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "x=nan is no number"),
        ([1, float("inf")], "x.1=inf is no number"),
        ({1, 2}, "x is a set"),
        (b"bytes", "x is a bytes"),
        (object(), "x is a object"),
        (1j, "x is a complex"),
        (np.zeros(3), "x is a numpy.ndarray"),
        (torch.zeros(3), "x is a torch.Tensor"),
        ({"deep": nn.GELU()}, "x.deep is a torch.nn.modules.activation.GELU"),
        (nn.Sequential(nn.GELU(), nn.GELU()), "x is a torch.nn.modules.container.Sequential"),
        (functools.partial(nn.Linear, 3), "x is a functools.partial"),
        (lambda: nn.GELU(), "cannot be found by that name"),
    ],
)
def test_an_argument_that_no_file_can_hold_is_refused_in_one_sentence_when_the_arm_is_made(value, words):
    with pytest.raises(ValidationError) as caught:
        ModuleSpec(factory="net:make", arguments={"x": value})
    assert words in one_sentence(caught.value)
    assert "\n" not in one_sentence(caught.value)


def test_a_factory_can_be_given_as_the_function_or_class_itself():
    import torchvision

    assert ModuleSpec(factory=torchvision.models.resnet18).factory == "torchvision.models.resnet:resnet18"
    with pytest.raises(ValidationError, match="cannot be found by that name"):
        ModuleSpec(factory=lambda: nn.Linear(1, 1))
    with pytest.raises(ValidationError, match="has no name by which it can be found"):
        ModuleSpec(factory=functools.partial(nn.Linear, 1, 1))
