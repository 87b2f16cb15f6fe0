"""A recipe may compile the network: other kernels, hence other roundings, and all else as ever."""

import jaxtyping
import numpy as np
import pytest
import torch

from cnnkit import ConvNetSpec, Recipe, build
from cnnkit.errors import UserError
from cnnkit.train import Fit, Training

pytestmark = pytest.mark.filterwarnings("default")  # some versions of PyTorch's compiler warn of themselves
SPEC = ConvNetSpec(image_size=32, widths=(8, 16), hidden_width=16, dropout=0.0)
EAGER = Recipe(epochs=2, batch_size=32, learning_rate=1e-3)
COMPILED = EAGER.vary(compile=True)


@pytest.fixture(autouse=True)
def _without_type_checks():
    """Which the tests put around every function, and PyTorch's compiler cannot follow."""
    checked = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", checked)


def trained(data, device, recipe, spec=SPEC, state=None, **how) -> tuple[Fit, list[bytes]]:
    run = Training(build(spec, seed=0), recipe, data, image_size=spec.image_size, seed=0, device=device, **how)
    if state is not None:
        run.restore(state)
    states = [run.state() for progress in run.run() if progress.ends_epoch]
    return run.result(), states


def losses(fit: Fit) -> list[float]:
    return [epoch.train_loss for epoch in fit.curve]


@pytest.mark.slow
def test_compiling_changes_roundings_alone_where_nothing_is_drawn(tiny, device):
    plain, _ = trained(tiny, device, EAGER)
    fused, _ = trained(tiny, device, COMPILED)
    assert losses(fused) == pytest.approx(losses(plain), rel=1e-3)
    assert np.abs(fused.test_logits - plain.test_logits).max() < 0.02 * np.abs(plain.test_logits).max()


@pytest.mark.slow
def test_a_compiled_cell_is_the_same_twice_and_after_a_checkpoint_and_after_others_in_its_process(tiny, device):
    spec = SPEC.vary(dropout=0.5)
    first, states = trained(tiny, device, COMPILED, spec)
    for width in range(17, 26):  # more networks of one class than PyTorch compiles unless told to forget them
        trained(tiny, device, COMPILED.vary(epochs=1), spec.vary(hidden_width=width))
    again, _ = trained(tiny, device, COMPILED, spec, state=states[0])
    assert losses(again) == losses(first)
    assert np.array_equal(again.test_logits, first.test_logits)


@pytest.mark.gpu
def test_a_compiled_network_is_recorded_as_a_graph_with_equal_numbers(tiny):
    fit, _ = trained(tiny, torch.device("cuda"), COMPILED)
    graphed, _ = trained(tiny, torch.device("cuda"), COMPILED, cuda_graphs=True)
    assert losses(graphed) == losses(fit)


def test_without_a_compiler_it_is_one_sentence(tiny, monkeypatch):
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    with pytest.raises(UserError, match=r"torch\.compile cannot compile this network here"):
        trained(tiny, torch.device("cpu"), COMPILED)
