"""The ledger of claims as people see it."""

import pandas as pd

from analysis.documented_page import effect_text
from analysis.render import Column, Table


def ledger(frame: pd.DataFrame) -> Table:
    """Every claim with its verdict.

    Args: frame: as `analysis.claims.ledger`.
    """
    columns = (
        Column("claim", lambda row: str(row["claim"]), "left", 0),
        Column("verdict", lambda row: str(row["verdict"]), "left", 0),
        Column("effect [95 %]", effect_text, "left", 1),
        Column("seeds", lambda row: str(row["seeds"] or ""), priority=2),
        Column("source", lambda row: str(row["source"]), "left", 4),
    )
    notes = (
        "Claims about differences in accuracy are one family, whose p-values are corrected by Holm's method; their "
        "intervals, and all others, are of 95 % each.",
    )
    return Table("claims", "The documented study's claims", frame, columns, notes)
