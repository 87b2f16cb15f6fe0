"""The documented study's claims as a ledger: of each what it says, how it is measured, by which rule it is decided, and what
came out.

The rules stand here as code beside their words, and none knows a result. Five verdicts:

* supported, not supported: the rule has decided.
* inconclusive: there are measurements, and they leave it open; the sentence says how many further seeds would settle it.
* not testable: nothing that can be measured here would decide it; the sentence says why.
* not measured: the studies at hand do not have what it takes; the ledger has the command.

Claims about differences in test accuracy are decided by `verdicts.verdict`: supported where the difference is significantly in
the claimed direction; not supported where it is significantly in the other, or shown to lie within the margin of one point.
They are one family: their p-values pay for the looks at their study, and are corrected by Holm's method for as many as were
tested. Others have intervals of 95 % each.

Claims are decided by outcomes and by what measures left, whatever grid, command or table they came from: a study has what a claim
needs if its arms differ in just the fields that the claim is about.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from ablations.units import counted
from analysis.documented import Documented, documented
from analysis.outcomes import Outcomes, StudiedArm
from analysis.per_class import group_differences
from analysis.reproduction import (
    Reproduction,
    accuracies,
    is_the_documented_network,
    on_the_documented_data,
    prediction_interval,
    spearman,
    trains_the_documented_baseline,
    values_by_class,
)
from analysis.statistics import (
    SIGNIFICANT,
    PairedEffect,
    contrast_effect,
    effect_from_parts,
    holm,
    paired_effect,
    paying_for_looks,
)
from analysis.study_tables import StudyTables
from analysis.verdicts import MARGIN, verdict

Kind = Literal["supported", "not supported", "inconclusive", "not testable", "not measured"]
KINDS: tuple[Kind, ...] = ("supported", "not supported", "inconclusive", "not testable", "not measured")

STABLE = 0.02
"""Standard deviation of test accuracy over seeds below which training is called stable, 0 to 1."""
CARD = 15 * 2**30
"""Bytes of a Colab T4, the card that the document speaks of."""
MOST_BATCH, MOST_BLOCKS = 512, 7
"""As far as the document's attempts may have gone: eight times its batch; more blocks leave nothing of 224 pixels but 1x1."""

