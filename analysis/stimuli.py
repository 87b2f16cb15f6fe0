"""Cue-conflict stimuli (Geirhos et al. 2019, arXiv:1811.12231): the shape of one thing with the texture of another.

`cat7-truck2` has the outline of cat 7 and the texture of truck 2. The 245 stimuli of the seven categories that CIFAR-10 has
too travel with the package, and so do the silhouettes of their 67 shapes; `read_stimuli` reads a folder in the public
layout as well:

    FOLDER/<shape category>/<shape><number>-<texture><number>.png      or FOLDER/cue-conflict/<shape category>/...
    FOLDER/silhouettes/<shape category>/<shape><number>.png            dark where the object is; beside or inside FOLDER
"""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, UInt8
from PIL import Image

from analysis.pictures import NoPicture, read_picture
from cnnkit.errors import UserError, brief

PACKAGED = Path(__file__).parent / "cue_conflict"
STIMULUS = re.compile(r"(?:^|_)(?P<shape>[a-z]+)(?P<shape_number>\d+)-(?P<texture>[a-z]+)(?P<texture_number>\d+)$")
NOT_STIMULI = frozenset({"silhouettes", "edges"})
OBJECT_BELOW = 128
"""A silhouette's pixel belongs to the object where it is darker than this (0 to 255)."""

OTHER_NAMES = {"ship": "boat", "automobile": "car"}
"""What CIFAR-10 calls a category of the stimuli by another name."""


def category(name: str) -> str:
    """A class's name as the stimuli have it."""
    return OTHER_NAMES.get(name, name)


@dataclass(frozen=True)
class LeftOut:
    """A file that is no stimulus that could be used."""

    file: str
    reason: str


