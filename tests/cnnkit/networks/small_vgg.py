"""A network as somebody brings it: a small VGG with two switches."""

from torch import nn


def make(width=8, batch_norm=True, dropout=0.5, num_classes=10):
    layers, channels = [], 3
    for out in (width, 2 * width):
        layers += [
            nn.Conv2d(channels, out, 3, padding=1),
            *([nn.BatchNorm2d(out)] if batch_norm else []),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        channels = out
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, num_classes)
    )
