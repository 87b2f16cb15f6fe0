from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablations.grid_files import load_grid
from ablations.grids import arms_of
from ablations.plan import arms_for
from ablations.protocols import PROTOCOLS
from cnnkit.errors import UserError
from cnnkit.module import add_search_paths
from cnnkit.spec import ModuleSpec

EXAMPLES = Path(__file__).parents[2] / "experiments" / "examples"
QUICK = PROTOCOLS["quick"]


def arms_from(tmp_path, text: str, suffix: str = "yaml"):
    file = tmp_path / f"my_grid.{suffix}"
    file.write_text(text)
    return arms_for(load_grid(file), "my_grid", QUICK)


def test_crossed_factors_give_every_combination(tmp_path):
    arms = arms_from(tmp_path, "question: Why?\ncross: {dropout: [0.5, 0.0], recipe.learning_rate: [1e-4, 3e-4]}")
    assert [(arm.spec.dropout, arm.recipe.learning_rate) for arm in arms] == [
        (0.5, 1e-4), (0.5, 3e-4), (0.0, 1e-4), (0.0, 3e-4),
    ]  # fmt: skip
    assert arms[0].is_baseline
    assert arms[3].levels.keys() == {"dropout", "recipe.learning_rate"}
    assert load_grid(tmp_path / "my_grid.yaml").__doc__ == "Why?"


def test_pairs_are_taken_together_and_crossed_with_the_rest(tmp_path):
    arms = arms_from(
        tmp_path, "cross: {dropout: [0.1, 0.2]}\npairs: {widths: [[8, 16], [8, 16, 32]], recipe.epochs: [5, 8]}"
    )
    assert [(len(a.spec.widths), a.recipe.epochs, a.spec.dropout) for a in arms if not a.is_baseline] == [
        (2, 5, 0.1), (3, 8, 0.1), (2, 5, 0.2), (3, 8, 0.2),
    ]  # fmt: skip


def test_single_arms_have_their_own_fields(tmp_path):
    arms = arms_from(tmp_path, "arms: [{name: plain, batch_norm: false, recipe.augmentation.flip: 0}]")
    assert [arm.name for arm in arms] == ["baseline", "plain"]
    assert arms[1].recipe.augmentation.flip == 0
    assert arms[1].recipe.augmentation.rotation == QUICK.recipe.augmentation.rotation


@pytest.mark.parametrize("example", sorted(path for path in EXAMPLES.iterdir() if path.suffix in (".yaml", ".py")))
def test_the_examples_are_grids(example):
    add_search_paths([str(EXAMPLES)])
    arms = arms_for(load_grid(example), example.stem, PROTOCOLS["smoke"])
    assert sum(arm.is_baseline for arm in arms) == 1
    assert len(arms) >= 3


def test_a_network_of_ones_own_is_keyed_by_its_source(tmp_path):
    (tmp_path / "net_a.py").write_text(
        "from torch import nn\ndef make(width=4):\n    return nn.Sequential("
        "nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))\n"
    )
    add_search_paths([str(tmp_path)])
    text = 'arms: [{name: mine, factory: "net_a:make", arguments: {width: 6}}]'
    spec = arms_from(tmp_path, text)[1].spec
    assert isinstance(spec, ModuleSpec)
    assert len(spec.source) == 16
    from cnnkit import build, cost

    costs = cost(spec)
    assert costs.parameters == sum(p.numel() for p in build(spec).parameters()) == 6 * 27 + 6 + 70
    assert costs.multiply_adds == 6 * 27 * 62 * 62 + 60


def test_a_timm_model_comes_through_the_same_door(tmp_path):
    arm = arms_from(tmp_path, "arms: [{name: ResNet-18, factory: resnet18}]")[1]
    from cnnkit import cost

    # torchvision's documented 11.7 M parameters, with ten classes instead of a thousand
    assert cost(arm.spec).parameters == 11_689_512 - 513_000 + 5_130


