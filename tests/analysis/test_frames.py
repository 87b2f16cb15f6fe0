"""Anybody's tables: what is read of them, and a sentence for each that cannot be compared."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis import methods, report, tables
from analysis.outcomes import Outcomes
from analysis.study_tables import StudyTables
from cnnkit.errors import UserError

STORED = Path(__file__).parents[1] / "data" / "results"
SAME = [
    *("arm", "is_baseline", "seeds", "test_mean", "test_sd", "delta", "low", "high", "p_value", "adjusted_p", "p_better"),
    *("adjusted_equivalence_p", "shown_low", "shown_high", "shown_level", "paired_seeds", "verdict", "remark"),
]  # fmt: skip


def predictions(study: str = "depth-smoke") -> pd.DataFrame:
    """A stored study of real networks as a table, a row a prediction."""
    outcomes = Outcomes.from_store(STORED, study)
    names = np.array(outcomes.classes)
    return pd.concat(
        [
            pd.DataFrame({"arm": arm, "seed": seed, "image": np.arange(len(answers)),
                          "label": names[outcomes.labels], "prediction": names[answers]})
            for arm, seeds in outcomes.predictions.items() for seed, answers in seeds.items()
        ], ignore_index=True,
    )  # fmt: skip


def runs(**columns) -> pd.DataFrame:
    """Two arms with three runs each; None leaves a column out."""
    table = {"model": ["a"] * 3 + ["b"] * 3, "seed": [0, 1, 2] * 2, "test_acc": [71.2, 70.9, 71.8, 72.5, 72.9, 73.4]}
    return pd.DataFrame({name: values for name, values in {**table, **columns}.items() if values is not None})


def effects(table: pd.DataFrame, baseline: str = "a", **options) -> pd.DataFrame:
    return StudyTables(Outcomes.from_frame(table, baseline=baseline, **options)).effects


@pytest.mark.parametrize("study", ["depth-smoke", "batch_norm_dropout-smoke"])
def test_a_table_of_predictions_says_exactly_what_the_store_says(study):
    stored = StudyTables(Outcomes.from_store(STORED, study))
    read = StudyTables(Outcomes.from_frame(predictions(study), baseline=stored.outcomes.baseline.name))
    pd.testing.assert_frame_equal(read.effects[SAME], stored.effects[SAME], check_exact=True)
    own = stored.class_effects[stored.class_effects["kind"] == "class"].reset_index(drop=True)
    pd.testing.assert_frame_equal(read.class_effects, own, check_exact=True)
    pd.testing.assert_frame_equal(read.flips, stored.flips, check_exact=True)
    pd.testing.assert_frame_equal(read.confusions, stored.confusions, check_exact=True)


def test_the_order_of_rows_does_not_matter():
    table = predictions()
    mixed = table.sample(frac=1, random_state=0)
    first, second = (effects(each, "4 blocks").set_index("arm").sort_index() for each in (table, mixed))
    number = ["delta", "low", "high", "p_value"]
    pd.testing.assert_frame_equal(first[number], second[number], rtol=1e-9)


@pytest.mark.parametrize(
    "as_others_have_it",
    [
        lambda t: t.rename(columns={"arm": "Model", "label": "y_true", "prediction": "y_pred", "image": "idx"}),
        lambda t: t.astype({"arm": "category", "label": "category", "prediction": "category"}),
        lambda t: t.convert_dtypes(),
        lambda t: t.astype({"seed": "Int64", "image": "float64"}),
        lambda t: t.astype(str),
        lambda t: t.set_index(["arm", "seed", "image"]),
        lambda t: t.assign(label=t["label"].map(str.encode), prediction=t["prediction"].map(str.encode)),
        lambda t: t.drop(columns="image"),
        lambda t: t.assign(seed=t["seed"] + 2**40),
    ],
)  # fmt: skip
def test_a_table_may_be_written_in_many_ways(as_others_have_it):
    table = predictions()
    written = effects(as_others_have_it(table), "4 blocks")
    pd.testing.assert_frame_equal(written[SAME], effects(table, "4 blocks")[SAME], check_exact=True)


def test_class_numbers_and_names_go_together_where_the_names_are_given():
    table = predictions()
    names = sorted(table["label"].unique())
    numbered = table.assign(prediction=table["prediction"].map(names.index))
    with pytest.raises(UserError, match=r"'prediction' has class numbers .* and 'label' names .* give --classes"):
        Outcomes.from_frame(numbered, baseline="4 blocks")
    read = effects(numbered, "4 blocks", classes=names)
    pd.testing.assert_frame_equal(read[SAME], effects(table, "4 blocks")[SAME], check_exact=True)


def test_right_or_wrong_is_enough_for_effects_and_with_labels_for_recall():
    table = predictions()
    right = table.assign(correct=(table["label"] == table["prediction"]).astype(int)).drop(columns="prediction")
    whole = StudyTables(Outcomes.from_frame(table, baseline="4 blocks"))
    known = StudyTables(Outcomes.from_frame(right, baseline="4 blocks"))
    blind = StudyTables(Outcomes.from_frame(right.drop(columns="label"), baseline="4 blocks"))
    for each in (known, blind):
        pd.testing.assert_frame_equal(each.effects[SAME], whole.effects[SAME], check_exact=True)
        pd.testing.assert_frame_equal(each.flips, whole.flips, check_exact=True)
        assert each.confusions.empty
    recall = whole.class_effects[whole.class_effects["measure"] == "recall"].reset_index(drop=True)
    pd.testing.assert_frame_equal(known.class_effects, recall, rtol=1e-9, atol=1e-12)
    assert blind.class_effects.empty
    assert "nothing is said of classes" in " ".join(blind.outcomes.remarks)
    assert "only recall is known" in " ".join(known.outcomes.remarks)


def test_images_that_belong_together_are_the_unit():
    table = predictions()
    grouped = effects(table.assign(video=table["image"] // 5), "4 blocks")
    outcomes = Outcomes.from_frame(table.assign(video=table["image"] // 5), baseline="4 blocks")
    assert len(np.unique(outcomes.clusters)) == 100
    alone = effects(table, "4 blocks")
    assert grouped["delta"].tolist()[:2] == pytest.approx(alone["delta"].tolist()[:2])
    assert (grouped["low"] != alone["low"]).any()
    with pytest.raises(UserError, match="is in two groups"):
        Outcomes.from_frame(table.assign(video=np.arange(len(table))), baseline="4 blocks")


def test_one_number_a_run_is_tested_by_a_paired_t_test():
    table = runs()
    row = effects(table).iloc[1]
    a, b = (table.loc[table["model"] == arm, "test_acc"].to_numpy() / 100 for arm in "ab")
    reference = stats.ttest_rel(b, a)
    assert row[["low", "high"]].tolist() == pytest.approx(list(reference.confidence_interval(0.95)), rel=1e-9)
    assert row["p_value"] == pytest.approx(reference.pvalue, rel=1e-7)
    assert row["verdict"] == "better"


@pytest.mark.parametrize(
    ("table", "options"),
    [
        (runs(seed=[0, 1, 2, 3, 4, 5]), {}),
        (runs(seed=None), {}),
        (runs(), {"paired": False}),
        (runs(seed=["x", "y", "z", "u", "v", "w"]), {}),
    ],
)
def test_runs_that_do_not_pair_are_tested_by_welchs_test_and_it_is_said(table, options):
    outcomes = Outcomes.from_frame(table, baseline="a", **options)
    study = StudyTables(outcomes)
    row = study.effects.iloc[1]
    a, b = (table.loc[table["model"] == arm, "test_acc"].to_numpy() / 100 for arm in "ab")
    reference = stats.ttest_ind(b, a, equal_var=False)
    assert row[["low", "high"]].tolist() == pytest.approx(list(reference.confidence_interval(0.95)), rel=1e-9)
    assert row["p_value"] == pytest.approx(reference.pvalue, rel=1e-7)
    assert not row["paired"]
    assert "compared as independent runs" in " ".join(outcomes.remarks)
    assert "Welch" in methods.paragraph(outcomes, margin=0.01)
    assert "Welch" in " ".join(tables.effects(study.effects, metric=outcomes.metric, by_image=False).notes)


def test_arms_pair_with_the_baseline_each_for_itself():
    table = pd.concat([runs(), pd.DataFrame({"model": "c", "seed": [7, 8, 9], "test_acc": [70.1, 70.4, 70.9]})])
    outcomes = Outcomes.from_frame(table, baseline="a")
    assert effects(table)["paired"].tolist() == [True, True, False]
    assert any(note.startswith("Seeds of c do not pair") for note in outcomes.remarks)
    assert "Runs of c do not pair" in methods.paragraph(outcomes, margin=0.01)


def test_of_unpaired_predictions_images_still_pair_and_classes_have_effects():
    table = predictions().query("arm in ('4 blocks', '2 blocks')")
    apart = table.assign(seed=table["seed"] + 10 * (table["arm"] == "2 blocks"))
    study = StudyTables(Outcomes.from_frame(apart, baseline="4 blocks"))
    row = study.effects.set_index("arm").loc["2 blocks"]
    assert row["delta"] == pytest.approx(effects(table, "4 blocks").set_index("arm").loc["2 blocks", "delta"])
    assert study.flips.empty
    assert study.class_effects["low"].notna().all()
    assert len(study.seed_differences) == 3


def test_shares_and_percentages_are_told_apart_by_their_values():
    percent, share = runs(), runs(test_acc=[0.712, 0.709, 0.718, 0.725, 0.729, 0.734])
    pd.testing.assert_frame_equal(effects(percent)[SAME], effects(share)[SAME], rtol=1e-9)
    assert effects(percent).iloc[0]["test_mean"] == pytest.approx(0.713)
    signs = runs(test_acc=[f"{value} %" for value in runs()["test_acc"]])
    pd.testing.assert_frame_equal(effects(signs)[SAME], effects(percent)[SAME], rtol=1e-9)


def test_other_metrics_keep_their_unit_and_direction():
    table = runs(test_acc=None, val_loss=[1.345, 1.322, 1.319, 1.2, 1.25, 1.22])
    outcomes = Outcomes.from_frame(table, baseline="a")
    study = StudyTables(outcomes)
    assert study.margin == 0
    assert study.effects.iloc[1]["verdict"] == "better"
    assert study.effects.iloc[1]["p_better"] == 1
    assert "lower is better" in " ".join(outcomes.study.notes)
    with pytest.raises(ValueError, match="the table is of val_loss; give its metric"):
        tables.effects(study.effects)
    shown = tables.effects_of(study).shown()
    assert shown.columns.tolist()[:5] == ["arm", "difference [interval]", "p Holm", "verdict", "val_loss (SD)"]
    assert shown["difference [interval]"].iloc[1].startswith("-0.105 [")
    upward = StudyTables(Outcomes.from_frame(table, baseline="a", lower_is_better=False, unit="nats"))
    assert upward.effects.iloc[1]["verdict"] == "worse"
    assert "nats" in upward.effects.iloc[1]["sentence"]
    wide = StudyTables(outcomes, margin=5.0)
    assert "within the margin of 5" in wide.effects.iloc[1]["remark"]


def test_of_tables_with_steps_the_last_counts():
    table = pd.concat([runs(step=1, test_acc=50.0), runs(step=2, test_acc=[None] * 6), runs(step=3)])
    outcomes = Outcomes.from_frame(table, baseline="a")
    pd.testing.assert_frame_equal(effects(table)[SAME], effects(runs())[SAME])
    assert "the last step counts" in " ".join(outcomes.study.notes)
    early = pd.concat([table, runs(step=9).head(1)])
    assert "from 3 to 9" in " ".join(Outcomes.from_frame(early, baseline="a").study.notes)


def test_exports_of_tracking_tools_are_read():
    mlflow = runs(model=None, seed=None, test_acc=None).assign(
        **{"run_id": list("uvwxyz"), "status": ["FINISHED"] * 5 + ["FAILED"], "params.lr": ["0.1"] * 3 + ["0.01"] * 3,
           "params.seed": ["0", "1", "2"] * 2, "metrics.accuracy": [0.712, 0.709, 0.718, 0.725, 0.729, None]}
    )  # fmt: skip
    outcomes = Outcomes.from_frame(mlflow, baseline="0.1", arm="params.lr")
    assert outcomes.cells["status"].tolist() == ["finished"] * 5 + ["failed"]
    assert StudyTables(outcomes).effects.iloc[1]["paired_seeds"] == 2
    assert outcomes.metric.name == "accuracy"
    board = pd.DataFrame(
        {"run": ["plain, seed 0", "plain, seed 1", "wide, seed 0", "wide, seed 1"] * 4, "tag": ["acc"] * 8 + ["loss"] * 8,
         "step": [1] * 4 + [2] * 4 + [1] * 4 + [2] * 4, "value": np.linspace(0.2, 0.9, 16)}
    )  # fmt: skip
    with pytest.raises(UserError, match=r"2 metrics \(acc, loss\); choose one by --only"):
        Outcomes.from_frame(board, baseline="plain")
    found = Outcomes.from_frame(board, baseline="plain", only="acc", value="value")
    assert [arm.name for arm in found.arms] == ["plain", "wide"]
    assert found.seeds == (0, 1)
    assert found.metric.name == "acc"


def test_columns_that_do_not_matter_may_hold_anything():
    history = [[0.5, 0.6]] * 6
    pd.testing.assert_frame_equal(effects(runs(history=history, note=[{"a": 1}] * 6))[SAME], effects(runs())[SAME])


def test_several_columns_make_an_arm_and_cross_as_factors():
    table = predictions("batch_norm_dropout-smoke")
    split = table.assign(
        norm=~table["arm"].str.startswith("no batch"), dropout=table["arm"].str.extract(r"dropout ([\d.]+)")[0].astype(float)
    )  # fmt: skip
    outcomes = Outcomes.from_frame(split, baseline="norm True, dropout 0.5", arm=["norm", "dropout"])
    own = StudyTables(outcomes).factor_effects.set_index(["kind"])
    stored = StudyTables(Outcomes.from_store(STORED, "batch_norm_dropout-smoke")).factor_effects.set_index(["kind"])
    assert own.loc["interaction", "delta"] == pytest.approx(stored.loc["interaction", "delta"])
    assert sorted(own.loc["main", "p_value"]) == pytest.approx(sorted(stored.loc["main", "p_value"]))


def test_names_in_any_script_and_names_like_numbers_are_names():
    names = ["基线", "=SUM(A1)", "1", "1.5", "naïve, “quoted”", "<b>", "-2"]
    table = pd.concat(
        [pd.DataFrame({"arm": name, "seed": [0, 1], "acc": [70 + place, 71 + 1.5 * place]}) for place, name in enumerate(names)]
    )  # fmt: skip
    assert effects(table, "基线")["arm"].tolist() == names
    numbers = effects(runs(model=[0.1] * 3 + [0.01] * 3), "0.1")
    assert numbers["arm"].tolist() == ["0.1", "0.01"]


def test_one_seed_is_no_error_and_no_interval():
    one = effects(runs().query("seed == 0"))
    assert one.iloc[1]["verdict"] == "no interval"
    assert one.iloc[1]["remark"] == "one seed: no interval"
    images = predictions().query("seed == 0").drop(columns="seed")
    assert set(effects(images, "4 blocks")["verdict"]) == {"", "no interval"}


NAN, INF = float("nan"), float("inf")
TWICE = pd.concat([runs(), runs().head(1)])
IMAGES = predictions()
BAD = {
    "a run twice": (TWICE, {}, "has 'a', seed 0 twice; leave one out, or name further columns"),
    "predictions twice": (pd.concat([IMAGES, IMAGES.query("seed == 0 and arm == '2 blocks'")]), {},
        "has '2 blocks', seed 0 twice"),
    "an image twice": (pd.concat([IMAGES, IMAGES.head(1)]), {}, "has image 0 twice in '2 blocks', seed 0"),
    "an image missing": (IMAGES.drop(index=17), {},
        "'2 blocks', seed 0 has no row for image 17; every run needs all 500 images"),
    "images missing": (IMAGES.drop(index=[17, 18, 19]), {}, "no row for image 17 and 2 others"),
    "uneven without images": (IMAGES.drop(index=17).drop(columns="image"), {},
        "no column says which image a row is about"),
    "another order without images": (
        pd.concat([IMAGES.head(500).iloc[::-1], IMAGES.iloc[500:]]).drop(columns="image"), {}, "give --image-column"),
    "labels that differ": (IMAGES.assign(label=["another", *IMAGES["label"].iloc[1:]]), {}, "image 0 has the label"),
    "no prediction right": (IMAGES.assign(prediction=IMAGES["prediction"].str.upper()), {},
        "no prediction is right in any run"),
    "predictions without labels": (IMAGES.drop(columns="label"), {},
        "predictions need their images' classes; give --label-column"),
    "a prediction missing": (IMAGES.assign(prediction=[None, *IMAGES["prediction"].iloc[1:]]), {},
        "row 1 has no prediction"),
    "one class": (IMAGES.assign(label="cat", prediction="cat"), {}, "has one class, 'cat'"),
    "one image": (IMAGES.query("image == 0"), {}, "one image a run"),
    "neither right nor wrong": (IMAGES.drop(columns=["prediction"]).assign(correct=0.7), {},
        "'0.7' in column 'correct' (row 1) is neither right nor wrong"),
    "no baseline": (runs(), {"baseline": "c"}, "has no arm 'c' for a baseline: it has a, b"),
    "a baseline misspelt": (runs(model=["plain"] * 3 + ["wide"] * 3), {"baseline": "plian"}, "did you mean 'plain'?"),
    "one arm": (runs().head(3), {}, "has one arm, 'a'; there is nothing to compare it with"),
    "NaN": (runs(test_acc=[71.2, NAN, 71, 72, 73, 74]), {}, "'a', seed 1 has no number in column 'test_acc' (row 2)"),
    "infinite": (runs(test_acc=[71.2, INF, 71, 72, 73, 74]), {}, "'inf' in column 'test_acc' (row 2) is not finite"),
    "too large": (runs(test_acc=["71.2", "1e999", "71", "72", "73", "74"]), {},
        "'1e999' in column 'test_acc' (row 2) is not finite"),
    "mixed percentages": (runs(test_acc=[0.71, 70, 71, 72, 73, 74]), {},
        "percentages are mixed with fractions (0.71 beside 74)"),
    "mixed signs": (runs(test_acc=["71%", "70", "71", "72", "73", "74"]), {}, "some numbers have a % and others none"),
    "a text for a number": (runs(test_acc=["71", "good", "71", "72", "73", "74"]), {"value": "test_acc"},
        "'good' in column 'test_acc' (row 2) is no number"),
    "a formula": (runs(test_acc=["71", "=B2/C2", "71", "72", "73", "74"]), {"value": "test_acc"},
        "is a spreadsheet's formula"),
    "commas and points": (runs(test_acc=["71,2", "70.1", "71", "72", "73", "74"]), {},
        "has commas and points in its numbers ('71,2')"),
    "thousands": (runs(test_acc=["1,234,567", "70", "71", "72", "73", "74"]), {"value": "test_acc"}, "is no number"),
    "no seed in a row": (runs(seed=[0, None, 2, 0, 1, 2]), {}, "row 2 has no seed (column 'seed')"),
    "no arm in a row": (runs(model=["a", None, "a", "b", "b", "b"]), {}, "row 2 has no arm (column 'model')"),
    "one column": (runs()[["test_acc"]], {}, "has one column, 'test_acc'"),
    "empty": (pd.DataFrame(), {}, "is empty"),
    "no rows": (runs().head(0), {}, "has no rows below its heading"),
    "two columns of one name": (runs().set_axis(["model", "seed", "seed"], axis=1), {"value": "seed"},
        "has two columns 'seed'"),
    "two usual names alike": (runs(Model="x"), {}, "which column is the arm, 'model' or 'Model'?"),
    "two metrics": (runs(test_acc=None, val_acc=1, val_loss=2), {},
        "which column is the metric, 'val_acc' or 'val_loss'?"),
    "no metric": (runs(test_acc=None, other=1.0), {}, "which column is the metric, or the prediction?"),
    "no arm column": (runs().rename(columns={"model": "thing"}), {}, "which column says what is compared?"),
    "a column that is not there": (runs(), {"value": "test_accuracy"},
        "has no column 'test_accuracy': did you mean 'test_acc'?"),
    "lists": (runs(model=[["a"]] * 3 + [["b"]] * 3), {}, "holds lists"),
    "steps without seeds": (pd.concat([runs(seed=None, step=1), runs(seed=None, step=2)]), {},
        "which column tells runs of an arm apart?"),
    "a run twice at its last step": (pd.concat([runs(step=1), runs(step=1)]), {}, "twice at its last step"),
    "nothing finished": (runs(state="crashed"), {}, "has no finished run"),
    "a baseline that failed": (runs(state=["failed"] * 3 + ["finished"] * 3), {},
        "no finished run of the baseline 'a'"),
    "a state of another kind": (runs(state="purple"), {"status": "state"},
        "'purple' in column 'state' (row 1) is no state of a run"),
    "no such metric": (runs(tag="acc").rename(columns={"test_acc": "value"}), {"only": "loss"}, "has no metric 'loss'"),
    "a class that is none": (IMAGES, {"classes": ["a", "b"]}, "is none of the 2 classes"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_table_that_cannot_be_compared_gets_one_sentence(case):
    table, options, words = BAD[case]
    usual = "4 blocks" if "prediction" in table or "correct" in table else "a"
    with pytest.raises(UserError) as error:
        Outcomes.from_frame(table, **{"baseline": usual, **options})
    assert words in str(error.value)
    assert "\n" not in str(error.value)


VALUES = st.one_of(st.none(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=6), st.booleans())
COLUMNS = st.sampled_from(
    ["arm", "model", "seed", "image", "label", "prediction", "correct", "acc", "loss", "step", "x", ""]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(COLUMNS, min_size=1, max_size=6), st.integers(0, 6), st.data())
def test_whatever_a_table_holds_it_is_compared_or_refused_in_a_sentence(names, count, data):
    rows = [[data.draw(VALUES) for _ in names] for _ in range(count)]
    table = pd.DataFrame(rows, columns=names, dtype=object)
    baseline = data.draw(st.sampled_from([str(row[0]) for row in rows] or ["a"]))
    try:
        study = StudyTables(Outcomes.from_frame(table, baseline=baseline))
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert len(study.effects) >= 2
        methods.paragraph(study.outcomes, margin=study.margin)


@pytest.mark.parametrize("kind", ["predictions", "values", "recall", "unpaired"])
def test_the_page_of_a_table_claims_no_more_than_the_table_knows(kind, tmp_path):
    right = IMAGES.assign(correct=IMAGES["label"] == IMAGES["prediction"]).drop(columns="prediction")
    table, baseline = {
        "predictions": (IMAGES, "4 blocks"), "values": (runs(test_acc=None, val_loss=[3.0, 3.1, 3.2, 2, 2.2, 2.1]), "a"),
        "recall": (right, "4 blocks"), "unpaired": (runs(seed=None), "a"),
    }[kind]  # fmt: skip
    outcomes = Outcomes.from_frame(table, baseline=baseline, name="mine", source="the table mine.csv")
    page = report.write(StudyTables(outcomes), tmp_path / "report", images="a table holds none").read_text(
        encoding="utf-8"
    )
    assert "Results were read from the table mine.csv" in page
    for claim in (
        "were trained with the same",
        "arms share a seed",
        "run_ablation.py",
        "PyTorch",
        "nothing to draw",
        "Learning",
    ):
        assert claim not in page
    assert "nan" not in page.split()
    by_run = kind in ("values", "unpaired")
    assert ("on this test set only" in page) == by_run
    assert ("Confusions" in page) == (kind == "predictions")
    assert ("Images that flip" in page) == (not by_run)
    if kind == "values":
        assert "percentage point" not in page
        assert "test accuracy" not in page.lower()
        assert "No margin of equivalence was given" in page


def test_runs_that_do_not_pair_and_do_not_differ_are_not_told_of_images_that_they_do_not_have():
    table = pd.DataFrame({"arm": ["a"] * 3 + ["b"] * 3, "seed": [0, 1, 2, 10, 11, 12], "score": [1.5, 2.25, 0.5] * 2})
    (effect,) = StudyTables(Outcomes.from_frame(table, baseline="a")).effects.query("arm == 'b'").itertuples()
    assert effect.verdict == "inconclusive"
    assert "image" not in effect.remark
