"""Figures of what measures found: shape bias, reliance, attention; drawn as those of `analysis.figures`."""

from collections.abc import Iterator, Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.figures import BASELINE, TICKS, NothingToDraw, axes, axes_for_names, axes_for_rows, note, wrapped
from analysis.labels import NOTE, QUIET, label_ends
from analysis.metric import WIDEST

MARKERS = "os^vP*X<>phd"
"""Of arms; the baseline is a diamond."""
CONTEXT = {"humans (10)": "people"}
"""Observers of the published answers that have a name of their own; the others are ImageNet networks."""


def shape_bias(
    by_category: pd.DataFrame,
    biases: pd.DataFrame,
    *,
    published: pd.DataFrame | None = None,
    nulls: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Shape bias by shape category: a row a category, texture at the left and shape at the right, a marker an arm.

    A marker is the mean over seeds. Below the categories, a row for all together, with intervals for new seeds and stimuli.
    The line at 1/2 is what a network scores that always answers the same. Small grey signs are people and ImageNet
    networks, for context: they saw 224 pixels and chose among 16 categories, so they are not to be compared with the arms.

    Args: by_category: as `analysis.measured.shape_bias_by_category`. biases: as `analysis.shape_bias.bias_table`.
        published: as `analysis.shape_bias.published`. nulls: bias of networks that see no shape, by what they are called.
    Raises: NothingToDraw: no cell is measured.
    """
    if by_category.empty or biases.empty:
        raise NothingToDraw("no cell of the baseline has been asked for its shape bias (experiments/measure.py)")
    arms = biases[["arm", "is_baseline"]]
    categories = sorted(by_category["shape"].unique())
    rows = [*categories, "all"]
    if ax is None:
        ax = axes(1.35 + max(0.26 * len(rows), 0.085 * len(arms) * len(rows)) + 0.1 * len(arms))
    apart = 0.66 / max(len(arms), 4)
    ax.axvline(0.5, color=BASELINE, lw=0.8, ls=(0, (4, 2)), zorder=1, label="always the same answer")
    for (name, value), dash in zip((nulls or {}).items(), ((0, (1, 1.5)), (0, (5, 1, 1, 1)), "-"), strict=False):
        ax.axvline(value, color=QUIET, lw=0.9, ls=dash, zorder=1, label=wrapped(name))
    for place, (name, colour) in enumerate(_coloured(arms)):
        means = by_category[by_category["arm"] == name].groupby("shape")["value"].mean()
        overall = biases[biases["arm"] == name].iloc[0]
        y = np.arange(len(rows)) + apart * (place - (len(arms) - 1) / 2)
        x = [*means.reindex(categories).to_numpy(float), float(overall["value"])]
        if overall["high"] - overall["low"] <= WIDEST:  # not of NaN
            ax.hlines(y[-1], overall["low"], overall["high"], colors=colour, linewidths=1, zorder=3)
        ax.scatter(
            x,
            y,
            s=14,
            marker="D" if overall["is_baseline"] else MARKERS[place % len(MARKERS)],
            color=colour,
            linewidths=0,
            zorder=4,
            label=wrapped(name),
        )
    if published is not None:
        _context(ax, published, categories)
    ax.axhline(len(categories) - 0.5, color=QUIET, lw=0.5)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.45, -0.55)
    ax.set_xlim(-0.02, 1.02)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("Shape bias (0: texture, 1: shape)")
    ax.legend(
        fontsize=NOTE,
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(-0.1, 1),
        ncols=2,
        columnspacing=1,
        handlelength=1.5,
    )
    words = "Mean of the seeds; in the last row with 95 % intervals."
    if published is not None:
        words += " Grey: 224 pixels, 16 categories, so context only, not to be compared with the arms."
    note(ax, words)
    return ax


def _context(ax: Axes, published: pd.DataFrame, categories: list[str]) -> None:
    own = published[published["shape"].isin(categories)]
    people = own["observer"].isin(CONTEXT)
    for name, rows, marker in (("people", own[people], "|"), ("ImageNet networks", own[~people], "x")):
        x = rows.groupby("shape")["value"].mean().reindex(categories).to_numpy(float)
        ax.scatter(x, range(len(categories)), s=22, marker=marker, color=QUIET, linewidths=1.1, zorder=2, label=name)


def reliance(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Share of accuracy (%) that is kept under each change of the images: a line an arm, with 95 % intervals.

    Lower: the network relied more on what the change takes. The line joins what belongs to one arm, and means no order.

    Args: table: as `analysis.reliance.reliance_table`; where it has a column images, their number is said.
    Raises: NothingToDraw: no cell is measured.
    """
    if table.empty or table["value"].isna().all():
        raise NothingToDraw("no cell of the baseline has been asked what it relies on (experiments/measure.py)")
    arms = table.drop_duplicates("arm")[["arm", "is_baseline"]]
    changes = list(dict.fromkeys(table["change"]))
    if ax is None:
        ax = axes_for_names(arms["arm"], extra=0.45 + 0.064 * max(map(len, changes)))
    apart = 0.4 / max(len(arms), 4)
    ends, names, colours = [], [], []
    for place, (name, colour) in enumerate(_coloured(arms)):
        own = table[table["arm"] == name].set_index("change").reindex(changes)
        x = np.arange(len(changes)) + apart * (place - (len(arms) - 1) / 2)
        y = 100 * own["value"].to_numpy(float)
        sure = own["high"] - own["low"] <= WIDEST  # not of NaN
        ax.vlines(x[sure], 100 * own["low"][sure], 100 * own["high"][sure], colors=colour, linewidths=0.7, alpha=0.6)
        ax.plot(x, y, color=colour, lw=0.8, marker="o", ms=3, mew=0, label=name)
        if not np.isnan(y).all():
            ends.append((float(x[-1]), float(y[-1])))
            names.append(wrapped(name))
            colours.append(colour)
    ax.set_xticks(range(len(changes)), changes, rotation=90)
    ax.set_ylabel("Share of accuracy kept (%)")
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=TICKS))
    if "images" in table:  # before the names, whose places depend on the room that is left
        note(ax, f"Of {table['images'].max():,} test images, of each class its share. Guessing keeps something, too.")
    label_ends(ax, ends, names, colours)
    return ax


