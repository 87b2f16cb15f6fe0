"""A network of your own: a small VGG. `my_vgg.yaml` beside it makes it the baseline of a study."""

from torch import nn


def make(batch_norm: bool = True, dropout: float = 0.5, num_classes: int = 10) -> nn.Module:
    def block(i: int, o: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, 3, padding=1), *[nn.BatchNorm2d(o)] * batch_norm, nn.ReLU(), nn.MaxPool2d(2)]

    body = [layer for i, o in ((3, 32), (32, 64), (64, 128)) for layer in block(i, o)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(128, num_classes))
