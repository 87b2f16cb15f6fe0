import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ablations.arm import Arm
from ablations.plan import make_plan
from ablations.protocols import PROTOCOLS
from ablations.store import Store
from analysis import figures, report, tables
from analysis.effects import effect_table
from analysis.outcomes import Outcomes
from analysis.stored import answers_of
from analysis.studied import Answers, StudiedArm, cell_table, in_words
from analysis.study_figures import FIGURES
from analysis.study_tables import StudyTables
from cnnkit.errors import UserError
from cnnkit.search_paths import add_search_paths

TESTS = Path(__file__).parents[1]

NETWORK = """
from torch import nn

def make(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
"""
READ = """
import sys
from analysis.outcomes import Outcomes
from analysis.effects import effect_table

outcomes = Outcomes.from_store(sys.argv[1])
print(outcomes.cells[["arm", "status", "parameters"]].drop_duplicates().to_csv(index=False))
effect_table(outcomes)
assert "torch" not in sys.modules, "a study is read without the libraries that trained it"
"""


def test_a_study_of_a_network_whose_source_has_gone_is_read_all_the_same(tmp_path, tiny):
    def grid(baseline: Arm) -> list[Arm]:
        """Is it the convolutions?"""
        return [baseline, baseline.replaced("mine", {"network": "mine"}, "a_network_that_goes:make", {"width": 4})]

    source = tmp_path / "a_network_that_goes.py"
    source.write_text(NETWORK)
    add_search_paths([str(tmp_path)])
    store = Store.open(tmp_path / "results", data=tiny.fingerprint, data_description=tiny.describe())
    plan = make_plan(grid, "mine", PROTOCOLS["smoke"], tiny, store, seeds=range(2), arguments=[], now="2026-01-01")
    store.write_study(plan.study)
    source.unlink()
    run = subprocess.run([sys.executable, "-c", READ, store.root], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    parameters = 3 * 3 * 3 * 4 + 4 + 4 * 10 + 10
    assert f"mine,missing,{parameters}" in run.stdout


@pytest.mark.parametrize(("classes", "kind"), [(2, np.uint8), (200, np.uint8), (256, np.uint8), (1000, np.uint16)])
def test_predictions_hold_any_number_of_classes(classes, kind):
    logits = np.eye(classes, dtype=np.float32)[[classes - 1, 0]]
    store = SimpleNamespace(logits=lambda record, part: (logits, np.array([classes - 1, 1])))
    answers = answers_of(store, {("arm", 0): SimpleNamespace(key="0" * 20)}, ["arm"], classes)
    predicted = answers.predictions["arm"][0]
    assert predicted.dtype == kind
    assert predicted.tolist() == [classes - 1, 0]
    assert (predicted == answers.labels).tolist() == [True, False]


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0]])
def test_a_cell_whose_labels_are_none_of_the_classes_is_left_out(labels):
    store = SimpleNamespace(
        logits=lambda record, part: (np.zeros((2, 3), dtype=np.float32), np.array(labels)), cell_folder=lambda key: key
    )
    answers = answers_of(store, {("arm", 0): SimpleNamespace(key="its folder")}, ["arm"], 3)
    assert answers.predictions == {"arm": {}}
    assert [cell.reason for cell in answers.damaged] == ["its folder: its logits or labels are not of 3 classes"]


def of_many_classes(count: int, images: int, **optional) -> Outcomes:
    """Two arms with three seeds each, of which nothing but the predictions is known; one image in two is right."""
    dice, labels = np.random.default_rng(0), np.arange(images) % count
    arms = (StudiedArm("plain", is_baseline=True), StudiedArm("other"))
    predictions = {
        arm.name: {s: np.where(dice.random(images) < 0.5, labels, dice.integers(count, size=images)) for s in range(3)}
        for arm in arms
    }
    rows = [
        {"arm": arm.name, "is_baseline": arm.is_baseline, "seed": seed, "status": "finished",
         "test_accuracy": (predicted == labels).mean()}
        for arm in arms for seed, predicted in predictions[arm.name].items()
    ]  # fmt: skip
    return Outcomes(
        arms, tuple(f"class {place}" for place in range(count)), cell_table(rows), lambda: Answers(labels, predictions),
        **optional,
    )  # fmt: skip


def test_a_report_needs_nothing_but_predictions(tmp_path):
    """No costs, no curves, no groups, 30 classes with names of their own, one of which has no test image."""
    outcomes = of_many_classes(30, 900)
    outcomes = replace(outcomes, classes=(*outcomes.classes, "a class without images"))
    page = report.write(StudyTables(outcomes), tmp_path / "report").read_text(encoding="utf-8")
    assert "class 29" in page
    assert "a class without images" not in page
    assert "Groups of classes" not in page
    assert "nan" not in page.split()
    effects = pd.read_csv(tmp_path / "report" / "effects.csv")
    assert effects[["parameters", "head_share", "multiply_adds", "seconds"]].isna().all(axis=None)
    assert effects["test_mean"].notna().all()


