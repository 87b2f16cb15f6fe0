"""CIFAR networks in the ways that public model files have them: partials, lambdas as layers, sizes written into the code."""

import functools

import torch
import torch.nn.functional as F
from torch import nn


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Basic(nn.Module):
    """Two convolutions and a skip without parameters (He et al. 2016, option A: strided, padded with zeros)."""

    def __init__(self, inner, outer, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer)
        self.conv2, self.bn2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer)
        self.shortcut = nn.Sequential()
        if stride != 1:
            pad = outer // 4
            self.shortcut = Lambda(lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, pad, pad), "constant", 0))

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, depths, num_classes=10, width=16):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        layers, inner = [], width
        for stage, depth in enumerate(depths):
            for block in range(depth):
                layers.append(Basic(inner, width * 2**stage, 2 if stage and not block else 1))
                inner = width * 2**stage
        self.layers, self.linear = nn.Sequential(*layers), nn.Linear(inner, num_classes)

    def forward(self, x):
        out = self.layers(F.relu(self.bn(self.conv(x))))
        return self.linear(F.avg_pool2d(out, out.size()[3]).view(x.size(0), -1))


resnet20 = functools.partial(ResNet, [3, 3, 3])


class WideBlock(nn.Module):
    def __init__(self, inner, outer, stride, drop_rate):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inner), nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(outer), nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.drop_rate = drop_rate
        self.skip = nn.Conv2d(inner, outer, 1, stride, bias=False) if inner != outer else None

    def forward(self, x):
        out = F.relu(self.bn1(x), inplace=True)
        shortcut = x if self.skip is None else self.skip(out)
        out = self.conv1(out)
        if self.drop_rate:
            out = F.dropout(out, p=self.drop_rate, training=self.training)
        return torch.add(self.conv2(F.relu(self.bn2(out), inplace=True)), shortcut)


class WideResNet(nn.Module):
    """Zagoruyko and Komodakis 2016, arXiv:1605.07146."""

    def __init__(self, depth=10, num_classes=10, widen_factor=1, dropRate=0.0):
        super().__init__()
        assert (depth - 4) % 6 == 0, "depth should be 6n+4"
        count, layers, inner = (depth - 4) // 6, [], 16
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        for stage in range(3):
            for block in range(count):
                outer = 16 * widen_factor * 2**stage
                layers.append(WideBlock(inner, outer, 2 if stage and not block else 1, dropRate))
                inner = outer
        self.blocks, self.bn, self.fc = nn.Sequential(*layers), nn.BatchNorm2d(inner), nn.Linear(inner, num_classes)

    def forward(self, x):
        return self.fc(F.adaptive_avg_pool2d(F.relu(self.bn(self.blocks(self.conv1(x)))), 1).flatten(1))


class LeNet(nn.Module):
    """Made for 32 pixels and ten classes, and says so nowhere."""

    def __init__(self, hidden=120):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16 * 5 * 5, hidden), nn.Linear(hidden, 84), nn.Linear(84, 10)

    def forward(self, x):
        out = F.max_pool2d(F.relu(self.conv2(F.max_pool2d(F.relu(self.conv1(x)), 2))), 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(out.view(out.size(0), -1))))))
