"""Figures: a tidy table in, an Axes out. Nothing here loads, saves or shows.

Colours can be told apart by the colour-blind, and never carry a message alone. Sizes are for `STYLE`, in which no text is
below 6.5 points at a column's width:

    with mpl.rc_context(STYLE):
        ax = forest(effect_table(outcomes), seed_differences(outcomes))

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
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from rich.cells import cell_len

from ablations.units import size
from analysis.fonts import drawable, families
from analysis.labels import NOTE, QUIET, label_ends, label_points
from analysis.metric import ACCURACY, WIDEST, Metric
from analysis.statistics import SIGNIFICANT

COLUMN = 3.25
"""Width of a column of a two-column paper, in inches."""

STYLE: dict[Any, Any] = {
    "font.family": families(),  # names may be in any script
    "figure.figsize": (COLUMN, 2.4),
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # text stays text: journals refuse matplotlib's default, type 3
    "text.parse_math": False,  # a dollar in an arm's name is a dollar
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

TICKS = [1, 2, 5, 10]  # between ticks: no 2.5, whose labels need a decimal
BASELINE = "0.1"
BLUE, VERMILION = sns.color_palette("colorblind").as_hex()[0], sns.color_palette("colorblind").as_hex()[3]
VERDICT_COLOURS = {"better": BLUE, "worse": VERMILION}

COSTS = {
    "multiply_adds": "Multiply-adds per image",
    "parameters": "Parameters",
    "seconds": "Time per trial (s)",
}
"""Columns of the effect table that a network can be charged with, and what the axis says."""

MOST_NAMED = 12
"""Names that points of one figure can have without hiding each other."""

CLASS_PITCH = 10
"""Points that a column of changes needs for its number."""

INTERVALS = "Lines: intervals of the tests behind the verdicts, adjusted for their number. Filled: better or worse."


class NothingToDraw(ValueError):
    """The table has no row that the figure could show; the text says which are missing."""


def forest(
    effects: pd.DataFrame, seed_differences: pd.DataFrame, *, metric: Metric = ACCURACY, ax: Axes | None = None
) -> Axes:
    """Differences in test accuracy to the baseline, in percentage points: a row an arm, in the grid's order from the top.

    Each row has the mean difference with the interval of its verdict (adjusted for the number of arms) and, below them,
    a dot per seed. An interval that says next to nothing (`effects.WIDEST`) is left out. The verdict stands at the
    right; where it is better or worse (after Holm's correction) the mean is filled and coloured. An arm with one seed
    has no interval. The baseline is the line at 0. A line below the axis says what intervals and fillings mean.

    Args: effects: as `analysis.effects.effect_table`. seed_differences: as `analysis.effects.seed_differences`. metric: another
        one than test accuracy that arms are compared by.
    Raises: NothingToDraw: no arm has a finished seed in common with the baseline.
    """
    if effects["delta"].isna().all():
        raise NothingToDraw("no arm has a finished seed in common with the baseline")
    ax = axes_for_rows(effects["arm"], extra=1.0) if ax is None else ax
    ax.axvline(0, color=BASELINE, linewidth=0.8, zorder=1)
    row_of = {arm: row for row, arm in enumerate(effects["arm"])}
    # The seeds' dots lie below the interval, so that neither hides the other.
    below = [row_of[arm] + 0.24 for arm in seed_differences["arm"]]
    scale = metric.scale
    seeds = scale * seed_differences["difference"]
    ax.scatter(seeds, below, s=7, color=QUIET, linewidths=0, zorder=2, label="one seed")
    shown = _intervals(effects)
    bars = shown[shown["high"] - shown["low"] <= metric.widest]
    colours = [_verdict_colour(kind) for kind in bars["verdict"]]
    ax.hlines(
        [row_of[arm] for arm in bars["arm"]],
        scale * bars["low"],
        scale * bars["high"],
        colors=colours,
        linewidths=1.3,
        zorder=3,
        label="interval",
    )
    means = effects[effects["delta"].notna()]
    colours = [_verdict_colour(kind) for kind in means["verdict"]]
    fills = [VERDICT_COLOURS.get(kind, "white") for kind in means["verdict"]]
    rows = [row_of[arm] for arm in means["arm"]]
    ax.scatter(
        scale * means["delta"], rows, s=22, color=fills, edgecolors=colours, linewidths=1.1, zorder=4, label="mean"
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
    ax.set_yticks(range(len(effects)), [wrapped(arm) for arm in effects["arm"]])
    ax.set_ylim(len(effects) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(7, steps=TICKS))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _signed(x)))
    unit = f"\n({metric.unit_of_differences})" if metric.unit else ""
    ax.set_xlabel(f"{wrapped(f'Difference in {metric.name}', 36)}{unit}")
    note(ax, f"{INTERVALS}{' Lower is better.' if metric.lower_is_better else ''}")
    return ax


ENDS = {
    "better": ("^", "better"), "worse": ("v", "worse"), "equivalent": ("o", "equivalent"),
    "given up": ("x", "unlikely to be settled"), "open": ("|", "open after the last look"), "goes on": (">", "goes on"),
}  # fmt: skip
"""Mark and words for what became of an arm (`analysis.looks.look_table`)."""


def looks(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """How arms went through planned looks: a row an arm, a line to the seeds of its last look, where a mark and words say how
    it ended. The axis ends at the seeds of the last look that was planned.

    Args: table: as `analysis.looks.look_table`.
    Raises: NothingToDraw: no look has all of its seeds yet.
    """
    if table.empty:
        raise NothingToDraw("the first look is still to come")
    last = table.groupby("arm", sort=False).tail(1)
    ax = axes_for_rows(last["arm"], extra=0.6) if ax is None else ax
    rows = range(len(last))
    colours = [VERDICT_COLOURS.get(then, QUIET) for then in last["then"]]
    ax.hlines(rows, 0, last["seeds"], colors=colours, linewidths=1.1, zorder=2)
    for row, (_, arm) in zip(rows, last.iterrows(), strict=True):
        earlier = table.loc[(table["arm"] == arm["arm"]) & (table["look"] < arm["look"]), "seeds"]
        ax.scatter(earlier, [row] * len(earlier), s=12, marker="|", color=colours[row], linewidths=0.9, zorder=3)
        mark, words = ENDS[arm["then"]]
        ax.scatter(arm["seeds"], row, s=22, marker=mark, color=colours[row], linewidths=1.1, zorder=4, clip_on=False)
        ax.annotate(
            words, (arm["seeds"], row), xytext=(6, 0), textcoords="offset points", va="center_baseline",
            fontsize=NOTE, color=_verdict_colour(arm["then"]), annotation_clip=False,
        )  # fmt: skip
    ax.set_yticks(rows, [wrapped(arm) for arm in last["arm"]])
    ax.set_ylim(len(last) - 0.4, -0.6)
    ax.set_xlim(0, table["planned_seeds"].max())
    ax.set_xticks(sorted({*table["seeds"], *table["planned_seeds"]}))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("Seeds")
    return ax


def _intervals(effects: pd.DataFrame) -> pd.DataFrame:
    """The table with the intervals of the verdicts as low and high; those of a table that has no others stay."""
    if "shown_low" not in effects:
        return effects
    return effects.assign(low=effects["shown_low"], high=effects["shown_high"])


def _standing(arm: pd.Series) -> str:
    """What the right margin of the forest says about an arm."""
    if arm["is_baseline"]:
        return "baseline"
    if math.isnan(arm["delta"]):
        return "no pair"
    return "one seed" if arm["verdict"] == "no interval" and arm["paired_seeds"] == 1 else str(arm["verdict"])


def _verdict_colour(kind: str) -> str:
    return VERDICT_COLOURS.get(kind, "0.35")


def steps(effects: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """From the baseline's mean test accuracy (%) down by the loss of each arm in turn, the largest loss first.

    For a grid whose arms each make one change of their own, such as `leave_one_out`. A row an arm: a bar of the size of
    its mean difference to the baseline, which begins where the bar above ends; from its end, the interval of
    its verdict (adjusted for the number of arms). The bar is filled and coloured where the verdict is better or worse;
    the difference, in percentage points, stands at the right. An arm with one seed has no interval, one without a pair
    no bar.

    What it shows: how large each loss is beside the others, and beside what the baseline has. What it cannot show: what
    several changes do together. Each change was trained alone; where the last bar ends was not trained, and would be
    reached only if losses added up. Parts that do each other's work both look dispensable: a crossed design tells
    (`two_factor`).

    Args: effects: as `analysis.effects.effect_table`.
    Raises: NothingToDraw: the baseline has no finished seed, or no arm has one in common with it.
    """
    start = 100 * float(effects.loc[effects["is_baseline"], "test_mean"].iloc[0])
    arms = effects[~effects["is_baseline"]].sort_values("delta", kind="stable")  # those without a pair come last
    bars = arms[arms["delta"].notna()]
    if math.isnan(start):
        raise NothingToDraw("the baseline has no finished seed")
    if bars.empty:
        raise NothingToDraw("no arm has a finished seed in common with the baseline")
    ax = axes_for_rows(effects["arm"], extra=1.1) if ax is None else ax
    rows = np.arange(1, len(bars) + 1)
    changes = 100 * bars["delta"].to_numpy(float)
    ends = start + np.cumsum(changes)
    begins = ends - changes
    colours = [_verdict_colour(kind) for kind in bars["verdict"]]
    fills = [VERDICT_COLOURS.get(kind, "white") for kind in bars["verdict"]]
    ax.use_sticky_edges = False  # bars would end the axis where the baseline stands
    ax.barh(rows, changes, 0.5, begins, color=fills, edgecolor=colours, linewidth=0.8, zorder=2)
    shown = _intervals(bars)
    low, high = (begins + 100 * shown[bound].to_numpy(float) for bound in ("low", "high"))
    sure = high - low <= 100 * WIDEST  # not of NaN
    ax.hlines(rows[sure], low[sure], high[sure], colors=BASELINE, linewidths=1, zorder=3, label="interval")
    levels = [start, *ends]
    ax.vlines(levels[:-1], np.arange(len(bars)), rows, colors=QUIET, linewidths=0.6, zorder=1, label="running level")
    ax.scatter([start], [0], s=26, marker="D", color=BASELINE, zorder=3, label="baseline")
    for row, (_, arm) in enumerate(arms.iterrows(), start=1):
        ax.text(
            1.02,
            row,
            _step(arm),
            transform=ax.get_yaxis_transform(),
            va="center_baseline",
            fontsize=NOTE,
            color=_verdict_colour(arm["verdict"]),
        )
    names = [*effects.loc[effects["is_baseline"], "arm"], *arms["arm"]]
    ax.set_yticks(range(len(names)), [wrapped(name) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=TICKS))
    ax.set_xlabel("Test accuracy (%)\nif the changes added up")
    note(ax, f"Each change was trained alone, never their sum. {INTERVALS}")
    return ax


def _step(arm: pd.Series) -> str:
    """What the right margin of the steps says about an arm."""
    if math.isnan(arm["delta"]):
        return "no pair"
    points = round(100 * arm["delta"], 1)
    change = "0" if points == 0 else f"{points:+.1f}".replace("-", "−")
    return f"{change} (one seed)" if arm["paired_seeds"] == 1 else change


def two_factor(accuracies: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Test accuracy (%) at each level of one factor, a bold line of means per level of another: parallel lines add up.

    A dot is a seed, and a thin line joins a seed's dots. Levels of a line stand a little apart from those of the next, and
    at equal distances even where they are numbers. The baseline is a diamond, or a dashed line at its mean where it is
    none of the points.

    There are no intervals: the seeds are paired, and intervals of single means carry what makes a seed good or bad in
    every arm, so that they overlap where a difference is certain. Whether lines part or cross by more than chance is in
    `analysis.factors.factor_effects`.

    Args: accuracies: as `analysis.factors.factor_accuracies`, of one pair of factors.
    Raises: NothingToDraw: no seed is finished in every arm. ValueError: more than one pair.
    """
    if accuracies.empty:
        raise NothingToDraw("no arm that the factors cross has a finished seed")
    if len(accuracies[["factor", "other_factor"]].drop_duplicates()) > 1:
        raise ValueError("draw one pair of factors at a time")
    points, baseline = accuracies[accuracies["level"] != ""], accuracies[accuracies["is_baseline"]]
    factor, other, averaged = points[["factor", "other_factor", "averaged_over"]].iloc[0]
    lines = points["level"].unique().tolist()
    # In the order of a line that has them all; single points may be missing of others.
    fullest = max(lines, key=lambda line: points.loc[points["level"] == line, "other_level"].nunique())
    across = pd.concat([points[points["level"] == fullest], points])["other_level"].unique().tolist()
    names = [wrapped(f"{factor} {level}") for level in lines]
    width = mpl.rcParams["figure.figsize"][0] if ax is None else ax.get_window_extent().width / ax.figure.dpi
    ticks, rotation, tick_height = _tick_names([drawable(level) for level in across], 0.55 * width)
    ax = axes(max(2.2, 0.8 + 0.13 * sum(name.count("\n") + 1 for name in names)) + tick_height) if ax is None else ax
    apart = min(0.05, 0.6 / len(lines))
    place = {level: apart * (line - (len(lines) - 1) / 2) for line, level in enumerate(lines)}
    colours = [to_hex(shade) for shade in mpl.colormaps["viridis"](np.linspace(0, 0.66, len(lines)))]
    means = []
    for level, name, colour in zip(lines, names, colours, strict=True):
        own = points[points["level"] == level].pivot(index="other_level", columns="seed", values="test_accuracy")
        own = own.loc[[level for level in across if level in own.index]]  # a combination may have no finished seed
        seeds = 100 * own.to_numpy(float)
        x = np.array([across.index(level) for level in own.index]) + place[level]
        ax.plot(x, seeds, marker="o", color=colour, lw=0.5, alpha=0.45, ms=3, mew=0, label="one seed")
        mean = 100 * own.mean(axis=1).to_numpy(float)
        ax.plot(x, mean, marker="o", color=colour, lw=1.7, ms=4, mew=0, label=name)
        means.append(list(zip(x.tolist(), mean.tolist(), strict=True)))
    ax.set_xticks(range(len(across)), ticks, rotation=rotation)
    ax.set_xlabel(wrapped(_capital(other), 36))
    ax.set_ylabel("Test accuracy (%)" + (f",\n{wrapped(f'mean over {averaged}', 30)}" if averaged else ""))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=TICKS))
    ax.margins(x=0.12)
    ends = [line[-1] for line in means]
    mark = 100 * float(baseline["test_accuracy"].mean())
    if "" in baseline["level"].values:
        ax.axhline(mark, color=BASELINE, lw=0.8, ls=(0, (4, 2)), zorder=1, label="baseline")
        ends, names, colours = [*ends, (ends[-1][0], mark)], [*names, "baseline"], [*colours, BASELINE]
    label_ends(ax, ends, names, colours)
    if len(baseline) and "" not in baseline["level"].values:
        level, other_level = baseline[["level", "other_level"]].iloc[0]
        ax.scatter(
            across.index(other_level) + place[level], mark, s=26, marker="D", color=BASELINE, zorder=4, label="baseline"
        )
        note(ax, "Diamond: the baseline.")
    return ax