def test_any_groups_of_classes_have_means_and_differences():
    outcomes = of_many_classes(6, 600, groups={"a": ("class 0", "class 1"), "b": ("class 2",), "c": ("class 5",)})
    study = StudyTables(outcomes)
    found = study.class_effects[study.class_effects["measure"] == "recall"].set_index("class")
    assert found.index[found["kind"] == "group"].tolist() == ["a", "b", "c"]
    assert found.index[found["kind"] == "difference"].tolist() == ["a - b", "a - c", "b - c"]
    delta = found["delta"]
    assert delta["a"] == pytest.approx((delta["class 0"] + delta["class 1"]) / 2)
    assert delta["a - c"] == pytest.approx(delta["a"] - delta["class 5"])
    assert tables.groups(study.class_effects).shown()["recall of"].tolist() == [
        "a",
        "b",
        "c",
        "a - b",
        "a - c",
        "b - c",
    ]


def test_a_change_without_content_is_not_said():
    assert in_words({"factory": "net:make", "arguments": {}}) == "factory net:make"
    assert (
        in_words({"batch_norm": False, "widths": [32, 64], "dropout": 0.0}) == "no batch norm; widths 32, 64; dropout 0"
    )


# -- what a stranger wrote


@pytest.fixture
def root(tmp_path) -> Path:
    shutil.copytree(TESTS / "data" / "results", tmp_path / "results")
    return tmp_path / "results"


HOSTILE = "\x1b[31mred\x1b[0m \u202egnp.exe\u2066 \x07 =cmd|' /C calc'!A0"


