"""Which images are picked, on studies small enough to be checked by eye."""

import numpy as np
import pytest

from analysis.outcomes import Outcomes
from analysis.picking import in_turn, picked, softmax
from analysis.studied import Answers, StudiedArm, cell_table
from cnnkit.errors import UserError

LABELS = np.array([0, 0, 0, 1, 1, 1])


def outcomes_of(logits: dict[str, list[np.ndarray]]) -> Outcomes:
    """The first arm is the baseline; logits by seed."""
    baseline = next(iter(logits))
    return Outcomes(
        arms=tuple(StudiedArm(arm, is_baseline=arm == baseline) for arm in logits),
        classes=("cat", "dog"),
        cells=cell_table(
            {"arm": arm, "is_baseline": arm == baseline, "seed": seed, "status": "finished"}
            for arm, by_seed in logits.items()
            for seed in range(len(by_seed))
        ),
        read_answers=lambda: Answers(
            LABELS, {arm: {s: one.argmax(1) for s, one in enumerate(by_seed)} for arm, by_seed in logits.items()}
        ),
        read_logits=lambda arm, seed, part: (logits[arm][seed], LABELS),
    )


def answering(right: list[float]) -> np.ndarray:
    """Logits of a network: how much the true class is ahead of the other, an image each."""
    logits = np.zeros((len(LABELS), 2), np.float32)
    logits[np.arange(len(LABELS)), LABELS] = right
    return logits


BASE = answering([1, 1, -1, 1, 1, -3])
ARM = answering([-1, 1, 1, -1, 1, -1])
OTHER_SEED = answering([-1, 1, -1, 1, 1, -1])
STUDY = outcomes_of({"base": [BASE, BASE], "arm": [ARM, OTHER_SEED]})


@pytest.mark.parametrize(
    ("pick", "places"),
    [
        ("lost", [0, 3]),  # 0 in both seeds, 3 in one of two
        ("gained", [2]),
        ("flips", [0, 3, 2]),  # a cat, a dog, the next cat
        (
            "confident-errors",
            [5, 2, 0, 3],
        ),  # a mean over all cells: 5 is wrong in all four, 2 in three, 0 in two, 3 in one
    ],
)
def test_a_pick_has_the_images_that_fit_and_no_others(pick, places):
    assert picked(STUDY, pick, images=6) == places


def test_an_image_that_flips_in_fewer_than_half_of_the_seeds_is_not_picked():
    three = outcomes_of({"base": [BASE] * 3, "arm": [ARM, BASE, BASE]})
    with pytest.raises(UserError, match="no test image is right in the baseline and wrong in another arm"):
        picked(three, "lost", images=6)


def test_typical_images_are_those_nearest_to_their_class_median():
    places = picked(outcomes_of({"base": [answering([0, 2, 9, 8, 1, -5])]}), "typical", images=2)
    assert places == [1, 4]


def test_classes_take_turns_and_only_those_asked_for_do():
    assert picked(STUDY, "flips", images=6, classes=["cat"]) == [0, 2]
    assert in_turn(np.array([5.0, 4, 3, 2]), np.array([0, 0, 0, 1]), np.array([7, 8, 9, 10])) == [7, 10, 8, 9]


def test_a_random_pick_is_the_same_again_and_is_stratified():
    first = picked(STUDY, "random", images=4)
    assert first == picked(STUDY, "random", images=4)
    assert np.bincount(LABELS[first]).tolist() == [2, 2]
    assert sorted(picked(STUDY, "random", images=100)) == list(range(6))


def test_flips_of_a_baseline_alone_are_refused_in_a_sentence():
    with pytest.raises(UserError, match="the baseline and another arm"):
        picked(STUDY, "flips", images=3, arms=["base"])


def test_probabilities_of_logits_that_overflow_are_right():
    assert softmax(np.array([[1e4, 0.0], [0.0, 0.0]], np.float32)).tolist() == [[1.0, 0.0], [0.5, 0.5]]
