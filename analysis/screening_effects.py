"""What a screening study found, as tables: main effects with verdicts, interactions by string, and what could not be told."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablations.aliasing import in_names
from ablations.designs import ScreeningDesign
from ablations.text import quoted
from ablations.units import counted, level_text
from analysis.effects import NOT_TESTED, compared, corrected, with_interval
from analysis.outcomes import Outcomes
from analysis.screening import Contrast, borrowing, interactions, main_effects
from analysis.statistics import holm, paying_for_looks
from analysis.verdicts import MARGIN

MAIN = (
    "arm", "is_baseline", "paired", "factor", "level", "reference", "delta", "low", "high", "p_value", "adjusted_p",
    "adjusted_equivalence_p", "shown_low", "shown_high", "shown_level", "p_better", "paired_seeds", "verdict", "remark",
    "own_low", "own_high", "own_p_value", "prior_df", "clear", "diverged", "reference_diverged", "sentence",
)  # fmt: skip
INTERACTIONS = (
    "interaction", "first_factor", "second_factor", "others", "delta", "low", "high", "p_value", "adjusted_p", "paired_seeds",
)  # fmt: skip


@dataclass(frozen=True)
class ScreeningTables:
    """The numbers of a screening design."""

    design: ScreeningDesign
    main: pd.DataFrame
    """A row a factor: arm (its change in words, such as no dropout: what tables of arms show), is_baseline (False), paired
    (True), factor, level, reference (in words), and of the effect of `level` instead of `reference`, averaged over the other
    factors, the columns delta to remark of `analysis.effects.effect_table` (Holm's family are the main effects), with a
    variance over seeds that borrows from all effects of the design; own_low, own_high, own_p_value with the variance of its
    own; prior_df (degrees of freedom that it borrows; 0: none), clear (of interactions of two factors), diverged and
    reference_diverged (cells at either level), sentence (with its scope)."""
    interactions: pd.DataFrame
    """A row a string of interactions of two factors that are not separated: interaction (all of them in words), first_factor,
    second_factor (of the first), others (how many more there are), delta (halved, see `analysis.screening.interactions`), low,
    high (95 %), p_value, adjusted_p (Holm's method over the strings), paired_seeds. Empty where no seed has all runs."""
    seed_differences: pd.DataFrame
    """Main effects seed by seed: arm (as in `main`), seed, difference (0 to 1)."""
    remarks: Sequence[str]
    """What could not be told, or not as planned, because runs are missing: sentences."""


def screening_tables(outcomes: Outcomes, *, margin: float = MARGIN) -> ScreeningTables | None:
    """None where the study is no screening design.

    Args: margin: of equivalence, 0 to 1.
    """
    design = outcomes.study.screening
    if design is None:
        return None
    correct = [outcomes.correct[run.arm] for run in design.runs]
    main = main_effects(design.combinations, correct, clusters=outcomes.clusters)
    joint = interactions(design.combinations, correct, clusters=outcomes.clusters)
    own = main
    main, joint = borrowing(main, joint)
    return ScreeningTables(
        design,
        _main(outcomes, design, main, own, margin),
        _interactions(outcomes, design, joint),
        pd.DataFrame(
            [
                {"arm": factor.change, "seed": seed, "difference": difference}
                for factor, contrast in zip(design.factors, main, strict=True)
                for seed, difference in (contrast.by_seed if contrast else {}).items()
            ],
            columns=["arm", "seed", "difference"],
        ),
        _remarks(design, [set(seeds) for seeds in correct], main),
    )


def _main(
    outcomes: Outcomes,
    design: ScreeningDesign,
    contrasts: Sequence[Contrast | None],
    own: Sequence[Contrast | None],
    margin: float,
) -> pd.DataFrame:
    effects = {
        factor.name: contrast.effect if contrast else None
        for factor, contrast in zip(design.factors, contrasts, strict=True)
    }
    p_values = {name: effect.p_value if effect else math.nan for name, effect in effects.items()}
    equivalence = {name: effect.equivalence_p(margin) if effect else math.nan for name, effect in effects.items()}
    differs, equivalent = (corrected(values, outcomes.looks) for values in (p_values, equivalence))
    cells = outcomes.cells
    lost = cells[cells["status"] == "diverged"]["arm"].value_counts()
    rows = []
    for place, (factor, contrast) in enumerate(zip(design.factors, contrasts, strict=True)):
        reference_diverged, diverged = (
            sum(int(lost.get(run.arm, 0)) for run in design.runs if run.at_first[place] is at_first)
            for at_first in (True, False)
        )
        row: dict[str, Any] = {
            "arm": factor.change,
            "is_baseline": False,
            "paired": True,
            "factor": factor.name,
            "level": level_text(factor.levels[1]),
            "reference": level_text(factor.levels[0]),
            **compared(
                effects[factor.name],
                differs.get(factor.name, NOT_TESTED),
                equivalent.get(factor.name, NOT_TESTED),
                margin=margin,
                diverged=diverged,
                baseline_diverged=reference_diverged,
            ),
            **_with_own_variance(own[place]),
            "prior_df": math.nan if contrast is None else contrast.effect.prior_df,
            "clear": contrast is not None and contrast.clear,
            "diverged": diverged,
            "reference_diverged": reference_diverged,
        }
        if contrast is None:
            row["remark"] = "cannot be told from the other factors: too few runs are finished"
        elif not contrast.clear:
            row["remark"] = "; ".join(filter(None, (row["remark"], "not clear of interactions, for want of runs")))
        rows.append({**row, "sentence": _sentence(outcomes, design, row)})
    return pd.DataFrame(rows, columns=list(MAIN))


def _with_own_variance(contrast: Contrast | None) -> dict[str, float]:
    if contrast is None:
        return dict.fromkeys(("own_low", "own_high", "own_p_value"), math.nan)
    return {
        "own_low": contrast.effect.low,
        "own_high": contrast.effect.high,
        "own_p_value": contrast.effect.p_value,
    }


def _sentence(outcomes: Outcomes, design: ScreeningDesign, row: dict[str, Any]) -> str:
    """What was found about a factor, with what it was found on."""
    if not row["verdict"]:
        return f"{row['arm']}: {row['remark']}."
    found = with_interval(row["delta"], row["shown_low"], row["shown_high"], sign=True)
    delta, _, interval = found.partition(" ")
    epochs = counted(outcomes.baseline.epochs, "epoch") if outcomes.baseline.epochs else ""
    budget = " of ".join(filter(None, (epochs, outcomes.study.protocol)))
    others = counted(len(design.factors) - 1, "other factor")
    return (
        f"{row['arm']}: {row['verdict']}, {delta} points{' ' if interval else ''}{interval}, averaged over {others}, "
        f"{counted(row['paired_seeds'], 'seed')}{', at ' if budget else ''}{budget}"
        f"{'. ' + row['remark'][0].upper() + row['remark'][1:] if row['remark'] else ''}."
    )


def _interactions(
    outcomes: Outcomes, design: ScreeningDesign, found: dict[tuple[tuple[int, int], ...], Contrast]
) -> pd.DataFrame:
    names = design.names
    rows = [
        {
            "interaction": in_names(string, names),
            "first_factor": names[string[0][0]],
            "second_factor": names[string[0][1]],
            "others": len(string) - 1,
            "delta": contrast.effect.delta,
            "low": contrast.effect.low,
            "high": contrast.effect.high,
            "p_value": contrast.effect.p_value,
            "paired_seeds": contrast.effect.n_seeds,
        }
        for string, contrast in found.items()
    ]
    table = pd.DataFrame(rows, columns=list(INTERACTIONS))
    table["adjusted_p"] = holm(paying_for_looks(table["p_value"].to_numpy(float), outcomes.looks))
    return table


def _remarks(design: ScreeningDesign, seeds: Sequence[set[int]], main: Sequence[Contrast | None]) -> list[str]:
    every = sorted(set().union(*seeds))
    whole = [seed for seed in every if all(seed in those for those in seeds)]
    if every and len(whole) == len(every) and all(main):
        return []
    if not every:
        return ["No run of the design is finished."]
    said = [f"{_seeds(whole) if whole else 'No seed'} {'has' if len(whole) < 2 else 'have'} all runs."]
    partly = [seed for seed in every if seed not in whole]
    lacking = {
        seed: [run.arm for run, those in zip(design.runs, seeds, strict=True) if seed not in those] for seed in partly
    }
    said += [
        f"Seed {seed} lacks {counted(len(arms), 'run')}{': ' + ', '.join(map(quoted, arms)) if len(arms) < 4 else ''}."
        for seed, arms in lacking.items()
    ]
    used = sorted(
        {seed for contrast in main if contrast and contrast.clear for seed in contrast.by_seed if seed in partly}
    )
    if used:
        said.append(
            f"Of {_seeds(used).lower()} main effects are read from the pairs of runs that are there, and vary more for it."
        )
    unclear = [
        factor.name for factor, contrast in zip(design.factors, main, strict=True) if contrast and not contrast.clear
    ]
    if unclear:
        said.append(
            f"Too few pairs of runs are left for {_all_or_named(unclear, design)}: effects are read from single runs as if no "
            f"two factors interacted."
        )
    lost = [factor.name for factor, contrast in zip(design.factors, main, strict=True) if contrast is None]
    if lost:
        said.append(f"Too few runs are left to tell {_all_or_named(lost, design)} from the others: no effect is given.")
    if not whole:
        said.append("Interactions are not estimated, which takes seeds that have all runs.")
    return said


def _all_or_named(names: Sequence[str], design: ScreeningDesign) -> str:
    return "any factor" if len(names) == len(design.factors) else ", ".join(map(quoted, names))


def _seeds(seeds: Sequence[int]) -> str:
    return f"Seed{'s'[: len(seeds) > 1]} {', '.join(map(str, seeds))}"