RUN = "python experiments/run_ablation.py --grid {grid} --protocol quick --data PATH_TO_CIFAR10 --seeds 5"
MEASURE = "python experiments/measure.py STUDY --data PATH_TO_CIFAR10"
LEDGER = (
    "name", "claim", "verdict", "effect", "low", "high", "unit", "seeds", "source", "sentence", "measure", "rule", "section",
    "figure", "command",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What the evidence says of a claim."""

    kind: Kind
    sentence: str
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    unit: str = ""
    """What effect, low and high are: points (of accuracy, as shares of 1), or another measure's name."""
    seeds: int = 0
    source: str = ""
    """Which study, under which protocol."""


@dataclass(frozen=True)
class Tested:
    """A paired difference that a claim is about, before all claims' p-values are corrected together."""

    effect: PairedEffect
    outcomes: Outcomes
    """Of the study that it is of."""
    says: str
    """What the difference is, in words."""

    @property
    def looks(self) -> int:
        """How many times the study was looked at, or was planned to be: p-values count as often."""
        plan = self.outcomes.study.looks
        return self.outcomes.looks if plan is None else max(len(plan.seeds), self.outcomes.looks)


@dataclass(frozen=True)
class Evidence:
    """All that is at hand to decide by."""

    studies: Sequence[StudyTables]
    published: Documented = field(default_factory=documented)
    control: pd.DataFrame = field(default_factory=pd.DataFrame)
    """As `analysis.shape_blind.recall_table`; empty where it was not run."""
    composites: pd.DataFrame = field(default_factory=pd.DataFrame)
    """As `analysis.attention.composite_table`, with a column source; empty where nothing was measured."""
    memory: pd.DataFrame = field(default_factory=pd.DataFrame)
    """As `analysis.memory.memory_table`."""

    @cached_property
    def ranked(self) -> list[StudyTables]:
        """Studies of the documented network, the most telling first: on all of CIFAR-10, with most training images, and most
        seeds.
        """
        ours = [study for study in self.studies if is_the_documented_network(study.outcomes.baseline)]
        return sorted(
            ours,
            key=lambda study: (*scale(study.outcomes), len(study.outcomes.correct[study.outcomes.baseline.name])),
            reverse=True,
        )

    def baselines(self) -> Iterator[StudyTables]:
        """Studies with at least two seeds of the baseline, in the order of `ranked`."""
        return (study for study in self.ranked if len(study.outcomes.correct[study.outcomes.baseline.name]) > 1)

    def pair(self, changed: Mapping[str, Any], against: Mapping[str, Any] | None = None) -> "Pair | None":
        """The arm with these changes of the baseline, and the one that it is to be compared with (the baseline itself where
        nothing is said), of the studies with the most telling data the one in which most seeds have both.
        """
        pairs = []
        for study in self.ranked:
            arms = [arm_with(study.outcomes, fields) for fields in (changed, against or {})]
            if None in arms:
                continue
            one, other = (arm.name for arm in arms if arm is not None)
            seeds = shared_seeds(study.outcomes, [one, other])
            if len(seeds) > 1:
                pairs.append(Pair(study.outcomes, one, other, seeds))
        return max(pairs, key=lambda pair: (*scale(pair.outcomes), len(pair.seeds)), default=None)


@dataclass(frozen=True)
class Pair:
    """Two arms of a study, and the seeds that both have."""

    outcomes: Outcomes
    arm: str
    reference: str
    seeds: Sequence[int]

    def right(self, arm: str) -> np.ndarray:
        """(seeds, images) bool."""
        return np.stack([self.outcomes.correct[arm][seed] for seed in self.seeds])

    def tested(self, says: str) -> Tested:
        return Tested(paired_effect(self.right(self.arm), self.right(self.reference)), self.outcomes, says)


def scale(outcomes: Outcomes) -> tuple[bool, int]:
    """Whether a study is on the whole data set, and its training images: what is more telling is greater."""
    data, split = outcomes.study.data, outcomes.study.split
    return data is not None and data.source == "full", 0 if split is None else split.train


def arm_with(outcomes: Outcomes, changed: Mapping[str, Any]) -> StudiedArm | None:
    """The arm that differs from the study's baseline in just these fields. A field may be given as a condition on its value."""

    def fits(arm: StudiedArm) -> bool:
        differences = dict(arm.changes)
        return differences.keys() == changed.keys() and all(
            wanted(differences[name]) if callable(wanted) else differences[name] == wanted
            for name, wanted in changed.items()
        )

    return outcomes.baseline if not changed else next((arm for arm in outcomes.arms if fits(arm)), None)


def shared_seeds(outcomes: Outcomes, arms: Sequence[str]) -> list[int]:
    """The seeds whose answers all of these arms have."""
    return sorted(set.intersection(*(set(outcomes.correct[arm]) for arm in arms)))


def source_of(outcomes: Outcomes) -> str:
    """A study in a phrase."""
    about = outcomes.study
    return " on ".join(filter(None, (f"{about.name} ({about.protocol})", about.data.name if about.data else "")))


# -- claims


@dataclass(frozen=True)
class Claim:
    """One entry of the ledger."""

    name: str
    claim: str
    """In our words."""
    section: str
    """Of the document."""
    measure: str
    rule: str
    """In words what `decide` does."""
    decide: Callable[[Evidence], Finding | Tested]
    figure: str
    """Where it can be seen: a figure's name."""
    command: str
    """What measures it."""


def difference(
    changed: Mapping[str, Any], says: str, against: Mapping[str, Any] | None = None, *, reverse: bool = False
) -> Callable[[Evidence], Finding | Tested]:
    """A claim that one arm has a higher test accuracy than another.

    Args: reverse: the claim is that the reference is better than the changed arm.
    """

    def decide(evidence: Evidence) -> Finding | Tested:
        pair = evidence.pair(changed, against)
        if pair is None:
            return NOT_AT_HAND
        if reverse:
            pair = replace(pair, arm=pair.reference, reference=pair.arm)
        return pair.tested(says)

    return decide


NOT_AT_HAND = Finding("not measured", "No study at hand has these arms with two seeds in common.")
BY_ACCURACY = (
    "supported if the difference is significantly positive, not supported if it is significantly negative or shown to lie "
    "within a point of 0 (p-values by Holm over all claims of this kind)"
)
SIX_BLOCKS = [32, 64, 128, 256, 512, 512]


def _of_interval(low: float, high: float, at: float, *, above: str, below: str, left_open: str) -> tuple[Kind, str]:
    """A measure whose interval is to lie above a value."""
    if low > at:
        return "supported", above
    return ("not supported", below) if high < at else ("inconclusive", left_open)


# -- the number itself


def reproduces(evidence: Evidence) -> Finding:
    """Whether the documented number lies in the prediction interval of one more seed of our own, and that interval is narrow."""
    for study in evidence.baselines():
        outcomes = study.outcomes
        if not (trains_the_documented_baseline(outcomes) and on_the_documented_data(outcomes, evidence.published)):
            continue
        found = Reproduction(outcomes, evidence.published).verdict
        kinds: dict[str, Kind] = {"consistent": "supported", "not consistent": "not supported"}
        values = accuracies(outcomes)
        row = study.effects[study.effects["is_baseline"]].iloc[0]
        low, high = prediction_interval(values)
        return Finding(
            kinds.get(found.kind, "inconclusive"), found.sentence, float(row["test_mean"]), low, high,
            "test accuracy, one new seed", len(values), source_of(outcomes),
        )  # fmt: skip
    return Finding("not measured", "No study at hand has two seeds of the documented protocol.")


# -- classes


def vehicles_better(evidence: Evidence) -> Finding | Tested:
    """Whether vehicles have a higher mean recall than animals."""
    for study in evidence.baselines():
        found = group_differences(study.outcomes, study.outcomes.baseline.name)
        effect = found.get("vehicles - animals")
        if effect is not None:
            return Tested(effect, study.outcomes, "mean recall of vehicles less that of animals")
    return NOT_AT_HAND


def rigid_classes_lead(evidence: Evidence) -> Finding:
    """Whether automobile, ship and truck are the three best classes by F1."""
    best = evidence.published.said_to_do_best
    for study in evidence.baselines():
        outcomes = study.outcomes
        if not {*best} <= {*outcomes.classes}:
            continue
        ahead = []
        for predicted in outcomes.predictions[outcomes.baseline.name].values():
            f1 = dict(
                zip(
                    outcomes.classes,
                    values_by_class(predicted, outcomes.labels, len(outcomes.classes))["f1"],
                    strict=True,
                )
            )
            ahead.append(min(f1[name] for name in best) - max(f1[name] for name in f1 if name not in best))
        low, high = _t_interval(ahead)
        kind, sentence = _of_interval(
            low, high, 0,
            above="In the mean of seeds, each of the three has a higher F1 than every other class.",
            below="In the mean of seeds, another class has a higher F1 than the weakest of the three.",
            left_open=_more_seeds(ahead, 0),
        )  # fmt: skip
        return Finding(kind, sentence, float(np.mean(ahead)), low, high, "F1", len(ahead), source_of(outcomes))
    return NOT_AT_HAND


def _t_interval(values: Sequence[float], level: float = 1 - SIGNIFICANT) -> tuple[float, float]:
    """Student's, of the mean; NaN for one value."""
    if len(values) < 2:
        return math.nan, math.nan
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values))
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def _more_seeds(values: Sequence[float], at: float) -> str:
    """How many seeds a t interval would need to leave `at` out, if mean and SD stayed as they are."""
    distance, sd = abs(float(np.mean(values)) - at), float(np.std(values, ddof=1))
    needed = next((n for n in range(2, 1001) if stats.t.ppf(0.975, n - 1) * sd / math.sqrt(n) < distance), None)
    if needed is None:
        return "More than 1,000 seeds would be needed if the mean stayed what it is."
    return f"About {max(needed, len(values) + 1)} seeds in all would settle it if mean and spread stayed what they are."


