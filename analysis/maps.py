"""What can be done with raw attention maps, whichever network and method they are of."""

import numpy as np
from jaxtyping import Bool, Float


def empty(maps: Float[np.ndarray, "n h w"]) -> Bool[np.ndarray, " n"]:
    """Which maps are 0 everywhere: no position raised the class's score, so there is no place to point at."""
    return np.logical_not(maps.any(axis=(1, 2)))


def relative(maps: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, "n h w"]:
    """Maps in multiples of their own mean, which is what a map that points nowhere would have at each position; empty maps
    stay 0. So one colour scale fits all networks.
    """
    means = maps.mean(axis=(1, 2), keepdims=True)
    return np.divide(maps, means, out=np.zeros_like(maps), where=means > 0)


def coarsen(maps: Float[np.ndarray, "n h w"], size: int) -> Float[np.ndarray, "n size size"]:
    """Maps averaged over the areas of a `size` x `size` grid, so that networks of different resolution can be compared.

    A position that two areas share counts for each by the part that lies in it.

    Raises: ValueError: the maps are coarser already.
    """
    _, height, width = maps.shape
    if size > min(height, width):
        raise ValueError(f"maps of {height}x{width} cannot be shown at {size}x{size}")
    return (_areas(height, size) @ maps @ _areas(width, size).T).astype(maps.dtype)


def _areas(length: int, parts: int) -> Float[np.ndarray, "parts length"]:
    """Weights that average `length` positions over `parts` equal stretches."""
    ends = np.arange(parts + 1) * length / parts
    positions = np.arange(length)
    overlap = np.minimum(ends[1:, None], positions + 1) - np.maximum(ends[:-1, None], positions)
    return np.clip(overlap, 0, None) * parts / length
