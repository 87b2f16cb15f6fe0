"""What a gallery keeps beside its sheets, so that a study's page shows it image by image, without a network.

    GALLERY/looks.safetensors     images and raw maps, and in its header what was answered

Whoever reads it trusts nothing: the header is checked, and links are not followed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ablations import files
from ablations.text import printable
from analysis.sheets import Look, Row
from cnnkit.errors import UserError
from cnnkit.spec import Stored, one_sentence

GALLERY = "gallery"
"""Folder in a study's own where `experiments/gallery.py` leaves its sheets."""
FILE = "looks.safetensors"
MOST = 240
"""Maps that are kept: each takes some 6 kB of a page."""


@dataclass(frozen=True)
class KeptImage:
    """An image of a gallery."""

    true_class: str
    """Empty where nobody knows."""
    row: Row


@dataclass
class KeptLooks:
    """The first images of a gallery, and what each network made of them."""

    networks: list[tuple[str, int]] = field(default_factory=list)
    """Arm and seed, in the order of each row's looks."""
    images: list[KeptImage] = field(default_factory=list)

    def add(self, rows: Sequence[Row], table: pd.DataFrame) -> None:
        """The rows of a further sheet, as far as there is room. Args: table: as of `analysis.gallery.Page`."""
        networks = table[["arm", "seed"]].drop_duplicates()
        self.networks = list(zip(networks["arm"], map(int, networks["seed"]), strict=True))
        room = max(MOST // len(self.networks), 1) - len(self.images)
        truth = table["true_class"].iloc[: len(rows)]
        self.images += [KeptImage(of, row) for of, row in list(zip(truth, rows, strict=True))[:room]]

    def to_bytes(self) -> bytes:
        """As the file has it."""
        arrays: dict[str, np.ndarray] = {}
        for place, image in enumerate(self.images):
            arrays[f"image-{place}"] = np.ascontiguousarray(image.row.image)
            for number, look in enumerate(image.row.looks):
                arrays[f"map-{place}-{number}"] = np.ascontiguousarray(look.map, dtype=np.float32)
        answers = [
            [_Answer(answer=one.answer, probability=one.probability, is_right=one.is_right) for one in image.row.looks]
            for image in self.images
        ]
        header = _Header(
            networks=self.networks,
            titles=[": ".join(image.row.title.split("\n")) for image in self.images],
            true_classes=[image.true_class for image in self.images],
            answers=answers,
        )
        return save(arrays, metadata={"looks": header.model_dump_json()})

    @classmethod
    def read(cls, folder: Path) -> "KeptLooks | None":
        """What a gallery in this folder has kept; None where it has kept nothing.

        Raises: UserError: the file cannot be read, or says what does not fit together.
        """
        file = folder / FILE
        try:
            content = files.read(file)
            header = _Header.model_validate(printable(json.loads(_metadata(content)["looks"])))
            arrays = load(content)
            images = [
                KeptImage(of, Row(title, _pixels(arrays[f"image-{place}"]), [
                    Look(one.answer, one.probability, one.is_right, _map(arrays[f"map-{place}-{number}"]))
                    for number, one in enumerate(answers)
                ]))
                for place, (title, of, answers) in enumerate(
                    zip(header.titles, header.true_classes, header.answers, strict=True)
                )
            ]  # fmt: skip
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise UserError(f"{file}: {one_sentence(error)}; make the gallery again") from error
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise UserError(f"{file} cannot be read ({error}); make the gallery again") from error
        if any(len(image.row.looks) != len(header.networks) for image in images):
            raise UserError(f"{file} has not as many answers as networks; make the gallery again")
        return cls(list(header.networks), images)


class _Answer(Stored):
    answer: str
    probability: float = Field(ge=0, le=1)
    is_right: bool | None


class _Header(Stored):
    networks: list[tuple[str, int]] = Field(min_length=1)
    titles: list[str]
    true_classes: list[str]
    answers: list[list[_Answer]]


def _metadata(content: bytes) -> dict[str, str]:
    """Of a safetensors file: its first eight bytes are the length of its header (huggingface.co/docs/safetensors)."""
    length = int.from_bytes(content[:8], "little")
    found = json.loads(content[8 : 8 + length])["__metadata__"]
    return {str(name): str(value) for name, value in found.items()}


def _pixels(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] not in (1, 2, 3, 4) or 0 in image.shape:
        raise ValueError(f"an image of {image.dtype} {image.shape}")
    return image


def _map(values: np.ndarray) -> np.ndarray:
    if values.dtype != np.float32 or values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(f"a map of {values.dtype} {values.shape}")
    return values
