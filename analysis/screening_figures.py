"""Figures of a screening design; drawn as those of `analysis.figures`."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import BASELINE, BLUE, TICKS, VERMILION, NothingToDraw, axes, note, wrapped
from analysis.labels import QUIET, label_points
from analysis.screening import half_normal_quantiles, lenth
from analysis.statistics import SIGNIFICANT

LEAST = 4
"""Effects from which a plot of their sizes shows what is chance."""
CROWDED = 4
"""So many significant effects are names enough."""


def half_normal(main: pd.DataFrame, interactions: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Sizes of all effects (percentage points) against what they would be like if all were chance: a half-normal plot.

    Chance alone lies along the line, whose slope is Lenth's pseudo standard error; effects that stand above its end are more
    than that. Circles are main effects, squares interactions of two factors, halved as they have the same variance then; a
    string of several is named by its first. Filled, and red where they cost accuracy: significant after Holm's correction. Only
    these are named, and, where there are few, the largest of the others.

    Args: main, interactions: as `analysis.screening_effects.ScreeningTables` has them.
    Raises: NothingToDraw: fewer than four effects are known.
    Source: Daniel 1959, Technometrics 1:311-341.
    """
    rows = pd.concat(
        [_marks(main, main["arm"], "main effects"), _marks(interactions, _in_short(interactions), "interactions")]
    )
    rows = rows.sort_values("size", kind="stable").reset_index(drop=True)
    if len(rows) < LEAST:
        raise NothingToDraw(f"it takes {LEAST} effects, and {len(rows)} could be estimated")
    named = set(rows.index[rows["found"]])
    if len(named) < CROWDED:
        named.update(rows.index[~rows["found"]][-1:])
    ax = axes(2.7 + 0.15 * max(0, len(named) - CROWDED)) if ax is None else ax
    x, y = half_normal_quantiles(len(rows)), rows["size"].to_numpy(float)
    slope = 100 * lenth(y / 100)
    end = min(float(x[-1]), float(y[-1]) / slope) if slope else float(x[-1])
    ax.plot([0, end], [0, slope * end], color=QUIET, lw=0.8, zorder=1, label="chance alone")
    for kind in ("main effects", "interactions"):
        own = rows[rows["kind"] == kind]
        places = own.index.to_numpy()
        ax.scatter(
            x[places],
            y[places],
            s=20,
            marker="o" if kind == "main effects" else "s",
            color=[colour if found else "white" for colour, found in zip(own["colour"], own["found"], strict=True)],
            edgecolors=own["colour"].tolist(),
            linewidths=1,
            zorder=3,
            label=kind,
        )
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("Half-normal quantile")
    ax.set_ylabel("Size of the effect\n(percentage points)")
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=TICKS))
    words = "○ main effects, □ interactions (halved). Filled: significant; red: costs accuracy. Line: chance alone."
    if interactions["others"].any():
        words += " An interaction stands for those that cannot be told from it."
    note(ax, words)
    points = [(float(x[place]), float(y[place])) for place in range(len(rows))]
    label_points(
        ax,
        points,
        [wrapped(name, 24) if place in named else "" for place, name in enumerate(rows["name"])],
        rows["colour"].tolist(),
        avoid=[((0, 0), (end, slope * end))],
    )
    return ax


def _marks(frame: pd.DataFrame, names: pd.Series, kind: str) -> pd.DataFrame:
    """A row for each effect that is known: name, size in points, kind, colour, found (significant)."""
    known = frame["delta"].notna()
    found = frame["adjusted_p"] < SIGNIFICANT
    colours = np.where(~found, BASELINE, np.where(frame["delta"] < 0, VERMILION, BLUE))
    marks = {"name": names, "size": 100 * frame["delta"].abs(), "colour": colours, "found": found, "kind": kind}
    return pd.DataFrame(marks)[known]


def _in_short(interactions: pd.DataFrame) -> pd.Series:
    """The first interaction of each string."""
    return (interactions["first_factor"] + " × " + interactions["second_factor"]).astype(str)
