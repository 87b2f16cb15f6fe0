"""What a reader is asked, and what it answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from cnnkit.description import AS_THEY_ARE, DataDescription, DataOptions, listed
from cnnkit.errors import UserError
from cnnkit.images import Data

Progress = Callable[[int, int], None]
"""Told how many images of how many are read."""


def silent(done: int, total: int) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class Place:
    """Where a data set is looked for, and how it is to be read."""

    path: Path
    options: DataOptions = AS_THEY_ARE
    image_size: int | None = None
    """Height and width that the networks take, in pixels; None where that is not known."""


@dataclass(frozen=True)
class Found:
    """A data set that was recognised. Its images are not read yet, which may take minutes."""

    about: DataDescription
    """What is known before: the fingerprint and the normalisation are not."""
    read: Callable[[Progress], Data]
    """Raises: UserError: what is wrong, in one sentence."""

    def grouped(self, groups: Mapping[str, Sequence[str]]) -> "Found":
        """The same with these groups of classes.

        Raises: UserError: a group has no classes, or one that is none of the data set's.
        """
        checked = {name: _classes(name, members, self.about) for name, members in groups.items()}

        def read(progress: Progress) -> Data:
            data = self.read(progress)
            return replace(data, about=data.about.model_copy(update={"groups": checked}))

        return Found(self.about.model_copy(update={"groups": checked}), read)


def known_data(data: Data) -> Found:
    """What was read already."""
    return Found(data.about, lambda progress: data)


def _classes(group: str, members: Sequence[str], about: DataDescription) -> tuple[str, ...]:
    if not group.strip() or isinstance(members, str) or not isinstance(members, Sequence) or not members:
        raise UserError(f"group {group!r}: give a name and a list of classes, such as {{vehicles: [ship, truck]}}")
    for member in members:
        if member not in about.classes:
            near = get_close_matches(str(member), about.classes, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"{about.name} has {listed(about.classes)}"
            raise UserError(f"group {group!r}: no class {member!r}; {hint}")
    return tuple(dict.fromkeys(members))
