"""Networks with odd habits, as people bring them.

Those of `REFUSED` cannot be trained, or not so that one seed gives one result.
"""

import functools
import random
import sys
import threading

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations


class Plain(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.last = nn.Linear(width, 10)

    def features(self, x):
        return self.body(x).mean((2, 3))

    def forward(self, x):
        return self.last(self.features(x))


class ViewsAStridedMap(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.last = nn.Conv2d(3, 4, 3, 2, 1), nn.Linear(4 * 16 * 16, 10)

    def forward(self, x):
        x = self.body(x)
        return self.last(x.view(x.size(0), -1))


class ReadsMemoryAsItLies(Plain):
    def forward(self, x):
        x = self.body(x)
        b, c, h, w = x.shape
        return self.last(torch.as_strided(x, (b, c), (c * h * w, h * w)))


class PlainTensor(Plain):
    def __init__(self):
        super().__init__()
        self.scale = torch.full((8,), 2.0)

    def forward(self, x):
        return self.last(self.features(x) * self.scale)


class LooksAtValues(Plain):
    def forward(self, x):
        if x.abs().max() > 3:
            x = x * 0.5
        return self.last(self.features(x) * x.mean().item())


def lazy():
    return nn.Sequential(nn.LazyConv2d(8, 3, 2), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))


class PartlyBfloat16(Plain):
    def __init__(self):
        super().__init__()
        self.middle = nn.Linear(8, 8).to(torch.bfloat16)

    def forward(self, x):
        return self.last(self.middle(self.features(x).to(torch.bfloat16)).float())


class Tied(Plain):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(8, 8), nn.Linear(8, 8)
        self.other.weight = self.one.weight

    def forward(self, x):
        return self.last(self.other(self.one(self.features(x))))


class Complex(Plain):
    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.randn(8, 8, dtype=torch.complex64))

    def forward(self, x):
        return self.last((self.features(x).to(torch.complex64) @ self.mix).abs())


class ExtraState(Plain):
    def get_extra_state(self):
        return {"version": [1, 2]}

    def set_extra_state(self, state):
        assert state == {"version": [1, 2]}


class CountsInABuffer(Plain):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        if self.training:
            self.seen += 1
        return self.last(self.features(x) * (1 + self.seen))


class WeightNorm(Plain):
    def __init__(self):
        super().__init__()
        self.last = parametrizations.weight_norm(self.last)


class OldWeightNorm(Plain):
    def __init__(self):
        super().__init__()
        self.last = nn.utils.weight_norm(self.last)


class SpectralNorm(Plain):
    def __init__(self):
        super().__init__()
        self.last = parametrizations.spectral_norm(self.last)


class DrawsFromNumpyAndPython(Plain):
    def __init__(self):
        super().__init__()
        self.last.weight.data = torch.from_numpy(np.random.randn(10, 8)).float() * random.random()

    def forward(self, x):
        return self.last(self.features(x) * random.random() * float(np.random.rand()))


class DropoutInEvaluationToo(Plain):
    def forward(self, x):
        return self.last(F.dropout(self.features(F.dropout2d(x, 0.2, self.training)), 0.5))


class CannotBeCopied(Plain):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class NeedsFp32(Plain):
    def forward(self, x):
        features = self.features(x)
        return self.last(features * float(np.mean((features @ features.mT).detach().numpy())))


def compiled():
    return torch.compile(Plain())


def scripted():
    return torch.jit.script(Plain())


def prints():
    print("building")
    return Plain()


def changes_torchs_settings():
    torch.set_grad_enabled(False)
    return Plain()


class Maker:
    def __call__(self, width=4):
        return Plain(width)


maker = Maker()
small = functools.partial(Plain, width=4)

