from ablations.arm import Arm
from ablations.protocols import PROTOCOLS
from analysis.methods import in_short
from analysis.outcomes import StudiedArm


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
    }
    recipe = {"schedule": "cosine", "warmup_epochs": 1, "label_smoothing": 0.1}
    described = described_arm(arm.variant("changed", {}, recipe=recipe, **spec))
    for part in (
        "2 convolutions each",
        "gelu, residual links",
        "maps averaged to 2x2, dropout",
        "cosine schedule with 1 epoch",
    ):
        assert part in described
    assert "hidden layer" not in described
    assert "label smoothing 0.1" in described
