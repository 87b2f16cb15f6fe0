"""Studies from Python, up to where Ray starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ablations import Settings, prepare_study
from ablations.protocols import PROTOCOLS
from ablations.running import find_grid
from cnnkit.errors import UserError

SMOKE = PROTOCOLS["smoke"]


def activation(baseline):
    """Does the activation matter?"""
    return [baseline.variant(name, {"activation": name}, activation=name) for name in ("relu", "gelu")]


def test_a_grid_is_a_name_a_file_or_a_function(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("question: Does dropout matter?\ncross:\n  dropout: [0.5, 0.0]\n")
    assert [find_grid(grid)[1] for grid in ("depth", str(file), file, activation)] == [
        "depth", "mine", "mine", "activation",
    ]  # fmt: skip


def test_a_study_can_be_described_without_writing_anything(tmp_path, sample):
    protocol = SMOKE.changed(recipe={"epochs": 3}, split={"train": 200})
    results, settings = tmp_path / "results", Settings(seeds=2, dry_run=True)
    prepared = prepare_study(activation, protocol, data=sample, results=results, settings=settings)
    plan = prepared.plan()
    assert len(plan.missing) == 4
    assert plan.study.question == "Does the activation matter?"
    assert plan.study.protocol_changes == {"recipe.epochs": 3, "split.train": 200}
    assert not results.exists()


def test_a_study_with_a_choice_says_its_cells_and_its_name_before(tmp_path, sample):
    settings = Settings(seeds=2, tune=("learning_rate", (1e-4, 1e-3)), tune_once=True, dry_run=True)
    prepared = prepare_study("batch_norm", SMOKE, data=sample, results=tmp_path / "results", settings=settings)
    tuning = prepared.tuning()
    assert len(tuning.plan.missing) == 4
    chosen = {arm: {"learning_rate": 1e-3} for arm in tuning.candidates}
    assert tuning.study == prepared.plan(chosen).study.name != prepared.plan().study.name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grid": "dept"}, "no grid 'dept': did you mean 'depth'?"),
        ({"protocol": "quik"}, "no protocol 'quik': did you mean 'quick'?"),
        ({"settings": Settings(seeds=0, dry_run=True)}, "at least one seed"),
        ({"data": "/no/such/folder"}, "/no/such/folder"),
    ],
)
def test_what_is_wrong_is_one_sentence(change, words, tmp_path):
    request = {"grid": "depth", "protocol": "smoke", "data": "sample", "settings": Settings(dry_run=True), **change}
    with pytest.raises(UserError, match=words.replace("?", ".")):
        prepare_study(request.pop("grid"), request.pop("protocol"), results=tmp_path / "results", **request)


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import ablations", ("torch", "ray", "numpy", "pydantic")),
        (
            "from ablations import Settings, prepare_study\n"
            "prepare_study('depth', 'smoke', data='sample', settings=Settings(dry_run=True)).plan()",
            ("ray",),
        ),
    ],
)
def test_what_is_heavy_is_imported_when_it_is_needed(code, absent, tmp_path):
    check = f"{code}\nimport sys; print([name for name in {absent} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert result.stdout.strip() == "[]"


def test_the_first_line_comes_before_anything_heavy_is_imported(tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch is imported')")
    script = Path(__file__).parents[2] / "experiments" / "run_ablation.py"
    path = os.pathsep.join([str(tmp_path), str(script.parents[1]), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, str(script), "--grid", "depth", "--protocol", "smoke", "--data", "sample"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert result.stdout == "depth, smoke: loading PyTorch and the data ...\n"
    assert result.stderr == "torch is imported\n"
