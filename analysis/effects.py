"""The table that answers the question: each arm against the baseline, over the same seeds."""

import math

import pandas as pd
from rich.table import Table

from ablations.units import size
from analysis.statistics import paired_difference


def effect_table(trials: pd.DataFrame) -> pd.DataFrame:
    """One row an arm, in the grid's order.

    Columns: arm, is_baseline, seeds (finished), parameters, head_share, multiply_adds, test_mean, test_sd, delta, low, high
    (paired difference to the baseline over the seeds that both have, with a 95 % t interval; 0 to 1), paired_seeds,
    seconds (mean of a trial), trained_on (devices and precisions), diverged and unfinished (seeds). What cannot be computed
    is NaN.

    Args: trials: as `analysis.results.Results.trials`.
    """
    finished = trials[trials["status"] == "finished"]
    accuracy = finished.pivot(index="seed", columns="arm", values="test_accuracy") if len(finished) else pd.DataFrame()
    baseline = trials.loc[trials["is_baseline"], "arm"].iloc[0]
    rows = []
    for arm, cells in trials.groupby("arm", sort=False):
        first, done = cells.iloc[0], cells[cells["status"] == "finished"]
        row = {
            "arm": arm,
            "is_baseline": bool(first["is_baseline"]),
            "seeds": len(done),
            "parameters": int(first["parameters"]),
            "head_share": float(first["head_share"]),
            "multiply_adds": int(first["multiply_adds"]),
            "test_mean": done["test_accuracy"].mean() if len(done) else math.nan,
            "test_sd": done["test_accuracy"].std(ddof=1) if len(done) > 1 else math.nan,
            "delta": math.nan,
            "low": math.nan,
            "high": math.nan,
            "paired_seeds": 0,
            "seconds": done["seconds"].mean() if len(done) else math.nan,
            "trained_on": " + ".join(
                sorted({f"{d}, {p}" for d, p in zip(done["device"], done["precision"], strict=True)})
            )
            if len(done)
            else "",
            "diverged": int((cells["status"] == "diverged").sum()),
            "unfinished": int((~cells["status"].isin(["finished", "diverged"])).sum()),
        }
        if arm != baseline and len(done) and baseline in accuracy:
            pairs = accuracy[[arm, baseline]].dropna()
            if len(pairs):
                effect = paired_difference(pairs[arm].to_numpy(), pairs[baseline].to_numpy())
                row |= {
                    "delta": effect.delta, "low": effect.low, "high": effect.high, "paired_seeds": effect.n_seeds,
                }  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)


def points(value: float, *, sign: bool = False) -> str:
    """An accuracy or a difference (0 to 1) in percent or percentage points; nothing for NaN."""
    return "" if math.isnan(value) else f"{100 * value:{'+' if sign else ''}.2f}"


def difference(row: pd.Series) -> str:
    """A paired difference in percentage points with its interval, or why there is none."""
    if row["is_baseline"]:
        return "baseline"
    if math.isnan(row["delta"]):
        return "no pair of finished cells"
    if row["paired_seeds"] == 1:
        return f"{points(row['delta'], sign=True)} (one seed: no interval)"
    return f"{points(row['delta'], sign=True)} [{points(row['low'], sign=True)}, {points(row['high'], sign=True)}]"


def is_mixed(effects: pd.DataFrame) -> bool:
    """Whether the cells were trained on more than one device or in more than one precision."""
    return len({kind for text in effects["trained_on"] for kind in text.split(" + ") if kind}) > 1


def remarks(effects: pd.DataFrame) -> list[str]:
    """What a reader of the table must know: sentences about mixed devices, diverged and unfinished seeds."""
    notes = []
    if is_mixed(effects):
        kinds = sorted({kind for text in effects["trained_on"] for kind in text.split(" + ") if kind})
        notes.append(
            f"Trained on different devices or precisions ({'; '.join(kinds)}): differences between them are in the effects."
        )
    for column, word in (("diverged", "diverged"), ("unfinished", "not finished")):
        lost = effects[effects[column] > 0]
        if len(lost):
            counts = ", ".join(f"{row['arm']}: {row[column]}" for _, row in lost.iterrows())
            notes.append(f"Seeds that have {word}: {counts}." if column == "diverged" else f"Seeds {word}: {counts}.")
    return notes


def for_terminal(effects: pd.DataFrame) -> Table:
    """The effect table for people."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("arm", no_wrap=True)
    for column in ("seeds", "params", "head", "mult-adds", "test %", "SD", "difference [95 %]", "s"):
        table.add_column(column, justify="right", no_wrap=True)
    mixed = is_mixed(effects)
    if mixed:
        table.add_column("trained on")
    for _, row in effects.iterrows():
        table.add_row(
            row["arm"],
            str(row["seeds"]),
            size(row["parameters"]),
            f"{row['head_share']:.0%}",
            size(row["multiply_adds"]),
            points(row["test_mean"]),
            points(row["test_sd"]),
            difference(row),
            "" if math.isnan(row["seconds"]) else f"{row['seconds']:.0f}",
            *([row["trained_on"]] if mixed else []),
        )
    return table
