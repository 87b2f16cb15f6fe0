"""What a data set is, as a value that travels with a study's results. Imports pydantic only."""

from collections.abc import Mapping, Sequence

from pydantic import PositiveInt

from cnnkit.spec import Normalisation, Spec, Stored

UNEVEN = 1.5
"""How many times as many images the largest class has as the smallest, from which on classes are called uneven."""
MOST_NAMED = 5
"""Class names in a sentence."""


CIFAR10_NORMALISATION = Normalisation(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
"""Means and standard deviations of CIFAR-10's training images."""


class DataOptions(Spec):
    """How images are read and stored, where a data set leaves that open. Whatever is given here can change the images."""

    size: PositiveInt | None = None
    """Height and width of the stored images, in pixels: the short side is scaled to it, and the middle is cut out. By default
    pictures have the size that the protocol's network takes, or their own where that is smaller; other images their own."""
    channels: PositiveInt | None = None
    """1 stores grey images, 3 colour ones; by default as the images are."""
    columns: str | None = None
    """IMAGE,LABEL: the columns of Parquet files that hold the images and their classes. LABEL alone, such as coarse_label,
    where the images' column is clear."""
    drop_duplicates: bool = False
    """Leave out images that another part holds, too: of validation and training those that are test images, of training those
    that are validation images, and all but one within a part."""


AS_THEY_ARE = DataOptions()


class DataDescription(Stored):
    """All that reading and naming results needs of the data, so that no reader has to have the images."""

    name: str
    """What people call it, such as CIFAR-10."""
    text: str = ""
    """One line: which images, and how many."""
    fingerprint: str
    """A hash of every image and label."""
    source: str
    """Which images of the data set: full, sample or other."""
    classes: tuple[str, ...]
    """A name for each position of a logit vector."""
    groups: dict[str, tuple[str, ...]] = {}
    """Classes that are also looked at together, by the group's name."""
    test_clusters: tuple[int, ...] | None = None
    """Which test images belong together, such as frames of one video: the same number for those of one cluster. None: each
    stands for itself."""
    image_size: int
    """Height and width of the stored images, in pixels."""
    channels: int
    normalisation: Normalisation = CIFAR10_NORMALISATION
    """Of the training images. Manifests that do not say it are of CIFAR-10."""
    citation: str = ""
    """A BibTeX entry."""
    options: DataOptions = AS_THEY_ARE
    """How the images were read; whoever reads the same data set again needs the same."""

    @property
    def is_documented(self) -> bool:
        """Whether it is the data set of the documented study."""
        return self.name == CIFAR10

    def recipe_name(self, protocol: str) -> str:
        """What a protocol is called on this data: that of the documented study is more than a recipe on its own data alone."""
        return protocol if self.is_documented or protocol != "documented" else f"the documented recipe on {self.name}"


def listed(names: Sequence[str]) -> str:
    """Some names in a sentence: all, or the first ones and how many there are."""
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


CIFAR10 = "CIFAR-10"
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_GROUPS: Mapping[str, tuple[str, ...]] = {
    "vehicles": ("airplane", "automobile", "ship", "truck"),
    "animals": ("bird", "cat", "deer", "dog", "frog", "horse"),
}
"""The documented study looks at these together."""
KRIZHEVSKY = r"""@techreport{krizhevsky2009learning,
  author      = {Alex Krizhevsky},
  title       = {Learning Multiple Layers of Features from Tiny Images},
  institution = {University of Toronto},
  year        = {2009}
}
"""


def cifar10(*, text: str = "", fingerprint: str, source: str) -> DataDescription:
    """CIFAR-10 (Krizhevsky 2009), or a part of it."""
    return DataDescription(
        name=CIFAR10,
        text=text,
        fingerprint=fingerprint,
        source=source,
        classes=CIFAR10_CLASSES,
        groups=dict(CIFAR10_GROUPS),
        image_size=32,
        channels=3,
        normalisation=CIFAR10_NORMALISATION,
        citation=KRIZHEVSKY,
    )
