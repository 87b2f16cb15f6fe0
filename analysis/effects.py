"""The table that answers the question: each arm against the baseline, over the same seeds and test images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ablations.text import quoted
from ablations.units import counted
from analysis.looks import Course
from analysis.looks import course as course_of
from analysis.metric import ACCURACY, TOO_WIDE, WIDEST, Metric
from analysis.outcomes import Outcomes
from analysis.runs import run_effect, unpaired_effect, unpaired_run_effect
from analysis.statistics import SIGNIFICANT, PairedEffect, holm, holm_levels, paired_effect, paying_for_looks
from analysis.verdicts import verdict
from cnnkit.description import UNEVEN

Correct = Mapping[str, Mapping[int, np.ndarray]]
"""For each arm and seed, which test images its network gets right, as `Outcomes.correct`."""


def effect_table(outcomes: Outcomes, *, margin: float | None = None) -> pd.DataFrame:
    """One row an arm, in the grid's order.

    Columns: arm, is_baseline, changes, chosen (by validation accuracy, with the seeds where they chose for themselves),
    tuned_by_seed (what they chose, empty where they did not), protocol, seeds (finished, with answers that can be used),
    parameters, parameters_ratio (to the baseline), head_share, multiply_adds, multiply_adds_ratio, receptive_field (original
    pixels), validation_mean, validation_sd, test_mean, test_sd, balanced_mean,
    balanced_sd (mean recall of the classes that have test images; missing where all have about equally many, and it is about
    the accuracy), delta, low, high (paired difference to the baseline with its 95 %
    interval for new seeds and new test images; 0 to 1), p_value, adjusted_p (Holm, and as often as the study was looked
    at), adjusted_equivalence_p (the same of two one-sided tests of the margin), shown_low, shown_high, shown_level (the
    interval of the test behind the verdict, which is the one that people see), p_better, paired_seeds, verdict, remark (on
    it), sentence (the verdict with its scope), seconds (mean of a trial), gpu_hours (of all seeds), shared_device (whether
    trials ran side by side on one device, which lengthens the seconds), trained_on (devices and precisions), diverged,
    damaged and unfinished (seeds that are left out), looks (see `Outcomes.looks`). What is not known or cannot be computed
    is missing.

    Where arms are compared by another metric than test accuracy, test_mean, test_sd and differences are the metric's, in its
    unit; the column metric says which it is, and better or worse follow its direction. Where runs do not pair by seed (paired is
    False), delta is the difference of means over all runs of both, and paired_seeds the smaller number of runs.

    The interval that is shown leaves out 0 exactly where the p-value that decides is below 0.05: it has the level at which Holm's
    procedure tests the arm (`statistics.holm_levels`), divided by the number of looks. Of an arm that is called equivalent, it
    is the interval of the two one-sided tests at their level, which then lies within the margin. Each covers the arm's
    difference in at least 95 % of studies, that of an equivalent arm in 90 %.

    Where looks were planned, an arm's effect is that of its last look, with the plan's kind of variance; low and high are of the
    level of that look, p-values pay for the looks as planned, and there are five more columns: look (the arm's last, from 1),
    planned_looks, latest_look (the last that any arm was seen at), variance (the plan's kind), stopped.

    Args: margin: of equivalence, in the metric's unit, an accuracy's 0 to 1; where it is left out, the metric's own.
    """
    known, baseline, metric = outcomes.cells, outcomes.baseline.name, outcomes.metric
    margin = metric.margin if margin is None else margin
    reference = known[known["is_baseline"]].iloc[0]
    diverged = known[known["status"] == "diverged"]["arm"].value_counts()
    effects = {arm: effect_of(outcomes, arm) for arm in known["arm"].unique() if arm != baseline}
    course = None if outcomes.study.looks is None else course_of(outcomes, outcomes.study.looks)
    if course is not None:
        effects = {arm: _at_its_look(course, arm, effect) for arm, effect in effects.items()}
    p_values = {arm: math.nan if each is None else each.p_value for arm, each in effects.items()}
    equivalence = {arm: math.nan if each is None else each.equivalence_p(margin) for arm, each in effects.items()}
    differs, equivalent = (corrected(values, outcomes.looks, course) for values in (p_values, equivalence))
    rows = []
    for arm, cells in known.groupby("arm", sort=False):
        first, finished = cells.iloc[0], cells["status"] == "finished"
        done = cells[finished & cells["seed"].isin(outcomes.predictions[str(arm)])]
        row = {
            "arm": arm,
            "is_baseline": bool(first["is_baseline"]),
            "changes": first["changes"],
            "chosen": _chosen(cells),
            "tuned_by_seed": "" if outcomes.study.tuning is None else outcomes.study.tuning.field.replace("_", " "),
            "protocol": first["protocol"],
            "seeds": len(done),
            "parameters": first["parameters"],
            "parameters_ratio": _ratio(first, reference, "parameters"),
            "head_share": first["head_share"],
            "multiply_adds": first["multiply_adds"],
            "multiply_adds_ratio": _ratio(first, reference, "multiply_adds"),
            "receptive_field": first["receptive_field"],
            "validation_mean": _mean(done, "validation_accuracy"),
            "validation_sd": _sd(done, "validation_accuracy"),
            "test_mean": _mean(done, "test_accuracy"),
            "test_sd": _sd(done, "test_accuracy"),
            **_balanced(outcomes, str(arm)),
            **compared(
                effects.get(str(arm)),
                differs.get(str(arm), NOT_TESTED),
                equivalent.get(str(arm), NOT_TESTED),
                margin=margin,
                metric=metric,
                diverged=int(diverged.get(arm, 0)),
                baseline_diverged=int(diverged.get(baseline, 0)),
            ),
            **({} if course is None else _stop(course, str(arm))),
            "seconds": _mean(done, "seconds"),
            "gpu_hours": float((done["seconds"] * done["gpu_share"]).sum() / 3600) if len(done) else 0.0,
            "shared_device": bool((done["trials_at_once"] > 1).any()) if len(done) else False,
            "trained_on": _trained_on(done),
            "diverged": int(diverged.get(arm, 0)),
            "damaged": int((cells["status"] == "damaged").sum() + finished.sum() - len(done)),
            "unfinished": int(cells["status"].isin(["missing", "running", "failed"]).sum()),
            "looks": outcomes.looks,
            "metric": metric.name,
            "paired": outcomes.is_paired(str(arm)),
        }
        if course is not None:
            row["remark"] = _remark(course, row)
        row["sentence"] = _in_scope(row, first, metric) if row["verdict"] else ""
        rows.append(row)
    return pd.DataFrame(rows).astype({"parameters": "Int64", "multiply_adds": "Int64"})


def _chosen(cells: pd.DataFrame) -> str:
    """What was chosen for an arm, or by which of its seeds: learning rate 0.001 (seeds 0, 2), learning rate 0.0003 (seed 1)."""
    by_value = cells[cells["chosen"] != ""].groupby("chosen", sort=False)["seed"].apply(list)
    if not len(by_value):
        return ""
    if len(by_value) == 1 and len(by_value.iloc[0]) == len(cells):
        return str(by_value.index[0])
    return ", ".join(
        f"{value} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})" for value, seeds in by_value.items()
    )


def _ratio(first: pd.Series, reference: pd.Series, what: str) -> float:
    """Of two counts; NaN where one of them is not known."""
    counts = first[what], reference[what]
    return math.nan if any(map(pd.isna, counts)) else float(counts[0] / counts[1])


@dataclass(frozen=True)
class Corrected:
    """A test of one arm, corrected for the number of arms and of looks."""

    p: float
    """Adjusted: significant below 0.05."""
    level: float
    """What the unadjusted p-value has to stay below."""


NOT_TESTED = Corrected(math.nan, math.nan)


def corrected(p_values: Mapping[str, float], looks: int, course: Course | None = None) -> dict[str, Corrected]:
    """For the number of arms (or of other tests), and for looks: those of the plan, or as many as there were."""
    if course is not None:
        q = [course.adjusted_for_looks(arm, p) for arm, p in p_values.items()]
        adjusted, shares = holm(q).tolist(), (holm_levels(q) / SIGNIFICANT).tolist()
        return {
            arm: Corrected(p, share * course.level(course.standings[arm].look))
            for arm, p, share in zip(p_values, adjusted, shares, strict=True)
            if arm in course.standings
        }
    paid = paying_for_looks(list(p_values.values()), looks)
    adjusted, levels = holm(paid).tolist(), (holm_levels(paid) / looks).tolist()
    return {arm: Corrected(*test) for arm, test in zip(p_values, zip(adjusted, levels, strict=True), strict=True)}


def own_effects(outcomes: Outcomes) -> dict[str, PairedEffect]:
    """Of each arm that has an interval, the effect with the variance of its own: where looks were planned, of its last look,
    with the interval of that look's level.
    """
    if outcomes.study.looks is not None:
        return dict(course_of(outcomes, outcomes.study.looks).own)
    names = [arm.name for arm in outcomes.arms if not arm.is_baseline]
    effects = {name: effect_of(outcomes, name) for name in names}
    return {name: effect for name, effect in effects.items() if effect is not None and not effect.reason}


def effect_of(outcomes: Outcomes, arm: str, other: str | None = None) -> PairedEffect | None:
    """The arm minus another one, the baseline where none is named, over the seeds that both have, or over all runs of both
    where seeds do not pair; None where there are none.
    """
    other = outcomes.baseline.name if other is None else other
    paired, by_run = outcomes.is_paired(arm, other), outcomes.detail == "value"
    seeds = (
        [outcomes.shared_seeds(arm, other)] * 2 if paired else [sorted(outcomes.scores[name]) for name in (arm, other)]
    )
    if not all(seeds):
        return None
    own, its = (np.stack([outcomes.scores[name][s] for s in of]) for name, of in zip((arm, other), seeds, strict=True))
    resolution = outcomes.metric.resolution
    if by_run and paired:
        return run_effect((own - its)[:, 0], resolution=resolution)
    if by_run:
        return unpaired_run_effect(own[:, 0], its[:, 0], resolution=resolution)
    if paired:
        return paired_effect(own, its, clusters=outcomes.clusters)
    return unpaired_effect(own, its, clusters=outcomes.clusters)


def _at_its_look(course: Course, arm: str, effect: PairedEffect | None) -> PairedEffect | None:
    """The effect that the plan tests: of an arm's last look. Where it has none, the one of the seeds so far, untested."""
    if arm in course.standings:
        return course.standings[arm].effect
    if effect is None or effect.reason:
        return effect
    first = course.plan.seeds[0]
    return replace(
        effect,
        low=math.nan,
        high=math.nan,
        p_value=math.nan,
        reason=f"its first look, at {first} seeds, is still to come",
    )


def _stop(course: Course, arm: str) -> dict[str, object]:
    """Columns on where an arm is in the plan."""
    standing = course.standings.get(arm)
    return {
        "look": math.nan if standing is None else standing.look + 1,
        "planned_looks": len(course.plan.seeds),
        "latest_look": len(course.seen),
        "variance": course.plan.variance,
        "stopped": standing is not None and standing.stopped,
    }


def _remark(course: Course, row: Mapping[str, Any]) -> str:
    """What the plan says about an arm: further seeds are its own matter."""
    standing, seeds = course.standings.get(str(row["arm"])), course.plan.seeds
    if standing is None or row["diverged"] or "diverged" in row["remark"]:
        return str(row["remark"])
    at = seeds[standing.look]
    if row["verdict"] in ("better", "worse", "equivalent"):
        within = f"; {row['remark']}" if row["remark"] and row["verdict"] != "equivalent" else ""
        return f"settled at the look at {at} seeds{within}"
    if not standing.stopped:
        return f"goes on to {seeds[standing.look + 1]} seeds"
    if standing.look == len(seeds) - 1:
        return "open after the last look"
    return f"stopped at {at} seeds: the looks that are left would settle it with a chance of {standing.chance:.0%}"


def seed_differences(outcomes: Outcomes) -> pd.DataFrame:
    """Differences in test accuracy to the baseline, or in the metric that arms are compared by, one row a seed that an arm and
    the baseline have both finished. Of an arm whose seeds do not pair: of each of its runs to the baseline's mean.

    Columns: arm (in the grid's order; the baseline is left out), seed, difference (of accuracies 0 to 1).
    """
    baseline = {seed: values.mean() for seed, values in outcomes.scores[outcomes.baseline.name].items()}
    mean = np.mean(list(baseline.values())) if baseline else math.nan
    return pd.DataFrame(
        [
            {"arm": arm.name, "seed": seed, "difference": values.mean() - (baseline[seed] if paired else mean)}
            for arm in outcomes.arms
            if not arm.is_baseline
            for paired in [outcomes.is_paired(arm.name)]
            for seed, values in sorted(outcomes.scores[arm.name].items())
            if seed in baseline or (baseline and not paired)
        ],
        columns=["arm", "seed", "difference"],
    )


def compared(
    effect: PairedEffect | None,
    differs: Corrected,
    equivalent: Corrected,
    *,
    margin: float,
    metric: Metric = ACCURACY,
    diverged: int,
    baseline_diverged: int,
) -> dict[str, object]:
    """What `effect_table` says of an effect: its columns from delta to remark. Args: diverged, baseline_diverged: as in
    `analysis.verdicts.verdict`.
    """
    if effect is None:
        nothing = dict.fromkeys(
            (
                *("delta", "low", "high", "p_value", "adjusted_p", "adjusted_equivalence_p", "p_better"),
                *("shown_low", "shown_high", "shown_level"),
            ),
            math.nan,
        )
        return {**nothing, "paired_seeds": 0, "verdict": "", "remark": ""}
    judged = verdict(
        effect,
        adjusted_p=differs.p,
        adjusted_equivalence_p=equivalent.p,
        margin=margin,
        metric=metric,
        diverged=diverged,
        baseline_diverged=baseline_diverged,
    )
    level = 1 - 2 * equivalent.level if judged.kind == "equivalent" else 1 - differs.level
    low, high = (math.nan, math.nan) if effect.reason else effect.interval(level)
    return {
        "delta": effect.delta,
        "low": effect.low,
        "high": effect.high,
        "p_value": effect.p_value,
        "adjusted_p": differs.p,
        "adjusted_equivalence_p": equivalent.p,
        "shown_low": low,
        "shown_high": high,
        "shown_level": math.nan if effect.reason else level,
        "p_better": 1 - effect.p_better if metric.lower_is_better else effect.p_better,
        "paired_seeds": effect.n_seeds,
        "verdict": judged.kind,
        "remark": judged.remark,
    }


def _in_scope(row: Mapping[str, Any], first: pd.Series, metric: Metric) -> str:
    """What was found about an arm, with what it was found on: seeds, budget and what else moved."""
    number = metric.number(row["delta"], sign=True)
    unit = " points" if metric.is_share else f" {metric.unit}".rstrip()
    interval = metric.interval(row["shown_low"], row["shown_high"], sign=True)
    moved = also_moved(row)
    epochs = "" if pd.isna(first["epochs"]) or row["tuned_by_seed"] == "epochs" else counted(first["epochs"], "epoch")
    budget = " of ".join(filter(None, (epochs, first["protocol"])))
    chosen = f", with the {row['chosen']} that was chosen on one further seed" if row["chosen"] else ""
    if row["tuned_by_seed"]:
        chosen = f", each seed with the {row['tuned_by_seed']} that it chose"
    seeds = counted(row["paired_seeds"], "seed") if row["paired"] else "unpaired runs"
    return (
        f"{row['arm']}: {row['verdict']}, {number}{unit}{' ' if interval else ''}{interval}, "
        f"{seeds}{', at ' if budget else ''}{budget}{chosen}"
        f"{'; ' + ', '.join(moved) if moved else ''}{'. ' + _capital(row['remark']) if row['remark'] else ''}."
    )


def also_moved(row: Mapping[str, Any]) -> list[str]:
    """What an arm changes besides, such as 0.31x parameters."""
    ratios = {"parameters": f"{row['parameters_ratio']:.2g}", "multiply-adds": f"{row['multiply_adds_ratio']:.2g}"}
    return [f"{ratio}x {cost}" for cost, ratio in ratios.items() if ratio not in ("1", "nan")]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _balanced(outcomes: Outcomes, arm: str) -> dict[str, float]:
    """Balanced accuracy (Brodersen et al. 2010), mean and standard deviation over seeds."""
    supports = np.bincount(outcomes.labels)
    supports = supports[supports > 0]
    seeds = outcomes.correct[arm]
    if not seeds or not len(supports) or supports.max() <= UNEVEN * supports.min():
        return {"balanced_mean": math.nan, "balanced_sd": math.nan}
    weights = 1 / (np.bincount(outcomes.labels)[outcomes.labels] * len(supports))
    values = [float(correct @ weights) for correct in seeds.values()]
    return {
        "balanced_mean": float(np.mean(values)),
        "balanced_sd": float(np.std(values, ddof=1)) if len(values) > 1 else math.nan,
    }


def _mean(cells: pd.DataFrame, column: str) -> float:
    return float(cells[column].mean()) if len(cells) else math.nan


def _sd(cells: pd.DataFrame, column: str) -> float:
    return float(cells[column].std(ddof=1)) if len(cells) > 1 else math.nan


def _trained_on(cells: pd.DataFrame) -> str:
    if not len(cells):
        return ""
    known = cells.dropna(subset=["device", "precision"])
    return " + ".join(sorted({f"{d}, {p}" for d, p in zip(known["device"], known["precision"], strict=True)}))


def points(value: float, *, sign: bool = False) -> str:
    """An accuracy or a difference (0 to 1) in percent or percentage points; nothing for NaN."""
    return ACCURACY.number(value, sign=sign)


def difference(row: pd.Series, metric: Metric = ACCURACY) -> str:
    """A difference to the baseline with its interval, or why there is none."""
    if row["is_baseline"]:
        return "baseline"
    if math.isnan(row["delta"]):
        return "no pair of finished cells"
    if math.isnan(row["shown_low"]) and row["paired_seeds"] == 1:
        return f"{metric.number(row['delta'], sign=True)} (one seed: no interval)"
    return metric.with_interval(row["delta"], row["shown_low"], row["shown_high"], sign=True)


TOO_WIDE_MEANS = (
    f"{TOO_WIDE}: the interval spans more than {100 * WIDEST:g} points, so its seeds are too few to say anything."
)


def with_interval(value: float, low: float, high: float, *, sign: bool = False) -> str:
    """Such as +1.20 [+0.20, +2.20], in percent or percentage points; without the interval where there is none, or where
    it says next to nothing.
    """
    return ACCURACY.with_interval(value, low, high, sign=sign)


def probability(p: float) -> str:
    """A p-value with two digits; nothing for NaN."""
    if math.isnan(p):
        return ""
    return "<.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def mixed_kinds(effects: pd.DataFrame) -> list[str]:
    """Devices and precisions that cells of the table were trained with, where there are several."""
    kinds = sorted({kind for text in effects["trained_on"] for kind in text.split(" + ") if kind})
    return kinds if len(kinds) > 1 else []


def remarks(effects: pd.DataFrame) -> list[str]:
    """What a reader of the table must know: sentences about mixed devices and about seeds that are left out."""
    notes = []
    kinds = mixed_kinds(effects)
    if kinds:
        notes.append(
            f"Trained on different devices or precisions ({'; '.join(kinds)}): differences between them are in the effects."
        )
    left_out = {
        "diverged": "Seeds that diverged",
        "damaged": "Seeds whose records are damaged",
        "unfinished": "Seeds not finished",
    }
    for column, sentence in left_out.items():
        lost = effects[effects[column] > 0]
        if len(lost):
            notes.append(
                f"{sentence}: {', '.join(f'{quoted(str(row.arm))}: {getattr(row, column)}' for row in lost.itertuples())}."
            )
    return notes
