"""The rules by which claims about the documented study are decided: functions of `Evidence`, none of which knows a result.

`analysis.claims` says each in words beside its claim.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ablations.units import counted
from analysis.evidence import Evidence, Finding, Kind, Pair, Tested, arm_with, shared_seeds, source_of
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
    contrast_effect,
    effect_from_parts,
)
from analysis.verdicts import MARGIN
from cnnkit.description import CIFAR10_GROUPS

STABLE = 0.02
"""Standard deviation of test accuracy over seeds below which training is called stable, 0 to 1."""
CARD = 15 * 2**30
"""Bytes of a Colab T4, the card that the document speaks of."""
MOST_BATCH, MOST_BLOCKS = 512, 7
"""As far as the document's attempts may have gone: eight times its batch; more blocks leave nothing of 224 pixels but 1x1."""
SIX_BLOCKS = [32, 64, 128, 256, 512, 512]
NOT_AT_HAND = Finding("not measured", "No study at hand has these arms with two seeds in common.")
ESTIMATED = (
    "Estimated of our training step, with the images on the host; a usual one can take more, and so can other programs."
)


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
        nulls = (("random", "the same networks with random weights"), ("colours", "a classifier of colours"))
        beside = [f"{words} {row[name]:.3f}" for name, words in nulls if pd.notna(row.get(name))]
        counts = (
            f"{row['shape_hits']:.0f} answers follow shape, {row['texture_hits']:.0f} texture, {row['neither']:.0f} neither"
            f"{'; ' if beside else ''}{', '.join(beside)}"
        )
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
    gap = 100 * _gap({name: one.recall for name, one in evidence.published.classes.items()})
    alike = f" Its recalls rank the classes as the document's do to Spearman's {rank:.2f}."
    if low > 0:
        return Finding(
            "not supported",
            f"A classifier that sees no shape does better on vehicles, too (the document's network by {gap:.1f} points), so that "
            f"doing so does not show a shape bias.{alike}",
            **about,
        )
    if high < MARGIN:
        return Finding("supported", "A classifier that sees no shape does not do better on vehicles.", **about)
    return Finding("inconclusive", "The test images are too few to say whether the control shows the pattern.", **about)


def _gap(recall: Mapping[str, float]) -> float:
    """Mean recall of vehicles less that of animals."""
    means = [float(np.mean([recall[name] for name in CIFAR10_GROUPS[group]])) for group in ("vehicles", "animals")]
    return means[0] - means[1]


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
            f"{says}: it looks at its own object {'more' if specific else 'not clearly more'} than at other objects' places, and "
            f"{'more' if beyond else 'not clearly more'} than a fixed blob or an edge map would; further seeds help little, "
            "further objects would.",
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
        else f" Right answers less those that name the background's class: {row['background_value']:+.3f} "
        f"[{row['background_low']:+.3f}, {row['background_high']:+.3f}]."
    )
    kind, sentence = _of_interval(
        low, high, 0,
        above=f"Wrong answers have less of their map on the object than right ones of equal confidence.{background}",
        below=f"Wrong answers have more of their map on the object than right ones of equal confidence.{background}",
        left_open=f"The difference at equal confidence may be 0; further seeds help little, further objects would.{background}",
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
        "silhouettes are of whole animals. At the last block, a position of the map sees several original pixels "
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
        above=f"It knows {np.mean(learnt):.3f} of {chance:.3f} nats of a new image's label; of shuffled labels it keeps "
        f"{np.mean(memorised):.3f} nats in as many epochs, in which little can be memorised in any case.",
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
    return Tested(
        effect, pair.outcomes, f"validation accuracy after the first epoch, with batch norm less without{after}"
    )


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
    words = (
        f"Standard deviation over seeds {100 * spread[0]:.2f} points with it, {100 * spread[1]:.2f} without, "
        f"over the {n} seeds that both have; final accuracy alone, of networks that are far apart in it."
    )
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
        f"{_gigabytes(CARD)} hold up to about batch {fits}{_doubled(fits)}. {ESTIMATED}{_reserved(evidence)}"
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
        f"so that further blocks need next to nothing, and further convolutions more. {ESTIMATED}"
    )
    kind: Kind = "supported" if float(largest["bytes"]) > CARD else "not supported"
    return Finding(kind, words, float(largest["bytes"]) / 2**30, unit="GB at batch 64", source="an estimate")


def _doubled(fits: int) -> str:
    """Which doublings of the documented batch fit."""
    batches = [64 * 2**power for power in range(1, 4)]
    fitting, others = [b for b in batches if b <= fits], [b for b in batches if b > fits]
    if not fitting or not others:
        return ""
    return f" ({' and '.join(map(str, fitting))} fit{'s' if len(fitting) == 1 else ''}, {others[0]} does not)"


def _reserved(evidence: Evidence) -> str:
    """What whole cells of the documented study took of a GPU, where some were trained on one."""
    cells = [
        study.outcomes.cells.query("is_baseline and peak_memory.notna()")
        for study in evidence.ranked
        if trains_the_documented_baseline(study.outcomes)
    ]
    if not cells:
        return ""
    most = pd.concat(cells).groupby(["device", "precision"])["peak_memory"].max().reset_index()
    said = [
        f"{_gigabytes(row['peak_memory'])} on {row['device']} in {row['precision']}" for row in most.to_dict("records")
    ]
    return (
        f" A whole cell, evaluation in batches of 250 images included, reserved {' and '.join(said)}." if said else ""
    )


def _gigabytes(count: float) -> str:
    return f"{count / 2**30:.3g} GB"
