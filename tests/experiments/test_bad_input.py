"""Malformed input at the command line: one sentence that says what, where and what to do; exit code 2; nothing written.

The scripts' `main` is called in this process, as `run_script` does, so that a hundred and more cases take seconds.
"""

import contextlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.study_figures import FIGURES

SCRIPTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def mains():
    """Each script's `main`."""
    return {
        name: module_of(name).main for name in ("run_ablation", "status", "prune", "figure", "report", "make_notebooks")
    }


def module_of(name: str):
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def ended(main, arguments: list[str]) -> tuple[int, str]:
    """Exit code and standard error of a script."""
    from ablations import cli

    errors, output = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output), pytest.raises(SystemExit) as end:
        before = cli.sys.argv
        cli.sys.argv = ["script", *arguments]
        try:
            cli.run_script(main)
        finally:
            cli.sys.argv = before
    return end.value.code, errors.getvalue()


def assert_refused(result: tuple[int, str], words: str) -> None:
    code, error = result
    assert code == 2, error
    lines = error.strip().splitlines()
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    assert "Traceback" not in error
    assert words in lines[0]


def run(*options: str) -> list[str]:
    return ["--grid", "depth", "--data", "sample", "--dry-run", *options]


COMMAND_LINES = [
    # grid and protocol
    ([], "--grid"),
    (["--grid"], "--grid"),
    (["--grid", "dept"], "did you mean 'depth'?"),
    (["--grid", "Depth"], "did you mean 'depth'?"),
    (["--grid", "batchnorm"], "did you mean 'batch_norm'?"),
    (["--grid", "residuals"], "did you mean 'residual'?"),
    (["--grid", ""], "choose one of"),
    (["--grid", "xyzzy"], "choose one of"),
    (["--grid", "nowhere.yaml"], "no grid file at nowhere.yaml"),
    (["--grid", "nowhere.py"], "no grid file at nowhere.py"),
    (["--grid", "NOWHERE.YAML"], "no grid file at NOWHERE.YAML"),
    (["--grid", "/etc/passwd"], "the file of a grid ends in .yaml, .yml or .py"),
    (["--grid", "/etc/host.conf"], "the file of a grid ends in .yaml, .yml or .py"),
    (["--grid", f"{'x' * 300}.yaml"], "File name too long"),
    (["--grid", "depth", "--protocol", "quik"], "did you mean 'quick'?"),
    (["--grid", "depth", "--protocol", "document"], "did you mean 'documented'?"),
    (["--grid", "depth", "--protocol", "zzz"], "choose one of"),
    (["--grid", "depth", "--protocol="], "choose one of"),
    (["--grid", "depth", "width"], "width"),
    # options
    (run("--nonsense"), "--nonsense"),
    (run("--seed", "3"), "--seed"),
    (run("--seeds", "0"), "at least one seed"),
    (run("--seeds", "-1"), "at least one seed"),
    (run("--seeds", "three"), "--seeds"),
    (run("--seeds", "1.5"), "--seeds"),
    (run("--seeds"), "--seeds"),
    (run("--gpu-fraction", "3"), "at most 1"),
    (run("--gpu-fraction", "0"), "at most 1"),
    (run("--gpu-fraction", "-0.5"), "at most 1"),
    (run("--gpu-fraction", "half"), "at most 1"),
    (run("--gpu-fraction", "nan"), "at most 1"),
    (run("--gpu-fraction", "inf"), "at most 1"),
    (run("--shard", "0/2"), "I/N"),
    (run("--shard", "3/2"), "I/N"),
    (run("--shard", "1"), "I/N"),
    (run("--shard", "1/0"), "I/N"),
    (run("--shard", "a/b"), "I/N"),
    (run("--shard", "1/2/3"), "I/N"),
    (run("--tune", "learning_rate"), "at least two values"),
    (run("--tune", "learning_rate=1e-4"), "at least two values"),
    (run("--tune", "learning_rte=1e-4,3e-4"), "did you mean 'learning_rate'?"),
    (run("--tune", "augmentation=1,2"), "augmentation"),
    (run("--tune", "learning_rate=a,b"), "learning_rate"),
    (run("--tune", "learning_rate=-1,1"), "greater than 0"),
    (run("--tune", "schedule=cosine,sometimes"), "sometimes"),
    (run("--tune", "learning_rate=1e-4,0.0001"), "two of the values 1e-4, 0.0001 are the same"),
    (run("--tune-once"), "--tune-once: give --tune FIELD=VALUE,VALUE, too"),
    (run("--class", "catt"), "no class 'catt': did you mean 'cat'?"),
    (run("--class", "cat,,animal"), "did you mean 'animals'?"),
    (run("--class", ","), "--class ',': give a name"),
    (run("--keep-weights", "some"), "some"),
    (run("--seeds", "1001"), "at most 1,000 seeds"),
    (run("--seeds", "3,5,1001"), "at most 1,000 seeds"),
    (run("--seeds", "5,3"), "--seeds 5,3: looks need rising numbers of seeds"),
    (run("--seeds", "1,3"), "--seeds 1,3: looks need rising numbers of seeds"),
    (run("--seeds", "3,,5"), "--seeds 3,,5: give a number such as 5, or rising numbers such as 3,5,10"),
    (run("--seeds", "3;5"), "--seeds 3;5: give a number"),
    (run("--seeds", "3,5", "--variance", "moderated"), "moderated variances need at least 8 arms beside the baseline"),
    (run("--variance", "borrowed"), "--variance"),
    (run("--budget", "soon"), "--budget soon: give a time such as 2h, 90m, 45min or 1h30m"),
    (run("--budget", "0h"), "--budget 0h: give a time"),
    (run("--budget", "-1h"), "--budget"),
    (run("--budget", "90"), "--budget 90: give a time"),
    (run("--seeds", "1e3"), "--seeds"),
    (run("--seeds", "9" * 5_000), "--seeds"),
    (run("--shard", "１/２"), "I/N"),
    (run("--shard", f"1/{'9' * 5_000}"), "I/N"),
    (run("--results", "x" * 300), "cannot write to the results folder"),
    (run("--results", "/etc/passwd"), "cannot write to the results folder /etc/passwd"),
    (run("--results", "/dev/null/inside"), "cannot write to the results folder /dev/null/inside"),
    (run("--results", "/etc"), "/etc is not a results folder"),
    # plans that no machine brings to an end
    (run("--seeds", "1000000"), "at most 1,000 seeds"),
    (run("--budget", "1e300h"), "at most ten years"),
    (run("--budget", f"{'9' * 400}h"), "at most ten years"),
    (run("--budget", "0h0m0s"), "at most ten years"),
    (run("--recipe.epochs", "1000000000"), "less than or equal to 1000000"),
    (
        run("--recipe.epochs", "1000000", "--protocol", "documented"),
        "15 cells of up to 1,000,000 epochs would take about",
    ),
    (run("--tune", "epochs=5,1000000", "--protocol", "documented"), "years on this machine; give fewer epochs"),
    (
        run("--recipe.epochs", "1000000", "--seeds", "1000", "--address", "auto", "--protocol", "documented"),
        "on the largest cluster; give fewer epochs",
    ),
    (run("--spec.widths", "1000000", "1000000"), "TB of memory in training, and this machine has"),
    (run("--spec.image-size", "1000000"), "TB of memory in training"),
    (run("--recipe.batch-size", "1000000"), "TB of memory in training"),
    (run("--spec.widths", "1" + "0" * 400), "--spec.widths"),
    (run("--tune", "learning_rate=1e-4,1e-4"), "at least two values"),
    (run("--tune", "learning_rate=1e-4, "), "at least two values"),
    # an option given twice
    (run("--protocol", "quick", "--protocol", "smoke"), "--protocol is given more than once"),
    (run("--protocol=quick", "--protocol=quick"), "--protocol is given more than once"),
    (run("--seeds", "2", "--seeds=3"), "--seeds is given more than once"),
    (run("--grid", "width"), "--grid is given more than once"),
    (run("--dry-run"), "--dry-run is given more than once"),
    (run("--no-dry-run"), "--dry-run is given more than once"),
    (run("--dry_run"), "--dry-run is given more than once"),
    (run("--spec.batch-norm", "--spec.no-batch-norm"), "--spec.batch-norm is given more than once"),
    (
        run("--recipe.learning_rate", "1", "--recipe.learning-rate", "2"),
        "--recipe.learning-rate is given more than once",
    ),
    (run("--results", "r\udcff"), "is not text in this terminal's encoding"),
    (run("--protocol"), "--protocol"),
    (run("--protocol", "--seeds"), "--seeds"),
    (run("--see", "3"), "did you mean --seeds?"),
    # fields of the spec
    (run("--spec.width", "8"), "did you mean --spec.widths?"),
    (run("--spec.image-size", "0"), "greater than 0"),
    (run("--spec.image-size", "32"), "block 6"),
    (run("--spec.image-size", "big"), "--spec.image-size"),
    (run("--spec.widths", "a", "b"), "--spec.widths"),
    (run("--spec.widths", "0"), "greater than 0"),
    (run("--spec.widths", "8", "-8"), "--spec"),
    (run("--spec.kernel-size", "2"), "odd"),
    (run("--spec.kernel-size", "0"), "greater than 0"),
    (run("--spec.dropout", "1"), "less than 1"),
    (run("--spec.dropout", "-0.1"), "greater than or equal to 0"),
    (run("--spec.dropout", "nan"), "--spec"),
    (run("--spec.batch-norm", "yes"), "yes"),
    (run("--spec.activation", "swash"), "swash"),
    (run("--spec.head", "flat"), "flat"),
    (run("--spec.pool-size", "2"), "head='pool'"),
    (run("--spec.hidden-width", "-1"), "greater than or equal to 0"),
    (run("--spec.convs-per-block", "0"), "greater than 0"),
    (run("--spec.in-channels", "0"), "greater than 0"),
    (run("--spec.num-classes", "ten"), "--spec.num-classes"),
    (run("--spec.num-classes", "5"), "10 classes"),
    (run("--spec.in-channels", "2"), "channels"),
    # fields of the recipe
    (run("--recipe.epoch", "3"), "--recipe.epoch"),
    (run("--recipe.epochs", "0"), "greater than 0"),
    (run("--recipe.epochs", "x"), "--recipe.epochs"),
    (run("--recipe.batch-size", "1"), "greater than or equal to 2"),
    (run("--recipe.learning-rate", "0"), "greater than 0"),
    (run("--recipe.learning-rate", "fast"), "--recipe.learning-rate"),
    (run("--recipe.learning-rate", "inf"), "finite"),
    (run("--recipe.weight-decay", "-1"), "greater than or equal to 0"),
    (run("--recipe.optimizer", "adamm"), "did you mean 'adam"),
    (run("--recipe.optimizer", ""), "no optimizer"),
    (run("--recipe.momentum", "1"), "less than 1"),
    (run("--recipe.schedule", "sometimes"), "sometimes"),
    (run("--recipe.schedule", "step"), "decay_epochs"),
    (run("--recipe.schedule", "step", "--recipe.decay-epochs", "30"), "30 epochs"),
    (run("--recipe.decay-epochs", "2"), "schedule='step'"),
    (run("--recipe.warmup-epochs", "2"), "schedule"),
    (run("--recipe.schedule", "cosine", "--recipe.warmup-epochs", "5"), "epochs=5"),
    (run("--recipe.label-smoothing", "1"), "less than 1"),
    (run("--recipe.precision", "int8"), "int8"),
    (run("--recipe.augmentation.flip", "2"), "less than or equal to 1"),
    (run("--recipe.augmentation.rotation", "-5"), "greater than or equal to 0"),
    (run("--recipe.augmentation.contrast", "red"), "--recipe.augmentation.contrast"),
    (run("--recipe.augmentation.blur", "1"), "--recipe.augmentation.blur"),
    # the split
    (run("--split.train", "5"), "of each of the 10 classes"),
    (run("--split.train", "0"), "greater than 0"),
    (run("--split.test", "-10"), "greater than 0"),
    (run("--split.validation", "7"), "of each of the 10 classes"),
    (run("--split.validation", "many"), "--split.validation"),
    (run("--split.trian", "100"), "--split.trian"),
    # data
    (["--grid", "depth", "--dry-run", "--data", "/no/such/folder"], "/no/such/folder"),
    (["--grid", "depth", "--dry-run", "--data", "."], "holds no data set that is known"),
    (["--grid", "depth", "--dry-run", "--data", "smaple"], "no data folder at smaple"),
    (["--grid", "depth", "--dry-run", "--data", ""], "the data have no name"),
]


