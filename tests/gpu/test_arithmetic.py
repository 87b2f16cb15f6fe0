"""fp32 is fp32, the same cell gives the same numbers, and bf16 learns as fp32 does."""

import copy
import itertools
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from cnnkit import BASELINE, ConvNetSpec, Recipe, build, fit
from cnnkit.data import Data
from cnnkit.train import Training, configure_arithmetic, realised_precision

SMALL = ConvNetSpec(image_size=32, widths=(8, 16), hidden_width=16)


def relative_error(value: torch.Tensor, reference: torch.Tensor) -> float:
    return ((value.double() - reference).norm() / reference.norm()).item()


def ask_for_tf32_as_torch_29_does() -> None:
    torch.backends.fp32_precision = "tf32"
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def ask_for_tf32_as_torch_always_did() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True


def ask_for_fast_products() -> None:
    torch.set_float32_matmul_precision("medium")


@pytest.fixture(params=[ask_for_tf32_as_torch_29_does, ask_for_tf32_as_torch_always_did, ask_for_fast_products])
def someone_wanted_tf32(request: pytest.FixtureRequest):
    """What a user's own module, or a library that it imports, may have asked for before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that the older settings go some day
        request.param()
        yield
        if hasattr(torch.backends, "fp32_precision"):
            torch.backends.fp32_precision = "none"
        configure_arithmetic()


def test_fp32_is_not_tf32_whoever_asked_for_it_before(device, someone_wanted_tf32):
    # TF32 keeps ten bits of each factor: its relative error is about 3e-4.
    configure_arithmetic()
    chance = torch.Generator().manual_seed(0)
    a, b = torch.randn(512, 2048, generator=chance), torch.randn(2048, 512, generator=chance)
    assert relative_error((a.to(device) @ b.to(device)).cpu(), a.double() @ b.double()) < 3e-6
    convolution = torch.nn.Conv2d(128, 128, 3, padding=1)
    images, gradient = torch.randn(2, 4, 128, 16, 16, generator=chance)

    def passes(where: torch.device, kind: torch.dtype, layout: torch.memory_format) -> list[torch.Tensor]:
        """The convolution's result, and its gradients for the images and the weights."""
        layer = copy.deepcopy(convolution).to(where, kind, memory_format=layout)
        given = images.to(where, kind, memory_format=layout).requires_grad_()
        result = layer(given)
        return [result.detach(), *torch.autograd.grad(result, (given, layer.weight), gradient.to(where, kind))]

    references = passes(torch.device("cpu"), torch.float64, torch.contiguous_format)
    for layout in (torch.contiguous_format, torch.channels_last):
        for value, reference in zip(passes(device, torch.float32, layout), references, strict=True):
            assert relative_error(value.cpu(), reference) < 3e-6


def test_no_setting_leaves_convolutions_to_a_setting_for_all(someone_wanted_tf32):
    # Without a GPU the numbers cannot show it, the settings can.
    if not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("this torch knows the older settings only")
    configure_arithmetic()
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert torch.backends.cudnn.rnn.fp32_precision == "ieee"
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert torch.backends.mkldnn.conv.fp32_precision == "ieee"
    assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
    assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


def test_logits_of_the_documented_network_in_fp32_are_those_of_fp64(device, tiny):
    training = Training(build(BASELINE), Recipe(), tiny, image_size=224, seed=0, device=device)
    training.model.eval()
    images = torch.randn(4, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = training.model(images.to(device)).cpu()
        reference = copy.deepcopy(training.model).cpu().double()(images.double())
    assert relative_error(logits, reference) < 1e-5  # TF32: above 1e-3


CELL = """
import hashlib, sys, torch
torch.set_num_threads(1)
from cnnkit import BASELINE, Recipe, build, fit, load
device, size, images = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = load("sample").subset(train=images, validation=250, test=250)
for precision in ("fp32", "bf16"):
    result = fit(
        build(BASELINE.vary(image_size=size), seed=4), Recipe(epochs=2, precision=precision), data, image_size=size,
        seed=4, device=device,
    )
    losses = str([epoch.train_loss for epoch in result.curve]).encode()
    print(precision, hashlib.sha256(losses + result.test_logits.tobytes() + result.validation_logits.tobytes()).hexdigest())
"""


def test_the_same_cell_in_two_processes_is_the_same_bit_for_bit_in_fp32_and_bf16(device):
    arguments = [device.type, "224", "1000"] if device.type == "cuda" else [device.type, "32", "100"]
    started = [
        subprocess.Popen([sys.executable, "-c", CELL, *arguments], stdout=subprocess.PIPE, text=True) for _ in "ab"
    ]
    one, other = (process.communicate(timeout=300)[0].splitlines() for process in started)
    assert [line.split()[0] for line in one] == ["fp32", "bf16"]
    assert one == other


def test_a_cell_is_the_same_whatever_its_process_did_before(device, tiny):
    recipe = Recipe(epochs=2, batch_size=32)
    runs = []
    for before in (0, 3):
        torch.rand(1000 * before, device=device)
        if before:
            fit(build(SMALL.vary(widths=(16, 8))), recipe, tiny, image_size=32, seed=9, device=device)
        runs.append(fit(build(SMALL), recipe, tiny, image_size=32, seed=3, device=device))
    assert np.array_equal(runs[0].test_logits, runs[1].test_logits)
    assert runs[0].curve[-1].train_loss == runs[1].curve[-1].train_loss


def test_bf16_learns_as_fp32_does(device, sample: Data):
    if realised_precision("bf16", device) != "bf16":
        pytest.skip(f"{device} has no native bf16")
    spec, size = (BASELINE.vary(image_size=64), 64) if device.type == "cuda" else (SMALL, 32)
    data = sample if device.type == "cuda" else sample.subset(train=1000)
    curves = {}
    for precision in ("fp32", "bf16"):
        result = fit(build(spec), Recipe(epochs=4, precision=precision), data, image_size=size, device=device)
        assert result.precision == precision
        curves[precision] = [epoch.train_loss for epoch in result.curve]
    assert curves["bf16"] != curves["fp32"]
    for exact, rounded in zip(curves["fp32"], curves["bf16"], strict=True):
        assert rounded == pytest.approx(exact, rel=0.03)
    assert all(later < earlier for earlier, later in itertools.pairwise(curves["bf16"]))


def test_logits_on_a_gpu_are_the_cpus_to_rounding(device, tiny):
    spec = BASELINE.vary(image_size=64)
    trainings = [
        Training(build(spec, seed=1), Recipe(), tiny, image_size=64, seed=1, device=where) for where in ("cpu", device)
    ]
    cpu, other = (training.predict(training.validation_images) for training in trainings)
    assert np.abs(cpu - other).max() < 1e-5 * np.abs(cpu).max() + 1e-6
