"""Grad-CAM: which parts of an image raised the score of a class. Raw maps, which can be compared between networks.

Selvaraju et al. 2017, arXiv:1610.02391, through the grad-cam library, at a fraction of its usual cost: the map that is explained
is computed without gradients, and the library gets what comes after it as its network, with an identity at which to look.
The maps equal those of the library on the whole network to the last bit, before it scales each image's map to [0, 1], which
makes every map look alike and none comparable.

The explained map of a `ConvNet` is the last block's after activation and before pooling (after pooling it is nearly
useless: 1/4 of the positions), also where training swaps the two. Of other networks it is the last map with more than one
position, or a layer by name.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from pytorch_grad_cam.base_cam import BaseCAM
from torch import Tensor, nn

from cnnkit.errors import UserError
from cnnkit.model import ConvBlock, ConvNet

Method = Literal["gradcam", "gradcam++", "layercam", "hirescam", "eigencam"]
METHODS: dict[Method, type[BaseCAM]] = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "layercam": LayerCAM,
    "hirescam": HiResCAM,
    "eigencam": EigenCAM,
}
assert set(METHODS) == set(get_args(Method))

BATCH_SIZE = 64


def grad_cam(
    model: nn.Module,
    images: Float[Tensor, "n c s s"],
    classes: Sequence[int] | Tensor | np.ndarray,
    *,
    method: Method = "gradcam",
    layer: str | None = None,
    batch_size: int = BATCH_SIZE,
) -> Float[np.ndarray, "n h w"]:
    """Raw maps in the explained map's own resolution, not below 0 and not scaled.

    A map that is 0 everywhere says that nothing raised the class's score (`analysis.maps.empty`). The network's mode, hooks,
    gradients, frozen parameters and the global generator are afterwards as they were. Everything is computed in fp32,
    whatever the arithmetic that the network was trained in.

    Args: images: as the network takes them (`cnnkit.augment.to_input`). classes: the position of the class to explain, an
        image each. layer: name of the module (as in `named_modules`) whose output is explained.
    Raises: ValueError: not as many classes as images, no images, or weights in another type than fp32. UserError: no such
        layer, or no map with more than one position.
    """
    if images.ndim != 4 or not len(images) or not images.is_floating_point():
        raise ValueError(
            f"need images (n, c, s, s) as the network takes them, got {images.dtype} {tuple(images.shape)}"
        )
    targets = np.asarray(classes.cpu() if isinstance(classes, Tensor) else classes).astype(np.int64)
    if targets.shape != (len(images),):
        raise ValueError(f"need a class for each of {len(images)} images, got {targets.shape}")
    kinds = {parameter.dtype for parameter in model.parameters()} - {torch.float32}
    if kinds:
        raise ValueError(f"the network's weights are {kinds.pop()}; explain a copy in fp32 (model.float())")
    maps = []
    with _as_it_was(model):
        split = _split(model, images[:1], layer)
        for start in range(0, len(images), batch_size):
            batch = slice(start, start + batch_size)
            maps.append(_explain(split, images[batch].detach().clone(), targets[batch], METHODS[method]))
    return np.concatenate(maps)


# -- the network, cut in two

Split = tuple[Callable[[Tensor], Tensor], Callable[[Tensor, "Tail"], Tensor]]
"""From images to what enters the tail (without gradients), and from that to logits by way of the tail's identity."""


class Tail(nn.Module):
    """What comes after the explained map, as the library wants it: a module with a layer to look at.

    The network itself is no submodule, since the library resets the gradients of all parameters that it finds.
    """

    def __init__(self, run: Callable[[Tensor, "Tail"], Tensor], device: torch.device) -> None:
        super().__init__()
        self.explained = nn.Identity()
        self.place = nn.Parameter(torch.empty(0, device=device))  # the library reads the device off the first parameter
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x, self)


def _explain(split: Split, images: Tensor, targets: np.ndarray, method: type[BaseCAM]) -> np.ndarray:
    enter, run = split
    tail = Tail(run, images.device)
    with torch.no_grad():
        entering = enter(images)
    cam = method(model=tail, target_layers=[tail.explained])
    hooks = cam.activations_and_grads
    try:
        logits = hooks(entering)
        if cam.uses_gradients:
            logits.gather(1, torch.from_numpy(targets)[:, None].to(logits.device)).sum().backward()
        activations, gradients = (found[0].numpy() if found else None for found in (hooks.activations, hooks.gradients))
        raw = cam.get_cam_image(entering, tail.explained, targets, activations, gradients, False)
    finally:
        hooks.release()
    return np.maximum(raw, 0).astype(np.float32)


def _split(model: nn.Module, image: Tensor, layer: str | None) -> Split:
    if isinstance(model, ConvNet) and layer is None:
        return _split_convnet(model)
    return _split_anywhere(model, *_last_map(model, image, layer))


def _split_convnet(model: ConvNet) -> Split:
    block = model.blocks[-1]
    assert isinstance(block, ConvBlock)

    def enter(images: Tensor) -> Tensor:
        return block.act(block.before_activation(model.blocks[:-1](images)))

    def run(features: Tensor, tail: Tail) -> Tensor:
        return model.forward_head(block.pool(tail.explained(features.detach().requires_grad_())))

    return enter, run


def _split_anywhere(model: nn.Module, layer: str, call: int) -> Split:
    """The whole network runs, and the output of the layer's `call`-th call is replaced by a leaf that gradients end at."""
    module = model.get_submodule(layer)

    def run(images: Tensor, tail: Tail) -> Tensor:
        calls = 0

        def replace(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
            nonlocal calls
            calls += 1
            if calls != call:
                return None
            # A copy goes on, so that what later layers do in place leaves the map that is explained alone.
            return tail.explained(output.detach().clone().requires_grad_()).clone()

        handle = module.register_forward_hook(replace)
        try:
            return model(images)
        finally:
            handle.remove()

    return (lambda images: images), run


def _last_map(model: nn.Module, image: Tensor, layer: str | None) -> tuple[str, int]:
    """Name of the module whose output is the last map with more than one position, and which of its calls that was.

    Raises: UserError: no such layer, or no such map.
    """
    names = dict(model.named_modules())
    if layer is not None and layer not in names:
        from difflib import get_close_matches

        near = get_close_matches(layer, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see dict(model.named_modules())"
        raise UserError(f"the network has no layer {layer!r}; {hint}")
    calls = dict.fromkeys(names, 0)
    found: tuple[str, int] | None = None

    def watch(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            nonlocal found
            calls[name] += 1
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-2] * output.shape[-1] > 1:
                found = name, calls[name]

        return hook

    watched = names if layer is None else {layer: names[layer]}
    handles = [module.register_forward_hook(watch(name)) for name, module in watched.items()]
    try:
        with torch.no_grad():
            model(image)
    finally:
        for handle in handles:
            handle.remove()
    if found is None:
        where = "the network has" if layer is None else f"layer {layer!r} has"
        raise UserError(f"{where} no map (b, c, h, w) with more than one position, so there is no place to point at")
    return found


@contextlib.contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """The network in evaluation mode and frozen, and gradients at work in fp32 whatever surrounds the call; then as before."""
    modes = [(module, module.training) for module in model.modules()]
    thawed = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    devices = [device] if device.type == "cuda" else []
    try:
        model.eval()
        for parameter in thawed:
            parameter.requires_grad_(False)  # no gradient is computed for them, so theirs stay as they are
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
            torch.random.fork_rng(devices=devices),
        ):
            yield
    finally:
        for parameter in thawed:
            parameter.requires_grad_(True)
        for module, training in modes:
            module.training = training
