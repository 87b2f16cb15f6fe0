"""Which tables a report has, and what each shows of the numbers."""

import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from ablations.text import quoted
from ablations.units import level_text, size
from analysis.effects import TOO_WIDE_MEANS, difference, mixed_kinds, points, probability, with_interval
from analysis.metric import ACCURACY, WIDEST, Metric
from analysis.per_class import MEASURES, Measure
from analysis.render import Column, Table
from analysis.screening_effects import ScreeningTables
from analysis.study_tables import StudyTables

ARM = Column("arm", lambda row: str(row["arm"]), "left", 0)
SEEDS = Column("seeds", lambda row: str(row["seeds"]), priority=4)
CLASS = Column("class", lambda row: row["class"], "left", 0)
PAIRED = Column(
    "difference [95 %]", lambda row: with_interval(row["delta"], row["low"], row["high"], sign=True), priority=1
)
SEEDS_PAIRED = Column("seeds", lambda row: f"{row['paired_seeds']:.0f}", priority=3)
P_HOLM = Column("p Holm", lambda row: probability(row["adjusted_p"]), priority=2)


def _with_sd(row: pd.Series, what: str, metric: Metric = ACCURACY) -> str:
    sd = row[f"{what}_sd"]
    return metric.number(row[f"{what}_mean"]) + ("" if math.isnan(sd) else f" ({metric.number(sd)})")


def _with_ratio(row: pd.Series, what: str) -> str:
    if pd.isna(row[what]):
        return ""
    ratio = f"{row[f'{what}_ratio']:.2g}"
    return size(row[what]) + ("" if ratio in ("1", "nan") else f" ({ratio}x)")


def _seconds(row: pd.Series) -> str:
    return "" if math.isnan(row["seconds"]) else f"{row['seconds']:.0f}{'*' if row['shared_device'] else ''}"


def effects_of(study: StudyTables, *, title: str = "") -> Table:
    """Each arm of a study against the baseline, by whatever metric it has."""
    by_image = study.outcomes.detail != "value"
    return effects(study.effects, title=title, metric=study.metric, by_image=by_image)


def effects(frame: pd.DataFrame, *, title: str = "", metric: Metric = ACCURACY, by_image: bool = True) -> Table:
    """Each arm against the baseline, and what else moved with the factor.

    Args: frame: as `analysis.effects.effect_table`. title: of the study. metric: that arms are compared by. by_image: whether
        answers to images are known, and not only one number a run.
    Raises: ValueError: the table is of another metric.
    """
    if "metric" in frame and {*frame["metric"]} - {metric.name}:
        raise ValueError(
            f"the table is of {frame['metric'].iloc[0]}; give its metric, or call effects_of with the study"
        )
    costs = (
        Column("params", lambda row: _with_ratio(row, "parameters"), priority=5),
        Column("head", lambda row: "" if pd.isna(row["head_share"]) else f"{row['head_share']:.0%}", priority=6),
        Column("mult-adds", lambda row: _with_ratio(row, "multiply_adds"), priority=5),
    )
    costs_known = bool(frame[["parameters", "head_share", "multiply_adds"]].notna().any(axis=None))
    columns = (
        ARM,
        Column("difference [interval]", lambda row: difference(row, metric), priority=1),
        replace(P_HOLM, header=f"p Holm{_look(frame)}"),
        Column("verdict", lambda row: str(row["verdict"]), priority=1),
        *((Column("look", _stopped, priority=2),) if "look" in frame else ()),
        Column(f"{metric.heading} (SD)", lambda row: _with_sd(row, "test", metric), priority=3),
        *(
            (Column("balanced % (SD)", lambda row: _with_sd(row, "balanced"), priority=3),)
            if frame["balanced_mean"].notna().any()
            else ()
        ),
        SEEDS,
        *(costs if costs_known else ()),
    )
    head = " Head: share of the parameters that sits in the classifier. Blank: not known." if costs_known else ""
    lower = " Lower is better." if metric.lower_is_better else ""
    notes = (
        f"{metric.title}: mean over seeds with standard deviation.{lower} Difference to the "
        f"baseline{metric.in_unit}, {_pairing(frame, by_image)}. Its interval, for new seeds "
        f"{'and new test images' if by_image else 'on this test set only'}, is that of the test behind the verdict, adjusted "
        f"for the number of arms as p is, by Holm's method{_paid(frame)}: it leaves out 0 where p is below 0.05, and of an "
        f"equivalent arm it lies within the margin.{head}{_balanced(frame)}",
        *(_too_wide(frame, "shown_") if metric.is_share else ()),
    )
    baseline = frame.loc[frame["is_baseline"], "arm"].iloc[0]
    return Table("effects", f"{title}{': ' if title else ''}each arm minus {baseline}", frame, columns, notes)


