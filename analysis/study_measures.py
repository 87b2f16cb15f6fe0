"""What measures left of a study, as tables: read from its results folder, for page, figures and notebooks alike.

Measures of shape bias and attention are of the packaged stimuli; those of other stimuli are for `experiments/measure.py`.
Of several versions of a measure, such as reliance on 500 and on 2,000 images, the one that most cells have counts.
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from ablations.measure_store import MeasureStore
from ablations.record import Study
from ablations.store import Store
from analysis import measured
from analysis.attention import with_masks
from analysis.measured import Measured
from analysis.outcomes import Outcomes
from analysis.reliance import reliance_by_class, reliance_table
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
        """The packaged stimuli that the study's classes can name, as its networks see them; None where there are none."""
        data = self.outcomes.study.data
        try:
            return read_stimuli().of_classes(self.outcomes.classes).in_channels(3 if data is None else data.channels)
        except UserError:
            return None

    @property
    def outlined(self) -> Stimuli:
        """Of the stimuli, those whose object has an outline. Raises: UserError: the classes can name none."""
        if self.stimuli is None:
            raise UserError("no stimulus has two cues that the classes can name")
        return self.stimuli.only(with_masks(self.stimuli))

    def read(self, measure: str) -> Measured | None:
        """What a measure left, by its plain name; None where no cell has it of the packaged stimuli."""
        if measure not in self._kept:
            self._kept[measure] = self._read(measure)
        return self._kept[measure]

    def _read(self, measure: str) -> Measured | None:
        if measure == "reliance":
            names = [name for name, _ in self._names.most_common() if name.startswith(f"{measured.RELIANCE}.")]
        else:
            # Reading the stimuli takes a second, which a study without such measures need not wait for.
            has_any = any(name.startswith(measure) for name in self._names)
            names = [name for name in self._of_stimuli(measure) if name in self._names] if has_any else []
        return measured.read(*self._found, names[0]) if names and self._found is not None else None

    def _of_stimuli(self, measure: str) -> list[str]:
        """Names and versions of a measure of the packaged stimuli, the latest first."""
        data = self.outcomes.study.data
        if self.stimuli is None:
            return []
        if measure == "composites":
            return [] if data is None else [measured.composites_name(self.stimuli, data.fingerprint)]
        asked = self.stimuli if measure == "shape_bias" else self.outlined
        return [f"{measure}-1.{asked.fingerprint}.{len(asked)}"]

    def missing(self, measure: str) -> list[str]:
        """Finished cells that lack the measure where others have it, such as "2 blocks, seed 0"."""
        found = self.read(measure)
        return [] if found is None else found.missing

    def counts(self) -> dict[str, int]:
        """How many of the study's cells have something of each measure, in any version, by its plain name."""
        if self._found is None:
            return {}
        store, study = self._found
        return MeasureStore(store).counts(cell.key for cell in study.cells)

    @property
    def taken(self) -> list[str]:
        """Names of the measures that networks of the study were asked."""
        tables = {
            "shape_bias": self.shape_bias,
            "reliance": self.reliance,
            "attention": self.attention,
            "composites": self.composites,
        }
        return [name for name, table in tables.items() if not table.empty]

    @cached_property
    def shape_bias(self) -> pd.DataFrame:
        """As `analysis.shape_bias.bias_table`."""
        return self._shape_bias(measured.WAYS[0])

    @cached_property
    def shape_bias_otherwise(self) -> pd.DataFrame:
        """The same by other ways of asking, which a column way names."""
        data = self.outcomes.study.data
        if self.shape_bias.empty or data is None:
            return pd.DataFrame()
        classes = len(self.outcomes.classes)
        tables = [self._shape_bias(way).assign(way=way.words(classes, data.image_size)) for way in measured.WAYS[1:]]
        return pd.concat(tables, ignore_index=True)

    def _shape_bias(self, way: measured.Way) -> pd.DataFrame:
        found = self._of_baseline("shape_bias")
        if found is None or self.stimuli is None:
            return pd.DataFrame()
        outcomes = self.outcomes
        return measured.shape_bias(found, self.stimuli, outcomes.classes, baseline=outcomes.baseline.name, way=way)

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
    def reliance_by_class(self) -> pd.DataFrame:
        """As `analysis.reliance.reliance_by_class`."""
        found = self._of_baseline("reliance")
        if found is None:
            return pd.DataFrame()
        labels = next(arrays["labels"] for by_seed in found.found.values() for arrays in by_seed.values())
        return reliance_by_class(measured.answers(found.found), labels.astype(np.int64), self.outcomes.classes)

    @cached_property
    def attention(self) -> pd.DataFrame:
        """As `analysis.attention.attention_table`."""
        found = self._of_baseline("attention")
        if found is None:
            return pd.DataFrame()
        return measured.attention(found, self.outlined, baseline=self.outcomes.baseline.name)

    @cached_property
    def composites(self) -> pd.DataFrame:
        """As `analysis.attention.composite_table`."""
        found = self._of_baseline("composites")
        if found is None or self.stimuli is None:
            return pd.DataFrame()
        outcomes = self.outcomes
        return measured.composites(found, self.stimuli, outcomes.classes, baseline=outcomes.baseline.name)

    @cached_property
    def baseline_attention(self) -> pd.DataFrame:
        """As `attention`, of the baseline alone: at the resolution of its own maps, where other arms' may be coarser."""
        found = self._of_baseline("attention")
        if found is None:
            return pd.DataFrame()
        baseline = self.outcomes.baseline.name
        own = Measured({baseline: found.found[baseline]}, {baseline: found.random[baseline]})
        return measured.attention(own, self.outlined, baseline=baseline)

    def _of_baseline(self, measure: str) -> Measured | None:
        found = self.read(measure)
        return found if found is not None and found.found[self.outcomes.baseline.name] else None
