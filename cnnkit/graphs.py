"""Forward and backward pass of an update as one CUDA graph (Nguyen et al. 2021, pytorch.org/blog).

Where images are small, a GPU waits for Python to launch its kernels one by one. A graph is recorded once, and then all of
its kernels are launched together. They are the same kernels, so the numbers are those of an update without a graph.
"""

import copy
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cnnkit.errors import brief

Passes = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Forward and backward pass of one update: (network, chosen images, their augmentation) -> loss. Leaves the gradients, which
it makes anew, in the parameters."""


class Graphed:
    """Passes that are recorded and replayed, for batches of one shape.

    The first batch is rehearsed on a copy of the network and then passes as ever, the second is recorded. A network that cannot
    be recorded passes as ever, with a warning that says why. What a network's Python code decides for itself (other than by
    random tensors) is decided once, when it is recorded.
    """

    def __init__(self, passes: Passes, model: nn.Module, *, full_batch: int) -> None:
        self.passes, self.model, self.full_batch = passes, model, full_batch
        self.recorded: _Recorded | None = None
        self.rehearsed = False
        self.obstacle: str | None = None
        """Why the network cannot be recorded; None where it can, or was not tried yet."""

    def __call__(self, chosen: Tensor, uniforms: Tensor) -> Tensor:
        """The loss; valid until the next call."""
        if self.obstacle is not None or len(chosen) != self.full_batch:
            return self.passes(self.model, chosen, uniforms)
        if not self.rehearsed:
            self.obstacle = rehearse(self.passes, self.model, chosen, uniforms)
            self.rehearsed = True
            if self.obstacle is not None:
                warnings.warn(f"no CUDA graph of this network, so it trains without: {self.obstacle}", stacklevel=2)
            return self.passes(self.model, chosen, uniforms)
        if self.recorded is None:
            self.recorded = _Recorded(self.passes, self.model, chosen, uniforms)
        return self.recorded.replay(chosen, uniforms)


class _Recorded:
    """A graph, the memory that it reads its batch from, and the gradients that it writes."""

    def __init__(self, passes: Passes, model: nn.Module, chosen: Tensor, uniforms: Tensor) -> None:
        self.chosen, self.uniforms = chosen.clone(), uniforms.clone()
        self.graph = torch.cuda.CUDAGraph()
        # What other threads ask of the GPU meanwhile (a data loader that pins memory, for one) is none of the recording's.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.loss = passes(model, self.chosen, self.uniforms)
        self.parameters = list(model.parameters())
        self.gradients = [parameter.grad for parameter in self.parameters]

    def replay(self, chosen: Tensor, uniforms: Tensor) -> Tensor:
        self.chosen.copy_(chosen)
        self.uniforms.copy_(uniforms)
        self.graph.replay()
        # A batch of another size in between has put gradients of its own in their place.
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.loss


def rehearse(passes: Passes, model: nn.Module, chosen: Tensor, uniforms: Tensor) -> str | None:
    """What would make recording fail: one pass of a copy, in which waiting for the GPU is an error. A recording that fails
    midway would leave the process unusable.

    Returns: a sentence, or None where nothing stands in the way. Random numbers and `model` are as before.
    """
    mode = torch.cuda.get_sync_debug_mode()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    try:
        double = copy.deepcopy(model)
        with torch.random.fork_rng(devices=[chosen.device]), torch.cuda.stream(stream):
            passes(double, chosen, uniforms)  # libraries and constants make themselves ready, which may wait
            torch.cuda.set_sync_debug_mode("error")
            passes(double, chosen, uniforms)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the network's code does
        return brief(error)
    finally:
        torch.cuda.set_sync_debug_mode(mode)
        torch.cuda.current_stream().wait_stream(stream)
    return None
