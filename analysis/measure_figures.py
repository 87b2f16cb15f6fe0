"""Figures of what measures found: shape bias, reliance, attention; drawn as those of `analysis.figures`."""

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.figures import (
    BASELINE,
    BLUE,
    TICKS,
    VERMILION,
    NothingToDraw,
    axes,
    axes_for_names,
    axes_for_rows,
    note,
    wrapped,
)
from analysis.labels import NOTE, QUIET, label_ends
from analysis.metric import WIDEST

MARKERS = "os^vP*X<>phd"
"""Of arms; the baseline is a diamond."""
CONTEXT = {"humans (10)": "people"}
"""Observers of the published answers that have a name of their own; the others are ImageNet networks."""
RANDOM = "random weights"


def shape_bias(
    by_category: pd.DataFrame, biases: pd.DataFrame, *, published: pd.DataFrame | None = None, ax: Axes | None = None
) -> Axes:
    """Shape bias by shape category: a row a category, texture at the left and shape at the right, a marker an arm.

    A marker is the mean over seeds. Below the categories, a row for all together, with intervals for new seeds and stimuli,
    and one for what each arm's network scores with random weights. Lines are what observers score that learnt no shapes:
    one that always answers the same, and a classifier of colours alone. Small grey signs are people and ImageNet
    networks, for context: they saw 224 pixels and chose among 16 categories, so they are not to be compared with the arms.

    Args: by_category: as `analysis.measured.shape_bias_by_category`. biases: as `analysis.shape_bias.bias_table`.
        published: as `analysis.shape_bias.published`.
    Raises: NothingToDraw: no cell is measured.
    """
    if by_category.empty or biases.empty:
        raise NothingToDraw("no cell of the baseline has been asked for its shape bias (experiments/measure.py)")
    arms = biases[["arm", "is_baseline"]]
    categories = sorted(by_category["shape"].unique())
    has_random = bool(biases["random"].notna().any())
    rows = [*categories, "all", *([RANDOM] if has_random else [])]
    if ax is None:
        ax = axes(1.35 + max(0.26 * len(rows), 0.085 * len(arms) * len(rows)) + 0.1 * len(arms))
    apart = 0.66 / max(len(arms), 4)
    for name, column, colour, dash in (
        ("always the same answer", "constant", BASELINE, "--"),
        ("colours alone", "colours", QUIET, ":"),
    ):
        if biases[column].notna().any():
            ax.axvline(biases[column].iloc[0], color=colour, lw=0.9, ls=dash, zorder=1, label=name)
    for place, (name, colour) in enumerate(_coloured(arms)):
        means = by_category[by_category["arm"] == name].groupby("shape")["value"].mean()
        overall = biases[biases["arm"] == name].iloc[0]
        y = np.arange(len(rows)) + apart * (place - (len(arms) - 1) / 2)
        x = [*means.reindex(categories).to_numpy(float), float(overall["value"])]
        if overall["high"] - overall["low"] <= WIDEST:  # not of NaN
            ax.hlines(y[len(x) - 1], overall["low"], overall["high"], colors=colour, linewidths=1, zorder=3)
        marker = "D" if overall["is_baseline"] else MARKERS[place % len(MARKERS)]
        ax.scatter(x, y[: len(x)], s=14, marker=marker, color=colour, linewidths=0, zorder=4, label=wrapped(name))
        if has_random:
            ax.scatter(overall["random"], y[-1], s=14, marker=marker, color="white", edgecolors=colour, linewidths=0.8)
    if published is not None:
        _context(ax, published, categories)
    ax.axhline(len(categories) - 0.5, color=QUIET, lw=0.5)
    ax.set_yticks(range(len(rows)), [wrapped(name, 9) for name in rows])
    ax.set_ylim(len(rows) - 0.45, -0.55)
    ax.set_xlim(-0.02, 1.02)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("Shape bias (0: texture, 1: shape)")
    ax.legend(
        fontsize=NOTE,
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(-0.15, 1),
        ncols=2,
        columnspacing=1,
        handlelength=1.5,
    )
    words = "Mean of the seeds; for all, with 95 % intervals."
    if published is not None:
        words += " Grey: Geirhos et al. 2019, with 224 pixels and 16 categories, so context, not to be compared with the arms."
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


