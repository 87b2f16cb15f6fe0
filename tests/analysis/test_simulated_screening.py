"""Simulated screening studies: that they are what they say, so that what they measure can be believed."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.screening import pair_weights, run_weights
from analysis.simulated_screening import (
    EFFECTS,
    KINDS,
    WORLDS,
    World,
    accuracies,
    design_of,
    draw,
    measure,
    read,
    truth,
)

REPOSITORY = Path(__file__).parents[2]
QUIET = World("quiet", images=20_000, seed_sd=0.0, interactions=0)


def test_designs_have_as_many_runs_as_they_say_and_columns_that_do_not_overlap():
    for kind in ("folded", "unfolded"):
        x = np.where(np.array(design_of(kind, 7)), 1, -1)
        assert len(x) == {"folded": 16, "unfolded": 8}[kind]
        assert np.array_equal(x.T @ x, len(x) * np.eye(7))
    arms = design_of("leave one out", 7)
    assert all(arms[0])
    assert [run.index(False) for run in arms[1:]] == list(range(7))


def test_main_effects_of_the_accuracies_are_those_asked_for_where_the_design_is_folded():
    effects = 0.01 * np.array(EFFECTS)
    joint = 0.02 * np.random.default_rng(0).standard_normal((7, 7))
    folded, unfolded = design_of("folded", 7), design_of("unfolded", 7)
    assert pair_weights(folded, [True] * 16) @ accuracies(folded, effects, joint) == pytest.approx(effects)
    found = run_weights(unfolded, [True] * 8) @ accuracies(unfolded, effects, joint)
    assert np.abs(found - effects).max() > 0.01, "interactions are in them"


def test_networks_are_right_as_often_as_their_accuracies_say():
    design = design_of("folded", 7)
    expected = accuracies(design, [-0.05, 0, 0, 0, 0, 0, 0], np.zeros((7, 7)))
    right = draw(QUIET, design, expected, 4, np.random.default_rng(0))
    assert right.mean(axis=(1, 2)) == pytest.approx(expected, abs=0.012)
    assert right.mean(axis=(1, 2))[8:].mean() < right.mean(axis=(1, 2))[:8].mean()


def test_two_seeds_of_a_run_differ_on_the_share_of_images_that_the_world_names():
    design = design_of("folded", 7)
    right = draw(QUIET, design, np.full(16, 0.6), 2, np.random.default_rng(0))
    assert (right[:, 0] != right[:, 1]).mean() == pytest.approx(QUIET.seed_disagreement, abs=0.01)


def test_a_factor_that_varies_with_the_seed_does_so_by_the_standard_deviation_it_says():
    world = replace(QUIET, varying=3.0)
    design = design_of("folded", 7)
    right = draw(world, design, np.full(16, 0.6), 60, np.random.default_rng(0))
    x = np.where(np.array(design), 1, -1)[:, 0]
    by_seed = right.mean(axis=2).T @ -x / 8
    assert by_seed.std() == pytest.approx(3 * world.difference_sd, rel=0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_each_design_finds_what_it_asks_for(kind):
    design = design_of(kind, 7)
    effects = -0.02 * np.array(EFFECTS)
    expected = accuracies(design, effects, np.zeros((7, 7)))
    found = read(QUIET, kind, design, draw(QUIET, design, expected, 3, np.random.default_rng(0)))
    assert [effect.delta for effect in found] == pytest.approx(truth(kind, expected, effects), abs=0.02)


def test_a_measured_world_has_a_row_a_design_with_as_many_cells():
    rows = measure(WORLDS[1], runs=2, seed=0)
    assert [row["design"] for row in rows] == list(KINDS)
    assert {row["cells"] for row in rows} == {48}
    assert all(0 <= row["coverage"] <= 1 for row in rows)


def test_the_stored_simulation_says_that_folded_designs_hold_and_others_do_not():
    table = pd.read_csv(REPOSITORY / "docs" / "screening.csv").set_index(["name", "design"])
    runs = int(table["runs"].iloc[0])
    most = stats.binom.ppf(0.999, runs, 0.05) / runs
    for kind in ("folded", "moderated", "leave one out"):
        own = table.xs(kind, level="design")
        assert own["coverage"].min() > 0.93
        assert own["false_difference"].max() <= most
        assert own["false_equivalence"].max() <= most
    assert table.loc[("interactions", "unfolded"), "coverage"] < 0.8


def test_the_script_writes_its_table_and_its_figure(tmp_path):
    script = REPOSITORY / "experiments" / "simulate_screening.py"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(
        [sys.executable, str(script), "--runs", "2", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    assert len(pd.read_csv(tmp_path / "screening.csv")) == len(WORLDS) * len(KINDS)
    assert (tmp_path / "screening.png").is_file()


@pytest.mark.parametrize("name", ["coverage", "sequential", "screening"])
def test_simulations_share_their_command_line_and_its_one_sentence_errors(name):
    script = REPOSITORY / "experiments" / f"simulate_{name}.py"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(
        [sys.executable, str(script), "--runs", "0"], capture_output=True, text=True, check=False, env=environment
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: --runs 0: at least ")
    assert "Traceback" not in result.stderr