def _balanced(frame: pd.DataFrame) -> str:
    """What the balanced accuracy is, where it is shown."""
    if not frame["balanced_mean"].notna().any():
        return ""
    return (
        " Balanced: the mean of the classes' recalls, which counts all classes alike; the classes have unequal numbers of test "
        "images, so that accuracy, on which the differences and verdicts are, counts the large ones more."
    )


def _pairing(frame: pd.DataFrame, by_image: bool) -> str:
    """What is held against what, in words."""
    by = " and test image" if by_image else ""
    unpaired = frame.loc[~frame["paired"] & ~frame["is_baseline"], "arm"].tolist()
    if not unpaired:
        return f"paired by seed{by}"
    means = f"of means over all runs{', paired by test image' if by_image else ''} (Welch's test)"
    if len(unpaired) == len(frame) - 1:
        return means
    return f"paired by seed{by}, but for {', '.join(map(quoted, unpaired))}: {means}"


def _look(frame: pd.DataFrame) -> str:
    """What the head of the p-values says about looks: the one that the study has come to, or how many were paid for."""
    if "look" in frame:
        planned = int(frame["planned_looks"].max())
        return f", look {int(frame['latest_look'].max())} of {planned}" if planned > 1 else ""
    looks = int(frame["looks"].max())
    return "" if looks == 1 else f", {looks} looks"


def _paid(frame: pd.DataFrame) -> str:
    """What p-values pay for besides the number of arms."""
    if "look" in frame:
        looks, variances = int(frame["planned_looks"].max()), str(frame["variance"].iloc[0])
        share = f", and for looks that were planned at {looks} numbers of seeds and share the 5 %" if looks > 1 else ""
        return share + ("; variances over seeds borrow from the other arms" if variances == "moderated" else "")
    looks = int(frame["looks"].max())
    return "" if looks == 1 else f", and counted {looks} times, once for each look at results before seeds were added"


def _stopped(row: pd.Series) -> str:
    """Where an arm is in the plan."""
    if row["is_baseline"] or math.isnan(row["look"]):
        return ""
    return f"{'stopped at' if row['stopped'] else 'open after'} {row['look']:.0f}"


def _too_wide(frame: pd.DataFrame, *prefixes: str) -> tuple[str, ...]:
    """What `with_interval` means where it leaves an interval out."""
    widths = [frame[f"{prefix}high"] - frame[f"{prefix}low"] for prefix in prefixes]
    return (TOO_WIDE_MEANS,) if any((width > WIDEST).any() for width in widths) else ()


def pairs(frame: pd.DataFrame, *, metric: Metric = ACCURACY) -> Table:
    """Every two arms against each other.

    Args: frame: as `analysis.pairs.pair_table`. metric: that arms are compared by.
    """
    columns = (
        Column("difference", lambda row: f"{quoted(row['arm'])} minus {quoted(row['minus'])}", "left", 0),
        Column(f"{'points ' if metric.is_share else ''}[interval]", lambda row: _interval(row, metric), priority=1),
        Column(f"p Holm, {len(frame)} pairs", lambda row: probability(row["adjusted_p"]), priority=2),
        Column("seeds", lambda row: str(row["paired_seeds"]), priority=3),
    )
    notes = (
        f"{metric.title} of the first arm less that of the second,{metric.in_unit}, over the seeds that both have finished. A "
        "family of its own: p and intervals are adjusted for all these pairs by Holm's method, so a difference to the baseline "
        "may be significant in the table of effects, which asks fewer questions, and not here.",
        *_too_wide(frame, ""),
    )
    return Table("pairs", "Every two arms", frame, columns, notes)


