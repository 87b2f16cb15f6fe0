"""Grids: plain functions from a baseline arm to the arms of an ablation, found by name in `GRIDS`.

A grid's docstring says, in this order: the question in one line; what else moves with the factor; how to read the result.
"""

from collections.abc import Callable

from ablations.arm import Arm

Grid = Callable[[Arm], list[Arm]]

WIDEST = 512  # channels; doubling stops here


def doubling(first: int, blocks: int) -> tuple[int, ...]:
    """Widths that double from `first`, one per block, capped at `WIDEST` (or at `first`, where that is wider)."""
    return tuple(min(first * 2**block, max(WIDEST, first)) for block in range(blocks))


def depth(baseline: Arm) -> list[Arm]:
    """How many blocks does the network need? 2 to 6 blocks, widths doubling from the first and capped at 512.

    What else moves: the flattened head shrinks by half to three quarters with every block, so at 224 pixels two
    blocks carry 103 M parameters in the head and six carry 2 M; the receptive field doubles; multiply-adds grow.
    How to read it: an effect of depth as practitioners meet it, head included, at a fixed number of epochs; it does
    not separate depth from parameters or from speed of convergence.
    """
    first = baseline.spec.widths[0]
    return [
        baseline.variant(f"{blocks} blocks", {"blocks": blocks}, widths=doubling(first, blocks))
        for blocks in (2, 3, 4, 5, 6)
    ]


GRIDS: dict[str, Grid] = {grid.__name__: grid for grid in (depth,)}
"""Every grid by its name. To add one, write a function like those above and name it here."""


def arms_of(grid: Grid, baseline: Arm) -> list[Arm]:
    """The arms of `grid`, the baseline among them: put first where the grid does not contain it itself.

    Raises: ValueError: two arms are the same or share a name. ValidationError: an arm cannot be built.
    """
    arms = grid(baseline)
    if not any(arm.is_baseline for arm in arms):
        arms = [baseline, *arms]
    names = [arm.name for arm in arms]
    for i, arm in enumerate(arms):
        if arm.name in names[:i]:
            raise ValueError(f"two arms are called {arm.name!r}")
        for other in arms[:i]:
            if (arm.spec, arm.recipe) == (other.spec, other.recipe):
                raise ValueError(f"the arms {other.name!r} and {arm.name!r} are the same network and recipe")
    return arms
