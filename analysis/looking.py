"""What trained networks answer to images, and where they look for it: logits and raw maps, a batch after another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from ablations.measuring import TrainedNetwork
from analysis.gradcam import BATCH_SIZE, Method, grad_cam
from analysis.maps import coarsen

FINEST = 32
"""Maps have no more positions along a side than this: more than the images have pixels say nothing new."""


@dataclass(frozen=True)
class Looked:
    """What one network made of images."""

    logits: Float[np.ndarray, "n classes"]
    maps: Float[np.ndarray, "n h w"]
    """Raw, see `analysis.gradcam.grad_cam`; at most `FINEST` positions along a side."""


def look(
    network: TrainedNetwork,
    pixels: UInt8[np.ndarray, "n c size size"],
    *,
    classes: Int[np.ndarray, " n"] | Sequence[int] | None = None,
    method: Method = "gradcam",
    layer: str | None = None,
) -> Looked:
    """Logits in the arithmetic that the network was trained in, and maps of `classes`, by default of what it answers.

    Raises: UserError: as `grad_cam`.
    """
    logits = network.logits(pixels)
    explained = logits.argmax(axis=1) if classes is None else np.asarray(classes)
    maps = []
    for start in range(0, len(pixels), BATCH_SIZE):
        batch = slice(start, start + BATCH_SIZE)
        found = grad_cam(network.model, network.inputs(pixels[batch]), explained[batch], method=method, layer=layer)
        maps.append(coarsen(found, FINEST) if min(found.shape[1:]) > FINEST else found)
    return Looked(logits, np.concatenate(maps))
