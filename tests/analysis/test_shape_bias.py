import numpy as np
import pandas as pd
import pytest

from analysis.shape_bias import (
    ShapeBias,
    agreeing_accuracy,
    bias_table,
    by_category,
    colour_answers,
    constant_answers,
    decide,
    published,
    shape_bias,
)
from analysis.stimuli import Stimuli, read_stimuli
from cnnkit.data import CLASSES, Data


@pytest.fixture(scope="module")
def stimuli() -> Stimuli:
    return read_stimuli()


def decisions(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["shape", "texture", "decision"])


BY_HAND = decisions(
    ("cat", "dog", "cat"),  # shape
    ("cat", "bird", "bird"),  # texture
    ("dog", "cat", "dog"),  # shape
    ("dog", "truck", "bird"),  # neither
    ("truck", "dog", "truck"),  # shape
    ("cat", "cat", "cat"),  # agree: left out
    ("dog", "dog", "cat"),  # agree: left out, and wrong
)


def test_a_table_counted_by_hand():
    assert shape_bias(BY_HAND) == ShapeBias(value=3 / 4, shape_hits=3, texture_hits=1, neither=1)
    assert agreeing_accuracy(BY_HAND) == 0.5
    by = by_category(BY_HAND).set_index("shape")
    assert by.loc["cat", ["value", "shape_hits", "texture_hits", "neither"]].tolist() == [0.5, 1, 1, 0]
    assert by.loc["dog", ["value", "shape_hits", "texture_hits", "neither"]].tolist() == [1.0, 1, 0, 1]


def test_order_index_and_types_of_the_rows_change_nothing():
    shuffled = BY_HAND.sample(frac=1, random_state=1)
    doubled_index = BY_HAND.set_axis([0] * len(BY_HAND))
    categorical = BY_HAND.astype("category")  # each column with categories of its own
    for table in (shuffled, doubled_index, categorical, BY_HAND[["decision", "texture", "shape"]]):
        assert shape_bias(table) == shape_bias(BY_HAND)


def test_other_names_for_the_categories_change_nothing():
    names = {"cat": "dog", "dog": "truck", "truck": "bird", "bird": "cat"}
    assert shape_bias(BY_HAND.replace(names)) == shape_bias(BY_HAND)
    numbers = {name: number for number, name in enumerate(names)}
    assert shape_bias(BY_HAND.map(numbers.__getitem__)) == shape_bias(BY_HAND)


def test_exchanging_the_cues_mirrors_the_bias():
    mirrored = shape_bias(BY_HAND.rename(columns={"shape": "texture", "texture": "shape"}))
    assert mirrored == ShapeBias(value=1 / 4, shape_hits=1, texture_hits=3, neither=1)


def test_a_ship_is_a_boat_and_an_automobile_a_car():
    found = shape_bias(decisions(("boat", "car", "ship"), ("car", "boat", "ship"), ("automobile", "ship", "car")))
    assert found == ShapeBias(value=2 / 3, shape_hits=2, texture_hits=1, neither=0)
    assert agreeing_accuracy(decisions(("boat", "ship", "boat"))) == 1


def test_a_missing_answer_follows_neither_cue():
    found = shape_bias(decisions(("cat", "dog", "cat"), ("cat", "dog", None), ("cat", "dog", float("nan"))))
    assert found == ShapeBias(value=1.0, shape_hits=1, texture_hits=0, neither=2)


@pytest.mark.parametrize(
    "table",
    [decisions(("cat", "dog", "bird")), decisions(("cat", "cat", "cat")), decisions()],
    ids=["neither", "agreeing only", "empty"],
)
def test_a_ratio_that_does_not_exist_is_an_error(table):
    with pytest.raises(ValueError, match="does not exist"):
        shape_bias(table)


def test_a_category_without_a_ratio_is_a_gap_and_no_nought():
    by = by_category(decisions(("cat", "dog", "cat"), ("dog", "cat", "bird"))).set_index("shape")
    assert by.loc["cat", "value"] == 1
    assert np.isnan(by.loc["dog", "value"])


def test_a_missing_column_or_cue_is_named():
    with pytest.raises(ValueError, match="'texture' is missing"):
        shape_bias(BY_HAND.drop(columns="texture"))
    with pytest.raises(ValueError, match="'shape' has 1 missing"):
        shape_bias(decisions((None, "dog", "dog"), ("cat", "dog", "dog")))


@pytest.mark.parametrize(("observer", "value"), [("ResNet-50", 0.221), ("humans (10)", 0.959)])
def test_published_answers_give_the_published_bias(observer, value):
    """Their answers, counted by shape category: one row an answer, as in the authors' files."""
    rows = []
    for _, row in published().query("observer == @observer").iterrows():
        rows += [(row["shape"], "some texture", row["shape"])] * row["shape_hits"]
        rows += [(row["shape"], "some texture", "some texture")] * row["texture_hits"]
        rows += [(row["shape"], "some texture", "something else")] * row["neither"]
    found = shape_bias(decisions(*rows))
    assert found.value == pytest.approx(value, abs=0.0005)
    assert (len(rows) % 1200, found.shape_hits + found.texture_hits + found.neither) == (0, len(rows))


