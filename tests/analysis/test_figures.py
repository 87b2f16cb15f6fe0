import math
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import same_color, to_rgba
from matplotlib.text import Annotation, Text

from ablations.grids import GRIDS
from ablations.protocols import PROTOCOLS
from analysis.effects import effect_table, seed_differences
from analysis.factors import factor_accuracies
from analysis.figures import (
    COLUMN,
    ENDS,
    STYLE,
    NothingToDraw,
    accuracy_against_cost,
    forest,
    learning_curves,
    looks,
    per_class,
    steps,
    two_factor,
)
from analysis.fit_figures import losses, reliability
from analysis.measure_figures import attention, composites, reliance, shape_bias
from analysis.outcomes import Outcomes
from analysis.per_class import recalls
from analysis.reliance import CHANGES
from analysis.screening import half_normal_quantiles
from analysis.screening_figures import half_normal
from analysis.shape_bias import published
from analysis.studied import Answers, StudiedArm, cell_table
from cnnkit.data import CLASSES

STORED = Path(__file__).parents[1] / "ablations" / "stored" / "format-1"
RESULTS = Path(__file__).parents[1] / "data" / "results"
SMALLEST = 6.5  # points
TWELVE = [f"arm number {number}, with a long name" for number in range(12)]
REGULARISED = [arm.name for arm in GRIDS["regularisation"](PROTOCOLS["smoke"].baseline())]  # names of three lines


@pytest.fixture(autouse=True)
def _paper():
    """The style of a paper on a backend without windows; every figure is closed."""
    plt.switch_backend("agg")
    with mpl.rc_context(STYLE):
        yield
    plt.close("all")


@pytest.fixture(scope="module")
def stored() -> Outcomes:
    return Outcomes.from_store(STORED)


def trials_of(accuracies: dict[str, list[float | None]]) -> pd.DataFrame:
    """Cells with these test accuracies by seed (None is missing). The first arm is the baseline."""
    return pd.DataFrame(
        [
            {
                "arm": arm,
                "is_baseline": arm == next(iter(accuracies)),
                "seed": seed,
                "status": "missing" if accuracy is None else "finished",
                "test_accuracy": math.nan if accuracy is None else accuracy,
            }
            for arm, values in accuracies.items()
            for seed, accuracy in enumerate(values)
        ]
    )


def differences_of(trials: pd.DataFrame) -> pd.DataFrame:
    """Of networks that get so many of 1,000 images right as their accuracies say."""
    predictions: dict[str, dict[int, np.ndarray]] = {arm: {} for arm in trials["arm"]}
    for cell in trials[trials["status"] == "finished"].itertuples():
        predictions[cell.arm][cell.seed] = (np.arange(1000) >= round(1000 * cell.test_accuracy)).astype(np.uint8)
    arms = trials.drop_duplicates("arm")
    return seed_differences(
        Outcomes(
            arms=tuple(StudiedArm(row.arm, is_baseline=row.is_baseline) for row in arms.itertuples()),
            classes=("cat", "dog"),
            cells=cell_table(trials.to_dict("records")),
            read_answers=lambda: Answers(np.zeros(1000, dtype=np.int64), predictions),
        )
    )


def effects_of(trials: pd.DataFrame, costs: list[int] | None = None) -> pd.DataFrame:
    """The columns of an effect table that figures read, with intervals of one point to each side."""
    rows = []
    differences = differences_of(trials)
    for place, (arm, cells) in enumerate(trials.groupby("arm", sort=False)):
        own = differences.loc[differences["arm"] == arm, "difference"]
        delta = own.mean()
        half = 0.01 if len(own) > 1 else math.nan
        rows.append(
            {
                "arm": arm,
                "is_baseline": bool(cells["is_baseline"].iloc[0]),
                "multiply_adds": costs[place] if costs else 10 * (place + 1),
                "parameters": 1000,
                "test_mean": cells["test_accuracy"].mean(),
                "test_sd": cells["test_accuracy"].std(),
                "delta": delta,
                "low": delta - half,
                "high": delta + half,
                "paired_seeds": len(own),
                "verdict": ""
                if not len(own)
                else "no interval"
                if len(own) == 1
                else "worse"
                if delta < 0
                else "better",
            }
        )
    return pd.DataFrame(rows)


def drawn_forest(accuracies: dict[str, list[float | None]]) -> Axes:
    trials = trials_of(accuracies)
    return forest(effects_of(trials), differences_of(trials))


def curves_of(arms: dict[str, list[list[float]]]) -> pd.DataFrame:
    """Validation accuracies by arm, seed and epoch. The first arm is the baseline."""
    return pd.DataFrame(
        [
            {"arm": arm, "is_baseline": arm == next(iter(arms)), "seed": seed, "epoch": epoch, "validation_accuracy": a}
            for arm, seeds in arms.items()
            for seed, curve in enumerate(seeds)
            for epoch, a in enumerate(curve, start=1)
        ]
    )


def recalls_of(arms: dict[str, dict[int, list[float]]]) -> pd.DataFrame:
    """Recalls by arm, seed and class. The first arm is the baseline."""
    return pd.DataFrame(
        [
            {"arm": arm, "is_baseline": arm == next(iter(arms)), "seed": seed, "class": name, "recall": recall}
            for arm, seeds in arms.items()
            for seed, recalls in seeds.items()
            for name, recall in zip(CLASSES, recalls, strict=False)
        ]
    )


