"""CIFAR-10 (Krizhevsky 2009): from a folder in either public layout, downloaded, or the packaged sample.

Images are put in the order of a hash of their pixels before anything is split or shuffled. So the split, the
subsets and every trained number are the same whichever layout the images came from.
"""

import hashlib
import io
import socket
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from platformdirs import user_cache_path

from cnnkit.description import CIFAR10_CLASSES, DataDescription, cifar10
from cnnkit.errors import UserError, brief
from cnnkit.file_cache import Arrays, cached

CLASSES = CIFAR10_CLASSES
SAMPLE = Path(__file__).parent / "sample"
DOWNLOAD_HOST = "www.cs.toronto.edu"
NETWORK_PATIENCE = 10  # seconds until a missing network is taken as such
MOST_ROWS = 1_000_000  # of one Parquet file
FORMATS = ("PNG", "JPEG")
"""Of stored images; Pillow would hand some of its others to programs such as Ghostscript."""

Source = Literal["full", "sample", "other"]
Layout = Literal["parquet", "batches"]


@dataclass(frozen=True)
class ImageSet:
    """Images and their classes, ordered by a hash of the pixels."""

    images: np.ndarray
    """(n, 3, 32, 32) uint8, RGB."""
    labels: np.ndarray
    """(n,) int64, positions in `CLASSES`."""

    def __len__(self) -> int:
        return len(self.labels)

    def first_of_each_class(self, start: int, stop: int) -> "ImageSet":
        """Of each class, those from the `start`-th to before the `stop`-th, in the order of their hashes."""
        rank = np.empty(len(self), dtype=np.int64)
        for label in range(len(CLASSES)):
            members = np.flatnonzero(self.labels == label)
            rank[members] = np.arange(len(members))
        keep = (rank >= start) & (rank < stop)
        return ImageSet(self.images[keep], self.labels[keep])

    def subset(self, count: int | None, what: str) -> "ImageSet":
        """A stratified subset of at most `count` images (`None`: all); a larger count means all there are.

        Raises: UserError: `count` is not a positive multiple of the number of classes.
        """
        if count is None or count >= len(self):
            return self
        if count < 1 or count % len(CLASSES):
            raise UserError(
                f"{what}: a stratified subset needs a positive multiple of {len(CLASSES)} images, got {count}"
            )
        return self.first_of_each_class(0, count // len(CLASSES))

    def count_in(self, other: "ImageSet") -> int:
        """How many of these images are in `other`, too, pixel by pixel."""
        mine = {image.tobytes() for image in self.images}
        shared = mine.intersection(image.tobytes() for image in other.images)
        return sum(image.tobytes() in shared for image in self.images) if shared else 0


@dataclass(frozen=True)
class Data:
    """CIFAR-10 or a part of it, split into training, validation and test images."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    unused: int
    """Training images that the documented split leaves out."""
    fingerprint: str
    """A hash of every image and label, whatever the order and the layout of the files."""
    source: Source
    path: Path

    def subset(self, *, train: int | None = None, validation: int | None = None, test: int | None = None) -> "Data":
        """The same data with fewer images in some sets, stratified. The fingerprint stays that of the source."""
        return Data(
            self.train.subset(train, "training images"),
            self.validation.subset(validation, "validation images"),
            self.test.subset(test, "test images"),
            self.unused,
            self.fingerprint,
            self.source,
            self.path,
        )

    @property
    def description(self) -> DataDescription:
        """What results keep of the data."""
        return cifar10(text=self.describe(), fingerprint=self.fingerprint, source=self.source)

    @cached_property
    def warning(self) -> str:
        """What is wrong with the parts, in one line; empty where no image is in two of them."""
        parts = (
            (self.test, self.train, "test images are training images, too"),
            (self.test, self.validation, "test images are validation images, too"),
            (self.validation, self.train, "validation images are training images, too"),
        )
        counts = [(one.count_in(other), len(one), what) for one, other, what in parts]
        return ", ".join(f"{count:,} of {size:,} {what}" for count, size, what in counts if count)

    def describe(self) -> str:
        """One line for people: which images, and how many."""
        name = {
            "full": "CIFAR-10",
            "sample": "packaged SAMPLE of CIFAR-10, not the full data set",
            "other": "images that are not the whole of CIFAR-10",
        }
        sizes = f"{len(self.train):,} training / {len(self.validation):,} validation / {len(self.test):,} test images"
        unused = f", {self.unused:,} training images unused as in the documented split" if self.unused else ""
        warning = f"; WARNING: {self.warning}" if self.warning else ""
        return f"{name[self.source]}: {sizes}{unused} (fingerprint {self.fingerprint}){warning}"


def load(data: str | Path = "auto", *, download: bool = True) -> Data:
    """CIFAR-10 with the documented split: of each class, 80 % of the training file are for training, 10 % for
    validation, 10 % unused; the test file is the test set. That is 40,000 / 5,000 / 10,000 images, 5,000 unused.

    Args: data: a folder in either layout; "sample", the packaged sample; or "auto", the full set where it is found
        (./data, the user's cache) or can be downloaded, else the sample. download: whether it may be.
    Raises: UserError: the folder is missing, or holds something else.
    """
    if str(data) == "sample":
        return _read(SAMPLE)
    if str(data) != "auto":
        try:
            return _read(Path(data))
        except (OSError, ValueError) as error:
            raise UserError(f"{data} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    cache = user_cache_path("ablations") / "cifar10"
    for folder in (Path("data"), Path("data/cifar10"), cache):
        if _layout(folder) is not None:
            return _read(folder)
    return _read(cache if download and _download(cache) else SAMPLE)


def _layout(folder: Path) -> tuple[Layout, Path] | None:
    """Which layout `folder` (or the usual folder inside it) has, and where its files are."""
    for inner in (folder, folder / "plain_text"):
        if any(inner.glob("train-*.parquet")) and any(inner.glob("test-*.parquet")):
            return "parquet", inner
    for inner in (folder, folder / "cifar-10-batches-py"):
        if (inner / "data_batch_1").is_file():
            return "batches", inner
    return None


def _read(folder: Path) -> Data:
    if not folder.is_dir():
        raise UserError(f"no data folder at {folder}; give --data a folder that holds CIFAR-10, or 'sample'")
    layout = _layout(folder)
    if layout is None:
        raise UserError(
            f"{folder} holds CIFAR-10 in neither layout: expected train-*.parquet and test-*.parquet (columns img, "
            f"label), or cifar-10-batches-py"
        )
    kind, inner = layout
    train, train_hash = _part(kind, inner, "train")
    test, test_hash = _part(kind, inner, "test")
    per_class = np.bincount(train.labels, minlength=len(CLASSES))
    if per_class.min() != per_class.max():
        raise UserError(
            f"{folder}: the training file should hold equally many images of each class, found {per_class.min()} "
            f"to {per_class.max()}; download it again"
        )
    if kind == "parquet" and any(inner.glob("validation-*.parquet")):
        validation, validation_hash = _part(kind, inner, "validation")
        unused = 0
    else:
        pool, validation_hash = train, ""
        ends = (per_class[0] * 8 // 10, per_class[0] * 9 // 10)
        train, validation = pool.first_of_each_class(0, ends[0]), pool.first_of_each_class(ends[0], ends[1])
        unused = len(pool) - len(train) - len(validation)
    for part, images in (("training", train), ("validation", validation), ("test", test)):
        _check_classes(folder, part, images)
    fingerprint = hashlib.blake2b(f"{train_hash}{validation_hash}{test_hash}".encode(), digest_size=8).hexdigest()
    source: Source = "sample" if folder == SAMPLE else "full" if len(test) == 10_000 and unused == 5_000 else "other"
    return Data(train, validation, test, unused, fingerprint, source, folder)


def _check_classes(folder: Path, part: str, images: ImageSet) -> None:
    """Raises: UserError: a class has no image in a part."""
    counts = np.bincount(images.labels, minlength=len(CLASSES))
    if not counts.all():
        raise UserError(
            f"{folder}: no {part} image of the class {CLASSES[int(counts.argmin())]}; every class needs images in each "
            f"part, at least 10 for training where there is no validation file"
        )


def _part(kind: Layout, folder: Path, part: str) -> tuple[ImageSet, str]:
    """The images of one part in the order of their hashes, and a hash of them and their labels.

    Decoding all of CIFAR-10 takes seven seconds, which a dry run should not; the packaged sample is small.
    """
    train = part == "train"
    files = sorted(folder.glob(f"{'data' if train else part}_batch*" if kind == "batches" else f"{part}-*.parquet"))

    for file in files:
        if not file.is_file():  # a folder, a pipe, a link to nothing
            raise UserError(f"{file} is not a readable file; download it again")

    def decode() -> Arrays:
        return _ordered(*(_batches(folder, train=train) if kind == "batches" else _parquet(files)))

    arrays = decode() if folder == SAMPLE else cached(files, decode)
    return ImageSet(arrays["images"], arrays["labels"]), str(arrays["digest"])


def _ordered(images: np.ndarray, labels: np.ndarray) -> Arrays:
    """The images and labels in the order of their hashes, and `digest`, a hash of them all."""
    hashes = [
        hashlib.blake2b(image.tobytes(), digest_size=16).digest() + bytes([label])
        for image, label in zip(images, labels, strict=True)
    ]
    order = sorted(range(len(hashes)), key=hashes.__getitem__)
    digest = hashlib.blake2b(b"".join(hashes[i] for i in order), digest_size=16).hexdigest()
    return {
        "images": np.ascontiguousarray(images[order]),
        "labels": labels[order].astype(np.int64),
        "digest": np.array(digest),
    }


def _batches(folder: Path, *, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """The `cifar-10-batches-py` files, through torchvision, which checks their sums before it unpickles them."""
    from torchvision.datasets import CIFAR10

    if folder.name != CIFAR10.base_folder:
        raise UserError(f"{folder}: torchvision's layout keeps its files in a folder named {CIFAR10.base_folder}")
    try:
        dataset = CIFAR10(folder.parent, train=train)
    except RuntimeError as error:
        raise UserError(f"{folder}: a file is missing or damaged (its checksum is wrong); download it again") from error
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}; download it again") from error
    return np.moveaxis(dataset.data, -1, 1), np.asarray(dataset.targets)


def _parquet(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """The files of one part in the `plain_text` layout: columns `img` (struct with PNG `bytes`) and `label`."""
    from PIL import Image

    images: list[np.ndarray] = []
    labels: list[int] = []
    for file in files:
        table = _table(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `_decode` looks at the size itself
            images += (
                _decode((cell or {}).get("bytes"), file, row) for row, cell in enumerate(table["img"].to_pylist())
            )
        for row, label in enumerate(table["label"].to_pylist()):
            if label is None or not 0 <= label < len(CLASSES):
                raise UserError(f"{file}, row {row}: label {label} is not one of 0 to {len(CLASSES) - 1}")
            labels.append(label)
    if not images:
        raise UserError(f"{files[0]}: no images in it; download it again")
    return np.stack(images), np.asarray(labels)


def _table(file: Path) -> Any:
    """The Arrow table of one file, its columns checked."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_metadata(file).num_rows
        if rows > MOST_ROWS:
            raise UserError(f"{file} has {rows:,} rows, and CIFAR-10 60,000 images; give its own files")
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} is not a readable Parquet file ({brief(error)}); download it again") from error
    for column in ("img", "label"):
        if column not in table.column_names:
            raise UserError(
                f"{file}: no column {column!r}; the plain_text layout has img and label, this file has "
                f"{', '.join(table.column_names)}"
            )
    if not (_holds_bytes(table.schema.field("img").type) and pa.types.is_integer(table.schema.field("label").type)):
        raise UserError(f"{file}: img should be a struct of bytes and path, and label an integer")
    return table


def _holds_bytes(kind: Any) -> bool:
    """Whether an Arrow type is a struct with binary `bytes`."""
    import pyarrow as pa

    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    inner = kind.field("bytes").type
    return pa.types.is_binary(inner) or pa.types.is_large_binary(inner)


def _decode(png: bytes | None, file: Path, row: int) -> np.ndarray:
    """One image as (3, 32, 32) uint8."""
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(png or b""), formats=FORMATS)
        # The size stands in the file's head: an image that is too large is never unpacked.
        pixels = np.asarray(image.convert("RGB")) if image.size == (32, 32) else None
    except Exception as error:  # whatever a decoder makes of damaged bytes
        raise UserError(f"{file}, row {row}: not a readable image ({brief(error)})") from error
    if pixels is None:
        raise UserError(f"{file}, row {row}: an image of {image.width}x{image.height} pixels, CIFAR-10 has 32x32")
    return np.moveaxis(pixels, -1, 0)