# -- shape


def shape_biased(evidence: Evidence) -> Finding:
    """Whether the baseline follows shape more often than texture, where it can name the stimuli at all."""
    for study in evidence.baselines():
        table = study.measures.shape_bias
        if table.empty or not bool(table["is_baseline"].any()):
            continue
        row = table[table["is_baseline"]].iloc[0]
        about: dict[str, Any] = {
            "effect": float(row["value"]), "low": float(row["low"]), "high": float(row["high"]), "unit": "shape bias",
            "seeds": int(row["seeds"]), "source": source_of(study.outcomes),
        }  # fmt: skip
        if not row["competent"]:
            return Finding(
                "not testable",
                f"The network names {row['agreeing']:.0%} of the stimuli whose two cues agree, less than half: it cannot name "
                f"the stimuli, so that its bias says little.",
                **about,
            )
        if math.isnan(row["low"]):
            continue
        counts = f"{row['shape_hits']:.0f} answers follow shape, {row['texture_hits']:.0f} texture, {row['neither']:.0f} neither"
        kind, sentence = _of_interval(
            about["low"], about["high"], 0.5,
            above=f"{counts}.", below=f"It follows texture: {counts}.",
            left_open=f"{counts}; the interval has 0.5 inside, and most of its width is that of the few shapes and textures.",
        )  # fmt: skip
        return Finding(kind, sentence, **about)
    return Finding("not measured", "No study at hand has asked its baseline for its shape bias.")


