"""Names inside a figure: beside points and at the ends of lines, moved until none hides another."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.text import Annotation

NOTE = "small"  # labels inside a figure: 6.7 points in `analysis.figures.STYLE`
QUIET = "0.6"

Point = tuple[float, float]  # in data coordinates
Segment = tuple[Point, Point]


def label_ends(ax: Axes, ends: Sequence[Point], names: Sequence[str], colours: Sequence[str]) -> None:
    """Names at the right of the lines that end at `ends`, moved up or down until none covers another."""
    pixel = _laid_out(ax)
    line = 1.25 * FontProperties(size=NOTE).get_size_in_points() * pixel / ax.get_window_extent().height
    heights = line * np.array([name.count("\n") + 1 for name in names])
    low, high = ax.get_ylim()
    wanted = np.array([(y - low) / (high - low) for _, y in ends])
    for end, name, colour, place in zip(ends, names, colours, _apart(wanted, heights), strict=True):
        ax.annotate(
            name,
            end,
            xytext=(1.05, place),
            textcoords="axes fraction",
            va="center",
            fontsize=NOTE,
            color=colour,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)},
        )


def _apart(wanted: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Places from 0 to 1 as near as can be to those wanted at which intervals of these heights do not overlap.

    Neighbours that would overlap form a block, which stands where its members want to be on average. Where 1 is too
    little for all, they reach beyond it.
    """
    order = np.argsort(wanted, kind="stable")
    # Less how far each stands above the first when all are packed, "do not overlap" is "do not fall".
    packed = np.concatenate([[0], np.cumsum((heights[order][1:] + heights[order][:-1]) / 2)])
    blocks: list[list[float]] = []
    for target in wanted[order] - packed:
        blocks.append([target])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    places = np.empty_like(wanted)
    lowest = heights[order[0]] / 2
    highest = max(lowest, 1 - heights[order[-1]] / 2 - packed[-1])
    bottoms = np.concatenate([np.full(len(block), np.mean(block)) for block in blocks])
    places[order] = np.clip(bottoms, lowest, highest) + packed
    return places


Place = tuple[int, int, int]
PLACES: list[Place] = [
    (distance, dx, dy)
    for distance in (5, 11, 18, 26)
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
]
"""Where a name can stand beside its point: how far (in points) and in which direction, the preferred first."""
NEAR = 5  # a name that stands farther from its point gets a line to it
FAR, LOST = 4, 3  # how bad are a point of distance and a square point that hides something or lies outside of the axes


def label_points(
    ax: Axes,
    points: Sequence[Point],
    names: Sequence[str],
    colours: Sequence[str],
    *,
    avoid: Sequence[Segment],
) -> None:
    """A name beside each point, where it hides least of the points, the other names and the lines to avoid. A point whose name
    is empty has none, and is not to be hidden either.
    """
    pixel = _laid_out(ax)
    to_pixels = ax.transData.transform
    taken = [_beads(centre, centre, 3 * pixel) for centre in to_pixels(points)]
    taken += [_beads(start, end, 2 * pixel) for start, end in map(to_pixels, avoid)]
    # A name may end somewhat to the right of the axes: nothing stands there, and the layout makes room.
    frame = np.array([ax.get_window_extent().extents]) + np.array([0, 0, 30 * pixel, 0])
    for point, name, colour in zip(points, names, colours, strict=True):
        if not name:
            continue
        label = ax.annotate(name, point, xytext=(0, 0), textcoords="offset points", fontsize=NOTE, color=colour)
        centre, obstacles = to_pixels(point), np.concatenate(taken)

        def leader(place: Place, centre: np.ndarray = centre) -> np.ndarray:
            distance, *direction = place
            end = centre + distance * pixel * np.array(direction)
            return _beads(centre, end, pixel / 2)[: None if distance > NEAR else 0]

        def harm(place: Place, label: Annotation = label, obstacles: np.ndarray = obstacles) -> float:
            box = _put(label, place)
            outside = _common_area(box, box) - _common_area(box, frame)
            crossed = _common_area(box, obstacles) + _common_area(leader(place), obstacles)
            return FAR * pixel**2 * place[0] + LOST * (outside + crossed)

        place = min(PLACES, key=harm)
        taken += [_put(label, place), leader(place)]
        if place[0] > NEAR:
            line = {"arrowstyle": "-", "color": QUIET, "lw": 0.5, "shrinkA": 0, "shrinkB": 2}
            ax.annotate("", point, xytext=label.xyann, textcoords="offset points", arrowprops=line, zorder=1)


def _put(label: Annotation, place: Place) -> np.ndarray:
    """Moves a name; returns its box (1, 4), in pixels."""
    distance, dx, dy = place
    label.xyann = (distance * dx, distance * dy)
    label.set_horizontalalignment(("center", "left", "right")[dx])
    label.set_verticalalignment(("center_baseline", "bottom", "top")[dy])
    return np.array([label.get_window_extent().extents])


def _beads(start: np.ndarray, end: np.ndarray, radius: float) -> np.ndarray:
    """Small boxes along a line, as the box of a slanted line itself would be far too large: (boxes, 4), in pixels."""
    number = 1 + int(np.abs(end - start).max() / (2 * radius))
    centres = start + np.linspace(0, 1, number)[:, None] * (end - start)
    return np.hstack([centres - radius, centres + radius])


def _common_area(some: np.ndarray, others: np.ndarray) -> float:
    """Area that boxes have in common with others, over all pairs. A box is left, bottom, right, top."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    return float((high - low).clip(0).prod(axis=-1).sum())


def _laid_out(ax: Axes) -> float:
    """Fixes where things stand, which the names' places depend on. Returns the pixels of a point."""
    ax.autoscale_view()
    figure = ax.figure.canvas.figure  # of a subfigure, the whole
    figure.draw_without_rendering()
    return figure.dpi / 72
