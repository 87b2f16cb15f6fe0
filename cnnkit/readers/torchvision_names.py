"""Data sets by torchvision's names: `torchvision:STL10`, downloaded into the user's cache."""

import inspect
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from cnnkit.errors import UserError, brief
from cnnkit.readers import cifar10, cifar100, idx
from cnnkit.readers.found import Found, Place
from cnnkit.readers.functions import described

PREFIX = "torchvision:"
PATIENCE = 12.0
"""Seconds until a network that delivers nothing is taken as missing."""
SPLITS = ("train", "trainval", "val", "valid", "test")
"""What its classes call their parts, those that have a `split`."""


def find(name: str, place: Place, *, download: bool = True) -> Found:
    """The data set of a name of torchvision's.

    Raises: UserError: torchvision has no such data set, or it can neither be read nor downloaded.
    """
    called = name.removeprefix(PREFIX)
    root = user_cache_path("ablations") / "torchvision" / called
    parts = _parts(called, root, download=download)
    for reader in (cifar10.find, cifar100.find, idx.find):  # what is known better by its files
        found = reader(replace(place, path=root))
        if found is not None:
            return found
    return described(name, parts, place, called=called)


def _parts(name: str, root: Path, *, download: bool) -> Mapping[str, Any]:
    import torchvision.datasets

    kinds = {
        kind: value
        for kind, value in vars(torchvision.datasets).items()
        if isinstance(value, type) and issubclass(value, torchvision.datasets.VisionDataset) and "Folder" not in kind
    }
    if name not in kinds:
        from difflib import get_close_matches

        near = get_close_matches(name, kinds, n=1, cutoff=0.4)
        hint = f"did you mean {PREFIX}{near[0]}?" if near else "see torchvision.datasets"
        raise UserError(f"--data {PREFIX}{name}: torchvision has no such data set; {hint}")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write to {root}: {error.strerror}; set XDG_CACHE_HOME to a folder with room"
        ) from error
    kind = kinds[name]
    options = inspect.signature(kind).parameters
    calls: dict[str, dict[str, Any]]
    if "train" in options:
        calls = {"train": {"train": True}, "test": {"train": False}}
    elif "split" in options:
        calls = {split: {"split": split} for split in SPLITS}
    else:
        calls = {"train": {}}
    found: dict[str, Any] = {}
    why = ""
    for split, arguments in calls.items():
        try:
            found[split] = _downloaded(name, kind, root, arguments, download=download and "download" in options)
        except ValueError as error:  # it has no such part
            why = why or brief(error)
        except UserError:
            raise
        except Exception as error:  # whatever torchvision raises
            why = brief(error)
            break
    if "trainval" in found:
        found["train"] = found.pop("trainval")
    if "train" not in found:
        raise UserError(f"--data {PREFIX}{name} cannot be read ({why}); download it by hand and give its folder")
    return {"name": name, **found}


def _downloaded(
    name: str, kind: Callable[..., Any], root: Path, arguments: Mapping[str, Any], *, download: bool
) -> Any:
    """A part of the data set, from the disk or the network.

    Raises: UserError: nothing has arrived for a while. Whatever torchvision raises.
    """
    try:
        return kind(root, **arguments)
    except ValueError:  # it has no such part
        raise
    except Exception:
        if not download:
            raise
    answer: list[Any] = []

    def run() -> None:
        try:
            answer.append(kind(root, **arguments, download=True))
        except BaseException as error:
            answer.append(error)

    # Neither a name look-up nor torchvision's downloads know a time-out of their own.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    quiet, before = time.monotonic(), -1
    while thread.is_alive():
        thread.join(0.2)
        arrived = _bytes_in(root)
        if arrived != before:
            quiet, before = time.monotonic(), arrived
        if time.monotonic() - quiet > PATIENCE and not arrived:
            break
    if not answer:
        raise UserError(
            f"--data {PREFIX}{name}: nothing arrives from the network; download it elsewhere and give its folder"
        )
    if isinstance(answer[0], ValueError):  # it has no such part
        raise answer[0]
    if isinstance(answer[0], BaseException):
        raise UserError(
            f"--data {PREFIX}{name} could not be downloaded ({brief(answer[0])}); is there a network?"
        ) from answer[0]
    return answer[0]


def _bytes_in(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:  # it has just been renamed
            continue
    return total
