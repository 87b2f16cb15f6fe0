import dataclasses
import math

import numpy as np
import pytest

from ablations.record import Command
from analysis import methods, tables
from analysis.effects import difference, effect_table, probability, remarks, with_interval
from analysis.factors import factor_effects
from analysis.outcomes import Outcomes
from analysis.statistics import holm, paired_effect
from analysis.studied import Answers, StudiedArm, cell_table

IMAGES = 400


def study(accuracies: dict[str, list[float | None]], **columns) -> Outcomes:
    """Arms with these test accuracies by seed (None is missing), and which images they get right. The first is the baseline."""
    dice = np.random.default_rng(0)
    rows, predictions = [], {}
    for arm, values in accuracies.items():
        predictions[arm] = {}
        for seed, accuracy in enumerate(values):
            if accuracy is not None:
                wrong = np.ones(IMAGES, dtype=np.uint8)
                wrong[dice.choice(IMAGES, round(accuracy * IMAGES), replace=False)] = 0
                predictions[arm][seed] = wrong
            rows.append(
                {
                    "arm": arm, "is_baseline": arm == next(iter(accuracies)), "seed": seed, "changes": "",
                    "protocol": "quick", "epochs": 5, "parameters": 10,
                    "head_share": 0.5, "multiply_adds": 100, "receptive_field": 6.6,
                    "status": "missing" if accuracy is None else "finished", "test_accuracy": accuracy,
                    "validation_accuracy": accuracy, "seconds": 3.0, "device": "a CPU", "precision": "bf16",
                    "gpu_share": 0.0, "trials_at_once": 2,
                }
            )  # fmt: skip
    return Outcomes(
        arms=tuple(StudiedArm(arm, is_baseline=arm == next(iter(accuracies))) for arm in accuracies),
        classes=("cat", "dog"),
        cells=cell_table(rows).assign(**columns),
        read_answers=lambda: Answers(np.zeros(IMAGES, dtype=np.int64), predictions),
    )


def test_the_difference_is_that_of_paired_effect_with_holms_correction():
    outcomes = study({"base": [0.5, 0.6, 0.7], "a": [0.52, 0.61, 0.73], "b": [0.2, 0.3, 0.4]})
    table = effect_table(outcomes)
    base, a, b = (np.stack(list(outcomes.correct[arm].values())) for arm in ("base", "a", "b"))
    expected = [paired_effect(a, base), paired_effect(b, base)]
    assert table["delta"].tolist()[1:] == [effect.delta for effect in expected]
    assert table["low"].tolist()[1:] == [effect.low for effect in expected]
    assert table["adjusted_p"].tolist()[1:] == holm([effect.p_value for effect in expected]).tolist()
    assert table["verdict"].tolist() == ["", "inconclusive", "worse"]
    assert table.iloc[0]["test_sd"] == pytest.approx(0.1)
    assert difference(table.iloc[0]) == "baseline"