def class_questions(frame: pd.DataFrame, *, baseline: str) -> Table:
    """What each arm changes in the classes that were asked about.

    Args: frame: as `analysis.class_questions.class_question_table`. baseline: its name.
    """
    columns = (
        Column("recall of", lambda row: str(row["class"]), "left", 0),
        Column("asked", lambda row: row["asked"], "left", 2),
        ARM,
        Column("difference [interval]", _class_difference, priority=1),
        Column("p Holm, arms", lambda row: probability(row["adjusted_p"]), priority=2),
        Column("verdict", lambda row: row["verdict"], priority=1),
        Column("baseline %", lambda row: points(row["baseline_recall"]), priority=4),
        Column("arm %", lambda row: points(row["arm_recall"]), priority=4),
        Column("seeds", lambda row: str(row["paired_seeds"]), priority=5),
    )
    notes = (
        "Recall: share of the class's test images that are right, or the mean of a group's classes, in percent; difference in "
        "percentage points, paired by seed and test image, with the interval of the test behind the verdict. Each question is "
        "corrected for the number of arms by itself (Holm), and for looks as the effects are. Asked beforehand: an answer below "
        "0.05 confirms. Asked later: it may have been asked because of what was seen, so confirm it on new seeds.",
        *_too_wide(frame, "shown_"),
    )
    return Table("class_questions", f"Questions about classes: each arm minus {baseline}", frame, columns, notes)


def _class_difference(row: pd.Series) -> str:
    if math.isnan(row["delta"]):
        return "no pair of cells yet"
    if row["paired_seeds"] == 1:
        return f"{points(row['delta'], sign=True)} (one seed: no interval)"
    return with_interval(row["delta"], row["shown_low"], row["shown_high"], sign=True)


def looks(frame: pd.DataFrame) -> Table:
    """How a study with planned looks went.

    Args: frame: as `analysis.looks.look_table`.
    """
    columns = (
        ARM,
        Column("look", lambda row: str(row["look"]), priority=0),
        SEEDS,
        Column("difference [interval]", PAIRED.text, priority=1),
        P_HOLM,
        Column("p equivalent", lambda row: probability(row["adjusted_equivalence_p"]), priority=3),
        Column("then", lambda row: row["then"], "left", 1),
    )
    notes = (
        "Each arm at each of the planned looks that it came to. Intervals have the level of their look, for each arm by itself; "
        "p pays for the looks and, by Holm's method, for the number of arms, and so does that of equivalence. An arm stops "
        "where one of them is below 0.05, or where the looks that are left are unlikely to settle it.",
    )
    return Table("looks", "How each arm went through the planned looks", frame, columns, notes)


def variances(frame: pd.DataFrame, *, metric: Metric = ACCURACY) -> Table:
    """Each arm with the variance of its own, and with one that borrows from the others.

    Args: frame: as `analysis.variances.variance_table`. metric: that arms are compared by.
    """
    columns = (
        ARM,
        Column("seeds", lambda row: str(row["paired_seeds"]), priority=3),
        Column("SD own", lambda row: metric.number(row["seed_sd"]), priority=2),
        Column("difference [own]", lambda row: _interval(row, metric), priority=1),
        Column("p own", lambda row: probability(row["p_value"]), priority=3),
        Column("SD moderated", lambda row: metric.number(row["moderated_sd"]), priority=2),
        Column("[moderated]", lambda row: _interval(row, metric, "moderated_"), priority=1),
        Column("p moderated", lambda row: probability(row["moderated_p_value"]), priority=3),
        Column("", lambda row: "stands out" if row["stands_out"] else "", "left", 1),
    )
    notes = (
        "SD: of one seed's difference to the baseline. Moderated: shrunk towards those of the other arms, which makes intervals "
        "of few seeds narrower, and that of an arm which really varies more than the others too narrow: an arm that "
        "stands out has more variance than the others let expect, and its own interval is the one to read. Which of the two "
        "decides is chosen before results are seen (--variance). Intervals and p-values are of each arm by itself.",
    )
    return Table("variances", "Variances over seeds: own and moderated", frame, columns, notes)


def _interval(row: pd.Series, metric: Metric, prefix: str = "") -> str:
    return metric.with_interval(row["delta"], row[f"{prefix}low"], row[f"{prefix}high"], sign=True)


