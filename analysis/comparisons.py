"""Differences between arms in what a measure found, judged by the rules that accuracies are judged by."""

import math
from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

from analysis.planning import MOST_SEEDS
from analysis.statistics import PairedEffect, holm
from analysis.verdicts import verdict

K = TypeVar("K", bound=Hashable)

NOTHING = ("delta", "delta_low", "delta_high", "p_value", "adjusted_p")


def judged(
    effects: Mapping[K, PairedEffect | None], *, margin: float, more: str, less: str
) -> dict[K, dict[str, object]]:
    """Columns of a table for each difference to the baseline: delta, delta_low, delta_high (95 % interval), p_value,
    adjusted_p (Holm, over all that are given), paired_seeds, verdict, remark. Without a pair they are NaN and empty.

    Args: margin: largest difference that does not matter. more, less: what a difference above and below 0 is called.
    """
    tested = {key: effect for key, effect in effects.items() if effect is not None}
    adjusted = dict(zip(tested, holm([effect.p_value for effect in tested.values()]), strict=True))
    equivalence = dict(zip(tested, holm([effect.equivalence_p(margin) for effect in tested.values()]), strict=True))
    names = {"better": more, "worse": less}
    columns: dict[K, dict[str, Any]] = {}
    for key, effect in effects.items():
        if effect is None:
            columns[key] = {**dict.fromkeys(NOTHING, math.nan), "paired_seeds": 0, "verdict": "", "remark": ""}
            continue
        found = verdict(effect, adjusted_p=adjusted[key], adjusted_equivalence_p=equivalence[key], margin=margin)
        out_of_reach = found.kind == "inconclusive" and found.further_seeds is None
        columns[key] = {
            "delta": effect.delta,
            "delta_low": effect.low,
            "delta_high": effect.high,
            "p_value": effect.p_value,
            "adjusted_p": float(adjusted[key]),
            "paired_seeds": effect.n_seeds,
            "verdict": names.get(found.kind, found.kind),
            # The remark of `verdict` speaks of test images, which these measures have few or none of.
            "remark": f"more than {MOST_SEEDS} further seeds, or more stimuli, would settle it"
            if out_of_reach
            else found.remark,
        }
    return columns


def level(effect: PairedEffect | None) -> dict[str, float]:
    """Columns of an arm's own value, between 0 and 1: value, low, high (95 % interval, cut at 0 and 1)."""
    if effect is None:
        return dict.fromkeys(("value", "low", "high"), math.nan)
    return {"value": effect.delta, "low": max(effect.low, 0.0), "high": min(effect.high, 1.0)}


def renamed(columns: Mapping[str, float], name: str) -> dict[str, float]:
    """The columns of `level` under another name: NAME, NAME_low, NAME_high."""
    return {name: columns["value"], f"{name}_low": columns["low"], f"{name}_high": columns["high"]}