def last_words(value: object) -> str:
    return " ".join(value)[-40:] if isinstance(value, list) else ""


@pytest.mark.parametrize(("arguments", "words"), COMMAND_LINES, ids=last_words)
def test_a_bad_command_line(mains, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert_refused(ended(mains["run_ablation"], arguments), words)
    assert list(tmp_path.iterdir()) == []


def damaged_data(folder: Path, damage: str) -> None:
    """A data folder in the Parquet layout with something wrong."""
    folder.mkdir()
    good = {"img": [{"bytes": b"\x89PNG", "path": ""}], "label": [0]}
    match damage:
        case "empty file":
            for part in ("train", "test"):
                (folder / f"{part}-0.parquet").touch()
        case "text":
            for part in ("train", "test"):
                (folder / f"{part}-0.parquet").write_text("label,pixels\n0,1\n")
        case "folder":
            for part in ("train", "test"):
                (folder / f"{part}-0.parquet").mkdir()
        case "no test file":
            pq.write_table(pa.table(good), folder / "train-0.parquet")
        case "batches in another folder":
            (folder / "data_batch_1").write_bytes(b"\x80\x04.")
        case "empty batches":
            (folder / "cifar-10-batches-py").mkdir()
            (folder / "cifar-10-batches-py" / "data_batch_1").touch()
        case _:
            table = {
                "not an image": good,
                "no rows": {
                    "img": pa.array([], pa.struct({"bytes": pa.binary(), "path": pa.string()})),
                    "label": pa.array([], pa.int64()),
                },
                "null image": {"img": pa.array([None], pa.struct({"bytes": pa.binary()})), "label": [0]},
                "null label": {"img": good["img"], "label": pa.array([None], pa.int64())},
                "label column missing": {"img": good["img"]},
                "image column missing": {"label": [0]},
                "labels as text": {"img": good["img"], "label": ["cat"]},
                "images as numbers": {"img": [1], "label": [0]},
                "huge image": {"img": [{"bytes": huge_png(), "path": ""}], "label": [0]},
            }[damage]
            for part in ("train", "test"):
                pq.write_table(pa.table(table), folder / f"{part}-0.parquet")


def huge_png() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.zeros((300, 300, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


DAMAGES = {
    "empty file": "not a readable Parquet file",
    "text": "not a readable Parquet file",
    "folder": "not a readable file",
    "no test file": "all images are of one class",
    "batches in another folder": "cifar-10-batches-py",
    "empty batches": "damaged",
    "not an image": "not a readable image",
    "no rows": "no images",
    "null image": "not a readable image",
    "null label": "not a readable image",
    "label column missing": "no column of classes; it has img",
    "image column missing": "no column of images; it has label",
    "labels as text": "label an integer",
    "images as numbers": "img should be a struct",
    "huge image": "300x300",
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.items(), ids=DAMAGES)
def test_damaged_data(mains, tmp_path, monkeypatch, damage, words):
    monkeypatch.chdir(tmp_path)
    damaged_data(tmp_path / "d", damage)
    assert_refused(ended(mains["run_ablation"], ["--grid", "depth", "--data", "d"]), words)
    assert [file.name for file in tmp_path.iterdir()] == ["d"]


ROOTS = {
    "foreign": "not results",
    "a file": "cannot write",
    "unreadable marker": "cannot be read",
    "marker of another kind": "cannot be read",
    "newer format": "newer version",
    "other data": "begun with other data",
    "below a file": "cannot write",
}


def broken_root(folder: Path, kind: str) -> Path:
    """A results folder that cannot be used."""
    root = folder / "results"
    if kind == "a file":
        root.write_text("x")
        return root
    if kind == "below a file":
        root.write_text("x")
        return root / "inside"
    root.mkdir()
    content = {
        "foreign": None,
        "unreadable marker": "{",
        "marker of another kind": '{"hello": 1}',
        "newer format": '{"format": 99, "data": "ee7207581883be22", "data_description": "x"}',
        "other data": '{"format": 1, "data": "0", "data_description": "x"}',
    }[kind]
    if content is None:
        (root / "thesis.tex").write_text("x")
    else:
        (root / "ablations.json").write_text(content)
    return root


@pytest.mark.parametrize(("kind", "words"), ROOTS.items(), ids=ROOTS)
def test_a_results_folder_that_cannot_be_used(mains, tmp_path, monkeypatch, kind, words):
    monkeypatch.chdir(tmp_path)
    root = broken_root(tmp_path, kind)
    assert_refused(ended(mains["run_ablation"], ["--grid", "depth", "--data", "sample", "--results", str(root)]), words)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_results_folder_without_write_permission(mains, tmp_path):
    (tmp_path / "results").mkdir(mode=0o500)
    arguments = ["--grid", "depth", "--data", "sample", "--results", str(tmp_path / "results")]
    assert_refused(ended(mains["run_ablation"], arguments), "cannot write")


@pytest.mark.parametrize("script", ["status", "prune"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "results folder"),
        (["nowhere"], "not a results folder"),
        (["a", "b"], "b"),
        (["--wrong", "x"], "see --help"),
        (["."], "not a results folder"),
    ],
)
def test_scripts_that_read_a_results_folder(mains, tmp_path, monkeypatch, script, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert_refused(ended(mains[script], arguments), words)


STORED = Path(__file__).parents[1] / "ablations" / "stored" / "format-1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "see --help"),
        (["{root}"], "see --help"),
        (["{root}", "forrest"], "did you mean 'forest'?"),
        (["{root}", "pie"], f"choose one of {', '.join(FIGURES)}"),
        (["{root}", "forest", "again"], "again"),
        (["{root}", "forest", "--out", "f.jpg"], "f.jpg: a figure is written as .pdf, .png or .svg"),
        (["{root}", "forest", "--out", "f"], "f: a figure is written as .pdf, .png or .svg"),
        (["{root}", "forest", "--out", "no/such/folder/f.pdf"], "cannot write no/such/folder/f.pdf: No such file"),
        (["{root}", "forest", "--width", "2.9"], "--width 2.9: from 3 to 20 inches"),
        (["{root}", "forest", "--width", "-3"], "--width -3: from 3 to 20 inches"),
        (["{root}", "forest", "--width", "nan"], "--width nan: from 3 to 20 inches"),
        (["{root}", "forest", "--width", "1e9"], "from 3 to 20 inches"),
        (["{root}", "forest", "--width", "wide"], "--width"),
        (["nowhere", "forest"], "not a results folder"),
        (["{root}/studies/nothing", "forest"], "has no study 'nothing'"),
        (["empty", "forest"], "holds 0 studies"),
    ],
    ids=last_words,
)
def test_a_figure_that_cannot_be_drawn(mains, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    shutil.copy(STORED / "ablations.json", tmp_path / "empty")
    assert_refused(ended(mains["figure"], [word.format(root=STORED) for word in arguments]), words)
    assert [file.name for file in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize("figure", ["forest", "cost", "learning_curves", "per_class"])
def test_a_figure_of_a_study_without_finished_cells(mains, tmp_path, monkeypatch, figure):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(STORED, tmp_path / "r", ignore=shutil.ignore_patterns("cells"))
    (tmp_path / "r" / "cells").mkdir()
    assert_refused(ended(mains["figure"], ["r", figure]), "so there is nothing to draw")
    assert [file.name for file in tmp_path.iterdir()] == ["r"]


words_of_options = st.lists(
    st.sampled_from(
        [
            "--seeds",
            "--spec.widths",
            "--recipe.epochs",
            "--protocol",
            "--shard",
            "--tune",
            "-1",
            "0",
            "x",
            "1/2",
            "depth",
        ]
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=words_of_options)
def test_any_command_line_is_answered_or_refused_in_one_sentence(mains, options):
    code, error = ended(mains["run_ablation"], [*options, "--grid", "dept", "--data", "sample", "--dry-run"])
    assert code == 2
    assert len(error.strip().splitlines()) == 1
    assert error.startswith("error: ")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("status", "results is not a results folder"),
        ("prune", "an argument is missing: a results folder; see --help"),
        ("report", "an argument is missing: a study's folder, or a results folder that holds one study; see --help"),
        ("figure", "an argument is missing: a study's folder, or a results folder that holds one study; see --help"),
    ],
)
def test_a_script_without_its_argument_says_what_it_needs(mains, tmp_path, monkeypatch, script, words):
    monkeypatch.chdir(tmp_path)
    assert_refused(ended(mains[script], []), words)


def test_a_missing_extra_is_named_with_the_command_that_installs_it(mains, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jupytext" else find(name))
    assert_refused(
        ended(mains["make_notebooks"], []), "jupytext not installed; notebooks need: pip install -e '.[notebooks]'"
    )


@pytest.mark.parametrize("arguments", [["--help"], run()])
def test_a_current_folder_that_was_removed_is_one_sentence(mains, tmp_path, monkeypatch, arguments):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert_refused(ended(mains["run_ablation"], arguments), "the current folder no longer exists")


def test_what_an_error_quotes_is_not_obeyed_by_the_terminal(mains, tmp_path):
    code, error = ended(mains["status"], [str(tmp_path / "\x1b[31mred")])
    assert code == 2
    assert "\x1b" not in error


def started(script: str, *arguments: str, folder: Path, output=subprocess.PIPE, **environment: str):
    """A script in a process of its own, its environment as a stranger's shell may have it."""
    return subprocess.run(
        [sys.executable, str(SCRIPTS / f"{script}.py"), *arguments],
        stdout=output, stderr=subprocess.PIPE, cwd=folder, check=False, env={**os.environ, **environment},
    )  # fmt: skip


CHINESE = "question: Größer – 规模?\narms: [{name: 规模 🦋, dropout: 0.1}, {name: שלום, dropout: 0.2}]"


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["ascii", "C"],
)
def test_names_that_the_output_cannot_show_are_replaced(tmp_path, environment):
    (tmp_path / "g.yaml").write_text(CHINESE, encoding="utf-8")
    result = started(
        "run_ablation", "--grid", "g.yaml", "--data", "sample", "--dry-run", folder=tmp_path, **environment
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"?" in result.stdout
    assert b"3 arms" in result.stdout


ODD_TERMINALS = [
    {"PYTHONIOENCODING": "latin-1"},
    {"COLUMNS": "20"},
    {"TERM": "dumb"},
    {"NO_COLOR": "1"},
    {"COLUMNS": "0"},
]


@pytest.mark.parametrize("environment", ODD_TERMINALS, ids=str)
def test_tables_fit_any_terminal(tmp_path, environment):
    result = started("status", str(STORED), folder=tmp_path, **environment)
    assert (result.returncode, result.stderr) == (0, b"")


def test_output_that_cannot_be_written_is_one_sentence(tmp_path):
    with open("/dev/full", "wb") as full:
        result = started("status", str(STORED), folder=tmp_path, output=full)
    assert result.returncode == 2
    assert result.stderr.decode().strip() == (
        "error: the output cannot be written: No space left on device; what is finished is kept in the results folder"
    )


def test_a_reader_that_goes_is_no_error(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    result = started("status", str(STORED), folder=tmp_path, output=writing)
    os.close(writing)
    assert (result.returncode, result.stderr) == (130, b"")


def test_output_that_is_closed_goes_nowhere(tmp_path):
    result = subprocess.run(
        f"{sys.executable} {SCRIPTS / 'status.py'} {STORED} >&-",
        shell=True,
        capture_output=True,
        cwd=tmp_path,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, b"")


def test_the_users_modules_may_be_called_like_our_scripts_and_packages(tmp_path):
    for name in ("report", "status", "benchmark"):
        (tmp_path / f"{name}.py").write_text(f"NAME = {name!r}")
    for name in ("analysis", "cnnkit", "random", "torch"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('shadowed')")
    (tmp_path / "g.py").write_text(
        "import report, status, benchmark\ndef grid(baseline):\n    'Whose?'\n    "
        "return [baseline.variant(report.NAME + status.NAME + benchmark.NAME, {}, dropout=0.1)]"
    )
    result = started("run_ablation", "--grid", "g.py", "--data", "sample", "--dry-run", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert b"reportstatusbenchmark" in result.stdout


def test_a_dry_run_says_whose_code_it_calls_before_it_does(tmp_path):
    (tmp_path / "net_c.py").write_text("raise RuntimeError('called')")
    (tmp_path / "g.yaml").write_text("arms: [{name: a, factory: 'net_c:make'}]")
    result = started("run_ablation", "--grid", "g.yaml", "--data", "sample", "--dry-run", folder=tmp_path)
    assert result.stdout.decode().endswith(f"g.yaml calls net_c:make, in {tmp_path / 'net_c.py'}\n")
    assert result.returncode == 2
    assert b"called" in result.stderr