def test_no_text_of_a_stranger_reaches_anybody_with_a_control_character(root, tmp_path):
    manifest = root / "studies" / "depth-smoke" / "study.json"
    text = manifest.read_text()
    for part in ("2 blocks", "How many blocks", "packaged SAMPLE", "--grid", "2026-11-24"):
        assert part in text
        text = text.replace(part, json.dumps(HOSTILE + part)[1:-1])
    manifest.write_text(text)
    outcomes = Outcomes.from_store(root, "depth-smoke")
    folder = tmp_path / "report"
    report.write(StudyTables(outcomes), folder)
    assert r"\x1b[31mred\x1b[0m \u202egnp.exe\u2066 \x07 =cmd|" in outcomes.arms[0].name
    forbidden = {*map(chr, [*range(9), *range(11, 32), 127]), *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
    for file in [*folder.glob("*.html"), *folder.glob("*.csv"), *folder.glob("*.tex")]:
        assert not forbidden & set(file.read_text(encoding="utf-8")), file


def test_names_that_differ_in_what_cannot_be_seen_stay_two_names(root):
    manifest = root / "studies" / "depth-smoke" / "study.json"
    manifest.write_text(manifest.read_text().replace('"2 blocks"', '"4 blocks\\u200e"'))
    assert Outcomes.from_store(root, "depth-smoke").arms[0].name == r"4 blocks\u200e"


def test_what_a_network_costs_is_blank_where_it_is_not_known(root):
    manifest = root / "studies" / "depth-smoke" / "study.json"
    content = json.loads(manifest.read_text())
    content["arms"][0]["spec"] = {"factory": "subprocess:getoutput", "arguments": {"cmd": "id"}, "image_size": 64}
    content["costs"] = {}
    manifest.write_text(json.dumps(content))
    effects = StudyTables(Outcomes.from_store(root, "depth-smoke")).effects
    assert pd.isna(effects["parameters"].iloc[0])
    assert tables.effects(effects).shown().iloc[0][["params", "head", "mult-adds"]].tolist() == [""] * 3


@pytest.mark.parametrize("spec", [{"widths": 5}, {"widths": [1e400]}, {"image_size": {"a": []}}, {"a": 1}])
def test_a_network_that_this_version_could_not_make_is_described_all_the_same(root, tmp_path, spec):
    manifest = root / "studies" / "depth-smoke" / "study.json"
    content = json.loads(manifest.read_text())
    baseline = next(arm for arm in content["arms"] if arm["is_baseline"])
    baseline["spec"] = spec
    manifest.write_text(json.dumps(content))
    report.write(StudyTables(Outcomes.from_store(root, "depth-smoke")), tmp_path / "report")


def test_a_manifest_with_an_arm_twice_is_refused(root):
    manifest = root / "studies" / "depth-smoke" / "study.json"
    manifest.write_text(manifest.read_text().replace('"2 blocks"', '"4 blocks"'))
    with pytest.raises(UserError, match="names two arms alike"):
        Outcomes.from_store(root, "depth-smoke")


def test_what_was_chosen_for_each_arm_stands_in_the_table_of_arms_the_baselines_too(root):
    manifest = root / "studies" / "depth-smoke" / "study.json"
    content = json.loads(manifest.read_text())
    content["tuned"] = {arm["name"]: {"learning_rate": arm["recipe"]["learning_rate"]} for arm in content["arms"]}
    manifest.write_text(json.dumps(content))
    study = StudyTables(Outcomes.from_store(root, "depth-smoke"))
    shown = tables.arms(study.effects).shown().set_index("arm")
    assert shown["chosen"].tolist() == ["learning rate 0.0001"] * 5
    assert shown.loc["4 blocks", "changes"] == "baseline"
    assert shown.loc["2 blocks", "changes"] == "widths 32, 64"


def test_which_test_images_belong_together_is_read_from_the_manifest(root):
    def clusters(count: int) -> list[int]:
        store = Store(root)
        study = store.study("depth-smoke")
        named = [image // 5 for image in range(count)]
        described = study.data.model_copy(update={"test_clusters": tuple(named)})
        store.write_study(study.model_copy(update={"data": described}))
        return named

    assert Outcomes.from_store(root, "depth-smoke").clusters is None
    images = len(Outcomes.from_store(root, "depth-smoke").labels)
    named = clusters(images)
    assert Outcomes.from_store(root, "depth-smoke").clusters.tolist() == named
    clusters(images - 1)
    with pytest.raises(UserError, match=f"clusters of {images - 1} test images, and the cells have {images}"):
        _ = Outcomes.from_store(root, "depth-smoke").labels


def test_of_many_classes_the_figure_shows_those_that_change_most_and_says_so():
    study = StudyTables(of_many_classes(100, 2000))
    with mpl.rc_context(figures.STYLE):
        ax = FIGURES["per_class"].draw(study)
        shown = [label.get_text() for label in ax.get_xticklabels()]
        plt.close(ax.figure)
    assert 8 <= len(shown) <= 12
    recall = study.recalls.pivot(index=["seed", "class"], columns="arm", values="recall")
    change = (recall["other"] - recall["plain"]).groupby("class").mean().abs()
    assert change[shown].min() >= change.drop(shown).max()
    assert any("of 100 classes that change most" in text.get_text().replace("\n", " ") for text in ax.texts)


@pytest.fixture(scope="module")
def depth() -> Outcomes:
    return Outcomes.from_store(TESTS / "data" / "results", "depth-smoke")


def test_against_another_arm_every_difference_is_the_other_way_round(depth):
    own, other = effect_table(depth).set_index("arm"), effect_table(depth.against("2 blocks")).set_index("arm")
    baseline = depth.baseline.name
    assert depth.against("2 blocks").baseline.name == "2 blocks"
    assert other.loc[baseline, "delta"] == pytest.approx(-own.loc["2 blocks", "delta"])
    assert other.loc[baseline, "p_value"] == pytest.approx(own.loc["2 blocks", "p_value"])
    assert other.loc[baseline, "changes"] == "widths 32, 64, 128, 256"
    assert other["is_baseline"].sum() == 1
    assert tables.effects(other.reset_index()).caption == "each arm minus 2 blocks"
    assert effect_table(depth.against("2 blocks").against(baseline)).equals(effect_table(depth))


def test_an_arm_that_is_not_there_is_named_with_those_that_are(depth):
    with pytest.raises(UserError, match="no arm is called '7 blocks'; there are 2 blocks, 3 blocks"):
        depth.against("7 blocks")


def test_a_cell_that_the_manifest_gives_to_another_arm_is_left_out_and_named(tmp_path):
    root = tmp_path / "results"
    shutil.copytree(TESTS / "data" / "results", root)
    manifest = Store(root).study("depth-smoke").model_dump(mode="json")
    first, other = manifest["arms"][0], manifest["arms"][3]
    first["name"], other["name"] = other["name"], first["name"]
    (root / "studies" / "depth-smoke" / "study.json").write_text(json.dumps(manifest))
    cells = Outcomes.from_store(root, "depth-smoke").cells
    swapped = cells["arm"].isin([first["name"], other["name"]])
    assert set(cells[swapped]["status"]) == {"damaged"}
    assert cells[swapped]["note"].str.contains("whatever the manifest says").all()
    assert set(cells[~swapped]["status"]) == {"finished"}