def test_test_images_that_belong_together_are_the_unit_of_every_interval_and_the_methods_say_so():
    outcomes = study({"base": [0.5, 0.6, 0.7], "a": [0.52, 0.61, 0.73]})
    clusters = np.arange(IMAGES) // 4
    together = dataclasses.replace(
        outcomes, read_answers=lambda: dataclasses.replace(outcomes._answers, clusters=clusters)
    )
    row = effect_table(together).iloc[1]
    base, a = (np.stack(list(outcomes.correct[arm].values())) for arm in ("base", "a"))
    expected = paired_effect(a, base, clusters=clusters)
    assert (row["low"], row["high"], row["p_value"]) == (expected.low, expected.high, expected.p_value)
    assert "the 100 clusters are the unit" in methods.paragraph(together, margin=0.01)
    assert any("100 clusters" in note for note in together.remarks)
    assert "cluster" not in methods.paragraph(outcomes, margin=0.01)
    crossed = factor_effects(FACTORS, CROSSED, clusters=np.zeros(8, dtype=np.int64) + np.arange(8) // 2)
    assert (crossed["low"] != factor_effects(FACTORS, CROSSED)["low"]).all()


FACTORS = tuple(
    StudiedArm(f"{a}{b}", is_baseline=not (a or b), levels={"a": a, "b": b}) for a in (0, 1) for b in (0, 1)
)
CROSSED = {arm.name: dict(enumerate(np.random.default_rng(n).random((3, 8)) < 0.5)) for n, arm in enumerate(FACTORS)}


def test_the_interval_that_is_shown_leaves_out_0_exactly_where_the_p_value_that_decides_is_below_5_percent():
    """Unadjusted intervals do so for arms that are inconclusive, and adjusted ones for the number of arms alone do not for
    those that only Holm's later steps settle.
    """
    dice = np.random.default_rng(3)
    contradictions = later_steps = 0
    for _ in range(40):
        arms = {f"arm {n}": (0.5 + dice.uniform(0, 0.2) + dice.normal(0, 0.015, 3)).tolist() for n in range(4)}
        table = effect_table(study({"base": [0.5, 0.5, 0.5], **arms})).iloc[1:]
        for _, row in table[table["verdict"] != "equivalent"].iterrows():
            assert (not row["shown_low"] <= 0 <= row["shown_high"]) == (row["adjusted_p"] < 0.05)
            assert row["shown_level"] >= 0.95
            contradictions += row["adjusted_p"] >= 0.05 and not row["low"] <= 0 <= row["high"]
            later_steps += row["adjusted_p"] < 0.05 and row["p_value"] > 0.05 / 4
    assert contradictions
    assert later_steps


def test_of_an_equivalent_arm_the_interval_within_the_margin_is_shown():
    same = np.linspace(0.5, 0.51, 6).tolist()
    row = effect_table(study({"base": same, "arm": same}), margin=0.2).iloc[1]
    assert row["verdict"] == "equivalent"
    assert -0.2 < row["shown_low"] < row["shown_high"] < 0.2
    assert row["shown_level"] == pytest.approx(0.9)


def test_an_interval_of_more_than_50_points_is_not_printed():
    assert with_interval(0.2, -0.71, 1.1, sign=True) == "+20.00 [too wide]"
    assert with_interval(0.02, -0.2, 0.24, sign=True) == "+2.00 [-20.00, +24.00]"
    table = effect_table(study({"base": [0.1, 0.9], "arm": [0.9, 0.1]}))
    assert "[too wide]: the interval spans more than 50 points" in " ".join(tables.effects(table).notes)


def test_seeds_without_a_partner_are_left_out_of_the_difference_and_said():
    table = effect_table(study({"base": [0.5, None, 0.7], "arm": [0.52, 0.61, 0.73]}))
    row = table.iloc[1]
    assert row["seeds"] == 3
    assert row["paired_seeds"] == 2
    assert row["delta"] == pytest.approx(0.025)
    assert "base: 1" in " ".join(remarks(table))


def test_names_with_commas_and_colons_are_quoted_where_names_stand_in_a_list():
    table = effect_table(study({"base": [0.5, None], "a, b: 2": [0.5, None]}))
    assert remarks(table) == ["Seeds not finished: base: 1, “a, b: 2”: 1."]


def test_one_seed_gives_an_effect_without_an_interval():
    row = effect_table(study({"base": [0.5], "arm": [0.52]})).iloc[1]
    assert math.isnan(row["low"])
    assert row["verdict"] == "no interval"
    assert difference(row) == "+2.00 (one seed: no interval)"


def test_without_finished_cells_there_is_no_difference():
    table = effect_table(study({"base": [None], "arm": [0.52]}))
    assert difference(table.iloc[1]) == "no pair of finished cells"
    assert len(tables.effects(table).for_terminal().rows) == 2


def test_an_arm_with_diverged_seeds_is_never_better():
    outcomes = study({"base": [0.2, 0.2, 0.2, 0.2], "arm": [0.9, 0.9, 0.9, None]})
    outcomes.cells.loc[outcomes.cells.index[-1], "status"] = "diverged"
    row = effect_table(outcomes).iloc[1]
    assert row["diverged"] == 1
    assert row["verdict"] == "inconclusive"
    assert "1 seed diverged" in row["sentence"]


def test_the_sentence_says_on_what_the_effect_was_found():
    outcomes = study({"base": [0.5, 0.5, 0.5], "arm": [0.2, 0.2, 0.21]})
    outcomes.cells.loc[outcomes.cells["arm"] == "arm", "parameters"] = 4
    row = effect_table(outcomes).iloc[1]
    interval = f"[{100 * row['shown_low']:+.2f}, {100 * row['shown_high']:+.2f}]"
    expected = (
        f"arm: worse, {100 * row['delta']:+.2f} points {interval}, 3 seeds, at 5 epochs of quick; 0.4x parameters."
    )
    assert row["sentence"] == expected


def test_a_table_that_mixes_devices_or_precisions_says_so():
    table = effect_table(study({"base": [0.5, 0.6], "arm": [0.5, 0.7]}, precision=["bf16", "bf16", "fp16", "bf16"]))
    assert "different devices or precisions (a CPU, bf16; a CPU, fp16)" in remarks(table)[0]
    assert tables.arms(table).columns[-1].header == "trained on"
    assert remarks(effect_table(study({"base": [0.5], "arm": [0.5]}))) == []


@pytest.mark.parametrize(("p", "text"), [(0.0001, "<.001"), (0.0123, "0.012"), (0.5, "0.50"), (math.nan, "")])
def test_p_values_have_two_digits(p, text):
    assert probability(p) == text


def test_p_values_pay_for_looks_and_the_columns_head_says_so():
    commands = [
        Command(
            time=f"2026-01-0{day}T00:00:00+00:00", arguments=["--seeds", str(seeds)], seeds=seeds, finished_before=had
        )
        for day, (seeds, had) in enumerate([(1, 0), (2, 5), (2, 10), (3, 10)], 1)
    ]
    depth = study({"base": [0.6, 0.62, 0.61], "a": [0.64, 0.66, 0.67], "b": [0.6, 0.63, 0.6]})
    looked = dataclasses.replace(depth, study=dataclasses.replace(depth.study, commands=commands))
    assert looked.looks == 3
    once, thrice = effect_table(depth), effect_table(looked)
    expected = holm(np.minimum(3 * once["p_value"].to_numpy(float), 1))
    assert thrice["adjusted_p"].to_numpy(float) == pytest.approx(expected, nan_ok=True)
    assert (thrice["low"].dropna() == once["low"].dropna()).all()
    heads = [column.header for column in tables.effects(thrice).columns]
    assert "p Holm, 3 looks" in heads
    assert "p Holm" in [column.header for column in tables.effects(once).columns]
    assert "3 looks" in " ".join(looked.remarks)


def test_equivalence_is_corrected_for_the_number_of_arms():
    depth = study({"base": [0.6, 0.62, 0.61], "a": [0.64, 0.66, 0.67], "b": [0.6, 0.63, 0.6]})
    table = effect_table(depth, margin=0.2).dropna(subset=["p_value"])
    own = [
        paired_effect(
            np.stack(list(depth.correct[arm].values())), np.stack(list(depth.correct[depth.baseline.name].values()))
        ).equivalence_p(0.2)
        for arm in table["arm"]
    ]
    assert table["adjusted_equivalence_p"].tolist() == pytest.approx(holm(own).tolist())
