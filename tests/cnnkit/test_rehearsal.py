import sys
from pathlib import Path

import pytest

from cnnkit import Recipe, cost
from cnnkit.errors import UserError
from cnnkit.own import with_source
from cnnkit.rehearsal import rehearse
from cnnkit.search_paths import add_search_paths, load_file
from cnnkit.spec import ModuleSpec

FOLDER = Path(__file__).parent / "networks"
odd_networks = load_file("odd_networks_of_the_tests", FOLDER / "odd_networks.py")


@pytest.fixture(autouse=True)
def _folder():
    add_search_paths([str(FOLDER)])


def odd(name: str, **arguments) -> ModuleSpec:
    return with_source(ModuleSpec(factory=f"odd_networks:{name}", arguments=arguments, image_size=32))


@pytest.mark.parametrize("name", odd_networks.FINE)
def test_a_network_with_odd_habits_is_trained_saved_restored_and_kept(name):
    spec = odd(name)
    rehearse(spec, Recipe())
    costs = cost(spec)
    assert costs.parameters > 100
    assert costs.multiply_adds > 10_000
    assert costs.head_share is None


@pytest.mark.parametrize(("name", "words"), odd_networks.REFUSED.items())
def test_a_network_that_cannot_be_trained_is_refused_in_one_sentence_before_training(name, words):
    with pytest.raises(UserError) as caught:
        rehearse(odd(name), Recipe())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_that_fails_in_low_precision_alone_is_refused_where_that_is_asked_for():
    import torch

    from cnnkit.train import realised_precision

    if realised_precision("bf16", torch.device("cpu")) != "bf16":
        pytest.skip("this processor has no bf16")
    spec = odd("NeedsFp32")
    rehearse(spec, Recipe(precision="fp32"))
    with pytest.raises(UserError, match="cannot take 2 images"):
        rehearse(spec, Recipe(precision="bf16"))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_tiny_patch16_224", {"img_size": 32}),
        ("mobilenetv3_small_050", {}),
        ("convnext_atto", {}),
        ("torchvision.models:resnet18", {"num_classes": 10}),
        ("torchvision.models:squeezenet1_1", {"num_classes": 10}),
        ("torchvision.models:mnasnet0_5", {"num_classes": 10}),  # loads no state without its modules' versions
    ],
)
def test_networks_of_timm_and_torchvision_can_be_trained(name, arguments):
    rehearse(with_source(ModuleSpec(factory=name, arguments=arguments, image_size=32)), Recipe())


def test_what_a_factory_prints_stays_out_of_the_output(capsys):
    odd("prints")
    rehearse(odd("prints", **{}), Recipe(learning_rate=2e-4))
    out, err = capsys.readouterr()
    assert out == ""
    assert "building" in err


def test_a_factory_that_changes_torchs_settings_changes_them_for_itself_alone():
    import torch

    rehearse(odd("changes_torchs_settings"), Recipe(learning_rate=2e-4))
    assert torch.is_grad_enabled()
    assert sys.stdin is not None


def test_attention_is_counted_as_its_two_matrix_products():
    spec = ModuleSpec(factory="vit_tiny_patch16_224", arguments={"img_size": 32, "depth": 1}, image_size=32)
    tokens, width = 5, 192
    patches = 4 * 16 * 16 * 3 * width
    block = tokens * width * (3 * width + width + 8 * width) + 2 * tokens * tokens * width
    assert cost(spec).multiply_adds == patches + block + width * 10
