"""compare.py: tables and folders of logits from any training loop; bad ones get a sentence, exit code 2, and nothing written."""

import contextlib
import gzip
import importlib.util
import io
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from torch import nn

from analysis import table_files
from analysis.outcomes import Outcomes
from analysis.study_tables import StudyTables

SCRIPT = Path(__file__).parents[2] / "experiments" / "compare.py"
STORED = Path(__file__).parents[1] / "data" / "results"
RUNS = "arm,seed,acc\na,0,71.2\na,1,70.9\na,2,71.8\nb,0,72.5\nb,1,72.9\nb,2,73.4\n"


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("compare_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def ended(main, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error, as `run_script` ends."""
    from ablations import cli

    errors = io.StringIO()
    with (
        contextlib.redirect_stderr(errors),
        contextlib.redirect_stdout(io.StringIO()),
        pytest.raises(SystemExit) as end,
    ):
        before = cli.sys.argv
        cli.sys.argv = ["script", *arguments]
        try:
            cli.run_script(main)
        finally:
            cli.sys.argv = before
    return end.value.code, errors.getvalue()


def refused(main, *arguments: str) -> str:
    """The sentence; nothing is written."""
    before = sorted(Path().rglob("*"))
    code, error = ended(main, *arguments)
    assert code == 2, error
    assert len(error.strip().splitlines()) == 1, error
    assert error.startswith("error: ")
    assert sorted(Path().rglob("*")) == before
    return error


def shown(main, capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_a_plain_training_loop_writes_a_table_that_is_compared(main, capsys, tmp_path, tiny):
    """Real images, a network with and without a hidden layer, two seeds each, and nothing of this package in the loop."""
    rows = []
    images = {
        part: torch.from_numpy(np.array(getattr(tiny, part).images)).float().flatten(1) / 255
        for part in ("train", "test")
    }
    labels = {part: torch.from_numpy(np.array(getattr(tiny, part).labels)).long() for part in ("train", "test")}
    width = images["train"].shape[1]
    for arm, hidden in (("linear", 0), ("hidden", 32)):
        for seed in range(3):
            torch.manual_seed(seed)
            net = (
                nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 10))
                if hidden
                else nn.Linear(width, 10)
            )
            step = torch.optim.Adam(net.parameters(), lr=1e-3)
            for _ in range(20):
                step.zero_grad()
                nn.functional.cross_entropy(net(images["train"]), labels["train"]).backward()
                step.step()
            answers = net(images["test"]).argmax(1)
            for image, (label, answer) in enumerate(zip(labels["test"].tolist(), answers.tolist(), strict=True)):
                rows.append({"model": arm, "seed": seed, "image": image, "y_true": label, "y_pred": answer})
    pd.DataFrame(rows).to_csv("loop.csv", index=False)
    out = shown(main, capsys, "loop.csv", "--baseline", "linear")
    assert "guessed by their names: arm = model, seed, image, label = y_true, prediction = y_pred" in out
    page = (tmp_path / "loop-comparison" / "report.html").read_text(encoding="utf-8")
    assert "predictions for 100 test images" in page
    for name in ("effects.csv", "effects.tex", "forest.svg", "per_class.svg", "flips.csv", "references.bib"):
        assert (tmp_path / "loop-comparison" / name).is_file()
    study = StudyTables(Outcomes.from_frame(pd.DataFrame(rows), baseline="linear"))  # as in a notebook
    written = pd.read_csv(tmp_path / "loop-comparison" / "effects.csv")
    assert written["delta"].iloc[1] == pytest.approx(study.effects["delta"].iloc[1])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", RUNS.encode()),
        ("t.csv", RUNS.encode("utf-8-sig")),
        ("t.csv", RUNS.encode("utf-16")),
        ("t.csv", RUNS.replace("\n", "\r\n").encode()),
        ("t.tsv", RUNS.replace(",", "\t").encode()),
        ("t.csv", RUNS.replace(",", ";").replace(".", ",").encode()),
        ("t.csv.gz", gzip.compress(RUNS.encode())),
        ("t.csv", RUNS.replace("\n", "\n\n").encode()),
        ("t.csv", RUNS.replace("a,", '"a",').encode()),
    ],
)
def test_csv_is_read_in_its_usual_dialects(main, capsys, name, content):
    Path(name).write_bytes(content)
    out = shown(main, capsys, name, "--baseline", "a")
    assert re.search(r"^b +\+1\.63 \[\+0\.76, \+2\.51\] +0\.015 +better", out, re.MULTILINE)
    assert "report:" in out