def pattern_shows_shape_bias(evidence: Evidence) -> Finding:
    """An inference: is a classifier without any shape free of the pattern that is to show a shape bias?"""
    control = evidence.control
    if control.empty or not (control["kind"] == "difference").any():
        return Finding("not measured", "The classifier that sees no shape was not trained.")
    row = control[control["kind"] == "difference"].iloc[0]
    low, high = float(row["low"]), float(row["high"])
    about: dict[str, Any] = {"effect": float(row["recall"]), "low": low, "high": high, "unit": "recall of vehicles less animals",
             "source": "a linear classifier on colours and grey steps without their places"}  # fmt: skip
    own = control[control["kind"] == "class"]
    theirs = [evidence.published.classes[str(name)].recall for name in own["class"]]
    rank = spearman(own["recall"].to_numpy(float), np.array(theirs))
    alike = f" Its recalls rank the classes as the document's do to Spearman's {rank:.2f}."
    if low > 0:
        return Finding(
            "not supported",
            f"A classifier that sees no shape does better on vehicles, too, so that doing so is no sign of a shape bias.{alike}",
            **about,
        )
    if high < MARGIN:
        return Finding("supported", "A classifier that sees no shape does not do better on vehicles.", **about)
    return Finding("inconclusive", "The test images are too few to say whether the control shows the pattern.", **about)


# -- attention


def attends_to_the_object(evidence: Evidence) -> Finding:
    """Whether maps lie on the object of the answer, and more than maps do that know no network."""
    for study in evidence.baselines():
        table = study.measures.baseline_attention
        if table.empty:
            continue
        own = table[table["is_baseline"]].set_index("measure")
        if own.empty or own["low"].isna().any():
            continue
        lift, specificity = (dict(own.loc[name].items()) for name in ("lift", "specificity"))
        null = max(float(lift["centre"]), float(lift["edges"]))
        beyond, specific = float(lift["low"]) > null, float(specificity["low"]) > 0
        about: dict[str, Any] = {
            "effect": float(lift["value"]), "low": float(lift["low"]), "high": float(lift["high"]), "unit": "lift",
            "seeds": int(lift["seeds"]), "source": source_of(study.outcomes),
        }  # fmt: skip
        says = (
            f"Lift {lift['value']:+.3f} against {lift['centre']:+.3f} of a blob in the middle and {lift['edges']:+.3f} of the "
            f"image's edges; specificity {specificity['value']:+.3f} [{specificity['low']:+.3f}, {specificity['high']:+.3f}]"
        )
        if beyond and specific:
            return Finding("supported", f"{says}.", **about)
        if float(specificity["high"]) <= 0 or float(lift["high"]) < null:
            return Finding("not supported", f"{says}: no more than a map has there that knows no network.", **about)
        return Finding(
            "inconclusive",
            f"{says}: {'on its own object more than on others' + chr(39) if specific else 'not clearly on its own object'}, and "
            f"{'more' if beyond else 'not clearly more'} than a map that knows no network; further seeds help little, further "
            "objects would.",
            **about,
        )
    return Finding("not measured", "No study at hand has asked where its baseline looks.")


def errors_attend_to_background(evidence: Evidence) -> Finding:
    """Whether wrong answers look less at the object than right ones of equal confidence."""
    table = evidence.composites
    own = table[table["is_baseline"]] if not table.empty else table
    if own.empty or math.isnan(own.iloc[0]["wrong_low"]):
        return Finding("not measured", "No study at hand has asked its baseline about objects on other backgrounds.")
    row = own.iloc[0]
    low, high = float(row["wrong_low"]), float(row["wrong_high"])
    background = (
        ""
        if math.isnan(row["background_low"])
        else f" Where it answers the background's class, the difference is {row['background_value']:+.3f} "
        f"[{row['background_low']:+.3f}, {row['background_high']:+.3f}]."
    )
    kind, sentence = _of_interval(
        low, high, 0,
        above=f"Wrong answers have less of their map on the object than right ones of equal confidence.{background}",
        below=f"Wrong answers have more of their map on the object than right ones of equal confidence.{background}",
        left_open=f"The difference at equal confidence can be 0; further seeds help little, further objects would.{background}",
    )  # fmt: skip
    return Finding(
        kind,
        sentence,
        float(row["wrong_value"]),
        low,
        high,
        "lift, right less wrong",
        int(row["seeds"]),
        str(row["source"]),
    )


def attention_on_torso_or_face(evidence: Evidence) -> Finding:
    """Never decided: there are no masks of parts."""
    return Finding(
        "not testable",
        "It needs masks of torsos and faces, which neither CIFAR-10 nor the cue-conflict stimuli have: their "
        "silhouettes are of whole animals. At the last block, a position of the map covers several original pixels "
        "of 32.",
    )


# -- learning


