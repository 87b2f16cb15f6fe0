"""Whatever is typed and whatever a grid's file holds: an answer with exit code 0, or one sentence with exit code 2.

Studies are described (`--dry-run`), in this process; nothing is trained.
"""

import contextlib
import dataclasses
import importlib.util
import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tyro
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ablations import cli
from ablations.arm import Arm
from ablations.protocols import PROTOCOLS
from ablations.resources import machine_memory, training_bytes
from ablations.running import Settings, prepare_study
from ablations.text import printable
from cnnkit.errors import UserError

SCRIPTS = Path(__file__).parents[2] / "experiments"


def module_of(name: str):
    spec = importlib.util.spec_from_file_location(f"hostile_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def main():
    return module_of("run_ablation").main


def ended(main, arguments: list[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    errors, output, before = io.StringIO(), io.StringIO(), sys.argv
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output), pytest.raises(SystemExit) as end:
        sys.argv = ["script", *arguments]
        try:
            cli.run_script(main)
        finally:
            sys.argv = before
    return end.value.code, output.getvalue(), errors.getvalue()


def assert_answered(result: tuple[int, str, str]) -> None:
    code, _, error = result
    assert code in (0, 2), error
    if code == 2:
        assert len(error.strip().splitlines()) == 1, error
        assert error.startswith("error: ")
        assert printable(error[:-1]) == error[:-1], error


DRY = ["--data", "sample", "--dry-run", "--protocol", "smoke"]
FIELDS = st.sampled_from(
    ["dropout", "widths", "hidden_width", "batch_norm", "recipe.epochs", "recipe.learning_rate", "recipe.augmentation",
     "recipe.augmentation.flip", "recipe.schedule", "name", "factory", "arguments", "image_size", "num_classes", "x"]
)  # fmt: skip
LEVELS = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 70) | st.integers() | st.floats() | st.text(max_size=4)
    | st.sampled_from(["json:dumps", "resnet18", "os:system", "1e-3", "cosine"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | FIELDS, inner, max_size=2),
    max_leaves=5,
)  # fmt: skip
GRIDS = st.fixed_dictionaries(
    {},
    optional={
        "question": st.text(max_size=9) | LEVELS,
        "cross": st.dictionaries(FIELDS, st.lists(LEVELS, max_size=3), max_size=2) | LEVELS,
        "pairs": st.dictionaries(FIELDS, st.lists(LEVELS, max_size=2), max_size=2) | LEVELS,
        "arms": st.lists(st.dictionaries(FIELDS, LEVELS, max_size=3), max_size=3) | LEVELS,
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=GRIDS)
@example(content={"arms": [{"name": "a", "widths": [10**9, 10**9]}]})
@example(content={"arms": [{"name": "a", "image_size": 10**12, "widths": [1]}]})
@example(content={"arms": [{"name": "a", "recipe.batch_size": 10**18}]})
@example(content={"arms": [{"name": "a", "recipe.epochs": 10**18}]})
@example(content={"arms": [{"name": "a", "widths": [1] * 300}]})
def test_any_yaml_grid_is_described_or_refused(main, tmp_path, content):
    import yaml

    file = tmp_path / "g.yaml"
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    assert_answered(ended(main, ["--grid", str(file), *DRY]))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_refused_or_a_grid(main, tmp_path, content):
    for name in ("g.yaml", "g.py"):
        (tmp_path / name).write_bytes(content)
        assert_answered(ended(main, ["--grid", str(tmp_path / name), *DRY]))


WORDS = st.sampled_from(
    ["--seeds", "--grid", "depth", "width", "--protocol", "smoke", "--protocol=smoke", "--shard", "1/2", "--tune",
     "learning_rate=1e-3,1e-4", "--dry-run", "--data", "sample", "--recipe.epochs", "2", "0", "-1", "1e3", "９", "--",
     "--help", "--spec.widths", "8", "--results", "/dev/null", "", " ", "@x", "\x1b[31m", "--gpu-fraction", "0.5", "nan",
     "--keep-weights", "none", "--address", "None", "--recipe.augmentation.flip", "-h", "--no-dry-run", "*", "~", "$HOME"]
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(words=st.lists(WORDS | st.text(max_size=6), max_size=5))
def test_any_command_line_is_answered_or_refused(main, tmp_path, words):
    if not {"--no-dry-run"} & set(words):
        with contextlib.chdir(tmp_path):
            # Given last, so that whatever the words are, nothing is trained.
            assert_answered(ended(main, [*words, "--dry-run"]))
            assert list(tmp_path.iterdir()) == []


NAMES = [
    "mein großes grid",
    "规模",
    "a'b\"c",
    "$(touch x)",
    "-rf",
    ".hidden",
    "con",
    "a" * 200,
    "..",
    "grid\nnew",
    "%s{0}",
]


@pytest.mark.parametrize("suffix", ["yaml", "py"])
@pytest.mark.parametrize("name", NAMES)
def test_a_grid_file_has_any_name_in_a_dry_run_and_in_a_real_one(tmp_path, monkeypatch, name, suffix, sample):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"{name}.{suffix}"
    yaml, python = "cross: {dropout: [0.1]}", "def grid(b):\n    return [b.variant('a', {}, dropout=0.1)]"
    file.write_text(yaml if suffix == "yaml" else python)
    names = []
    for dry in (True, False):
        study = (
            prepare_study(file, "smoke", data=sample, results="r", settings=Settings(seeds=1, dry_run=dry)).plan().study
        )
        names.append(study.name)
    prepare_study(file, "smoke", data=sample, results="r", settings=Settings(seeds=1)).store.write_study(study)
    assert len(set(names)) == 1
    assert [folder.name for folder in (tmp_path / "r" / "studies").iterdir()] == [names[0]]


FUNCTIONS = {
    "no docstring": (lambda baseline: [baseline.variant("a", {}, dropout=0.1)], None),
    "not a list": (lambda baseline: 3, "must return a list of arms, got int"),
    "no arms in it": (lambda baseline: [3], "got int in it"),
    "an error": (lambda baseline: 1 / 0, "failed: ZeroDivisionError"),
    "an exit": (lambda baseline: sys.exit(), "it ends the program"),
    "two of a name": (lambda b: [b.variant("x", {}, dropout=0.1), b.variant("X", {}, dropout=0.2)], "differ in blanks"),
    "no end": (lambda baseline: iter(lambda: baseline, 0), "1,001 arms"),
}


@pytest.mark.parametrize(("function", "words"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_grid_from_a_notebook_is_checked_like_one_from_a_file(tmp_path, sample, function, words):
    def prepared():
        return prepare_study(function, "smoke", data=sample, results=tmp_path / "r", settings=Settings(dry_run=True))

    if words is None:
        assert prepared().plan().study.question == "The grid <lambda>"
    else:
        with pytest.raises(UserError, match=words):
            prepared()


def test_images_that_are_trained_and_tested_on_are_said_and_kept_with_the_study(main, tmp_path, sample):
    from cnnkit.readers.cifar10 import pngs

    for part, images in (("train", sample.train), ("test", sample.train.subset(100, "leak"))):
        table = {"img": [{"bytes": png, "path": ""} for png in pngs(images)], "label": images.labels}
        pq.write_table(pa.table(table), tmp_path / f"{part}-0.parquet")
    asked = ["--grid", "dropout", "--data", str(tmp_path), "--dry-run", "--protocol", "quick"]
    code, output, _ = ended(main, [*asked, "--results", str(tmp_path / "results")])
    assert code == 0
    assert "  WARNING  100 of 100 test images are training images, too: accuracies on them say little" in output
    study = prepare_study("dropout", "quick", data=tmp_path, settings=Settings(dry_run=True)).plan().study
    assert "WARNING: 100 of 100 test images are training images, too" in study.data.text


def test_a_part_without_cells_has_nothing_to_train(main):
    code, output, _ = ended(main, ["--grid", "dropout", "--shard", "999/1000", *DRY])
    assert code == 0
    assert "nothing to train" in output


@pytest.mark.parametrize("option", ["--grid", "--data", "--results"])
def test_a_link_to_itself_is_one_sentence(main, tmp_path, option):
    link = tmp_path / "link.yaml"
    link.symlink_to(link)
    options = {"--grid": "dropout", "--data": "sample", "--results": str(tmp_path / "r"), option: str(link)}
    result = ended(main, ["--dry-run", *(word for pair in options.items() for word in pair)])
    assert_answered(result)
    assert result[0] == 2


def test_an_arm_that_needs_more_memory_than_there_is_is_said_before_the_training(main, tmp_path):
    def needed(width: int) -> int:
        smoke = PROTOCOLS["smoke"]
        return training_bytes(smoke.spec.vary(widths=(width, width)), smoke.recipe)

    width = next(width for width in range(1_000, 1_000_000, 500) if needed(width) > 2 * machine_memory())
    (tmp_path / "g.yaml").write_text(
        f"arms: [{{name: huge, widths: [{width}, {width}]}}, {{name: small, dropout: 0.1}}]"
    )
    code, output, _ = ended(main, ["--grid", str(tmp_path / "g.yaml"), *DRY])
    assert code == 0
    assert "  WARNING  huge needs up to" in output


def test_an_arm_that_no_machine_holds_is_refused(main, tmp_path):
    (tmp_path / "g.yaml").write_text("arms: [{name: huge, widths: [1000000, 1000000]}, {name: small, dropout: 0.1}]")
    code, _, errors = ended(main, ["--grid", str(tmp_path / "g.yaml"), *DRY])
    assert code == 2
    assert "arm 'huge' needs about" in errors


@pytest.mark.parametrize("script", sorted(path.stem for path in SCRIPTS.glob("*.py") if path.stem != "__init__"))
def test_help_explains_every_option(script):
    module = module_of(script)
    if not hasattr(module, "Arguments"):
        pytest.skip("takes no arguments")
    help_of = {
        field.name: tyro._docstrings.get_field_docstring(module.Arguments, field.name, ())
        for field in dataclasses.fields(module.Arguments)
    }
    groups = {"spec", "recipe", "split"}  # whose own fields are explained
    assert [name for name, text in help_of.items() if not text and name not in groups] == []
    if script == "run_ablation":
        from ablations.protocols import Split
        from cnnkit.recipe import Augmentation, Recipe
        from cnnkit.spec import ConvNetSpec

        fields = [field for kind in (Split, Recipe, Augmentation, ConvNetSpec) for field in kind.model_fields.values()]
        assert all(field.description for field in fields)


def test_levels_of_any_kind_survive_the_way_to_the_disk_and_back():
    levels = {"n": np.int64(3), "p": np.float32(0.5), "on": np.bool_(False), "规模": "大 ", "x": "1"}
    arm = Arm(name=" a ", levels=levels)
    assert arm.name == "a"
    assert Arm.model_validate_json(arm.model_dump_json()) == arm
    assert json.loads(arm.model_dump_json())["levels"] == {"n": 3, "p": 0.5, "on": False, "规模": "大", "x": "1"}


def test_a_link_to_a_grid_is_called_by_the_links_name(tmp_path, monkeypatch, sample):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "g.yaml").write_text("cross: {dropout: [0.1]}")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "inner" / "g.yaml")
    assert prepare_study("link.yaml", "smoke", data=sample, settings=Settings(dry_run=True)).grid_name == "link"