def _download(folder: Path) -> bool:
    """Whether CIFAR-10 now lies in `folder`, downloaded (170 MB, with progress) and checked by torchvision."""
    if not _network_answers():
        return False
    from torchvision.datasets import CIFAR10

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_PATIENCE)  # a connection that stalls half-way is given up, too
    try:
        folder.mkdir(parents=True, exist_ok=True)
        CIFAR10(folder, download=True)
    except (OSError, RuntimeError) as error:
        warnings.warn(f"CIFAR-10 could not be downloaded: {brief(error)}", stacklevel=2)
        return False
    finally:
        socket.setdefaulttimeout(before)
    return True


def _network_answers() -> bool:
    """Whether the download host accepts a connection within `NETWORK_PATIENCE` seconds, looking up its name included."""
    answered: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((DOWNLOAD_HOST, 443), timeout=NETWORK_PATIENCE).close()
            answered.append(True)
        except OSError:
            pass

    # A name look-up knows no time-out of its own, so the wait for the thread is the bound.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(NETWORK_PATIENCE)
    return bool(answered)


def write_sample(data: Data, folder: Path, *, train: int, validation: int, test: int) -> None:
    """Writes a stratified sample of `data` to `folder`, in the layout that `load` reads, images as PNG."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    sample = data.subset(train=train, validation=validation, test=test)
    for part, images in (("train", sample.train), ("validation", sample.validation), ("test", sample.test)):
        rows = [{"bytes": png, "path": f"{part}-{i}.png"} for i, png in enumerate(_pngs(images))]
        table = pa.table({"img": rows, "label": pa.array(images.labels)})
        pq.write_table(table, folder / f"{part}-00000-of-00001.parquet", compression="none")


def _pngs(images: ImageSet) -> Iterator[bytes]:
    from PIL import Image

    for image in images.images:
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(np.moveaxis(image, 0, -1))).save(file, "PNG", optimize=True)
        yield file.getvalue()
