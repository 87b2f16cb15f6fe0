"""How much memory a training step of the documented network and of larger ones takes, and the largest batch that a card holds.

Estimated from the network alone (`ablations.resources.training_bytes`: weights, gradients, moments, the maps that the backward
pass
needs), with what a CUDA context takes besides. On an H100 the estimate's sibling, a probe of one epoch, was within 20 % of what
training then reserved (docs/gpus.md).
"""

from collections.abc import Sequence

import pandas as pd

from ablations.resources import CONTEXT_BYTES, training_bytes
from cnnkit.recipe import Recipe
from cnnkit.spec import BASELINE, ConvNetSpec

MEMORY = ("network", "blocks", "convolutions", "width", "parameters", "bytes", "largest_batch", "card")
LARGEST = 1 << 16
WIDEST = 512


def step_bytes(spec: ConvNetSpec, batch_size: int) -> int:
    """Bytes of a card that a training step in fp32 takes, its context included."""
    return training_bytes(spec, Recipe(batch_size=batch_size)) + CONTEXT_BYTES


def largest_batch(spec: ConvNetSpec, card: int) -> int:
    """The largest batch whose step fits `card` bytes in fp32; 0 where not even two images do. Found by bisection."""
    low, high = 1, LARGEST  # low fits or is too small to be asked, high does not fit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if step_bytes(spec, middle) <= card else (low, middle)
    return low if low > 1 else 0


def memory_table(card: int, *, blocks: Sequence[int] = (4, 5, 6, 7)) -> pd.DataFrame:
    """The documented network, and the same with more blocks, more convolutions a block and wider, at 224 pixels in fp32.

    Columns: network (in words), blocks, convolutions (a block), width (of the first block, against the documented),
        parameters, bytes
    (of a step at batch 64, context included), largest_batch (that fits the card; 0: not even two images), card (bytes).
    """
    from cnnkit.cost import cost

    rows = []
    for convolutions in (1, 2, 3):
        for width in (1, 2):
            for count in blocks:
                first = BASELINE.widths[0] * width
                widths = tuple(min(first * 2**block, max(WIDEST, first)) for block in range(count))
                spec = BASELINE.vary(widths=widths, convs_per_block=convolutions)
                plural = "s" if convolutions > 1 else ""
                words = f"{count} blocks, {convolutions} convolution{plural} a block{', twice as wide' if width == 2 else ''}"
                rows.append(
                    (
                        words, count, convolutions, width, cost(spec).parameters, step_bytes(spec, Recipe().batch_size),
                        largest_batch(spec, card), card,
                    )
                )  # fmt: skip
    return pd.DataFrame(rows, columns=MEMORY)