@pytest.mark.parametrize("answer", ["airplane", "bird", "boat", "car", "cat", "dog", "truck"])
def test_a_constant_answer_scores_exactly_one_half(stimuli, answer):
    found = shape_bias(stimuli.table.assign(decision=constant_answers(stimuli, answer)))
    assert (found.value, found.shape_hits, found.texture_hits) == (0.5, 30, 30)


def test_colours_alone_follow_texture(stimuli, sample: Data):
    answers = colour_answers(sample.train.images, sample.train.labels, CLASSES, stimuli)
    table = stimuli.table.assign(decision=answers)
    assert shape_bias(table).value < 0.45
    assert agreeing_accuracy(table) > 1 / 7


def test_a_decision_is_the_highest_logit_of_those_that_may_be_chosen():
    logits = np.zeros((2, 10))
    logits[0, CLASSES.index("deer")], logits[0, CLASSES.index("ship")] = 5, 3
    logits[1, CLASSES.index("automobile")] = 1
    assert decide(logits, CLASSES, ("boat", "car", "cat")) == ["boat", "car"]
    assert decide(logits, CLASSES, ("boat", "car", "cat", "deer")) == ["deer", "car"]


def answering(stimuli: Stimuli, shape: float, texture: float, rng: np.random.Generator) -> list[str]:
    """Follows shape with probability `shape`, else texture with probability `texture`, else says cat."""
    chosen = rng.random((2, len(stimuli)))
    other = np.where(chosen[1] < texture, stimuli.table["texture"], "cat")
    return list(np.where(chosen[0] < shape, stimuli.table["shape"], other))


def test_the_table_of_arms_names_what_differs_and_what_cannot_name_the_stimuli(stimuli):
    rng = np.random.default_rng(0)
    arms = {
        "baseline": {seed: answering(stimuli, 0.4, 0.6, rng) for seed in range(5)},
        "shape": {seed: answering(stimuli, 0.75, 0.6, rng) for seed in range(5)},
        "texture": {seed: answering(stimuli, 0.1, 0.9, rng) for seed in range(5)},
        "collapsed": {seed: constant_answers(stimuli, "deer" if seed == 4 else "cat") for seed in range(5)},
    }
    table = bias_table(arms, stimuli, baseline="baseline").set_index("arm")
    assert table["verdict"].tolist()[:3] == ["", "more shape", "more texture"]
    assert table["competent"].to_dict() == {"baseline": True, "shape": True, "texture": True, "collapsed": False}
    assert table.loc["collapsed", ["seeds", "without_ratio", "value"]].tolist() == [4, 1, 0.5]
    for arm, answers in arms.items():
        values = [
            shape_bias(stimuli.table.assign(decision=a)).value
            for s, a in answers.items()
            if (arm, s) != ("collapsed", 4)
        ]
        assert table.loc[arm, "value"] == pytest.approx(np.mean(values))
        assert table.loc[arm, "low"] <= table.loc[arm, "value"] <= table.loc[arm, "high"]
    difference = table["value"] - table.loc["baseline", "value"]
    assert table.loc[["shape", "texture"], "delta"].tolist() == pytest.approx(difference[["shape", "texture"]].tolist())
    counts = table[["shape_hits", "texture_hits", "neither"]].sum(axis=1)
    assert counts.tolist() == [210] * 4


def test_one_seed_has_a_value_and_no_interval(stimuli):
    rng = np.random.default_rng(0)
    arms = {arm: {0: answering(stimuli, 0.5, 0.5, rng)} for arm in ("baseline", "arm")}
    table = bias_table(arms, stimuli, baseline="baseline").set_index("arm")
    assert table["value"].notna().all()
    assert table[["low", "high"]].isna().all(axis=None)
    assert table.loc["arm", ["verdict", "remark"]].tolist() == ["no interval", "one seed: no interval"]


def test_an_arm_without_any_ratio_is_a_gap(stimuli):
    arms = {"baseline": {0: constant_answers(stimuli, "cat"), 1: constant_answers(stimuli, "dog")}}
    arms["arm"] = {seed: constant_answers(stimuli, "frog") for seed in (0, 1)}
    table = bias_table(arms, stimuli, baseline="baseline").set_index("arm")
    assert table.loc["arm", ["value", "low", "delta"]].isna().all()
    assert table.loc["arm", ["seeds", "without_ratio", "paired_seeds"]].tolist() == [0, 2, 0]
