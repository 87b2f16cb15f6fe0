"""What the scripts of simulations share: their command line, and the files that they leave."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from ablations.cli import parse
from cnnkit.errors import UserError


@dataclass(frozen=True)
class SimulationArguments:
    """The command line of a simulation."""

    runs: int = 2_000
    """Simulated studies of each kind."""
    seed: int = 0
    """Of the simulation."""
    out: Path = Path("docs")
    """A folder for the table and the figure."""


def simulation_arguments(
    arguments: Sequence[str], description: str | None, *, runs: int = 2_000, least: int = 1
) -> SimulationArguments:
    """The command line. Args: runs: by default. least: so many there must be.

    Raises: UserError: it is wrong.
    """
    args = parse(
        SimulationArguments, arguments, description=description, default=replace(SimulationArguments(), runs=runs)
    )
    if args.runs < least:
        raise UserError(f"--runs {args.runs}: at least {least}")
    return args


def write(
    out: Path, name: str, table: pd.DataFrame, *, size: tuple[float, float], draw: Callable[[Figure], object]
) -> None:
    """Writes NAME.csv and NAME.png. Args: size: of the figure, in inches. draw: onto it.

    Raises: UserError: the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        table.to_csv(out / f"{name}.csv", index=False, float_format="%.4g")
        with mpl.rc_context({"font.size": 8, "savefig.dpi": 300}):
            figure = Figure(figsize=size, layout="constrained")
            draw(figure)
            figure.savefig(out / f"{name}.png")
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}") from error
