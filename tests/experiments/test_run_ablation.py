"""The command line as a user meets it: in a process of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ablations.grids import GRIDS
from ablations.protocols import PROTOCOLS

SCRIPTS = Path(__file__).parents[2] / "experiments"


def command(
    *arguments: str, script: str = "run_ablation.py", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPTS / script), *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


def test_help_lists_every_grid_and_protocol_with_a_line():
    result = command("--help")
    assert result.returncode == 0
    for name, grid in GRIDS.items():
        assert f"{name}: {grid.__doc__.splitlines()[0][:40]}" in result.stdout
    for name, protocol in PROTOCOLS.items():
        assert f"{name}: {protocol.purpose[:40]}" in result.stdout


@pytest.mark.parametrize("module", ["cnnkit.spec", "cnnkit.recipe", "ablations.arm", "ablations.grids", "cnnkit.cost"])
def test_specs_recipes_and_grids_import_nothing_heavier_than_pydantic(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'timm', 'ray', 'numpy', 'pandas') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_dry_run_states_what_would_be_trained_and_writes_nothing(tmp_path):
    result = command("--grid", "depth", "--dry-run", "--data", "sample", "--protocol", "documented", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for words in (
        "5 arms x 3 seeds = 15",
        "documented (as asked): 224 pixels",
        "SAMPLE",
        "Ctrl-C",
        "4 blocks (baseline)",
    ):
        assert words in result.stdout
    assert "103 M" in result.stdout, "parameters of two blocks"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A whole depth study, as small as it gets."""
    root = tmp_path_factory.mktemp("cli") / "results"
    arguments = ["--grid", "depth", "--protocol", "smoke", "--data", "sample", "--results", str(root), "--seeds", "2"]
    return root, command(*arguments, "--recipe.epochs", "1", "--split.train", "100")


def test_a_study_ends_with_the_table(study):
    root, result = study
    assert result.returncode == 0, result.stderr
    assert "[10/10]" in result.stdout
    assert "SAMPLE" in result.stdout.split("[10/10]")[1]
    assert re.search(r"4 blocks .* baseline", result.stdout)
    assert re.search(r"2 blocks .* [+-]\d+\.\d\d \[[+-]\d+\.\d\d, [+-]\d+\.\d\d\]", result.stdout)
    assert result.stderr == "", "nothing that Ray prints reaches the user"
    (csv,) = root.glob("studies/*/effects.csv")
    assert str(csv) in result.stdout
    effects = pd.read_csv(csv)
    assert effects["seeds"].tolist() == [2] * 5
    assert effects["is_baseline"].tolist() == [False, False, True, False, False]


def test_changed_fields_are_said_and_make_a_study_of_their_own(study):
    root, result = study
    assert "recipe.epochs=1" in result.stdout
    assert [folder.name for folder in (root / "studies").iterdir()] != ["depth-smoke"]


def test_another_data_set_in_the_same_results_folder_is_refused(study, tmp_path):
    root, _ = study
    about = root / "ablations.json"
    original = about.read_text()
    about.write_text(re.sub(r'"data": "\w+"', '"data": "0123456789abcdef"', original))
    result = command("--grid", "depth", "--protocol", "smoke", "--data", "sample", "--results", str(root))
    about.write_text(original)
    assert result.returncode == 2
    assert "begun with other data" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--grid", "dept"], "no grid 'dept': did you mean 'depth'?"),
        (["--grid", "depth", "--protocol", "quik"], "no protocol 'quik': did you mean 'quick'?"),
        (["--grid", "depth", "--gpu-fraction", "3"], "--gpu-fraction 3"),
        (["--grid", "depth", "--seeds", "0"], "--seeds 0"),
        (["--grid", "depth", "--data", "/no/such/folder"], "/no/such/folder"),
        (["--grid", "depth", "--data", "sample", "--spec.image-size", "32"], "block 6"),
        (["--grid", "depth", "--data", "sample", "--split.train", "55"], "multiple of 10"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, words, tmp_path):
    result = command(*arguments, "--dry-run", cwd=tmp_path)
    assert result.returncode == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr
