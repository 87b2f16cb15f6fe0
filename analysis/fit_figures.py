"""Figures of how arms fit and how sure they are; drawn as those of `analysis.figures`."""

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator

from analysis.figures import BASELINE, TICKS, NothingToDraw, axes_for_names, note, wrapped
from analysis.labels import QUIET, label_ends


def losses(epochs: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Mean loss by epoch: a solid line on validation images, a dashed one while training.

    The training loss is a mean over the epoch, with dropout and augmentation. Colours are those of `figures.learning_curves`.

    Args: epochs: as `analysis.outcomes.Outcomes.epochs`.
    Raises: NothingToDraw: no cell is finished.
    """
    if epochs.empty:
        raise NothingToDraw("no arm has a finished seed")
    arms = epochs.drop_duplicates("arm")[["arm", "is_baseline"]]
    ax = axes_for_names(arms["arm"], extra=0.35) if ax is None else ax
    ends, names, colours = [], [], []
    for name, colour in _coloured(arms):
        curves = epochs[epochs["arm"] == name].groupby("epoch")[["train_loss", "validation_loss"]].mean()
        marker = "o" if len(curves) == 1 else ""
        ax.plot(curves.index, curves["train_loss"], color=colour, lw=1, ls=(0, (3, 2)), marker=marker, ms=3)
        ax.plot(curves.index, curves["validation_loss"], color=colour, lw=1.7, marker=marker, ms=4, label=name)
        ends.append((float(curves.index[-1]), float(curves["validation_loss"].iloc[-1])))
        names.append(wrapped(name))
        colours.append(colour)
    ax.set_xlabel("Epoch")
    ax.set_ylabel("Loss (cross-entropy)")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.yaxis.set_major_locator(MaxNLocator(7, steps=TICKS))
    ax.margins(x=0.02)
    note(ax, "Solid: validation images. Dashed: training images, with dropout and augmentation, mean over the epoch.")
    label_ends(ax, ends, names, colours)  # last, as the note takes room from the axes
    return ax


def reliability(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Accuracy (%) of the answers of each confidence, a line an arm; on the diagonal, confidence is what it says.

    Below the diagonal networks are surer than they are right. Bins with less than 1 % of an arm's answers are left out.

    Args: table: as `analysis.calibration.Calibration.by_confidence`.
    Raises: NothingToDraw: no cell has logits.
    """
    if table.empty:
        raise NothingToDraw("no arm has logits")
    arms = table.drop_duplicates("arm")[["arm", "is_baseline"]]
    ax = axes_for_names(arms["arm"]) if ax is None else ax
    ax.plot([0, 100], [0, 100], color=QUIET, lw=0.8, zorder=1, label="as sure as right")
    ends, names, colours = [], [], []
    for name, colour in _coloured(arms):
        own = table[table["arm"] == name]
        own = own[own["images"] >= 0.01 * own["images"].sum()]
        x, y = 100 * own["confidence"].to_numpy(float), 100 * own["accuracy"].to_numpy(float)
        ax.plot(x, y, color=colour, lw=1.4, marker="o", ms=3, mew=0, label=name)
        ends.append((float(x[-1]), float(y[-1])))
        names.append(wrapped(name))
        colours.append(colour)
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 100)
    ax.set_xlabel("Confidence (%)")
    ax.set_ylabel("Accuracy (%)")
    label_ends(ax, ends, names, colours)
    return ax


def _coloured(arms: pd.DataFrame) -> Iterator[tuple[str, str]]:
    shades = iter(mpl.colormaps["viridis"](np.linspace(0, 0.66, int((~arms["is_baseline"]).sum()))))
    for name, is_baseline in zip(arms["arm"], arms["is_baseline"], strict=True):
        yield name, BASELINE if is_baseline else to_hex(next(shades))
