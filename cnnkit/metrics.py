"""What training and evaluation measure, as values that are also what a record stores. Imports pydantic only."""

from cnnkit.spec import Stored


class Epoch(Stored):
    """One row of the learning curve."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    """Mean loss over the epoch's updates, label smoothing and augmentation included."""
    validation_loss: float
    """Mean cross-entropy on the validation images, without label smoothing."""
    validation_accuracy: float
    """Top-1 accuracy on the validation images, 0 to 1."""
    learning_rate: float
    """Learning rate of the epoch's last update."""
    train_seconds: float
    evaluate_seconds: float


class PerClass(Stored):
    """Measures on the test images, one entry a class, 0 to 1."""

    precision: list[float]
    recall: list[float]
    f1: list[float]
    support: list[int]
    """Number of images of the class."""
