"""From a spec to a module, with initial weights that two arms share wherever a parameter's name and shape agree."""

import itertools
import math
from collections import OrderedDict
from typing import overload

import torch
from jaxtyping import Float
from timm.layers import create_act_layer
from torch import Tensor, nn

from cnnkit.own import build_module
from cnnkit.seeds import generator
from cnnkit.spec import COMMUTES_WITH_MAX, ConvNetSpec, Initialisation, ModuleSpec


def conv_norm(in_channels: int, out_channels: int, kernel_size: int, batch_norm: bool) -> nn.Sequential:
    """A convolution that keeps the map's size, with batch norm or, without it, a bias of its own."""
    padding = kernel_size // 2
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=not batch_norm)
    if batch_norm:
        layers["norm"] = nn.BatchNorm2d(out_channels)
    return nn.Sequential(layers)


class ConvBlock(nn.Module):
    """Convolutions with optional batch norm and activation, an optional skip around them, and 2x2 max pooling.

    (b, c_in, h, w) -> (b, c_out, h // 2, w // 2)

    The skip joins before the last activation (He et al. 2016, arXiv:1512.03385): the identity, or a 1x1
    projection (with batch norm where the block has it) where the number of channels changes.
    """

    def __init__(self, in_channels: int, out_channels: int, spec: ConvNetSpec) -> None:
        super().__init__()
        channels = (in_channels,) + (out_channels,) * spec.convs_per_block
        self.convs = nn.ModuleList(
            conv_norm(c_in, c_out, spec.kernel_size, spec.batch_norm) for c_in, c_out in itertools.pairwise(channels)
        )
        self.skip: nn.Module | None
        if not spec.residual:
            self.skip = None
        elif in_channels == out_channels:
            self.skip = nn.Identity()
        else:
            self.skip = conv_norm(in_channels, out_channels, 1, spec.batch_norm)
        # Not in place: hooks (Grad-CAM's, for one) keep the tensors that pass here.
        self.act = create_act_layer(spec.activation, inplace=False)
        self.pool = nn.MaxPool2d(2)
        self.pool_first = spec.activation in COMMUTES_WITH_MAX

    def before_activation(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b c_out h w"]:
        """The block's map before its last activation and pooling."""
        y = x
        for i, conv in enumerate(self.convs):
            y = conv(self.act(y) if i else y)
        return y if self.skip is None else y + self.skip(x)

    def forward(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b c_out h2 w2"]:
        y = self.before_activation(x)
        return self.act(self.pool(y)) if self.pool_first else self.pool(self.act(y))


class Head(nn.Module):
    """From the last map to logits: an optional average over a fixed grid, a hidden layer, dropout, the classes.

    (b, c, h, w) -> (b, classes)
    """

    def __init__(self, spec: ConvNetSpec) -> None:
        super().__init__()
        features = spec.widths[-1] * spec.head_grid**2
        size = spec.map_sizes[-1]
        # Where the grid divides the map, plain average pooling is the same function and is deterministic on GPUs.
        divides = size % spec.head_grid == 0
        pool = nn.AvgPool2d(size // spec.head_grid) if divides else nn.AdaptiveAvgPool2d(spec.head_grid)
        self.pool = pool if spec.head == "pool" else nn.Identity()
        self.hidden = nn.Linear(features, spec.hidden_width) if spec.hidden_width else nn.Identity()
        self.act = create_act_layer(spec.activation, inplace=False) if spec.hidden_width else nn.Identity()
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Linear(spec.hidden_width or features, spec.num_classes)

    def forward(self, x: Float[Tensor, "b c h w"], pre_logits: bool = False) -> Float[Tensor, "b out"]:
        y = self.dropout(self.act(self.hidden(self.pool(x).flatten(1))))
        return y if pre_logits else self.classifier(y)


class ConvNet(nn.Module):
    """The network of a `ConvNetSpec`: (b, c, s, s) images -> (b, classes) logits."""

    def __init__(self, spec: ConvNetSpec) -> None:
        super().__init__()
        self.spec = spec
        channels = (spec.in_channels, *spec.widths)
        self.blocks = nn.Sequential(*(ConvBlock(c_in, c_out, spec) for c_in, c_out in itertools.pairwise(channels)))
        self.head = Head(spec)

    def forward_features(self, x: Float[Tensor, "b c s s"]) -> Float[Tensor, "b width h w"]:
        """The last block's output map."""
        return self.blocks(x)

    def forward_head(self, x: Float[Tensor, "b width h w"], pre_logits: bool = False) -> Float[Tensor, "b out"]:
        """Logits of a map, or what enters the last layer if `pre_logits`."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Float[Tensor, "b c s s"]) -> Float[Tensor, "b classes"]:
        return self.forward_head(self.forward_features(x))


@torch.no_grad()
def initialise(model: nn.Module, seed: int, how: Initialisation = "torch") -> None:
    """Draws every weight from a generator of its own, keyed by (seed, parameter name), as `ConvNetSpec.initialisation` says.

    Unless `how` is torch_biases, biases start at zero: torch's default scales them by the fan-in of their layer, so that
    two arms' biases of one name and shape would differ. Batch norm starts as the identity.
    """
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            _draw(parameter, generator(seed, "weights", name), how)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    if how == "torch_biases":
        for name, layer in model.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                bound = 1 / math.sqrt(layer.weight[0].numel())  # of the fan-in
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator(seed, "weights", f"{name}.bias"))


def _draw(weight: Tensor, random: torch.Generator, how: Initialisation) -> None:
    if how == "he":
        nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=random)
    elif how == "glorot":
        nn.init.xavier_uniform_(weight, generator=random)
    else:
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=random)


@overload
def build(spec: ConvNetSpec, *, seed: int = 0) -> ConvNet: ...
@overload
def build(spec: ModuleSpec, *, seed: int = 0) -> nn.Module: ...
def build(spec: ConvNetSpec | ModuleSpec, *, seed: int = 0) -> nn.Module:
    """The network of `spec` on the CPU, its weights drawn from (`seed`, parameter name).

    A network of the user's own draws its weights as its code does, under `seed`. All global generators are left as they were.

    Raises: UserError: a network of the user's own cannot be built.
    """
    if isinstance(spec, ModuleSpec):
        return build_module(spec, seed=seed)
    with torch.random.fork_rng(devices=[]):
        model = ConvNet(spec)
    initialise(model, seed, spec.initialisation)
    return model
