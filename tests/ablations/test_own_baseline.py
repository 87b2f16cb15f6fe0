from pathlib import Path

import pytest
from safetensors.torch import save_file

from ablations.arm import Arm
from ablations.cell import Cell, SplitSizes
from ablations.grid_files import load_grid
from ablations.grids import GRIDS, arms_of
from ablations.plan import arms_for, changes
from ablations.protocols import PROTOCOLS
from cnnkit import build
from cnnkit.description import cifar10
from cnnkit.errors import UserError
from cnnkit.search_paths import add_search_paths
from cnnkit.spec import ModuleSpec

NETWORKS = Path(__file__).parents[1] / "cnnkit" / "networks"
SMOKE = PROTOCOLS["smoke"]
DATA = cifar10(fingerprint="0", source="full")


@pytest.fixture(autouse=True)
def _networks():
    add_search_paths([str(NETWORKS)])


def arms_from(tmp_path, text: str) -> list[Arm]:
    (tmp_path / "my_grid.yaml").write_text(text)
    grid = load_grid(tmp_path / "my_grid.yaml")
    add_search_paths([str(NETWORKS)])
    return arms_for(grid, "my_grid", SMOKE, DATA)


def own(factory="small_vgg:make", **arguments) -> Arm:
    network = ModuleSpec(factory=factory, arguments=arguments)
    return SMOKE.vary(network=network).baseline()


def test_a_network_of_ones_own_is_the_baseline_and_its_arguments_are_crossed(tmp_path):
    arms = arms_from(
        tmp_path,
        'question: Why?\nbaseline: {factory: "small_vgg:make"}\ncross: {batch_norm: [true, false], dropout: [0.5, 0.0]}',
    )
    assert [(arm.spec.arguments, arm.is_baseline) for arm in arms] == [
        ({}, True),
        ({"dropout": 0.0}, False),
        ({"batch_norm": False}, False),
        ({"batch_norm": False, "dropout": 0.0}, False),
    ]
    assert all(arm.spec.image_size == SMOKE.spec.image_size for arm in arms)
    assert arms[2].changes_from(arms[0]) == {"arguments.batch_norm": False}


