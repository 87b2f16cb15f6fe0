from pathlib import Path

import pytest
import torch
from torch import nn

from cnnkit import BASELINE, ConvNetSpec, Recipe, build
from cnnkit.errors import UserError
from cnnkit.heads import last_layer
from cnnkit.search_paths import add_search_paths
from cnnkit.spec import ModuleSpec
from cnnkit.train import Training

SPEC = ConvNetSpec(image_size=32, widths=(8, 16), hidden_width=16)
FROZEN = Recipe(epochs=2, batch_size=32, freeze="backbone", head_learning_rate=1e-2)


@pytest.fixture(autouse=True)
def _networks():
    add_search_paths([str(Path(__file__).parent / "networks")])


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (SPEC, "head.classifier"),
        (ModuleSpec(factory="small_vgg:make", image_size=32), "11"),
        (ModuleSpec(factory="timm:resnet18", image_size=32), "fc"),
        (ModuleSpec(factory="timm:mobilenetv3_small_050", image_size=32), "classifier"),
        (ModuleSpec(factory="timm:vit_tiny_patch16_224", arguments={"img_size": 32}, image_size=32), "head"),
        (ModuleSpec(factory="torchvision:squeezenet1_1", arguments={"num_classes": 10}, image_size=32), "classifier.1"),
        (
            ModuleSpec(
                factory="torchvision:googlenet", arguments={"num_classes": 10, "init_weights": False}, image_size=32
            ),
            "fc",
        ),
        (ModuleSpec(factory="odd_networks:WeightNorm", image_size=32), "last"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_last_layer_is_the_one_that_makes_the_logits(spec, name):
    assert last_layer(build(spec), torch.randn(2, 3, 32, 32)) == name


def test_a_network_whose_logits_no_layer_makes_has_no_last_layer():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(10, 3))

        def forward(self, x):
            return x.mean((2, 3)) @ self.weight.T

    with pytest.raises(UserError, match="has no last layer that gives its 10 classes"):
        last_layer(Functional(), torch.randn(2, 3, 8, 8))


def test_of_a_frozen_network_the_last_layer_alone_changes_and_neither_do_statistics(tiny):
    network = build(SPEC, seed=1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    training = Training(network, FROZEN, tiny, image_size=32, seed=1)
    for _ in training.run():
        pass
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"head.classifier.weight", "head.classifier.bias"}


def test_what_is_frozen_drops_nothing_and_uses_its_statistics_while_it_is_trained(tiny):
    network = build(SPEC, seed=1)
    modes = []
    network.head.dropout.register_forward_hook(lambda module, *_: modes.append(module.training))
    network.head.classifier.register_forward_hook(lambda module, *_: modes.append(("head", module.training)))
    training = Training(network, FROZEN.vary(epochs=1), tiny, image_size=32, seed=1)
    modes.clear()
    next(training.run())
    assert modes == [False, ("head", True)]


def test_the_last_layer_has_a_rate_of_its_own(tiny):
    recipe = Recipe(epochs=1, batch_size=64, optimizer="sgd", learning_rate=1e-3, head_learning_rate=1e-1)
    training = Training(build(SPEC, seed=1), recipe, tiny, image_size=32, seed=1)
    rates = {len(group["params"]): group["lr"] for group in training.optimizer.param_groups}
    total = len(list(training.model.parameters()))
    assert rates == {total - 2: 1e-3, 2: 1e-1}


def test_the_schedule_moves_both_rates_alike(tiny):
    recipe = Recipe(epochs=2, batch_size=50, schedule="cosine", learning_rate=1e-3, head_learning_rate=1e-2)
    training = Training(build(SPEC, seed=1), recipe, tiny, image_size=32, seed=1)
    for progress in training.run():
        body, head = (group["lr"] for group in training.optimizer.param_groups)
        assert head == pytest.approx(10 * body), progress


def test_a_frozen_run_goes_on_from_its_state(tiny):
    def run():
        return Training(build(SPEC, seed=1), FROZEN, tiny, image_size=32, seed=1)

    whole, first, second = run(), run(), run()
    for _ in whole.run():
        pass
    for progress in first.run():
        if progress.ends_epoch:
            break
    second.restore(first.state())
    for _ in second.run():
        pass
    assert (whole.result().test_logits == second.result().test_logits).all()


def test_a_frozen_network_needs_a_fraction_of_the_memory_and_of_the_work():
    from ablations.cell import SplitSizes
    from ablations.resources import training_bytes
    from cnnkit.own import measure

    split = SplitSizes(train=1000, validation=100, test=200)
    assert (split.passes(2), split.passes(2, frozen=True)) == (6400, 2400)
    vgg = ModuleSpec(factory="small_vgg:make", image_size=32)
    assert measure(vgg, frozen=True).saved_numbers <= 2 * 16 + 10  # features, and what softmax keeps
    assert measure(vgg).saved_numbers > 100 * measure(vgg, frozen=True).saved_numbers
    for spec in (vgg, BASELINE):
        assert training_bytes(spec, Recipe(freeze="backbone")) < training_bytes(spec, Recipe()) / 2
