"""Convolutional networks from a spec: build them, count what they cost, train and evaluate them.

The names that need torch are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cnnkit.cost import Cost, activation_bytes, cost
from cnnkit.errors import UserError
from cnnkit.recipe import NO_AUGMENTATION, Augmentation, Recipe
from cnnkit.spec import BASELINE, ConvNetSpec

if TYPE_CHECKING:
    from cnnkit.data import load
    from cnnkit.images import Data
    from cnnkit.model import ConvNet, build
    from cnnkit.train import Fit, fit

__all__ = [
    "BASELINE", "NO_AUGMENTATION", "Augmentation", "ConvNet", "ConvNetSpec", "Cost", "Data", "Fit", "Recipe",
    "UserError", "activation_bytes", "build", "cost", "fit", "load",
]  # fmt: skip

_LAZY = {
    "ConvNet": "cnnkit.model",
    "Data": "cnnkit.images",
    "Fit": "cnnkit.train",
    "build": "cnnkit.model",
    "fit": "cnnkit.train",
    "load": "cnnkit.data",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
