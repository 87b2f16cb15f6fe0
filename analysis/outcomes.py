"""All that analysis reads: arms, seeds, classes, labels, what each cell answered, and what is left out, with reasons.

From a study's results folder (`Outcomes.from_store`), of which it reads manifest, records and logits and nothing else: no
plan is made, no network built and no code imported, so that a study can be read wherever its folder is. What a results
folder knows besides (curves, devices, costs, the text of the question) is optional: tables and figures leave blank what
is not there.

Or from anybody's table (`Outcomes.from_frame`): a row a prediction, or a row a run, of which tables and figures show as much
as it allows.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, Unpack

import numpy as np
import pandas as pd

from ablations.cli import known
from ablations.record import ClassQuestion, Command, Part, Study, looks
from ablations.store import Store
from ablations.text import printable, quoted
from ablations.units import counted
from analysis import frames, stored
from analysis.metric import ACCURACY, Detail, Metric
from analysis.studied import Answers, Description, Excluded, Predictions, StudiedArm, cell_table, in_words
from cnnkit.errors import UserError
from cnnkit.metrics import Epoch

Pairing = Literal["seeds", "shared seeds"]
"""Which runs are compared: those of one seed; the same where two arms share enough of them, else all runs as independent ones."""


MOST_CLASSES = 500
"""Of more, nobody reads tests by class, which would be hundreds of thousands."""

UNNAMED = Description("study")
"""Of outcomes of which nobody has said what they are of."""
MOST_REASONS = 2
"""Of cells that are left out, in a line; the others stand on the page."""


@dataclass(frozen=True)
class Outcomes:
    """What the arms of one study did."""

    arms: tuple[StudiedArm, ...]
    """In the order in which tables show them; one is the baseline."""
    classes: tuple[str, ...]
    cells: pd.DataFrame
    """One row a cell: arm, is_baseline, seed, key, status (finished, running, missing, failed, diverged, damaged), note,
    changes and chosen (what the arm changes in the baseline, and what was chosen for it by validation accuracy, in words),
    protocol, epochs (of its training), parameters, head_share, multiply_adds, receptive_field (original pixels), work
    (multiply-adds of the whole cell), and for finished cells validation_accuracy, test_accuracy (0 to 1), seconds, device,
    device_type, precision, threads, trials_at_once, gpu_share, micro_batch, peak_memory (bytes that a GPU's allocator
    reserved at most), versions, started, finished (UTC, ISO 8601). What is not known is missing."""
    read_answers: Callable[[], Answers]
    """Called once, when answers are first asked for."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Classes that are also looked at together, by the group's name. May be empty."""
    curves: Mapping[tuple[str, int], Sequence[Epoch]] = field(default_factory=dict)
    """Learning curves of finished cells, by arm and seed, where they are known."""
    read_logits: Callable[[str, int, Part], tuple[np.ndarray, np.ndarray]] | None = None
    study: Description = UNNAMED
    metric: Metric = ACCURACY
    """What arms are compared by. Where it is another one, `cells` has it as test_accuracy."""
    detail: Detail = "predictions"
    """What is known of each run's answers."""
    pairing: Pairing = "seeds"

    @classmethod
    def from_frame(
        cls,
        table: pd.DataFrame,
        *,
        baseline: str,
        name: str = "table",
        source: str = "",
        **options: Unpack[frames.Options],
    ) -> Self:
        """The outcomes of anybody's runs, from a table with one row a prediction, or one row a run.

            Outcomes.from_frame(table, baseline="plain")  # finds columns with usual names: arm, seed, image, label, prediction
            Outcomes.from_frame(runs, baseline="lr 0.1", arm="lr", value="val_loss", lower_is_better=True)

        Args: baseline: the arm that the others are compared with. name: of the comparison. source: what messages and the
            report call the table. options: names of columns (`analysis.columns.Given`), and of the metric its unit, which
            direction is better and which of several it is; names by class number; and whether runs of one seed belong together
            (`analysis.frames.Options`).
        Raises: UserError: the table cannot be compared, and why.
        """
        called = source or f"the {name}"
        found = frames.read(table, options, source=called)
        if baseline not in found.arms:
            near = get_close_matches(baseline, found.arms, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {frames.some(list(found.arms))}"
            raise UserError(f"{called} has no arm {baseline!r} for a baseline: {hint}")
        if len(found.arms) < 2:
            raise UserError(
                f"{called} has one arm, {baseline!r}; there is nothing to compare it with, unless other columns tell arms apart "
                "(--arm-column)"
            )
        if not found.predictions[baseline]:
            raise UserError(f"{called} has no finished run of the baseline {baseline!r}")
        return cls(**_of_table(found, baseline), study=Description(name, source=called, notes=found.notes))

    @classmethod
    def from_store(cls, path: Path | str, study: str | None = None) -> Self:
        """The outcomes of a study in a results folder, finished or not.

        Args: path: a results folder, or a study's folder in it. study: the study's name; not needed where there is one.
        Raises: UserError: there is no such study, or its manifest names no arms, seeds or baseline to compare with.
        """
        path = Path(path)
        folder = path.parent if path.name == "study.json" else path
        if os.path.lexists(folder / "study.json"):  # whatever it is called from here
            inside = folder.resolve()
            path, study = inside.parent.parent, inside.name
            if not os.path.lexists(path / "ablations.json"):
                raise UserError(
                    f"{folder} lies in no results folder, which holds the records of its cells; give it where it was, or copy "
                    f"the whole results folder"
                )
        elif path.parent.name == "studies":
            path, study = path.parent.parent, path.name
        store = Store(path)
        return cls.of_study(store, stored.only_study(store) if study is None else study)

    @classmethod
    def of_study(cls, store: Store, name: str) -> Self:
        """The outcomes of a study in a results folder.

        Raises: UserError: as `from_store`.
        """
        found = store.study(name)
        if found is None:
            raise UserError(f"{store.root} has no study {name!r}; it has {', '.join(store.studies()) or 'none'}")
        if found.name != name:
            raise UserError(
                f"{store.study_folder(name)} holds the study {printable(found.name)}; give the folder that name again"
            )
        manifest = Study.model_validate(printable(found.model_dump()))
        lacks = stored.lacks(manifest)
        if lacks:
            file = store.study_folder(name) / "study.json"
            raise UserError(f"{file} names {lacks}; move it away and run the study's command again")
        return cls.of_manifest(store, manifest)

    @classmethod
    def of_manifest(cls, store: Store, manifest: Study) -> Self:
        """The outcomes of the cells that `manifest` lists, whether it is on the disk or not."""
        commands = (Command.model_validate(printable(c.model_dump())) for c in store.commands(manifest.name))
        damaged = tuple(map(printable, store.damaged_commands(manifest.name)))
        return cls(**stored.of_store(store, manifest, Description(
            name=manifest.name, question=manifest.question, protocol=stored.protocol_of(manifest), data=manifest.data,
            split=manifest.split, commands=tuple(commands), damaged_commands=damaged,
            folder=store.study_folder(manifest.name), looks=manifest.looks,
            tuning=manifest.tuning, class_questions=manifest.class_questions,
            screening=manifest.screening, notes=tuple(manifest.notes),
        )))  # fmt: skip

    @property
    def baseline(self) -> StudiedArm:
        """The arm that the others are compared with."""
        return next(arm for arm in self.arms if arm.is_baseline)

    def against(self, name: str) -> Self:
        """The same outcomes with another arm in the baseline's place: what every table and figure then compares with.

        Raises: UserError: no arm is called so.
        """
        reference = next((arm for arm in self.arms if arm.name == name), None)
        if reference is None:
            raise UserError(f"no arm is called {name!r}; there are {', '.join(quoted(arm.name) for arm in self.arms)}")
        arms = {
            arm.name: replace(arm, is_baseline=arm.name == name, changes=_beside(arm, reference)) for arm in self.arms
        }
        cells = self.cells.assign(
            is_baseline=self.cells["arm"] == name,
            changes=[in_words(arms[arm].changes) for arm in self.cells["arm"]],
        )
        study = self.study
        if study.looks is not None and not reference.is_baseline:  # what it plans are comparisons with the baseline
            study = replace(study, looks=None, other_looks=len(study.looks.seeds) - 1)
        return replace(self, arms=tuple(arms.values()), cells=cells, study=study)

    def asking(self, *classes: str) -> Self:
        """The same outcomes with further questions about classes, or groups of them, as they are asked now.

        Raises: UserError: no class and no group is called so.
        """
        had = [question.name for question in self.study.class_questions]
        seen = int((~self.finished["is_baseline"].astype(bool)).sum())
        new = [
            known("class", name, [*self.classes, *self.groups]) for name in dict.fromkeys(classes) if name not in had
        ]
        asked = (*self.study.class_questions, *(ClassQuestion(name=name, finished_before=seen) for name in new))
        return replace(self, study=replace(self.study, class_questions=asked))

    @property
    def knows_classes(self) -> bool:
        """Whether something can be said class by class."""
        return self.detail in ("predictions", "recall") and len(self.classes) <= MOST_CLASSES

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed that an arm of the study has, whether its cell is finished or not."""
        return tuple(sorted(self.cells["seed"].unique().tolist()))

    @property
    def finished(self) -> pd.DataFrame:
        """The rows of `cells` that have a result."""
        return self.cells[self.cells["status"] == "finished"]

    @cached_property
    def _answers(self) -> Answers:
        return self.read_answers()

    @property
    def labels(self) -> np.ndarray:
        """As `Answers.labels`."""
        return self._answers.labels

    @property
    def predictions(self) -> Predictions:
        """As `Answers.predictions`."""
        return self._answers.predictions

    @property
    def clusters(self) -> np.ndarray | None:
        """As `Answers.clusters`. Whoever computes an interval for new test images hands them to it: clusters are its unit."""
        return self._answers.clusters

    @cached_property
    def correct(self) -> dict[str, dict[int, np.ndarray]]:
        """For each arm and seed, which test images its network gets right: (images,) bool. As `predictions`."""
        return {
            arm: {seed: predicted == self.labels for seed, predicted in seeds.items()}
            for arm, seeds in self.predictions.items()
        }

    @cached_property
    def scores(self) -> Mapping[str, Mapping[int, np.ndarray]]:
        """For each arm and seed what its mean is compared by: which images are right (images,) bool, or one number (1,) float."""
        if self.detail != "value":
            return self.correct
        return {arm: {seed: np.array([n]) for seed, n in own.items()} for arm, own in self._answers.values.items()}

    def shared_seeds(self, arm: str, other: str | None = None) -> list[int]:
        """Seeds of which both arms have a result that can be used.

        Args: other: the baseline, where none is named.
        """
        return sorted(self.predictions[arm].keys() & self.predictions[other or self.baseline.name].keys())

    def is_paired(self, arm: str, other: str | None = None) -> bool:
        """Whether the runs of two arms are compared seed by seed: with "shared seeds", if they share two or more, and at
        least half of those of the arm that has fewer.

        Args: other: the baseline, where none is named.
        """
        if self.pairing == "seeds":
            return True
        least = min(len(self.predictions[name]) for name in (arm, other or self.baseline.name))
        shared = len(self.shared_seeds(arm, other))
        return shared >= max(2, least / 2) or shared == least == 1

    @property
    def left_out(self) -> str:
        """How many cells no table or figure uses, and why, in one line; empty where all are used."""
        excluded = self.excluded
        if not excluded:
            return ""
        counts = Counter(cell.status for cell in excluded)
        by_status = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        said = [
            cell.reason
            if cell.status == "damaged"
            else f"{quoted(cell.arm)}, seed {cell.seed} {cell.status}: {cell.reason}"
            for cell in sorted(excluded, key=lambda cell: cell.status)
            if cell.reason
        ]
        more = f"; and {len(said) - MOST_REASONS} more" if len(said) > MOST_REASONS else ""
        reasons = f" ({'; '.join(said[:MOST_REASONS])}{more})" if said else ""
        return f"{len(excluded)} of {counted(len(self.cells), 'cell')} left out: {by_status}{reasons}"

    @property
    def excluded(self) -> list[Excluded]:
        """Every cell whose answers no table uses, and why."""
        lost = self.cells[self.cells["status"] != "finished"]
        return [
            *(Excluded(*cell) for cell in lost[["arm", "seed", "status", "note"]].to_numpy().tolist()),
            *self._answers.damaged,
        ]

    def logits(self, arm: str, seed: int, part: Part = "test") -> tuple[np.ndarray, np.ndarray]:
        """Logits (images, classes) float32 and labels (images,) int64 of a finished cell.

        Raises: KeyError: the cell is not finished, or its logits are not known. DamagedRecord: they were truncated or altered.
        """
        finished = self.finished
        if self.read_logits is None or finished[(finished["arm"] == arm) & (finished["seed"] == seed)].empty:
            raise KeyError(f"{arm}, seed {seed} has no logits")
        return self.read_logits(arm, seed, part)

    @property
    def epochs(self) -> pd.DataFrame:
        """Learning curves: one row an epoch of a finished cell, with arm, is_baseline, seed, epoch (from 1), train_loss,
        validation_loss, validation_accuracy (0 to 1), learning_rate, train_seconds, evaluate_seconds.
        """
        cells = self.finished[["arm", "is_baseline", "seed"]].to_numpy().tolist()
        return pd.DataFrame(
            [
                {"arm": arm, "is_baseline": is_baseline, "seed": seed, **epoch.model_dump()}
                for arm, is_baseline, seed in cells
                for epoch in self.curves.get((arm, seed), ())
            ],
            columns=["arm", "is_baseline", "seed", *Epoch.model_fields],
        )

    @property
    def looks(self) -> int:
        """How many times the study was, or could be, looked at: 1, and one more for each time that seeds were added when
        there were results to look at.
        """
        return max(len(looks(self.study.commands)), 1) + self.study.other_looks

    @property
    def remarks(self) -> list[str]:
        """What a reader must know of how the study came about: sentences on each damaged record, on clusters of
        test images, and on added seeds.
        """
        notes = [*self.study.notes, *(cell.reason for cell in self.excluded if cell.status == "damaged")]
        if self.clusters is not None:
            notes.append(
                f"The {len(self.labels):,} test images belong to {len(np.unique(self.clusters)):,} clusters, which are the unit "
                "of intervals and p-values: they are for new clusters."
            )
        notes += [
            f"{sentence}, so that it is not known how often the study was looked at."
            for sentence in self.study.damaged_commands
        ]
        notes += self._limits
        if self.looks > 1:
            notes.append(
                f"Seeds were added after results had been seen: p-values of the effects pay for {self.looks} looks."
            )
        plan = self.study.looks
        if plan is not None and plan.finished_before:
            notes.append(
                f"{plan.finished_before} cells of arms were finished before the looks were planned: the plan holds if nobody "
                f"had compared them with the baseline."
            )
        if plan is not None and len(plan.seeds) > 1:
            notes.append(
                "Arms stopped at planned looks, which the p-values of effects, pairs and questions about classes pay for; those "
                "of the tables by class, confusions and factors do not, so that they are to explore with."
            )
        return notes

    @property
    def _rounding(self) -> str:
        metric = self.metric
        if not metric.resolution:
            return ""
        places = max(0, round(-math.log10(metric.resolution * metric.scale)))
        unit = metric.unit and f" {metric.unit}"
        rounded = f"{metric.resolution * metric.scale:.{places}f}{unit}"
        return f" Differences are taken to vary no less than values do that are rounded to {rounded}."

    @property
    def _limits(self) -> list[str]:
        """What cannot be said because a table does not know it; nothing of a study of this software's own."""
        source = _capital(self.study.source)
        known_by = {
            "value": f"{source} has one number a run: intervals are for new seeds on this test set only, and nothing is said of "
            f"classes or images.{self._rounding}",
            "correct": f"{source} says of each image only whether it is right: nothing is said of classes.",
            "recall": f"{source} does not say which class a wrong answer names: of classes only recall is known.",
        }
        notes = [known_by[self.detail]] if self.detail in known_by else []
        if len(self.classes) > MOST_CLASSES:
            notes.append(
                f"There are {len(self.classes):,} classes, too many for tests class by class (at most {MOST_CLASSES})."
            )
        others = [arm.name for arm in self.arms if not arm.is_baseline and self.predictions[arm.name]]
        unpaired = [name for name in others if not self.is_paired(name)]
        if unpaired:
            who = "Runs do" if len(unpaired) == len(others) else f"Seeds of {', '.join(map(quoted, unpaired))} do"
            notes.append(
                f"{who} not pair with the baseline's: they are compared as independent runs, whose intervals are mostly wider, "
                "and nothing is said of images that flip."
            )
        lonely = {
            name: len(self.predictions[name].keys() ^ self.predictions[self.baseline.name].keys())
            for name in others
            if self.study.source and name not in unpaired
        }
        if any(lonely.values()):
            listed = ", ".join(f"{quoted(name)}: {count}" for name, count in lonely.items() if count)
            notes.append(
                f"Seeds that only the arm or only the baseline has are left out of their difference: {listed}."
            )
        return notes


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _beside(arm: StudiedArm, reference: StudiedArm) -> dict[str, Any]:
    """Fields in which an arm differs from another one, with its values, as far as both are known."""
    fields = dict.fromkeys([*arm.changes, *reference.changes])
    own, its = ({name: _value(each, name) for name in fields} for each in (arm, reference))
    return {name: own[name] for name in fields if own[name] != its[name] and own[name] is not None}


def _value(arm: StudiedArm, name: str) -> Any:
    """Of a field of the network or of the recipe, such as widths or augmentation.flip; None where it is not known."""
    if name in arm.changes:
        return arm.changes[name]
    if name == "weights":  # which the network's spec knows by their hash
        return arm.start
    group, _, inner = name.rpartition(".")
    values = {**arm.recipe, **arm.spec}
    return (values.get(group) or {}).get(inner) if group else values.get(inner)


def _of_table(found: frames.Tabled, baseline: str) -> dict[str, Any]:
    arms = tuple(StudiedArm(name, is_baseline=name == baseline, levels=levels) for name, levels in found.arms.items())

    def mean(arm: str, seed: int) -> float:
        if found.detail == "value":
            return found.values[arm][seed]
        return float((found.predictions[arm][seed] == found.labels).mean())

    lost = {(each.arm, each.seed): each.status for each in found.unfinished}
    rows = [
        {
            "arm": arm.name, "is_baseline": arm.is_baseline, "seed": seed,
            "status": "finished" if seed in found.predictions[arm.name] else lost[arm.name, seed],
            "test_accuracy": mean(arm.name, seed) if seed in found.predictions[arm.name] else None,
        }
        for arm in arms
        for seed in sorted({*found.predictions[arm.name], *(seed for name, seed in lost if name == arm.name)})
    ]  # fmt: skip
    answers = Answers(found.labels, found.predictions, found.clusters, found.values)
    return {
        "arms": arms, "classes": found.classes, "cells": cell_table(rows), "read_answers": lambda: answers,
        "metric": found.metric, "detail": found.detail, "pairing": "shared seeds",
    }  # fmt: skip
