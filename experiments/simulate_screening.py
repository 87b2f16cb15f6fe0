"""Measures what the intervals of screening designs cover, how often they err and what they find, on simulated networks.

    nice python experiments/simulate_screening.py --out docs

Compares designs of seven factors with as many cells: a folded-over one of 16 runs (`ablations.designs`) with own and with
moderated variances, one of 8 runs that is not folded, and leaving one factor out at a time, in the worlds of
`analysis.simulated_screening`. Writes screening.csv (a row a world and design) and screening.png. About 3 minutes on one
core. To expect: whatever interacts, intervals of the folded-over design cover 96 to 98 %, and at most 5 % of studies (+ the
simulation's error) find what is not there; those of the design that is not folded cover 10 to 56 % as soon as factors
interact. With 3 seeds and own variances the folded-over design finds a quarter of the effects of one standard deviation, with
moderated ones more than half, and nine tenths of those of 1.5; leaving one out with 6 seeds, where nothing interacts, a
quarter and half.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from ablations.cli import run_script
from analysis.simulated_screening import KINDS, WORLDS, measure
from analysis.simulating import simulation_arguments, write

COLOURS = sns.color_palette("colorblind", len(KINDS))
MARKERS = ("o", "P", "X", "s")
NAMES = {
    "folded": "folded over, 16 runs",
    "moderated": "the same, moderated",
    "unfolded": "not folded, 8 runs",
    "leave one out": "leave one out, 8 arms",
}


def coverage_by_world(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Coverage (%) of nominal 95 % intervals: a row a world, a mark a design.

    Args: table: as `analysis.simulated_screening.measure`, of several worlds.
    """
    return _by_world(table, "coverage", "coverage of nominal 95 % (%)", 95, ax)


def errors_by_world(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Studies (%) without an effect in which any factor is called different. Args: as `coverage_by_world`."""
    return _by_world(table, "false_difference", "studies with a false difference (%)", 5, ax)


def power_by_world(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Power (%) for effects of one standard deviation of a difference. Args: as `coverage_by_world`."""
    return _by_world(table, "power_1", "power at 1 SD (%)", None, ax)


def _by_world(table: pd.DataFrame, column: str, label: str, line: float | None, ax: Axes | None) -> Axes:
    ax = plt.subplots()[1] if ax is None else ax
    if line is not None:
        ax.axvline(line, color="0.45", linewidth=0.8, zorder=0.5)
    names = table["name"].unique().tolist()
    for kind, colour, marker in zip(KINDS, COLOURS, MARKERS, strict=True):
        own = table[table["design"] == kind]
        places = [names.index(name) for name in own["name"]]
        ax.scatter(100 * own[column], places, s=12, color=colour, marker=marker, linewidths=0, label=NAMES[kind])
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set(xlabel=label)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def draw(figure: Figure, table: pd.DataFrame) -> None:
    """The three of them side by side."""
    left, middle, right = figure.subplots(1, 3, sharey=True)
    coverage_by_world(table, ax=left)
    errors_by_world(table, ax=middle)
    power_by_world(table, ax=right)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, handletextpad=0.1)


def main(arguments: Sequence[str]) -> int:
    """Simulates, writes, and prints the extremes over worlds."""
    args = simulation_arguments(arguments, __doc__, runs=200)
    rows = []
    for world in track(WORLDS, "simulating", console=Console(stderr=True), transient=True):
        rows += measure(world, runs=args.runs, seed=args.seed)
    table = pd.DataFrame(rows)
    write(args.out, "screening", table, size=(6.5, 2.6), draw=lambda figure: draw(figure, table))
    console = Console(highlight=False)
    for kind in KINDS:
        own = table[table["design"] == kind]
        console.print(
            f"{NAMES[kind]:<24} coverage {own['coverage'].min():.1%} to {own['coverage'].max():.1%}; false difference "
            f"{own['false_difference'].max():.1%}, false equivalence {own['false_equivalence'].max():.1%} at most; power at 1 SD "
            f"{own['power_1'].mean():.0%}, half-width {100 * own['half_width'].mean():.2f} points on average"
        )
    return 0


if __name__ == "__main__":
    run_script(main)