def attention(table: pd.DataFrame, measure: str = "lift", *, ax: Axes | None = None) -> Axes:
    """How much more of a map lies on the object than a map would that points nowhere (lift), or than on other images'
    objects (specificity), in percentage points of the map: a row an arm, with 95 % intervals for new seeds and stimuli.

    Hollow, the same network with random weights, which the filled mark is to be read against. Dashed, what a blob in the
    middle of the image scores; dotted, what a map of its edges does.

    Args: table: as `analysis.attention.attention_table`.
    Raises: NothingToDraw: no cell is measured.
    """
    if table.empty or table["value"].isna().all():
        raise NothingToDraw("no cell of the baseline has been asked where it looks (experiments/measure.py)")
    own = table[table["measure"] == measure]
    ax = axes_for_rows(own["arm"], extra=1.25) if ax is None else ax
    ax.axvline(0, color=BASELINE, lw=0.8, zorder=1)
    references = {"a blob in the middle": own["centre"].iloc[0], "edges": own["edges"].iloc[0]}
    for (name, value), dash in zip(references.items(), ((0, (4, 2)), (0, (1, 1.5))), strict=True):
        ax.axvline(100 * value, color=QUIET, lw=1, ls=dash, zorder=1, label=name)
    for row, (_, arm) in enumerate(own.iterrows()):
        colour = BASELINE if arm["is_baseline"] else "0.35"
        marker = "D" if arm["is_baseline"] else "o"
        if arm["high"] - arm["low"] <= WIDEST:  # not of NaN
            ax.hlines(row, 100 * arm["low"], 100 * arm["high"], colors=colour, linewidths=1.3, zorder=3)
        ax.scatter(100 * arm["value"], row, s=20, marker=marker, color=colour, zorder=4)
        ax.scatter(
            100 * arm["random"],
            row,
            s=18,
            marker=marker,
            color="white",
            edgecolors=colour,
            linewidths=0.8,
            zorder=3.5,
            label=RANDOM,
        )
    _percentage_points(ax, own["arm"], f"{measure.capitalize()} (percentage points\nof the map)")
    size = int(own["resolution"].iloc[0])
    words = f"At {size}×{size} positions. Dashed: a blob in the middle; dotted: edges. Diamond: baseline."
    if own["random"].notna().any():
        words += " Hollow: the same network with random weights."
    note(ax, words)
    return ax


KINDS = {"right": (BLUE, "o"), "background": (VERMILION, "s"), "other": ("0.35", "^")}
"""Of answers to composites: colour and marker."""


def composites(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """How much more of a map lies on the object of a composite than a map would that points nowhere, by what the network
    answers: a row an arm, means of seeds. Where errors lie to the left of right answers, the network looks away when it errs.

    Args: table: as `analysis.attention.composite_table`.
    Raises: NothingToDraw: no cell is measured.
    """
    if table.empty or table["lift"].isna().all():
        raise NothingToDraw("no cell of the baseline has been asked about composites (experiments/measure.py)")
    ax = axes_for_rows(table["arm"], extra=1.65) if ax is None else ax
    rows = np.arange(len(table))
    ax.axvline(0, color=BASELINE, lw=0.8, zorder=1)
    ax.axvline(100 * table["centre"].iloc[0], color=QUIET, lw=1, ls=(0, (4, 2)), zorder=1, label="a blob in the middle")
    ends = 100 * table[[f"lift_{kind}" for kind in KINDS]]
    ax.hlines(rows, ends.min(axis=1), ends.max(axis=1), colors=QUIET, linewidths=0.8, zorder=2)
    names = {"right": "the object", "background": "the background", "other": "neither"}
    for kind, (colour, marker) in KINDS.items():
        ax.scatter(
            ends[f"lift_{kind}"], rows, s=18, marker=marker, color=colour, linewidths=0, zorder=3, label=names[kind]
        )
    if table["random"].notna().any():
        ax.scatter(
            100 * table["random"],
            rows,
            s=18,
            marker="D",
            color="white",
            edgecolors="0.35",
            linewidths=0.8,
            label=RANDOM,
        )
    _percentage_points(ax, table["arm"], "Lift (percentage points\nof the map)")
    ax.legend(
        title="answer", title_fontsize=NOTE, fontsize=NOTE, frameon=False, loc="lower left", bbox_to_anchor=(-0.1, 1),
        ncols=2, columnspacing=1, handlelength=1.5,
    )  # fmt: skip
    size = int(table["resolution"].iloc[0])
    note(ax, f"Means of the seeds, at {size}×{size} positions.")
    return ax


def _percentage_points(ax: Axes, arms: pd.Series, label: str) -> None:
    """An axis of percentage points, and a row for each arm."""
    ax.set_yticks(range(len(arms)), [wrapped(name) for name in arms])
    ax.set_ylim(len(arms) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=TICKS))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace("-", "−")))
    ax.set_xlabel(label)


def _coloured(arms: pd.DataFrame) -> Iterator[tuple[str, str]]:
    shades = iter(mpl.colormaps["viridis"](np.linspace(0, 0.66, int((~arms["is_baseline"]).sum()))))
    for name, is_baseline in zip(arms["arm"], arms["is_baseline"], strict=True):
        yield name, BASELINE if is_baseline else to_hex(next(shades))
