import json

import pytest
from pydantic import ValidationError

from cnnkit import BASELINE, ConvNetSpec, Recipe
from cnnkit.spec import one_sentence


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
