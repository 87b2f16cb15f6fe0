"""Training: one network, one recipe, one seed.

The order of the data, the augmentation and dropout's numbers of an epoch depend on the seed and the epoch alone,
never on what was drawn before: a run that goes on from a checkpoint gives the same numbers as one that never stopped.
"""

import io
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import create_scheduler_v2
from torch import Tensor, nn

from cnnkit.augment import augment, draw, to_input, to_unit
from cnnkit.compiled import compiled
from cnnkit.errors import UserError, brief
from cnnkit.evaluate import predict, top1
from cnnkit.graphs import Graphed
from cnnkit.heads import freeze_backbone, last_layer
from cnnkit.images import Data, ImageSet
from cnnkit.memory_format import FORMATS, MemoryFormat, suitable
from cnnkit.metrics import Epoch
from cnnkit.model import ConvNet
from cnnkit.recipe import Precision, Recipe
from cnnkit.seeds import derive, generator, python_and_numpy_seeded
from cnnkit.spec import Normalisation

AUTOCAST: dict[Precision, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
IMAGES_PROPORTION = 0.4
"""Of a GPU's free memory, what images of a mapped file may fill."""
FUSED = frozenset({"adam", "adamw", "sgd", "momentum"})  # timm's names of the optimizers that torch runs fused


def realised_precision(asked: Precision, device: torch.device) -> Precision:
    """What `device` runs natively of what a recipe asks for.

    `torch.cuda.is_bf16_supported()` says yes to emulated bf16, too (pytorch #148322), so emulation is left out.
    """
    if asked != "bf16":
        return "fp32" if asked == "fp16" and device.type == "cpu" else asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "fp32"


def configure_arithmetic() -> None:
    """Makes a run repeatable: fp32 is fp32, no algorithms chosen by timing, none that add in a random order."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    # From torch 2.9 on, that leaves convolutions to what `torch.backends.fp32_precision` says for all; here they are named.
    for library in (torch.backends.cudnn, torch.backends.mkldnn):
        for operation in ("conv", "rnn"):
            if hasattr(library, operation):
                getattr(library, operation).fp32_precision = "ieee"
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


@dataclass(frozen=True)
class Progress:
    """How far a run is: `update` of `updates` in `epoch` (counted from 1) are done."""

    epoch: int
    update: int
    updates: int

    @property
    def ends_epoch(self) -> bool:
        return self.update == self.updates


class Diverged(Exception):
    """The loss, or what the network answers, is not finite any more; `epoch` says since which epoch (counted from 1)."""

    def __init__(self, epoch: int, what: str = "the loss") -> None:
        super().__init__(epoch, what)  # as they came, so that it can be pickled
        self.epoch, self.what = epoch, what

    def __str__(self) -> str:
        return f"{self.what} became NaN or infinite in epoch {self.epoch}"


class BadCheckpoint(Exception):
    """A saved state that does not fit the run: damaged, or of another network or recipe."""


@dataclass
class Fit:
    """What a finished run leaves: the learning curve and the logits of the last epoch's weights."""

    curve: list[Epoch]
    validation_logits: np.ndarray
    """(images, classes) float32, the images in the order of `Data.validation`."""
    test_logits: np.ndarray
    """(images, classes) float32, the images in the order of `Data.test`."""
    test_accuracy: float
    """Top-1 accuracy on the test images, 0 to 1, read once, after the last epoch."""
    test_seconds: float
    precision: Precision
    """The arithmetic that was used."""
    memory_format: MemoryFormat
    """The order in memory that was used."""


class Training:
    """A run, an update at a time. `fit` is the short way.

    Images that lie in a mapped file stay there unless the device has room for them, and are fetched a batch at a time.

    Args: image_size: height and width of the network's input, in pixels. normalisation: of the images, by default the data's
        own. cuda_graphs: on a GPU, launch an update's kernels together (`cnnkit.graphs`); the numbers are the same.
    Raises: UserError: timm knows no such optimizer; no parameter requires a gradient; the recipe asks for a split that the
        data do not hold the images of, or speaks of a last layer that the network has not. With the first update: the network
        cannot be compiled here.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        data: Data,
        *,
        image_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        normalisation: Normalisation | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        configure_arithmetic()
        self.device = torch.device(device)
        self.precision = realised_precision(recipe.precision, self.device)
        if recipe.split_seed:
            data = data.redrawn(recipe.split_seed)
        self.recipe, self.data, self.image_size, self.seed = recipe, data, image_size, seed
        self.normalisation = normalisation or data.about.normalisation
        self.images = _Batches(data.train, self.device)
        self.labels = _on(self.device, labels_to_learn(data.train.labels, recipe.random_labels, seed))
        self.validation_images = self._placed(data.validation)
        self.is_ours = type(model) is ConvNet
        model = model.to(self.device)
        two_images = self._inputs(self.images(torch.arange(min(2, len(data.train)))))
        self.memory_format: MemoryFormat = "channels_last" if self.is_ours else suitable(model, two_images)
        self.model = model.to(memory_format=FORMATS[self.memory_format])
        self.batches = _batches(len(data.train), recipe.batch_size)
        self.head = _head(self.model, recipe, two_images)
        self.optimizer = _optimizer(self.model, recipe, self.head)
        self.scheduler = _scheduler(self.optimizer, recipe, len(self.batches))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        graphed = cuda_graphs and self.device.type == "cuda" and self.images.are_on_the_device
        self._graphed = Graphed(self._passes, self.model, full_batch=recipe.batch_size) if graphed else None
        self._compiled = compiled(self.model) if recipe.compile else None
        self.curve: list[Epoch] = []
        self._validation_logits: np.ndarray | None = None

    @property
    def is_graphed(self) -> bool:
        """Whether an update's kernels have been launched together so far."""
        return self._graphed is not None and self._graphed.recorded is not None

    def run(self) -> Iterator[Progress]:
        """Trains what is left of the recipe's epochs, with a look at the validation images after each: an epoch's last
        progress comes after that look, and is the moment to keep its `state`.

        Nothing waits for the device between the updates of an epoch.

        Raises: Diverged: an epoch's loss, or a logit after it, is not finite.
        """
        while len(self.curve) < self.recipe.epochs:
            yield from self._epoch(len(self.curve) + 1)

    def _epoch(self, epoch: int) -> Iterator[Progress]:
        started = time.monotonic()
        count = len(self.data.train)
        # Drawn on the CPU and moved in one go: the same on every device, and no copies between updates.
        order = torch.randperm(count, generator=generator(self.seed, "order", epoch)).to(self.device)
        uniforms = draw(count, generator(self.seed, "augmentation", epoch)).to(self.device)
        torch.manual_seed(derive(self.seed, "dropout", epoch))  # the global generator is dropout's alone
        total = torch.zeros((), device=self.device)
        self._train_mode()
        for update, batch in enumerate(self.batches, start=1):
            learning_rate = self.optimizer.param_groups[0]["lr"]
            with self._generators("update", epoch, update):
                total += self._update(order[batch], uniforms[batch])
            if self.scheduler is not None:
                self.scheduler.step_update((epoch - 1) * len(self.batches) + update)
            if update < len(self.batches):
                yield Progress(epoch, update, len(self.batches))
        loss = total.item() / len(self.batches)
        trained = time.monotonic()
        if not math.isfinite(loss):
            raise Diverged(epoch)
        self._validation_logits = self._validate(epoch)
        labels = self.data.validation.labels
        self.curve.append(
            Epoch(
                epoch=epoch,
                train_loss=loss,
                validation_loss=F.cross_entropy(
                    torch.from_numpy(self._validation_logits), torch.from_numpy(labels.copy())
                ).item(),
                validation_accuracy=top1(self._validation_logits, labels),
                learning_rate=learning_rate,
                train_seconds=trained - started,
                evaluate_seconds=time.monotonic() - trained,
            )
        )
        yield Progress(epoch, len(self.batches), len(self.batches))

    def _train_mode(self) -> None:
        """What is frozen stays in evaluation mode: neither do its statistics move, nor does it drop anything."""
        self.model.train(not self.recipe.is_frozen)
        if self.recipe.is_frozen and self.head is not None:
            self.head.train()

    def _update(self, chosen: Tensor, uniforms: Tensor) -> Tensor:
        """One update; returns the batch's loss, still on the device and valid until the next update."""
        loss = self._graphed(chosen, uniforms) if self._graphed else self._passes(self.model, chosen, uniforms)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def _passes(self, model: nn.Module, chosen: Tensor, uniforms: Tensor) -> Tensor:
        """Forward and backward pass of an update; returns the batch's loss and leaves the gradients in `model`."""
        inputs = self._inputs(self.images(chosen), uniforms)
        inputs = inputs.contiguous(memory_format=FORMATS[self.memory_format])
        autocast = AUTOCAST[self.precision]
        with torch.autocast(self.device.type, dtype=autocast, enabled=autocast is not None):
            logits = self._network(model, len(chosen))(inputs)
        loss = F.cross_entropy(logits.float(), self.labels[chosen], label_smoothing=self.recipe.label_smoothing)
        model.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _network(self, model: nn.Module, images: int) -> Callable[[Tensor], Tensor]:
        """The compiled network for full batches, which it was compiled for; `model` itself for all others."""
        takes_it = model is self.model and images == min(self.recipe.batch_size, len(self.data.train))
        return self._compiled if self._compiled is not None and takes_it else model

    def _inputs(self, images: Tensor, uniforms: Tensor | None = None) -> Tensor:
        """Stored images as they enter the network, augmented where random numbers are given."""
        units = to_unit(images)
        if uniforms is not None:
            units = augment(units, uniforms, self.recipe.augmentation)
        return to_input(units, self.image_size, self.normalisation)

    def _placed(self, images: ImageSet) -> Tensor:
        """All images of a set: on the device, but for those of a mapped file that is too large for it."""
        fits = self.device.type == "cpu" or not images.is_mapped or _has_room(self.device, images.nbytes)
        return _on(self.device if fits else torch.device("cpu"), images.images)

    def predict(self, images: Tensor) -> np.ndarray:
        """Logits of (n, channels, height, width) bytes, on the device or not, in the run's own arithmetic."""
        return predict(
            self.model,
            images,
            self.image_size,
            normalisation=self.normalisation,
            autocast=AUTOCAST[self.precision],
            memory_format=FORMATS[self.memory_format],
        ).numpy()

    def _validate(self, epoch: int) -> np.ndarray:
        with self._generators("validation", epoch):
            return _finite(self.predict(self.validation_images), epoch, "validation")

    def _generators(self, *names: str | int) -> AbstractContextManager[None]:
        """Around a part of the run: networks of the user's own may draw from Python's and numpy's generators."""
        if self.is_ours:
            return nullcontext()
        return python_and_numpy_seeded(derive(self.seed, "python and numpy", *names))

    def result(self) -> Fit:
        """The logits of the last epoch's weights. The test images are read here and nowhere else.

        Raises: Diverged: a logit is not finite.
        """
        assert len(self.curve) == self.recipe.epochs, "the run is not finished"
        if self._validation_logits is None:  # the last epoch came from a checkpoint
            self._validation_logits = self._validate(self.recipe.epochs)
        started = time.monotonic()
        with self._generators("test"):
            test_logits = self.predict(self._placed(self.data.test))
        _finite(test_logits, self.recipe.epochs, "test")
        return Fit(
            curve=self.curve,
            validation_logits=self._validation_logits,
            test_logits=test_logits,
            test_accuracy=top1(test_logits, self.data.test.labels),
            test_seconds=time.monotonic() - started,
            precision=self.precision,
            memory_format=self.memory_format,
        )

    @property
    def _identity(self) -> dict[str, Any]:
        """What tells this run's states from others'; weights and moments are compared by name and shape besides."""
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "seed": self.seed,
            "image_size": self.image_size,
            "data": self.data.fingerprint,
            "images": len(self.data.train),
        }

    @property
    def state_bytes(self) -> int:
        """About how long a `state` is: weights, and for each that is trained two moments as Adam has them."""
        return sum(
            (3 if parameter.requires_grad else 1) * parameter.numel() * parameter.element_size()
            for parameter in self.model.parameters()
        )

    def state(self) -> bytes:
        """All that going on needs, between two epochs."""
        buffer = io.BytesIO()
        torch.save(
            {
                "run": self._identity,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "curve": [epoch.model_dump() for epoch in self.curve],
            },
            buffer,
        )
        return buffer.getvalue()

    def restore(self, state: bytes) -> None:
        """Goes on from what `state` returned. The schedule and the generators follow from the epoch.

        A run that refused a state is half restored: begin another.

        Raises: BadCheckpoint: the bytes are no state of this run. MemoryError, OSError and torch's out-of-memory errors
            say nothing of the state, and pass through.
        """
        try:
            parts: dict[str, Any] = torch.load(io.BytesIO(state), map_location=self.device, weights_only=True)
            if parts["run"] != self._identity:
                raise ValueError("it is another run's")
            self.model.load_state_dict(parts["model"])
            self.optimizer.load_state_dict(parts["optimizer"])
            self.scaler.load_state_dict(parts["scaler"])
            curve = [Epoch(**epoch) for epoch in parts["curve"]]
        except (MemoryError, OSError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # unpickling and loading raise whatever they please
            raise BadCheckpoint(f"the checkpoint does not fit this run ({brief(error)})") from error
        self.curve = curve
        if self.scheduler is not None:
            self.scheduler.step_update(len(self.curve) * len(self.batches))


def fit(
    model: nn.Module,
    recipe: Recipe,
    data: Data,
    *,
    image_size: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
    normalisation: Normalisation | None = None,
    cuda_graphs: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Fit:
    """Trains `model` in place and evaluates it; the arguments are `Training`'s.

    Raises: Diverged: the loss or a logit is not finite. UserError: an unknown optimizer; nothing to train.
    """
    training = Training(
        model, recipe, data, image_size=image_size, seed=seed, device=device, normalisation=normalisation,
        cuda_graphs=cuda_graphs,
    )  # fmt: skip
    for progress in training.run():
        if on_progress is not None:
            on_progress(progress)
    return training.result()


def _finite(logits: np.ndarray, epoch: int, which: str) -> np.ndarray:
    """The last update of an epoch can spoil the weights after its last finite loss.

    Raises: Diverged: a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise Diverged(epoch, f"logits of the {which} images")
    return logits


def labels_to_learn(labels: np.ndarray, random: float, seed: int) -> np.ndarray:
    """The labels, a share of them (`random`, 0 to 1) shuffled among the images that have them: (images,) int64."""
    if not random:
        return labels
    chosen = torch.randperm(len(labels), generator=generator(seed, "random labels"))[: round(random * len(labels))]
    shuffled = chosen[torch.randperm(len(chosen), generator=generator(seed, "their order"))]
    learnt = labels.copy()
    learnt[chosen.numpy()] = labels[shuffled.numpy()]
    return learnt


class _Batches:
    """The training images where they lie: on the device, or, of a mapped file that is too large for it, in the file."""

    def __init__(self, images: ImageSet, device: torch.device) -> None:
        self.device = device
        self.are_on_the_device = device.type == "cpu" or not images.is_mapped or _has_room(device, images.nbytes)
        self.rows: Tensor | None = None
        if images.is_mapped and (device.type == "cpu" or not self.are_on_the_device):
            self.images = _on(torch.device("cpu"), images.pixels)
            self.rows = None if images.rows is None else torch.from_numpy(images.rows)
        else:
            self.images = _on(device, images.images)

    def __call__(self, chosen: Tensor) -> Tensor:
        """(b, channels, height, width) uint8 on the device. Args: chosen: positions in the set, (b,) int64."""
        chosen = chosen.to(self.device) if self.are_on_the_device else chosen.cpu()
        if self.rows is not None:
            chosen = self.rows[chosen]
        return self.images[chosen].to(self.device)


def _has_room(device: torch.device, wanted: int) -> bool:
    """Whether images of so many bytes leave most of a GPU's free memory to the network."""
    free, _ = torch.cuda.mem_get_info(device)
    return wanted < IMAGES_PROPORTION * free


def _on(device: torch.device, array: np.ndarray) -> Tensor:
    """`array` on `device`; on the CPU without a copy, and nobody writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array).to(device)


def _batches(count: int, batch_size: int) -> list[slice]:
    """Slices of an epoch's order. A single left-over image is skipped: batch norm needs two."""
    starts = range(0, count, batch_size)
    return [slice(start, min(start + batch_size, count)) for start in starts if count - start > 1]


def check_optimizer(name: str) -> None:
    """Raises: UserError: timm has no such optimizer; the sentence has the nearest name."""
    names = list_optimizers()
    if name not in names:
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see timm.optim.list_optimizers()"
        raise UserError(f"recipe.optimizer: timm has no optimizer {name!r}; {hint}")


def _head(model: nn.Module, recipe: Recipe, inputs: Tensor) -> nn.Module | None:
    """The last layer, where the recipe speaks of it; all before it is frozen where the recipe says so."""
    if not recipe.is_frozen and recipe.head_learning_rate is None:
        return None
    head = model.get_submodule(last_layer(model, inputs))
    if recipe.is_frozen:
        freeze_backbone(model, head)
    return head


def _groups(model: nn.Module, recipe: Recipe, head: nn.Module | None) -> nn.Module | list[dict[str, Any]]:
    """The network, or its parameters with a rate for those of the last layer."""
    if head is None or recipe.head_learning_rate is None:
        return model
    of_head = {id(parameter) for parameter in head.parameters()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in trained if id(parameter) not in of_head]},
        {"params": [parameter for parameter in trained if id(parameter) in of_head], "lr": recipe.head_learning_rate},
    ]
    return [group for group in groups if group["params"]]