def test_a_packed_table_is_read_where_it_is_alone(main, capsys):
    with zipfile.ZipFile("t.zip", "w") as archive:
        archive.writestr("t.csv", RUNS)
    assert "+1.63 [+0.76, +2.51]" in shown(main, capsys, "t.zip", "--baseline", "a")
    with zipfile.ZipFile("t.zip", "a") as archive:
        archive.writestr("u.csv", RUNS)
    assert "holds 2 files" in refused(main, "t.zip", "--baseline", "a", "--out", "new")


def test_parquet_of_any_dtypes_and_with_large_columns_that_do_not_matter(main, capsys):
    table = pd.DataFrame(
        {"arm": ["a"] * 3 + ["b"] * 3, "seed": [0, 1, 2] * 2, "acc": [71.2, 70.9, 71.8, 72.5, 72.9, 73.4]}
    )
    for change in ({"arm": "category"}, {"seed": "Int64", "acc": "Float32"}, {"seed": "string"}):
        table.astype(change).assign(embedding=[[0.0] * 50] * 6).to_parquet("t.parquet")
        assert "better" in shown(main, capsys, "t.parquet", "--baseline", "a")


def test_margin_direction_unit_and_reference_are_the_callers(main, capsys):
    Path("t.csv").write_text("arm,seed,seconds\na,0,10.0\na,1,10.2\na,2,10.4\nb,0,9.0\nb,1,9.1\nb,2,9.4\n")
    out = shown(main, capsys, "t.csv", "--baseline", "a", "--value-column", "seconds", "--unit", "s", "--margin", "2")
    assert "b: better, -1.03 s [-1.18, -0.89], 3 seeds. Within the margin of 2 s." in out
    out = shown(
        main, capsys, "t.csv", "--baseline", "a", "--value-column", "seconds", "--higher-is-better", "--against", "b"
    )
    assert "a: better, +1.03 [+0.89, +1.18]" in out
    page = Path("t-comparison/report.html").read_text(encoding="utf-8")
    assert "No margin of equivalence was given" in page


def test_arms_of_several_columns_that_cross_need_no_images(main, capsys):
    rows = [
        f"{norm},{rate},{seed},{0.5 - norm / 10 + rate + seed / 100 + norm * seed / 500}"
        for norm in (0, 1)
        for rate in (0.1, 0.01)
        for seed in range(3)
    ]
    Path("t.csv").write_text("\n".join(["norm,lr,seed,val_loss", *rows]))
    out = shown(main, capsys, "t.csv", "--baseline", "norm 0, lr 0.1", "--arm-column", "norm", "lr")
    assert "norm 1, lr 0.01: better, -0.188" in out
    assert "Factors" not in Path("t-comparison/report.html").read_text(encoding="utf-8")


def logits(folder: Path, *, kind: str = "npz", labels: bool = True) -> None:
    """A stored study's logits as files of other people's."""
    outcomes = Outcomes.from_store(STORED, "depth-smoke")
    for arm in ("4 blocks", "2 blocks"):
        for seed in outcomes.predictions[arm]:
            values, right = outcomes.logits(arm, seed)
            file = folder / arm / f"seed-{seed}.{kind}"
            file.parent.mkdir(parents=True, exist_ok=True)
            arrays = {"logits": values, **({"labels": right} if labels else {})}
            np.savez(file, **arrays) if kind == "npz" else save_file(arrays, file)
    if not labels:
        np.save(folder / "labels.npy", right)


