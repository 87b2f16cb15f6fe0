"""Parquet files in the Hugging Face image layout: a column of encoded images, found by its type, and one of classes.

Class names stand in the schema's metadata. Which part a file is for is said by its name or its folder's:
train-00000-of-00001, data/validation-..., test/0000. Columns of text are classes, too, by their values.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cnnkit.decoding import BUNDLE, Encoded
from cnnkit.description import DataDescription
from cnnkit.errors import UserError, brief
from cnnkit.file_cache import readable
from cnnkit.images import Data
from cnnkit.pictures import LARGEST_FILE
from cnnkit.readers.choices import form_of, part_of, shown, some
from cnnkit.readers.features import class_names, features
from cnnkit.readers.found import Found, Place, Progress
from cnnkit.readers.picture_cache import data_of
from cnnkit.splitting import PARTS, SAID, Part

SUFFIX = ".parquet"
MOST_ROWS = 50_000_000
MOST_CLASSES = 100_000
NO_LABEL = -1
"""By which data sets say that a class is not public."""


@dataclass(frozen=True)
class _Columns:
    image: str
    inner: str | None
    """Of a struct, the field that holds the encoded image."""
    label: str


def find(place: Place) -> Found | None:
    """A Parquet file with images, or a folder with some in it or in its folders.

    Raises: UserError: a file cannot be read, or it is not clear which columns and parts are meant.
    """
    path = place.path
    files = (
        [path]
        if path.suffix == SUFFIX and path.is_file()
        else sorted([*path.glob(f"*{SUFFIX}"), *path.glob(f"*/*{SUFFIX}")])
    )
    if not files:
        return None
    for file in files:
        readable(file)
    schema = _schema(files[0])
    columns = _columns(files[0], schema, place.options.columns)
    by_part = _by_part(path, files)
    labels: dict[Part, np.ndarray] = {}
    values: dict[Part, Any] = {part: _column(part_files, columns.label) for part, part_files in by_part.items()}
    names = class_names(schema, columns.label)
    if names is None:
        names, values = _named(values, files[0], columns)
    notes = []
    for part, column in values.items():
        positions = np.asarray(column, dtype=np.int64)
        if len(positions) and (positions == NO_LABEL).all():
            notes.append(f"its {SAID[part]} images have no classes and are not used")
            continue
        bad = np.flatnonzero((positions < 0) | (positions >= len(names)))
        if len(bad):
            raise UserError(
                f"{by_part[part][0].parent}: {SAID[part]} image {bad[0]:,} has the class {positions[bad[0]]}, "
                f"which is not one of 0 to {len(names) - 1}; mend the column {columns.label}"
            )
        if len(positions):
            labels[part] = positions
    if not labels:
        raise UserError(f"{path}: no image of its Parquet files has a class")
    pictures = _Pictures({part: by_part[part] for part in labels}, labels, columns)
    form = form_of(pictures.heads(), place.options, place.image_size, str(path))
    about = DataDescription(
        name=_name(path),
        fingerprint="",
        source="full",
        classes=tuple(map(shown, names)),
        image_size=form.size,
        channels=form.channels,
    )

    def read(progress: Progress) -> Data:
        return data_of(pictures, about, place.options, path, progress, notes=tuple(notes))

    return Found(about, read)


@dataclass(frozen=True)
class _Pictures:
    """As `picture_cache.Pictures`."""

    files: Mapping[Part, Sequence[Path]]
    labels: Mapping[Part, np.ndarray]
    columns: _Columns

    @property
    def stamp(self) -> str:
        whole = hashlib.blake2b(repr(self.columns).encode(), digest_size=16)
        for part, files in self.files.items():
            whole.update(part.encode() + self.labels[part].tobytes())
            for file in files:
                about = file.stat()
                whole.update(f"{file} {about.st_size} {about.st_mtime_ns} {about.st_ctime_ns} {about.st_ino}".encode())
        return whole.hexdigest()

    def bundles(self) -> Iterator[Sequence[Encoded]]:
        for part in self.files:
            for file in self.files[part]:
                yield from self._encoded(file)

    def _encoded(self, file: Path, groups: list[int] | None = None) -> Iterator[list[Encoded]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        column = self.columns.image if self.columns.inner is None else f"{self.columns.image}.{self.columns.inner}"
        try:
            with pq.ParquetFile(file, memory_map=True) as opened:
                for batch in opened.iter_batches(batch_size=BUNDLE, columns=[column], row_groups=groups):
                    cells = batch.column(0).to_pylist()
                    yield [_content(cell, self.columns.inner) for cell in cells]
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{file} is not a readable Parquet file ({brief(error)}); download it again") from error

    def heads(self) -> Iterator[bytes]:
        """Some pictures: of some groups of rows, the first ones."""
        import pyarrow.parquet as pq

        groups = [
            (file, group)
            for files in self.files.values()
            for file in files
            for group in range(pq.read_metadata(file).num_row_groups)
        ]
        chosen = [groups[place] for place in some(len(groups))]
        each = -(-64 // max(1, len(chosen)))
        for file, group in chosen:
            for bundle in self._encoded(file, [group]):
                yield from (one for one in bundle[:each] if isinstance(one, bytes))
                break

    @cached_property
    def _ends(self) -> list[tuple[int, Path, int]]:
        """The place after the last picture of each file, the file, and its first picture's place."""
        import pyarrow.parquet as pq

        ends, place = [], 0
        for files in self.files.values():
            for file in files:
                rows = pq.read_metadata(file).num_rows
                ends.append((place + rows, file, place))
                place += rows
        return ends

    def name(self, place: int) -> str:
        file, start = next((file, start) for end, file, start in self._ends if place < end)
        return f"{shown(file.name)}, row {place - start:,}"