def _tick_names(levels: Sequence[str], width: float) -> tuple[list[str], int, float]:
    """Names of levels along an axis of this width (inches): wrapped, or upright where words are too long; their rotation
    and how high they are (inches).
    """
    pitch = 72 * width / len(levels)
    characters, lines = int(pitch / 4.6), max(1, int(pitch / 9))  # of the ticks' 7 points
    if all(len(word) <= characters for level in levels for word in level.split()):
        names = [textwrap.fill(level, characters) for level in levels]
        return names, 0, 0.12 * max(name.count("\n") + 1 for name in names)
    names = [textwrap.fill(level, max(18, math.ceil(1.3 * len(level) / lines))) for level in levels]
    return names, 90, 0.064 * max(len(line) for name in names for line in name.split("\n"))


def accuracy_against_cost(effects: pd.DataFrame, *, cost: str = "multiply_adds", ax: Axes | None = None) -> Axes:
    """Mean test accuracy (%) of each arm against what it costs, with the standard deviation over seeds as a bar.

    The line joins the Pareto frontier, the filled arms: no other is as accurate or more at this cost or less. It promises
    nothing of networks between them. The baseline is a diamond. The axis of costs is logarithmic where they span a factor
    of ten. The bars say nothing about differences between arms, which are paired: see `forest`. Of more than `MOST_NAMED` arms
    only the baseline and the frontier are named.

    Args: effects: as `analysis.effects.effect_table`. cost: a column of it, one of `COSTS`.
    Raises: NothingToDraw: no arm has a finished seed and a known cost. ValueError: `cost` is none of `COSTS`.
    """
    if cost not in COSTS:
        raise ValueError(f"no cost {cost!r}: choose one of {', '.join(COSTS)}")
    shown = effects[effects["test_mean"].notna()]
    if shown.empty:
        raise NothingToDraw("no arm has a finished seed")
    unknown = shown.loc[shown[cost].isna(), "arm"].tolist()
    shown = shown[shown[cost].notna()]
    if shown.empty:
        raise NothingToDraw("what the arms cost is not known")
    ax = axes(2.5) if ax is None else ax
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
        wrapped(f"{arm} (baseline)" if is_baseline and arm != "baseline" else arm, 22)
        for arm, is_baseline in zip(shown["arm"], shown["is_baseline"], strict=True)
    ]
    named = np.ones(len(shown), bool)
    if len(shown) > MOST_NAMED:
        named = shown["is_baseline"].to_numpy(bool) | np.isin(np.arange(len(shown)), best)
    bars = [((a, b - sd), (a, b + sd)) for a, b, sd in zip(x, y, spread, strict=True)]
    joints = [((x[i], y[i]), (x[j], y[j])) for i, j in pairwise(best)]
    points, colours = list(zip(x[named], y[named], strict=True)), [BASELINE] * int(named.sum())
    names = [name for name, is_named in zip(names, named, strict=True) if is_named]
    bars += [((a, b), (a, b)) for a, b in zip(x[~named], y[~named], strict=True)]
    if joints:
        scale = ax.transScale  # the middle of a line on a logarithmic axis is not the mean of its ends
        a, b = scale.inverted().transform(scale.transform(joints[len(joints) // 2]).mean(axis=0))
        points.insert(0, (float(a), float(b)))
        names.insert(0, "Pareto frontier")
        colours.insert(0, BLUE)
    label_points(ax, points, names, colours, avoid=[*bars, *joints])
    words = [] if named.all() else [f"Named are the baseline and the frontier of {len(shown)} arms."]
    if unknown:
        words.append(drawable(f"Not shown, as their cost is not known: {', '.join(unknown)}."))
    if words:
        note(ax, " ".join(words))
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
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=TICKS))
    if low == high:  # a grid that moves no cost: the points stand in the middle
        ax.set_xlim(0.5 * low, 1.5 * low)
    else:
        ax.margins(x=0.2)  # for names beside the first and the last
    ax.xaxis.set_major_formatter(FuncFormatter(lambda count, _: size(count)))


def learning_curves(epochs: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Validation accuracy (%) after each epoch: a thin line per seed, a bold mean per arm with its name at the end.

    Colours go with the grid's order from dark to light; the baseline is black. The mean is over the seeds that finished.

    Args: epochs: as `analysis.outcomes.Outcomes.epochs`.
    Raises: NothingToDraw: no cell is finished.
    """
    if epochs.empty:
        raise NothingToDraw("no arm has a finished seed")
    arms = epochs.drop_duplicates("arm")[["arm", "is_baseline"]]
    names = [wrapped(name) for name in arms["arm"]]
    ax = axes_for_names(arms["arm"]) if ax is None else ax
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
    ax.yaxis.set_major_locator(MaxNLocator(7, steps=TICKS))
    ax.margins(x=0.02)
    label_ends(ax, ends, names, colours)
    return ax


def per_class(recalls: pd.DataFrame, *, effects: pd.DataFrame | None = None, ax: Axes | None = None) -> Axes:
    """Change of each class's recall from the baseline, in percentage points: a row an arm, a column a class.

    Blue is better and red worse; the number in a cell is rounded to whole points. The mean is over the seeds that arm and
    baseline share; an arm that shares none has an empty row. Where there is no room for all classes, those that change most
    are shown, and their number is said. With `effects`, a number is bold where the change is
    significant: below 0.05 after Holm's correction over all cells. Without, nothing is said of significance.

    Args: recalls: as `analysis.per_class.recalls`. effects: as `analysis.per_class.class_effects`.
    Raises: NothingToDraw: the baseline and another arm have no finished seed in common.
    """
    if recalls.empty:
        raise NothingToDraw("no arm has a finished seed")
    is_baseline = recalls["is_baseline"]
    baseline, others = recalls[is_baseline], recalls[~is_baseline]
    if baseline.empty or others.empty:
        raise NothingToDraw(f"{'the baseline' if baseline.empty else 'no arm but the baseline'} has a finished seed")
    pairs = others.merge(baseline, on=["seed", "class"], suffixes=("", "_baseline"))
    known = recalls.head(0) if effects is None else effects[effects["measure"] == "recall"]
    known = known[known["class"].isin(baseline["class"])]
    if pairs.empty and known.empty:
        raise NothingToDraw("no arm has a finished seed in common with the baseline")
    pairs["change"] = 100 * (pairs["recall"] - pairs["recall_baseline"])
    changes = pairs.pivot_table(index="arm", columns="class", values="change", aggfunc="mean")
    shared = pairs.groupby("arm")["seed"].nunique()
    for arm, own in known.groupby("arm"):
        if arm not in shared or (
            "paired_seeds" in own and own["paired_seeds"].iloc[0] != shared[arm]
        ):  # they do not pair
            changes = changes.drop(index=arm, errors="ignore")
            changes = pd.concat([changes, 100 * own.pivot(index="arm", columns="class", values="delta")])
    changes = changes.reindex(index=others["arm"].unique(), columns=baseline["class"].unique())
    ax = axes_for_rows(changes.index, extra=1.1) if ax is None else ax
    classes = changes.shape[1]
    room = int(0.62 * 72 * ax.get_window_extent().width / ax.figure.dpi / CLASS_PITCH)
    if classes > room:
        largest = changes.abs().mean().nlargest(room).index
        changes = changes[[name for name in changes if name in largest]]
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
    ax.set_yticks(np.arange(len(changes)) + 0.5, [wrapped(name) for name in changes.index], rotation=0)
    ax.set_xticks(np.arange(changes.shape[1]) + 0.5, map(drawable, changes.columns), rotation=90)
    ax.tick_params(length=0)
    ax.set_xlabel(wrapped(f"Change in recall from {baseline['arm'].iloc[0]} (percentage points)", 36))
    ax.set_ylabel("")
    if classes > room:
        note(ax, f"The {room} of {classes} classes that change most.")
    return ax


def axes(height: float) -> Axes:
    """An Axes of the style's width."""
    width = mpl.rcParams["figure.figsize"][0]
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def axes_for_rows(names: Sequence[str] | pd.Series | pd.Index, *, extra: float) -> Axes:
    """Room for a row a name, as high as the name of most lines (two at least), and `extra` inches for the axis below."""
    lines = max((wrapped(name).count("\n") + 1 for name in names), default=0)
    return axes(extra + 0.13 * max(2, lines) * len(names))


def axes_for_names(names: Sequence[str] | pd.Series, *, extra: float = 0) -> Axes:
    """Room for the names at the ends of lines, and `extra` inches for a note below the axis."""
    return axes(extra + max(2.4, 0.8 + 0.13 * sum(wrapped(name).count("\n") + 1 for name in names)))


def wrapped(name: str, characters: int = 18) -> str:
    """A name in lines."""
    text = drawable(name)
    return textwrap.fill(text, max(1, characters * len(text) // max(1, cell_len(text))))  # Chinese is twice as wide


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def note(ax: Axes, text: str) -> None:
    """What a reader must know, small, below the label of the x axis."""
    characters = int(16 * ax.get_window_extent().width / ax.figure.dpi)
    ax.annotate(
        textwrap.fill(text, characters),
        (0.5, 0),
        xycoords=ax.xaxis.label,
        xytext=(0, -3),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=NOTE,
        color="0.35",
        annotation_clip=False,
    )


def _signed(value: float) -> str:
    return "0" if value == 0 else f"{value:+g}".replace("-", "−")


def _signed_whole(value: float) -> str:
    return "" if math.isnan(value) else _signed(round(value))