@dataclass(frozen=True)
class Stimuli:
    """Cue-conflict images, what they are made of, and the outlines of their objects."""

    table: pd.DataFrame
    """A row a stimulus: name, shape, texture (categories), shape_instance, texture_instance (such as cat7)."""
    images: UInt8[np.ndarray, "n channels size size"]
    masks: Mapping[str, Bool[np.ndarray, "size size"]]
    """By shape instance: where the object is. Instances without a silhouette are missing."""
    left_out: tuple[LeftOut, ...] = ()
    fingerprint: str = ""
    """A hash of the files that the stimuli were read from; parts of them have the same."""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def conflict(self) -> Bool[np.ndarray, " n"]:
        """Whether a stimulus's two cues are of different categories."""
        return (self.table["shape"] != self.table["texture"]).to_numpy()

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories that a cue has, sorted."""
        return tuple(sorted(set(self.table["shape"]) | set(self.table["texture"])))

    @property
    def pairs(self) -> pd.Series:
        """Shape and texture category of each stimulus, such as cat-truck: the strata of `analysis.crossed`."""
        return self.table["shape"] + "-" + self.table["texture"]

    @property
    def remark(self) -> str:
        """What was left out and why, with an example of each kind; empty where nothing was."""
        kinds: dict[str, list[str]] = {}
        for one in self.left_out:
            kinds.setdefault(one.reason, []).append(one.file)
        return "; ".join(f"{len(files)} left out: {reason} ({_some(files)})" for reason, files in kinds.items())

    def only(self, keep: Bool[np.ndarray, " n"]) -> "Stimuli":
        """Some of the stimuli."""
        return replace(self, table=self.table[keep].reset_index(drop=True), images=self.images[keep])

    def of_classes(self, classes: Sequence[str]) -> "Stimuli":
        """The stimuli whose two cues a network with these classes could name.

        Raises: UserError: the classes share fewer than two categories with the stimuli.
        """
        shared = {category(name) for name in classes} & set(self.categories)
        if len(shared) < 2:
            raise UserError(
                f"this needs classes that the stimuli have ({', '.join(self.categories)}), at least two of them; "
                f"the data's are {_some(list(classes))}"
            )
        return self.only((self.table["shape"].isin(shared) & self.table["texture"].isin(shared)).to_numpy())

    def in_channels(self, channels: int) -> "Stimuli":
        """The stimuli as networks of colour images (3) or of grey ones (1, each pixel's luma) take them.

        Raises: UserError: another number of channels.
        """
        if channels == self.images.shape[1]:
            return self
        if channels != 1:
            raise UserError(
                f"the stimuli are pictures in colour or in grey, and the data's images have {channels} channels"
            )
        pictures = (Image.fromarray(np.ascontiguousarray(np.moveaxis(image, 0, -1))) for image in self.images)
        return replace(self, images=np.stack([np.asarray(picture.convert("L"))[None] for picture in pictures]))

    def shrunk(self, size: int) -> UInt8[np.ndarray, "n channels size size"]:
        """The images at `size` x `size` pixels, antialiased (bilinear)."""
        return np.stack([shrunk(image, size) for image in self.images])


def read_stimuli(folder: Path | None = None) -> Stimuli:
    """The packaged stimuli, or those in a folder in the public layout, ordered by name.

    Files that cannot be used are named in `Stimuli.left_out`; so are shapes without a silhouette, whose stimuli stay.

    Raises: UserError: the folder is missing, or holds no stimulus.
    """
    if folder is None:
        return _packaged()
    if not folder.is_dir():
        raise UserError(f"no folder of stimuli at {folder}")
    root = folder / "cue-conflict" if (folder / "cue-conflict").is_dir() else folder
    files = sorted(file for file in root.rglob("*.png") if not NOT_STIMULI & set(file.relative_to(root).parts))
    if not files:
        raise UserError(
            f"{folder} holds no PNG images; stimuli lie in a folder for each shape, such as cat/cat7-truck2.png"
        )
    images: dict[str, np.ndarray] = {}
    left_out = []
    for file in files:
        found = _read(file)
        if isinstance(found, LeftOut):
            left_out.append(found)
        elif found[0] in images:
            left_out.append(LeftOut(str(file.relative_to(root)), "a second stimulus of this name"))
        else:
            images[found[0]] = found[1]
    if not images:
        reasons = ", ".join(sorted({one.reason for one in left_out}))
        raise UserError(
            f"{folder} holds no stimulus that can be used: of {len(files)} PNG images all are left out ({reasons})"
        )
    size = Counter(image.shape[1:] for image in images.values()).most_common(1)[0][0]
    for name in [name for name, image in images.items() if image.shape[1:] != size]:
        height, width = images.pop(name).shape[1:]
        left_out.append(LeftOut(f"{name}.png", f"{width}x{height} pixels, most have {size[1]}x{size[0]}"))
    table = _table(sorted(images))
    masks, missing = _silhouettes(root, sorted(set(table["shape_instance"])), size)
    return Stimuli(
        table,
        np.stack([images[name] for name in table["name"]]),
        masks,
        (*left_out, *missing),
        _fingerprint(files),
    )


def _read(file: Path) -> tuple[str, np.ndarray] | LeftOut:
    """The stimulus's name and pixels."""
    name = STIMULUS.search(file.stem)
    if name is None:
        return LeftOut(file.name, "not named like cat7-truck2.png")
    try:
        pixels = np.asarray(read_picture(file))
    except NoPicture:
        return LeftOut(file.name, "not a readable image")
    if pixels.shape[0] != pixels.shape[1]:
        return LeftOut(file.name, "not square")
    return name.group().lstrip("_"), np.moveaxis(pixels, -1, 0)


def _silhouettes(
    root: Path, instances: Sequence[str], size: tuple[int, int]
) -> tuple[dict[str, np.ndarray], list[LeftOut]]:
    """Masks by shape instance, and the instances that have none."""
    masks, missing = {}, []
    for instance in instances:
        inner = Path("silhouettes") / instance.rstrip("0123456789") / f"{instance}.png"
        file = next((folder / inner for folder in (root, root.parent) if (folder / inner).is_file()), None)
        if file is None:
            missing.append(LeftOut(f"{instance}.png", "no silhouette, so nothing is measured inside the object"))
            continue
        try:
            masks[instance] = np.asarray(read_picture(file, "L").resize(size[::-1])) < OBJECT_BELOW
        except NoPicture:
            missing.append(LeftOut(f"{instance}.png", "a silhouette that is not a readable image"))
    return masks, missing


def _table(names: Iterable[str]) -> pd.DataFrame:
    rows = []
    for name in names:
        parts = STIMULUS.search(name)
        assert parts is not None, name
        shape, texture = parts["shape"], parts["texture"]
        instances = shape + parts["shape_number"], texture + parts["texture_number"]
        rows.append((name, shape, texture, *instances))
    return pd.DataFrame(rows, columns=["name", "shape", "texture", "shape_instance", "texture_instance"])


def shrunk(image: UInt8[np.ndarray, "channels h w"], size: int) -> UInt8[np.ndarray, "channels size size"]:
    """One picture, in colour or grey, at `size` x `size` pixels, antialiased (bilinear)."""
    pixels = image[0] if len(image) == 1 else np.ascontiguousarray(np.moveaxis(image, 0, -1))
    resized = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
    return np.moveaxis(np.atleast_3d(np.asarray(resized)), -1, 0)


def _fingerprint(files: Sequence[Path]) -> str:
    """Of names and contents. Of the files, since decoders of JPEG differ in the last digit."""
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


# -- the packaged stimuli


def write_packaged(stimuli: Stimuli, folder: Path, *, quality: int = 95) -> None:
    """Writes stimuli as JPEG without chroma subsampling, and their silhouettes as 1-bit PNG, for `read_stimuli`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    images = [
        _encoded(
            Image.fromarray(np.ascontiguousarray(np.moveaxis(image, 0, -1))),
            format="JPEG",
            quality=quality,
            subsampling=0,
            optimize=True,
            progressive=True,
        )
        for image in stimuli.images
    ]
    masks = [_encoded(Image.fromarray(mask), format="PNG", optimize=True) for mask in stimuli.masks.values()]
    for name, names, encoded in (("stimuli", stimuli.table["name"], images), ("silhouettes", stimuli.masks, masks)):
        pq.write_table(
            pa.table({"name": list(names), "image": encoded}), folder / f"{name}.parquet", compression="none"
        )


def _encoded(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def _packaged() -> Stimuli:
    images = {name: np.moveaxis(pixels, -1, 0) for name, pixels in _decoded("stimuli", "RGB")}
    table = _table(images)
    masks = dict(_decoded("silhouettes", "1"))
    return Stimuli(table, np.stack(list(images.values())), masks, (), _fingerprint(sorted(PACKAGED.glob("*.parquet"))))


def _decoded(name: str, mode: str) -> Iterator[tuple[str, np.ndarray]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = PACKAGED / f"{name}.parquet"
    try:
        for row in pq.read_table(file).to_pylist():
            with Image.open(io.BytesIO(row["image"])) as image:
                yield row["name"], np.asarray(image.convert(mode))
    except (pa.ArrowException, OSError, KeyError) as error:
        raise UserError(
            f"the packaged stimuli at {file} cannot be read ({brief(error)}); install the package again"
        ) from error