def _optimizer(model: nn.Module, recipe: Recipe, head: nn.Module | None) -> torch.optim.Optimizer:
    check_optimizer(recipe.optimizer)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(f"{type(model).__name__} has nothing to train: no parameter requires a gradient")
    real = all(parameter.is_floating_point() for parameter in model.parameters())  # not complex numbers
    fused = {"fused": True} if recipe.optimizer in FUSED and real else {}
    # timm leaves norms and biases out of weight decay unless told so; the documented Adam does not.
    return create_optimizer_v2(
        _groups(model, recipe, head),
        opt=recipe.optimizer,
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        filter_bias_and_bn=False,
        **fused,
    )


def _scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, updates_per_epoch: int) -> Any:
    """Timm's scheduler, stepped after every update inside the recipe's own number of epochs, or None."""
    if recipe.schedule == "none":
        return None
    # Left out where there is none: of timm before 1.0.31, None is an error.
    decay = {} if recipe.decay_epochs is None else {"decay_epochs": recipe.decay_epochs}
    scheduler, epochs = create_scheduler_v2(
        optimizer,
        sched=recipe.schedule,
        num_epochs=recipe.epochs,
        warmup_epochs=recipe.warmup_epochs,
        warmup_lr=recipe.learning_rate / 100,
        **decay,
        decay_rate=1.0 if recipe.schedule == "poly" else 0.1,  # for poly it is the power
        min_lr=0.0,
        cooldown_epochs=0,
        step_on_epochs=False,
        updates_per_epoch=updates_per_epoch,
    )
    if epochs != recipe.epochs:
        raise UserError(f"recipe.schedule: {recipe.schedule} would train {epochs} epochs instead of {recipe.epochs}")
    return scheduler
