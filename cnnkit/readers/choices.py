"""What is decided about pictures before they are decoded: size and channels, by the heads of a few, and parts, by names."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cnnkit.description import DataOptions
from cnnkit.errors import UserError
from cnnkit.pictures import Unreadable, short_side
from cnnkit.splitting import Part

LOOKED_AT = 64
"""Pictures whose heads are looked at."""
USUAL_SIZE = 224
"""Where nobody says what the network takes."""
SPELLINGS: Mapping[str, Part] = {
    "train": "train", "training": "train", "trn": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "validate": "validation", "dev": "validation",
    "test": "test", "testing": "test", "tst": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""Part that a folder or a file is for, by a word of its name."""


def part_of(name: str) -> Part | None:
    """The part that a folder's or a file's name speaks of: `train`, `Training`, `val_images`, `test-00000-of-00001`."""
    words = re.split(r"[^a-z]+", name.lower())
    found = {SPELLINGS[word] for word in words if word in SPELLINGS}
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class Form:
    """How pictures are to be stored."""

    size: int
    channels: int


def form_of(heads: Iterable[bytes], options: DataOptions, image_size: int | None, where: str) -> Form:
    """The size and the channels that pictures like these are stored with.

    Args: heads: of some pictures, the encoded content.
    Raises: UserError: none of them is a picture.
    """
    if options.channels not in (None, 1, 3):
        raise UserError(f"{where}: pictures are stored with 1 channel or 3, not with {options.channels}")
    sides: list[int] = []
    grey: list[bool] = []
    why = ""
    for content in heads:
        try:
            side, is_grey = short_side(content)
        except Unreadable as error:
            why = str(error)
            continue
        sides.append(side)
        grey.append(is_grey)
    if not sides:
        raise UserError(
            f"{where}: none of its files that were looked at is a picture ({why}); give a folder of pictures"
        )
    size = options.size or min(max(sides), image_size or USUAL_SIZE)
    return Form(size, options.channels or (1 if all(grey) else 3))


def some(count: int) -> Sequence[int]:
    """Places among `count` pictures, spread evenly, and always the same."""
    if count <= LOOKED_AT:
        return range(count)
    return [place * (count - 1) // (LOOKED_AT - 1) for place in range(LOOKED_AT)]


def shown(name: str | bytes) -> str:
    """The name of a folder as a class is called: what is no text, or disturbs a terminal, is written out."""
    text = os.fsdecode(name).encode("utf-8", "backslashreplace" if os.name != "nt" else "replace").decode()
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text).strip() or "(blank)"