def labelled(ax: Axes, label: str) -> list:
    """What is drawn under a label."""
    return [artist for artist in ax.get_children() if artist.get_label() == label]


def dots(ax: Axes, label: str) -> np.ndarray:
    (points,) = labelled(ax, label)
    assert isinstance(points, PathCollection)
    return np.asarray(points.get_offsets())


def bars(ax: Axes, label: str) -> list[np.ndarray]:
    (lines,) = labelled(ax, label)
    assert isinstance(lines, LineCollection)
    return [np.asarray(segment) for segment in lines.get_segments()]


def texts(ax: Axes) -> list[Text]:
    return [text for text in ax.findobj(Text) if text.get_text() and text.get_visible()]


def overlapping(names: list[Text]) -> list[tuple[str, str]]:
    """Pairs of texts that cover each other by more than a hair."""
    boxes = [Text.get_window_extent(name).padded(-1) for name in names]
    return [
        (names[i].get_text(), names[j].get_text())
        for i in range(len(names))
        for j in range(i)
        if boxes[i].overlaps(boxes[j])
    ]


# -- seed differences


def test_seed_differences_pair_the_seeds_that_both_have_finished():
    table = differences_of(trials_of({"base": [0.5, None, 0.7], "a": [0.6, 0.9, 0.6], "b": [None, 0.1, None]}))
    assert table[["arm", "seed"]].to_numpy().tolist() == [["a", 0], ["a", 2]]
    assert table["difference"].tolist() == pytest.approx([0.1, -0.1])


def test_seed_differences_average_to_the_effect(stored):
    effects = effect_table(stored).set_index("arm")
    for arm, own in seed_differences(stored).groupby("arm"):
        assert own["difference"].mean() == pytest.approx(effects.loc[arm, "delta"])


# -- forest


def test_the_forests_dots_are_the_differences_of_the_seeds_in_points(stored):
    differences = seed_differences(stored)
    ax = forest(effect_table(stored), differences)
    assert dots(ax, "one seed")[:, 0].tolist() == pytest.approx((100 * differences["difference"]).tolist())
    assert dots(ax, "mean").tolist() == [[pytest.approx(-2.5), 1]]


