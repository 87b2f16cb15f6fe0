"""Figures of the ledger of claims; drawn as those of `analysis.figures`."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ablations.units import counted
from analysis.documented import Documented
from analysis.figures import BASELINE, BLUE, TICKS, VERMILION, NothingToDraw, axes, axes_for_rows, note, wrapped
from analysis.labels import NOTE, QUIET

COLOURS = {"supported": BLUE, "better": BLUE, "not supported": VERMILION, "worse": VERMILION}


def differences(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Differences in accuracy, in percentage points, with their intervals: a row each, its verdict at the right.

    Args: table: columns name, verdict, effect, low, high (0 to 1), unit; rows whose unit is not points, or that have no
        effect, are left out, as `analysis.claims.ledger`.
    Raises: NothingToDraw: none is left.
    """
    own = table[(table["unit"] == "points") & table["effect"].notna()].reset_index(drop=True)
    if own.empty:
        raise NothingToDraw("no claim about a difference in accuracy is measured")
    ax = axes_for_rows(own["name"], extra=0.75) if ax is None else ax
    ax.axvline(0, color=BASELINE, linewidth=0.8, zorder=1)
    for place, (_, row) in enumerate(own.iterrows()):
        colour = COLOURS.get(row["verdict"], QUIET)
        ax.hlines(place, 100 * row["low"], 100 * row["high"], colors=colour, linewidths=1.3, zorder=3)
        ax.scatter(100 * row["effect"], place, s=22, color=colour, linewidths=0, zorder=4)
        ax.text(
            1.02, place, row["verdict"], transform=ax.get_yaxis_transform(), va="center_baseline", fontsize=NOTE,
            color=colour if row["verdict"] in COLOURS else "0.35",
        )  # fmt: skip
    ax.set_yticks(range(len(own)), [wrapped(name, 24) for name in own["name"]])
    ax.set_ylim(len(own) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(7, steps=TICKS))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}".replace("-", "−") if x else "0"))
    ax.set_xlabel("Difference in accuracy (percentage points)")
    return ax


def control(table: pd.DataFrame, study: Documented, *, ax: Axes | None = None) -> Axes:
    """Recall (%) of each class: of the classifier that sees no shape, with 95 % intervals, and in the document.

    Args: table: as `analysis.shape_blind.recall_table`.
    Raises: NothingToDraw: it was not trained.
    """
    own = table[table["kind"] == "class"]
    if own.empty:
        raise NothingToDraw("the classifier that sees no shape was not trained")
    own = own.assign(documented=[study.classes[str(name)].recall for name in own["class"]])
    own = own.sort_values("documented", ascending=False, kind="stable")
    ax = axes(0.95 + 0.22 * len(own)) if ax is None else ax
    rows = np.arange(len(own))
    ax.scatter(
        100 * own["documented"],
        rows,
        s=16,
        color=VERMILION,
        marker="D",
        linewidths=0,
        zorder=4,
        label="documented network",
    )
    ax.hlines(rows, 100 * own["low"], 100 * own["high"], colors=BLUE, linewidths=1, zorder=3)
    ax.scatter(100 * own["recall"], rows, s=16, color=BLUE, linewidths=0, zorder=4, label="no shape")
    ax.set_yticks(rows, list(own["class"]))
    ax.set_ylim(len(own) - 0.45, -0.55)
    ax.set_xlim(0, 100)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("Recall on the test images (%)")
    ax.legend(fontsize=NOTE, frameon=False, loc="lower left", bbox_to_anchor=(-0.1, 1), ncols=2, handletextpad=0.1)
    note(
        ax, "No shape: a linear classifier on colours and grey steps without their places; 95 % for other test images."
    )
    return ax


def memory(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The largest batch that the card holds, by the number of blocks: a line for each number of convolutions a block.

    Args: table: as `analysis.memory.memory_table`.
    Raises: NothingToDraw: it is empty.
    """
    if table.empty:
        raise NothingToDraw("memory was not estimated")
    own = table[table["width"] == 1]
    ax = axes(2.5) if ax is None else ax
    for (convolutions, rows), colour, marker in zip(
        own.groupby("convolutions"), (BLUE, VERMILION, "0.35"), "os^", strict=False
    ):
        name = f"{counted(int(str(convolutions)), 'convolution')} a block"
        ax.plot(rows["blocks"], rows["largest_batch"], color=colour, marker=marker, ms=4, lw=1.2, label=name)
    ax.axhline(64, color=QUIET, lw=0.8, ls=(0, (4, 2)), label="the document's batch")
    ax.set_yscale("log", base=2)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.set_xticks(sorted(own["blocks"].unique()))
    ax.set_xlabel("Blocks, at 224 pixels")
    ax.set_ylabel("Largest batch on 15 GB")
    ax.legend(fontsize=NOTE, frameon=False, loc="lower left", bbox_to_anchor=(-0.1, 1), ncols=2)
    return ax
