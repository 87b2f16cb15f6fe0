"""Screening designs against published matrices and what such a design must be."""

from collections.abc import Callable, Iterable
from itertools import combinations, product

import numpy as np
import pytest
from scipy import linalg

from ablations.designs import (
    MOST_PARTS,
    aliases,
    correlation,
    folded,
    hadamard,
    in_words,
    screening,
    signs,
)
from cnnkit.errors import UserError


def matrix(design: list[tuple[bool, ...]]) -> np.ndarray:
    return np.where(design, 1, -1)


@pytest.mark.parametrize("order", [1, 2, 4, 8, 16])
def test_powers_of_two_are_sylvesters_matrices(order):
    assert np.array_equal(hadamard(order), linalg.hadamard(order))


@pytest.mark.parametrize("order", [12, 20, 24])
def test_the_others_are_hadamard_matrices_with_a_first_row_of_ones(order):
    h = np.array(hadamard(order))
    assert np.array_equal(h.T @ h, order * np.eye(order))
    assert (h[0] == 1).all()
    assert (h[:, 0] == 1).all()


def test_twelve_runs_are_plackett_and_burmans():
    # Design as printed in the NIST/SEMATECH e-Handbook, section 5.3.3.5, signs turned so that its last row, all minus, is first.
    printed = """
        + - + - - - + + + - +
        + + - + - - - + + + -
        - + + - + - - - + + +
        + - + + - + - - - + +
        + + - + + - + - - - +
        + + + - + + - + - - -
        - + + + - + + - + - -
        - - + + + - + + - + -
        - - - + + + - + + - +
        + - - - + + + - + + -
        - + - - - + + + - + +
        - - - - - - - - - - -
    """
    rows = {tuple(-1 if sign == "+" else 1 for sign in line.split()) for line in printed.strip().splitlines()}
    ours = np.array(hadamard(12))[:, 1:]
    # Both are cyclic: the same rows, up to where the columns start and whether they are read from the left.
    starts = [np.roll(ours[:, ::turn], by, axis=1) for by in range(11) for turn in (1, -1)]
    assert any({tuple(row) for row in start.tolist()} == rows for start in starts)


@pytest.mark.parametrize("order", [12, 20, 24])
def test_plackett_and_burmans_rows_are_the_quadratic_residues_of_paleys_construction(order):
    q = order - 1
    residues = {k * k % q for k in range(1, q)}
    row = np.array([1] + [1 if k in residues else -1 for k in range(1, q)])
    core = {tuple(other) for other in np.array(hadamard(order))[1:, 1:].tolist()}
    assert core == {tuple(np.roll(-row, by).tolist()) for by in range(q)}


@pytest.mark.parametrize("n_parts", range(2, MOST_PARTS + 1))
def test_main_effects_are_clear_of_one_another_and_of_all_interactions_of_two_parts(n_parts):
    design = folded(n_parts)
    x = matrix(design)
    assert np.array_equal(x.T @ x, len(design) * np.eye(n_parts))
    assert not x.sum(axis=0).any()
    for pair in combinations(range(n_parts), 2):
        assert not (np.array(signs(design, *pair)) @ x).any()
    assert all(design[0])
    assert len(set(design)) == len(design)


@pytest.mark.parametrize(("n_parts", "arms"), [(2, 4), (3, 8), (4, 8), (6, 16), (8, 16), (12, 24), (20, 40)])
def test_n_parts_take_twice_the_next_order(n_parts, arms):
    assert len(folded(n_parts)) == arms


def test_effects_of_parts_that_act_alone_and_in_pairs_are_found_again():
    design = folded(4)
    loss = np.array([0.03, 0.01, 0.0, 0.02])
    without = ~np.array(design)
    accuracy = 0.7 - without @ loss - 0.04 * (without[:, 0] & without[:, 1])
    main = [-2 * np.mean(np.multiply(signs(design, part), accuracy)) for part in range(4)]
    assert main == pytest.approx(-loss - [0.02, 0.02, 0, 0])  # averaged over the other part being there or not
    assert 2 * np.mean(np.multiply(signs(design, 0, 1), accuracy)) == pytest.approx(-0.04 / 2)


def test_interactions_of_a_regular_design_are_aliased_in_threes():
    # 2^(6-2), resolution IV, has 15 interactions of two factors; in 16 runs of 8 columns each is aliased with others or clear.
    shared = aliases(folded(4))
    assert shared[0, 1] == {(2, 3): 1.0}
    assert shared[0, 2] == {(1, 3): 1.0}
    assert aliases(folded(3)) == {(0, 1): {}, (0, 2): {}, (1, 2): {}}


def test_interactions_of_plackett_and_burmans_design_are_aliased_in_part():
    design = folded(9)
    for pair, others in aliases(design).items():
        assert {round(abs(value), 9) for value in others.values()} == {round(1 / 3, 9)}
        assert correlation(design, pair, pair) == 1


@pytest.mark.parametrize("n_parts", [0, 1, 25])
def test_too_few_or_too_many_parts_are_refused(n_parts):
    with pytest.raises(UserError, match=f"takes 2 to 24 parts, got {n_parts}"):
        folded(n_parts)


def parts(names: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, f"no {name}") for name in names]


def broken_where(impossible: Callable[[tuple[bool, ...]], bool]) -> Callable[[tuple[bool, ...]], str]:
    return lambda run: "it would be too small" if impossible(run) else ""


def test_a_design_that_can_be_built_is_kept():
    found = screening(parts("abcdef"), lambda run: "")
    assert found.combinations == tuple(folded(6))
    assert found.repaired == ()


def test_what_four_parts_cannot_do_together_is_avoided_by_other_columns():
    broken = [run for run in folded(6) if run[:5] == (False, True, False, True, False)]
    assert broken
    found = screening(parts("abcdef"), broken_where(lambda run: run[:5] == (False, True, False, True, False)))
    assert found.repaired == tuple(broken)
    assert found.problem == "it would be too small"
    assert not any(run[:5] == (False, True, False, True, False) for run in found.combinations)
    x = matrix(list(found.combinations))
    assert np.array_equal(x.T @ x, 16 * np.eye(6))
    assert all(found.combinations[0])


def test_two_parts_that_cannot_be_taken_away_together_are_named():
    with pytest.raises(UserError) as error:
        screening(parts(["norm", "skip", "head", "drop"]), broken_where(lambda run: not (run[1] or run[2])))
    assert "cannot be built: every one with no skip and no head (it would be too small); leave out" in str(error.value)


def test_each_combination_is_tried_once():
    asked = []
    screening(parts("abcde"), lambda run: asked.append(run) or "")
    assert len(asked) == len(set(asked)) == 16


def test_combinations_have_words():
    assert in_words((True, False, False), parts("abc")) == "no b, no c"
    assert in_words((True, True), parts("ab")) == "baseline"
    assert len({in_words(run, parts("abc")) for run in product((True, False), repeat=3)}) == 8