def test_the_forests_bars_are_the_intervals_in_the_grids_order():
    ax = drawn_forest({"base": [0.5, 0.5], "a": [0.6, 0.6], "b": [0.4, 0.4]})
    (a, b) = bars(ax, "interval")
    assert a.tolist() == [[pytest.approx(9), 1], [pytest.approx(11), 1]]
    assert b.tolist() == [[pytest.approx(-11), 2], [pytest.approx(-9), 2]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["base", "a", "b"]
    bottom, top = ax.get_ylim()
    assert bottom > top, "the first arm is at the top"


def test_an_arm_with_one_seed_has_a_dot_and_no_bar():
    ax = drawn_forest({"base": [0.5, 0.5], "a": [0.6, None], "b": [0.4, 0.4]})
    assert len(bars(ax, "interval")) == 1
    assert len(dots(ax, "mean")) == 2
    assert "one seed" in [text.get_text() for text in texts(ax)]


def test_one_seed_everywhere_leaves_no_bar():
    ax = drawn_forest({"base": [0.5], "a": [0.6]})
    assert bars(ax, "interval") == []
    assert len(dots(ax, "one seed")) == 1


def test_an_arm_without_a_pair_keeps_its_row_and_says_so():
    ax = drawn_forest({"base": [0.5, None], "a": [None, 0.6], "b": [0.4, None]})
    assert len(ax.get_yticks()) == 3
    assert dots(ax, "mean")[:, 1].tolist() == [2]
    assert "no pair" in [text.get_text() for text in texts(ax)]


def test_the_baseline_is_the_line_at_zero_and_has_no_dot():
    ax = drawn_forest({"base": [0.5, 0.5], "a": [0.6, 0.6]})
    assert [list(line.get_xdata()) for line in ax.lines] == [[0, 0]]
    assert 0 not in dots(ax, "mean")[:, 1]


def test_only_better_and_worse_are_filled():
    trials = trials_of({"base": [0.5, 0.5], "a": [0.6, 0.6], "b": [0.4, 0.4], "c": [0.4, 0.4]})
    effects = effects_of(trials)
    effects.loc[3, "verdict"] = "inconclusive"
    (means,) = labelled(forest(effects, differences_of(trials)), "mean")
    better, worse, open_ = means.get_facecolors()
    assert same_color(open_, "white")
    assert better[2] > better[0], "blue"
    assert worse[0] > worse[2], "red"


def note(ax: Axes) -> str:
    """The small lines below the axis, as one."""
    return ax.texts[-1].get_text().replace("\n", " ")


def test_the_forest_says_what_its_intervals_and_fillings_mean():
    words = note(drawn_forest({"base": [0.5, 0.5], "a": [0.6, 0.6]}))
    assert (
        words
        == "Lines: intervals of the tests behind the verdicts, adjusted for their number. Filled: better or worse."
    )


# -- steps


def drawn_steps(accuracies: dict[str, list[float | None]]) -> Axes:
    return steps(effects_of(trials_of(accuracies)))


def step_bars(ax: Axes) -> list[tuple[float, float]]:
    """Where each bar begins and ends."""
    return [(pytest.approx(bar.get_x()), pytest.approx(bar.get_x() + bar.get_width())) for bar in ax.patches]


def test_each_step_begins_where_the_one_before_ends_from_the_largest_loss_on():
    ax = drawn_steps({"base": [0.7, 0.7], "a": [0.68, 0.68], "b": [0.71, 0.71], "c": [0.6, 0.6]})
    assert [label.get_text() for label in ax.get_yticklabels()] == ["base", "c", "a", "b"]
    assert step_bars(ax) == [(70, 60), (60, 58), (58, 59)]
    assert dots(ax, "baseline").tolist() == [[pytest.approx(70), 0]]
    assert [text.get_text() for text in ax.texts[:3]] == ["−10.0", "−2.0", "+1.0"]


def test_a_steps_interval_lies_around_its_end():
    ax = drawn_steps({"base": [0.7, 0.7], "a": [0.68, 0.68], "c": [0.6, 0.6]})
    first, second = bars(ax, "interval")
    assert first.tolist() == [[pytest.approx(59), 1], [pytest.approx(61), 1]]
    assert second.tolist() == [[pytest.approx(57), 2], [pytest.approx(59), 2]]


def test_only_significant_steps_are_filled():
    effects = effects_of(trials_of({"base": [0.7, 0.7], "a": [0.6, 0.6], "b": [0.8, 0.8], "c": [0.69, 0.69]}))
    effects.loc[3, "verdict"] = "inconclusive"
    worse, open_, better = (bar.get_facecolor() for bar in steps(effects).patches)
    assert worse[0] > worse[2], "red"
    assert better[2] > better[0], "blue"
    assert same_color(open_, "white")


def test_the_steps_say_that_their_sum_was_not_trained():
    ax = drawn_steps({"base": [0.7, 0.7], "a": [0.6, 0.6]})
    assert "if the changes added up" in ax.get_xlabel()
    assert note(ax).startswith("Each change was trained alone, never their sum.")


def test_a_step_of_one_seed_has_no_interval_and_an_arm_without_a_pair_no_step():
    ax = drawn_steps({"base": [0.7, 0.7, None], "a": [0.6, None, None], "b": [None, None, 0.6]})
    assert step_bars(ax) == [(70, 60)]
    assert bars(ax, "interval") == []
    assert [text.get_text() for text in ax.texts[:2]] == ["−10.0 (one seed)", "no pair"]


def test_the_baseline_stands_within_the_axes_of_the_steps():
    ax = drawn_steps({"base": [0.7, 0.7], "a": [0.6, 0.6]})
    left, right = ax.get_xlim()
    assert left < 60 < 70 < right - 0.1


# -- two factors


def accuracies_of(
    cells: dict[tuple[str, str], list[float]], baseline: tuple[str, str] | list[float], averaged_over: str = ""
) -> pd.DataFrame:
    """By levels of the lines and along the axis, by seed. The baseline: its levels, or its own accuracies by seed."""
    pair = {"factor": "dropout", "other_factor": "blocks", "averaged_over": averaged_over}
    rows = [
        {
            **pair,
            "level": a,
            "other_level": b,
            "is_baseline": (a, b) == baseline,
            "seed": seed,
            "test_accuracy": accuracy,
        }
        for (a, b), values in cells.items()
        for seed, accuracy in enumerate(values)
    ]
    beside = baseline if isinstance(baseline, list) else []
    rows += [
        {**pair, "level": "", "other_level": "", "is_baseline": True, "seed": seed, "test_accuracy": accuracy}
        for seed, accuracy in enumerate(beside)
    ]
    return pd.DataFrame(rows)


TWO_BY_TWO = {("0", "2"): [0.5, 0.52], ("0", "4"): [0.6, 0.62], ("0.5", "2"): [0.4, 0.44], ("0.5", "4"): [0.7, 0.72]}


def test_a_line_is_a_level_and_its_points_are_means_over_seeds():
    ax = two_factor(accuracies_of(TWO_BY_TWO, ("0", "2")))
    (off,), (on,) = labelled(ax, "dropout 0"), labelled(ax, "dropout 0.5")
    assert off.get_ydata().tolist() == pytest.approx([51, 61])
    assert on.get_ydata().tolist() == pytest.approx([42, 71])
    assert np.round(on.get_xdata()).tolist() == [0, 1]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2", "4"]
    assert ax.get_xlabel() == "Blocks"


def test_every_seed_is_dotted_and_joined():
    ax = two_factor(accuracies_of(TWO_BY_TWO, ("0", "2")))
    seeds = labelled(ax, "one seed")
    assert [line.get_ydata().tolist() for line in seeds] == [
        pytest.approx(own) for own in ([50, 60], [52, 62], [40, 70], [44, 72])
    ]
    assert {line.get_marker() for line in seeds} == {"o"}


def test_the_baseline_is_a_diamond_at_its_point():
    ax = two_factor(accuracies_of(TWO_BY_TWO, ("0.5", "4")))
    (on,) = labelled(ax, "dropout 0.5")
    assert dots(ax, "baseline").tolist() == [[on.get_xdata()[1], pytest.approx(71)]]
    assert "Diamond: the baseline." in [text.get_text() for text in texts(ax)]


def test_a_baseline_beside_the_design_is_a_line():
    ax = two_factor(accuracies_of(TWO_BY_TWO, [0.5, 0.54]))
    (line,) = labelled(ax, "baseline")
    assert line.get_ydata() == pytest.approx([52, 52])
    assert "baseline" in [text.get_text() for text in texts(ax)]


def test_what_is_averaged_over_is_said():
    assert "mean over width" in two_factor(accuracies_of(TWO_BY_TWO, [], averaged_over="width")).get_ylabel()


def test_two_factors_of_real_networks_are_drawn():
    study = Outcomes.from_store(RESULTS, "batch_norm_dropout-smoke")
    ax = two_factor(factor_accuracies(study.arms, study.correct))
    means = study.cells.groupby("arm")["test_accuracy"].mean()
    (line,) = labelled(ax, "dropout 0.5")
    assert line.get_ydata() == pytest.approx(
        [100 * means["no batch norm, dropout 0.5"], 100 * means["batch norm, dropout 0.5"]]
    )
    assert [label.get_text() for label in ax.get_xticklabels()] == ["off", "on"]


def test_one_pair_of_factors_is_drawn_at_a_time():
    table = accuracies_of(TWO_BY_TWO, ("0", "2"))
    with pytest.raises(ValueError, match="one pair"):
        two_factor(pd.concat([table, table.assign(factor="width")]))


# -- accuracy against cost


def cost_figure(points: list[tuple[int, float]], **options) -> Axes:
    """Arms of one seed with these costs and accuracies."""
    trials = trials_of({f"arm {place}": [accuracy] for place, (_, accuracy) in enumerate(points)})
    return accuracy_against_cost(effects_of(trials, [cost for cost, _ in points]), **options)


def frontier(ax: Axes) -> list[tuple[float, float]]:
    (line,) = labelled(ax, "frontier")
    return [(float(x), pytest.approx(float(y))) for x, y in line.get_xydata()]


def test_the_frontier_leaves_out_what_another_beats():
    ax = cost_figure([(10, 0.5), (20, 0.4), (30, 0.6), (30, 0.55), (40, 0.6), (50, 0.7)])
    assert frontier(ax) == [(10, 50), (30, 60), (50, 70)]


@pytest.mark.parametrize("seed", range(5))
def test_no_arm_dominates_one_on_the_frontier_and_each_other_arm_is_dominated(seed):
    dice = np.random.default_rng(seed)
    points = [(int(cost), accuracy / 10) for cost, accuracy in dice.integers(1, 10, (12, 2))]  # with ties
    ax = cost_figure(points)
    (line,) = labelled(ax, "frontier")
    on = [(x, y / 100) for x, y in line.get_xydata()]
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(on))
    for cost, accuracy in points:
        reached = max(y for x, y in on if x <= cost)
        assert reached == pytest.approx(accuracy) or reached > accuracy


