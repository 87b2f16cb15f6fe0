"""The figures of the page on the documented study, each from its tables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis import figures, measure_figures, reproduction_figures
from analysis.claims import CLAIMS, MEASURE, RUN
from analysis.claims_figures import control, differences, memory
from analysis.documented import documented
from analysis.shape_bias import published

DOCUMENTED_RUN = "python experiments/reproduce_baseline.py --data PATH_TO_CIFAR10 --precision bf16"
UNDOCUMENTED_RUN = next(claim.command for claim in CLAIMS if claim.name == "augmentation")
COLLECT = (
    "python experiments/claims.py RESULTS --data PATH_TO_CIFAR10 --out docs/results/documented "
    "--page docs/documented-study.md"
)


@dataclass(frozen=True)
class PageFigure:
    """A figure of the page."""

    name: str
    caption: str
    needs: tuple[str, ...]
    """Tables."""
    command: str
    draw: Callable[[Mapping[str, pd.DataFrame]], Axes]


def _learning(found: Mapping[str, pd.DataFrame]) -> Axes:
    return figures.learning_curves(found["curves"])


FIGURES: tuple[PageFigure, ...] = (
    PageFigure(
        "accuracy",
        "Test accuracy: the document's one run with the interval of its test set, and each seed measured here with the interval "
        "for one new seed.",
        ("accuracy", "seeds"), DOCUMENTED_RUN,
        lambda found: reproduction_figures.accuracy(found["accuracy"], found["seeds"]),
    ),
    PageFigure(
        "classes", "F1 of each class, documented and measured.", ("classes",), DOCUMENTED_RUN,
        lambda found: reproduction_figures.classes(found["classes"]),
    ),
    PageFigure(
        "confusion", "What images of each class (rows) are answered as, in percent, mean over seeds; blank: below 1 %.",
        ("confusion",),
        DOCUMENTED_RUN,
        lambda found: reproduction_figures.confusion(
            found["confusion"].set_index("class").drop(columns="study")
        ),
    ),
    PageFigure(
        "learning",
        "Validation accuracy after each epoch of the arms that claims about learning compare, at that study's own scale: a thin "
        "line a seed, a thick one their mean.", ("curves",),
        RUN.format(grid="documented_claims"), _learning,
    ),
    PageFigure(
        "differences",
        "The claims that are decided by a difference in accuracy: mean and 95 % interval, in the claimed direction.",
        ("claims",), COLLECT, lambda found: differences(found["claims"]),
    ),
    PageFigure(
        "undocumented", "What other readings of the document give, against ours.", ("undocumented",), UNDOCUMENTED_RUN,
        lambda found: differences(as_differences(found["undocumented"])),
    ),
    PageFigure(
        "control", "Recall by class of a linear classifier that sees no shape, beside the document's.", ("control",), COLLECT,
        lambda found: control(found["control"], documented()),
    ),
    PageFigure(
        "memory", "The largest batch that a card of 15 GB holds, in fp32, by blocks and convolutions (estimated).", ("memory",),
        COLLECT,
        lambda found: memory(found["memory"]),
    ),
    PageFigure(
        "shape_bias",
        "Shape bias of the baseline by category, and of all categories with its 95 % interval; grey: people and "
        "ImageNet networks as published, for context.",
        ("shape_bias", "shape_bias_by_category"), MEASURE,
        lambda found: measure_figures.shape_bias(found["shape_bias_by_category"], found["shape_bias"], published=published()),
    ),
    PageFigure(
        "attention", "How much more of the Grad-CAM maps lies on the object than a map has there that points nowhere (lift).",
        ("attention",), MEASURE, lambda found: measure_figures.attention(found["attention"]),
    ),
    PageFigure(
        "reliance", "Share of its accuracy that the baseline keeps under each change of the test images.", ("reliance",), MEASURE,
        lambda found: measure_figures.reliance(found["reliance"]),
    ),
)  # fmt: skip


def as_differences(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of an effect table as `claims_figures.differences` takes them."""
    own = table[~table["is_baseline"] & table["delta"].notna()]
    return pd.DataFrame(
        {
            "name": own["arm"],
            "verdict": own["verdict"],
            "effect": own["delta"],
            "low": own["shown_low"],
            "high": own["shown_high"],
            "unit": "points",
        }
    )


def draw(found: Mapping[str, pd.DataFrame], folder: Path) -> list[str]:
    """Draws the figures that there are tables for as NAME.png into `folder`; returns their names."""
    drawn = []
    for figure in FIGURES:
        file = folder / f"{figure.name}.png"
        if any(name not in found for name in figure.needs):
            file.unlink(missing_ok=True)
            continue
        with mpl.rc_context({**figures.STYLE, "figure.figsize": (4.6, 2.8)}):
            try:
                axes = figure.draw(found)
            except figures.NothingToDraw:
                file.unlink(missing_ok=True)
                continue
            drawn_figure = axes.figure.canvas.figure
            drawn_figure.savefig(file, dpi=170, metadata={"Software": None})
            plt.close(drawn_figure)
        drawn.append(figure.name)
    return drawn