@pytest.mark.parametrize(("kind", "labels"), [("npz", True), ("safetensors", True), ("npz", False)])
def test_a_folder_of_logits_gives_effects_and_confidence(main, capsys, tmp_path, kind, labels):
    logits(tmp_path / "mine", kind=kind, labels=labels)
    out = shown(main, capsys, "mine", "--baseline", "4 blocks")
    assert f"2 blocks/seed-0.{kind} is arm '2 blocks', seed 0, by its name" in out
    stored = StudyTables(Outcomes.from_store(STORED, "depth-smoke")).effects.set_index("arm")
    written = pd.read_csv("mine-comparison/effects.csv").set_index("arm")
    assert written.loc["2 blocks", "low"] == pytest.approx(stored.loc["2 blocks", "low"], rel=1e-12)
    assert Path("mine-comparison/calibration.csv").is_file()


@pytest.mark.parametrize(
    ("name", "arm", "seed"),
    [("plain-seed-3", "plain", 3), ("plain_4", "plain", 4), ("resnet-18_seed0", "resnet-18", 0), ("a=b,seed=2", "a=b", 2),
     ("wide plain s1", "wide plain", 1), ("plainseed7", "plain", 7)],
)  # fmt: skip
def test_file_names_say_arm_and_seed(name, arm, seed, tmp_path):
    from analysis.logit_files import read_folder

    np.savez(tmp_path / f"{name}.npz", logits=np.eye(4), labels=np.arange(4))
    found = read_folder(tmp_path).table
    assert (found["arm"].unique().tolist(), found["seed"].unique().tolist()) == ([arm], [seed])


def damage(folder: Path, what: str) -> None:
    file = folder / "4 blocks" / "seed-1.npz"
    held = dict(np.load(file)) if what != "cut" else {}
    match what:
        case "cut":
            file.write_bytes(file.read_bytes()[:-200])
        case "NaN":
            held["logits"][3, 2] = np.nan
        case "labels differ":
            held["labels"] = (held["labels"] + 1) % 10
        case "fewer images":
            held = {name: values[:-1] for name, values in held.items()}
        case "other classes":
            held["logits"] = held["logits"][:, :9]
            held["labels"] = np.minimum(held["labels"], 8)
        case "no labels":
            del held["labels"]
        case "pickled":
            held = {"logits": np.array([{"a": 1}], dtype=object), "labels": held["labels"]}
        case "no logits":
            held = {"labels": held["labels"], "weights": held["logits"]}
    if held:
        np.savez(file, **held)


@pytest.mark.parametrize(
    ("what", "words"),
    [("cut", "cannot be read"), ("NaN", "its logits are not finite"), ("labels differ", "its labels are not those of"),
     ("fewer images", "its labels are not those of"), ("other classes", "its labels are not those of"),
     ("no labels", "has no labels"), ("pickled", "cannot be read"), ("no logits", "neither logits nor predictions")],
)  # fmt: skip
def test_a_bad_folder_gets_one_sentence(main, what, words, tmp_path):
    logits(tmp_path / "mine")
    damage(tmp_path / "mine", what)
    assert words in refused(main, "mine", "--baseline", "4 blocks")


XLSX = io.BytesIO()
with zipfile.ZipFile(XLSX, "w") as _archive:
    _archive.writestr("xl/workbook.xml", "<workbook/>")
