from dataclasses import replace
from pathlib import Path

import pytest

from ablations.arm import Arm
from ablations.protocols import PROTOCOLS
from analysis.methods import in_short, paragraph, references
from analysis.outcomes import Outcomes
from analysis.studied import Answers, StudiedArm

STORED = Path(__file__).parents[1] / "data" / "results"


def stored() -> Outcomes:
    return Outcomes.from_store(STORED, "depth-smoke")


def described_arm(arm: Arm) -> str:
    return in_short(
        StudiedArm(arm.name, spec=arm.spec.model_dump(mode="json"), recipe=arm.recipe.model_dump(mode="json"))
    )


def test_the_baseline_is_described_as_it_is_built_and_trained():
    described = described_arm(PROTOCOLS["documented"].baseline())
    for part in (
        "4 convolutional blocks of 32, 64, 128, 256 channels, 3x3 kernels, batch normalisation, relu, 2x2 max pooling",
        "flattened maps, a hidden layer of 512, dropout 0.5; images resized to 224 pixels",
        "for 5 epochs with adam (learning rate 0.0001, weight decay 0.0001, batch size 64, fp32 arithmetic)",
        "horizontal flips (probability 0.5), rotation up to 10 degrees, brightness within 20%",
    ):
        assert part in described


def test_what_a_command_line_changes_in_the_baseline_is_described():
    arm = PROTOCOLS["quick"].baseline()
    spec = {
        "convs_per_block": 2,
        "residual": True,
        "head": "pool",
        "pool_size": 2,
        "hidden_width": 0,
        "activation": "gelu",
        "initialisation": "he",
    }
    recipe = {"schedule": "cosine", "warmup_epochs": 1, "label_smoothing": 0.1, "split_seed": 2, "random_labels": 0.5}
    described = described_arm(arm.variant("changed", {}, recipe=recipe, **spec))
    for part in (
        "2 convolutions each",
        "gelu, residual links",
        "maps averaged to 2x2, dropout",
        "cosine schedule with 1 epoch",
        "He's initial weights",
        "on another draw of training images (split 2), 50% of the labels shuffled",
    ):
        assert part in described
    assert "hidden layer" not in described
    assert "label smoothing 0.1" in described


def test_measures_that_were_taken_are_described_with_their_references():
    assert "Grad-CAM" not in paragraph(stored(), margin=0.01)
    text = paragraph(stored(), margin=0.01, asked=["attention", "reliance"])
    assert "raw Grad-CAM maps [selvaraju2017grad; gildenblat2021pytorch]" in text
    assert "cue-conflict" not in text
    cited = references(stored(), margin=0.01, asked=["attention", "reliance"])
    assert "adebayo2018sanity," in cited
    assert "geirhos2019imagenet" not in cited


def test_the_paragraph_speaks_of_the_intervals_and_tests_that_the_verdicts_rest_on():
    text = paragraph(stored(), margin=0.01)
    assert "each of the level of the test behind the arm's verdict" in text
    assert "P-values of the 4 comparisons are adjusted" in text
    assert "90 %" not in text
    assert "95 %" not in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"pretrained": True},
            "were trained (“2 blocks” from pretrained weights; “3 blocks”, “4 blocks”, “5 blocks” and “6 blocks” ",
        ),
        ({"weights": "DEFAULT"}, "“6 blocks” from scratch) for 2 epochs"),
        ({"pretrained": False}, "were trained for 2 epochs"),  # what its own code loads is not known
    ],
)
def test_only_networks_whose_beginning_is_known_were_trained_from_scratch(arguments, words):
    outcomes = stored()
    assert "were trained from scratch for 2 epochs" in paragraph(outcomes, margin=0.01)
    own = {"factory": "my_net:make", "arguments": arguments, "image_size": 64}
    arms = tuple(replace(arm, spec=own) if arm.name == "2 blocks" else arm for arm in outcomes.arms)
    text = paragraph(replace(outcomes, arms=arms), margin=0.01)
    assert words in text
    assert "trained from scratch" not in text


def test_a_study_whose_first_pair_has_just_finished_speaks_of_no_test():
    outcomes = stored()
    first = {
        arm: {seed: each for seed, each in seeds.items() if seed == 0} for arm, seeds in outcomes.predictions.items()
    }
    text = paragraph(replace(outcomes, read_answers=lambda: Answers(outcomes.labels, first)), margin=0.01)
    assert "With one seed" in text
    assert "Holm" not in text


def test_a_short_study_took_seconds_and_not_0_hours():
    outcomes = stored()
    assert "0.0 hours" not in paragraph(outcomes, margin=0.01)
    on_gpu = replace(outcomes, cells=outcomes.cells.assign(seconds=3.0, gpu_share=0.25))
    text = paragraph(on_gpu, margin=0.01)
    assert "took 45 s of training and evaluation in all, 0.0031 GPU-hours" in text
    on_gpu = replace(outcomes, cells=outcomes.cells.assign(seconds=36_000.0, gpu_share=0.5))
    assert "took 150 h 0 min of training and evaluation in all, 75 GPU-hours" in paragraph(on_gpu, margin=0.01)


def test_the_paragraph_says_from_which_weights_arms_started_and_what_was_frozen():
    outcomes = stored()
    own = {"factory": "resnet18", "image_size": 64, "normalisation": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    changed = {
        "2 blocks": {"spec": own, "start": "lite0.safetensors, its last layer of 1,000 classes made anew"},
        "3 blocks": {"spec": {"factory": "resnet18", "image_size": 64}},
    }
    arms = tuple(replace(arm, **changed.get(arm.name, {})) for arm in outcomes.arms)
    frozen = replace(arms[0], recipe={**arms[0].recipe, "freeze": "backbone", "head_learning_rate": 0.001})
    text = paragraph(replace(outcomes, arms=(frozen, *arms[1:])), margin=0.01)
    assert (
        "“2 blocks” from the weights lite0.safetensors, its last layer of 1,000 classes made anew, images normalised"
        in text
    )
    assert "“3 blocks”, “4 blocks”, “5 blocks” and “6 blocks” from scratch" in text
    assert "Of “2 blocks” the last layer alone was trained; all before it was frozen in evaluation mode" in text
    assert "trained from scratch" not in text
    assert "4 further arms were trained" in text


def test_initial_weights_that_are_drawn_by_name_are_said_to_be_paired():
    outcomes = stored()
    own = {"factory": "my_net:make", "image_size": 64}
    for initialise, words in (
        ("as_coded", "arms share a seed's data order and augmentation"),
        ("by_name", "drawn again by each"),
    ):
        arms = tuple(replace(arm, spec={**own, "initialise": initialise}) for arm in outcomes.arms)
        assert words in paragraph(replace(outcomes, arms=arms), margin=0.01)


def test_of_images_without_colour_the_saturation_is_said_to_change_nothing():
    colour = stored()
    grey = replace(colour, study=replace(colour.study, data=colour.study.data.model_copy(update={"channels": 1})))
    said = "saturation changes nothing in images without colour"
    assert said in paragraph(grey, margin=0.01)
    assert said not in paragraph(colour, margin=0.01)