def attention(
    table: pd.DataFrame, measure: str = "lift", *, nulls: Mapping[str, float] | None = None, ax: Axes | None = None
) -> Axes:
    """How much more of a map lies on the object than a map would that points nowhere (lift), or than on other images'
    objects (specificity), in percentage points of the map: a row an arm, with 95 % intervals for new seeds and stimuli.

    Dashed, what a blob in the middle of the image scores; dotted, what a map of its edges does.

    Args: table: as `analysis.attention.attention_table`. nulls: further references, such as random weights, by name.
    Raises: NothingToDraw: no cell is measured.
    """
    if table.empty or table["value"].isna().all():
        raise NothingToDraw("no cell of the baseline has been asked where it looks (experiments/measure.py)")
    own = table[table["measure"] == measure]
    ax = axes_for_rows(own["arm"], extra=1.25) if ax is None else ax
    ax.axvline(0, color=BASELINE, lw=0.8, zorder=1)
    references = {"a blob in the middle": own["centre"].iloc[0], "edges": own["edges"].iloc[0], **(nulls or {})}
    dashes = ((0, (4, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1)))
    for (name, value), dash in zip(references.items(), dashes, strict=False):
        ax.axvline(100 * value, color=QUIET, lw=1, ls=dash, zorder=1, label=name)
    for row, (_, arm) in enumerate(own.iterrows()):
        colour = BASELINE if arm["is_baseline"] else "0.35"
        marker = "D" if arm["is_baseline"] else "o"
        if arm["high"] - arm["low"] <= WIDEST:  # not of NaN
            ax.hlines(row, 100 * arm["low"], 100 * arm["high"], colors=colour, linewidths=1.3, zorder=3)
        ax.scatter(100 * arm["value"], row, s=20, marker=marker, color=colour, zorder=4)
    ax.set_yticks(range(len(own)), [wrapped(name) for name in own["arm"]])
    ax.set_ylim(len(own) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=TICKS))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace("-", "−")))
    ax.set_xlabel(f"{measure.capitalize()} (percentage points\nof the map)")
    size = int(own["resolution"].iloc[0])
    further = "; dash-dotted: ".join(["", *(nulls or {})])
    note(ax, f"At {size}×{size} positions. Dashed: a blob in the middle; dotted: edges{further}. Diamond: baseline.")
    return ax


def _coloured(arms: pd.DataFrame) -> Iterator[tuple[str, str]]:
    shades = iter(mpl.colormaps["viridis"](np.linspace(0, 0.66, int((~arms["is_baseline"]).sum()))))
    for name, is_baseline in zip(arms["arm"], arms["is_baseline"], strict=True):
        yield name, BASELINE if is_baseline else to_hex(next(shades))
