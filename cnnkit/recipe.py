"""How a network is trained, as a value. Imports pydantic only."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from cnnkit.spec import MOST, Count, Probability, Spec

NUMERICS = 1
"""Raised by hand when a change of this software changes the numbers that a given spec, recipe and seed train to."""

Precision = Literal["fp32", "bf16", "fp16"]


class Augmentation(Spec):
    """Random changes of a training image at its original size (32 pixels for CIFAR-10), drawn anew for every image
    and epoch, in this order: flip, rotation, brightness, contrast, saturation.
    """

    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of a horizontal flip."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Largest rotation in degrees; the angle is uniform in [-rotation, rotation], bilinear, edges repeated."""
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Pixels are multiplied by a factor uniform in [1 - brightness, 1 + brightness], then clipped to [0, 1]."""
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Distances from the image's mean grey are multiplied by a factor uniform in [1 - contrast, 1 + contrast]."""
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Distances from each pixel's grey are multiplied by a factor uniform in [1 - saturation, 1 + saturation]."""


NO_AUGMENTATION = Augmentation(flip=0, rotation=0, brightness=0, contrast=0, saturation=0)


class Recipe(Spec):
    """How a network is trained. The defaults are the documented protocol.

    The weights of the last epoch are the result, always: no epoch is chosen by looking at any accuracy.
    """

    epochs: Count = 5
    """Passes over the training images."""
    batch_size: Annotated[int, Field(ge=2, le=MOST)] = 64
    """Images an update; the last batch of an epoch may be smaller (a single left-over image is skipped)."""
    optimizer: str = "adam"
    """Optimizer by timm's name (adam, adamw, sgd, nadam, lamb, ...)."""
    learning_rate: PositiveFloat = 1e-4
    """Peak learning rate."""
    weight_decay: NonNegativeFloat = 1e-4
    """Weight decay of every parameter, norms and biases included; for Adam it is the L2 term of the gradient."""
    momentum: Probability = 0.9
    """Momentum of optimizers that have one (sgd); left alone by the others."""
    schedule: Literal["none", "constant", "cosine", "tanh", "poly", "step", "wsd", "rsqrt"] = "none"
    """Learning-rate schedule by timm's name, stepped after every update inside the budget of `epochs`.
    poly falls linearly; step multiplies by a tenth every `decay_epochs`; wsd and rsqrt end with a decay
    over the last fifth of the run; none keeps the rate as it is, constant does so after a warm-up."""
    warmup_epochs: NonNegativeInt = 0
    """Epochs of linear warm-up from a hundredth of the rate, inside the budget of `epochs`."""
    decay_epochs: PositiveInt | None = None
    """Epochs between two decays of schedule=step."""
    label_smoothing: Probability = 0.0
    """Share of each target that is spread over all classes."""
    freeze: Literal["none", "backbone"] = "none"
    """backbone trains the last layer alone; all before it stays as it is, in evaluation mode: batch norm uses the statistics
    that it has, and nothing is dropped."""
    head_learning_rate: PositiveFloat | None = None
    """Peak learning rate of the last layer; learning_rate where it is left out."""
    precision: Precision = "fp32"
    """Arithmetic of convolutions and matrix products; fp32 has TF32 off. Where a device has no native bf16,
    bf16 becomes fp16 with a loss scaler (GPU) or fp32 (CPU), and the record says so."""
    compile: bool = False
    """Whether the network's training passes are compiled (torch.compile), which fuses kernels: other roundings and other draws
    of dropout, hence other numbers. It pays where training takes minutes; compiling takes up to one for each network."""
    augmentation: Augmentation = Augmentation()
    """Random changes of the training images."""
    split_seed: NonNegativeInt = 0
    """Which images train and which validate. 0: those of the data's own split. Any other number draws as many of each class
    anew from all images that are not test images."""
    random_labels: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the training images whose labels are shuffled among them, as a control: what is then learnt of them is
    memorised (Zhang et al. 2017, arXiv:1611.03530). Which, and how, follows from the seed."""

    @property
    def is_frozen(self) -> bool:
        """Whether all but the last layer stays as it is."""
        return self.freeze == "backbone"

    @model_validator(mode="after")
    def _fits_its_schedule(self) -> Self:
        if self.warmup_epochs and self.schedule == "none":
            raise ValueError(
                "warmup_epochs needs a schedule; set schedule to constant or cosine, or warmup_epochs to 0"
            )
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} leaves nothing of epochs={self.epochs} to train at the full rate"
            )
        if (self.decay_epochs is not None) != (self.schedule == "step"):
            raise ValueError(f"decay_epochs={self.decay_epochs} goes with schedule='step' alone, and must be set there")
        if self.decay_epochs is not None and self.decay_epochs >= self.epochs:
            raise ValueError(
                f"schedule='step' would first decay after {self.decay_epochs} epochs, but epochs={self.epochs}; "
                f"set decay_epochs below that or raise epochs"
            )
        return self