def learns_rather_than_memorises(evidence: Evidence) -> Finding:
    """In the document's budget: what is known of new images, against what random labels show can be memorised."""
    pair = evidence.pair({"random_labels": 1.0})
    if pair is None:
        return Finding("not measured", "No study at hand has random labels as a control.")
    curves = pair.outcomes.curves
    chance = math.log(len(pair.outcomes.classes))
    known = [(pair.reference, pair.arm, seed) for seed in pair.seeds]
    known = [cell for cell in known if (cell[0], cell[2]) in curves and (cell[1], cell[2]) in curves]
    if len(known) < 2:
        return Finding("not measured", "The learning curves of two seeds are not known.")
    learnt = [chance - curves[reference, seed][-1].validation_loss for reference, _, seed in known]
    memorised = [chance - curves[arm, seed][-1].train_loss for _, arm, seed in known]
    ahead = [one - other for one, other in zip(learnt, memorised, strict=True)]
    low, high = _t_interval(ahead)
    training = np.mean([curves[reference, seed][-1].train_loss for reference, _, seed in known])
    validation = np.mean([curves[reference, seed][-1].validation_loss for reference, _, seed in known])
    kind, sentence = _of_interval(
        low, high, 0,
        above=f"It knows {np.mean(learnt):.3f} nats of a new image's label; of shuffled labels it keeps {np.mean(memorised):.3f} "
        f"nats in as many epochs.",
        below=f"Of shuffled labels it keeps {np.mean(memorised):.3f} nats, more than the {np.mean(learnt):.3f} that it knows "
        f"of a new image's.",
        left_open=_more_seeds(ahead, 0),
    )  # fmt: skip
    return Finding(
        kind,
        f"{sentence} With the true labels its loss is {training:.3f} in training (with dropout and augmentation) and "
        f"{validation:.3f} on validation images.",
        float(np.mean(ahead)),
        low,
        high,
        "nats",
        len(ahead),
        source_of(pair.outcomes),
    )


def batch_norm_speeds_up(evidence: Evidence) -> Finding | Tested:
    """Whether validation accuracy after the first epoch is higher with batch norm, over the same seeds."""
    pair = evidence.pair({"batch_norm": False})
    if pair is None:
        return NOT_AT_HAND
    curves = pair.outcomes.curves
    seeds = [seed for seed in pair.seeds if curves.get((pair.arm, seed)) and curves.get((pair.reference, seed))]
    if len(seeds) < 2:
        return Finding("not measured", "The learning curves of two seeds are not known.")
    first = np.array(
        [curves[pair.reference, s][0].validation_accuracy - curves[pair.arm, s][0].validation_accuracy for s in seeds]
    )
    without = float(np.mean([curves[pair.arm, seed][-1].validation_accuracy for seed in seeds]))
    with_norm = np.mean(
        [[epoch.validation_accuracy for epoch in curves[pair.reference, seed]] for seed in seeds], axis=0
    )
    reached = np.flatnonzero(with_norm >= without)
    after = f"; what the network without it has at the end it has after epoch {reached[0] + 1}" if len(reached) else ""
    effect = effect_from_parts(
        first, float(first.var(ddof=1)), 0.0, 0.0, n_images=len(pair.outcomes.labels), images="fixed"
    )
    return Tested(effect, pair.outcomes, f"validation accuracy after the first epoch, with less without{after}")


def batch_norm_stabilises(evidence: Evidence) -> Finding:
    """Spread over seeds, with and without: a ratio of variances by F."""
    pair = evidence.pair({"batch_norm": False})
    if pair is None:
        return NOT_AT_HAND
    spread = [float(np.std(pair.right(arm).mean(axis=1), ddof=1)) for arm in (pair.reference, pair.arm)]
    n = len(pair.seeds)
    if not spread[1]:
        return Finding("inconclusive", "The seeds without batch norm do not differ, so that there is no ratio.")
    ratio = spread[0] / spread[1]
    low, high = (ratio / math.sqrt(float(stats.f.ppf(p, n - 1, n - 1))) for p in (1 - SIGNIFICANT / 2, SIGNIFICANT / 2))
    words = f"Standard deviation over seeds {100 * spread[0]:.2f} points with it, {100 * spread[1]:.2f} without."
    kind: Kind = "supported" if high < 1 else "not supported" if low > 1 else "inconclusive"
    if kind == "inconclusive":
        words += f" {_seeds_for_ratio(ratio)}"
    return Finding(kind, words, ratio, low, high, "ratio of standard deviations", n, source_of(pair.outcomes))


def _seeds_for_ratio(ratio: float) -> str:
    """How many seeds an F test would need to tell two spreads from each other, if their ratio stayed what it is."""
    squared = max(ratio, 1 / ratio) ** 2 if ratio else math.inf
    needed = next((n for n in range(2, 1001) if squared > stats.f.ppf(1 - SIGNIFICANT / 2, n - 1, n - 1)), None)
    if needed is None:
        return "More than 1,000 seeds would be needed if their ratio stayed what it is."
    return f"About {needed} seeds would settle it if their ratio stayed what it is."


