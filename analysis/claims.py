"""The documented study's claims as a ledger: of each what it says, how it is measured, by which rule it is decided, and what
came out.

Each rule stands here in words, and as code in `analysis.claim_rules`. Five verdicts:

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
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.claim_rules import (
    MOST_BATCH,
    MOST_BLOCKS,
    SIX_BLOCKS,
    STABLE,
    attends_to_the_object,
    attention_on_torso_or_face,
    batch_norm_speeds_up,
    batch_norm_stabilises,
    deeper_networks_do_not_fit,
    depth_needs_dropout,
    difference,
    errors_attend_to_background,
    larger_batches_do_not_fit,
    learns_rather_than_memorises,
    pattern_shows_shape_bias,
    reproduces,
    rigid_classes_lead,
    shape_biased,
    stable,
    transfer_is_better,
    vehicles_better,
)
from analysis.evidence import Evidence, Finding, Kind, Tested, source_of
from analysis.statistics import (
    holm,
    paying_for_looks,
)
from analysis.verdicts import MARGIN, verdict

RUN = "python experiments/run_ablation.py --grid {grid} --protocol quick --data PATH_TO_CIFAR10 --seeds 5"
MEASURE = "python experiments/measure.py STUDY --data PATH_TO_CIFAR10"
LEDGER = (
    "name", "claim", "verdict", "effect", "low", "high", "adjusted_p", "unit", "seeds", "source", "sentence", "measure", "rule",
    "section", "figure", "command",
)  # fmt: skip
BY_ACCURACY = (
    "supported if the difference is significantly positive, not supported if it is significantly negative or shown to lie "
    "within a point of 0 (p-values by Holm over all claims of this kind)"
)


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
        difference({"dropout": 0.0}, "accuracy with dropout less that without", reverse=True), "differences",
        RUN.format(grid="documented_claims"),
    ),
    Claim(
        "augmentation", "Augmentation improves generalisation.", "Dataset & Split Strategy",
        "test accuracy with augmentation (ours, the document's is not said) less without", BY_ACCURACY,
        difference(
            {f"augmentation.{name}": 0.0 for name in ("flip", "rotation", "brightness", "contrast", "saturation")},
            "accuracy with augmentation less that without", reverse=True,
        ), "differences", RUN.format(grid="undocumented"),
    ),
    Claim(
        "depth", "More depth adds power.", "Insights and Findings",
        "test accuracy of six blocks less four", BY_ACCURACY,
        difference({"widths": SIX_BLOCKS}, "accuracy of six blocks less that of four"), "differences", RUN.format(grid="depth"),
    ),
    Claim(
        "depth needs dropout", "With more depth, dropout is needed more.", "Insights and Findings",
        "what dropout is worth in six blocks, less what it is worth in four (test accuracy)", BY_ACCURACY,
        depth_needs_dropout, "differences", RUN.format(grid="documented_claims"),
    ),
    Claim(
        "residual links", "To have no residual links costs accuracy.", "Limitations",
        "test accuracy with links less without, of four blocks of two convolutions", BY_ACCURACY,
        difference({"convs_per_block": 2, "residual": True}, "accuracy with links less that without", {"convs_per_block": 2}),
        "differences", RUN.format(grid="residual"),
    ),
    Claim(
        "longer training", "Longer training would help.", "Limitations",
        "test accuracy after twice the epochs less after the documented number", BY_ACCURACY,
        difference({"epochs": 10}, "accuracy after 10 epochs less that after 5"), "differences",
        RUN.format(grid="documented_claims"),
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

    Columns: name, claim, verdict (of `KINDS`), effect, low, high (in `unit`; NaN where there is none), adjusted_p (of paired
    differences, which it decides; NaN of others), unit, seeds, source
    (the study), sentence (what was found), measure, rule, section (of the document), figure, command (that measures it).
    """
    found = [claim.decide(evidence) for claim in claims]
    tested = [one for one in found if isinstance(one, Tested)]
    paid = [float(paying_for_looks([one.effect.p_value], one.looks)[0]) for one in tested]
    adjusted = iter(holm(paid).tolist() if tested else [])
    p_values = [next(adjusted) if isinstance(one, Tested) else math.nan for one in found]
    rows = []
    for claim, one, p_value in zip(claims, found, p_values, strict=True):
        finding = concluded(one, p_value) if isinstance(one, Tested) else one
        rows.append(
            (
                claim.name, claim.claim, finding.kind, finding.effect, finding.low, finding.high, p_value, finding.unit,
                finding.seeds, finding.source, finding.sentence, claim.measure, claim.rule, claim.section, claim.figure,
                claim.command,
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
    about = {"worse": ": significantly below 0, the other way round", "equivalent": ": within one point of 0"}.get(
        judged.kind, ""
    )
    remark = f"; {judged.remark}" if judged.remark and judged.kind != "equivalent" else ""
    says = f"{tested.says[0].upper()}{tested.says[1:]}{about}{remark}."
    return Finding(
        kind, says, effect.delta, effect.low, effect.high, "points", effect.n_seeds, source_of(tested.outcomes)
    )
