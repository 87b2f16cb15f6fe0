import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from analysis import claims_figures, reproduction_figures
from analysis.claim_rules import CARD
from analysis.documented import documented
from analysis.figures import COLUMN, STYLE, NothingToDraw
from analysis.memory import memory_table
from cnnkit.data import CLASSES

SMALLEST = 6.5  # points
PUBLISHED = documented()


@pytest.fixture(autouse=True)
def _paper():
    plt.switch_backend("agg")
    with mpl.rc_context(STYLE):
        yield
    plt.close("all")


def accuracy_table() -> pd.DataFrame:
    nan = float("nan")
    return pd.DataFrame(
        [
            {"precision": "", "seeds": 1, "value": 0.6589, "low": 0.6495, "high": 0.6681},
            {"precision": "bf16", "seeds": 3, "value": 0.66, "low": 0.63, "high": 0.69},
            {"precision": "fp32", "seeds": 1, "value": 0.662, "low": nan, "high": nan},
        ]
    )


def seeds() -> pd.DataFrame:
    return pd.DataFrame(
        {"precision": ["bf16"] * 3 + ["fp32"], "seed": [0, 1, 2, 0], "accuracy": [0.65, 0.66, 0.67, 0.662]}
    )


def comparison() -> pd.DataFrame:
    rows = [
        {"class": name, "measure": "f1", "documented": row.f1, "documented_low": row.f1 - 0.03, "documented_high": row.f1 + 0.03,
         "mean": row.f1 - 0.02, "low": row.f1 - 0.1, "high": row.f1 + 0.06, "beyond": name == "cat", "seeds": 3}
        for name, row in PUBLISHED.classes.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def confusion() -> pd.DataFrame:
    return pd.DataFrame(np.full((10, 10), 0.1), index=CLASSES, columns=CLASSES)


def differences() -> pd.DataFrame:
    names = ("batch norm speeds up", "depth needs dropout", "initial weights: torch's, biases too", "longer training")
    rows = [
        {"name": name, "verdict": verdict, "effect": 0.01, "low": -0.01, "high": 0.03, "unit": "points"}
        for name, verdict in zip(names, ("supported", "not supported", "inconclusive", "equivalent"), strict=True)
    ]
    return pd.DataFrame(rows)


def control() -> pd.DataFrame:
    return pd.DataFrame(
        [{"kind": "class", "class": name, "recall": 0.5, "low": 0.46, "high": 0.54} for name in CLASSES]
    )


DRAWN = {
    "accuracy": lambda: reproduction_figures.accuracy(accuracy_table(), seeds()),
    "classes": lambda: reproduction_figures.classes(comparison()),
    "confusion": lambda: reproduction_figures.confusion(confusion()),
    "differences": lambda: claims_figures.differences(differences()),
    "control": lambda: claims_figures.control(control(), PUBLISHED),
    "memory": lambda: claims_figures.memory(memory_table(CARD)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_at_a_columns_width_nothing_is_cut_off_and_all_text_is_legible(name):
    ax = DRAWN[name]()
    figure = ax.figure
    figure.draw_without_rendering()
    assert figure.get_figwidth() == COLUMN
    assert ax.get_window_extent().width > 0.3 * figure.bbox.width, "there is room to draw"
    for text in figure.findobj(lambda one: isinstance(one, Text) and one.get_visible() and one.get_text()):
        box = Text.get_window_extent(text)
        if text in ax.get_xticklabels() + ax.get_yticklabels() and not figure.bbox.padded(1).overlaps(box):
            continue  # ticks beyond the limits are not drawn
        assert text.get_fontsize() >= SMALLEST, text
        assert box.x0 >= -1, text
        assert box.x1 <= figure.bbox.x1 + 1, text
        assert box.y0 >= -1, text
        assert box.y1 <= figure.bbox.y1 + 1, text


@pytest.mark.parametrize("name", DRAWN)
def test_each_row_has_its_name(name):
    ax = DRAWN[name]()
    ax.figure.draw_without_rendering()
    shown = " ".join(label.get_text() for label in ax.get_yticklabels()).replace("\n", " ")
    expected = {"accuracy": ("documented", "here, bf16"), "differences": ("depth needs dropout",), "memory": ("64",)}
    for words in expected.get(name, CLASSES):
        assert words in shown


def test_a_class_that_disagrees_beyond_both_intervals_has_a_star():
    labels = [label.get_text() for label in reproduction_figures.classes(comparison()).get_yticklabels()]
    assert "cat *" in labels
    assert "dog" in labels


@pytest.mark.parametrize(
    "draw",
    [
        lambda: reproduction_figures.accuracy(accuracy_table(), seeds().iloc[:0]),
        lambda: reproduction_figures.classes(comparison().assign(seeds=0)),
        lambda: reproduction_figures.confusion(pd.DataFrame()),
        lambda: claims_figures.differences(differences().assign(unit="nats")),
        lambda: claims_figures.control(control().iloc[:0], PUBLISHED),
        lambda: claims_figures.memory(pd.DataFrame()),
    ],
)
def test_where_there_is_nothing_to_draw_it_is_said(draw):
    with pytest.raises(NothingToDraw):
        draw()
    assert plt.get_fignums() == [], "no empty figure is left open"
