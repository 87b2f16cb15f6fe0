"""Figures: a tidy table in, an Axes out. Nothing here loads, saves or shows.

Colours can be told apart by the colour-blind, and never carry a message alone. Sizes are for `STYLE`, in which no text is
below 6.5 points at a column's width:

    with mpl.rc_context(STYLE):
        ax = forest(effects, seed_differences(results.trials, results.correct))

Without an Axes, each function makes a figure of `rcParams["figure.figsize"]`'s width and as high as its arms need.
"""

import math
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.font_manager import FontProperties
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ablations.units import size
from analysis.statistics import SIGNIFICANT

COLUMN = 3.25
"""Width of a column of a two-column paper, in inches."""

STYLE: dict[Any, Any] = {
    "figure.figsize": (COLUMN, 2.4),
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # text stays text: journals refuse matplotlib's default, type 3
    "font.size": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
}
"""Matplotlib's settings for a paper."""

NOTE = "small"  # labels inside a figure: 6.7 points in `STYLE`
STEPS = [1, 2, 5, 10]  # between ticks: no 2.5, whose labels need a decimal
QUIET, BASELINE = "0.6", "0.1"
BLUE, VERMILION = sns.color_palette("colorblind").as_hex()[0], sns.color_palette("colorblind").as_hex()[3]
VERDICT_COLOURS = {"better": BLUE, "worse": VERMILION}

COSTS = {
    "multiply_adds": "Multiply-adds per image",
    "parameters": "Parameters",
    "seconds": "Time per trial (s)",
}
"""Columns of the effect table that a network can be charged with, and what the axis says."""

Point = tuple[float, float]  # in data coordinates
Segment = tuple[Point, Point]


class NothingToDraw(ValueError):
    """The table has no row that the figure could show; the text says which are missing."""


