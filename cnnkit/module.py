"""Networks of the user's own: found by name, built with a seed, and measured, since no formula knows their costs."""

import functools
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cnnkit.errors import UserError, brief
from cnnkit.search_paths import users_module
from cnnkit.seeds import derive
from cnnkit.spec import ModuleSpec

Factory = Callable[..., nn.Module]


def find_factory(name: str) -> Factory:
    """The callable of a `ModuleSpec.factory`.

    Raises: UserError: there is no such module, function or timm model; the sentence has the nearest name.
    """
    if ":" not in name:
        return _timm_factory(name)
    module_name, _, function_name = name.partition(":")
    try:
        module = users_module(module_name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"factory {name!r}: no module {error.name!r}; put {module_name}.py beside the grid or into the current folder"
        ) from error
    except Exception as error:  # whatever the user's module does when it is imported
        raise UserError(f"factory {name!r}: importing {module_name} failed with {brief(error)}") from error
    factory = getattr(module, function_name, None)
    if not callable(factory):
        raise UserError(f"factory {name!r}: {module_name} has no function {function_name!r}")
    return factory


def _timm_factory(name: str) -> Factory:
    import timm

    if not timm.is_model(name):
        from difflib import get_close_matches

        near = get_close_matches(name, timm.list_models(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see timm.list_models(), or give MODULE:FUNCTION"
        raise UserError(f"factory {name!r}: timm has no such model; {hint}")
    return timm.model_entrypoint(name)


def with_source(spec: ModuleSpec) -> ModuleSpec:
    """The spec with the hash of the source file that defines its callable, checked to build a network of the right shape.

    Raises: UserError: it cannot be built, or maps images to something else than (b, classes).
    """
    file = inspect.getsourcefile(inspect.unwrap(find_factory(spec.factory)))
    if file is None:
        raise UserError(
            f"factory {spec.factory!r}: its source file cannot be found, so its results could not be told apart"
        )
    source = hashlib.blake2b(Path(file).read_bytes(), digest_size=8).hexdigest()
    found = spec.vary(source=source)
    measure(found)
    return found


def build_module(spec: ModuleSpec, *, seed: int) -> nn.Module:
    """The network with the initial weights that its own code draws from torch's generator under `seed`.

    Two arms share initial weights only where their code draws the same numbers in the same order.

    Raises: UserError: the callable fails, or returns no module.
    """
    factory = find_factory(spec.factory)
    shape = {} if ":" in spec.factory else {"in_chans": spec.in_channels, "num_classes": spec.num_classes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        try:
            model = factory(**shape, **spec.arguments)
        except Exception as error:  # whatever the user's code does
            raise UserError(f"{spec.factory} with arguments {spec.arguments} failed with {brief(error)}") from error
    if not isinstance(model, nn.Module):
        raise UserError(f"{spec.factory} returned {type(model).__name__}, not an nn.Module")
    return model


@dataclass(frozen=True)
class Measured:
    """Sizes of a network, counted on a built one without computing anything (torch's meta device)."""

    parameters: int
    parameters_head: int
    """Of the last fully connected layer."""
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
    model = build_module(spec, seed=0).to("meta").train()
    batch = 2
    images = torch.empty(batch, spec.in_channels, spec.image_size, spec.image_size, device="meta")
    weights = {id(parameter) for parameter in model.parameters()}
    saved: dict[int, tuple[int, torch.UntypedStorage]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in weights:
            storage = tensor.untyped_storage()
            saved[storage._cdata] = (storage.nbytes() // tensor.element_size(), storage)
        return tensor

    try:
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            FlopCounterMode(display=False) as flops,
        ):
            logits = model(images)
    except Exception as error:  # whatever the user's code does
        raise UserError(
            f"{spec.factory} cannot take {batch} images of {spec.in_channels}x{spec.image_size}x{spec.image_size}: {brief(error)}"
        ) from error
    expected = (batch, spec.num_classes)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != expected:
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UserError(f"{spec.factory} maps {batch} images to {got}, expected logits of shape {expected}")
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    head = sum(parameter.numel() for parameter in linears[-1].parameters()) if linears else 0
    total = sum(parameter.numel() for parameter in model.parameters())
    return Measured(
        parameters=total,
        parameters_head=head,
        multiply_adds=flops.get_total_flops() // (2 * batch),
        saved_numbers=sum(numbers for numbers, _ in saved.values()) // batch,
    )
