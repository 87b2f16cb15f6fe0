"""Images inside a page: in a data URI, so that nothing has to lie beside it."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8


@dataclass(frozen=True)
class TestImages:
    """The test images of a study, which its results do not hold: whoever has the data set gives them."""

    __test__ = False  # no test case, whatever its name begins with

    images: UInt8[np.ndarray, "images channels height width"]
    labels: Int[np.ndarray, " images"]


def data_uri(image: UInt8[np.ndarray, "channels height width"], *, photo: bool = False) -> str:
    """One image, grey or RGB, at its own size. Args: photo: as JPEG, a third of the size for what has many colours."""
    from PIL import Image

    pixels = np.ascontiguousarray(np.moveaxis(image, 0, -1))
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    if photo:
        picture.save(file, "JPEG", quality=85, optimize=True)
    else:
        picture.save(file, "PNG", optimize=True)
    return f"data:image/{'jpeg' if photo else 'png'};base64,{base64.b64encode(file.getvalue()).decode()}"