def test_the_baseline_is_named_and_has_a_marker_of_its_own():
    ax = cost_figure([(10, 0.5), (20, 0.6)])
    assert {"arm 0 (baseline)", "arm 1"} <= {text.get_text() for text in texts(ax)}
    (base,), (other,) = labelled(ax, "arm 0"), labelled(ax, "arm 1")
    assert len(base.get_paths()[0]) != len(other.get_paths()[0])


def test_the_bars_are_a_standard_deviation_to_each_side():
    trials = trials_of({"base": [0.4, 0.6], "a": [0.5, 0.5]})
    base, _ = bars(accuracy_against_cost(effects_of(trials)), "SD over seeds")
    assert base[:, 1].tolist() == pytest.approx([50 - 100 * np.std([0.4, 0.6], ddof=1), 50 + 100 * 0.1 * math.sqrt(2)])


def test_arms_without_a_finished_seed_are_not_drawn():
    ax = accuracy_against_cost(effects_of(trials_of({"base": [0.5], "a": [None], "b": [0.6]})))
    assert labelled(ax, "a") == []
    assert len(labelled(ax, "b")) == 1


@pytest.mark.parametrize(("costs", "scale"), [((10, 90), "linear"), ((10, 100), "log"), ((10, 10), "linear")])
def test_costs_that_span_a_factor_of_ten_are_drawn_on_a_logarithmic_axis(costs, scale):
    ax = cost_figure([(costs[0], 0.5), (costs[1], 0.6)])
    assert ax.get_xscale() == scale
    low, high = ax.get_xlim()
    assert low < costs[0] <= costs[1] < high


def test_another_cost_has_its_own_axis_and_an_unknown_one_is_refused():
    assert cost_figure([(10, 0.5), (20, 0.6)], cost="parameters").get_xlabel() == "Parameters"
    with pytest.raises(ValueError, match="multiply_adds"):
        cost_figure([(10, 0.5)], cost="price")


# -- learning curves


def test_a_thin_line_is_a_seed_and_the_bold_line_their_mean():
    ax = learning_curves(curves_of({"base": [[0.1, 0.3], [0.2, 0.5]], "a": [[0.3, 0.4]]}))
    seeds = labelled(ax, "one seed")
    assert [line.get_ydata().tolist() for line in seeds] == [pytest.approx(c) for c in ([10, 30], [20, 50], [30, 40])]
    (mean,) = labelled(ax, "base")
    assert mean.get_ydata().tolist() == pytest.approx([15, 40])
    assert mean.get_xdata().tolist() == [1, 2]
    assert mean.get_linewidth() > 2 * seeds[0].get_linewidth()


def test_arms_that_train_for_different_numbers_of_epochs_end_where_they_end():
    ax = learning_curves(curves_of({"base": [[0.1, 0.2, 0.3]], "short": [[0.2]]}))
    (short,) = labelled(ax, "short")
    assert short.get_xdata().tolist() == [1]
    assert short.get_marker() == "o", "a line of one epoch would not be seen"
    ends = {text.get_text(): text.xy for text in texts(ax) if isinstance(text, Annotation)}
    assert ends == {"base": (3, pytest.approx(30)), "short": (1, pytest.approx(20))}


