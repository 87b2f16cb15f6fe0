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
