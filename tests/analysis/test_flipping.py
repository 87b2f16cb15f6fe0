import numpy as np
import pytest

from analysis.flipping import flipping_images
from analysis.outcomes import Outcomes
from analysis.studied import Answers, StudiedArm, cell_table

LABELS = np.array([0, 0, 1, 1, 1])


def outcomes(predictions: dict[str, dict[int, list[int]]]) -> Outcomes:
    """The first arm is the baseline."""
    baseline = next(iter(predictions))
    cells = [
        {"arm": arm, "is_baseline": arm == baseline, "seed": seed, "status": "finished"}
        for arm, seeds in predictions.items()
        for seed in seeds
    ]
    answered = {arm: {seed: np.array(each) for seed, each in seeds.items()} for arm, seeds in predictions.items()}
    return Outcomes(
        arms=tuple(StudiedArm(arm, is_baseline=arm == baseline) for arm in predictions),
        classes=("cat", "dog"),
        cells=cell_table(cells),
        read_answers=lambda: Answers(LABELS, answered),
    )


def test_an_image_flips_where_baseline_and_arm_differ_in_being_right_in_half_of_the_shared_seeds():
    right = [0, 0, 1, 1, 1]
    found = flipping_images(
        outcomes(
            {
                "base": {0: right, 1: right, 2: [1, 0, 1, 1, 1], 3: right},
                "arm": {0: [1, 0, 1, 1, 1], 1: [1, 0, 0, 1, 1], 2: [0, 0, 1, 1, 0], 3: [1, 0, 1, 1, 0]},
            }
        )
    )
    assert [(image.place, image.true_class) for image in found] == [(0, "cat"), (4, "dog")]
    (flip,) = found[0].flips
    assert (flip.arm, flip.change, flip.seeds, flip.of) == ("arm", "lost", 3, 4)
    assert [(a.arm, a.most, a.right, a.of) for a in found[0].answers] == [("base", "cat", 3, 4), ("arm", "dog", 1, 4)]


def test_of_many_each_class_has_its_turn():
    wrong = [1, 1, 0, 0, 0]
    found = flipping_images(outcomes({"base": {0: wrong}, "arm": {0: LABELS.tolist()}}), most=3)
    assert [image.true_class for image in found] == ["cat", "dog"] or len(found) == 3
    assert {image.true_class for image in found} == {"cat", "dog"}
    assert all(flip.change == "gained" for image in found for flip in image.flips)


@pytest.mark.parametrize("seeds", [{}, {7: [0, 0, 1, 1, 1]}])
def test_an_arm_without_a_pair_has_no_flips(seeds):
    assert flipping_images(outcomes({"base": {0: [0, 0, 1, 1, 1]}, "arm": seeds})) == []
