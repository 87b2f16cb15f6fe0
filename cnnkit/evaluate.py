"""From a model and images to logits, and from logits to the usual measures."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from cnnkit.augment import to_input, to_unit
from cnnkit.description import CIFAR10_NORMALISATION
from cnnkit.metrics import PerClass
from cnnkit.spec import Normalisation

BATCH_SIZE = 250  # fixed, so that a cell's logits never depend on memory or machine settings


@torch.inference_mode()
def predict(
    model: nn.Module,
    images: UInt8[Tensor, "n c h w"],
    image_size: int,
    *,
    normalisation: Normalisation = CIFAR10_NORMALISATION,
    autocast: torch.dtype | None = None,
    memory_format: torch.memory_format = torch.channels_last,
    batch_size: int = BATCH_SIZE,
) -> Float[Tensor, "n classes"]:
    """Logits in fp32 on the CPU, the model in evaluation mode.

    Args: images: on the model's device, or moved there a batch at a time. image_size: height and width that the model takes, in
        pixels. normalisation: of the images, as the model was trained. autocast: the arithmetic's type; None is fp32.
        memory_format: of the images, as the network was trained.
    """
    was_training = model.training
    model.eval()
    device = next((parameter.device for parameter in model.parameters()), images.device)
    outputs = []
    for batch in torch.split(images, batch_size):
        batch = batch.to(device, non_blocking=True)
        inputs = to_input(to_unit(batch), image_size, normalisation).contiguous(memory_format=memory_format)
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            outputs.append(model(inputs).float())
    model.train(was_training)
    return torch.cat(outputs).cpu()


def top1(logits: np.ndarray, labels: np.ndarray) -> float:
    """Top-1 accuracy, 0 to 1."""
    return float((logits.argmax(1) == labels).mean())


def per_class(logits: np.ndarray, labels: np.ndarray) -> PerClass:
    """Precision, recall and F1 of each class (scikit-learn; a class that is never predicted has precision 0)."""
    from sklearn.metrics import precision_recall_fscore_support  # a second, which nobody else needs

    classes = np.arange(logits.shape[1])
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, logits.argmax(1), labels=classes, zero_division=0
    )
    return PerClass(precision=precision.tolist(), recall=recall.tolist(), f1=f1.tolist(), support=support.tolist())


def calibration_error(logits: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> float:
    """Expected calibration error, 0 to 1: the mean distance between confidence and accuracy over `bins` equally wide
    bins of confidence, weighted by the images in them.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