def depth_needs_dropout(evidence: Evidence) -> Finding | Tested:
    """The interaction: what dropout is worth in six blocks, less what it is worth in four."""
    for study in evidence.ranked:
        arms = [
            arm_with(study.outcomes, changed)
            for changed in ({}, {"dropout": 0.0}, {"widths": SIX_BLOCKS}, {"widths": SIX_BLOCKS, "dropout": 0.0})
        ]
        names = [arm.name for arm in arms if arm is not None]
        seeds = shared_seeds(study.outcomes, names) if len(names) == 4 else []
        if len(seeds) < 2:
            continue
        four, four_without, six, six_without = (
            np.stack([study.outcomes.correct[name][seed] for seed in seeds]).astype(float) for name in names
        )
        effect = contrast_effect((six - six_without) - (four - four_without))
        return Tested(effect, study.outcomes, "what dropout is worth in six blocks, less what it is worth in four")
    return NOT_AT_HAND


def transfer_is_better(evidence: Evidence) -> Finding | Tested:
    """The best of the pretrained networks at hand, against the baseline of the same study."""
    found = []
    for study in evidence.studies:
        outcomes = study.outcomes
        for arm in outcomes.arms:
            seeds = shared_seeds(outcomes, [arm.name, outcomes.baseline.name])
            if arm.start and is_the_documented_network(outcomes.baseline) and len(seeds) > 1:
                found.append(Pair(outcomes, arm.name, outcomes.baseline.name, seeds))
    if not found:
        return Finding("not measured", "No study at hand has a pretrained network beside the documented one.")
    best = max(found, key=lambda pair: float(pair.right(pair.arm).mean()))
    return best.tested(f"{best.arm} less the documented network from scratch, at the same budget")


def stable(evidence: Evidence) -> Finding:
    """Whether no seed diverges, and test accuracy varies over seeds by less than `STABLE`."""
    for study in evidence.baselines():
        outcomes = study.outcomes
        values = accuracies(outcomes)
        own = outcomes.cells[outcomes.cells["is_baseline"]]
        diverged = int((own["status"] == "diverged").sum())
        n, sd = len(values), float(np.std(values, ddof=1))
        low, high = spread_interval(sd, n)
        about: dict[str, Any] = {
            "effect": sd, "low": low, "high": high, "unit": "points, standard deviation over seeds", "seeds": n,
            "source": source_of(outcomes),
        }  # fmt: skip
        if diverged:
            return Finding("not supported", f"{counted(diverged, 'seed')} diverged.", **about)
        words = f"No seed diverged; accuracies lie between {100 * min(values):.2f} and {100 * max(values):.2f} %."
        if high < STABLE:
            return Finding("supported", words, **about)
        if low > STABLE:
            return Finding("not supported", f"{words} They spread by more than {100 * STABLE:g} points.", **about)
        needed = next((m for m in range(n + 1, 1001) if spread_interval(sd, m)[1] < STABLE), None)
        then = (
            f"About {needed} seeds would settle it if the spread stayed what it is." if needed and sd < STABLE else ""
        )
        return Finding("inconclusive", f"{words} {then}".strip(), **about)
    return NOT_AT_HAND


def spread_interval(sd: float, n: int, level: float = 1 - SIGNIFICANT) -> tuple[float, float]:
    """Of a standard deviation of n normal values, by the chi-square distribution."""
    least, greatest = (float(stats.chi2.ppf(p, n - 1)) for p in ((1 - level) / 2, (1 + level) / 2))
    return sd * math.sqrt((n - 1) / greatest), sd * math.sqrt((n - 1) / least)


def larger_batches_do_not_fit(evidence: Evidence) -> Finding:
    """Of the documented network."""
    if evidence.memory.empty:
        return Finding("not measured", "Memory was not estimated.")
    table = evidence.memory
    own = table[(table["blocks"] == 4) & (table["convolutions"] == 1) & (table["width"] == 1)].iloc[0]
    fits = int(own["largest_batch"])
    words = (
        f"In fp32 a step of the documented network takes about {_gigabytes(own['bytes'])} at batch 64, and "
        f"{_gigabytes(CARD)} hold up to about batch {fits}. {ESTIMATED}"
    )
    kind: Kind = "supported" if fits < MOST_BATCH else "not supported"
    return Finding(kind, words, float(fits), unit="images, the largest batch", source="an estimate")


def deeper_networks_do_not_fit(evidence: Evidence) -> Finding:
    """At the documented batch."""
    if evidence.memory.empty:
        return Finding("not measured", "Memory was not estimated.")
    table = evidence.memory[evidence.memory["width"] == 1]
    largest = table.sort_values("bytes").iloc[-1]
    words = (
        f"Of up to {MOST_BLOCKS} blocks of up to {table['convolutions'].max()} convolutions, the network that needs "
        f"most takes about {_gigabytes(largest['bytes'])} at batch 64 ({largest['network']}): pooling halves the maps, "
        f"so that further blocks need next to nothing. {ESTIMATED}"
    )
    kind: Kind = "supported" if float(largest["bytes"]) > CARD else "not supported"
    return Finding(kind, words, float(largest["bytes"]) / 2**30, unit="GB at batch 64", source="an estimate")