FILES = {
    "empty": ("t.csv", b"", "is empty"),
    "blank": ("t.csv", b"\n\n  \n", "is empty"),
    "a byte order mark alone": ("t.csv", b"\xfe\xff", "is empty"),
    "half of UTF-16": ("t.csv", RUNS.encode("utf-16")[:-1] + b"\xd8\xd8\xd8", "is not in UTF-16"),
    "an endless name": ("t.csv", b"a" * 200_000 + b",b\n1,2\n", "is no regular table"),
    "heading alone": ("t.csv", b"arm,seed,acc\n", "has no rows below its heading"),
    "one column": ("t.csv", b"acc\n71\n72\n", "has one column, 'acc'"),
    "Excel": ("t.xlsx", XLSX.getvalue(), "is an Excel file; save its sheet as CSV"),
    "old Excel": ("t.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100, "is an Excel file"),
    "a picture": ("t.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is no text"),
    "Latin 1": ("t.csv", "arm,seed,acc\nä,0,71\n".encode("latin-1"), "is not in UTF-8 (line 2)"),
    "decimal commas between commas": ("t.csv", b"arm,seed,acc\na,0,71,2\na,1,70,9\n", "is no regular table"),
    "commas between thousands": (
        "t.csv", b'arm,seed,loss\na,0,"1,234"\nb,0,"999"\na,1,"1,244"\nb,1,"998"\n', "may be 1234 or 1.234; write numbers with",
    ),
    "an exploded loss": ("t.csv", RUNS.replace("70.9", "1e154").encode(), "'1e154' in column 'acc' (row 2) is beyond 1e+15"),
    "a row too short": ("t.csv", RUNS.encode() + b"b,3\n", "is no regular table"),
    "an open quote": ("t.csv", RUNS.encode() + b'"b,3,1\n', "is no regular table"),
    "damaged gzip": ("t.csv.gz", b"\x1f\x8b\x08\0garbage", "cannot"),
    "cut gzip": ("t.csv.gz", gzip.compress(RUNS.encode() * 50)[:-9], "cannot"),
    "damaged zip": ("t.zip", b"PK\x03\x04garbage", "cannot be unpacked"),
    "damaged Parquet": ("t.parquet", b"PAR1garbagePAR1", "is a damaged Parquet file"),
    "no number": ("t.csv", RUNS.replace("70.9", "n/a").encode(), "'n/a' in column 'acc' (row 2) is no number"),
    "nothing for a number": ("t.csv", RUNS.replace("70.9", "").encode(), "'a', seed 1 has no number"),
    "NaN": ("t.csv", RUNS.replace("70.9", "NaN").encode(), "'NaN' in column 'acc' (row 2) is not finite"),
    "a formula": ("t.csv", RUNS.replace("70.9", "=B2/100").encode(), "is a spreadsheet's formula"),
    "mixed percentages": ("t.csv", RUNS.replace("70.9", "0.709").encode(), "percentages are mixed with fractions"),
    "a run twice": ("t.csv", RUNS.encode() + b"b,2,70\n", "has 'b', seed 2 twice"),
    "no baseline": ("t.csv", RUNS.replace("a,", "c,").encode(), "has no arm 'a' for a baseline"),
    "two columns alike": ("t.csv", RUNS.replace("seed", "acc").encode(), "columns 'acc'"),
    "a column that contradicts the others": (
        "t.csv",
        b"arm,seed,image,label,prediction,correct\n"
        + b"".join(f"{arm},{seed},{i},{i % 2},{i // 2 % 2},0\n".encode() for arm in "ab" for seed in (0, 1) for i in range(8)),
        "column 'correct' contradicts 'label' and 'prediction' in 16 rows",
    ),
    "points and commas": ("t.csv", RUNS.replace(",", ";").replace("70.9", "70,9").encode(), "has commas and points"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_gets_one_sentence_and_nothing_is_written(main, case):
    name, content, words = FILES[case]
    Path(name).write_bytes(content)
    more = ["--value-column", "acc"] if b"acc" in content else []
    assert words in refused(main, name, "--baseline", "a", *more)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.csv", "--baseline", "a"], "there is no file nothing.csv"),
        (["t.csv"], "--baseline is required"),
        (["t.csv", "--baseline", "a", "--margin", "0"], "--margin 0: give percentage points"),
        (["t.csv", "--baseline", "a", "--margin", "nan"], "--margin nan: give percentage points"),
        (["t.csv", "--baseline", "a", "--lower-is-better", "--higher-is-better"], "exclude each other"),
        (["t.csv", "--baseline", "a", "--against", "c"], "no arm is called 'c'"),
        (["t.csv", "--baseline", "a", "--seed-column", "sed"], "did you mean 'seed'?"),
        (["u.csv", "--baseline", "a", "--arm-column", "Modul"], "did you mean 'Modell'?"),
        (
            ["u.csv", "--baseline", "a"],
            "which column says what is compared? Give --arm-column; it has Modell, seed, acc",
        ),
        (["t.csv", "--baseline", "a", "--out", "mine"], "holds something that is not a report"),
        ([".", "--baseline", "a", "--out", "new"], "holds no runs"),
    ],
)
def test_a_bad_command_line_gets_one_sentence(main, arguments, words):
    Path("t.csv").write_text(RUNS)
    Path("u.csv").write_text(RUNS.replace("arm", "Modell"))
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years")
    assert words in refused(main, *arguments)


def test_a_studys_own_report_is_not_replaced(main, tmp_path):
    Path("t.csv").write_text(RUNS)
    report = tmp_path / "results" / "studies" / "depth" / "report"
    report.mkdir(parents=True)
    (report.parent / "study.json").write_text("{}")
    (report / "report.html").write_text("the study's")
    assert "the place of that study's own report" in refused(main, "t.csv", "--baseline", "a", "--out", str(report))


def test_an_accuracy_that_can_be_none_is_said_to_be_taken_as_it_is(main, capsys):
    Path("t.csv").write_text(RUNS.replace("70.9", "170.9"))
    assert "from 71.2 to 170.9 are neither shares nor percentages" in shown(main, capsys, "t.csv", "--baseline", "a")


def test_what_rounding_adds_to_intervals_is_said(main, capsys):
    Path("t.csv").write_text(
        "arm,seed,acc\n" + "".join(f"{arm},{seed},7{seed}.5\n" for arm in "ab" for seed in range(3))
    )
    out = shown(main, capsys, "t.csv", "--baseline", "a")
    assert "+0.00 points [-0." in out  # identical values, and yet an interval
    assert "no less than values do that are rounded to 0.1 %." in out


def test_colons_around_a_word_are_no_emoji(main, capsys):
    Path("t.csv").write_text(RUNS.replace("b,", "b:fire:,"))
    assert "b:fire:: " in shown(main, capsys, "t.csv", "--baseline", "a")


def test_a_table_that_memory_cannot_hold_is_said_to_be_before_it_is_read(main, monkeypatch):
    monkeypatch.setattr(table_files, "room", lambda: 100_000)
    Path("t.csv").write_text(RUNS + "".join(f"c{n},0,1\n" for n in range(20_000)))
    assert "needs more than 100 kB of memory" in refused(main, "t.csv", "--baseline", "a")
    pq.write_table(pa.table({"arm": ["a"] * 9_999, "seed": range(9_999), "acc": [1.0] * 9_999}), "t.parquet")
    assert "9,999 rows, which need about 480 kB of 100 kB of memory" in refused(main, "t.parquet", "--baseline", "a")


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    content=st.one_of(st.binary(max_size=200), st.text('arm,seed;\t"\n0123.5ab=%é', max_size=120).map(str.encode)),
    cut=st.integers(0, 120),
)
def test_whatever_a_file_holds_it_is_compared_or_refused(main, content, cut):
    for data in (content, RUNS.encode()[:cut] + content):
        Path("t.csv").write_bytes(data)
        code, error = ended(main, "t.csv", "--baseline", "a", "--out", "compared")
        assert code in (0, 2)
        assert len(error.strip().splitlines()) == (1 if code else 0), error