def test_arguments_go_in_pairs_and_single_arms_and_beside_fields_of_the_recipe(tmp_path):
    arms = arms_from(
        tmp_path,
        """
baseline: {factory: "small_vgg:make", arguments: {width: 4}, recipe.learning_rate: 0.01}
pairs: {width: [4, 6], recipe.epochs: [2, 3]}
arms:
  - {name: no norm, arguments: {batch_norm: false}}
  - {name: slow, recipe.learning_rate: 0.001}
  - {name: another, factory: "timm:resnet10t"}
""",
    )
    baseline, paired, no_norm, slow, another = arms
    assert baseline.is_baseline
    assert (paired.spec.arguments, paired.recipe.epochs) == ({"width": 6}, 3)
    assert no_norm.spec.arguments == {"width": 4, "batch_norm": False}
    assert (slow.spec, slow.recipe.learning_rate) == (baseline.spec, 0.001)
    assert another.spec.factory == "resnet10t"
    assert another.recipe.learning_rate == 0.01


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'baseline: {factory: "small_vgg:make"}\ncross: {droput: [0.1]}',
            "did you mean 'dropout'? it takes width, batch_norm",
        ),
        ('baseline: {factory: "small_vgg:make"}\ncross: {recipe.epoch: [1]}', "did you mean 'recipe.epochs'"),
        (
            'baseline: {factory: "small_vgg:make", arguments: {depth: 3}}\ncross: {width: [4]}',
            "takes no argument 'depth'",
        ),
        ("baseline: {factory: 3}\ncross: {width: [4]}", "valid string"),
        ("baseline: [a]\ncross: {dropout: [0.1]}", "baseline must be a mapping"),
        ('baseline: {factory: "small_vgg:mak"}\ncross: {dropout: [0.1]}', "has no function 'mak'"),
        ('baseline: {factory: "small_vgg:make", pretrained: true}\ncross: {dropout: [0.1]}', "give weights: FILE"),
        (
            'baseline: {factory: "small_vgg:make", weights: nowhere.pth}\ncross: {dropout: [0.1]}',
            "no file at nowhere.pth",
        ),
        ('baseline: {factory: "small_vgg:make", widths: [3]}\ncross: {dropout: [0.1]}', "widths goes with our spec"),
        ('baseline: {factory: "small_vgg:make"}\nquestion: Why?', "no arms"),
        ("baseline: {pretrained: true}\ncross: {dropout: [0.1]}", "pretrained goes with a factory"),
    ],
)
def test_a_baseline_that_cannot_be_is_one_sentence(tmp_path, text, words):
    with pytest.raises(UserError) as caught:
        arms_from(tmp_path, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whose_code_a_baseline_calls_is_said_before_it_is_called(tmp_path):
    (tmp_path / "my_grid.yaml").write_text('baseline: {factory: "small_vgg:make"}\ncross: {width: [4]}')
    assert load_grid(tmp_path / "my_grid.yaml").code[0].startswith("small_vgg:make, ")


def test_a_python_grid_has_a_baseline_of_its_own():
    def grid(baseline):
        """Does batch norm help my VGG?"""
        mine = baseline.replaced("my VGG", {}, "small_vgg:make").as_baseline()
        return [
            mine,
            mine.variant("no norm", {"norm": False}, batch_norm=False),
            mine.variant("as before", {}, batch_norm=True),
        ]

    with pytest.raises(ValueError, match="the same network and recipe"):  # batch norm is there anyway
        arms_of(grid, SMOKE.baseline())
    arms = arms_of(lambda baseline: grid(baseline)[:2], SMOKE.baseline())
    assert [arm.is_baseline for arm in arms] == [True, False]


@pytest.mark.parametrize(
    ("grid", "arguments"),
    [
        ("batch_norm", [{}, {"batch_norm": False}]),
        ("dropout", [{"dropout": 0.0}, {"dropout": 0.25}, {}, {"dropout": 0.75}]),
        ("batch_norm_dropout", [{}, {"dropout": 0.0}, {"batch_norm": False}, {"batch_norm": False, "dropout": 0.0}]),
        ("learning_rate", [{}] * 4),
        ("epochs", [{}] * 4),
        ("leave_one_out", [{}, {"batch_norm": False}, {"dropout": 0.0}, {}, {}]),
    ],
)
def test_grids_vary_the_parts_that_a_baseline_of_ones_own_has(grid, arguments):
    arms = arms_of(GRIDS[grid], own())
    assert sorted(map(str, (arm.spec.arguments for arm in arms))) == sorted(map(str, arguments))
    assert sum(arm.is_baseline for arm in arms) == 1


def test_a_timm_network_calls_its_dropout_drop_rate():
    arms = arms_of(GRIDS["dropout"], own("timm:resnet10t", drop_rate=0.0))
    assert [arm.spec.arguments for arm in arms] == [{"drop_rate": p} for p in (0.0, 0.25, 0.5, 0.75)]
    assert arms[0].is_baseline


@pytest.mark.parametrize("grid", ["depth", "width", "residual", "head", "convs_per_block"])
def test_a_grid_whose_part_the_baseline_has_not_is_one_sentence(grid):
    with pytest.raises(UserError) as caught:
        arms_of(GRIDS[grid], own())
    assert "small_vgg:make" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_grid_of_the_built_in_networks_parts_leads_to_a_grid_of_ones_own():
    with pytest.raises(UserError, match="vary the arguments of small_vgg:make in a grid file of your own"):
        arms_of(GRIDS["depth"], own())


def test_a_network_without_such_an_argument_is_told_what_it_takes():
    with pytest.raises(UserError, match=r"odd_networks:Plain has no argument for dropout .* it takes width"):
        arms_of(GRIDS["dropout"], own("odd_networks:Plain"))


def test_a_protocol_with_another_baseline_is_another_study():
    protocol = SMOKE.vary(network=ModuleSpec(factory="small_vgg:make", arguments={"width": 4}))
    assert changes(protocol, DATA) == {"network.factory": "small_vgg:make", "network.arguments": {"width": 4}}
    assert changes(SMOKE, DATA) == {}


def test_keys_of_cells_stay_what_they_were():
    split = SplitSizes(train=40_000, validation=5_000, test=10_000)
    for spec, key in KEYS.items():
        network = ModuleSpec.model_validate_json(spec) if spec else PROTOCOLS["documented"].spec
        arm = Arm(name="a", spec=network, recipe=PROTOCOLS["documented"].recipe)
        assert Cell.of(arm, data="f", split=split, seed=0).key == key


KEYS = {
    "": "58770bfb6fb34ae93ee4",
    '{"factory": "resnet18", "image_size": 64}': "d69bc03cb6ed53505aed",
    '{"factory": "my_net:make", "arguments": {"width": 3}, "source": "0123456789abcdef"}': "6367459198afbf9a2d63",
    '{"factory": "torchvision.models:vgg11", "arguments": {"num_classes": 10}}': "53f41d152a4edf1c9c27",
}


def test_weights_that_lie_beside_a_grid_are_found_and_named_and_their_place_is_no_part_of_the_key(tmp_path):
    state = build(ModuleSpec(factory="small_vgg:make", image_size=64), seed=7).state_dict()
    text = 'baseline: {factory: "small_vgg:make"}\narms: [{name: started, weights: vgg.safetensors, recipe.freeze: backbone}]'
    keys = set()
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        save_file(state, tmp_path / place / "vgg.safetensors")
        baseline, started = arms_from(tmp_path / place, text)
        assert started.start == "vgg.safetensors, its last layer with them"
        assert started.changes_from(baseline) == {
            "weights": "vgg.safetensors, its last layer with them", "freeze": "backbone",
        }  # fmt: skip
        split = SplitSizes(train=10, validation=10, test=10)
        keys.add(Cell.of(started, data="f", split=split, seed=0).key)
    assert len(keys) == 1
