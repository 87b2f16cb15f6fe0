"""Networks of the user's own: built with a seed, and measured, since no formula knows their costs."""

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from cnnkit.errors import UserError
from cnnkit.module import find_factory, foreign_code, restored
from cnnkit.seeds import derive, seeded
from cnnkit.sources import source_of
from cnnkit.spec import ModuleSpec

BATCH = 2
"""Images with which a network is tried."""


def with_source(spec: ModuleSpec) -> ModuleSpec:
    """The spec with the hash of the code that it stands for.

    Raises: UserError: its factory cannot be found.
    """
    return spec.vary(source=source_of(spec))


def build_module(spec: ModuleSpec, *, seed: int) -> nn.Module:
    """The network with the initial weights that its own code draws from the generators of torch, numpy and Python under `seed`.

    Two arms share initial weights only where their code draws the same numbers in the same order. Layers that wait for
    their first images to know their shapes are given some.

    Raises: UserError: the callable fails, or returns no module; its code is not the one that `spec.source` was made from.
    """
    if spec.source and source_of(spec) != spec.source:
        raise UserError(f"the code of {spec.factory} has changed since this study was planned; start the command again")
    factory = find_factory(spec.factory).value
    shape = {} if ":" in spec.factory else {"in_chans": spec.in_channels, "num_classes": spec.num_classes}
    with seeded(derive(seed, "weights")):
        with foreign_code(f"{spec.factory} with arguments {spec.arguments} failed with"):
            model = factory(**shape, **restored(spec.arguments))
        if not isinstance(model, nn.Module):
            raise UserError(f"{spec.factory} returned {type(model).__name__}, not an nn.Module")
        tensors = [*model.parameters(), *model.buffers()]
        if any(is_lazy(tensor) for tensor in tensors):
            _give_shapes(model, spec)
        elif any(tensor.is_meta for tensor in tensors):
            raise UserError(
                f"{spec.factory} returned a network on torch's meta device, without weights; build it on the CPU"
            )
    return model


def _give_shapes(model: nn.Module, spec: ModuleSpec) -> None:
    was_training = model.training
    with foreign_code(cannot_take(spec)), torch.no_grad():
        model.eval()(noise(spec))
    model.train(was_training)


def cannot_take(spec: ModuleSpec) -> str:
    """The begin of the sentence about a network that fails."""
    return f"{spec.factory} cannot take {BATCH} images of {spec.in_channels}x{spec.image_size}x{spec.image_size}:"


def noise(spec: ModuleSpec) -> torch.Tensor:
    """Noise: a network may divide by what constant images have none of."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(BATCH, spec.in_channels, spec.image_size, spec.image_size, generator=generator)


def check_logits(spec: ModuleSpec, logits: Any) -> None:
    """Raises: UserError: they are not what a classifier of this spec gives for `BATCH` images."""
    expected = (BATCH, spec.num_classes)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != expected:
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        hint = "" if isinstance(logits, torch.Tensor) else "; return the logits alone, in training, too"
        raise UserError(f"{spec.factory} maps {BATCH} images to {got}, expected logits of shape {expected}{hint}")
    if not logits.is_floating_point():
        raise UserError(f"{spec.factory} gives logits of {logits.dtype}, expected floating-point numbers")


@dataclass(frozen=True)
class Measured:
    """Sizes of a network, counted in a forward pass of two images."""

    parameters: int
    multiply_adds: int
    """Of one image's forward pass: half of what `torch.utils.flop_counter` counts."""
    saved_numbers: int
    """Numbers that a training step keeps for its backward pass, for each image."""


def measure(spec: ModuleSpec) -> Measured:
    """Builds and measures the network.

    Raises: UserError: it cannot be built, or does not map (b, c, s, s) to (b, classes).
    """
    return _measure(spec.model_dump_json())


@functools.cache
def _measure(spec_json: str) -> Measured:
    spec = ModuleSpec.model_validate_json(spec_json)
    model = build_module(spec, seed=0)
    weights = {id(parameter) for parameter in model.parameters()}
    saved: dict[int, tuple[int, torch.UntypedStorage]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in weights:
            storage = tensor.untyped_storage()
            saved[storage._cdata] = (storage.nbytes() // tensor.element_size(), storage)
        return tensor

    with (
        seeded(0),
        foreign_code(cannot_take(spec)),
        sdpa_kernel(SDPBackend.MATH),  # the counter does not know all of the others
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        FlopCounterMode(display=False) as flops,
    ):
        torch.set_num_threads(1)  # enough for two images
        logits = model.train()(noise(spec))
    check_logits(spec, logits)
    return Measured(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        multiply_adds=flops.get_total_flops() // (2 * BATCH),
        saved_numbers=sum(numbers for numbers, _ in saved.values()) // BATCH,
    )