def _content(cell: Any, inner: str | None) -> bytes:
    """The encoded image of a cell; nothing where it has none, which is no picture."""
    content = cell.get(inner) if inner is not None and isinstance(cell, dict) else cell
    return content if isinstance(content, bytes) and len(content) <= LARGEST_FILE else b""


def _name(path: Path) -> str:
    folder = path.absolute() if path.is_dir() else path.absolute().parent
    return shown(folder.parent.name if folder.name in ("data", "default", "plain_text") else folder.name)


def _schema(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} is not a readable Parquet file ({brief(error)}); download it again") from error


def _by_part(path: Path, files: Sequence[Path]) -> dict[Part, list[Path]]:
    """The files of each part; all are training images where no name says more."""
    by_part: dict[Part, list[Path]] = {}
    unclear: list[Path] = []
    for file in files:
        part = part_of(file.stem) or (part_of(file.parent.name) if path.is_dir() and file.parent != path else None)
        by_part.setdefault(part, []).append(file) if part else unclear.append(file)
    if unclear and by_part:
        raise UserError(
            f"{unclear[0]}: its name does not say whether it holds training, validation or test images; rename it"
        )
    if unclear:
        by_part["train"] = unclear
    return {part: by_part[part] for part in PARTS if part in by_part}


# -- columns


def _columns(file: Path, schema: Any, asked: str | None) -> _Columns:
    """Raises: UserError: there is no column of images or of classes, or there are several."""
    if len(set(schema.names)) < len(schema.names):
        raise UserError(f"{file} has two columns of one name; rename one")
    images, labels = _image_columns(schema), _label_columns(schema)
    wanted = [name.strip() for name in (asked or "").split(",") if name.strip()]
    for name in wanted:
        if name not in schema.names:
            raise UserError(
                f"--data-columns {asked}: {file.name} has no column {name!r}; it has {', '.join(schema.names)}"
            )
    if len(wanted) > 2:
        raise UserError(f"--data-columns {asked}: give IMAGE,LABEL, or the column of classes alone")
    image = _one_of("images", images, wanted[0] if len(wanted) == 2 else None, file, schema)
    label = _one_of("classes", [one for one in labels if one != image], wanted[-1] if wanted else None, file, schema)
    return _Columns(image, _inner(schema.field(image).type), label)


def _one_of(what: str, candidates: Sequence[str], wanted: str | None, file: Path, schema: Any) -> str:
    if wanted is not None:
        if wanted not in candidates and what == "images":
            raise UserError(f"--data-columns: the column {wanted!r} of {file.name} holds no encoded images")
        return wanted
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise UserError(f"{file} has no column of {what}; it has {', '.join(schema.names)}")
    raise UserError(
        f"{file} has several columns that may hold {what}: {', '.join(candidates)}; choose by --data-columns IMAGE,LABEL"
    )


def _image_columns(schema: Any) -> list[str]:
    """Those that the metadata calls images; else those that hold bytes, alone or in a struct beside a path."""
    told = [
        name
        for name, feature in features(schema).items()
        if isinstance(feature, dict) and feature.get("_type") == "Image"
    ]
    held = [field.name for field in schema if _inner(field.type) is not None or _is_binary(field.type)]
    return [name for name in held if name in told] or held


def _label_columns(schema: Any) -> list[str]:
    """Those that the metadata gives class names to; else whole numbers or text that are called like classes; else all such."""
    import pyarrow as pa

    told = [name for name in schema.names if class_names(schema, name) is not None]
    plain = [field.name for field in schema if pa.types.is_integer(field.type) or _is_text(field.type)]
    usual = [name for name in plain if name.lower() in ("label", "labels", "class", "target", "category")]
    return told or usual or plain


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or (pa.types.is_dictionary(kind) and _is_text(kind.value_type))
    )


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _inner(kind: Any) -> str | None:
    """Of a struct, the field that holds bytes."""
    import pyarrow as pa

    if not pa.types.is_struct(kind):
        return None
    return next((field.name for field in kind if field.name == "bytes" and _is_binary(field.type)), None)


def _column(files: Sequence[Path], name: str) -> list[Any]:
    """What all rows of a part have in a column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    values: list[Any] = []
    for file in files:
        try:
            if pq.read_metadata(file).num_rows > MOST_ROWS:
                raise UserError(f"{file} has more than {MOST_ROWS:,} rows; give fewer")
            table = pq.read_table(file, columns=[name])
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(f"{file} is not a readable Parquet file ({brief(error)}); download it again") from error
        if name not in table.column_names:
            raise UserError(f"{file} has no column {name!r}, which other files of the data set have")
        column = table.column(name)
        if column.null_count:
            row = column.is_null().to_pylist().index(True)
            raise UserError(f"{file}, row {row:,}: no class; fill the column {name} or leave the row out")
        values += column.to_pylist()
    return values


def _named(values: Mapping[Part, Any], file: Path, columns: _Columns) -> tuple[tuple[str, ...], dict[Part, Any]]:
    """Class names from what stands in the column: its texts, or its numbers; and the rows as positions in them."""
    kinds = sorted(
        {value for column in values.values() for value in set(column)} - {NO_LABEL}, key=lambda v: (str(type(v)), v)
    )
    if len(kinds) > MOST_CLASSES:
        raise UserError(f"{file}: the column {columns.label} has {len(kinds):,} values, too many for classes")
    if len(kinds) < 2:
        raise UserError(
            f"{file}: all images are of one class, by the column {columns.label}; choose another by --data-columns"
        )
    place = {kind: position for position, kind in enumerate(kinds)} | {NO_LABEL: NO_LABEL}
    return tuple(map(str, kinds)), {part: [place[value] for value in column] for part, column in values.items()}
