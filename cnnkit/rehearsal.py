"""Two updates of a network of the user's own before a study begins: what would fail is seen before training, not after it.

Training, evaluation, going on from a saved state and keeping the weights are those of a real run, on two images of noise.
"""

import functools

import numpy as np
import torch
from torch import nn

from cnnkit.description import DataDescription
from cnnkit.errors import UserError
from cnnkit.images import Data, ImageSet
from cnnkit.module import foreign_code
from cnnkit.own import BATCH, build_module, cannot_take, check_logits, noise
from cnnkit.recipe import Recipe
from cnnkit.seeds import seeded
from cnnkit.spec import ConvNetSpec, ModuleSpec, Normalisation
from cnnkit.train import BadCheckpoint, Diverged, Fit, Training
from cnnkit.weights import from_bytes, to_bytes


def rehearse(spec: ModuleSpec, recipe: Recipe) -> None:
    """Trains, evaluates, stops, goes on and keeps a network. One that diverges is left to the study, whose result that is.

    Raises: UserError: one of these fails, or gives other numbers for the same seed.
    """
    short = recipe.vary(
        epochs=2,
        batch_size=BATCH,
        schedule="none",
        warmup_epochs=0,
        decay_epochs=None,
        split_seed=0,
        random_labels=0,
        compile=False,
    )
    _rehearse(spec.model_dump_json(), short.model_dump_json())


@functools.cache
def _rehearse(spec_json: str, recipe_json: str) -> None:
    spec, recipe = ModuleSpec.model_validate_json(spec_json), Recipe.model_validate_json(recipe_json)
    data = _images(spec)
    first, second, third = (build_module(spec, seed=0) for _ in range(3))
    with seeded(0), foreign_code(cannot_take(spec)), torch.compiler.set_stance("force_eager"):
        torch.set_num_threads(1)  # two images keep no more of them busy, and waiting for others' threads is slow
        _check_builds(spec, first, second)
        for mode in (True, False):
            _check_answers(spec, third.train(mode)(noise(spec)), "training" if mode else "evaluation")
        try:
            state, whole = _straight(spec, _training(first, spec, recipe, data))
            resumed = _resumed(spec, _training(second, spec, recipe, data), state)
        except Diverged:
            return
        if not np.array_equal(whole.test_logits, resumed.test_logits):
            raise UserError(
                f"{spec.factory}: a run that goes on from its saved state gives other numbers than one that was never stopped; "
                f"keep what changes in buffers (register_buffer), and draw from the global generators of torch, numpy or random"
            )
        weights = to_bytes(first)
        from_bytes(third, weights)
        if to_bytes(third) != weights:
            raise UserError(f"{spec.factory}: the network does not take back the weights that it was saved with")


def _training(model: nn.Module, spec: ModuleSpec, recipe: Recipe, data: Data) -> Training:
    return Training(model, recipe, data, image_size=spec.image_size, seed=0, normalisation=spec.normalisation)


def _straight(spec: ModuleSpec, training: Training) -> tuple[bytes, Fit]:
    """A whole run, and its state after the first epoch."""
    state = b""
    for progress in training.run():
        if progress.epoch == 1:
            gradients = [parameter.grad for parameter in training.model.parameters() if parameter.grad is not None]
            if not any(gradient.count_nonzero() for gradient in gradients):
                raise UserError(f"{spec.factory}: no gradient reaches a parameter, so nothing would be trained")
            state = training.state()
    return state, training.result()


def _resumed(spec: ModuleSpec, training: Training, state: bytes) -> Fit:
    try:
        training.restore(state)
    except BadCheckpoint as error:
        raise UserError(f"{spec.factory}: the network does not take back its saved state, {error}") from error
    for _ in training.run():
        pass
    return training.result()


def _check_answers(spec: ModuleSpec, logits: torch.Tensor, mode: str) -> None:
    """Raises: UserError: an untrained network's logits are none, or none that anything can be learnt from."""
    check_logits(spec, logits)
    if not logits.isfinite().all():
        raise UserError(
            f"{spec.factory} answers images of noise with NaN or infinite logits in {mode} mode before its first update, so that "
            f"no cell of it could be trained; look for a division by 0, a logarithm or a root of what may be 0 or less"
        )


def _check_builds(spec: ModuleSpec, first: nn.Module, second: nn.Module) -> None:
    """Raises: UserError: two builds with one seed are not two networks with the same weights."""
    if {id(tensor) for tensor in first.parameters()} & {id(tensor) for tensor in second.parameters()}:
        raise UserError(f"{spec.factory} returns the same network twice; it must build a new one whenever it is called")
    if to_bytes(first) != to_bytes(second):
        raise UserError(
            f"{spec.factory} gives other initial weights for the same seed; draw them from the global generators of torch, "
            f"numpy or random"
        )


def _images(spec: ModuleSpec) -> Data:
    """Two images of noise for each part."""
    random = np.random.default_rng(0)
    shape = (BATCH, spec.in_channels, min(spec.image_size, 32), min(spec.image_size, 32))
    parts = [
        ImageSet(random.integers(0, 256, shape, dtype=np.uint8), np.arange(BATCH) % spec.num_classes) for _ in range(3)
    ]
    return Data(parts[0], parts[1], parts[2], noise_description(spec, shape[-1]))


def noise_description(spec: ConvNetSpec | ModuleSpec, size: int) -> DataDescription:
    """Of uniform noise that a network takes. `size`: height and width of the images, in pixels."""
    channels = spec.in_channels
    return DataDescription(
        name="noise",
        fingerprint="noise",
        source="full",
        classes=tuple(map(str, range(spec.num_classes))),
        image_size=size,
        channels=channels,
        normalisation=Normalisation(mean=(0.5,) * channels, std=(0.29,) * channels),
    )
