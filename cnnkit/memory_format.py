"""In which order a network's images and maps lie in memory."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from cnnkit.seeds import seeded

MemoryFormat = Literal["channels_last", "contiguous"]
FORMATS: dict[MemoryFormat, torch.memory_format] = {
    "channels_last": torch.channels_last,
    "contiguous": torch.contiguous_format,
}


def suitable(model: nn.Module, inputs: Tensor) -> MemoryFormat:
    """channels_last, which is faster, unless the network fails with it or computes something else.

    `view` cannot flatten such a map, and `as_strided` reads other numbers from it. The network stays as it is.

    Args: inputs: some images, as they enter the network.
    """
    try:
        with _tried(model) as candidate:
            expected = _logits(candidate.to(memory_format=torch.contiguous_format).eval(), inputs.contiguous())
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:  # whatever the user's code does: it will do so when it is trained, too, and say it then
        return "channels_last"
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    try:
        with _tried(model) as candidate, torch.enable_grad():
            candidate.to(memory_format=torch.channels_last).train()(inputs).sum().backward()
        with _tried(model) as candidate:
            logits = _logits(candidate.to(memory_format=torch.channels_last).eval(), inputs)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:
        return "contiguous"
    tolerance = 1e-3 * float(expected.nan_to_num(0, 0, 0).abs().max())
    same = torch.allclose(logits, expected, rtol=1e-3, atol=tolerance, equal_nan=True)
    return "channels_last" if same else "contiguous"


def _logits(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return model(inputs).float()


@contextmanager
def _tried(model: nn.Module) -> Iterator[nn.Module]:
    """A copy of the network or, where it cannot be copied, itself, given back its weights, buffers and mode; every
    generator is left as it was.
    """
    devices = [tensor.device for tensor in model.parameters() if tensor.device.type == "cuda"][:1]
    with torch.random.fork_rng(devices=devices), seeded(0), torch.compiler.set_stance("force_eager"):
        try:
            candidate = copy.deepcopy(model)
        except Exception:  # a generator as an attribute, a tensor that is not a leaf
            candidate = None
        if candidate is not None:
            yield candidate
            return
        tensors = [*model.parameters(), *model.buffers()]
        kept, was_training = [tensor.detach().clone() for tensor in tensors], model.training
        try:
            yield model
        finally:
            model.train(was_training)
            model.zero_grad(set_to_none=True)
            with torch.no_grad():
                for tensor, before in zip(tensors, kept, strict=True):
                    tensor.copy_(before)