def arms(frame: pd.DataFrame, *, title: str = "") -> Table:
    """What each arm is and costs.

    Args: as `effects`.
    """
    mixed = mixed_kinds(frame)
    columns = (
        ARM,
        Column("changes", lambda row: "baseline" if row["is_baseline"] else row["changes"], "left", 1),
        *((Column("chosen", lambda row: row["chosen"], "left", 1),) if frame["chosen"].any() else ()),
        Column(
            "field", lambda row: "" if pd.isna(row["receptive_field"]) else f"{row['receptive_field']:.3g}", priority=4
        ),
        Column("validation % (SD)", lambda row: _with_sd(row, "validation"), priority=2),
        Column("s", _seconds, priority=3),
        *((Column("GPU-h", lambda row: f"{row['gpu_hours']:.2f}", priority=5),) if frame["gpu_hours"].any() else ()),
        *((Column("trained on", lambda row: row["trained_on"], "left", 2),) if mixed else ()),
    )
    shared = "; *: trials shared the device, which lengthens them" if frame["shared_device"].any() else ""
    hours = " GPU-h: of all seeds." if frame["gpu_hours"].any() else ""
    how = "by each seed for itself" if frame["tuned_by_seed"].any() else "on a seed of its own"
    chosen = f" Chosen: by validation accuracy, {how}." if frame["chosen"].any() else ""
    notes = (
        f"Field: receptive field of the last block in original pixels. Validation accuracy after the last epoch: mean over "
        f"seeds with standard deviation. s: seconds of a trial, mean over seeds{shared}.{hours}{chosen}",
    )
    names = [
        "arm", "is_baseline", "changes", "chosen", "receptive_field", "validation_mean", "validation_sd", "seconds",
        "shared_device", "gpu_hours", "trained_on",
    ]  # fmt: skip
    return Table("arms", f"{title}{': ' if title else ''}what each arm is", frame[names], columns, notes)


def factors(frame: pd.DataFrame) -> Table:
    """Main effects and interactions.

    Args: frame: as `analysis.factors.factor_effects`.
    """
    columns = (
        Column("effect", _term, "left", 0),
        PAIRED,
        P_HOLM,
        SEEDS_PAIRED,
        *((Column("remark", lambda row: row["remark"], "left", 1),) if frame["remark"].any() else ()),
    )
    notes = (
        "In percentage points of test accuracy, over the seeds that all arms of an effect have finished. A main effect is "
        "averaged over the levels of the other factors; an interaction (×) is how much larger the effect of the first is "
        "at the second's level than at its reference. Where there is an interaction, read it and not the main effects. "
        "Intervals are not adjusted for their number; p is, over all rows, by Holm's method.",
        *_too_wide(frame, ""),
    )
    return Table("factors", "Main effects and interactions", frame, columns, notes)


def main_effects(screening: ScreeningTables) -> Table:
    """What each factor of a screening design does, averaged over the others."""
    frame = screening.main
    columns = (
        Column("change", lambda row: str(row["arm"]), "left", 0),
        Column("main effect [interval]", difference, priority=1),
        P_HOLM,
        Column("verdict", lambda row: str(row["verdict"]), priority=1),
        *(() if frame["clear"].all() else (Column("clear of interactions", _is_clear, "left", 2),)),
        Column("seeds", lambda row: str(row["paired_seeds"]), priority=4),
    )
    half = len(screening.design.runs) // 2
    notes = (
        f"In percentage points of test accuracy: the mean of the {half} runs at the one level less that of the {half} at the "
        "other, paired by seed and test image. So it is an average over all other factors, half of the time at their other "
        "levels; taking a part from the full network is another question, which leave_one_out answers. Interval and p are "
        "adjusted for the number of factors by Holm's method; the interval leaves out 0 where p is below 0.05, and lies within "
        "the margin where the factor is equivalent: it does not matter on average. "
        + (
            "Variances over seeds borrow from all effects of the design."
            if (frame["prior_df"] > 0).any()
            else "Variances over seeds are each effect's own: there are too few effects to borrow from."
        ),
        *_too_wide(frame, "shown_"),
    )
    return Table("main_effects", "Main effects, each averaged over the other factors", frame, columns, notes)


