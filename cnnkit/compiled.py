"""A network whose kernels torch.compile has fused (Ansel et al. 2024, doi:10.1145/3620665.3640366)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cnnkit.errors import UserError, brief

Forward = Callable[[Tensor], Tensor]


def compiled(model: nn.Module) -> Forward:
    """The forward pass of `model`, with its weights, compiled for the shape of the first batch when that comes.

    What this process has compiled before is forgotten: after some networks of one class, PyTorch would stop compiling
    further ones without an error, and a cell's numbers would depend on the cells before it.

    Raises: UserError: when called, where the network cannot be compiled on this machine.
    """
    torch.compiler.reset()  # which imports torch._dynamo
    forward = torch.compile(model, dynamic=False)

    def call(inputs: Tensor) -> Tensor:
        try:
            return forward(inputs)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise UserError(
                f"recipe.compile: torch.compile cannot compile this network here ({brief(error)}); on a CPU it needs a C++ "
                f"compiler, on a GPU Triton; or leave recipe.compile out"
            ) from error

    return call
