import itertools
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablations.arm import Arm
from ablations.grids import GRIDS, arms_of
from ablations.record import Failure
from ablations.store import Store
from analysis import study_tables, tables
from analysis.factors import design, factor_accuracies, factor_effects, repeated_changes
from analysis.outcomes import Outcomes
from analysis.statistics import contrast_effect, holm
from analysis.studied import StudiedArm
from analysis.study_tables import StudyTables

RESULTS = Path(__file__).parents[1] / "data" / "results"
BASELINE = Arm(name="baseline", is_baseline=True)
CROSSED = {
    "depth_residual": {"blocks": (2, 4, 6), "residual": (False, True)},
    "depth_dropout": {"blocks": (2, 4, 6), "dropout": (0.0, 0.5)},
    "batch_norm_dropout": {"batch norm": (False, True), "dropout": (0.0, 0.5)},
    "regularisation": {"batch norm": (False, True), "dropout": (0.0, 0.5), "weight decay": (0.0, 0.0001)},
}


@pytest.fixture(scope="module")
def study() -> Outcomes:
    return Outcomes.from_store(RESULTS, "batch_norm_dropout-smoke")


def grid(name: str) -> list[StudiedArm]:
    return [
        StudiedArm(arm.name, arm.is_baseline, arm.levels, arm.changes_from(BASELINE))
        for arm in arms_of(GRIDS[name], BASELINE)
    ]


def correct_of(
    arms: list[StudiedArm], accuracy, *, seeds: int = 3, images: int = 4000
) -> dict[str, dict[int, np.ndarray]]:
    """Test images that arms of this accuracy get right by chance: `accuracy` maps an arm to a number."""
    dice = np.random.default_rng(0)
    return {arm.name: {seed: dice.random(images) < accuracy(arm) for seed in range(seeds)} for arm in arms}


def first_images_right(arms: list[StudiedArm], accuracy, *, seeds: int = 3) -> dict[str, dict[int, np.ndarray]]:
    """Each seed gets exactly the first images right: accuracies without chance."""
    return {arm.name: {seed: np.arange(100) < round(100 * accuracy(arm)) for seed in range(seeds)} for arm in arms}


