"""The grid `transfer`: what pretraining adds, of any architecture. Imports pydantic only."""

from collections.abc import Callable
from typing import Any

from ablations.arm import Arm

NETWORK = "timm:resnet18"
"""The architecture unless the user names another one."""
HEAD_FACTOR = 10
"""The last layer of a pretrained network begins at random, and gets so many times the baseline's learning rate."""


def transfer_of(network: str = NETWORK, weights: str = "") -> Callable[[Arm], list[Arm]]:
    """The grid with an architecture and weights. Args: network: as `ModuleSpec.factory`. weights: a file; published ones where
    it is left out.
    """
    beginning: dict[str, Any] = {"weights": weights} if weights else {"pretrained": True}

    def transfer(baseline: Arm) -> list[Arm]:
        """What does pretraining add? A pretrained network frozen but for its last layer, fine-tuned, and from scratch.

        What else moves: against the baseline, all that tells the architecture from it; the pretrained arms' images are normalised
        as their weights want it, and their last layer has ten times the baseline's learning rate. Pretraining has seen other
        images, a million and more, which no number of epochs here counts.
        How to read it: fine-tuned less from scratch is what the weights add to one architecture at this budget, and report.py
        --against "from scratch" tests it; frozen says how far their features go as they are. Each against the
        baseline mixes the weights with the architecture, as one who chooses between the two would meet them.
        """
        rate = HEAD_FACTOR * baseline.recipe.learning_rate

        def arm(name: str, *, freeze: str = "none", **spec: Any) -> Arm:
            recipe: dict[str, Any] = {"freeze": freeze, "head_learning_rate": rate} if spec else {}
            return baseline.replaced(name, {"start": name}, network, recipe=recipe, **spec)

        return [
            baseline,
            arm("frozen", freeze="backbone", **beginning),
            arm("fine-tuned", **beginning),
            arm("from scratch"),
        ]

    return transfer
