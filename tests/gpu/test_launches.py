"""Nothing waits for the GPU inside an epoch, and an update's kernels can be launched together without changing a number."""

import contextlib
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cnnkit import BASELINE, ConvNetSpec, Recipe, build
from cnnkit.data import Data
from cnnkit.train import Fit, Training

SPEC = ConvNetSpec(image_size=32, widths=(8, 16), hidden_width=16)
RECIPE = Recipe(epochs=2, batch_size=32, learning_rate=1e-3)


def training(
    data: Data, device: torch.device, recipe: Recipe = RECIPE, model: nn.Module | None = None, **how
) -> Training:
    model = model or build(SPEC, seed=0)
    return Training(model, recipe, data, image_size=SPEC.image_size, seed=0, device=device, **how)


def finish(run: Training) -> Fit:
    for _ in run.run():
        pass
    return run.result()


class Waits(TorchDispatchMode):
    """Notes operations whose result Python needs before it can go on."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if any(name in str(function) for name in self.WAITING):
            self.found.append(str(function))
        return function(*args, **(kwargs or {}))


@contextlib.contextmanager
def nothing_waits(device: torch.device):
    """Fails where something waits for the device: torch's own debug mode knows copies, too, but a GPU only."""
    with contextlib.ExitStack() as stack:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error")
            stack.callback(torch.cuda.set_sync_debug_mode, "default")
        waits = stack.enter_context(Waits())
        yield
    assert waits.found == []


@pytest.mark.parametrize("cuda_graphs", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("schedule", ["none", "cosine"])
def test_nothing_waits_for_the_device_inside_an_epoch(device, tiny, precision, schedule, cuda_graphs):
    recipe = RECIPE.vary(precision=precision, schedule=schedule)
    run = training(tiny, device, recipe, cuda_graphs=cuda_graphs)
    progress = run.run()
    for _ in range(3):  # constants of a device are made with the first update, a graph is recorded with the second
        next(progress)
    with nothing_waits(device):
        while True:
            now = next(progress)
            if now.update == now.updates - 1:
                break
    for _ in progress:
        pass
    assert len(run.curve) == recipe.epochs


def test_what_waits_is_noticed(device):
    with pytest.raises((AssertionError, RuntimeError)), nothing_waits(device):
        torch.ones(3, device=device).sum().item()


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "momentum"])
def test_the_optimizer_is_fused_and_keeps_its_state_beside_the_weights(device, tiny, optimizer):
    # A step count in the host's memory would be copied with every update, and could be in no graph.
    run = training(tiny, device, RECIPE.vary(optimizer=optimizer))
    finish(run)
    assert all(group["fused"] for group in run.optimizer.param_groups)
    states = [each for state in run.optimizer.state.values() for each in state.values() if torch.is_tensor(each)]
    assert {each.device.type for each in states} == {device.type}


class Stochastic(nn.Module):
    """Batch norm's running averages, dropout, and dropped channels: all that an update changes besides the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.2), nn.MaxPool2d(4)
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(8 * 8 * 8, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


def stochastic() -> nn.Module:
    torch.manual_seed(0)
    return Stochastic()


class PretendedGraph:
    """What a CUDA graph does, by doing it again: for the bookkeeping around it, where there is no GPU."""

    def replay(self) -> None:
        self.again()


def pretend(monkeypatch: pytest.MonkeyPatch) -> list[PretendedGraph]:
    """Puts pretended graphs in the place of CUDA's; returns those that were recorded."""
    from cnnkit import graphs, train

    recorded: list[PretendedGraph] = []

    class Recorded(graphs._Recorded):
        def __init__(self, passes, model, chosen, uniforms) -> None:
            self.chosen, self.uniforms = chosen.clone(), uniforms.clone()
            self.parameters = list(model.parameters())
            self.gradients = [torch.zeros_like(parameter) for parameter in self.parameters]
            self.loss = torch.zeros(())
            self.graph = PretendedGraph()

            def again() -> None:
                self.loss.copy_(passes(model, self.chosen, self.uniforms))
                for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
                    gradient.copy_(parameter.grad)

            self.graph.again = again
            recorded.append(self.graph)

    def begin(self, passes, model, *, full_batch: int) -> None:
        self.passes, self.model, self.full_batch = passes, model, full_batch
        self.recorded, self.rehearsed, self.obstacle = None, True, None

    monkeypatch.setattr(graphs, "_Recorded", Recorded)
    monkeypatch.setattr(graphs.Graphed, "__init__", begin)
    whole = train.Training.__init__

    def on_the_cpu_too(self, *args, cuda_graphs: bool = False, **named) -> None:
        whole(self, *args, cuda_graphs=cuda_graphs, **named)
        if cuda_graphs:
            self._graphed = graphs.Graphed(self._passes, self.model, full_batch=self.recipe.batch_size)

    monkeypatch.setattr(train.Training, "__init__", on_the_cpu_too)
    return recorded


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "nadam"])
def test_a_graph_changes_no_number(device, tiny, precision, optimizer, monkeypatch):
    # 200 images in batches of 32: the last of an epoch has 8, and passes without the graph.
    if device.type == "cpu":
        recorded = pretend(monkeypatch)
    recipe = RECIPE.vary(epochs=3, precision=precision, optimizer=optimizer, schedule="cosine")
    plain = finish(training(tiny, device, recipe, stochastic()))
    run = training(tiny, device, recipe, stochastic(), cuda_graphs=True)
    graphed = finish(run)
    assert run._graphed.recorded is not None
    assert device.type == "cuda" or len(recorded) == 1
    assert [epoch.train_loss for epoch in graphed.curve] == [epoch.train_loss for epoch in plain.curve]
    assert np.array_equal(graphed.test_logits, plain.test_logits)
    assert np.array_equal(graphed.validation_logits, plain.validation_logits)


