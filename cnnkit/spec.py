"""What a network is, as a value: the spec from which `cnnkit.model.build` makes a module.

Only pydantic is imported here, so that specs, grids and help texts are there at once.
"""

import math
import re
import reprlib
import sys
from collections.abc import Mapping
from enum import Enum
from operator import attrgetter
from pathlib import PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    field_validator,
    model_validator,
)

Probability = Annotated[float, Field(ge=0, lt=1)]
MOST = 1_000_000
"""Of pixels, channels, classes, units, epochs or images in a batch: more is a slip, and the costs would be beyond numbers."""
Count = Annotated[int, Field(gt=0, le=MOST)]

# Names that timm's activation factory knows and that have no parameters of their own.
Activation = Literal[
    "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "gelu_tanh", "quick_gelu", "silu", "mish",
    "sigmoid", "tanh", "hard_sigmoid", "hard_swish", "hard_mish", "identity",
]  # fmt: skip

Initialisation = Literal["torch", "torch_biases", "he", "glorot"]

# Non-decreasing functions commute with the maximum: max(f(a), f(b)) = f(max(a, b)). For these the activation runs
# after the pooling, on a quarter of the elements, and the function is the same.
COMMUTES_WITH_MAX = frozenset({"relu", "relu6", "leaky_relu", "identity"})

REFERENCE = "$ref"
"""The one key of an argument that stands for a class, a function or a dtype: {"$ref": "torch.nn:GELU"}."""


