import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablations.grid_files import is_grid_file, load_grid
from ablations.grids import arms_of
from ablations.plan import arms_for
from ablations.protocols import PROTOCOLS
from cnnkit.description import cifar10
from cnnkit.errors import UserError
from cnnkit.search_paths import add_search_paths
from cnnkit.spec import ModuleSpec

EXAMPLES = Path(__file__).parents[2] / "experiments" / "examples"
QUICK = PROTOCOLS["quick"]
DATA = cifar10(fingerprint="0", source="full")


def arms_from(tmp_path, text: str, suffix: str = "yaml"):
    file = tmp_path / f"my_grid.{suffix}"
    file.write_text(text)
    return arms_for(load_grid(file), "my_grid", QUICK, DATA)


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


@pytest.mark.parametrize(
    "example",
    sorted(path for path in EXAMPLES.iterdir() if path.suffix in (".yaml", ".py") and path != EXAMPLES / "my_vgg.py"),
)
def test_the_examples_are_grids(example):
    add_search_paths([str(EXAMPLES)])
    arms = arms_for(load_grid(example), example.stem, PROTOCOLS["smoke"], DATA)
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
    ("arms: [{name: 3, dropout: 0.1}]", "arm 1: a name must be text, got 3; put it into quotes"),
    ("arms: [{name: true, dropout: 0.1}]", "arm 1: a name must be text, got True"),
    ("arms: [{name: '', dropout: 0.1}]", "something that can be seen"),
    ("arms: [{name: ' ', dropout: 0.1}]", "something that can be seen"),
    ('arms: [{name: "\\u0301\\u200d", dropout: 0.1}]', "something that can be seen"),
    ('arms: [{name: "a\\tb", dropout: 0.1}]', "U+0009"),
    ('arms: [{name: "\\e[31mred", dropout: 0.1}]', "U+001B"),
    ('arms: [{name: "\\u202egnorw", dropout: 0.1}]', "U+202E"),
    (f"arms: [{{name: {'a' * 201}, dropout: 0.1}}]", "at most 200 characters"),
    ("arms: [{name: 'a b', dropout: 0.1}, {name: 'a  b', dropout: 0.2}]", "differ in blanks, case or forms of letters"),
    ("arms: [{name: ab, dropout: 0.1}, {name: 'ab ', dropout: 0.2}]", "two arms are called 'ab'"),
    ("arms: [{name: relu, dropout: 0.1}, {name: ReLU, dropout: 0.2}]", "differ in blanks, case or forms of letters"),
    ('arms: [{name: "\\u00e9", dropout: 0.1}, {name: "e\\u0301", dropout: 0.2}]', "two arms are called 'é'"),
    ('arms: [{name: "x\\u200d", dropout: 0.1}, {name: x, dropout: 0.2}]', "differ in blanks, case or forms of letters"),
    ("arms: [{name: Baseline, dropout: 0.1}]", "'baseline' and 'Baseline' differ"),
    ("arms:\n- name: a\n  dropout: 0.1\n  dropout: 0.2", "line 4: 'dropout' is given twice, first in line 3"),
    ("cross: {dropout: [0.1]}\ncross: {dropout: [0.2]}", "line 2: 'cross' is given twice, first in line 1"),
    ("cross:\n  dropout: [0.1]\n  dropout: [0.2]", "line 3: 'dropout' is given twice, first in line 2"),
    ("arms: [{name: a, factory: 'n:m', arguments: {x: {y: 1, y: 2}}}]", "line 1: 'y' is given twice"),
    ("cross: {dropout: [0.1]}\npairs: {dropout: [0.2]}", "dropout stands in cross and in pairs"),
    (
        "arms: [{name: a, recipe.augmentation: {flip: 0}, recipe.augmentation.flip: 0.1}]",
        "recipe.augmentation.flip is given twice",
    ),
    ("question: 3\ncross: {dropout: [0.1]}", "question must be text, got 3"),
    ("question: [a, b]\ncross: {dropout: [0.1]}", "question must be text, got a list"),
    ("1: x", "line 1: a key must be text, got 1"),
    ("? [a]\n: x", "line 1: a key must be text"),
    ("[" * 5_000, "nested more than 50 levels deep"),
    ("{a: " * 5_000, "nested more than 50 levels deep"),
    ("cross: &a {dropout: *a}", "nested more than 50 levels deep"),
    ("cross: &a {<<: *a}", "nested more than 50 levels deep"),
    (
        "".join(f"l{i + 1}: &l{i + 1} [{', '.join([f'*l{i}' if i else 'x'] * 10)}]\n" for i in range(9)),
        "more than 100,000 values, its aliases written out",
    ),
    ("cross: {dropout: [.nan]}", "line 1: .nan is not a finite number"),
    ("arms: [{name: a, factory: 'n:m', arguments: {x: .inf}}]", "line 1: .inf is not a finite number"),
    ("cross: {dropout: [1e999]}", "line 1: 1e999 is not a finite number"),
    (f"cross: {{widths: [[{'9' * 5_000}]]}}", "a number of more than 30 digits"),
    ("arms: [{name: a, factory: 'n:m', arguments: {x: !!binary aGk=}}]", "line 1: the tag !!binary means nothing"),
    ("arms: [{name: a, factory: 'n:m', arguments: {x: !!set {y}}}]", "line 1: the tag !!set means nothing"),
    ("arms: [{name: a, factory: 'n:m', arguments: {x: !!int y}}]", "not readable as YAML"),
    ('question: "\\ud800"\ncross: {dropout: [0.1]}', "line 1: text with half a character"),
    ("a: 1\n---\nb: 2", "not readable as YAML"),
    (
        "cross:\n"
        + "".join(
            f"  recipe.augmentation.{field}: {[i / 100 for i in range(16)]}\n"
            for field in ("flip", "rotation", "brightness", "contrast", "saturation")
        ),
        "1,048,576 arms, and a study takes at most 1,000",
    ),
    (f"arms: {[{'name': f'a{i}', 'hidden_width': i} for i in range(1_001)]}", "1,001 arms"),
    ("arms: [{name: a, dropout: 0.1}, {name: a, dropout: 0.2}]", "two arms are called 'a'"),
    ("arms: [{name: a, dropout: 0.1}, {name: b, dropout: 0.1}]", "are the same"),
    ("arms: [{name: a, factory: resnet19}]", "did you mean 'resnet18'?"),
    ("arms: [{name: a, factory: 'no_such_net:make'}]", "no module 'no_such_net'"),
    ("arms: [{name: a, factory: 'json:zzz'}]", "Python's own"),
    ("arms: [{name: a, factory: 'timm.layers:zzz'}]", "no function 'zzz'"),
    ("arms: [{name: a, factory: 'os:system', arguments: {command: 'exit 3'}}]", "Python's own"),
    (
        "arms: [{name: a, factory: 'hf-hub:timm/resnet18.a1_in1k'}]",
        "timm's name of the architecture ('resnet18.a1_in1k'",
    ),
    ("arms: [{name: a, factory: 'nets/mine.py:make'}]", "give the module's name, mine"),
    ("arms: [{name: a, factory: 'timm.layers:to_2tuple', arguments: {x: 1}}]", "returned tuple"),
    ("arms: [{name: a, factory: resnet18, arguments: {layers: x}}]", "failed with"),
    ("arms: [{name: a, factory: resnet18, dropout: 0.1}]", "use arguments"),
    ("arms: [{name: a, factory: 3}]", "string"),
    (f"arms: [{{name: a, factory: '{'x' * 300}:make'}}]", "no module"),
    ("cross: {recipe.epochs: [2, 2.0]}", "are the same network and recipe"),
    ("arms: [{name: a, arguments: {x: 1}}]", "arguments"),
    ("arms: [{name: y}, {name: ../../x}]", "'../../x' are the same network and recipe"),
    ("arms: [{name: a, num_classes: 3}]", "10 classes"),
    ("arms: [{name: a, recipe.optimizer: adamm}]", "no optimizer 'adamm'"),
    ("arms: [{name: a, factory: 'no_such_module:make'}]", "no module 'no_such_module'"),
    ("arms: [{name: a, factory: resnet1}]", "timm has no such model"),
    ("arms: [{name: a, widths: [1000001]}]", "less than or equal to 1000000"),
    ("cross: {dropout: [0.1", "not readable as YAML"),
    ("cross:\n\t- x", "not readable as YAML"),
    ("cross: !!python/object/apply:os.system ['true']", "the tag !!python/object/apply:os.system means nothing"),
]