@pytest.mark.gpu
def test_another_thread_that_uses_the_gpu_does_not_spoil_a_recording(tiny):
    over = threading.Event()

    def pin_memory() -> None:  # as a data loader's thread does
        while not over.is_set():
            torch.empty(1 << 20).pin_memory()

    thread = threading.Thread(target=pin_memory)
    thread.start()
    try:
        run = training(tiny, torch.device("cuda"), RECIPE, stochastic(), cuda_graphs=True)
        graphed = finish(run)
    finally:
        over.set()
        thread.join()
    assert run._graphed.recorded is not None
    plain = finish(training(tiny, torch.device("cuda"), RECIPE, stochastic()))
    assert np.array_equal(graphed.test_logits, plain.test_logits)


def test_a_run_with_a_graph_goes_on_from_one_without_and_back(device, tiny, monkeypatch):
    if device.type == "cpu":
        pretend(monkeypatch)
    recipe = RECIPE.vary(epochs=3)
    whole = finish(training(tiny, device, recipe))
    state, with_graph = None, True
    for epoch in (1, 2, 3):
        run = training(tiny, device, recipe, cuda_graphs=with_graph)
        if state is not None:
            run.restore(state)
        for progress in run.run():
            if progress.ends_epoch and progress.epoch == epoch:
                break
        state, with_graph = run.state(), not with_graph
    assert [epoch.train_loss for epoch in run.curve] == [epoch.train_loss for epoch in whole.curve]
    assert np.array_equal(run.result().test_logits, whole.test_logits)


def test_on_the_cpu_graphs_are_nothing(tiny):
    run = training(tiny, torch.device("cpu"), cuda_graphs=True)
    assert run._graphed is None
    assert np.array_equal(finish(run).test_logits, finish(training(tiny, torch.device("cpu"))).test_logits)


class Asks(nn.Module):
    """A network whose code looks at its own numbers, which a graph cannot do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = build(SPEC)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x * (2.0 if x.mean().item() > 0 else 1.0))


@pytest.mark.gpu
def test_a_network_that_cannot_be_recorded_trains_without_and_says_why(tiny):
    device = torch.device("cuda")
    plain = finish(training(tiny, device, model=Asks()))
    run = training(tiny, device, model=Asks(), cuda_graphs=True)
    with pytest.warns(UserWarning, match="no CUDA graph of this network"):
        graphed = finish(run)
    assert "synchroniz" in run._graphed.obstacle
    assert np.array_equal(graphed.test_logits, plain.test_logits)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_graph_of_the_documented_network_changes_no_number(sample, precision):
    data, device = sample.subset(train=1000), torch.device("cuda")
    recipe = Recipe(epochs=2, precision=precision)
    logits = []
    for cuda_graphs in (False, True):
        model = build(BASELINE.vary(image_size=64), seed=2)
        run = Training(model, recipe, data, image_size=64, seed=2, device=device, cuda_graphs=cuda_graphs)
        logits.append(finish(run).test_logits)
    assert np.array_equal(*logits)
