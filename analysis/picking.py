"""Which test images are worth looking at: those that flip, confident errors, ordinary ones, or any.

Every pick is an order of the test images, computed from all finished seeds of the arms in question, and takes turns among
the classes, so that a gallery is not filled by the one class that flips most. The same study, the same images.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from analysis.outcomes import Outcomes
from cnnkit.errors import UserError

Pick = Literal["flips", "lost", "gained", "confident-errors", "typical", "random"]

MEANINGS: dict[Pick, str] = {
    "flips": "right in the baseline and wrong in another arm, or the other way round, in at least half of the seeds",
    "lost": "right in the baseline and wrong in another arm, in at least half of the seeds",
    "gained": "wrong in the baseline and right in another arm, in at least half of the seeds",
    "confident-errors": "wrong with the highest probability, mean of arms and seeds",
    "typical": "of their class, nearest to the median probability of the true class, mean of arms and seeds",
    "random": "drawn at random",
}


def picked(
    outcomes: Outcomes,
    pick: Pick,
    *,
    images: int,
    arms: Sequence[str] = (),
    classes: Sequence[str] = (),
    seed: int = 0,
) -> list[int]:
    """Places among the study's test images, the most fitting of each class first; at most `images` of them.

    Args: arms: of the study, by default all. classes: take images of these classes only. seed: of the random pick.
    Raises: UserError: no cell of the arms can be read, or no image of the classes fits.
    """
    scores = _scores(outcomes, pick, list(arms) or [arm.name for arm in outcomes.arms], seed)
    positions = [outcomes.classes.index(name) for name in classes] or range(len(outcomes.classes))
    fitting = np.flatnonzero((scores > -np.inf) & np.isin(outcomes.labels, list(positions)))
    if not len(fitting):
        of = f" of {', '.join(classes)}" if classes else ""
        raise UserError(f"no test image{of} is {MEANINGS[pick]}; choose another pick, more arms or other classes")
    return in_turn(scores[fitting], outcomes.labels[fitting], fitting)[:images]


def in_turn(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], places: Int[np.ndarray, " n"]) -> list[int]:
    """Places by falling score, taking turns: the first of each class, then the second of each, and so on."""
    order = np.argsort(-scores, kind="stable")
    taken: dict[int, int] = {}
    turns = []
    for label in labels[order].tolist():
        turns.append(taken.get(label, 0))
        taken[label] = turns[-1] + 1
    return places[order][np.argsort(turns, kind="stable")].tolist()


def _scores(outcomes: Outcomes, pick: Pick, arms: list[str], seed: int) -> Float[np.ndarray, " images"]:
    """The higher the more fitting; minus infinity where an image does not fit at all."""
    baseline = outcomes.baseline.name
    cells = [(arm, one) for arm in dict.fromkeys([baseline, *arms]) for one in sorted(outcomes.predictions[arm])]
    if not cells:
        raise UserError(f"study {outcomes.study.name} has no finished cell of {', '.join(arms)}")
    if pick == "random":
        return np.random.default_rng(seed).random(len(outcomes.labels))
    if pick in ("flips", "lost", "gained"):
        return _flips(outcomes, pick, [arm for arm in arms if arm != baseline])
    if pick == "confident-errors":
        return _confident_errors(outcomes, cells)
    return _typical(outcomes, cells)


def _flips(outcomes: Outcomes, pick: Pick, arms: list[str]) -> Float[np.ndarray, " images"]:
    """The largest share of seeds in which an arm flips an image, of at least half of them; then how many arms do."""
    reference = outcomes.correct[outcomes.baseline.name]
    shares = []
    for arm in arms:
        shared = sorted(outcomes.correct[arm].keys() & reference.keys())
        if shared:
            own, its = (np.stack([right[one] for one in shared]) for right in (outcomes.correct[arm], reference))
            changed = {"flips": own != its, "lost": its & ~own, "gained": own & ~its}[pick]
            shares.append(changed.mean(axis=0))
    if not shares:
        raise UserError(f"flips need the baseline and another arm with a finished seed in common; pick {pick} has none")
    each = np.stack(shares)
    return np.where(each.max(axis=0) >= 0.5, each.max(axis=0) + each.mean(axis=0) / 1000, -np.inf)


def _confident_errors(outcomes: Outcomes, cells: Sequence[tuple[str, int]]) -> Float[np.ndarray, " images"]:
    total = np.zeros(len(outcomes.labels))
    for arm, seed in cells:
        probabilities = _probabilities(outcomes, arm, seed)
        total += probabilities.max(axis=1) * ~outcomes.correct[arm][seed]
    return np.where(total > 0, total / len(cells), -np.inf)


def _typical(outcomes: Outcomes, cells: Sequence[tuple[str, int]]) -> Float[np.ndarray, " images"]:
    every = np.arange(len(outcomes.labels))
    truth = np.zeros(len(every))
    for arm, seed in cells:
        truth += _probabilities(outcomes, arm, seed)[every, outcomes.labels] / len(cells)
    medians = {label: np.median(truth[outcomes.labels == label]) for label in np.unique(outcomes.labels).tolist()}
    return -np.abs(truth - np.array([medians[label] for label in outcomes.labels.tolist()]))


def _probabilities(outcomes: Outcomes, arm: str, seed: int) -> Float[np.ndarray, "images classes"]:
    """Raises: UserError: no logits are known."""
    try:
        return softmax(outcomes.logits(arm, seed)[0])
    except KeyError as error:
        raise UserError(f"{error.args[0]}, which this pick needs; pick flips or random") from error


def softmax(logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
    """Probabilities, computed in float64."""
    weights = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
