"""The command line as a user meets it: in a process of its own."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ablations.grids import GRIDS
from ablations.plan import TUNING_SEED
from ablations.protocols import PROTOCOLS
from ablations.store import Store
from analysis.outcomes import Outcomes
from cnnkit.spec import ConvNetSpec

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
    assert re.search(r"2 blocks .* [+-]\d+\.\d\d \[([+-]\d+\.\d\d, [+-]\d+\.\d\d|too wide)\]", result.stdout)
    assert result.stderr == "", "nothing that Ray prints reaches the user"
    (csv,) = root.glob("studies/*/report/effects.csv")
    assert str(csv.with_name("report.html")) in result.stdout
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
        (["--grid", "depth", "--data", "sample", "--split.train", "5"], "of each of the 10 classes"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, words, tmp_path):
    result = command(*arguments, "--dry-run", cwd=tmp_path)
    assert result.returncode == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr


def test_status_counts_cells_time_and_disk(study):
    root, _ = study
    result = command(str(root), script="status.py")
    assert result.returncode == 0, result.stderr
    (row,) = (line.split() for line in result.stdout.splitlines() if line.startswith("depth-smoke-"))
    assert row[1:7] == ["10", "10", "0", "0", "0", "0"]
    assert row[-1] == "nothing"
    assert "disk:" in result.stdout


def test_pruning_frees_the_weights_and_keeps_the_table(study, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(study[0], root)
    before = Outcomes.from_store(root).cells
    assert "would free" in command(str(root), "--dry-run", script="prune.py").stdout
    assert len(list(root.glob("cells/*/weights.safetensors"))) == 10
    assert "weights of 10 cells" in command(str(root), script="prune.py").stdout
    assert list(root.glob("cells/*/weights.safetensors")) == []
    pd.testing.assert_frame_equal(Outcomes.from_store(root).cells, before)


def test_a_field_is_tuned_once_for_each_arm_on_validation_and_the_table_says_so(tmp_path):
    root = tmp_path / "results"
    result = command(
        "--grid", "batch_norm", "--protocol", "smoke", "--data", "sample", "--results", str(root), "--seeds", "1",
        "--split.train", "200", "--tune", "learning_rate=1e-5,1e-3", "--tune-once", "--keep-weights", "none",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "4 cells on a seed of their own, 4 to train" in result.stdout
    assert len(re.findall(r"^(?:no )?batch norm .*  learning rate (?:1e-05|0.001) ", result.stdout, re.MULTILINE)) == 2
    assert list(root.glob("cells/*/weights.safetensors")) == []
    outcomes = Outcomes.from_store(root)
    store = Store(root)
    for arm in outcomes.arms:
        tried = {
            record.identity["recipe"].get("learning_rate", 1e-4): record.curve[-1].validation_accuracy
            for record in (store.read(key) for key in store.finished_keys())
            if record.seed == TUNING_SEED and record.identity["spec"] == ConvNetSpec(**arm.spec).changed_fields()
        }
        assert len(tried) == 2
        assert arm.chosen == {"learning_rate": arm.recipe["learning_rate"]}
        assert tried[arm.recipe["learning_rate"]] == max(tried.values())
    assert (outcomes.cells["seed"] < TUNING_SEED).all()


def test_every_seed_tunes_a_field_for_itself_and_no_test_accuracy_is_shown_before_it_has(tmp_path):
    root = tmp_path / "results"
    words = [
        "--grid", "batch_norm", "--protocol", "smoke", "--data", "sample", "--results", str(root), "--seeds", "2",
        "--split.train", "200", "--tune", "learning_rate=1e-5,1e-3",
    ]  # fmt: skip
    result = command(*words)
    assert result.returncode == 0, result.stderr
    assert "2 arms x 2 seeds x 2 values = 8: 0 finished, 8 to train" in result.stdout
    lines = [line for line in result.stdout.splitlines() if re.match(r"\[\d/8\]", line)]
    assert len(lines) == 8
    assert all("validation" in line and "test" not in line for line in lines)
    store, study = Store(root), Outcomes.from_store(root)
    for cell in store.study(study.study.name).cells:
        tried = {
            candidate.fields["learning_rate"]: store.read(candidate.key).curve[-1].validation_accuracy
            for candidate in cell.candidates
        }
        assert tried[cell.chosen["learning_rate"]] == max(tried.values())
    assert (study.cells["status"] == "finished").all()
    assert "each seed with the learning rate that it chose" in result.stdout
    assert "8 finished, 0 to train" in command(*words, "--dry-run").stdout


NETWORK = """
from torch import nn
from wheels import width

class Net(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.conv, self.act, self.last = nn.Conv2d(3, width, 3, 2, 1), act(), nn.Linear(width * 32 * 32, 10)

    def forward(self, x):
        x = self.act(self.conv(x))
        return self.last(x.view(x.size(0), -1))
"""


def test_a_study_runs_in_a_folder_whose_files_are_called_like_our_packages_and_pythons(tmp_path):
    for name in ("ablations", "analysis", "cnnkit", "random", "queue"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong module')\n")
    (tmp_path / "test.py").write_text(NETWORK)
    (tmp_path / "wheels.py").write_text("width = 4\n")
    (tmp_path / "g.yaml").write_text(
        "arms: [{name: mine, factory: 'test:Net', arguments: {act: {$ref: 'torch.nn:GELU'}}}]\n"
    )
    result = command(
        "--grid", "g.yaml", "--protocol", "smoke", "--data", "sample", "--seeds", "1", "--results", "results", cwd=tmp_path
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    store = Store(tmp_path / "results")
    formats = {record.arm: record.provenance.memory_format for record in map(store.read, store.finished_keys())}
    assert formats == {"baseline": "channels_last", "mine": "contiguous"}
