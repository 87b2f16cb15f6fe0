"""Every table of numbers that is made from a study, each computed once, when it is first asked for, and with one margin.

Report, terminal, figures and notebooks share one `StudyTables`, so that what one of them says the others say too.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from analysis import fit, per_class
from analysis.calibration import Calibration, calibration
from analysis.class_questions import class_question_table
from analysis.effects import effect_table, seed_differences
from analysis.factors import Design, design, factor_accuracies, factor_effects
from analysis.looks import look_table
from analysis.metric import Metric
from analysis.outcomes import Outcomes
from analysis.pairs import pair_table
from analysis.reproduction import Reproduction
from analysis.screening_effects import ScreeningTables, screening_tables
from analysis.studied import StudiedArm
from analysis.study_measures import StudyMeasures
from analysis.variances import variance_table


@dataclass(frozen=True)
class StudyTables:
    """The numbers of a study."""

    outcomes: Outcomes
    margin: float = math.nan
    """Differences within it count as equivalent, in the metric's unit, accuracies' 0 to 1. Left out: the metric's own."""

    def __post_init__(self) -> None:
        """Nobody has to know a metric's margin."""
        if math.isnan(self.margin):
            object.__setattr__(self, "margin", self.outcomes.metric.margin)

    @property
    def metric(self) -> Metric:
        """What arms are compared by."""
        return self.outcomes.metric

    @cached_property
    def effects(self) -> pd.DataFrame:
        """As `analysis.effects.effect_table`."""
        return effect_table(self.outcomes, margin=self.margin)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """As `analysis.pairs.pair_table`."""
        return pair_table(self.outcomes)

    @cached_property
    def class_questions(self) -> pd.DataFrame:
        """As `analysis.class_questions.class_question_table`."""
        return class_question_table(self.outcomes, margin=self.margin)

    @cached_property
    def looks(self) -> pd.DataFrame | None:
        """As `analysis.looks.look_table`; None where no looks were planned."""
        plan = self.outcomes.study.looks
        return None if plan is None else look_table(self.outcomes, plan)

    @cached_property
    def variances(self) -> pd.DataFrame:
        """As `analysis.variances.variance_table`."""
        return variance_table(self.outcomes)

    @cached_property
    def seed_differences(self) -> pd.DataFrame:
        """As `analysis.effects.seed_differences`."""
        return seed_differences(self.outcomes)

    @cached_property
    def screening(self) -> ScreeningTables | None:
        """As `analysis.screening_effects.screening_tables`."""
        return screening_tables(self.outcomes, margin=self.margin)

    @cached_property
    def design(self) -> Design | None:
        """The crossing of factors that the arms form, if they form one, and their answers to images are known."""
        return None if self.outcomes.detail == "value" else design(self.outcomes.arms)

    @property
    def _crossed_arms(self) -> tuple[StudiedArm, ...]:
        """Those of the study, where they cross factors."""
        return () if self.design is None else self.outcomes.arms

    @cached_property
    def factor_effects(self) -> pd.DataFrame:
        """As `analysis.factors.factor_effects`."""
        cells = self.outcomes.cells
        lost = cells[cells["status"] == "diverged"]["arm"].value_counts()
        diverged = {str(arm): int(seeds) for arm, seeds in lost.items()}
        return factor_effects(
            self._crossed_arms,
            self.outcomes.correct,
            self.outcomes.clusters,
            diverged=diverged,
        )

    @cached_property
    def factor_accuracies(self) -> pd.DataFrame:
        """As `analysis.factors.factor_accuracies`."""
        return factor_accuracies(self._crossed_arms, self.outcomes.correct)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """As `Outcomes.epochs`."""
        return self.outcomes.epochs

    @cached_property
    def fit(self) -> pd.DataFrame:
        """As `analysis.fit.fit_table`."""
        return fit.fit_table(self.outcomes)

    @cached_property
    def calibration(self) -> Calibration:
        """As `analysis.calibration.calibration`."""
        return calibration(self.outcomes)

    @cached_property
    def measures(self) -> StudyMeasures:
        """What measures left of the study."""
        return StudyMeasures(self.outcomes)

    @cached_property
    def reproduction(self) -> Reproduction | None:
        """The documented study beside this one, where it is of the documented network."""
        return Reproduction.of(self.outcomes)

    @cached_property
    def recalls(self) -> pd.DataFrame:
        """As `analysis.per_class.recalls`."""
        return per_class.recalls(self.outcomes)

    @cached_property
    def class_effects(self) -> pd.DataFrame:
        """As `analysis.per_class.class_effects`."""
        return per_class.class_effects(self.outcomes)

    @cached_property
    def class_table(self) -> pd.DataFrame:
        """As `analysis.per_class.class_table`."""
        return per_class.class_table(self.outcomes)

    @cached_property
    def confusions(self) -> pd.DataFrame:
        """As `analysis.per_class.confusions`."""
        return per_class.confusions(self.outcomes)

    @cached_property
    def gained_and_lost(self) -> pd.DataFrame:
        """As `analysis.per_class.gained_and_lost`."""
        return per_class.gained_and_lost(self.confusions)

    @cached_property
    def flips(self) -> pd.DataFrame:
        """As `analysis.per_class.flips`."""
        return per_class.flips(self.outcomes)
