import pytest
from pydantic import ValidationError

from ablations.arm import Arm
from ablations.grids import GRIDS, arms_of, doubling
from ablations.protocols import PROTOCOLS
from cnnkit import BASELINE, build
from cnnkit.cost import cost
from cnnkit.spec import ModuleSpec


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_grids_arms_are_distinct_and_contain_the_baseline_once(grid, protocol):
    arms = arms_of(grid, protocol.baseline())
    assert len({arm.name for arm in arms}) == len(arms) >= (1 if grid.__name__ == "documented" else 2)
    assert len({(arm.spec.model_dump_json(), arm.recipe) for arm in arms}) == len(arms)
    (baseline,) = (arm for arm in arms if arm.is_baseline)
    assert (baseline.spec, baseline.recipe) == (protocol.spec, protocol.recipe)
    assert all(arm.spec.image_size == protocol.spec.image_size for arm in arms)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_grids_arms_are_built_with_the_predicted_parameters(grid):
    for arm in arms_of(grid, PROTOCOLS["quick"].baseline()):
        spec = arm.spec.vary(pretrained=False) if isinstance(arm.spec, ModuleSpec) else arm.spec  # no network in a test
        assert sum(p.numel() for p in build(spec).parameters()) == cost(spec).parameters


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_grid_says_its_question_what_else_moves_and_how_to_read_it(grid):
    assert "?" in grid.__doc__.splitlines()[0]
    assert "What else moves" in grid.__doc__
    assert "How to read it" in grid.__doc__


def test_the_depth_grid_doubles_widths_up_to_512():
    arms = arms_of(GRIDS["depth"], PROTOCOLS["documented"].baseline())
    assert [arm.spec.widths for arm in arms] == [
        (32, 64),
        (32, 64, 128),
        (32, 64, 128, 256),
        (32, 64, 128, 256, 512),
        (32, 64, 128, 256, 512, 512),
    ]
    assert [arm.name for arm in arms if arm.is_baseline] == ["4 blocks"]
    assert doubling(600, 2) == (600, 600)


def test_a_baseline_that_the_grid_does_not_contain_comes_first():
    other = Arm(name="baseline", spec=BASELINE.vary(image_size=64, widths=(10, 30)), is_baseline=True)
    arms = arms_of(GRIDS["depth"], other)
    assert arms[0].is_baseline
    assert sum(arm.is_baseline for arm in arms) == 1
    assert len(arms) == 6


def test_arms_that_are_the_same_or_share_a_name_are_refused():
    baseline = PROTOCOLS["quick"].baseline()
    same = baseline.variant("a", {}, dropout=0.1), baseline.variant("b", {}, dropout=0.1)
    with pytest.raises(ValueError, match="'a' and 'b' are the same"):
        arms_of(lambda arm: list(same), baseline)
    named = baseline.variant("a", {}, dropout=0.1), baseline.variant("a", {}, dropout=0.2)
    with pytest.raises(ValueError, match="two arms are called 'a'"):
        arms_of(lambda arm: list(named), baseline)


def test_an_arm_that_cannot_be_built_is_refused_when_it_is_made():
    with pytest.raises(ValidationError, match="block 6"):
        arms_of(GRIDS["depth"], PROTOCOLS["quick"].baseline().variant("small", {}, image_size=32))


def test_the_documented_protocol_is_as_documented():
    protocol = PROTOCOLS["documented"]
    recipe = protocol.recipe
    assert protocol.spec == BASELINE
    assert (recipe.optimizer, recipe.learning_rate, recipe.weight_decay) == ("adam", 1e-4, 1e-4)
    assert (recipe.batch_size, recipe.epochs, recipe.precision, recipe.schedule) == (64, 5, "fp32", "none")
    assert protocol.split.train is None