@pytest.mark.parametrize(("text", "words"), BAD_YAML)
def test_a_malformed_yaml_grid_is_refused_in_one_sentence(tmp_path, text, words):
    with pytest.raises(UserError) as caught:
        arms_from(tmp_path, text)
    assert words in str(caught.value)
    assert str(tmp_path / "my_grid.yaml") in str(caught.value), "the sentence names the file"
    assert "\n" not in str(caught.value)


BAD_PYTHON = [
    ("x = 1", "defines no function"),
    ("grid = 3", "defines no function"),
    ("def grid(baseline):\n    return 3", "must return a list of arms"),
    ("def grid(baseline):\n    return [1]", "must return a list of arms"),
    ("def grid():\n    return []", "failed: TypeError"),
    ("import sys\nsys.exit(3)", "cannot be imported: it ends the program (SystemExit: 3)"),
    ("exit()", "cannot be imported: it ends the program"),
    ("def grid(baseline):\n    raise SystemExit", "failed: it ends the program"),
    ("def grid(baseline):\n    return grid(baseline)", "failed: RecursionError"),
    ("def f():\n    f()\nf()", "cannot be imported: RecursionError"),
    ("def grid(baseline):\n    yield 1", "got int in it"),
    ("def grid(baseline):\n    while True:\n        yield baseline", "1,001 arms"),
    ("def grid(baseline):\n    yield baseline\n    1 / 0", "failed: ZeroDivisionError"),
    ("def grid(baseline):\n    return [baseline] * 2_000", "2,000 arms"),
    ("def grid(baseline):\n    return [baseline.variant(' ', {}, dropout=0.1)]", "something that can be seen"),
    ("def grid(baseline):\n    return [baseline.variant('a', {'d': float('nan')}, dropout=0.1)]", "finite number"),
    ("def grid(baseline):\n    return [baseline.model_copy(update={'name': 'a\\n'*300})]", "U+000A"),
    ("def grid(baseline):\n    return [baseline.model_copy(update={'recipe': 3})]", "recipe"),
    (
        "def grid(baseline):\n    longer = {'name': 'b', 'recipe': baseline.recipe.vary(epochs=9)}\n    "
        "return [baseline, baseline.model_copy(update=longer)]",
        "'baseline' and 'b' are both marked as the baseline",
    ),
    ("class Odd(Exception):\n    def __str__(self):\n        return 1 / 0\nraise Odd", "cannot be imported: Odd"),
    ("x = 'a\0b'", "cannot be imported"),
    ("class Odd(BaseException):\n    pass\nraise Odd('boo')", "cannot be imported: Odd: boo"),
    ("class Odd(BaseException):\n    pass\ndef grid(baseline):\n    raise Odd('boo')", "failed: Odd: boo"),
    ("def grid(baseline):\n    return []", "returns no arms"),
    ("def grid(baseline):\n    return ()", "returns no arms"),
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
    assert str(tmp_path / "my_grid.py") in str(caught.value), "the sentence names the file"
    assert "\n" not in str(caught.value)


NAMES = [
    "规模",
    "🦋",
    "👨‍👩‍👧",
    "שלום עולם",
    "a, b",
    'the "best"',
    "$x_1$",
    "50 %",
    "a|b",
    "<b>",
    "=1+1",
    "\U0001fae9",
    "a\u00a0b",
]


@pytest.mark.parametrize("name", NAMES)
def test_an_arm_may_be_called_anything_that_can_be_read(tmp_path, name):
    arms = arms_from(tmp_path, json.dumps({"arms": [{"name": name, "dropout": 0.1}]}, ensure_ascii=False))
    assert arms[1].name == name


def test_numbers_and_text_are_what_they_look_like(tmp_path):
    (tmp_path / "plain_net.py").write_text(
        "from torch import nn\ndef make(**given):\n    "
        "return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))\n"
    )
    text = "{a: 1e-4, b: no, c: 2024-01-01, d: 1:30, e: 0777, f: !!str 5, g: true, h: ~}"
    spec = arms_from(tmp_path, f"arms: [{{name: x, factory: 'plain_net:make', arguments: {text}}}]")[1].spec
    assert spec.arguments == {
        "a": 1e-4, "b": "no", "c": "2024-01-01", "d": "1:30", "e": 777, "f": "5", "g": True, "h": None,
    }  # fmt: skip


def test_shared_fields_can_be_merged_into_an_arm(tmp_path):
    text = "arms:\n- &a {name: a, dropout: 0.1, hidden_width: 9}\n- {<<: *a, name: b, dropout: 0.2}"
    assert [(arm.name, arm.spec.dropout, arm.spec.hidden_width) for arm in arms_from(tmp_path, text)[1:]] == [
        ("a", 0.1, 9), ("b", 0.2, 9),
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("suffix", ["yaml", "YAML", "YML"])
def test_a_yaml_grid_may_come_from_any_editor(tmp_path, encoding, suffix):
    file = tmp_path / f"mein großes grid.{suffix}"
    file.write_text("question: Größer?\r\narms: [{name: größer, widths: [64, 128]}]\r\n", encoding=encoding)
    assert is_grid_file(str(file))
    assert load_grid(file).__doc__ == "Größer?"
    assert arms_for(load_grid(file), "g", QUICK, DATA)[1].name == "größer"


@pytest.mark.parametrize("question", ["", "question:", "question: ''", "question: '  '", 'question: "\\n\\t\\e"'])
def test_a_grid_that_asks_nothing_is_called_by_its_file(tmp_path, question):
    arms_from(tmp_path, f"{question}\ncross: {{dropout: [0.1]}}")
    assert load_grid(tmp_path / "my_grid.yaml").__doc__ == "The grid of my_grid.yaml"


@pytest.mark.parametrize("doc", ["", '"""   """', '"""\n\n"""', "__doc__ = 3"])
def test_a_python_grid_without_words_is_called_by_its_file(tmp_path, doc):
    arms_from(tmp_path, f"{doc}\ndef grid(baseline):\n    '''  '''\n    return [baseline]", "py")
    assert load_grid(tmp_path / "my_grid.py").__doc__ == "The grid of my_grid.py"


ARM = "baseline.variant('a', {}, dropout=0.1)"
PYTHON = {
    "partial": f"import functools\ndef make(baseline, x):\n    '''How?'''\n    return [{ARM}]\n"
    "grid = functools.partial(make, x=1)",
    "generator": f"def grid(baseline):\n    '''How?'''\n    yield {ARM}",
    "tuple": f"def grid(baseline):\n    '''How?'''\n    return ({ARM},)",
    "instance": f"class Maker:\n    '''How?'''\n    def __call__(self, baseline):\n        return [{ARM}]\ngrid = Maker()",
    "dataclass, print": "'''How?'''\nfrom dataclasses import dataclass\nprint('loaded')\n@dataclass\nclass Size:\n    "
    f"rate: 'float'\ndef grid(baseline):\n    return [{ARM}]",
    "numpy": "'''How?'''\nimport numpy as np\ndef grid(baseline):\n    levels = {'dropout': np.float64(0.1), 'n': np.int64(3), "
    "'on': np.bool_(True)}\n    return [baseline.variant('a', levels, dropout=np.float64(0.1))]",
}


@pytest.mark.parametrize("text", PYTHON.values(), ids=PYTHON)
@pytest.mark.parametrize("suffix", ["py", "PY"])
def test_a_python_grid_is_anything_that_gives_arms(tmp_path, text, suffix):
    arms = arms_from(tmp_path, text, suffix)
    assert [arm.spec.dropout for arm in arms] == [0.5, 0.1]
    assert load_grid(tmp_path / f"my_grid.{suffix}").__doc__ == "How?"
    types = {factor: type(level) for factor, level in arms[1].levels.items()}
    assert types in ({}, {"dropout": float, "n": int, "on": bool})


HELPER = "from helper import RATE\ndef grid(baseline):\n    return [baseline.variant('a', {}, dropout=RATE)]"
LATE_HELPER = "def grid(baseline):\n    from helper import RATE\n    return [baseline.variant('a', {}, dropout=RATE)]"


@pytest.mark.parametrize("text", [HELPER, LATE_HELPER], ids=["imported", "called"])
def test_a_grid_imports_the_file_beside_it_and_no_other_of_that_name(tmp_path, text):
    for folder, rate in (("a", 0.1), ("b", 0.2), ("a", 0.3)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "helper.py").write_text(f"RATE = {rate}")
        assert arms_from(tmp_path / folder, text, "py")[1].spec.dropout == rate


def test_a_grid_leaves_the_program_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sys.stdout
    mischief = "import os, sys\nos.chdir('/')\nsys.stdout = None\n"
    arms_from(
        tmp_path, f"{mischief}def grid(baseline):\n    import os, sys\n    os.chdir('/')\n    return [baseline]", "py"
    )
    assert sys.stdout is before
    assert Path.cwd() == tmp_path


def test_an_edited_grid_is_read_anew_within_the_same_second(tmp_path):
    for rate in (0.1, 0.2, 0.3):
        (tmp_path / "my_grid.py").write_text(
            f"def grid(baseline):\n    return [baseline.variant('a', {{}}, dropout={rate})]"
        )
        os.utime(tmp_path / "my_grid.py", (1, 1))
        assert load_grid(tmp_path / "my_grid.py")(QUICK.baseline())[0].spec.dropout == rate
    assert [file.name for file in tmp_path.iterdir()] == ["my_grid.py"]


def test_whose_code_a_yaml_grid_calls_is_known_before_it_is_called(tmp_path):
    (tmp_path / "net_b.py").write_text("raise RuntimeError('called')")
    (tmp_path / "g.yaml").write_text(
        "arms: [{name: a, factory: 'net_b:make'}, {name: b, factory: 'net_b:make', arguments: {x: 1}}, "
        "{name: c, factory: 'os:system'}, {name: d, factory: resnet18}, {name: e, factory: {a: 'b:c'}}]"
    )
    assert load_grid(tmp_path / "g.yaml").code == [
        f"net_b:make, in {tmp_path / 'net_b.py'}",
        "os:system, of an installed package",
    ]


PLACES = {
    "a folder": "is a folder; give a grid's file",
    "a pipe": "is no regular file",
    "a device": "is no regular file",
    "a link to itself": "cannot be read: Too many levels of symbolic links",
    "a name too long": "cannot be read: File name too long",
    "a null byte": "cannot be read: embedded null byte",
    "huge": "has more than 1,000,000 bytes",
}


@pytest.mark.parametrize(("place", "words"), PLACES.items(), ids=PLACES)
def test_what_is_no_grid_file_is_refused_without_reading_it(tmp_path, place, words):
    file = tmp_path / "x.yaml"
    match place:
        case "a folder":
            file.mkdir()
        case "a pipe":
            os.mkfifo(file)
        case "a device":
            file.symlink_to("/dev/zero")
        case "a link to itself":
            file.symlink_to(file)
        case "a name too long":
            file = tmp_path / f"{'x' * 300}.yaml"
        case "a null byte":
            file = tmp_path / "x\0.yaml"
        case "huge":
            file.write_bytes(b"#" * 1_000_001)
    with pytest.raises(UserError, match=words):
        load_grid(file)


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
