"""Networks of the user's own: built with a seed, and measured, since no formula knows their costs."""

import contextlib
import functools
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from cnnkit.errors import UserError
from cnnkit.heads import freeze_backbone, last_layer
from cnnkit.module import TORCHVISION, find_factory, foreign_code, restored, taken_by
from cnnkit.paired import drawn_by_name
from cnnkit.pretrained import load_into, resolved
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


SHAPES = {
    "num_classes": ("num_classes", "n_classes", "nb_classes", "num_labels", "classes"),
    "in_channels": ("in_channels", "in_chans", "input_channels"),
    "image_size": ("image_size", "img_size", "input_size"),
}
"""By the spec's field: what functions call the argument that is told it."""


def completed(spec: ModuleSpec) -> ModuleSpec:
    """The spec as a study plans it: with the arguments that tell the network its input and its classes where its code would
    otherwise take others, with the hash of its code, and with that of the weights that it starts from.

    Raises: UserError: its factory cannot be found, or the weights cannot be read or fetched.
    """
    told = {**_told(spec), **spec.arguments}
    return with_source(resolved(spec if told == spec.arguments else spec.vary(arguments=told)))


def _told(spec: ModuleSpec) -> dict[str, int]:
    """What the factory takes of the input's size and channels and of the number of classes, and has otherwise by default."""
    taken, is_timms = taken_by(spec.factory), ":" not in spec.factory
    told: dict[str, int] = {}
    for field, names in SHAPES.items():
        name = next((name for name in names if name in taken.names), None)
        if field == "num_classes" and spec.factory.startswith(
            TORCHVISION
        ):  # each of them takes it, and says it nowhere
            name = field
        if name is None or (is_timms and field != "image_size"):  # the others `build_module` tells timm's models
            continue
        default = taken.defaults.get(name, inspect.Parameter.empty)
        if field == "image_size" and name in taken.further:
            default = _usual_size(spec.factory)
        value = getattr(spec, field)
        is_of_the_input = field != "in_channels" or default in (inspect.Parameter.empty, None, 1, 3)
        if default != value and is_of_the_input and not isinstance(default, str | list | tuple):
            told[name] = value
    return told


def _usual_size(factory: str) -> int | None:
    """The size of the images that a library's model is made for unless it is told otherwise; None where it is not known."""
    if factory.startswith(TORCHVISION):
        return 224
    if ":" in factory:
        return None
    import timm

    config = timm.get_pretrained_cfg(factory)
    return None if config is None else int(config.input_size[-1])


def build_module(spec: ModuleSpec, *, seed: int) -> nn.Module:
    """The network with the initial weights that its own code draws from the generators of torch, numpy and Python under `seed`,
    or with those that its spec names.

    Two arms share initial weights only where their code draws the same numbers in the same order, or where they are drawn by
    name. Layers that wait for
    their first images to know their shapes are given some.

    Raises: UserError: the callable fails, or returns no module; its code is not the one that `spec.source` was made from.
    """
    spec = resolved(spec)
    if spec.source and source_of(spec) != spec.source:
        raise UserError(f"the code of {spec.factory} has changed since this study was planned; start the command again")
    factory = find_factory(spec.factory).value
    shape = {} if ":" in spec.factory else {"in_chans": spec.in_channels, "num_classes": spec.num_classes}
    with seeded(derive(seed, "weights")):
        by_name = spec.initialise == "by_name"
        drawn = drawn_by_name(seed) if by_name else contextlib.nullcontext[list[nn.Module]]([])
        with drawn as built:
            with _called(spec):
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
            built.append(model)
        if spec.weights:
            start(model, spec)
    return model


@contextlib.contextmanager
def _called(spec: ModuleSpec) -> Iterator[None]:
    """Around the call of the factory: an argument that it does not take is a sentence with those that it takes."""
    try:
        with foreign_code(f"{spec.factory} with arguments {spec.arguments} failed with"):
            yield
    except UserError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error.__cause__))
        if not isinstance(error.__cause__, TypeError) or unknown is None or unknown[1] not in spec.arguments:
            raise
        raise UserError(f"{spec.factory} {taken_by(spec.factory).has_not(unknown[1])}") from error


def started_from(spec: ModuleSpec) -> str:
    """The weights' name and what becomes of the last layer; empty where there are no weights. Raises: as `build_module`."""
    return start(build_module(spec.vary(weights=""), seed=0), spec) if spec.weights else ""


def start(model: nn.Module, spec: ModuleSpec) -> str:
    """Gives the network the weights that its spec names. Returns: what was done, in a phrase.

    Raises: UserError: they do not fit, or are not here.
    """
    with foreign_code(cannot_take(spec)):
        return load_into(model, spec, noise(spec))


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


def measure(spec: ModuleSpec, *, frozen: bool = False) -> Measured:
    """Builds and measures the network; its weights bear on nothing that is measured. `frozen`: all but its last layer.

    Raises: UserError: it cannot be built, or does not map (b, c, s, s) to (b, classes); it has no last layer.
    """
    return _measure(spec.vary(weights="", pretrained=False, normalisation=None).model_dump_json(), frozen)


@functools.cache
def _measure(spec_json: str, frozen: bool) -> Measured:
    spec = ModuleSpec.model_validate_json(spec_json)
    model = build_module(spec, seed=0)
    if frozen:
        with foreign_code(cannot_take(spec)):
            freeze_backbone(model, model.get_submodule(last_layer(model, noise(spec))))
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
        logits = model.train()(noise(spec))  # frozen parts, too: what they would keep does not depend on the mode
    check_logits(spec, logits)
    return Measured(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        multiply_adds=flops.get_total_flops() // (2 * BATCH),
        saved_numbers=sum(numbers for numbers, _ in saved.values()) // BATCH,
    )
