"""A network that takes more memory than its share: two fifths of a GPU, or what no machine has. Two images, as in a
rehearsal before the study, it takes like any other.
"""

import torch
from torch import nn


class Greedy(nn.Module):
    """(b, 3, s, s) -> (b, 10), with much memory in between."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(3, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) <= 2:
            return self.classifier(x.mean((2, 3)))
        if x.is_cuda:
            total = torch.cuda.get_device_properties(x.device).total_memory
            torch.empty(total * 2 // 5, dtype=torch.uint8, device=x.device)
        else:
            raise torch.OutOfMemoryError("no machine has so much")
        return self.classifier(x.mean((2, 3)))


def greedy() -> nn.Module:
    return Greedy()
