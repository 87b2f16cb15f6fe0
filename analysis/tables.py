"""Which tables a report has, and what each shows of the numbers."""

import math

import pandas as pd

from ablations.units import size
from analysis.effects import difference, mixed_kinds, points, probability
from analysis.render import Column, Table

ARM = Column("arm", lambda row: str(row["arm"]), "left")
MEASURED = ("test_accuracy", "seconds", "device", "precision")  # columns that no cell has before the first is finished
SEEDS = Column("seeds", lambda row: str(row["seeds"]))


def _with_sd(row: pd.Series, what: str) -> str:
    sd = row[f"{what}_sd"]
    return points(row[f"{what}_mean"]) + ("" if math.isnan(sd) else f" ({points(sd)})")


def _with_ratio(row: pd.Series, what: str) -> str:
    ratio = "" if row["is_baseline"] else f" ({row[f'{what}_ratio']:.2g}x)"
    return size(row[what]) + ratio


def _seconds(row: pd.Series) -> str:
    return "" if math.isnan(row["seconds"]) else f"{row['seconds']:.0f}{'*' if row['shared_device'] else ''}"


def effects(frame: pd.DataFrame, *, title: str = "") -> Table:
    """Each arm against the baseline, and what else moved with the factor.

    Args: frame: as `analysis.effects.effect_table`. title: of the study.
    """
    columns = (
        ARM,
        SEEDS,
        Column("test % (SD)", lambda row: _with_sd(row, "test")),
        Column("difference [95 %]", difference),
        Column("p Holm", lambda row: probability(row["adjusted_p"])),
        Column("verdict", lambda row: str(row["verdict"])),
        Column("params", lambda row: _with_ratio(row, "parameters")),
        Column("head", lambda row: f"{row['head_share']:.0%}"),
        Column("mult-adds", lambda row: _with_ratio(row, "multiply_adds")),
    )
    notes = (
        "Test accuracy: mean over seeds with standard deviation. Difference to the baseline in percentage points, paired by "
        "seed and test image, with a 95 % interval for new seeds and new test images that is not adjusted for the number of "
        "arms; p adjusted by Holm's method. Head: share of the parameters that sits in the classifier.",
    )
    return Table("effects", f"{title}{': ' if title else ''}differences to the baseline", frame, columns, notes)


def arms(frame: pd.DataFrame, *, title: str = "") -> Table:
    """What each arm is and costs.

    Args: as `effects`.
    """
    mixed = mixed_kinds(frame)
    columns = (
        ARM,
        Column("changes", lambda row: row["changes"] or "baseline", "left"),
        Column("field", lambda row: "" if pd.isna(row["receptive_field"]) else f"{row['receptive_field']:.3g}"),
        Column("validation % (SD)", lambda row: _with_sd(row, "validation")),
        Column("s", _seconds),
        Column("GPU-h", lambda row: f"{row['gpu_hours']:.2f}" if row["gpu_hours"] else "0"),
        *((Column("trained on", lambda row: row["trained_on"], "left"),) if mixed else ()),
    )
    shared = "; *: trials shared the device, which lengthens them" if frame["shared_device"].any() else ""
    notes = (
        f"Field: receptive field of the last block in original pixels. Validation accuracy after the last epoch: mean over "
        f"seeds with standard deviation. s: seconds of a trial, mean over seeds{shared}. GPU-h: of all seeds.",
    )
    names = [
        "arm", "changes", "receptive_field", "validation_mean", "validation_sd", "seconds", "shared_device", "gpu_hours",
        "trained_on",
    ]  # fmt: skip
    return Table("arms", f"{title}{': ' if title else ''}what each arm is", frame[names], columns, notes)


def cells(trials: pd.DataFrame) -> Table:
    """Every cell of the study, where it was trained and what came of it.

    Args: trials: as `analysis.results.Results.trials`.
    """
    frame = trials.reindex(columns=[*trials.columns, *(name for name in MEASURED if name not in trials)])
    columns = (
        ARM,
        Column("seed", lambda row: str(row["seed"])),
        Column("status", lambda row: str(row["status"]), "left"),
        Column("test %", lambda row: points(row["test_accuracy"])),
        Column("s", lambda row: "" if math.isnan(row["seconds"]) else f"{row['seconds']:.0f}"),
        Column("device", lambda row: "" if pd.isna(row["device"]) else f"{row['device']}, {row['precision']}", "left"),
        Column("key", lambda row: str(row["key"]), "left"),
        Column("note", lambda row: str(row["note"]), "left"),
    )
    return Table("cells", "Every cell: one arm, one seed", frame, columns)
