"""CIFAR-100 (Krizhevsky 2009) in either public layout, by its 100 fine or its 20 coarse classes (`--data-columns coarse_label`).

The coarse classes are the groups of the fine ones. Training images are those of the training file but for a tenth, stratified,
that validates.
"""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from cnnkit.description import KRIZHEVSKY, DataDescription
from cnnkit.errors import UserError, brief
from cnnkit.file_cache import Arrays, cached, readable
from cnnkit.images import Data
from cnnkit.readers.arrays import ArrayPart, assembled
from cnnkit.readers.cifar10 import decoded_rows, table_of
from cnnkit.readers.found import Found, Place, Progress
from cnnkit.splitting import Part

Labels = Literal["fine_label", "coarse_label"]
Layout = Literal["parquet", "batches"]
SIZE = 32
LARGEST_PICKLE = 2**29
FINE = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
    "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
)  # fmt: skip
COARSE = (
    "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables", "household_electrical_devices",
    "household_furniture", "insects", "large_carnivores", "large_man-made_outdoor_things",
    "large_natural_outdoor_scenes", "large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates",
    "people", "reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2",
)  # fmt: skip
NAMES: dict[Labels, tuple[str, ...]] = {"fine_label": FINE, "coarse_label": COARSE}


def find(place: Place) -> Found | None:
    """CIFAR-100 in a folder, or in the usual folder inside it.

    Raises: UserError: the columns that were asked for are not its own.
    """
    layout = _layout(place.path)
    if layout is None:
        return None
    kind, inner = layout
    asked = (place.options.columns or "fine_label").rpartition(",")[2].strip()
    labels: Labels = "coarse_label" if asked in ("coarse", "coarse_label") else "fine_label"
    if asked not in ("fine", "coarse", "fine_label", "coarse_label"):
        raise UserError(f"--data-columns {place.options.columns}: CIFAR-100 has fine_label and coarse_label")
    about = DataDescription(
        name="CIFAR-100" if labels == "fine_label" else "CIFAR-100 (coarse classes)",
        fingerprint="",
        source="full",
        classes=NAMES[labels],
        image_size=place.options.size or SIZE,
        channels=place.options.channels or 3,
        citation=KRIZHEVSKY,
    )

    def read(progress: Progress) -> Data:
        parts: dict[Part, Arrays] = {part: _part(kind, inner, part) for part in ("train", "test")}
        given = {part: ArrayPart(arrays["images"], arrays[labels]) for part, arrays in parts.items()}
        described = about.model_copy(update={"groups": _groups(parts["train"]) if labels == "fine_label" else {}})
        return assembled(described, given, place.options, place.path)

    return Found(about, read)


def _layout(folder: Path) -> tuple[Layout, Path] | None:
    for inner in (folder, folder / "cifar100"):
        files = [file for file in sorted(inner.glob("train-*.parquet")) if file.is_file()]
        if files and any(inner.glob("test-*.parquet")) and _has_columns(files[0]):
            return "parquet", inner
    for inner in (folder, folder / "cifar-100-python"):
        if inner.name == "cifar-100-python" and (inner / "train").is_file():
            return "batches", inner
    return None


def _has_columns(file: Path) -> bool:
    import pyarrow.parquet as pq

    try:
        return {"img", "fine_label", "coarse_label"} <= {*pq.read_schema(file).names}
    except Exception:  # damaged, which whoever reads it will say
        return False


def _groups(train: Arrays) -> dict[str, tuple[str, ...]]:
    """The fine classes of each coarse one, as the images have them."""
    pairs = sorted(set(zip(train["coarse_label"].tolist(), train["fine_label"].tolist(), strict=True)))
    return {name: tuple(FINE[fine] for coarse, fine in pairs if coarse == place) for place, name in enumerate(COARSE)}


def _part(kind: Layout, folder: Path, part: Part) -> Arrays:
    """Images and both labels of one part."""
    files = [folder / part] if kind == "batches" else sorted(folder.glob(f"{part}-*.parquet"))
    for file in files:
        readable(file)
    arrays = cached(files, lambda: _pickled(files[0]) if kind == "batches" else _parquet(files))
    if not len(arrays["images"]):
        raise UserError(f"{files[0]}: no images in it; download it again")
    for name, classes in NAMES.items():
        labels = arrays[name]
        if len(labels) != len(arrays["images"]) or not ((labels >= 0) & (labels < len(classes))).all():
            raise UserError(f"{files[0]}: its {name} are not those of CIFAR-100; download it again")
    return arrays


def _parquet(files: Sequence[Path]) -> Arrays:
    tables = [table_of(file, ("fine_label", "coarse_label")) for file in files]
    images = [image for file, table in zip(files, tables, strict=True) for image in decoded_rows(file, table)]
    if not images:
        raise UserError(f"{files[0]}: no images in it; download it again")
    labels: Arrays = {
        name: np.concatenate([table[name].to_numpy() for table in tables]).astype(np.int64) for name in NAMES
    }
    return {"images": np.stack(images), **labels}


class _Plain(pickle.Unpickler):
    """Unpickles arrays, lists, dictionaries and text, and calls nothing else, whoever made the file."""

    ALLOWED = frozenset(
        {(module, name) for module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy") for name in
         ("_reconstruct", "ndarray", "dtype")} | {("_codecs", "encode")}
    )  # fmt: skip

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it would call {module}.{name}")
        return super().find_class(module, name)


def _pickled(file: Path) -> Arrays:
    try:
        if file.stat().st_size > LARGEST_PICKLE:
            raise ValueError("it is too large")
        with file.open("rb") as stream:
            content = _Plain(stream).load()
        images = np.asarray(content["data"], dtype=np.uint8).reshape(-1, 3, SIZE, SIZE)
        return {
            "images": images,
            "fine_label": np.asarray(content["fine_labels"], dtype=np.int64),
            "coarse_label": np.asarray(content["coarse_labels"], dtype=np.int64),
        }
    except Exception as error:  # whatever a damaged pickle does
        raise UserError(f"{file} is damaged, or not CIFAR-100's ({brief(error)}); download it again") from error