FINE = (
    "Plain", "ViewsAStridedMap", "ReadsMemoryAsItLies", "PlainTensor", "LooksAtValues", "lazy", "PartlyBfloat16", "Tied",
    "Complex", "ExtraState", "CountsInABuffer", "WeightNorm", "OldWeightNorm", "SpectralNorm", "DrawsFromNumpyAndPython",
    "DropoutInEvaluationToo", "CannotBeCopied", "compiled", "scripted", "prints", "changes_torchs_settings", "maker", "small",
)  # fmt: skip


class GivesADict(Plain):
    def forward(self, x):
        return {"logits": super().forward(x)}


class GivesTwoInTraining(Plain):
    def forward(self, x):
        logits = super().forward(x)
        return (logits, logits) if self.training else logits


class FailsInEvaluation(Plain):
    def forward(self, x):
        if not self.training:
            raise RuntimeError("not there\nyet")
        return super().forward(x)


class CountsInAnAttribute(Plain):
    seen = 0

    def forward(self, x):
        self.seen += self.training
        return self.last(self.features(x) * self.seen)


class OwnGeneratorInBuild(Plain):
    def __init__(self):
        super().__init__()
        self.last.weight.data = torch.from_numpy(np.random.default_rng().standard_normal((10, 8))).float()


class OwnGeneratorInForward(Plain):
    def __init__(self):
        super().__init__()
        self.generator = np.random.default_rng(0)

    def forward(self, x):
        return self.last(self.features(x) * self.generator.random())


class ExtraStateThatCannotBeKept(Plain):
    def get_extra_state(self):
        return threading.Lock()

    def set_extra_state(self, state):
        pass


class Complex128(Plain):
    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.zeros(3, dtype=torch.complex128))


class ForgetsItsState(Plain):
    def state_dict(self, *args, **kwargs):
        return {"body": torch.zeros(1)}


def frozen():
    return Plain().requires_grad_(False)


class NoGradient(Plain):
    def forward(self, x):
        return super().forward(x).detach().requires_grad_()


class AlwaysNan(Plain):
    def forward(self, x):
        return super().forward(x) / 0 * 0


class NanInEvaluation(Plain):
    def forward(self, x):
        logits = super().forward(x)
        return logits if self.training else logits + (logits - logits.detach()).log() * float("nan")


class InfiniteForOneClass(Plain):
    def forward(self, x):
        return super().forward(x) - torch.tensor([0.0] * 9 + [float("inf")])


_one = Plain()


def the_same_again():
    return _one


def exits():
    sys.exit(3)


def returns_none():
    return None


def asks():
    input("sure? ")
    return Plain()


def without_weights():
    with torch.device("meta"):
        return Plain()


def double():
    return Plain().double()


instance = Plain()
number = 3

REFUSED = {
    "GivesADict": "maps 2 images to dict",
    "GivesTwoInTraining": "maps 2 images to tuple",
    "FailsInEvaluation": "RuntimeError: not there",
    "CountsInAnAttribute": "register_buffer",
    "OwnGeneratorInBuild": "other initial weights for the same seed",
    "OwnGeneratorInForward": "the global generators",
    "ExtraStateThatCannotBeKept": "'_extra_state' of the network's state is of type lock",
    "Complex128": "cannot be kept as safetensors",
    "ForgetsItsState": "does not take back its saved state",
    "frozen": "no parameter requires a gradient",
    "NoGradient": "no gradient reaches a parameter",
    "AlwaysNan": "NaN or infinite logits in training mode before its first update",
    "NanInEvaluation": "NaN or infinite logits in evaluation mode before its first update",
    "InfiniteForOneClass": "NaN or infinite logits in training mode",
    "the_same_again": "the same network twice",
    "exits": "failed with SystemExit: 3",
    "returns_none": "returned NoneType",
    "asks": "EOFError",
    "without_weights": "meta device",
    "double": "cannot take 2 images",
    "instance": "is a network already",
    "number": "int cannot be called",
    "sys.exit": "Python's own",
    "missing": "has no function 'missing'",
}
