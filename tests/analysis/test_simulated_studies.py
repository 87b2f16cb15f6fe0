"""Simulated studies are what they say, and designs hold their error rates on them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.sequential import Looks
from analysis.simulated_studies import ARMS, DESIGNS, MIXED, MOST_SEEDS, WORLDS, Design, World, carry_out, draw, measure
from analysis.simulation import Setting, studies
from analysis.statistics import effect_from_parts, holm, paired_effect

REPOSITORY = Path(__file__).parents[2]


def test_accuracies_have_the_variances_of_networks_that_are_simulated_image_by_image():
    world = World("", 5_000, 0.008, 0.12)
    drawn = draw(world, [0.0], 4_000, np.random.default_rng(0))
    setting = Setting(seeds=5, images=5_000, seed_sd=0.008, seed_disagreement=0.12)
    effects = [
        paired_effect(arm[0], baseline) for arm, baseline in studies(setting, (0.0,), 300, np.random.default_rng(0))
    ]
    for variance in ("seed_variance", "image_variance", "rest_variance"):
        ours = getattr(drawn, variance)[5 - 2].mean()
        assert ours == pytest.approx(np.mean([getattr(effect, variance) for effect in effects]), rel=0.12)
    assert drawn.delta[5 - 2].std() == pytest.approx(np.std([effect.delta for effect in effects]), rel=0.12)


def test_a_fixed_number_of_seeds_is_holms_procedure():
    world = WORLDS[4]
    drawn = draw(world, (-world.difference_sd * np.array(MIXED)).tolist(), 50, np.random.default_rng(0))
    found = carry_out(Design("fixed 5", (5,), (0.05,)), drawn)
    for run in range(50):
        p = []
        for arm in range(ARMS):
            parts = [
                float(getattr(drawn, name)[3, run, arm])
                for name in ("seed_variance", "image_variance", "rest_variance")
            ]
            by_seed = np.full(5, drawn.delta[3, run, arm])
            p.append(effect_from_parts(by_seed, *parts, n_images=drawn.images).p_value)
        assert ((holm(p) < 0.05) == found.course.differs[run]).all()
    assert (found.seeds == 5).all()
    assert (found.cells == 45).all()


def test_arms_stop_at_looks_and_the_baseline_goes_on_as_long_as_any():
    world = WORLDS[13]
    drawn = draw(world, (-world.difference_sd * np.array(MIXED)).tolist(), 200, np.random.default_rng(0))
    found = carry_out(Design("", (3, 5, 10), Looks((3, 5, 10)).levels, gives_up=True), drawn)
    assert set(np.unique(found.seeds)) == {3, 5, 10}
    assert (found.cells == found.seeds.sum(axis=1) + found.seeds.max(axis=1)).all()
    assert found.cells.mean() < 80


def test_effects_at_the_margin_are_those_that_were_asked_for():
    for world in WORLDS[-2:]:
        drawn = draw(world, [-0.01, 0.0], 40, np.random.default_rng(0))
        assert drawn.delta.shape == (MOST_SEEDS - 1, 40, 2)
        error = drawn.delta[-1].std(axis=0) / np.sqrt(40)
        assert np.abs(drawn.delta[-1].mean(axis=0) - [-0.01, 0.0]) == pytest.approx(0, abs=4 * error.max())


@pytest.mark.parametrize("world", [WORLDS[4], WORLDS[13], WORLDS[18]])
def test_planned_looks_err_in_at_most_5_percent_of_studies_and_peeking_in_more(world):
    rows = {str(row["design"]): row for row in measure(world, runs=400, seed=0)}
    for design in DESIGNS:
        if design.name.startswith("sequential"):
            assert rows[design.name]["false_difference"] < 0.05 + 0.02
            assert rows[design.name]["false_equivalence"] < 0.05 + 0.02
            assert rows[design.name]["coverage"] > 0.95
            assert rows[design.name]["cells"] < rows["fixed 10"]["cells"]


@pytest.mark.parametrize(
    ("design", "cells"), [("sequential 3, 5, 7, 11", 0.75), ("sequential 3, 4, 6, 10, moderated", 0.65)]
)
def test_planned_looks_find_nearly_what_ten_seeds_find_for_fewer_cells(design, cells):
    stored = pd.read_csv(REPOSITORY / "docs" / "sequential.csv")
    assert set(stored["design"]) == {design.name for design in DESIGNS}
    means = stored[stored["kind"] == "as documented"].groupby("design").mean(numeric_only=True)
    fixed, looks = means.loc["fixed 10"], means.loc[design]
    assert looks["cells"] < cells * fixed["cells"]
    for effect in ("power_1.5", "power_2", "power_3"):
        assert looks[effect] > fixed[effect] - 0.03
    assert stored.loc[stored["design"].str.startswith("sequential"), "false_difference"].max() < 0.05 + 0.01
    assert stored.loc[stored["design"].str.startswith("sequential"), "false_equivalence"].max() < 0.05


def test_the_script_writes_a_table_and_a_figure(tmp_path):
    script = REPOSITORY / "experiments" / "simulate_sequential.py"
    command = [sys.executable, str(script), "--runs", "10", "--out", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert len(pd.read_csv(tmp_path / "sequential.csv")) == len(WORLDS) * len(DESIGNS)
    assert (tmp_path / "sequential.png").stat().st_size > 10_000
