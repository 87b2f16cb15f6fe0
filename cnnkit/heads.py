"""A network's last layer: what makes classes of features, and what is trained alone where all before it is frozen."""

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from cnnkit.errors import UserError
from cnnkit.seeds import seeded


def last_layer(model: nn.Module, inputs: Tensor) -> str:
    """The name, as in `named_modules`, of the layer with weights that is called last and gives as many numbers as there are
    logits: a fully connected one, or a convolution whose maps are averaged afterwards. The network stays as it is.

    Args: inputs: some images, as they enter the network.
    Raises: UserError: there is none.
    """
    outputs: list[tuple[str, int]] = []  # of each call, in order: the layer, and its channels

    def watch(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim in (2, 4):
                outputs.append((name, output.shape[1]))

        return hook

    modes = [(module, module.training) for module in model.modules()]
    with ExitStack() as stack:
        for name, module in model.named_modules():
            own = any(True for _ in module.parameters(recurse=False))
            if name and own and any(parameter.ndim > 1 for parameter in module.parameters()):
                stack.callback(module.register_forward_hook(watch(name)).remove)
        stack.enter_context(seeded(0))
        stack.enter_context(torch.no_grad())
        logits = model.eval()(inputs)
    for module, training in modes:
        module.training = training
    found = [name for name, channels in outputs if channels == logits.shape[1]]
    if not found:
        raise UserError(
            f"{type(model).__name__} has no last layer that gives its {logits.shape[1]} classes, so which part is its backbone "
            f"is not known; end it with an nn.Linear"
        )
    return found[-1]


def freeze_backbone(model: nn.Module, head: nn.Module) -> None:
    """Leaves the head's parameters alone to be trained."""
    kept = [(parameter, parameter.requires_grad) for parameter in head.parameters()]
    model.requires_grad_(False)
    for parameter, trained in kept:
        parameter.requires_grad_(trained)