def forest(effects: pd.DataFrame, seed_differences: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Differences in test accuracy to the baseline, in percentage points: a row an arm, in the grid's order from the top.

    Each row has the mean difference with its 95 % interval (not corrected for the number of arms) and, below them, a
    dot per seed. The verdict stands at the right; where it is better or worse (after Holm's correction) the mean is
    filled and coloured. An arm with one seed has no interval. The baseline is the line at 0.

    Args: effects: as `analysis.effects.effect_table`. seed_differences: as `analysis.effects.seed_differences`.
    Raises: NothingToDraw: no arm has a finished seed in common with the baseline.
    """
    if effects["delta"].isna().all():
        raise NothingToDraw("no arm has a finished seed in common with the baseline")
    ax = _axes_for_rows(len(effects), extra=0.65) if ax is None else ax
    ax.axvline(0, color=BASELINE, linewidth=0.8, zorder=1)
    row_of = {arm: row for row, arm in enumerate(effects["arm"])}
    # The seeds' dots lie below the interval, so that neither hides the other.
    below = [row_of[arm] + 0.24 for arm in seed_differences["arm"]]
    seeds = 100 * seed_differences["difference"]
    ax.scatter(seeds, below, s=7, color=QUIET, linewidths=0, zorder=2, label="one seed")
    bars = effects[effects["low"].notna()]
    colours = [_verdict_colour(kind) for kind in bars["verdict"]]
    ax.hlines(
        [row_of[arm] for arm in bars["arm"]],
        100 * bars["low"],
        100 * bars["high"],
        colors=colours,
        linewidths=1.3,
        zorder=3,
        label="95 % interval",
    )
    means = effects[effects["delta"].notna()]
    colours = [_verdict_colour(kind) for kind in means["verdict"]]
    fills = [VERDICT_COLOURS.get(kind, "white") for kind in means["verdict"]]
    rows = [row_of[arm] for arm in means["arm"]]
    ax.scatter(
        100 * means["delta"], rows, s=22, color=fills, edgecolors=colours, linewidths=1.1, zorder=4, label="mean"
    )
    for row, (_, arm) in enumerate(effects.iterrows()):
        ax.text(
            1.02,
            row,
            _standing(arm),
            transform=ax.get_yaxis_transform(),
            va="center_baseline",  # as the names at the left
            fontsize=NOTE,
            color=BASELINE if arm["is_baseline"] else _verdict_colour(arm["verdict"]),
        )
    ax.set_yticks(range(len(effects)), [_wrapped(arm) for arm in effects["arm"]])
    ax.set_ylim(len(effects) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(7, steps=STEPS))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _signed(x)))
    ax.set_xlabel("Difference in test accuracy\n(percentage points)")
    return ax


def _standing(arm: pd.Series) -> str:
    """What the right margin of the forest says about an arm."""
    if arm["is_baseline"]:
        return "baseline"
    if math.isnan(arm["delta"]):
        return "no pair"
    return "one seed" if arm["paired_seeds"] == 1 else str(arm["verdict"])


def _verdict_colour(kind: str) -> str:
    return VERDICT_COLOURS.get(kind, "0.35")


def accuracy_against_cost(effects: pd.DataFrame, *, cost: str = "multiply_adds", ax: Axes | None = None) -> Axes:
    """Mean test accuracy (%) of each arm against what it costs, with the standard deviation over seeds as a bar.

    The line joins the Pareto frontier, the filled arms: no other is as accurate or more at this cost or less. It promises
    nothing of networks between them. The baseline is a diamond. The axis of costs is logarithmic where they span a factor
    of ten. The bars say nothing about differences between arms, which are paired: see `forest`.

    Args: effects: as `analysis.effects.effect_table`. cost: a column of it, one of `COSTS`.
    Raises: NothingToDraw: no arm has a finished seed. ValueError: `cost` is none of `COSTS`.
    """
    if cost not in COSTS:
        raise ValueError(f"no cost {cost!r}: choose one of {', '.join(COSTS)}")
    shown = effects[effects["test_mean"].notna()]
    if shown.empty:
        raise NothingToDraw("no arm has a finished seed")
    ax = _axes(2.5) if ax is None else ax
    x, y = shown[cost].to_numpy(float), 100 * shown["test_mean"].to_numpy(float)
    best = _frontier(x, y)
    _cost_axis(ax, x)
    ax.set_ylabel("Test accuracy (%), mean ± SD")
    ax.set_xlabel(COSTS[cost])
    ax.plot(x[best], y[best], color=BLUE, linewidth=1, alpha=0.6, zorder=2, label="frontier")
    spread = 100 * shown["test_sd"].fillna(0).to_numpy(float)
    ax.vlines(x, y - spread, y + spread, color=QUIET, linewidth=0.8, zorder=1, label="SD over seeds")
    for place, (_, arm) in enumerate(shown.iterrows()):
        colour = BASELINE if arm["is_baseline"] else BLUE
        ax.scatter(
            x[place],
            y[place],
            s=26 if arm["is_baseline"] else 20,
            marker="D" if arm["is_baseline"] else "o",
            color=colour if place in best else "white",
            edgecolors=colour,
            linewidths=1,
            zorder=3,
            label=arm["arm"],
        )
    names = [
        _wrapped(f"{arm} (baseline)" if is_baseline and arm != "baseline" else arm, 22)
        for arm, is_baseline in zip(shown["arm"], shown["is_baseline"], strict=True)
    ]
    bars = [((a, b - sd), (a, b + sd)) for a, b, sd in zip(x, y, spread, strict=True)]
    joints = [((x[i], y[i]), (x[j], y[j])) for i, j in pairwise(best)]
    points, colours = list(zip(x, y, strict=True)), [BASELINE] * len(x)
    if joints:
        scale = ax.transScale  # the middle of a line on a logarithmic axis is not the mean of its ends
        a, b = scale.inverted().transform(scale.transform(joints[len(joints) // 2]).mean(axis=0))
        points.insert(0, (float(a), float(b)))
        names.insert(0, "Pareto frontier")
        colours.insert(0, BLUE)
    _label_points(ax, points, names, colours, avoid=[*bars, *joints])
    return ax


def _frontier(cost: np.ndarray, accuracy: np.ndarray) -> list[int]:
    """Places of the points that no other beats: none costs less or as much and is as accurate or more. By rising cost."""
    best: list[int] = []
    for place in np.lexsort((-accuracy, cost)):
        if not best or accuracy[place] > accuracy[best[-1]]:
            best.append(int(place))
    return best


def _cost_axis(ax: Axes, cost: np.ndarray) -> None:
    low, high = cost.min(), cost.max()
    if low > 0 and high / low >= 10:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
        ax.xaxis.set_minor_formatter(NullFormatter())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    if low == high:  # a grid that moves no cost: the points stand in the middle
        ax.set_xlim(0.5 * low, 1.5 * low)
    else:
        ax.margins(x=0.2)  # for names beside the first and the last
    ax.xaxis.set_major_formatter(FuncFormatter(lambda count, _: size(count)))


def learning_curves(epochs: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Validation accuracy (%) after each epoch: a thin line per seed, a bold mean per arm with its name at the end.

    Colours go with the grid's order from dark to light; the baseline is black. The mean is over the seeds that finished.

    Args: epochs: as `analysis.results.Results.epochs`.
    Raises: NothingToDraw: no cell is finished.
    """
    if epochs.empty:
        raise NothingToDraw("no arm has a finished seed")
    arms = epochs.drop_duplicates("arm")[["arm", "is_baseline"]]
    names = [_wrapped(name) for name in arms["arm"]]
    ax = _axes(max(2.4, 0.8 + 0.13 * sum(name.count("\n") + 1 for name in names))) if ax is None else ax
    others = int((~arms["is_baseline"]).sum())
    shades = iter(mpl.colormaps["viridis"](np.linspace(0, 0.66, others)))  # beyond, names are too pale to read
    ends, colours = [], []
    for name, is_baseline in zip(arms["arm"], arms["is_baseline"], strict=True):
        colour = BASELINE if is_baseline else to_hex(next(shades))
        curve = epochs[epochs["arm"] == name].pivot(index="epoch", columns="seed", values="validation_accuracy") * 100
        marker = "o" if len(curve) == 1 else ""  # a line of one epoch would not be seen
        for seed in curve:
            ax.plot(curve.index, curve[seed], marker=marker, color=colour, lw=0.5, alpha=0.45, ms=2, label="one seed")
        mean = curve.mean(axis="columns")
        ax.plot(mean.index, mean, marker=marker, color=colour, lw=1.7, ms=4, label=name)
        ends.append((float(mean.index[-1]), float(mean.iloc[-1])))
        colours.append(colour)
    ax.set_xlabel("Epoch")
    ax.set_ylabel("Validation accuracy (%)")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.yaxis.set_major_locator(MaxNLocator(7, steps=STEPS))
    ax.margins(x=0.02)
    _label_ends(ax, ends, names, colours)
    return ax


def per_class(per_class_table: pd.DataFrame, *, effects: pd.DataFrame | None = None, ax: Axes | None = None) -> Axes:
    """Change of each class's recall from the baseline, in percentage points: a row an arm, a column a class.

    Blue is better and red worse; the number in a cell is rounded to whole points. The mean is over the seeds that arm and
    baseline share; an arm that shares none has an empty row. With `effects`, a number is bold where the change is
    significant: below 0.05 after Holm's correction over all cells. Without, nothing is said of significance.

    Args: per_class_table: as `analysis.results.Results.per_class`. effects: as `analysis.per_class.class_effects`.
    Raises: NothingToDraw: the baseline and another arm have no finished seed in common.
    """
    if per_class_table.empty:
        raise NothingToDraw("no arm has a finished seed")
    is_baseline = per_class_table["is_baseline"]
    baseline, others = per_class_table[is_baseline], per_class_table[~is_baseline]
    if baseline.empty or others.empty:
        raise NothingToDraw(f"{'the baseline' if baseline.empty else 'no arm but the baseline'} has a finished seed")
    pairs = others.merge(baseline, on=["seed", "class"], suffixes=("", "_baseline"))
    if pairs.empty:
        raise NothingToDraw("no arm has a finished seed in common with the baseline")
    pairs["change"] = 100 * (pairs["recall"] - pairs["recall_baseline"])
    changes = pairs.pivot_table(index="arm", columns="class", values="change", aggfunc="mean")
    changes = changes.reindex(index=others["arm"].unique(), columns=baseline["class"].unique())
    ax = _axes_for_rows(len(changes), extra=1.1) if ax is None else ax
    significant = set()
    if effects is not None:
        rows = effects[(effects["measure"] == "recall") & (effects["adjusted_p"] < SIGNIFICANT)]
        significant = set(zip(rows["arm"], rows["class"], strict=True))
    values = changes.to_numpy(float)
    limit = np.nanmax(np.abs(values), initial=1)  # at least a point: changes below are noise, and stay pale
    sns.heatmap(
        values,
        ax=ax,
        cmap="RdBu",
        vmin=-limit,
        vmax=limit,
        annot=changes.map(_signed_whole).to_numpy(),
        fmt="",
        annot_kws={"fontsize": NOTE},
        cbar=False,  # every cell has its number
        linewidths=0.8,
        linecolor="white",
    )
    for number in ax.texts:  # seaborn turns to white too early to be read well
        column, row = map(int, number.get_position())
        number.set_color("white" if abs(values[row, column]) > 0.7 * limit else BASELINE)
        if (changes.index[row], changes.columns[column]) in significant:
            number.set_fontweight("bold")
    ax.set_yticks(np.arange(len(changes)) + 0.5, [_wrapped(name) for name in changes.index], rotation=0)
    ax.set_xticks(np.arange(changes.shape[1]) + 0.5, changes.columns, rotation=90)
    ax.tick_params(length=0)
    ax.set_xlabel(textwrap.fill(f"Change in recall from {baseline['arm'].iloc[0]} (percentage points)", 36))
    ax.set_ylabel("")
    return ax


def _axes(height: float) -> Axes:
    width = mpl.rcParams["figure.figsize"][0]
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def _axes_for_rows(rows: int, *, extra: float) -> Axes:
    """Room for `rows` names of two lines, and for the axis below them: `extra` inches."""
    return _axes(extra + 0.26 * rows)


def _wrapped(name: str, characters: int = 18) -> str:
    return textwrap.fill(name, characters)


def _signed(value: float) -> str:
    return "0" if value == 0 else f"{value:+g}".replace("-", "−")


def _signed_whole(value: float) -> str:
    return "" if math.isnan(value) else _signed(round(value))


def _laid_out(ax: Axes) -> float:
    """Fixes where things stand, which the names' places depend on. Returns the pixels of a point."""
    ax.autoscale_view()
    figure = ax.figure.canvas.figure  # of a subfigure, the whole
    figure.draw_without_rendering()
    return figure.dpi / 72


def _label_ends(ax: Axes, ends: Sequence[Point], names: Sequence[str], colours: Sequence[str]) -> None:
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


def _label_points(
    ax: Axes, points: Sequence[Point], names: Sequence[str], colours: Sequence[str], *, avoid: Sequence[Segment]
) -> None:
    """A name beside each point, where it hides least of the points, the other names and the lines to avoid."""
    pixel = _laid_out(ax)
    to_pixels = ax.transData.transform
    taken = [_beads(centre, centre, 3 * pixel) for centre in to_pixels(points)]
    taken += [_beads(start, end, pixel) for start, end in map(to_pixels, avoid)]
    # A name may end somewhat to the right of the axes: nothing stands there, and the layout makes room.
    frame = np.array([ax.get_window_extent().extents]) + np.array([0, 0, 30 * pixel, 0])
    for point, name, colour in zip(points, names, colours, strict=True):
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
