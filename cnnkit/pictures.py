"""One encoded picture, of whatever kind and size, as a square of bytes. Imports numpy and Pillow only, for the processes that
decode many.

The short side is scaled to the stored size (bilinear, antialiased) and the middle is cut out. Pictures are turned upright as
their EXIF says, palettes and CMYK become RGB, 16 bits become 8, what is transparent becomes white, and of an animation the
first frame is taken.
"""

import contextlib
import hashlib
import io
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""What is opened; Pillow would hand some of its others to programs such as Ghostscript."""
LARGEST_FILE = 2**28
"""Bytes of one picture's file."""
MOST_PIXELS = 10**8
"""Of one picture, as its head says before it is unpacked."""
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"})
DIGEST_BYTES = 16
HAS_COLOUR = "colour left out"
"""The remark on a colour picture that is stored grey."""


class Unreadable(Exception):
    """What is wrong with a picture, in a few words."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture."""

    pixels: np.ndarray
    """(channels, size, size) uint8."""
    key: bytes
    """A hash of the encoded picture, whatever the size at which it is stored."""
    remark: str = ""
    """What was done to it that its owner may want to know, in a few words."""


def content_of(file: str) -> bytes:
    """What a picture's file holds. Raises: Unreadable."""
    try:
        # A pipe that nobody writes to would be waited for.
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            about = os.fstat(stream.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise Unreadable("not a regular file")
            if about.st_size > LARGEST_FILE:
                raise Unreadable(f"{about.st_size:,} bytes")
            return stream.read()
    except OSError as error:
        raise Unreadable(error.strerror or type(error).__name__) from error


def decode(content: bytes, size: int, channels: int) -> Picture:
    """The picture at `size` x `size` pixels, grey (1 channel) or RGB (3). Pillow may warn of odd metadata.

    Raises: Unreadable: it is damaged, of another kind, or too large.
    """
    with _in_few_words():
        image = _opened(content)
        # Decoding a JPEG at a half or a quarter of its size leaves at least twice what is needed, as Pillow's thumbnails do.
        image.draft(None, (2 * size, 2 * size))
        upright, remark = _plain(image, channels)
        pixels = np.asarray(_square(upright, size))
    shaped = pixels[None] if channels == 1 else np.moveaxis(pixels, -1, 0)
    return Picture(np.ascontiguousarray(shaped), hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest(), remark)


def short_side(content: bytes) -> tuple[int, bool]:
    """Pixels of the picture's short side, and whether it is grey, from its head. Raises: Unreadable."""
    with warnings.catch_warnings(), _in_few_words():
        warnings.simplefilter("ignore")
        image = _opened(content)
        return min(image.size), _is_grey(image)


def _opened(content: bytes) -> Image.Image:
    """The picture with its head read. Raises: Unreadable: its head says that it is too large. Whatever Pillow raises."""
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > MOST_PIXELS:
        raise Unreadable(f"{image.width}x{image.height} pixels")
    return image


@contextlib.contextmanager
def _in_few_words() -> Iterator[None]:
    """Whatever a decoder makes of damaged bytes becomes `Unreadable`."""
    try:
        yield
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable("more pixels than are read") from error
    except MemoryError as error:
        raise Unreadable("more than memory holds") from error
    except Exception as error:
        raise Unreadable(_words(error)) from error


def _is_grey(image: Image.Image) -> bool:
    """Whether a picture as its file has it can show nothing but grey."""
    if image.mode != "P":
        return image.mode in GREY_MODES
    colours = np.frombuffer(bytes(image.getpalette("RGB") or b""), dtype=np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _plain(image: Image.Image, channels: int) -> tuple[Image.Image, str]:
    """Upright, 8 bits, grey or RGB, without transparency; and a remark on what was lost."""
    remark = "animated, first frame taken" if getattr(image, "is_animated", False) and image.format != "MPO" else ""
    image.seek(0)
    is_grey = _is_grey(image)
    if image.mode == "F":
        raise Unreadable("floating-point numbers, of which nobody knows the range")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    ImageOps.exif_transpose(image, in_place=True)  # a picture that is upright is not copied
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        if np.asarray(image.getchannel("A")).min() < 255:
            remark = remark or "transparent, put on white"
        image = Image.alpha_composite(white, image)
    if channels == 1 and not is_grey:
        remark = HAS_COLOUR
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode), remark


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey image of 16 bits, which Pillow would clip."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise Unreadable("numbers of more than 16 bits")
    small = Image.fromarray((values >> 8).astype(np.uint8))
    small.info = {}
    small.getexif().update(image.getexif())
    return small


def _square(image: Image.Image, size: int) -> Image.Image:
    """The middle square, scaled to `size`."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    if side == size:
        left, top = round(left), round(top)
        return image.crop((left, top, left + size, top + size)) if image.size != (size, size) else image
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


def as_pixels(image: np.ndarray, size: int, channels: int) -> np.ndarray:
    """The middle square of a (channels, height, width) image of bytes at `size`, with this number of channels."""
    planes = np.stack([np.asarray(_square(Image.fromarray(np.ascontiguousarray(plane)), size)) for plane in image])
    return np.repeat(planes, channels, axis=0) if len(planes) == 1 and channels > 1 else planes


def _words(error: BaseException) -> str:
    first = (str(error).splitlines() or [""])[0]
    return (
        "not a picture of a kind that is read"
        if "cannot identify image file" in first
        else first or type(error).__name__
    )
