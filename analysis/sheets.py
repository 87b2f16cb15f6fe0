"""Sheets of a gallery: images down, networks across, and on each image where the network looked. Values in, Axes out.

One colour scale fits every cell of every sheet, whatever the arm, the study or the map's resolution: a raw map is shown in
multiples of its own mean, which is what a map that points nowhere would have everywhere. Positions of a map are drawn as the
squares that they are, so that a map of 2x2 does not look like one of 16x16. Right and wrong are said by a sign as well as
by colour, and a map that is 0 everywhere says so.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from PIL import Image

from analysis.figures import BASELINE, BLUE, VERMILION, wrapped
from analysis.fonts import drawable
from analysis.labels import NOTE
from analysis.maps import relative

MOST = 4.0
"""End of the colour scale, in multiples of a map's mean: all of a map on a quarter of the image. More looks the same."""
SCALE = Normalize(0, MOST, clip=True)
COLOURS = mpl.colormaps["inferno"]

CELL, GAP, LINE = 0.95, 0.08, 0.14  # inches
LEFT = 0.85
"""Inches for what stands at the left of a row."""
SIDE = 96
"""Pixels along a side of a drawn image: a multiple of the sides of most maps."""
ROWS = 8
"""Rows of a sheet that is printed on a page."""


@dataclass(frozen=True)
class Look:
    """What one network made of one image."""

    answer: str
    probability: float
    """Of the answer, 0 to 1."""
    is_right: bool | None
    """None where nobody knows what the image shows."""
    map: Float[np.ndarray, "h w"]
    """Raw."""


@dataclass(frozen=True)
class Row:
    """An image, and what each network made of it."""

    title: str
    """What it shows, and which image it is."""
    image: UInt8[np.ndarray, "channels height width"]
    looks: Sequence[Look]
    """One a column."""


@dataclass(frozen=True)
class Column:
    """A network."""

    title: str
    """Its arm."""
    detail: str
    """Seed, and the resolution of its maps."""


def sheet(rows: Sequence[Row], columns: Sequence[Column], *, title: str, caption: str, ax: Axes | None = None) -> Axes:
    """A row an image: the image itself, then for each network the image in grey with its map upon it, and its answer.

    Without an Axes, a figure that gives each cell the same size, so it is as wide as there are columns.

    Raises: ValueError: a row has not as many looks as there are columns, or there are no rows.
    """
    if not rows or any(len(row.looks) != len(columns) for row in rows):
        raise ValueError(f"need rows of {len(columns)} looks, got {[len(row.looks) for row in rows]}")
    pitch = CELL + GAP
    headings = [(wrapped(column.title, 16), drawable(column.detail)) for column in columns]
    top = 0.42 + LINE * (1 + max((name.count("\n") + 1 for name, _ in headings), default=1))
    width = LEFT + (1 + len(columns)) * pitch + GAP
    words = textwrap.fill(drawable(caption), int(18 * width))
    bottom = top + len(rows) * (pitch + LINE)
    height = bottom + 0.58 + LINE * (words.count("\n") + 1)
    if ax is None:
        figure = plt.figure(figsize=(width, height))
        ax = figure.add_axes((0, 0, 1, 1))
    ax.axis("off")
    ax.text(GAP, 0.18, drawable(title), fontweight="bold", va="center")
    for place, (name, detail) in enumerate(headings):
        x = LEFT + (1 + place) * pitch + CELL / 2
        ax.text(x, top - LINE - 0.04, name, ha="center", va="bottom", fontsize=NOTE, fontweight="bold")
        ax.text(x, top - 0.03, detail, ha="center", va="bottom", fontsize=NOTE, color="0.35")
    for number, row in enumerate(rows):
        y = top + number * (pitch + LINE)
        lines = "\n".join(wrapped(line, 14) for line in row.title.split("\n"))
        ax.text(GAP, y + CELL / 2, lines, va="center", fontsize=NOTE)
        _show(ax, _enlarged(row.image), LEFT, y)
        for place, look in enumerate(row.looks):
            _cell(ax, row.image, look, LEFT + (1 + place) * pitch, y)
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    _scale_bar(ax, GAP, bottom + 0.22, width, height)
    ax.text(GAP, bottom + 0.5, words, va="top", fontsize=NOTE, color="0.35")
    return ax


def _show(ax: Axes, pixels: Float[np.ndarray, "side side 3"], x: float, y: float) -> None:
    ax.imshow(_as_bytes(pixels), extent=(x, x + CELL, y + CELL, y), interpolation="none", aspect="auto")


def _as_bytes(pixels: Float[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _enlarged(image: UInt8[np.ndarray, "channels height width"]) -> Float[np.ndarray, "side side 3"]:
    pixels = np.moveaxis(image, 0, -1)
    colours = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels
    picture = Image.fromarray(np.ascontiguousarray(colours)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.float32)


def overlay(
    image: UInt8[np.ndarray, "channels height width"], raw: Float[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "3 side side"]:
    """The image in grey under its map, as sheets show it: for pages."""
    return np.moveaxis(_as_bytes(_upon(_enlarged(image), raw)), -1, 0)


def _upon(image: Float[np.ndarray, "side side 3"], raw: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "side side 3"]:
    """The image in grey under its map; in grey alone where the map is empty."""
    grey = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1)
    if not raw.any():
        return grey
    values = SCALE(relative(raw[None])[0])
    rows, columns = (np.arange(SIDE) * length // SIDE for length in raw.shape)
    values = values[rows][:, columns]
    shade = (0.15 + 0.5 * values)[..., None]
    return shade * 255 * COLOURS(values)[..., :3] + (1 - shade) * grey


def _cell(ax: Axes, image: np.ndarray, look: Look, x: float, y: float) -> None:
    _show(ax, _upon(_enlarged(image), look.map), x, y)
    if not look.map.any():
        white = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        ax.text(x + CELL / 2, y + CELL / 2, "map is 0\neverywhere", ha="center", va="center", fontsize=NOTE, bbox=white)
    colour, sign = {True: (BLUE, "✓ "), False: (VERMILION, "✗ "), None: (BASELINE, "")}[look.is_right]
    frame = Rectangle((x, y), CELL, CELL, fill=False, edgecolor=colour, linewidth=1.1)
    ax.add_patch(frame)
    words = f"{sign}{drawable(_short(look.answer))} {100 * look.probability:.0f} %"
    ax.text(x + CELL / 2, y + CELL + 0.02, words, ha="center", va="top", fontsize=NOTE, color=colour)


def _short(name: str, characters: int = 11) -> str:
    return name if len(name) <= characters else f"{name[: characters - 1]}…"


def _scale_bar(ax: Axes, x: float, y: float, width: float, height: float) -> None:
    """The colour scale, with its top at `y` inches from the sheet's."""
    bar = ax.inset_axes((x / width, 1 - (y + 0.09) / height, 1.6 / width, 0.09 / height))
    drawn = ax.figure.colorbar(
        ScalarMappable(Normalize(0, MOST), COLOURS), cax=bar, orientation="horizontal", ticks=[0, 1, MOST / 2, MOST]
    )
    drawn.ax.set_xticklabels(["0", "1", f"{MOST / 2:g}", f"≥ {MOST:g}"], fontsize=NOTE)
    drawn.outline.set_linewidth(0.4)
    ax.text(x, y - 0.03, "map over its mean (1: points nowhere)", va="bottom", fontsize=NOTE)
