"""A network's weights as safetensors, and back."""

import json
from collections import OrderedDict
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from cnnkit.errors import UserError, brief

EXTRA = "_extra_state"
"""How torch ends the names of what a module keeps besides tensors (`get_extra_state`)."""


def to_bytes(model: nn.Module) -> bytes:
    """All parameters and buffers by name. Tied ones stand there under each of their names. Extra state that is no
    tensor is kept as JSON.

    Raises: UserError: something in its state can be kept as neither.
    """
    tensors, extra = {}, {}
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor):
            tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        elif name.endswith(EXTRA) and _is_json(value):
            extra[name] = json.dumps(value)
        else:
            raise UserError(
                f"{name!r} of the network's state is of type {type(value).__name__}, which cannot be kept; "
                "make it a tensor or JSON"
            )
    try:
        return save(tensors, metadata=extra or None)
    except (SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:  # its words for a type it lacks
        raise UserError(f"the network's weights cannot be kept as safetensors: {brief(error)}") from error


def from_bytes(model: nn.Module, weights: bytes) -> None:
    """Gives a network the weights that `to_bytes` returned.

    Raises: UserError: they are of another network, or damaged.
    """
    try:
        length = int.from_bytes(weights[:8], "little")
        tensors = load(weights)
        extra = json.loads(weights[8 : 8 + length]).get("__metadata__", {})
        state = {name: json.loads(value) for name, value in extra.items() if name.endswith(EXTRA)}
        model.load_state_dict(with_versions({**tensors, **state}, model))
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"these weights do not fit the network: {brief(error)}") from error


def with_versions(state: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """The state with the versions of the network's modules, which torch keeps beside the tensors and files of tensors lose. Some
    modules (torchvision's MNASNet) do not load without.
    """
    whole: OrderedDict[str, Any] = OrderedDict(state)
    whole._metadata = getattr(model.state_dict(), "_metadata", None)  # type: ignore[attr-defined]
    return whole


def _is_json(value: object) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False
