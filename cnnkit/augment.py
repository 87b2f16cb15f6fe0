"""Augmentation of whole batches on the training device, with parameters drawn for each image, and scaling to the input size.

Torchvision's transforms draw one set of parameters a batch; here every image has its own, and they come from
a generator of their own, so that arms with one seed see the same augmented images.
"""

import functools
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from cnnkit.description import CIFAR10_NORMALISATION
from cnnkit.recipe import Augmentation
from cnnkit.spec import Normalisation

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma, as in PIL and torchvision

PARAMETERS = 5  # flip, rotation, brightness, contrast, saturation


@functools.cache
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(1, channels, 1, 1); made once a device, since each copy from the host would hold a GPU up."""
    return torch.tensor(values, device=device)[None, :, None, None]


def draw(count: int, generator: torch.Generator) -> Float[Tensor, "count 5"]:
    """Uniform numbers in [0, 1) for `count` images. What they mean depends on the `Augmentation` alone, so
    two recipes that differ in one strength agree in everything else.
    """
    return torch.rand(count, PARAMETERS, generator=generator)


def augment(
    images: Float[Tensor, "b c h w"], uniforms: Float[Tensor, "b 5"], augmentation: Augmentation
) -> Float[Tensor, "b c h w"]:
    """Images in [0, 1], changed as `augmentation` says with each image's own parameters.

    Saturation is of colour, and changes nothing in images that have not three channels.
    """
    flip, rotation, *jitter = uniforms.unbind(1)
    x = _flip_and_rotate(images, flip < augmentation.flip, (2 * rotation - 1) * augmentation.rotation, augmentation)
    strengths = (augmentation.brightness, augmentation.contrast, augmentation.saturation)
    factors = [(1 + (2 * u - 1) * strength)[:, None, None, None] for u, strength in zip(jitter, strengths, strict=True)]
    if augmentation.brightness:
        x = (x * factors[0]).clamp(0, 1)
    if augmentation.contrast:
        mean = _grey(x).mean((2, 3), keepdim=True)
        x = torch.lerp(mean.expand_as(x), x, factors[1]).clamp(0, 1)
    if augmentation.saturation and x.shape[1] == len(GREY):
        x = torch.lerp(_grey(x).expand_as(x), x, factors[2]).clamp(0, 1)
    return x


def _grey(x: Tensor) -> Tensor:
    """(b, 1, h, w): the luma of colour images, the mean of other channels."""
    return (
        (x * _per_channel(GREY, x.device)).sum(1, keepdim=True) if x.shape[1] == len(GREY) else x.mean(1, keepdim=True)
    )


def _flip_and_rotate(x: Tensor, flip: Tensor, degrees: Tensor, augmentation: Augmentation) -> Tensor:
    if not augmentation.rotation:
        return torch.where(flip[:, None, None, None], x.flip(3), x)
    radians = degrees * (math.pi / 180)
    sign = 1.0 - 2.0 * flip.to(x.dtype)
    cos, sin, zero = radians.cos(), radians.sin(), torch.zeros_like(radians)
    # The flip comes first, so in the map from output to input positions it comes last.
    theta = torch.stack([torch.stack([cos * sign, -sin * sign, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def to_unit(images: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Bytes to floats in [0, 1], channels last."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def to_input(
    images: Float[Tensor, "b c h w"], size: int, normalisation: Normalisation = CIFAR10_NORMALISATION
) -> Float[Tensor, "b c size size"]:
    """Images in [0, 1] to network inputs: normalised, then scaled (bilinear; antialiased where that shrinks them)."""
    device = images.device
    x = (images - _per_channel(normalisation.mean, device)) / _per_channel(normalisation.std, device)
    if x.shape[-1] == size:
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=size < x.shape[-1])
