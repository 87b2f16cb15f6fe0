"""Figures of a reproduction: the document's one run beside the seeds measured here; drawn as those of `analysis.figures`."""

import math

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import BASELINE, BLUE, TICKS, VERMILION, NothingToDraw, axes, note, wrapped
from analysis.labels import NOTE, QUIET


def accuracy(table: pd.DataFrame, seeds: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Test accuracy (%): the document's run with its interval, and below it a row each arithmetic with a dot a seed, their mean
    and the interval for one new seed.

    Args: table: as `analysis.reproduction.accuracy_table`. seeds: columns precision, accuracy (0 to 1); a row a seed.
    Raises: NothingToDraw: no seed is finished.
    """
    if seeds.empty:
        raise NothingToDraw("no seed of the baseline is finished")
    shown = table[table["seeds"] > 0].reset_index(drop=True)
    ax = axes(0.85 + 0.3 * len(shown)) if ax is None else ax
    published = 100 * float(table["value"].iloc[0])
    ax.axvline(published, color=VERMILION, lw=0.8, ls=(0, (4, 2)), zorder=1)
    names = []
    for place, (_, row) in enumerate(shown.iterrows()):
        is_published = place == 0
        colour = VERMILION if is_published else BLUE
        names.append("documented" if is_published else wrapped(f"here, {row['precision']}"))
        if not math.isnan(row["low"]):
            ax.hlines(place, 100 * row["low"], 100 * row["high"], colors=colour, linewidths=1.3, zorder=3)
        ax.scatter(100 * row["value"], place, s=22, color=colour, marker="D" if is_published else "o", zorder=4)
        own = seeds.loc[seeds["precision"] == row["precision"], "accuracy"]
        ax.scatter(100 * own, np.full(len(own), place + 0.27), s=7, color=QUIET, linewidths=0, zorder=2)
    ax.set_yticks(range(len(shown)), names)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=TICKS))
    ax.set_xlabel("Test accuracy (%)")
    note(ax, "Document: 95 % for other test images. Here: 95 % for one new seed; grey: single seeds.")
    return ax


def classes(comparison: pd.DataFrame, measure: str = "f1", *, ax: Axes | None = None) -> Axes:
    """A measure of each class (%), in the document and here, classes from the document's best to its worst.

    Args: comparison: as `analysis.reproduction.class_comparison`. measure: recall, precision or f1.
    Raises: NothingToDraw: no seed is finished.
    """
    own = comparison[comparison["measure"] == measure].sort_values("documented", ascending=False, kind="stable")
    if own.empty or own["seeds"].max() == 0:
        raise NothingToDraw("no seed of the baseline is finished")
    ax = axes(0.95 + 0.24 * len(own)) if ax is None else ax
    rows = np.arange(len(own))
    for shift, colour, marker, name, value, low, high in (
        (-0.17, VERMILION, "D", "documented", "documented", "documented_low", "documented_high"),
        (0.17, BLUE, "o", "here, mean of seeds", "mean", "low", "high"),
    ):
        y = rows + shift
        known = own[low].notna().to_numpy()
        ax.hlines(
            y[known], 100 * own.loc[known, low], 100 * own.loc[known, high], colors=colour, linewidths=1, zorder=3
        )
        ax.scatter(100 * own[value], y, s=14, color=colour, marker=marker, linewidths=0, zorder=4, label=name)
    ax.set_yticks(rows, [f"{row['class']}{' *' if row['beyond'] else ''}" for _, row in own.iterrows()])
    ax.set_ylim(len(own) - 0.45, -0.55)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=TICKS))
    ax.set_xlabel(f"{ {'f1': 'F1', 'recall': 'Recall', 'precision': 'Precision'}[measure] } on the test images (%)")
    ax.legend(fontsize=NOTE, frameon=False, loc="lower left", bbox_to_anchor=(-0.1, 1), ncols=2, handletextpad=0.1)
    note(ax, "Lines: 95 %, document for other test images, here for one new seed. *: neither lies in the other's.")
    return ax


def confusion(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Of each class's test images (rows), the share that is answered as each class (columns), in percent.

    Args: table: as `analysis.reproduction.confusion_table`.
    Raises: NothingToDraw: no seed is finished.
    """
    if table.empty:
        raise NothingToDraw("no seed of the baseline is finished")
    ax = axes(0.95 + 0.21 * len(table)) if ax is None else ax
    percent = 100 * table
    sns.heatmap(
        percent, ax=ax, cmap="Blues", vmin=0, vmax=100, cbar=False, linewidths=0.4,
        annot=percent.map(lambda value: f"{value:.0f}" if value >= 1 else ""), fmt="", annot_kws={"fontsize": NOTE},
    )  # fmt: skip
    ax.set_xlabel("Answer")
    ax.set_ylabel("Class")
    ax.tick_params(length=0)
    ax.set_xticks(
        ax.get_xticks(), [str(name) for name in table.columns], rotation=45, ha="right", rotation_mode="anchor"
    )
    for spine in ax.spines.values():
        spine.set_color(BASELINE)
    return ax