def rows(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    return table[table["kind"] == kind].reset_index(drop=True)


# -- which arms are crossed


@pytest.mark.parametrize("name", GRIDS)
def test_the_grids_that_cross_factors_are_found(name):
    crossed = design(grid(name))
    assert (crossed.levels if crossed else None) == CROSSED.get(name)


def test_what_levels_are_held_against_is_the_baselines():
    assert design(grid("batch_norm_dropout")).references == {"batch norm": True, "dropout": 0.5}
    assert design(grid("batch_norm_dropout")[::-1]).references == {"batch norm": True, "dropout": 0.5}


def test_where_the_baseline_stands_beside_the_design_it_is_the_first_level():
    crossed = design(grid("depth_residual"))
    assert crossed.references == {"blocks": 2, "residual": False}
    assert "baseline" not in [arm.name for arm in crossed.arms]


def test_a_combination_that_is_there_twice_or_too_many_that_are_missing_are_no_design():
    arms = grid("regularisation")
    assert len(design(arms[:-1]).arms) == 7
    assert design(arms[:-2]) is None
    assert design([*arms, replace(arms[-1], name="again")]) is None
    assert design(grid("batch_norm_dropout")[:-1]) is None


def test_arms_with_other_factors_stay_out():
    arms = grid("batch_norm_dropout")
    crossed = design(
        [*arms, StudiedArm("wide", levels={"width": 2.0}), StudiedArm("deep", levels={"blocks": 5, "width": 1.0})]
    )
    assert list(crossed.arms) == arms


# -- effects


def test_two_by_two_on_real_networks_is_the_mean_of_simple_effects_and_their_difference(study):
    table = factor_effects(study.arms, study.correct)
    accuracy = study.cells.groupby("arm")["test_accuracy"].mean()
    with_norm = accuracy["batch norm, dropout 0"] - accuracy["batch norm, dropout 0.5"]
    without = accuracy["no batch norm, dropout 0"] - accuracy["no batch norm, dropout 0.5"]
    norm, dropout, joint = (row for _, row in table.iterrows())
    assert (norm["factor"], norm["level"], norm["reference"]) == ("batch norm", "off", "on")
    assert (dropout["factor"], dropout["level"], dropout["reference"]) == ("dropout", "0", "0.5")
    assert dropout["delta"] == pytest.approx((with_norm + without) / 2)
    assert (joint["kind"], joint["factor"], joint["other_factor"]) == ("interaction", "dropout", "batch norm")
    assert joint["at_level"] == pytest.approx(without)
    assert joint["at_reference"] == pytest.approx(with_norm)
    assert joint["delta"] == pytest.approx(without - with_norm)
    assert table["paired_seeds"].tolist() == [3, 3, 3]


def test_intervals_and_p_values_are_those_of_the_contrast(study):
    table = factor_effects(study.arms, study.correct)
    right = {arm.name: np.stack(list(study.correct[arm.name].values())).astype(float) for arm in study.arms}
    base, no_dropout, no_norm, neither = (right[arm.name] for arm in study.arms)
    contrasts = [
        (no_norm + neither - base - no_dropout) / 2,
        (no_dropout + neither - base - no_norm) / 2,
        neither - no_norm - no_dropout + base,
    ]
    expected = [contrast_effect(contrast) for contrast in contrasts]
    for column in ("delta", "low", "high", "p_value"):
        assert table[column].tolist() == pytest.approx([getattr(effect, column) for effect in expected])
    assert table["adjusted_p"].tolist() == pytest.approx(holm([effect.p_value for effect in expected]).tolist())


def test_three_factors_are_those_of_a_linear_model():
    """In a regression on all products of factors coded -1/2 and 1/2, coefficients are effects averaged over the rest."""
    arms = grid("regularisation")
    correct = correct_of(arms, lambda arm: 0.4 + 0.1 * arm.levels["batch norm"] + 0.2 * arm.levels["dropout"])
    factors = list(CROSSED["regularisation"])
    references = {"batch norm": True, "dropout": 0.5, "weight decay": 0.0001}
    codes = np.array([[-0.5 if arm.levels[f] == references[f] else 0.5 for f in factors] for arm in arms])
    terms = [subset for size in range(4) for subset in itertools.combinations(range(3), size)]
    columns = np.stack([codes[:, list(term)].prod(axis=1) for term in terms], axis=1)
    accuracy = [np.mean(list(correct[arm.name].values())) for arm in arms]
    coefficient = dict(zip(terms, np.linalg.solve(columns, accuracy), strict=True))

    table = factor_effects(arms, correct)
    assert rows(table, "main")["factor"].tolist() == factors
    assert rows(table, "main")["delta"].tolist() == pytest.approx([coefficient[i,] for i in range(3)])
    joint = rows(table, "interaction")
    pairs = [(factors.index(b), factors.index(a)) for a, b in zip(joint["factor"], joint["other_factor"], strict=True)]
    assert pairs == [(0, 1), (0, 2), (1, 2)]
    assert joint["delta"].tolist() == pytest.approx([coefficient[pair] for pair in pairs])
    assert (joint["at_level"] - joint["at_reference"]).tolist() == pytest.approx(joint["delta"].tolist())


def test_a_planted_interaction_is_found():
    """Residual links help by 1 point a block beyond two, and blocks help by 1 point each."""
    arms = grid("depth_residual")

    def accuracy(arm: StudiedArm) -> float:
        blocks = arm.levels.get("blocks", 4)
        return 0.5 + 0.01 * blocks + 0.05 * (blocks - 2) * arm.levels.get("residual", False)

    joint = rows(factor_effects(arms, correct_of(arms, accuracy)), "interaction")
    assert joint["factor"].tolist() == ["residual", "residual"]
    assert joint["other_level"].tolist() == ["4", "6"]
    assert joint["delta"].tolist() == pytest.approx([0.1, 0.2], abs=0.02)
    assert (joint["adjusted_p"] < 0.05).all()
    assert joint["sentence"][1].startswith("residual on instead of off: +")
    assert " points at blocks 6, " in joint["sentence"][1]
    assert " points at blocks 2; difference +" in joint["sentence"][1]


def test_effects_that_add_up_do_not_interact():
    arms = grid("regularisation")
    correct = first_images_right(
        arms,
        lambda arm: (
            0.5 + 0.1 * arm.levels["batch norm"] + 0.2 * arm.levels["dropout"] + 100 * arm.levels["weight decay"]
        ),
    )
    table = factor_effects(arms, correct)
    assert rows(table, "main")["delta"].tolist() == pytest.approx([-0.1, -0.1, -0.01])
    assert rows(table, "interaction")["delta"].tolist() == pytest.approx([0, 0, 0])


@pytest.mark.parametrize("name", ["batch_norm_dropout", "depth_dropout", "regularisation"])
def test_the_order_of_the_arms_does_not_matter(name):
    arms = grid(name)
    correct = correct_of(arms, lambda arm: 0.5, images=300)
    shuffled = [arms[place] for place in np.random.default_rng(1).permutation(len(arms))]
    pd.testing.assert_frame_equal(factor_effects(arms, correct), factor_effects(shuffled, correct))


def test_an_effect_that_is_in_every_seed_alike_is_found_although_the_seeds_differ():
    arms = grid("batch_norm_dropout")
    dice = np.random.default_rng(0)
    correct = {arm.name: {} for arm in arms}
    for seed in range(4):
        difficulty = dice.random(2000) + 0.1 * dice.normal()  # a seed that is good or bad in every arm
        for arm in arms:
            correct[arm.name][seed] = difficulty < 0.5 + 0.1 * arm.levels["batch norm"]
    norm = factor_effects(arms, correct).iloc[0]
    assert np.std([right.mean() for right in correct[arms[0].name].values()]) > 0.05
    assert norm["high"] < -0.05
    assert norm["adjusted_p"] < 0.05


# -- what is missing


def test_seeds_that_an_arm_lacks_are_left_out_of_all_arms():
    arms = grid("batch_norm_dropout")
    correct = correct_of(arms, lambda arm: 0.5, seeds=4, images=300)
    fewer = {name: {seed: right for seed, right in seeds.items() if seed != 1} for name, seeds in correct.items()}
    del correct[arms[2].name][1]
    table = factor_effects(arms, correct)
    assert table["paired_seeds"].tolist() == [3, 3, 3]
    pd.testing.assert_frame_equal(table, factor_effects(arms, fewer))


def test_one_shared_seed_gives_effects_without_intervals():
    arms = grid("batch_norm_dropout")
    table = factor_effects(arms, first_images_right(arms, lambda arm: 0.5 + 0.1 * arm.levels["batch norm"], seeds=1))
    assert table["delta"].tolist() == pytest.approx([-0.1, 0, 0])
    assert table[["low", "high", "p_value", "adjusted_p"]].isna().all(axis=None)
    assert (
        table["sentence"][0]
        == "batch norm off instead of on: -10.00 points, averaged over dropout, one seed: no interval."
    )


def test_without_a_finished_seed_the_tables_are_empty():
    arms = grid("batch_norm_dropout")
    correct = {arm.name: {} for arm in arms}
    assert factor_effects(arms, correct).empty
    assert "sentence" in factor_effects(arms, correct)
    assert factor_accuracies(arms, correct).empty


@pytest.mark.parametrize("left", [[], [7]])
def test_an_arm_that_shares_no_seed_leaves_effects_at_the_other_levels(left):
    arms = grid("batch_norm_dropout")
    correct = correct_of(arms, lambda arm: 0.5, images=50)
    whole = factor_effects(arms, correct)
    correct[arms[0].name] = dict.fromkeys(left, correct[arms[0].name][0])
    norm, dropout, joint = (row for _, row in factor_effects(arms, correct).iterrows())
    mean = {name: np.mean(list(seeds.values())) for name, seeds in correct.items() if seeds}
    _, no_dropout, no_norm, neither = (arm.name for arm in arms)
    assert norm["delta"] == pytest.approx(mean[neither] - mean[no_dropout])
    assert norm["remark"] == "averaged over dropout 0 alone"
    assert norm["sentence"].endswith("averaged over dropout 0 alone, 3 seeds.")
    assert dropout["delta"] == pytest.approx(mean[neither] - mean[no_norm])
    assert dropout["remark"] == "averaged over batch norm off alone"
    assert math.isnan(joint["delta"])
    assert joint["paired_seeds"] == 0
    assert joint["remark"] == "no seed is finished in every arm that it takes"
    assert joint["sentence"].endswith("not estimated: no seed is finished in every arm that it takes.")
    assert whole["remark"].eq("").all()


def test_a_lost_seed_is_lost_for_the_effects_of_its_arm_alone():
    arms = grid("depth_dropout")
    correct = correct_of(arms, lambda arm: 0.5, images=200)
    six = next(arm for arm in arms if arm.levels == {"blocks": 6, "dropout": 0.0})
    whole = factor_effects(arms, correct)
    del correct[six.name][1]
    table = factor_effects(arms, correct)
    seeds = {(row.kind, row.factor, row.level, row.other_level): row.paired_seeds for row in table.itertuples()}
    assert seeds == {
        ("main", "blocks", "2", ""): 3,
        ("main", "blocks", "6", ""): 2,
        ("main", "dropout", "0", ""): 2,
        ("interaction", "dropout", "0", "2"): 3,
        ("interaction", "dropout", "0", "6"): 2,
    }
    kept = table["paired_seeds"] == 3
    columns = ["delta", "low", "high", "p_value"]
    pd.testing.assert_frame_equal(table.loc[kept, columns], whole.loc[kept, columns])


def test_a_combination_that_no_arm_has_leaves_the_others():
    arms = [arm for arm in grid("depth_dropout") if arm.levels != {"blocks": 6, "dropout": 0.0}]
    correct = correct_of(arms, lambda arm: 0.5, images=200)
    table = factor_effects(arms, correct).set_index(["kind", "factor", "level", "other_level"])
    assert table.loc[("main", "blocks", "6", ""), "remark"] == "averaged over dropout 0.5 alone"
    assert table.loc[("main", "dropout", "0", ""), "remark"] == "averaged over 2 of 3 levels of blocks"
    assert table.loc[("interaction", "dropout", "0", "6"), "paired_seeds"] == 0
    assert table["delta"].notna().sum() == len(table) - 1
    assert len(factor_accuracies(arms, correct)) == 15


def test_where_a_setting_has_too_few_seeds_the_others_are_averaged():
    arms = grid("regularisation")
    correct = correct_of(arms, lambda arm: 0.5, images=200)
    late = arms[-1]  # a study that runs: this arm has one seed so far
    correct[late.name] = {0: correct[late.name][0]}
    table = factor_effects(arms, correct)
    assert table["paired_seeds"].eq(3).all()
    assert rows(table, "main")["remark"].str.startswith("averaged over 3 of 4 combinations of").all()
    assert rows(table, "interaction")["remark"].str.endswith("alone").all()


# -- real records, harmed


class Harmed:
    """A copy of the stored study of two factors, of which cells can be lost."""

    def __init__(self, root: Path) -> None:
        shutil.copytree(RESULTS, root)
        self.root = root
        cells = Outcomes.from_store(root, "batch_norm_dropout-smoke").cells
        self.keys = {(row.arm, row.seed): row.key for row in cells.itertuples()}

    def lose(self, arm: str, seed: int, *, diverged: bool = False) -> None:
        key = self.keys[arm, seed]
        shutil.rmtree(self.root / "cells" / key)
        if diverged:
            about = Store(self.root).about
            store = Store.open(self.root, data=about.data, data_description=about.data_description)
            store.write_failure(Failure(key=key, arm=arm, seed=seed, kind="diverged", sentence="NaN", epoch=1), "")

    def tables(self) -> StudyTables:
        return StudyTables(Outcomes.from_store(self.root, "batch_norm_dropout-smoke"))


@pytest.fixture
def harmed(tmp_path) -> Harmed:
    return Harmed(tmp_path / "results")


def test_a_seed_that_real_records_lack_is_left_out_of_effects_that_take_its_arm(harmed, study):
    harmed.lose("no batch norm, dropout 0", 1)
    table = harmed.tables().factor_effects
    assert table["paired_seeds"].tolist() == [2, 2, 2]
    right = {arm.name: np.stack([study.correct[arm.name][seed] for seed in (0, 2)]).astype(float) for arm in study.arms}
    base, no_dropout, no_norm, neither = (right[arm.name] for arm in study.arms)
    expected = contrast_effect((no_norm + neither - base - no_dropout) / 2)
    assert table["delta"][0] == pytest.approx(expected.delta)
    assert table["low"][0] == pytest.approx(expected.low)


def test_a_combination_whose_real_records_are_all_lost_leaves_effects_at_other_levels(harmed, study):
    for seed in range(3):
        harmed.lose("no batch norm, dropout 0.5", seed)
    found = harmed.tables()
    assert found.factor_effects["paired_seeds"].tolist() == [3, 3, 0]
    right = {arm.name: np.stack(list(study.correct[arm.name].values())).astype(float) for arm in study.arms}
    base, no_dropout, _, neither = (right[arm.name] for arm in study.arms)
    norm, dropout = (contrast_effect(neither - no_dropout), contrast_effect(no_dropout - base))
    assert found.factor_effects["delta"][:2].tolist() == pytest.approx([norm.delta, dropout.delta])
    assert found.factor_effects["remark"].tolist()[:2] == [
        "averaged over dropout 0 alone", "averaged over batch norm on alone",
    ]  # fmt: skip
    shown = tables.factors(found.factor_effects).shown().to_string()
    assert "nan" not in shown
    assert "averaged over dropout 0 alone" in shown


def test_seeds_that_diverged_are_told_from_those_that_are_missing(harmed, monkeypatch):
    harmed.lose("batch norm, dropout 0.5", 1, diverged=True)
    harmed.lose("no batch norm, dropout 0", 2)
    seen = {}
    monkeypatch.setattr(study_tables, "factor_effects", lambda *args, diverged: seen.update(diverged))
    _ = harmed.tables().factor_effects
    assert seen == {"batch norm, dropout 0.5": 1}


def test_a_significant_effect_by_arms_that_lost_seeds_is_no_finding():
    arms = grid("batch_norm_dropout")
    correct = correct_of(arms, lambda arm: 0.3 + 0.4 * arm.levels["batch norm"], seeds=5)
    for arm, words in ((arms[0], "do not make it worse"), (arms[3], "")):
        norm = factor_effects(arms, correct, diverged={arm.name: 2}).iloc[0]
        assert norm["adjusted_p"] < 0.05
        assert norm["remark"] == (f"2 seeds of its arms diverged, and the others alone {words}" if words else "")
        assert norm["sentence"].endswith("do not make it worse." if words else "5 seeds.")


@pytest.mark.parametrize("name", sorted(GRIDS.keys() - CROSSED.keys()))
def test_without_a_design_the_tables_are_empty(name):
    arms = grid(name)
    correct = correct_of(arms, lambda arm: 0.5, images=50)
    assert factor_effects(arms, correct).empty
    assert factor_accuracies(arms, correct).empty


# -- accuracies


def test_accuracies_of_two_factors_are_those_of_the_cells(study):
    table = factor_accuracies(study.arms, study.correct)
    assert len(table) == 12
    cells = study.cells.set_index(["arm", "seed"])["test_accuracy"]
    for row in table.itertuples():
        arm = f"{'batch norm' if row.other_level == 'on' else 'no batch norm'}, dropout {row.level}"
        assert row.test_accuracy == pytest.approx(cells[arm, row.seed])
        assert row.is_baseline == (arm == "batch norm, dropout 0.5")


def test_levels_that_are_numbers_rise_and_switches_go_from_off_to_on():
    arms = grid("depth_residual")[::-1]
    table = factor_accuracies(arms, correct_of(arms, lambda arm: 0.5, images=50))
    assert table["other_level"].unique().tolist() == ["2", "4", "6", ""]
    assert table["level"].unique().tolist() == ["off", "on", ""]


def test_a_baseline_beside_the_design_follows_with_the_seeds_that_it_has():
    arms = grid("depth_residual")
    correct = correct_of(arms, lambda arm: 0.5, images=50)
    correct["baseline"] = {1: correct["baseline"][1], 5: correct["baseline"][0]}
    table = factor_accuracies(arms, correct)
    (baseline,) = table[table["is_baseline"]].itertuples()
    assert (baseline.level, baseline.seed) == ("", 1)
    assert baseline.test_accuracy == correct["baseline"][1].mean()


def test_accuracies_of_three_factors_are_means_over_the_third():
    arms = grid("regularisation")
    correct = correct_of(arms, lambda arm: 0.5, images=100)
    table = factor_accuracies(arms, correct)
    assert table.groupby(["factor", "other_factor"], sort=False).ngroups == 3
    row = table[
        table["averaged_over"].eq("weight decay") & table["level"].eq("0.5") & table["other_level"].eq("on")
    ].iloc[0]
    both = [correct["batch norm + dropout + weight decay"][0], correct["batch norm + dropout"][0]]
    assert row["test_accuracy"] == pytest.approx(np.mean(both))
    assert not row["is_baseline"]


# -- one change at a time


def test_the_arms_of_leave_one_out_make_one_change_each():
    assert repeated_changes(grid("leave_one_out")) == []
    assert repeated_changes(grid("batch_norm")) == []


@pytest.mark.parametrize(
    ("name", "fields"),
    [("depth", ["widths"]), ("batch_norm_dropout", ["dropout", "batch_norm"]), ("head", ["hidden_width"])],
)
def test_what_several_arms_change_is_named(name, fields):
    assert set(fields) <= set(repeated_changes(grid(name)))


def test_what_several_arms_have_in_common_is_not_one_change_each():
    arms = [replace(arm, changes={**arm.changes, "learning_rate": 0.001}) for arm in grid("leave_one_out")[1:]]
    assert repeated_changes(arms) == ["learning_rate"]
