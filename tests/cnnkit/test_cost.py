import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cnnkit import BASELINE, ConvNetSpec, activation_bytes, build, cost

SPECS = [
    BASELINE.vary(image_size=64),
    BASELINE.vary(image_size=64, batch_norm=False),
    BASELINE.vary(image_size=64, residual=True, convs_per_block=2),
    BASELINE.vary(image_size=65, widths=(16, 16, 24), kernel_size=5),
    BASELINE.vary(image_size=64, head="pool", pool_size=2, hidden_width=0, dropout=0),
    BASELINE.vary(image_size=64, activation="gelu", convs_per_block=2, residual=True),
    BASELINE.vary(image_size=64, activation="tanh", batch_norm=False),
]


@pytest.mark.parametrize("spec", SPECS)
def test_multiply_adds_are_half_of_what_torch_counts(spec):
    model = build(spec).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, spec.in_channels, spec.image_size, spec.image_size))
    assert counter.get_total_flops() == 2 * cost(spec).multiply_adds


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(("dtype", "width"), [(None, 4), (torch.bfloat16, 2)])
def test_activation_memory_is_what_autograd_saves(spec, dtype, width):
    batch = 4
    model = build(spec).to(memory_format=torch.channels_last)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        is_weight_copy = tensor.dtype == torch.bfloat16 and tensor.ndim and tensor.shape[0] != batch
        if storage.data_ptr() not in weights and not is_weight_copy:
            saved[storage.data_ptr()] = storage  # the storage itself, so that no address is used twice
        return tensor

    images = torch.randn(batch, 3, spec.image_size, spec.image_size).to(memory_format=torch.channels_last)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            logits = model(images)
        torch.nn.functional.cross_entropy(logits.float(), torch.zeros(batch, dtype=torch.long))
    measured = sum(storage.nbytes() for storage in saved.values())
    assert activation_bytes(spec, batch, bytes_per_number=width) == pytest.approx(measured, rel=0.02)


def receptive_field_by_gradient(spec: ConvNetSpec) -> int:
    """Input pixels (a side) with a gradient from the middle of the last map: an independent measurement."""
    model = build(spec).double().eval()
    for block in model.blocks:  # positive weights and an average instead of a maximum: nothing cancels or is left out
        block.pool = torch.nn.AvgPool2d(2)
        for parameter in block.parameters():
            parameter.data.abs_().add_(0.1)
    images = torch.rand(1, 3, spec.image_size, spec.image_size, dtype=torch.double, requires_grad=True)
    features = model.forward_features(images)
    middle = features.shape[-1] // 2
    features[0, :, middle, middle].sum().backward()
    return int((images.grad[0].abs().sum((0, 1)) > 0).sum())


@pytest.mark.parametrize(
    "spec",
    [
        ConvNetSpec(image_size=64, widths=(4, 4)),
        ConvNetSpec(image_size=96, widths=(4, 4, 4)),
        ConvNetSpec(image_size=96, widths=(4, 4), convs_per_block=2, residual=True),
        ConvNetSpec(image_size=96, widths=(4, 4), kernel_size=5),
    ],
)
def test_the_receptive_field_is_where_gradients_reach(spec):
    assert cost(spec).receptive_field == receptive_field_by_gradient(spec)


def test_published_figures_of_the_baseline():
    costs = cost(BASELINE)
    assert costs.receptive_field == 46
    assert costs.receptive_field_original == pytest.approx(6.6, abs=0.05)
    assert cost(BASELINE.vary(widths=(32, 64))).parameters == pytest.approx(103e6, rel=0.01)
    assert cost(BASELINE.vary(widths=(32, 64, 128, 256, 512, 512))).parameters == pytest.approx(6e6, rel=0.1)