ESTIMATED = (
    "Estimated of our training step, with the images on the host; a usual one can take more, and so can other programs."
)


def _gigabytes(count: float) -> str:
    return f"{count / 2**30:.3g} GB"


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "accuracy", "The documented recipe gives a test accuracy of 65.89 %.", "Model Performance",
        "test accuracy of several seeds, and the interval for one new seed",
        "supported if 65.89 % lies in the 95 % prediction interval for one new seed and the interval reaches no "
        "further than 3 points to either side; not supported if it lies outside; else inconclusive",
        reproduces, "accuracy", "python experiments/reproduce_baseline.py --data PATH_TO_CIFAR10",
    ),
    Claim(
        "vehicles", "Vehicles are classified better than animals.", "Observations",
        "mean recall of the four vehicles less that of the six animals", BY_ACCURACY,
        vehicles_better, "classes", RUN.format(grid="documented"),
    ),
    Claim(
        "rigid", "Automobiles, ships and trucks are classified best.", "Observations",
        "the least F1 of the three less the greatest of the other classes",
        "supported if its 95 % t interval over seeds lies above 0, not supported if below",
        rigid_classes_lead, "classes", RUN.format(grid="documented"),
    ),
    Claim(
        "shape bias", "The network is biased towards shape.", "Observations",
        "of the answers to cue-conflict stimuli that follow shape or texture, the share that follows shape (Geirhos et al. 2019)",
        "not testable if the network names fewer than half of the stimuli whose cues agree; else supported if the "
        "95 % interval lies above 0.5, not supported if below",
        shape_biased, "shape_bias", MEASURE,
    ),
    Claim(
        "inference", "That vehicles do better shows a shape bias.", "Observations",
        "recall of vehicles less that of animals, of a linear classifier that sees no shape",
        "not supported if the control's 95 % interval lies above 0; supported if it lies below one point; else inconclusive",
        pattern_shows_shape_bias, "control", "python experiments/claims.py RESULTS --data PATH_TO_CIFAR10",
    ),
    Claim(
        "attention", "The network attends to the object.", "Grad-CAM Analysis",
        "lift and specificity of the Grad-CAM maps of its answers, on the outlines of cue-conflict stimuli",
        "supported if specificity lies above 0 and lift above that of a blob in the middle and of the image's edges (95 %); not "
        "supported if specificity does not, or lift lies below one of those; else inconclusive",
        attends_to_the_object, "attention", MEASURE,
    ),
    Claim(
        "torso or face", "For animals, attention is on torso or face.", "Grad-CAM Analysis",
        "none", "not testable without masks of parts", attention_on_torso_or_face, "", "",
    ),
    Claim(
        "errors", "Where it errs, attention has shifted to the background.", "Grad-CAM Analysis",
        "lift of right answers less that of wrong ones of equal confidence, on objects that stand on other classes' images",
        "supported if the 95 % interval lies above 0, not supported if below",
        errors_attend_to_background, "attention",
        f"{MEASURE} && python experiments/claims.py RESULTS --data PATH_TO_CIFAR10",
    ),
    Claim(
        "learning", "The model learns rather than memorises.", "Observations",
        "nats that it knows of a new image's label (ln 10 less validation loss), less those that it keeps of shuffled labels "
        "(ln 10 less training loss) in the same epochs",
        "supported if the 95 % t interval over seeds lies above 0, not supported if below",
        learns_rather_than_memorises, "learning", RUN.format(grid="documented_claims"),
    ),
    Claim(
        "batch norm speeds up", "Batch norm speeds up training.", "Design Motivation",
        "validation accuracy after the first epoch, with less without", BY_ACCURACY,
        batch_norm_speeds_up, "learning", RUN.format(grid="documented_claims"),
    ),
    Claim(
        "batch norm stabilises", "Batch norm stabilises training.", "Design Motivation",
        "standard deviation of test accuracy over seeds, with over without",
        "supported if the 95 % interval of the ratio (F) lies below 1, not supported if above",
        batch_norm_stabilises, "differences", RUN.format(grid="documented_claims"),
    ),
    Claim(
        "dropout", "Dropout is needed for generalisation.", "Design Motivation",
        "test accuracy with dropout less without", BY_ACCURACY,
        difference({"dropout": 0.0}, "with dropout less without", reverse=True), "differences",
        RUN.format(grid="documented_claims"),
    ),
    Claim(
        "augmentation", "Augmentation improves generalisation.", "Dataset & Split Strategy",
        "test accuracy with augmentation (ours, the document's is not said) less without", BY_ACCURACY,
        difference(
            {f"augmentation.{name}": 0.0 for name in ("flip", "rotation", "brightness", "contrast", "saturation")},
            "with augmentation less without", reverse=True,
        ), "differences", RUN.format(grid="undocumented"),
    ),
    Claim(
        "depth", "More depth adds power.", "Insights and Findings",
        "test accuracy of six blocks less four", BY_ACCURACY,
        difference({"widths": SIX_BLOCKS}, "six blocks less four"), "differences", RUN.format(grid="depth"),
    ),
    Claim(
        "depth needs dropout", "With more depth, dropout is needed more.", "Insights and Findings",
        "what dropout is worth in six blocks, less what it is worth in four (test accuracy)", BY_ACCURACY,
        depth_needs_dropout, "differences", RUN.format(grid="documented_claims"),
    ),
    Claim(
        "residual links", "To have no residual links costs accuracy.", "Limitations",
        "test accuracy with links less without, of four blocks of two convolutions", BY_ACCURACY,
        difference({"convs_per_block": 2, "residual": True}, "with links less without", {"convs_per_block": 2}),
        "differences", RUN.format(grid="residual"),
    ),
    Claim(
        "longer training", "Longer training would help.", "Limitations",
        "test accuracy after twice the epochs less after the documented number", BY_ACCURACY,
        difference({"epochs": 10}, "10 epochs less 5"), "differences", RUN.format(grid="documented_claims"),
    ),
    Claim(
        "transfer", "Pretrained networks do better.", "Model Performance",
        "test accuracy of the best pretrained network at hand less the documented network's", BY_ACCURACY,
        transfer_is_better, "differences", RUN.format(grid="transfer"),
    ),
    Claim(
        "larger batches", "Larger batches run out of memory on a card of 15 GB.", "Limitations",
        "the memory of a training step, estimated from the network",
        f"supported if the documented network does not fit with a batch of {MOST_BATCH}, eight times the document's",
        larger_batches_do_not_fit, "memory", "python experiments/claims.py RESULTS",
    ),
    Claim(
        "deeper networks", "Deeper networks run out of memory on a card of 15 GB.", "Limitations",
        "the memory of a training step, estimated from the network",
        f"supported if a network of up to {MOST_BLOCKS} blocks and three convolutions a block does not fit with a batch of 64",
        deeper_networks_do_not_fit, "memory", "python experiments/claims.py RESULTS",
    ),
    Claim(
        "stability", "Training is stable.", "Conclusion",
        "standard deviation of test accuracy over seeds, and whether a seed diverges",
        f"supported if the 95 % interval of the standard deviation lies below {100 * STABLE:g} points and no seed diverged, not "
        "supported if above or a seed diverged",
        stable, "accuracy", RUN.format(grid="documented"),
    ),
)  # fmt: skip