def own_variances(screening: ScreeningTables) -> Table:
    """Main effects with variances of their own, beside those that borrow."""
    columns = (
        Column("change", lambda row: str(row["arm"]), "left", 0),
        Column(
            "main effect [own]",
            lambda row: with_interval(row["delta"], row["own_low"], row["own_high"], sign=True),
            priority=1,
        ),
        Column("p own", lambda row: probability(row["own_p_value"]), priority=2),
        Column("[borrowed]", lambda row: with_interval(row["delta"], row["low"], row["high"], sign=True), priority=1),
        Column("p borrowed", lambda row: probability(row["p_value"]), priority=2),
        Column("", lambda row: "keeps its own" if row["prior_df"] == 0 else "", "left", 1),
    )
    notes = (
        "Intervals (95 %) and p-values of each effect by itself. Borrowed: the variance over seeds is shrunk towards those of "
        "the other effects of the design, interactions among them, which vary alike where runs do. An effect that varies more "
        "than they let expect keeps its own: what that factor does depends on the seed.",
        *_too_wide(screening.main, "", "own_"),
    )
    return Table("own_variances", "Main effects with own and with borrowed variances", screening.main, columns, notes)


def _is_clear(row: pd.Series) -> str:
    return "not estimated" if math.isnan(row["delta"]) else "yes" if row["clear"] else "no"


def interactions(screening: ScreeningTables) -> Table:
    """The interactions that a screening design tells apart."""
    frame = screening.interactions
    columns = (
        Column("interaction", lambda row: row["interaction"], "left", 0),
        Column("half of it [95 %]", PAIRED.text, priority=1),
        P_HOLM,
        SEEDS_PAIRED,
    )
    notes = (
        "An interaction is how much more it changes to give one factor its other level where the second has its other level than "
        "where not; half of it, as given here, varies as much as a main effect. Joined by =, only the sum is seen, with signs "
        "that depend on the design; which one it is, further runs have to say. p is adjusted over the rows by Holm's method, "
        "intervals are not.",
        *_too_wide(frame, ""),
    )
    return Table(
        "interactions", "Interactions of two factors, as far as the design separates them", frame, columns, notes
    )


def design(screening: ScreeningTables, effects_of_runs: pd.DataFrame) -> Table:
    """Which level each factor has in each run.

    Args: effects_of_runs: as `analysis.effects.effect_table`.
    """
    accuracies = effects_of_runs.set_index("arm")[["test_mean", "test_sd", "seeds"]]
    factors = screening.design.factors
    frame = pd.DataFrame(
        [
            {
                "run": place,
                "arm": run.arm,
                **{
                    factor.name: level_text(factor.levels[0 if at_first else 1])
                    for factor, at_first in zip(factors, run.at_first, strict=True)
                },
                **accuracies.loc[run.arm].to_dict(),
            }
            for place, run in enumerate(screening.design.runs, start=1)
        ]
    )
    columns = (
        Column("run", lambda row: str(row["run"]), priority=0),
        *(Column(factor.name, _in_column(factor.name), priority=1) for factor in factors),
        Column("test % (SD)", lambda row: _with_sd(row, "test"), priority=2),
        Column("seeds", lambda row: f"{row['seeds']:.0f}", priority=3),
    )
    notes = ("Test accuracy: mean over seeds with standard deviation.",)
    return Table("design", "The runs of the screening design", frame, columns, notes)


def _in_column(name: str) -> Callable[[pd.Series], str]:
    return lambda row: str(row[name])


def _term(row: pd.Series) -> str:
    change = f"{row['factor']} {row['level']} instead of {row['reference']}"
    if row["kind"] == "main":
        return change
    return f"{change} × {row['other_factor']} {row['other_level']} instead of {row['other_reference']}"


def fit(frame: pd.DataFrame) -> Table:
    """How far training and validation images lie apart.

    Args: frame: as `analysis.fit.fit_table`.
    """
    columns = (
        ARM,
        Column("gap (SD)", lambda row: _number(row["gap"], row["gap_sd"], sign=True), priority=1),
        Column("training loss", lambda row: _number(row["train_loss"]), priority=2),
        Column("validation loss", lambda row: _number(row["validation_loss"]), priority=2),
        Column("still falling", lambda row: f"{row['still_falling']:.0%}", priority=3),
        SEEDS,
    )
    notes = (
        "Losses of the last epoch, mean over seeds with standard deviation. Gap: validation less training loss. The training "
        "loss is a mean over the epoch, with dropout and augmentation, which make it larger: compare arms with each other. Still "
        "falling: seeds whose validation loss was lowest after the last epoch.",
    )
    return Table("fit", "Training and validation images", frame, columns, notes)


