"""Reading a stranger's table from a file: CSV in its usual dialects, packed or not, and Parquet.

Of a CSV every cell stays the text that it is, so that nothing is guessed away: `analysis.frames` reads numbers from the
texts. Texts that repeat are kept once, and the file is read in blocks, so that what it needs of memory is known before it is
used up.
"""

import csv
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from ablations.cgroups import memory_limit
from ablations.text import printable
from ablations.units import size
from analysis.columns import Given, could_be_used
from cnnkit.errors import UserError

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
"""How packed files begin, and what pyarrow calls them."""
EXCEL = b"\xd0\xcf\x11\xe0"
ZIP = b"PK\x03\x04"
PARQUET = b"PAR1"
START = 1 << 20
"""Bytes of a file from which its dialect is told."""
MOST_MEMORY = 8 << 30
"""Bytes that a table may take where the machine has no smaller limit; half of that limit elsewhere."""
SMALL = 10_000_000
"""Cells of a table that is read whole, so that messages can name all of its columns."""
BYTES_A_ROW = 16
"""Of each column while rows are put in order."""


@dataclass(frozen=True)
class TableFile:
    """A table as it was read."""

    table: pd.DataFrame
    notes: tuple[str, ...]
    """How it was taken: sentences."""


def read_file(path: Path, given: Given) -> TableFile:
    """A table, of which columns may be left out that have no role.

    Raises: UserError: it is no table that can be read, and why.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
        if head.startswith(PARQUET):
            return _parquet(path, given)
        return _csv(path, head, given)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; give a table, or a folder of logits") from None
    except MemoryError:
        raise UserError(f"{path} is larger than the memory") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or printable(str(error))}") from error


def room() -> int:
    """Bytes of memory that a table may take."""
    limit = memory_limit()
    return MOST_MEMORY if limit is None else min(MOST_MEMORY, limit // 2)


def _parquet(path: Path, given: Given) -> TableFile:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if not names or not file.metadata.num_rows:
                raise UserError(f"{path} has no {'rows' if names else 'columns'}")
            wanted = names if file.metadata.num_rows * len(names) <= SMALL else could_be_used(names, given)
            if len(set(wanted)) < len(wanted):
                twice = next(name for name in wanted if wanted.count(name) > 1)
                raise UserError(f"{path} has two columns {twice!r}; rename one of them")
            need = file.metadata.num_rows * len(wanted) * BYTES_A_ROW
            if need > room():
                raise UserError(
                    f"{path} has {file.metadata.num_rows:,} rows, which need about {size(need, 'B')} of {size(room(), 'B')} of "
                    "memory; compare fewer arms at a time"
                )
            texts = [
                name for name in wanted
                if pa.types.is_string(kind := file.schema_arrow.field(name).type) or pa.types.is_large_string(kind)
            ]  # fmt: skip
        read = pq.read_table(path, columns=wanted or None, read_dictionary=texts)
        return TableFile(read.to_pandas(ignore_metadata=True), ())
    except pa.ArrowException as error:
        raise UserError(f"{path} is a damaged Parquet file: {_first_line(error)}") from error


def _csv(path: Path, head: bytes, given: Given) -> TableFile:
    if head.startswith(EXCEL):
        raise UserError(f"{path} is an Excel file; save its sheet as CSV")
    with _unpacked(path, head) as stream:
        start = stream.read(START)
    encoding, text = _decoded(path, start)
    if not text.strip():
        raise UserError(f"{path} is empty")
    separator = max(SEPARATORS, key=lambda each: _count(text, each))
    try:
        names = [name.strip() for name in next(csv.reader(io.StringIO(text, newline=""), delimiter=separator))]
    except csv.Error as error:
        raise UserError(f"{path} is no regular table: {_first_line(error)}") from error
    notes = [] if separator == "," else [f"columns are separated by a {SEPARATORS[separator]}"]
    if len(names) == 1:
        raise UserError(
            f"{path} has one column, {printable(names[0][:60])!r}; a table needs at least an arm and a value in each row, "
            "separated by a comma, semicolon or tab"
        )
    empty = [place for place, name in enumerate(names) if not name]
    names = [name or f"column {place + 1}" for place, name in enumerate(names)]
    if len(empty) == len(names):
        raise UserError(f"{path} has no heading; its first row must name the columns")
    return TableFile(_blocks(path, head, separator, encoding, names, given), tuple(notes))


def _count(text: str, separator: str) -> int:
    """How many columns the heading has if this is what separates them, and the next line has as many; else 0."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        first = next(rows)
        second = next((row for row in rows if row), first)
    except (csv.Error, StopIteration):
        return 0
    return len(first) if len(first) == len(second) else min(len(first), 2) - 1