class Stored(BaseModel):
    """A frozen value that is read back from JSON. Fields that a later version added are let through."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Spec(BaseModel):
    """A frozen value with a closed set of fields: a misspelt field is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def vary(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again.

        Raises: ValidationError: a field does not exist, or the result is not a valid spec.
        """
        return type(self).model_validate({**self.model_dump(), **changes})

    def changed_fields(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as JSON values: what identifies the spec.

        A field that is added later, with the old behaviour as its default, changes nothing here.
        """
        return self.model_dump(mode="json", exclude_defaults=True)


def one_sentence(error: ValidationError) -> str:
    """The first problem of a validation error in one sentence: which field, what is wrong, what was given."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if not where:
        return message
    if problem["type"] == "extra_forbidden":
        return f"{where}: {error.title} has no such field"
    got = " ".join(reprlib.repr(problem["input"]).split())
    return f"{where}: {message[0].lower()}{message[1:]}, got {got}"


class Normalisation(Stored):
    """What is taken from pixels in [0, 1], and what they are divided by, before they enter a network: one number a channel."""

    mean: tuple[float, ...]
    std: tuple[PositiveFloat, ...]


class ConvNetSpec(Spec):
    """A plain CNN: blocks that each halve height and width, then a classifier.

    A block is `convs_per_block` times (convolution, batch norm, activation) and a 2x2 max pooling. The classifier is
    a hidden fully connected layer with activation and dropout, and a fully connected layer to the classes.
    The defaults are the documented baseline.

    Raises: ValidationError: the network cannot be built; the message names the block and the size.
    """

    image_size: Count = 224
    """Height and width of the (square) input, in pixels."""
    in_channels: Count = 3
    """Channels of the input."""
    num_classes: Count = 10
    """Number of classes, the length of a logit vector."""
    widths: Annotated[tuple[Count, ...], Field(min_length=1)] = (32, 64, 128, 256)
    """Channels of each block, one entry per block."""
    convs_per_block: Count = 1
    """Convolutions in each block."""
    kernel_size: Count = 3
    """Height and width of every convolution's kernel, an odd number of pixels; the padding keeps the map's size."""
    batch_norm: bool = True
    """Batch normalisation after every convolution; without it, convolutions have a bias instead."""
    residual: bool = False
    """A link around each block's convolutions: the identity, or a 1x1 projection where the width changes."""
    activation: Activation = "relu"
    """Non-linearity after every convolution and after the hidden layer, by timm's name."""
    head: Literal["flatten", "pool"] = "flatten"
    """What the classifier sees: every position of the last map, or averages over a fixed grid."""
    pool_size: Count = 1
    """Rows and columns of the grid of `head=pool`; 1 is global average pooling. Must stay 1 with `head=flatten`."""
    hidden_width: Annotated[int, Field(ge=0, le=MOST)] = 512
    """Units of the hidden fully connected layer; 0 leaves the layer out."""
    dropout: Probability = 0.5
    """Probability that a feature is dropped before the last layer; 0 turns dropout off."""
    initialisation: Initialisation = "torch"
    """Initial weights of convolutions and fully connected layers. torch: its default, uniform within 1 / sqrt(fan_in), with
    biases at zero; torch_biases: the biases so, too, as torch's layers come; he: normal with variance 2 / fan_in (He et al.
    2015, arXiv:1502.01852); glorot: uniform with variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        if self.kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size must be odd so that the padding keeps the map's size, got {self.kernel_size}"
            )
        size = self.image_size
        for block, _ in enumerate(self.widths, start=1):
            if size < 2:
                raise ValueError(
                    f"block {block} of {len(self.widths)} would pool a {size}x{size} map to nothing; "
                    f"an input of {self.image_size} pixels carries at most {block - 1} blocks"
                )
            size //= 2
        if self.head == "pool" and self.pool_size > size:
            raise ValueError(
                f"the head cannot average the {size}x{size} map after block {len(self.widths)} "
                f"to a {self.pool_size}x{self.pool_size} grid; pool_size must be at most {size}"
            )
        if self.head == "flatten" and self.pool_size != 1:
            raise ValueError(f"pool_size={self.pool_size} has no effect with head='flatten'; set head='pool'")
        return self

    @property
    def normalisation(self) -> None:
        """Networks of ours take images as the data set normalises them."""
        return None

    @property
    def map_sizes(self) -> tuple[int, ...]:
        """Height and width of each block's output map, after its pooling."""
        return tuple(self.image_size >> block for block in range(1, len(self.widths) + 1))

    @property
    def head_grid(self) -> int:
        """Rows and columns of the map that the classifier sees."""
        return self.map_sizes[-1] if self.head == "flatten" else self.pool_size


LIBRARY = re.compile(r"\A(timm|torchvision):")
"""Names of models in libraries, as people write them."""


def _in_library(prefix: re.Match[str]) -> str:
    """Where the model is found; timm's names have stood alone from the beginning, and are part of cells' keys."""
    return "" if prefix[1] == "timm" else "torchvision.models:"


class ModuleSpec(Spec):
    """A network of the user's own: any callable that returns an `nn.Module` from (b, c, s, s) images to (b, classes) logits.

    `cnnkit.module` builds it, and refuses what cannot be built or gives other shapes.
    """

    factory: str
    """MODULE:FUNCTION, such as my_net:make (in Python, the function or class itself will do); or a model of timm's or
    torchvision's by its name there, such as timm:resnet18 (or just resnet18) and torchvision:vgg11."""
    arguments: dict[str, Any] = {}
    """Keyword arguments of the callable, as JSON: tuples become lists, numpy's numbers plain ones. A class, function or
    dtype is named: {"$ref": "torch.nn:GELU"}; in Python, the class itself will do. What it takes of the input's size and
    channels and of the number of classes it gets besides (`cnnkit.own.completed`)."""
    pretrained: bool = False
    """Start from the weights that timm or torchvision publish for the architecture, fetched when a study is planned."""
    weights: str = ""
    """A file to start from: safetensors, or a state dict that torch has saved. In a planned study, the weights' hash instead
    (`cnnkit.pretrained`): the same weights are the same network, wherever they lie."""
    normalisation: Normalisation | None = None
    """Of the input; left out, as published weights want it, and as the data set has it where there are none."""
    image_size: Count = 224
    """Height and width of the (square) input, in pixels."""
    in_channels: Count = 3
    """Channels of the input."""
    num_classes: Count = 10
    """Number of classes, the length of a logit vector."""
    initialise: Literal["as_coded", "by_name"] = "as_coded"
    """by_name draws each parameter again from (seed, its name), in the way that the network's code drew it, so that arms share
    initial weights wherever name and shape agree; as_coded leaves what the code has drawn."""
    source: str = ""
    """Hash of the code that the callable stands for: another source is another network. Filled in by
    `cnnkit.own.with_source`."""

    @field_validator("factory", mode="before")
    @classmethod
    def _by_name(cls, factory: Any) -> Any:
        if callable(factory):
            return name_of(factory)
        return LIBRARY.sub(_in_library, factory) if isinstance(factory, str) else factory

    @model_validator(mode="after")
    def _starts_once(self) -> Self:
        if self.pretrained and self.weights:
            raise ValueError("pretrained and weights are both given; a network starts from one of them")
        return self

    @field_validator("arguments", mode="after")
    @classmethod
    def _are_json(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        return {name: canonical(value, name) for name, value in arguments.items()}


def canonical(value: Any, where: str) -> Any:
    """An argument as JSON, the same in every process: see `ModuleSpec.arguments`.

    Raises: ValueError: it has no such form; the message begins with `where`.
    """
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where}={value} is no number that a file of results can hold")
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): canonical(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(inner, f"{where}.{i}") for i, inner in enumerate(value)]
    if callable(value) and hasattr(value, "__qualname__"):
        return {REFERENCE: name_of(value)}
    if type(value).__module__ == "torch" and str(value).startswith("torch."):  # a dtype, a memory format
        module, _, name = str(value).partition(".")
        return {REFERENCE: f"{module}:{name}"}
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    raise ValueError(
        f"{where} is a {kind}; give numbers, text, lists, or a class or function, which the network's code can use"
    )


def name_of(value: Any) -> str:
    """MODULE:NAME of a class or function, by which any process finds it.

    Raises: ValueError: it has no such name: a lambda, a partial, what is defined in a function, a notebook or a grid file.
    """
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    advice = "define it by name in a module of its own, beside the grid"
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError(f"an object of type {type(value).__name__} has no name by which it can be found; {advice}")
    try:
        found = attrgetter(name)(sys.modules[module]) if module != "__main__" else None
    except (KeyError, AttributeError):
        found = None
    if found is not value:
        raise ValueError(f"{name} of {module} cannot be found by that name; {advice}")
    return f"{module}:{name}"


BASELINE = ConvNetSpec()
"""The documented four-block network at 224 pixels. It never changes."""
