"""Says how alike the variances of arms over seeds are in finished studies: whether arms may borrow from one another.

    python experiments/survey_variances.py results
    python experiments/survey_variances.py results more-results --out docs

Reads the accuracies of every study of the results folders, and of each protocol and data set estimates the prior degrees of
freedom of `analysis.moderation` with an interval, and compares the largest variance over the smallest with what equal
variances would give. Writes variances.csv (a row a protocol), variances-arms.csv (a row a variance) and variances.png. Some
seconds. At least 60 variances of 5 seeds or more say something; from 8 on the numbers are there, with wide intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ablations.cli import console, parse, run_script
from ablations.store import Store
from ablations.text import printable
from analysis.outcomes import Outcomes
from analysis.variance_survey import LEAST_SEEDS, Survey, surveys
from cnnkit.errors import UserError


@dataclass
class Arguments:
    """The command line."""

    results: tyro.conf.Positional[tuple[Path, ...]]
    """Results folders."""
    least_seeds: int = LEAST_SEEDS
    """Pairs of seeds that a variance needs to be counted."""
    seed: int = 0
    """Of the simulation behind the intervals."""
    out: Path | None = None
    """A folder for variances.csv, variances-arms.csv and variances.png; nothing is written without it."""


def sd_by_rank(survey: Survey, *, ax: Axes | None = None) -> Axes:
    """Standard deviations over seeds (points) from small to large, and in grey where those of equal variances would lie."""
    ax = plt.subplots()[1] if ax is None else ax
    rank = range(1, len(survey.arms) + 1)
    ax.fill_between(
        rank, 100 * survey.arms["expected_low"], 100 * survey.arms["expected_high"], color="0.85", linewidth=0,
        label="equal variances: 95 %",
    )  # fmt: skip
    out = survey.arms["stands_out"].to_numpy(bool)
    ax.scatter(rank, 100 * survey.arms["sd"], s=9, c=["#d55e00" if each else "#0072b2" for each in out], linewidths=0)
    ax.set(xlabel="arms, from small to large", ylabel="SD of a seed's difference (points)", ylim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(survey.protocol, fontsize=8)
    ax.legend(frameon=False, loc="upper left")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def summary(survey: Survey) -> dict[str, object]:
    """A row of variances.csv."""
    low, high = survey.prior_df_interval
    return {
        "protocol": survey.protocol, "studies": survey.studies, "variances": len(survey.arms),
        "seeds": f"{survey.arms['seeds'].min()}-{survey.arms['seeds'].max()}", "sd": survey.sd,
        "prior_df": survey.prior_df, "prior_df_low": low, "prior_df_high": high, "ratio": survey.ratio,
        "equal_ratio_median": survey.equal_ratio[0], "equal_ratio_high": survey.equal_ratio[1],
        "correlation": survey.correlation,
        "standing_out": "; ".join(survey.arms.loc[survey.arms["stands_out"], "arm"]),
    }  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Prints a sentence a protocol, and writes tables and figure."""
    args = parse(Arguments, arguments, description=__doc__)
    if args.least_seeds < 3:
        raise UserError(f"--least-seeds {args.least_seeds}: at least 3")
    out, studies = console(), []
    for root in args.results:
        for name in Store(root).studies():
            try:
                studies.append(Outcomes.from_store(root, name))
            except UserError as error:
                out.print(printable(str(error)), markup=False, soft_wrap=True)
    found = surveys(studies, least_seeds=args.least_seeds, seed=args.seed)
    if not found:
        raise UserError(
            f"fewer than eight arms of one protocol share {args.least_seeds} finished seeds with their baseline; train more"
        )
    for survey in found:
        out.print(printable(survey.sentence()), markup=False, soft_wrap=True)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(map(summary, found)).to_csv(args.out / "variances.csv", index=False, float_format="%.4g")
        pd.concat([survey.arms.assign(protocol=survey.protocol) for survey in found]).to_csv(
            args.out / "variances-arms.csv", index=False, float_format="%.4g"
        )
        with mpl.rc_context({"font.size": 8, "savefig.dpi": 300}):
            figure = Figure(figsize=(3.25, 2.5 * len(found)), layout="constrained")
            for survey, ax in zip(found, figure.subplots(len(found), squeeze=False).ravel(), strict=True):
                sd_by_rank(survey, ax=ax)
            figure.savefig(args.out / "variances.png")
    return 0


if __name__ == "__main__":
    run_script(main)
