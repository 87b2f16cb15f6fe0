import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from cnnkit import BASELINE, ConvNetSpec, build, cost
from cnnkit.model import ConvBlock
from cnnkit.spec import COMMUTES_WITH_MAX, Activation, one_sentence

specs = st.fixed_dictionaries(
    {
        "image_size": st.integers(1, 40),
        "in_channels": st.integers(1, 4),
        "num_classes": st.integers(1, 12),
        "widths": st.lists(st.integers(1, 9), min_size=0, max_size=6).map(tuple),
        "convs_per_block": st.integers(0, 3),
        "kernel_size": st.integers(1, 7),
        "batch_norm": st.booleans(),
        "dropout": st.floats(-0.1, 1.1),
        "residual": st.booleans(),
        "activation": st.sampled_from(["relu", "gelu", "leaky_relu", "tanh", "swash"]),
        "head": st.sampled_from(["flatten", "pool"]),
        "pool_size": st.integers(1, 5),
        "hidden_width": st.integers(-1, 9),
    }
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(fields=specs, batch=st.integers(2, 3))
def test_a_random_spec_is_built_as_predicted_or_refused_in_one_sentence(fields, batch):
    try:
        spec = ConvNetSpec(**fields)
    except ValidationError as error:
        sentence = one_sentence(error)
        assert "\n" not in sentence
        assert len(sentence) > 20
        assert any(name in sentence for name in (*fields, "block", "head"))
        return
    model = build(spec)
    images = torch.randn(batch, spec.in_channels, spec.image_size, spec.image_size)
    features = model.forward_features(images)
    assert features.shape == (batch, spec.widths[-1], spec.map_sizes[-1], spec.map_sizes[-1])
    assert model.eval()(images).shape == (batch, spec.num_classes)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == cost(spec).parameters
    head = sum(parameter.numel() for parameter in model.head.parameters())
    assert head / cost(spec).parameters == cost(spec).head_share


@pytest.mark.parametrize("size", [64, 224])
def test_the_baseline_maps_images_to_ten_logits(size):
    model = build(BASELINE.vary(image_size=size)).eval()
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 10)


def test_the_baseline_is_the_documented_network():
    # Written out by hand from the document: four blocks of convolution 3x3, batch norm, ReLU, 2x2 max pooling,
    # then flatten, 512 units, ReLU, dropout, ten classes.
    layers: list[nn.Module] = []
    for c_in, c_out in ((3, 32), (32, 64), (64, 128), (128, 256)):
        layers += [nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(), nn.MaxPool2d(2)]
    reference = nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(256 * 14 * 14, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 10)
    )
    model = build(BASELINE, seed=3)
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        theirs.data.copy_(ours)
    images = torch.randn(2, 3, 224, 224)
    model.eval(), reference.eval()
    torch.testing.assert_close(model(images), reference(images))
    assert BASELINE.model_dump(exclude_defaults=True) == {}


def test_a_residual_block_with_a_silent_branch_passes_its_input_on():
    spec = ConvNetSpec(image_size=8, widths=(4,), batch_norm=False, residual=True)
    block = ConvBlock(4, 4, spec)
    nn.init.zeros_(block.convs[0].conv.weight)
    nn.init.zeros_(block.convs[0].conv.bias)
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(block(x), nn.functional.max_pool2d(x.relu(), 2))


def test_residual_links_are_identities_where_the_width_stays_and_projections_where_it_changes():
    model = build(ConvNetSpec(image_size=16, widths=(4, 4, 8), residual=True))
    kinds = [type(block.skip) for block in model.blocks]
    assert kinds == [nn.Sequential, nn.Identity, nn.Sequential]
    assert model.blocks[2].skip.conv.kernel_size == (1, 1)


@pytest.mark.parametrize("activation", sorted(COMMUTES_WITH_MAX))
def test_the_activation_after_the_pooling_is_the_same_function(activation):
    block = ConvBlock(3, 4, ConvNetSpec(image_size=8, widths=(4,), activation=activation))
    assert block.pool_first
    x = torch.randn(2, 3, 8, 8)
    y = block.convs[0](x)
    assert torch.equal(block(x), block.pool(block.act(y)))


@pytest.mark.parametrize("activation", Activation.__args__)
def test_every_activation_is_built_and_differentiable(activation):
    model = build(ConvNetSpec(image_size=8, widths=(4,), activation=activation, hidden_width=5))
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_a_part_that_is_switched_off_is_absent():
    model = build(ConvNetSpec(image_size=16, widths=(4, 8), batch_norm=False, hidden_width=0))
    names = {type(module).__name__ for module in model.modules()}
    assert "BatchNorm2d" not in names
    assert isinstance(model.head.hidden, nn.Identity)
    assert all(block.skip is None for block in model.blocks)


def test_two_arms_share_initial_weights_wherever_name_and_shape_agree():
    shallow, deep = (build(ConvNetSpec(image_size=64, widths=widths), seed=5) for widths in ((32, 64), (32, 64, 128)))
    a, b = dict(shallow.named_parameters()), dict(deep.named_parameters())
    shared = [name for name in a if name in b and a[name].shape == b[name].shape]
    assert "blocks.1.convs.0.conv.weight" in shared
    assert "head.classifier.weight" in shared
    assert "head.hidden.bias" in shared
    assert all(torch.equal(a[name], b[name]) for name in shared)
    other = dict(build(shallow.spec, seed=6).named_parameters())
    assert not torch.equal(a["blocks.0.convs.0.conv.weight"], other["blocks.0.convs.0.conv.weight"])


def test_initial_weights_have_torchs_default_spread():
    weight = build(BASELINE.vary(image_size=64)).head.hidden.weight
    bound = 1 / math.sqrt(weight.shape[1])
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)


@pytest.mark.parametrize(
    ("how", "reference"),
    [
        ("he", lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu")),
        ("glorot", nn.init.xavier_uniform_),
        ("torch_biases", lambda weight: nn.Linear(weight.shape[1], weight.shape[0]).weight.data),
    ],
)
def test_other_initial_weights_have_the_spread_of_torchs_own(how, reference):
    layer = build(BASELINE.vary(image_size=64, initialisation=how)).head.hidden
    expected = reference(torch.empty_like(layer.weight))
    assert layer.weight.std().item() == pytest.approx(expected.std().item(), rel=0.01)
    bound = 1 / math.sqrt(layer.weight.shape[1])
    spread = nn.Linear(layer.in_features, layer.out_features).bias.std().item() if how == "torch_biases" else 0
    assert layer.bias.std().item() == pytest.approx(spread, rel=0.2)
    assert layer.bias.abs().max() <= bound


def test_building_leaves_torchs_global_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    build(ConvNetSpec(image_size=8, widths=(4,)))
    assert torch.equal(torch.rand(1), expected)