def ledger(evidence: Evidence, claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """Every claim with its verdict, a row each, in the order of `claims`.

    Columns: name, claim, verdict (of `KINDS`), effect, low, high (in `unit`; NaN where there is none), unit, seeds, source
    (the study), sentence (what was found), measure, rule, section (of the document), figure, command (that measures it).
    """
    found = [claim.decide(evidence) for claim in claims]
    tested = [one for one in found if isinstance(one, Tested)]
    paid = [float(paying_for_looks([one.effect.p_value], one.looks)[0]) for one in tested]
    adjusted = iter(holm(paid).tolist() if tested else [])
    rows = []
    for claim, one in zip(claims, found, strict=True):
        finding = concluded(one, next(adjusted)) if isinstance(one, Tested) else one
        rows.append(
            (
                claim.name, claim.claim, finding.kind, finding.effect, finding.low, finding.high, finding.unit, finding.seeds,
                finding.source, finding.sentence, claim.measure, claim.rule, claim.section, claim.figure, claim.command,
            )
        )  # fmt: skip
    return pd.DataFrame(rows, columns=LEDGER)


def concluded(tested: Tested, adjusted_p: float) -> Finding:
    """What a paired difference says of a claim that it is positive."""
    effect = tested.effect
    equivalence_p = float(paying_for_looks([effect.equivalence_p(MARGIN)], tested.looks)[0])
    judged = verdict(effect, adjusted_p=adjusted_p, adjusted_equivalence_p=equivalence_p)
    kinds: dict[str, Kind] = {"better": "supported", "worse": "not supported", "equivalent": "not supported"}
    kind = kinds.get(judged.kind, "inconclusive")
    about = {"worse": ": the other way round", "equivalent": ": within one point of 0"}.get(judged.kind, "")
    remark = f"; {judged.remark}" if judged.remark and judged.kind != "equivalent" else ""
    says = f"{tested.says[0].upper()}{tested.says[1:]}{about}{remark}."
    return Finding(
        kind, says, effect.delta, effect.low, effect.high, "points", effect.n_seeds, source_of(tested.outcomes)
    )
