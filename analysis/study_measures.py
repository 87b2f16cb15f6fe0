"""What measures left of a study, as tables: read from its results folder, for page, figures and notebooks alike.

Measures of shape bias and attention are of the packaged stimuli; those of other stimuli are for `experiments/measure.py`.
Of several versions of a measure, such as reliance on 500 and on 2,000 images, the one that most cells have counts.
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from ablations.measure_store import MeasureStore
from ablations.record import Study
from ablations.store import Store
from analysis import measured
from analysis.attention import attention_table, with_masks
from analysis.measured import Measured
from analysis.outcomes import Outcomes
from analysis.reliance import reliance_table
from analysis.stimuli import Stimuli, read_stimuli
from cnnkit.errors import UserError


@dataclass(frozen=True)
class StudyMeasures:
    """The tables; one is empty where no cell of the baseline has the measure. Reads once what it is asked for."""

    outcomes: Outcomes
    _kept: dict[str, Measured | None] = field(default_factory=dict, repr=False)

    @cached_property
    def _names(self) -> Counter[str]:
        """Names and versions of measures, with how many of the study's cells have them."""
        found = self._found
        if found is None:
            return Counter()
        store, study = found
        kept = MeasureStore(store)
        return Counter(file.stem for cell in study.cells for file in kept.files(cell.key))

    @cached_property
    def _found(self) -> tuple[Store, Study] | None:
        folder = self.outcomes.study.folder
        if folder is None:
            return None
        store = Store(folder.parent.parent)
        study = store.study(folder.name)
        return None if study is None else (store, study)

    @cached_property
    def stimuli(self) -> Stimuli | None:
        """The packaged stimuli that the study's classes can name; None where there are none."""
        try:
            return read_stimuli().of_classes(self.outcomes.classes)
        except UserError:
            return None

    def read(self, measure: str) -> Measured | None:
        """What a measure left, by its plain name; None where no cell has it of the packaged stimuli."""
        if measure not in self._kept:
            self._kept[measure] = self._read(measure)
        return self._kept[measure]

    def _read(self, measure: str) -> Measured | None:
        beginning, ending = f"{measured.RELIANCE}." if measure == "reliance" else f"{measure}-", ""
        found = [name for name, _ in self._names.most_common() if name.startswith(beginning)]
        if found and measure != "reliance":
            if self.stimuli is None:
                return None
            asked = self.stimuli if measure == "shape_bias" else self.outlined
            ending = f".{asked.fingerprint}.{len(asked)}"
        name = next((name for name in found if name.endswith(ending)), None)
        return None if name is None or self._found is None else measured.read(*self._found, name)

    @property
    def outlined(self) -> Stimuli:
        """Of the stimuli, those whose object has an outline. Raises: UserError: the classes can name none."""
        if self.stimuli is None:
            raise UserError("no stimulus has two cues that the classes can name")
        return self.stimuli.only(with_masks(self.stimuli))

    def missing(self, measure: str) -> list[str]:
        """Finished cells that lack the measure where others have it, such as "2 blocks, seed 0"."""
        found = self.read(measure)
        return [] if found is None else found.missing

    @cached_property
    def shape_bias(self) -> pd.DataFrame:
        """As `analysis.shape_bias.bias_table`."""
        found = self._of_baseline("shape_bias")
        if found is None or self.stimuli is None:
            return pd.DataFrame()
        return measured.shape_bias(
            found.found, self.stimuli, self.outcomes.classes, baseline=self.outcomes.baseline.name
        )

    @cached_property
    def shape_bias_by_category(self) -> pd.DataFrame:
        """As `analysis.measured.shape_bias_by_category`."""
        found = self._of_baseline("shape_bias")
        if found is None or self.stimuli is None:
            return pd.DataFrame()
        return measured.shape_bias_by_category(found.found, self.stimuli, self.outcomes.classes)

    @cached_property
    def reliance(self) -> pd.DataFrame:
        """As `analysis.reliance.reliance_table`, with a column images: how many test images it is of."""
        found = self._of_baseline("reliance")
        if found is None:
            return pd.DataFrame()
        answers = measured.answers(found.found)
        images = {len(one[""]) for by_seed in answers.values() for one in by_seed.values()}
        table = reliance_table(answers, baseline=self.outcomes.baseline.name, clusters=measured.clusters(found.found))
        return table.assign(images=max(images))

    @cached_property
    def attention(self) -> pd.DataFrame:
        """As `analysis.attention.attention_table`."""
        found = self._of_baseline("attention")
        if found is None:
            return pd.DataFrame()
        return attention_table(measured.maps(found.found), self.outlined, baseline=self.outcomes.baseline.name)

    @cached_property
    def baseline_attention(self) -> pd.DataFrame:
        """As `attention`, of the baseline alone: at the resolution of its own maps, where other arms' may be coarser."""
        found = self._of_baseline("attention")
        if found is None:
            return pd.DataFrame()
        baseline = self.outcomes.baseline.name
        return attention_table(measured.maps({baseline: found.found[baseline]}), self.outlined, baseline=baseline)

    def _of_baseline(self, measure: str) -> Measured | None:
        found = self.read(measure)
        return found if found is not None and found.found[self.outcomes.baseline.name] else None
