"""Initial weights of a network of the user's own that are paired across arms, without changing how its code draws them.

Code draws in the order in which it makes layers, so that a layer more or less shifts what all later ones get. Here it is watched:
of every tensor that is filled with random numbers in place (as all of `torch.nn.init` does) it is kept how, and each parameter
is then filled again in the same way from a generator of its own, keyed by (seed, parameter name). Its distribution stays what it
was. What came about otherwise (constants, matrices made orthogonal, products of random tensors) stays as the code made it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cnnkit.seeds import generator

RANDOM = frozenset(
    {"normal_", "uniform_", "bernoulli_", "random_", "exponential_", "log_normal_", "cauchy_", "geometric_"}
)


@dataclass
class _Filled:
    """A tensor that was filled with random numbers, and what was done to it since."""

    tensor: Tensor
    """Kept, so that no other takes its place in memory."""
    steps: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)


class _Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.filled: dict[int, _Filled] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name.endswith("_") and args and isinstance(args[0], Tensor):
            self._note(name, func, args[0], args[1:], kwargs)
        return result

    def _note(self, name: str, func: Any, tensor: Tensor, arguments: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        place = tensor.untyped_storage().data_ptr()
        is_whole = tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
        plain = not any(isinstance(value, Tensor) for value in (*arguments, *kwargs.values()))
        if name in RANDOM and is_whole and plain:
            self.filled[place] = _Filled(tensor)
        known = self.filled.get(place)
        if known is None:
            return
        if is_whole and plain and name not in ("zero_", "fill_"):
            known.steps.append((func, arguments, kwargs))
        else:  # a constant, a part of it, or other numbers than its own
            del self.filled[place]


@contextmanager
def drawn_by_name(seed: int) -> Iterator[list[nn.Module]]:
    """Around code that builds a network, which is put into the list: its parameters are then drawn again by their names."""
    built: list[nn.Module] = []
    with _Watch() as watch:
        yield built
    with torch.no_grad():
        for model in built:
            for name, parameter in model.named_parameters():
                known = watch.filled.get(parameter.untyped_storage().data_ptr())
                if known is None or known.tensor.numel() != parameter.numel():
                    continue
                (first, arguments, kwargs), *others = known.steps
                own = {**kwargs, "generator": generator(seed, "weights", name)}
                first(parameter, *arguments, **own)
                for step, given, named in others:
                    step(parameter, *given, **named)
