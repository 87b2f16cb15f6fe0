"""Pictures of people's own: read from whatever a folder holds, as eight bits a channel, upright and without transparency."""

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""What is read where Pillow can; it would hand some of its other formats to programs such as Ghostscript."""


class NoPicture(Exception):
    """A file that is no readable picture."""


def read_picture(file: Path, mode: Literal["RGB", "L"] = "RGB") -> Image.Image:
    """The picture in a file, of an animation the first one; what can be seen through is put on white.

    Raises: NoPicture: the file is none, is damaged, or is larger than a picture should be.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures and odd tags
            Image.init()
            with Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN]) as picture:
                return _opaque(_in_eight_bits(ImageOps.exif_transpose(picture))).convert(mode)
    except MemoryError:
        raise
    except Exception as error:  # whatever a decoder makes of damaged bytes
        raise NoPicture(str(error)) from error


def _in_eight_bits(picture: Image.Image) -> Image.Image:
    """Pillow cuts the numbers of deeper pictures off at 255, which makes them white."""
    if picture.mode == "F":
        values = np.nan_to_num(np.asarray(picture))
        return Image.fromarray(np.clip(values * (255 if values.max() <= 1 else 1), 0, 255).astype(np.uint8))
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.int64)
        return Image.fromarray(np.clip(values // (257 if values.max() > 255 else 1), 0, 255).astype(np.uint8))
    return picture


def _opaque(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture
    seen = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