def test_every_arm_has_a_colour_of_its_own_and_its_name_has_it():
    ax = learning_curves(curves_of({arm: [[0.1, 0.2 + place / 100]] for place, arm in enumerate(TWELVE)}))
    colours = [to_rgba(labelled(ax, arm)[0].get_color()) for arm in TWELVE]
    assert len(set(colours)) == 12
    names = {text.get_text().replace("\n", " "): text for text in texts(ax) if isinstance(text, Annotation)}
    assert [to_rgba(names[arm].get_color()) for arm in TWELVE] == colours


# -- per class


def cells(ax: Axes) -> list[list[str]]:
    rows, columns = len(ax.get_yticks()), len(ax.get_xticks())
    written = {tuple(int(p) for p in text.get_position()): text.get_text() for text in ax.texts}
    return [[written.get((x, y), "") for x in range(columns)] for y in range(rows)]


def test_a_cell_is_the_change_over_the_seeds_that_both_have():
    arms = {"base": {0: [0.5, 0.5], 1: [0.9, 0.1]}, "a": {0: [0.6, 0.5], 1: [0.9, 0.0], 2: [0.0, 0.0]}}
    ax = per_class(recalls_of(arms))
    assert cells(ax) == [["+5", "−5"]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["airplane", "automobile"]


def test_the_colours_are_centred_on_no_change():
    ax = per_class(recalls_of({"base": {0: [0.5, 0.5]}, "a": {0: [0.8, 0.4]}}))
    (mesh,) = ax.collections
    assert mesh.get_clim() == pytest.approx((-30, 30))


def test_changes_below_a_point_stay_pale():
    ax = per_class(recalls_of({"base": {0: [0.5]}, "a": {0: [0.502]}}))
    assert ax.collections[0].get_clim() == (-1, 1)
    assert cells(ax) == [["0"]]


def luminance(colour) -> float:
    """Relative luminance (WCAG 2): 0 black, 1 white."""
    rgb = np.array(to_rgba(colour)[:3])
    return float(np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def test_every_number_stands_out_from_its_cell():
    recalls = np.linspace(0, 1, len(CLASSES))
    ax = per_class(recalls_of({"base": {0: [0.5] * 10}, "a": {0: list(recalls)}, "b": {0: list(recalls / 2 + 0.2)}}))
    ax.figure.draw_without_rendering()  # colours are computed when drawn
    for number, cell in zip(ax.texts, ax.collections[0].get_facecolors(), strict=True):
        dark, light = sorted((luminance(number.get_color()), luminance(cell)))
        assert (light + 0.05) / (dark + 0.05) > 4.5, number


def test_an_arm_that_shares_no_seed_with_the_baseline_has_an_empty_row():
    ax = per_class(recalls_of({"base": {0: [0.5]}, "a": {1: [0.6]}, "b": {0: [0.6]}}))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert cells(ax) == [[""], ["+10"]]


def test_the_stored_studys_classes_and_baseline_are_named(stored):
    ax = per_class(recalls(stored))
    assert [label.get_text() for label in ax.get_xticklabels()] == list(CLASSES)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["no batch norm"]
    assert "from batch norm" in ax.get_xlabel()


def test_a_number_is_bold_where_the_effect_on_recall_is_significant():
    recalls = recalls_of({"base": {0: [0.5, 0.5]}, "a": {0: [0.8, 0.4]}, "b": {0: [0.8, 0.4]}})
    tests = [
        ("a", "airplane", "recall", 0.04),
        ("a", "automobile", "recall", 0.06),
        ("a", "automobile", "f1", 0.01),
        ("b", "airplane", "recall", math.nan),  # one seed
        ("b", "vehicles", "recall", 0.01),  # a group has no cell
    ]
    effects = pd.DataFrame(tests, columns=["arm", "class", "measure", "adjusted_p"])
    ax = per_class(recalls, effects=effects)
    assert [text.get_text() for text in ax.texts if text.get_fontweight() == "bold"] == ["+30"]
    assert "bold" not in {text.get_fontweight() for text in per_class(recalls).texts}


# -- what measures found


def measured(name: str, arms: list[str], ax: Axes | None = None) -> Axes:
    """A figure of arms that were measured; the first is the baseline."""
    dice = np.random.default_rng(len(arms))

    def rows(names: tuple[str, ...], column: str) -> pd.DataFrame:
        made = pd.DataFrame([{"arm": arm, column: name} for arm in arms for name in names])
        value = dice.uniform(0.3, 0.7, len(made))
        limits = {"value": value, "low": value - 0.1, "high": value + 0.1}
        return made.assign(is_baseline=made["arm"] == arms[0], seed=0, **limits)

    match name:
        case "shape_bias":
            by_category = rows(("airplane", "bird", "boat", "car", "cat", "dog", "truck"), "shape")
            biases = rows(("all",), "shape").assign(random=0.5, colours=0.4, constant=0.5)
            return shape_bias(by_category, biases, published=published(), ax=ax)
        case "reliance":
            return reliance(rows(tuple(change.name for change in CHANGES), "change").assign(images=2000), ax=ax)
        case "attention":
            table = rows(("lift", "specificity"), "measure").assign(centre=0.16, edges=0.2, resolution=4, random=0.05)
            return attention(table, ax=ax)
        case _:
            table = rows(("all",), "which").assign(lift=0.1, centre=0.15, random=0.05, resolution=4)
            lifts = {"lift_right": 0.2, "lift_background": 0.02, "lift_other": 0.1}
            return composites(table.assign(**lifts), ax=ax)


# -- half-normal plots


@pytest.mark.parametrize("arms", [["with", "without"], TWELVE, REGULARISED], ids=len)
def test_names_in_a_half_normal_plot_do_not_cover_each_other(arms):
    ax = drawn("half_normal", arms)
    ax.figure.draw_without_rendering()
    assert overlapping([text for text in ax.texts if text.get_text()]) == []


def test_the_half_normal_plot_names_what_is_more_than_chance_and_the_largest_of_the_rest():
    main = pd.DataFrame(
        {"arm": ["no a", "no b", "no c"], "delta": [-0.08, 0.05, 0.001], "adjusted_p": [0.001, 0.01, 0.9]}
    )
    joint = pd.DataFrame(
        [
            {"first_factor": one, "second_factor": two, "others": more, "delta": delta, "adjusted_p": 1.0}
            for one, two, more, delta in (("a", "b", 0, 0.002), ("a", "c", 2, -0.003), ("b", "c", 1, 0.0005))
        ]
    )
    ax = half_normal(main, joint)
    named = [text.get_text().replace("\n", " ") for text in ax.texts if text.get_text()]
    assert {"no a", "no b", "a × c"} == {name for name in named if len(name) < 20}
    circles, squares = (each for each in ax.collections if isinstance(each, PathCollection))
    points = sorted([*circles.get_offsets().tolist(), *squares.get_offsets().tolist()], key=lambda point: point[1])
    assert [y for _, y in points] == pytest.approx([0.05, 0.1, 0.2, 0.3, 5, 8])
    assert [x for x, _ in points] == pytest.approx(half_normal_quantiles(6))


def test_a_half_normal_plot_of_three_effects_says_nothing():
    main = pd.DataFrame({"arm": ["no a", "no b"], "delta": [-0.08, math.nan], "adjusted_p": [0.001, math.nan]})
    joint = pd.DataFrame(columns=["first_factor", "second_factor", "others", "delta", "adjusted_p"])
    with pytest.raises(NothingToDraw, match="takes 4 effects, and 1 could be estimated"):
        half_normal(main, joint)


def test_shape_bias_has_a_marker_for_each_category_and_arm_and_the_baseline_is_a_diamond():
    by_category = pd.DataFrame(
        [
            ("a", s, shape, value)
            for s, add in ((0, 0.0), (1, 0.2))
            for shape, value in (("cat", 0.2 + add), ("dog", 0.6))
        ],
        columns=["arm", "seed", "shape", "value"],
    )
    own = {"arm": "a", "is_baseline": True, "value": 0.45, "low": 0.3, "high": 0.6}
    biases = pd.DataFrame([{**own, "random": math.nan, "colours": 0.4, "constant": 0.5}])
    ax = shape_bias(by_category, biases)
    (marks,) = (found for found in ax.collections if found.get_label() == "a")
    assert marks.get_offsets()[:, 0].tolist() == pytest.approx([0.3, 0.6, 0.45])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog", "all"]
    lines = {line.get_label(): line.get_xdata()[0] for line in ax.lines}
    assert lines["always the same answer"] == 0.5
    assert lines["colours alone"] == 0.4
    beside = shape_bias(by_category, biases.assign(random=0.48))
    assert [label.get_text() for label in beside.get_yticklabels()][-1] == "random\nweights"
    hollow = [found for found in beside.collections if found.get_facecolor().tolist() == [[1, 1, 1, 1]]]
    assert [found.get_offsets()[0, 0] for found in hollow] == [0.48]
    assert "people" not in {found.get_label() for found in ax.collections}, "context is shown where it is given"


def test_the_context_of_shape_bias_is_the_published_bias_of_the_shared_categories():
    ax = measured("shape_bias", ["a"])
    table = published().query("shape == 'cat'").set_index("observer")
    (people,) = (found for found in ax.collections if found.get_label() == "people")
    assert people.get_offsets()[4, 0] == pytest.approx(table.loc["humans (10)", "value"])
    (networks,) = (found for found in ax.collections if found.get_label() == "ImageNet networks")
    assert networks.get_offsets()[4, 0] == pytest.approx(table.drop("humans (10)")["value"].mean())
    assert any("not to be compared" in text.get_text().replace("\n", " ") for text in ax.texts)


def test_a_profile_says_how_many_images_it_is_of_and_leaves_out_intervals_that_say_nothing():
    table = pd.DataFrame(
        [("a", True, "grey", 0.7, 0.6, 0.8, 500), ("a", True, "noise", 0.5, 0.0, 1.0, 500)],
        columns=["arm", "is_baseline", "change", "value", "low", "high", "images"],
    )
    ax = reliance(table)
    (bars,) = ax.collections
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [pytest.approx([60, 80])]
    assert any("500 test images" in text.get_text().replace("\n", " ") for text in ax.texts)


def test_attention_stands_beside_the_middle_and_the_edges():
    ax = measured("attention", ["a", "b"])
    lines = {line.get_label(): line.get_xdata()[0] for line in ax.lines}
    assert lines["a blob in the middle"] == pytest.approx(16)
    assert lines["edges"] == pytest.approx(20)


def test_attention_of_each_arm_stands_beside_that_of_its_random_weights():
    ax = measured("attention", ["a", "b"])
    hollow = [found for found in ax.collections if found.get_label() == "random weights"]
    assert [found.get_offsets()[0].tolist() for found in hollow] == [pytest.approx([5, row]) for row in (0, 1)]


def test_on_composites_each_kind_of_answer_has_a_mark_and_random_weights_one():
    ax = measured("composites", ["a", "b"])
    marks = {found.get_label(): found.get_offsets()[:, 0].tolist() for found in ax.collections}
    assert marks["the object"] == pytest.approx([20, 20])
    assert marks["the background"] == pytest.approx([2, 2])
    assert marks["random weights"] == pytest.approx([5, 5])


def test_of_many_arms_the_figure_of_costs_names_the_baseline_and_the_frontier():
    dice = np.random.default_rng(0)
    ax = cost_figure(list(zip(range(20, 48), dice.uniform(0.5, 0.6, 28).tolist(), strict=True)))
    ax.figure.draw_without_rendering()
    names = {text.get_text() for text in ax.texts if text.get_text().startswith("arm")}
    (line,) = labelled(ax, "frontier")
    assert "arm 0 (baseline)" in names
    assert len(names) == len(line.get_xydata()) < 28  # the baseline is the cheapest, so it is on the frontier
    assert any("of 28 arms" in text.get_text().replace("\n", " ") for text in ax.texts)
    assert len([found for found in ax.collections if str(found.get_label()).startswith("arm")]) == 28


# -- all figures


def drawn(name: str, arms: list[str], *, seeds: int = 3, ax: Axes | None = None) -> Axes:
    """A figure of arms whose accuracies lie close together."""
    dice = np.random.default_rng(len(arms))
    trials = trials_of({arm: list(0.6 + 0.02 * dice.normal() + 0.01 * dice.normal(size=seeds)) for arm in arms})
    costs = [int(cost) for cost in 10 ** dice.uniform(7, 8.5, len(arms))]
    match name:
        case "forest":
            return forest(effects_of(trials), differences_of(trials), ax=ax)
        case "steps":
            return steps(effects_of(trials), ax=ax)
        case "looks":
            ends = [list(ENDS)[place % len(ENDS)] for place in range(len(arms))]
            rows = [
                {"arm": arm, "look": look, "seeds": seeds * look, "planned_seeds": 3 * seeds, "then": then}
                for place, (arm, then) in enumerate(zip(arms, ends, strict=True))
                for look in range(1, 2 + place % 3)
            ]
            return looks(pd.DataFrame(rows), ax=ax)
        case "two_factor":
            cells = {
                (level, arm): list(0.6 + 0.02 * dice.normal() + 0.01 * dice.normal(size=seeds))
                for level in ("0", "0.25", "0.5")
                for arm in arms
            }
            return two_factor(accuracies_of(cells, ("0", arms[0])), ax=ax)
        case "cost":
            return accuracy_against_cost(effects_of(trials, costs), ax=ax)
        case "curves":
            return learning_curves(
                curves_of({arm: [list(0.6 + 0.02 * dice.normal(size=5)) for _ in range(seeds)] for arm in arms}), ax=ax
            )
        case "losses":
            accuracies = {arm: [list(0.6 + 0.02 * dice.normal(size=5)) for _ in range(seeds)] for arm in arms}
            epochs = curves_of(accuracies)
            falling = 1 - epochs["validation_accuracy"]
            return losses(epochs.assign(train_loss=falling, validation_loss=falling + 0.1), ax=ax)
        case "shape_bias" | "reliance" | "attention" | "composites":
            return measured(name, arms, ax)
        case "half_normal":
            return half_normal(*screened(arms, dice), ax=ax)
        case "reliability":
            bins = [
                {"arm": arm, "is_baseline": arm == arms[0], "images": 10, "confidence": sure, "accuracy": right}
                for arm in arms
                for sure, right in zip((0.2, 0.5, 0.9), 0.6 + 0.02 * dice.normal(size=3), strict=True)
            ]
            return reliability(pd.DataFrame(bins), ax=ax)
        case _:
            return per_class(
                recalls_of({arm: {s: list(dice.uniform(size=10)) for s in range(seeds)} for arm in arms}), ax=ax
            )


def screened(arms: list[str], dice: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Main effects and interactions of a design with so many factors: two in three are chance."""
    sizes = 0.003 * dice.normal(size=len(arms)) - 0.03 * (np.arange(len(arms)) % 3 == 0)
    main = pd.DataFrame({"arm": arms, "delta": sizes, "adjusted_p": np.where(np.abs(sizes) > 0.015, 0.01, 1)})
    pairs = list(pairwise(arms + arms[:1])) + [(arms[0], arms[-1])] * 2
    joint = [
        {"first_factor": one, "second_factor": two, "others": 2, "delta": 0.003 * dice.normal(), "adjusted_p": 1.0}
        for one, two in pairs
    ]
    return main, pd.DataFrame(joint)


NAMES = (
    "forest",
    "steps",
    "looks",
    "two_factor",
    "half_normal",
    "cost",
    "curves",
    "losses",
    "reliability",
    "classes",
    "shape_bias",
    "reliance",
    "attention",
    "composites",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arms", [["with", "without"], [f"{n} blocks" for n in range(2, 7)], TWELVE], ids=len)
@pytest.mark.parametrize("seeds", [1, 3])
def test_at_a_columns_width_nothing_is_cut_off_and_all_text_is_legible(name, arms, seeds):
    ax = drawn(name, arms, seeds=seeds)
    figure = ax.figure
    figure.draw_without_rendering()
    assert figure.get_figwidth() == COLUMN
    assert ax.get_window_extent().width > 0.3 * figure.bbox.width, "there is room to draw"
    for text in texts(ax):
        box = Text.get_window_extent(text)
        if text.get_text() in {label.get_text() for label in ax.get_xticklabels() + ax.get_yticklabels()}:
            continue  # ticks beyond the limits are not drawn
        assert text.get_fontsize() >= SMALLEST, text
        assert box.x0 >= -1, text
        assert box.x1 <= figure.bbox.x1 + 1, text
        assert box.y0 >= -1, text
        assert box.y1 <= figure.bbox.y1 + 1, text
    for label in (ax.xaxis.label, ax.yaxis.label):
        assert label.get_text()[:1].isupper() or not label.get_text()


@pytest.mark.parametrize(
    "name",
    [name for name in NAMES if name not in ("cost", "shape_bias", "main_effects", "half_normal")],
)
@pytest.mark.parametrize("arms", [["with", "without"], TWELVE, REGULARISED], ids=len)
def test_names_do_not_cover_each_other(name, arms):
    ax = drawn(name, arms)
    ax.figure.draw_without_rendering()
    assert overlapping([*ax.get_yticklabels()]) == []
    assert overlapping([*ax.get_xticklabels()]) == []
    assert overlapping([*ax.texts]) == []


def test_the_names_of_five_arms_on_a_line_do_not_cover_each_other_nor_the_points():
    ax = cost_figure([(31, 0.534), (45, 0.562), (62, 0.578), (80, 0.600), (89, 0.606)])
    ax.figure.draw_without_rendering()
    names = [text for text in ax.texts if text.get_text()]
    assert overlapping(names) == []
    for text in names:
        for x, y in frontier_points(ax):
            assert not Text.get_window_extent(text).padded(-1).contains(x, y), text


def test_a_name_turns_away_from_what_stands_beside_its_point():
    ax = cost_figure([(30, 0.5), (35, 0.5), (60, 0.6)])
    ax.figure.draw_without_rendering()
    assert overlapping([text for text in ax.texts if text.get_text()]) == []
    (name,) = (text for text in ax.texts if text.get_text() == "arm 0 (baseline)")
    neighbour = ax.transData.transform((35, 50))
    assert not Text.get_window_extent(name).contains(*neighbour)


def test_names_of_lines_that_end_close_together_stay_within_the_axes():
    ax = learning_curves(curves_of({arm: [[0.1, 0.6 + place / 1000]] for place, arm in enumerate(TWELVE[:6])}))
    ax.figure.draw_without_rendering()
    frame = ax.get_window_extent()
    for name in ax.texts:
        box = Text.get_window_extent(name)
        assert frame.y0 - 1 <= box.y0
        assert box.y1 <= frame.y1 + 1


def frontier_points(ax: Axes) -> np.ndarray:
    """In pixels."""
    (line,) = labelled(ax, "frontier")
    return ax.transData.transform(line.get_xydata())


@pytest.mark.parametrize("name", NAMES)
def test_an_axes_that_is_given_is_drawn_on_and_returned(name):
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
    assert drawn(name, ["with", "without"], ax=left) is left
    assert not right.has_data()
    assert plt.get_fignums() == [figure.number]


def test_an_axes_in_a_subfigure_will_do():
    left, _ = plt.figure(figsize=(7, 3), layout="constrained").subfigures(1, 2)
    for name in ("cost", "curves"):
        assert drawn(name, ["with", "without"], ax=left.add_subplot()).has_data()


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: drawn_forest({"base": [None], "a": [0.5]}), "in common with the baseline"),
        (lambda: drawn_forest({"base": [0.5]}), "in common with the baseline"),
        (lambda: learning_curves(pd.DataFrame()), "no arm"),
        (lambda: losses(pd.DataFrame()), "no arm"),
        (lambda: shape_bias(pd.DataFrame(), pd.DataFrame()), "no cell of the baseline"),
        (lambda: reliance(pd.DataFrame()), "no cell of the baseline"),
        (lambda: attention(pd.DataFrame()), "no cell of the baseline"),
        (lambda: composites(pd.DataFrame()), "no cell of the baseline"),
        (lambda: reliability(pd.DataFrame()), "no arm"),
        (lambda: per_class(pd.DataFrame()), "no arm"),
        (lambda: per_class(recalls_of({"base": {0: [0.5]}})), "no arm but the baseline"),
        (lambda: per_class(recalls_of({"base": {}, "a": {0: [0.5]}})), "baseline"),
        (lambda: per_class(recalls_of({"base": {0: [0.5]}, "a": {1: [0.5]}})), "in common with the baseline"),
        (lambda: accuracy_against_cost(effects_of(trials_of({"base": [None]}))), "no arm"),
        (lambda: drawn_steps({"base": [None], "a": [0.5]}), "the baseline"),
        (lambda: drawn_steps({"base": [0.5, None], "a": [None, 0.5]}), "in common with the baseline"),
        (
            lambda: two_factor(pd.DataFrame(columns=["factor", "other_factor"])),
            "no arm that the factors cross has a finished seed",
        ),
    ],
)
def test_where_there_is_nothing_to_draw_it_is_said(draw, words):
    with pytest.raises(NothingToDraw, match=words):
        draw()
    assert plt.get_fignums() == [], "no empty figure is left open"
