"""What a data set is, as a value that travels with a study's results. Imports pydantic only."""

from cnnkit.spec import Stored


class DataDescription(Stored):
    """All that reading and naming results needs of the data, so that no reader has to have the images."""

    name: str
    """What people call it, such as CIFAR-10."""
    text: str
    """One line: which images, and how many."""
    fingerprint: str
    """A hash of every image and label."""
    source: str
    """Where it came from: full, sample or other."""
    classes: tuple[str, ...]
    """A name for each position of a logit vector."""
    groups: dict[str, tuple[str, ...]] = {}
    """Classes that are also looked at together, by the group's name."""
    image_size: int
    """Height and width of the stored images, in pixels."""
    channels: int


CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_GROUPS = {
    "vehicles": ("airplane", "automobile", "ship", "truck"),
    "animals": ("bird", "cat", "deer", "dog", "frog", "horse"),
}
"""The documented study looks at these together."""


def cifar10(*, text: str, fingerprint: str, source: str) -> DataDescription:
    """CIFAR-10 (Krizhevsky 2009), or a part of it."""
    return DataDescription(
        name="CIFAR-10",
        text=text,
        fingerprint=fingerprint,
        source=source,
        classes=CIFAR10_CLASSES,
        groups=CIFAR10_GROUPS,
        image_size=32,
        channels=3,
    )
