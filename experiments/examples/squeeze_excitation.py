"""A network of your own, ablated: squeeze-and-excitation (Hu et al. 2018, arXiv:1709.01507) after each block.

    python experiments/run_ablation.py --grid experiments/examples/squeeze_excitation.py --protocol smoke --data sample

The file is both: `grid` names the arms, `make` builds the network. The hash of this file is part of the key of its
cells, so an edited network is trained anew. A timm model is named in the same way: `baseline.replaced("ResNet-18",
{"network": "resnet18"}, "resnet18")`.
"""

import torch
from torch import nn

from ablations.arm import Arm


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate computed from the channels' means. (b, c, h, w) -> (b, c, h, w)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.gate = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x.mean((2, 3)))[:, :, None, None]


def make(reduction: int = 0, num_classes: int = 10) -> nn.Module:
    """The documented body with a pooled head; with gates after each block where `reduction` is not 0."""
    blocks: list[nn.Module] = []
    for c_in, c_out in ((3, 32), (32, 64), (64, 128), (128, 256)):
        blocks += [nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.MaxPool2d(2), nn.ReLU()]
        blocks += [SqueezeExcitation(c_out, reduction)] if reduction else []
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, num_classes))


def grid(baseline: Arm) -> list[Arm]:
    """Does squeeze-and-excitation help a small CNN? Without gates, and with reductions 16 and 4."""
    make_it = "squeeze_excitation:make"
    return [
        baseline.replaced("no gates", {"reduction": 0}, make_it),
        baseline.replaced("reduction 16", {"reduction": 16}, make_it, {"reduction": 16}),
        baseline.replaced("reduction 4", {"reduction": 4}, make_it, {"reduction": 4}),
    ]
