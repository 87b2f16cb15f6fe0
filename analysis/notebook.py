"""How the notebooks begin: a study's tables, and figures in the style of a screen."""

import os
from pathlib import Path

import matplotlib.pyplot as plt

from analysis.figures import STYLE
from analysis.outcomes import Outcomes
from analysis.study_tables import StudyTables
from analysis.verdicts import MARGIN

EXAMPLES = Path(__file__).parents[1] / "tests" / "data"
"""Small real studies, in a clone of the repository."""


def opened(example: str, *, margin: float = MARGIN, dots: int = 110) -> StudyTables:
    """The study whose folder the environment variable ABLATIONS_STUDY names, else one of the examples.

    Args: example: its folder among `EXAMPLES`. margin: differences within it count as equivalent. dots: an inch of a figure.
    Raises: UserError: there is no such study.
    """
    plt.rcParams.update({**STYLE, "figure.figsize": (5.0, 3.0), "figure.dpi": dots})
    folder = os.environ.get("ABLATIONS_STUDY", EXAMPLES / example)
    return StudyTables(Outcomes.from_store(folder), margin=margin)