BAD_YAML = [
    ("cross: [1, 2]", "cross must map fields"),
    ("- 1", "expected sections"),
    ("just text", "expected sections"),
    ("", "expected sections"),
    ("question: Why?", "no arms"),
    ("crosss: {dropout: [0.1]}", "did you mean 'cross'?"),
    ("cross: {droput: [0.1]}", "did you mean 'dropout'?"),
    ("cross: {recipe.epoch: [1]}", "did you mean 'recipe.epochs'?"),
    ("cross: {recipe.augmentation.flipp: [1]}", "recipe.augmentation.flip"),
    ("cross: {dropout: 0.1}", "must be a list of levels"),
    ("cross: {dropout: []}", "must be a list of levels"),
    ("cross: {dropout: [2.0]}", "less than 1"),
    ("cross: {dropout: [a]}", "valid number"),
    ("cross: {widths: [[8, -1]]}", "greater than 0"),
    ("cross: {widths: [[]]}", "at least 1"),
    ("cross: {widths: [[8, 8, 8, 8, 8, 8, 8]]}", "block 7"),
    ("cross: {kernel_size: [2]}", "odd"),
    ("cross: {activation: [swash]}", "swash"),
    ("cross: {recipe.schedule: [sometimes]}", "sometimes"),
    ("cross: {recipe.schedule: [step]}", "decay_epochs"),
    ("cross: {dropout: [0.1, 0.1]}", "two arms are called"),
    ("pairs: {dropout: [0.1, 0.2], widths: [[8]]}", "one length"),
    ("pairs: {dropout: x}", "must be a list of levels"),
    ("arms: {name: a}", "list of mappings"),
    ("arms: [a, b]", "list of mappings"),
    ("arms: [{dropout: 0.1}]", "arm 1 has no name"),
    ("arms: [{name: 3, dropout: 0.1}]", "arm 1 has no name"),
    ("arms: [{name: a, dropout: 0.1}, {name: a, dropout: 0.2}]", "two arms are called 'a'"),
    ("arms: [{name: a, dropout: 0.1}, {name: b, dropout: 0.1}]", "are the same"),
    ("arms: [{name: a, factory: resnet19}]", "did you mean 'resnet18'?"),
    ("arms: [{name: a, factory: 'no_such_net:make'}]", "no module 'no_such_net'"),
    ("arms: [{name: a, factory: 'json:zzz'}]", "no function 'zzz'"),
    ("arms: [{name: a, factory: 'json:dumps', arguments: {obj: 1}}]", "returned str"),
    ("arms: [{name: a, factory: resnet18, arguments: {layers: x}}]", "failed with"),
    ("arms: [{name: a, factory: resnet18, dropout: 0.1}]", "use arguments"),
    ("arms: [{name: a, factory: 3}]", "string"),
    ("arms: [{name: a, arguments: {x: 1}}]", "arguments"),
    ("cross: {dropout: [0.1", "not readable as YAML"),
    ("cross:\n\t- x", "not readable as YAML"),
    ("cross: !!python/object/apply:os.system ['true']", "not readable as YAML"),
]


@pytest.mark.parametrize(("text", "words"), BAD_YAML)
def test_a_malformed_yaml_grid_is_refused_in_one_sentence(tmp_path, text, words):
    with pytest.raises(UserError) as caught:
        arms_from(tmp_path, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


BAD_PYTHON = [
    ("x = 1", "defines no function"),
    ("grid = 3", "defines no function"),
    ("def grid(baseline):\n    return 3", "must return a list of arms"),
    ("def grid(baseline):\n    return [1]", "must return a list of arms"),
    ("def grid():\n    return []", "failed with TypeError"),
    ("def grid(baseline):\n    return 1 / 0", "ZeroDivisionError"),
    ("def grid(baseline):\n    return [baseline.variant('a', {}, droput=1)]", "droput"),
    ("def grid(baseline):\n    return [baseline.variant('a', {}, dropout=7)]", "less than 1"),
    ("def grid(baseline) return", "cannot be imported: SyntaxError"),
    ("import no_such_module", "cannot be imported: ModuleNotFoundError"),
    ("raise RuntimeError('two\\nlines')", "cannot be imported: RuntimeError: two"),
]


@pytest.mark.parametrize(("text", "words"), BAD_PYTHON)
def test_a_malformed_python_grid_is_refused_in_one_sentence(tmp_path, text, words):
    with pytest.raises(UserError) as caught:
        arms_from(tmp_path, text, "py")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_grid_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no grid file at"):
        load_grid(tmp_path / "my_grid.yaml")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_text_is_a_grid_or_one_sentence(tmp_path, text):
    (tmp_path / "g.yaml").write_text(text, encoding="utf-8")
    try:
        arms_of(load_grid(tmp_path / "g.yaml"), QUICK.baseline())
    except UserError as error:
        assert str(error)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats(allow_nan=True) | st.text("abc", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["dropout", "name", "x"]), inner, max_size=2)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.dictionaries(st.sampled_from(["cross", "pairs", "arms", "question"]), values, max_size=4))
def test_any_structure_is_a_grid_or_one_sentence(tmp_path, content):
    import yaml

    (tmp_path / "g.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    try:
        arms_of(load_grid(tmp_path / "g.yaml"), QUICK.baseline())
    except (UserError, ValueError) as error:
        assert "\n" not in str(error)