def _decoded(path: Path, start: bytes) -> tuple[str, str]:
    """The encoding and the beginning as a text, without a byte order mark."""
    if b"\0" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path} is no text; give a table as CSV or Parquet, or a folder of logits")
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    cut = start[: len(start) - len(start) % 2] if encoding == "utf-16" else start
    try:
        return encoding, cut.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise UserError(f"{path} is not in UTF-16, though it begins like it; save it in UTF-8") from None
        if len(start) == START and error.start > len(start) - 4:  # in the middle of a character
            return encoding, cut[: error.start].decode(encoding)
        line = start.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path} is not in UTF-8 (line {line}); save it so") from None


def _blocks(path: Path, head: bytes, separator: str, encoding: str, names: list[str], given: Given) -> pd.DataFrame:
    """The columns that may have a role, as categories of texts."""
    small = path.stat().st_size <= 10 * SMALL
    chosen = names if small else could_be_used(names, given) or names
    unique = [f"{place}:{name}" for place, name in enumerate(names)]  # two columns may have one name
    included = [own for own, name in zip(unique, names, strict=True) if name in set(chosen)]
    text = pa.dictionary(pa.int32(), pa.string())
    bound, taken, blocks = room(), 0, []
    try:
        with _unpacked(path, head) as stream:
            reader = pacsv.open_csv(
                _Utf8(stream) if encoding == "utf-16" else stream,
                read_options=pacsv.ReadOptions(column_names=unique, skip_rows=1, block_size=8 << 20, use_threads=False),
                parse_options=pacsv.ParseOptions(delimiter=separator, newlines_in_values=True, ignore_empty_lines=True),
                convert_options=pacsv.ConvertOptions(
                    column_types=dict.fromkeys(unique, text), include_columns=included, strings_can_be_null=False
                ),
            )
            for block in reader:
                taken += block.nbytes + len(block) * len(included) * BYTES_A_ROW
                if taken > bound:
                    raise UserError(
                        f"{path} needs more than {size(bound, 'B')} of memory; save the columns that matter as Parquet, or "
                        "compare fewer arms at a time"
                    )
                blocks.append(block)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is no regular table: {_first_line(error)}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not in UTF-16, though it begins like it; save it in UTF-8") from error
    if not blocks or not sum(map(len, blocks)):
        raise UserError(f"{path} has no rows below its heading")
    table = pa.Table.from_batches(blocks).unify_dictionaries()
    frame = pd.DataFrame({own: table.column(own).to_pandas() for own in included})
    return frame.set_axis([own.partition(":")[2] for own in included], axis="columns")


class _Utf8(io.RawIOBase):
    """A stream in UTF-16 as UTF-8."""

    def __init__(self, stream: Any) -> None:
        self._text = io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-16", newline="")
        self._left = b""

    def readable(self) -> bool:
        return True

    def read(self, n: int = -1) -> bytes:
        while n < 0 or len(self._left) < n:
            more = self._text.read(1 << 20)
            if not more:
                break
            self._left += more.encode("utf-8")
        count = len(self._left) if n < 0 else n
        found, self._left = self._left[:count], self._left[count:]
        return found


@contextmanager
def _unpacked(path: Path, head: bytes) -> Iterator[Any]:
    """The bytes of a file, unpacked where it is packed."""
    if head.startswith(ZIP):
        try:
            with zipfile.ZipFile(path) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
                if any(name.startswith("xl/") for name in names):
                    raise UserError(f"{path} is an Excel file; save its sheet as CSV")
                if len(names) != 1:
                    raise UserError(f"{path} holds {len(names)} files; unpack it, and give one of them")
                with archive.open(names[0]) as stream:
                    yield stream
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise UserError(f"{path} cannot be unpacked: {_first_line(error)}") from error
        return
    kind = next((kind for start, kind in PACKED.items() if head.startswith(start)), None)
    with pa.input_stream(str(path), compression=kind) as stream:
        yield stream


def _first_line(error: Exception) -> str:
    return printable((str(error).splitlines() or [type(error).__name__])[0])[:200].rstrip(".")
