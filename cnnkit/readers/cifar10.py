"""CIFAR-10 (Krizhevsky 2009) in either public layout, with the documented split.

Of each class, 80 % of the training file are for training, 10 % for validation, 10 % unused; the test file is the test set. That
is 40,000 / 5,000 / 10,000 images, 5,000 unused. Both layouts give the same, since images are ordered by a hash of their pixels.
"""

import hashlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cnnkit.description import AS_THEY_ARE, CIFAR10_CLASSES, DataOptions, cifar10
from cnnkit.errors import UserError, brief
from cnnkit.file_cache import Arrays, cached, readable
from cnnkit.images import Data, ImageSet
from cnnkit.readers.arrays import ArrayPart, assembled
from cnnkit.readers.found import Found, Place

CLASSES = CIFAR10_CLASSES
SAMPLE = Path(__file__).parents[1] / "sample"
MOST_ROWS = 1_000_000  # of one Parquet file
FORMATS = ("PNG", "JPEG")
"""Of stored images; Pillow would hand some of its others to programs such as Ghostscript."""

Layout = Literal["parquet", "batches"]


def find(place: Place) -> Found | None:
    """CIFAR-10 in a folder, or in the usual folder inside it."""
    layout = layout_of(place.path)
    if layout is None:
        return None
    kind, inner = layout
    about = cifar10(fingerprint="", source="sample" if place.path == SAMPLE else "other")
    size, channels = place.options.size, place.options.channels
    about = about.model_copy(update={"image_size": size or about.image_size, "channels": channels or about.channels})
    return Found(about, lambda progress: _with_options(_read(place.path, kind, inner), place.options))


def layout_of(folder: Path) -> tuple[Layout, Path] | None:
    """Which layout of CIFAR-10 `folder` (or the usual folder inside it) has, and where its files are."""
    for inner in (folder, folder / "plain_text"):
        if any(inner.glob("train-*.parquet")) and any(inner.glob("test-*.parquet")) and _has_columns(inner):
            return "parquet", inner
    for inner in (folder, folder / "cifar-10-batches-py"):
        if (inner / "data_batch_1").is_file():
            return "batches", inner
    return None


def _has_columns(folder: Path) -> bool:
    """Whether Parquet files have the `plain_text` columns, and no class names other than CIFAR-10's."""
    import pyarrow.parquet as pq

    from cnnkit.readers.features import class_names

    for file in sorted(folder.glob("train-*.parquet")):
        if not file.is_file():
            continue  # which is said when it is read
        try:
            schema = pq.read_schema(file)
        except Exception:  # damaged, which is said when it is read
            return True
        return {"img", "label"} <= {*schema.names} and class_names(schema, "label") in (None, CLASSES)
    return True


def _with_options(data: Data, options: DataOptions) -> Data:
    """The same images stored otherwise, or without duplicates."""
    if options.model_copy(update={"columns": None}) == AS_THEY_ARE:
        return data
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    given = {part: ArrayPart(images.images, images.labels) for part, images in parts.items()}
    changed = assembled(data.about, given, options, data.path)  # type: ignore[arg-type]  # the names are those of parts
    return replace(changed, unused=data.unused, rest=None)


def _read(folder: Path, kind: Layout, inner: Path) -> Data:
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
        rest: tuple[ImageSet, ...] = ()
    else:
        pool, validation_hash = train, ""
        ends = (per_class[0] * 8 // 10, per_class[0] * 9 // 10)
        rank = pool.rank
        train, validation = pool.chosen(rank < ends[0]), pool.chosen((rank >= ends[0]) & (rank < ends[1]))
        rest = (pool.chosen(rank >= ends[1]),)
    unused = sum(map(len, rest))
    for part, images in (("training", train), ("validation", validation), ("test", test)):
        _check_classes(folder, part, images)
    fingerprint = hashlib.blake2b(f"{train_hash}{validation_hash}{test_hash}".encode(), digest_size=8).hexdigest()
    source = "sample" if folder == SAMPLE else "full" if len(test) == 10_000 and unused == 5_000 else "other"
    return Data(
        train, validation, test, cifar10(fingerprint=fingerprint, source=source), unused, path=folder, rest=rest
    )


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
        readable(file)

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
    images: list[np.ndarray] = []
    labels: list[int] = []
    for file in files:
        table = table_of(file, ("label",))
        images += decoded_rows(file, table)
        for row, label in enumerate(table["label"].to_pylist()):
            if label is None or not 0 <= label < len(CLASSES):
                raise UserError(f"{file}, row {row}: label {label} is not one of 0 to {len(CLASSES) - 1}")
            labels.append(label)
    if not images:
        raise UserError(f"{files[0]}: no images in it; download it again")
    return np.stack(images), np.asarray(labels)


def decoded_rows(file: Path, table: Any) -> list[np.ndarray]:
    """The images of a table's column `img`, (3, 32, 32) uint8 each."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `_decode` looks at the size itself
        return [_decode((cell or {}).get("bytes"), file, row) for row, cell in enumerate(table["img"].to_pylist())]


def table_of(file: Path, labels: Sequence[str]) -> Any:
    """The Arrow table of one file, its columns checked: `img` and these of classes.

    Raises: UserError: the file cannot be read, is too large, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_metadata(file).num_rows
        if rows > MOST_ROWS:
            raise UserError(f"{file} has {rows:,} rows, and CIFAR-10 60,000 images; give its own files")
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} is not a readable Parquet file ({brief(error)}); download it again") from error
    for column in ("img", *labels):
        if column not in table.column_names:
            raise UserError(
                f"{file}: no column {column!r}, which other files of the data set have; it has {', '.join(table.column_names)}"
            )
    whole_numbers = all(pa.types.is_integer(table.schema.field(label).type) for label in labels)
    if not (_holds_bytes(table.schema.field("img").type) and whole_numbers):
        raise UserError(f"{file}: img should be a struct of bytes and path, and {' and '.join(labels)} an integer")
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


def write_sample(data: Data, folder: Path, *, train: int, validation: int, test: int) -> None:
    """Writes a stratified sample of `data` to `folder`, in the Parquet layout, images as PNG."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    sample = data.subset(train=train, validation=validation, test=test)
    for part, images in (("train", sample.train), ("validation", sample.validation), ("test", sample.test)):
        rows = [{"bytes": png, "path": f"{part}-{i}.png"} for i, png in enumerate(pngs(images))]
        table = pa.table({"img": rows, "label": pa.array(images.labels)})
        pq.write_table(table, folder / f"{part}-00000-of-00001.parquet", compression="none")


def pngs(images: ImageSet) -> Iterator[bytes]:
    from PIL import Image

    for image in images.images:
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(np.moveaxis(image, 0, -1))).save(file, "PNG", optimize=True)
        yield file.getvalue()