def calibration(frame: pd.DataFrame) -> Table:
    """How sure the networks are.

    Args: frame: as `analysis.calibration.Calibration.by_cell`.
    """
    by_arm = frame.groupby("arm", sort=False)
    means, sds = by_arm[["error", "confidence", "accuracy"]].mean(), by_arm["error"].std(ddof=1)
    arms = means.assign(error_sd=sds, seeds=by_arm.size()).reset_index()
    columns = (
        ARM,
        Column("ECE (SD)", lambda row: _number(100 * row["error"], 100 * row["error_sd"]), priority=1),
        Column("too sure by", lambda row: points(row["confidence"] - row["accuracy"], sign=True), priority=1),
        Column("confidence %", lambda row: points(row["confidence"]), priority=2),
        Column("accuracy %", lambda row: points(row["accuracy"]), priority=2),
        SEEDS,
    )
    notes = (
        "On the test images, in percentage points; means over seeds with standard deviation. ECE: expected calibration error, "
        "the mean distance between confidence and accuracy over 15 bins of confidence; chance alone makes it larger than 0. Too "
        "sure by: mean confidence less accuracy.",
    )
    return Table("calibration", "Confidence and accuracy", arms, columns, notes)


def _number(value: float, sd: float = math.nan, *, sign: bool = False) -> str:
    return f"{value:{'+' if sign else ''}.2f}" + ("" if math.isnan(sd) else f" ({sd:.2f})")


def groups(class_effects: pd.DataFrame) -> Table:
    """What each arm changes in the mean recall of each group of classes, and whether it changes one more than another.

    Args: class_effects: as `analysis.per_class.class_effects`.
    """
    frame = class_effects[(class_effects["kind"] != "class") & (class_effects["measure"] == "recall")]
    columns = (
        ARM,
        Column("recall of", lambda row: row["class"], "left", 0),
        PAIRED,
        P_HOLM,
    )
    notes = (
        "Mean recall of a group's classes, against the baseline, in percentage points. That an arm changes one group more than "
        "another is a claim about the row of their difference alone.",
        *_too_wide(frame, ""),
    )
    return Table("groups", "Groups of classes: each arm minus the baseline", frame, columns, notes)


def class_effects(frame: pd.DataFrame) -> Table:
    """What each arm changes in each class.

    Args: frame: as `analysis.per_class.class_effects`.
    """
    measures = _measures(frame)
    wide = _by_measure(frame, ["arm", "kind", "class"], ["delta", "low", "high", "p_value", "adjusted_p"])
    columns = (
        ARM,
        CLASS,
        *(column for measure in measures for column in _change(measure)),
    )
    notes = (
        "Differences to the baseline in percentage points, paired by seed and test image. p is adjusted by Holm's method over "
        "all arms and classes of a measure, and over all arms and groups; intervals are not.",
        *_too_wide(wide, *(f"{measure}_" for measure in measures)),
    )
    return Table("class_effects", "By class: each arm minus the baseline", wide, columns, notes)


def class_table(frame: pd.DataFrame) -> Table:
    """How well each arm does in each class.

    Args: frame: as `analysis.per_class.class_table`.
    """
    measures = _measures(frame)
    wide = _by_measure(frame, ["arm", "kind", "class", "images", "seeds"], ["mean", "sd", "low", "high"])
    columns = (
        ARM,
        CLASS,
        Column("images", lambda row: f"{row['images']:,}", priority=4),
        *(_level(measure) for measure in measures),
        SEEDS,
    )
    notes = (
        "Mean over seeds, with a 95 % interval for new seeds and new test images. Overlapping intervals of two arms say "
        "nothing about their difference, which is paired.",
        *_too_wide(wide, *(f"{measure}_" for measure in measures)),
    )
    title = "Recall, precision and F1 by class" if len(measures) > 1 else "Recall by class"
    return Table("classes", title, wide, columns, notes)


def _measures(frame: pd.DataFrame) -> list[Measure]:
    """Those that the table has, in their order; all where it is empty."""
    found = {*frame["measure"]}
    return [measure for measure in MEASURES if measure in found or not found]


def _change(measure: Measure) -> tuple[Column, Column]:
    priority = 1 + MEASURES.index(measure)
    return (
        Column(f"{measure} [95 %]", lambda row: _of(row, measure, "delta", sign=True), priority=priority),
        Column("p Holm", lambda row: probability(row[f"{measure}_adjusted_p"]), priority=priority),
    )


