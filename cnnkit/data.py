"""Data sets, wherever they come from: `load("sample")`, `load(folder)`. See `cnnkit.readers` for what a folder may hold."""

import contextlib
import re
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from platformdirs import user_cache_path

from cnnkit.description import AS_THEY_ARE, CIFAR10_CLASSES, DataOptions
from cnnkit.errors import UserError, brief
from cnnkit.images import Data, ImageSet
from cnnkit.readers import cifar10, cifar100, folders, functions, idx, parquet, torchvision_names
from cnnkit.readers.cifar10 import SAMPLE, write_sample
from cnnkit.readers.found import Found, Place, Progress, silent

__all__ = ["CLASSES", "SAMPLE", "Data", "ImageSet", "find", "is_documented", "is_function", "load", "write_sample"]

CLASSES = CIFAR10_CLASSES
DOWNLOAD_HOST = "www.cs.toronto.edu"
MOST_INNER = 20  # folders that are looked into
NETWORK_PATIENCE = 10  # seconds until a missing network is taken as such

FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
"""MODULE:FUNCTION, or torchvision:NAME."""

READERS: Sequence[Callable[[Place], Found | None]] = (
    cifar10.find, cifar100.find, idx.find, parquet.find, folders.find,
)  # fmt: skip
"""In the order in which they are asked."""


def load(
    data: str | Path = "auto",
    *,
    options: DataOptions = AS_THEY_ARE,
    image_size: int | None = None,
    download: bool = True,
    progress: Progress = silent,
) -> Data:
    """A data set, read and split. The arguments are those of `find`.

    Args: progress: told how many images of how many are read, where that takes a while.
    Raises: UserError: there is no such data set, or it cannot be read; one sentence.
    """
    return find(data, options=options, image_size=image_size, download=download).read(progress)


def find(
    data: str | Path = "auto",
    *,
    options: DataOptions = AS_THEY_ARE,
    image_size: int | None = None,
    download: bool = True,
) -> Found:
    """What a data set is, before its images are read.

    Args: data: a folder that one of `READERS` knows; "sample", the packaged sample of CIFAR-10; "auto", the whole of CIFAR-10
        where it is found (./data, the user's cache) or can be downloaded, else the sample; torchvision:NAME; or MODULE:FUNCTION,
        whose function returns the images. image_size: height and width that the
        networks take, by which the size follows that pictures are stored at. download: whether it may be.
    Raises: UserError: the folder is missing, or holds something else.
    """
    if not str(data).strip():
        raise UserError("the data have no name; give --data a folder of images, 'sample' or 'auto'")
    if str(data) == "sample":
        return _found(Place(SAMPLE, options, image_size))
    if str(data) != "auto":
        place = Place(Path(data), options, image_size)
        if is_function(data):
            if str(data).startswith(torchvision_names.PREFIX):
                return torchvision_names.find(str(data), place, download=download)
            return functions.find(str(data), place)
        return _found(place)
    cache = user_cache_path("ablations") / "cifar10"
    for folder in (Path("data"), Path("data/cifar10"), cache):
        if cifar10.layout_of(folder) is not None:
            return _found(Place(folder, options, image_size))
    return _found(Place(cache if download and _download(cache) else SAMPLE, options, image_size))


def is_function(data: str | Path) -> bool:
    """Whether `data`, as for `find`, names a function, or a data set of torchvision's, and no folder."""
    return FUNCTION.fullmatch(str(data)) is not None and not Path(data).exists()


def is_documented(data: str | Path) -> bool:
    """Whether `data`, as for `find`, is the documented study's data set. True of what cannot be read, which is said later."""
    if str(data) in ("auto", "sample"):
        return True
    if is_function(data):
        return str(data) == f"{torchvision_names.PREFIX}CIFAR10"
    try:
        return find(data).about.is_documented
    except UserError:
        return True


def _found(place: Place) -> Found:
    with _one_sentence(place.path):
        if not place.path.exists():
            raise UserError(f"no data folder at {place.path}; give --data a folder of images, or 'sample'")
        try:
            found = _read_by_one(place)
        except UserError as error:
            inner = _inner(place)
            raise error if inner is None else UserError(f"{error}; its folder {inner} holds a data set") from error
    if found is not None:
        return _guarded(place, found)
    inner = _inner(place)
    raise UserError(
        f"{place.path} holds no data set that is known: neither CIFAR-10, CIFAR-100 or MNIST as they are downloaded, nor Parquet "
        f"files with images, nor a folder of pictures for each class"
        f"{'' if inner is None else f'; its folder {inner} does'}"
    )


def _read_by_one(place: Place) -> Found | None:
    return next((found for reader in READERS if (found := reader(place)) is not None), None)


def _inner(place: Place) -> Path | None:
    """A folder in the given one that holds a data set: archives often unpack so."""
    with contextlib.suppress(OSError):
        for folder in sorted(entry for entry in place.path.iterdir() if entry.is_dir())[:MOST_INNER]:
            with contextlib.suppress(UserError, OSError):
                if _read_by_one(replace(place, path=folder)) is not None:
                    return folder
    return None


def _guarded(place: Place, found: Found) -> Found:
    def read(progress: Progress) -> Data:
        with _one_sentence(place.path):
            return found.read(progress)

    return Found(found.about, read)


@contextlib.contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    """What the file system refuses becomes one sentence."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


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