def _level(measure: Measure) -> Column:
    text = Column(f"{measure} % [95 %]", lambda row: _of(row, measure, "mean"), priority=1 + MEASURES.index(measure))
    return text


def _by_measure(frame: pd.DataFrame, rows: list[str], values: list[str]) -> pd.DataFrame:
    """One row for what had a row a measure: columns such as recall_delta."""
    parts = [
        frame.loc[frame["measure"] == measure, [*rows, *values]]
        .rename(columns={value: f"{measure}_{value}" for value in values})
        .set_index(rows)
        for measure in _measures(frame)
    ]
    return pd.concat(parts, axis="columns").reset_index()


def _of(row: pd.Series, measure: str, value: str, *, sign: bool = False) -> str:
    return with_interval(row[f"{measure}_{value}"], row[f"{measure}_low"], row[f"{measure}_high"], sign=sign)


def confusions(frame: pd.DataFrame) -> Table:
    """The confusions that changed most.

    Args: frame: as `analysis.per_class.gained_and_lost`.
    """
    columns = (
        ARM,
        Column("confusion", lambda row: f"{row['true_class']} → {row['predicted_class']}", "left", 0),
        Column("change", lambda row: row["change"], "left", 3),
        Column("baseline %", lambda row: points(row["baseline_rate"]), priority=4),
        Column("arm %", lambda row: points(row["arm_rate"]), priority=4),
        PAIRED,
        Column("p BH (exploratory)", lambda row: probability(row["adjusted_p"]), priority=2),
    )
    notes = (
        "True class → predicted class: share of the true class's test images, mean over the paired seeds. Of each arm the three "
        "that rose most and the three that fell most, significant ones first. Exploratory: p is adjusted over all confusions of "
        "all arms by Benjamini and Hochberg's method, so that of those below 0.05 one in twenty is expected to be wrong. Confirm "
        "what is found here on new seeds.",
        *_too_wide(frame, ""),
    )
    return Table("confusions", "Confusions gained and lost", frame, columns, notes)


def flips(frame: pd.DataFrame) -> Table:
    """Images on which an arm and the baseline differ in being right.

    Args: frame: as `analysis.per_class.flips`.
    """
    columns = (
        ARM,
        Column("seed", lambda row: str(row["seed"]), priority=0),
        Column("lost", lambda row: str(row["baseline_right_arm_wrong"]), priority=1),
        Column("gained", lambda row: str(row["baseline_wrong_arm_right"]), priority=1),
        Column("p McNemar", lambda row: probability(row["p_value"]), priority=2),
        Column("lost in every seed", lambda row: str(row["lost_in_every_seed"]), priority=3),
        Column("gained in every seed", lambda row: str(row["gained_in_every_seed"]), priority=3),
    )
    notes = (
        "Lost: test images that the baseline gets right and the arm wrong; gained: the reverse. McNemar's test speaks of the "
        "two trained networks of its row, not of the recipe: that is what the table of effects is for.",
    )
    return Table("flips", "Images that flip", frame, columns, notes)


def cells(frame: pd.DataFrame, *, metric: Metric = ACCURACY) -> Table:
    """Every cell of the study, where it was trained and what came of it.

    Args: frame: as `analysis.outcomes.Outcomes.cells`. metric: that arms are compared by.
    """
    columns: tuple[Column, ...] = (
        ARM,
        Column("seed", lambda row: str(row["seed"]), priority=0),
        Column("status", lambda row: str(row["status"]), "left", 1),
        Column(metric.heading, lambda row: metric.number(row["test_accuracy"]), priority=2),
    )
    if frame["seconds"].notna().any() or frame["key"].any():  # else it is anybody's table, which knows no more
        columns = (
            *columns,
            Column("s", lambda row: "" if math.isnan(row["seconds"]) else f"{row['seconds']:.0f}", priority=3),
            Column(
                "device",
                lambda row: "" if pd.isna(row["device"]) else f"{row['device']}, {row['precision']}",
                "left",
                4,
            ),
            Column("key", lambda row: str(row["key"]), "left", 5),
            Column("note", lambda row: str(row["note"]), "left", 3),
        )
    return Table("cells", "Every cell: one arm, one seed", frame, columns)
