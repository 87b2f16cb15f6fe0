"""All that analysis reads: arms, seeds, classes, labels, what each cell answered, and what is left out, with reasons.

From a study's results folder (`Outcomes.from_store`), of which it reads manifest, records and logits and nothing else: no
plan is made, no network built and no code imported, so that a study can be read wherever its folder is. What a results
folder knows besides (curves, devices, costs, the text of the question) is optional: tables and figures leave blank what
is not there.

Or from anybody's table (`Outcomes.from_frame`): a row a prediction, or a row a run, of which tables and figures show as much
as it allows.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, Unpack

import numpy as np
import pandas as pd

from ablations.arm import Level
from ablations.cell import SplitSizes
from ablations.cli import known
from ablations.designs import ScreeningDesign
from ablations.record import ArmEntry, ClassQuestion, Command, LookPlan, Part, Record, Study, StudyCell, Tuning, looks
from ablations.store import DamagedRecord, Store
from ablations.text import printable, quoted
from ablations.units import counted
from analysis import frames
from analysis.metric import ACCURACY, Detail, Metric
from cnnkit.cost import Cost
from cnnkit.description import DataDescription
from cnnkit.errors import UserError
from cnnkit.metrics import Epoch

Pairing = Literal["seeds", "shared seeds"]
"""Which runs are compared: those of one seed; the same where two arms share enough of them, else all runs as independent ones."""
Predictions = Mapping[str, Mapping[int, np.ndarray]]
"""For each arm and seed, the class that the network predicts for each test image, a position in the class names."""

MOST_CLASSES = 500
"""Of more, nobody reads tests by class, which would be hundreds of thousands."""

CELLS = [
    *("arm", "is_baseline", "seed", "key", "status", "note", "changes", "chosen", "protocol", "epochs", "parameters"),
    *("head_share", "multiply_adds", "receptive_field", "work", "validation_accuracy", "test_accuracy", "seconds"),
    *("device", "device_type", "precision", "threads", "trials_at_once", "gpu_share", "micro_batch"),
    *("peak_memory", "versions", "started", "finished"),
]
"""Columns of `Outcomes.cells`. Whether or not they are known, they are there."""
COUNTS = ["epochs", "parameters", "multiply_adds", "work", "threads", "trials_at_once", "micro_batch", "peak_memory"]
"""Of them, whole numbers that may be unknown."""
MEASURED = ["head_share", "receptive_field", "validation_accuracy", "test_accuracy", "seconds", "gpu_share"]
"""Of them, numbers that may be unknown."""
TEXTS = ["key", "note", "changes", "chosen", "protocol"]
"""Of them, texts that are empty where there is nothing to say."""
MOST_REASONS = 2
"""Of cells that are left out, in a line; the others stand on the page."""


def cell_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """What is known of each cell, as `Outcomes.cells`. A row needs arm, is_baseline, seed and status."""
    table = pd.DataFrame([{name: row.get(name) for name in CELLS} for row in rows], columns=CELLS)
    return table.fillna(dict.fromkeys(TEXTS, "")).astype(
        {**dict.fromkeys(COUNTS, "Int64"), **dict.fromkeys(MEASURED, "float64"), **dict.fromkeys(TEXTS, "str")}
    )


@dataclass(frozen=True)
class StudiedArm:
    """An arm as analysis knows it. Only its name has to be known, and which arm is the baseline."""

    name: str
    is_baseline: bool = False
    levels: Mapping[str, Level] = field(default_factory=dict)
    """The level of each factor of the grid."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields that differ from the baseline's, with this arm's values."""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the recipe that were chosen once for this arm by validation accuracy, with their values."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """The network, as its manifest has it."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """How it is trained, likewise."""
    start: str = ""
    """What the weights are called that it starts from; empty where they are random, or not known."""
    epochs: int | None = None
    costs: Cost | None = None
    work: int | None = None
    """Multiply-adds of the training and the evaluations of one cell."""


@dataclass(frozen=True)
class Description:
    """What a study says about itself, for titles, methods and provenance."""

    name: str
    question: str = ""
    protocol: str = ""
    """Its name, and what the command line changed in it."""
    data: DataDescription | None = None
    split: SplitSizes | None = None
    commands: Sequence[Command] = ()
    damaged_commands: Sequence[str] = ()
    """A sentence on each run of which nothing is known, since its file cannot be trusted."""
    folder: Path | None = None
    """Where the study lies, and its report belongs."""
    looks: LookPlan | None = None
    """The plan by which arms stopped, where there is one."""
    other_looks: int = 0
    """Looks by which arms stopped that were planned for other comparisons."""
    tuning: Tuning | None = None
    """What every seed of each arm has chosen for itself by its validation accuracy; `Outcomes.cells` says what."""
    class_questions: Sequence[ClassQuestion] = ()
    """Classes, or groups of classes, of which each gets a test of its own."""
    source: str = ""
    """What results were read from where they are not this software's own, such as: the table runs.csv."""
    fingerprint: str = ""
    """Of the table's file, such as: SHA-256 0123456789ab."""
    notes: Sequence[str] = ()
    """How a table was taken, or what the grid says about its baseline: sentences."""
    screening: ScreeningDesign | None = None
    """The design that arms are runs of, where they are."""

    @property
    def data_text(self) -> str:
        """Which images, in a line; empty where that is not known."""
        return "" if self.data is None else self.data.text


@dataclass(frozen=True)
class Excluded:
    """A cell whose answers are not used."""

    arm: str
    seed: int
    status: str
    """missing, running, failed, diverged or damaged."""
    reason: str
    """A sentence; empty where the status says all."""


@dataclass(frozen=True)
class Answers:
    """What the networks of a study answered to its test images."""

    labels: np.ndarray
    """Class of each test image, a position in the class names: (images,) int64. Empty where no cell can be read."""
    predictions: Predictions
    """Every arm is there, and of its seeds those that can be used: (images,) of the smallest type that holds the classes."""
    clusters: np.ndarray | None = None
    """Which test images belong together, such as frames of one video: any number, the same for those of one cluster, (images,)
    int64. None: each stands for itself."""
    values: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """Of each arm and seed the metric, where that is all that is known."""
    damaged: Sequence[Excluded] = ()
    """Finished cells whose logits cannot be used."""


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
    device_type, precision, threads, trials_at_once, gpu_share, micro_batch, peak_memory (bytes that a GPU's allocator reserved at most), versions, started, finished (UTC,
    ISO 8601).
    What is not known is missing."""
    read_answers: Callable[[], Answers]
    """Called once, when answers are first asked for."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Classes that are also looked at together, by the group's name. May be empty."""
    curves: Mapping[tuple[str, int], Sequence[Epoch]] = field(default_factory=dict)
    """Learning curves of finished cells, by arm and seed, where they are known."""
    read_logits: Callable[[str, int, Part], tuple[np.ndarray, np.ndarray]] | None = None
    study: Description = Description("study")
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
        return cls.of_study(store, _only_study(store) if study is None else study)

    @classmethod
    def of_study(cls, store: Store, name: str) -> Self:
        """The outcomes of a study in a results folder.

        Raises: UserError: as `from_store`.
        """
        found = store.study(name)
        if found is None:
            raise UserError(f"{store.root} has no study {name!r}; it has {', '.join(store.studies()) or 'none'}")
        manifest = Study.model_validate(printable(found.model_dump()))
        lacks = _lacks(manifest)
        if lacks:
            file = store.study_folder(name) / "study.json"
            raise UserError(f"{file} names {lacks}; move it away and run the study's command again")
        return cls.of_manifest(store, manifest)

    @classmethod
    def of_manifest(cls, store: Store, manifest: Study) -> Self:
        """The outcomes of the cells that `manifest` lists, whether it is on the disk or not."""
        commands = (Command.model_validate(printable(c.model_dump())) for c in store.commands(manifest.name))
        damaged = tuple(map(printable, store.damaged_commands(manifest.name)))
        return cls(**_of_store(store, manifest, Description(
            name=manifest.name, question=manifest.question, protocol=_protocol(manifest), data=manifest.data,
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
            raise UserError(f"no arm is called {name!r}; there are {', '.join(arm.name for arm in self.arms)}")
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
    def _limits(self) -> list[str]:
        """What cannot be said because a table does not know it; nothing of a study of this software's own."""
        source = _capital(self.study.source)
        known_by = {
            "value": f"{source} has one number a run: intervals are for new seeds on this test set only, and nothing is said of "
            "classes or images.",
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


def in_words(changes: Mapping[str, Any]) -> str:
    """Such as: no batch norm; widths 32, 64; dropout 0."""
    return "; ".join(filter(None, (_change(name, value) for name, value in changes.items())))


def _change(name: str, value: Any) -> str:
    plain = name
    for group in ("spec.", "recipe.", "arguments."):
        plain = plain.removeprefix(group)
    plain = plain.replace("_", " ").replace(".", " ")
    if isinstance(value, bool) or value == "":
        return plain if value else f"no {plain}"
    if isinstance(value, list | tuple):
        return f"{plain} {', '.join(map(str, value))}"
    if isinstance(value, dict):
        return ", ".join(_change(*item) for item in value.items())
    return f"{plain} {value:g}" if isinstance(value, float) else f"{plain} {value}"


# -- a table


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


# -- reading a results folder


def _only_study(store: Store) -> str:
    names = store.studies()
    if len(names) != 1:
        raise UserError(f"{store.root} holds {len(names)} studies ({', '.join(names)}); name one of them")
    return names[0]


def _lacks(study: Study) -> str:
    """What a manifest would need to be compared; nothing where it is as this software writes it."""
    names = [arm.name for arm in study.arms]
    baselines = sum(arm.is_baseline for arm in study.arms)
    if not names:
        return "no arms"
    if not study.cells:
        return "no seeds"
    if len(set(names)) < len(names):
        return "two arms alike"
    if not {cell.arm for cell in study.cells} <= set(names):
        return "cells of arms that it does not have"
    if study.screening is not None and not {run.arm for run in study.screening.runs} <= set(names):
        return "a design of arms that it does not have"
    if len({(cell.arm, cell.seed) for cell in study.cells}) < len(study.cells):
        return "two cells of one arm and seed"
    if len(study.data.classes) < 2 or len(set(study.data.classes)) < len(study.data.classes):
        return "fewer than two classes, or two alike"
    return "" if baselines == 1 else f"{baselines or 'no'} baseline{'s' if baselines else ''} among its arms"


def _protocol(study: Study) -> str:
    name = study.data.recipe_name(study.protocol)
    return name + (f" with {in_words(study.protocol_changes)}" if study.protocol_changes else "")


def _of_store(store: Store, manifest: Study, description: Description) -> dict[str, Any]:
    manifest = store.decided(manifest)
    by_seed = [] if manifest.tuning is None else [manifest.tuning.field]
    arms = {entry.name: _studied(entry, manifest.tuned.get(entry.name, {}), by_seed) for entry in manifest.arms}
    entries = {entry.name: entry for entry in manifest.arms}
    order = {name: place for place, name in enumerate(arms)}
    rows, records = [], {}
    for cell in sorted(manifest.cells, key=lambda cell: (order[cell.arm], cell.seed)):
        standing, record = _standing(store, cell, entries[cell.arm])
        rows.append(
            {
                **_of_arm(arms[cell.arm], description),
                **({"chosen": in_words(cell.chosen)} if cell.chosen else {}),
                **({"epochs": cell.chosen["epochs"]} if "epochs" in cell.chosen else {}),
                "seed": cell.seed,
                "key": cell.key,
                **printable(standing),
            }
        )
        if record is not None:
            records[cell.arm, cell.seed] = record
    classes = tuple(manifest.data.classes)
    return {
        "arms": tuple(arms.values()),
        "classes": classes,
        "cells": cell_table(rows),
        "read_answers": lambda: _with_clusters(
            _answers(store, records, list(arms), len(classes)),
            manifest.data.test_clusters,
            store.study_folder(manifest.name),
        ),
        "groups": {name: members for name, members in manifest.data.groups.items() if members and {*members} <= {*classes}},
        "curves": {cell: record.curve for cell, record in records.items()},
        "read_logits": lambda arm, seed, part: store.logits(records[arm, seed], part),
        "study": description,
    }  # fmt: skip


def _studied(entry: ArmEntry, chosen: Mapping[str, Any], by_seed: Sequence[str]) -> StudiedArm:
    return StudiedArm(
        name=entry.name,
        is_baseline=entry.is_baseline,
        levels=entry.levels,
        changes={name: value for name, value in entry.changes.items() if name not in {*chosen, *by_seed}},
        chosen=chosen,
        spec=entry.spec,
        recipe=entry.recipe,
        start=entry.start,
        epochs=entry.epochs,
        costs=entry.costs,
        work=entry.work,
    )


def _of_arm(arm: StudiedArm, study: Description) -> dict[str, Any]:
    """What the cells of an arm have in common."""
    return {
        "arm": arm.name,
        "is_baseline": arm.is_baseline,
        "changes": in_words(arm.changes),
        "chosen": in_words(arm.chosen),
        "protocol": study.protocol,
        "epochs": arm.epochs,
        "parameters": arm.costs and arm.costs.parameters,
        "head_share": arm.costs and arm.costs.head_share,
        "multiply_adds": arm.costs and arm.costs.multiply_adds,
        "receptive_field": arm.costs and arm.costs.receptive_field_original,
        "work": arm.work,
    }


def _standing(store: Store, cell: StudyCell, arm: ArmEntry) -> tuple[dict[str, Any], Record | None]:
    """The status of a cell, and its record where it is finished."""
    if cell.candidates and not cell.chosen:
        return _undecided(store, cell), None
    key = cell.key
    try:
        record = store.sound(key)
    except DamagedRecord as error:
        return {"status": "damaged", "note": str(error)}, None
    if record is not None:
        if record.seed != cell.seed or not arm.choosing(cell.chosen).is_of(record.identity):
            of = f"{quoted(arm.name)}, seed {cell.seed}"
            note = f"{store.cell_folder(key)}: it is not a cell of {of}, whatever the manifest says"
            return {"status": "damaged", "note": note}, None
        return _measured(record), record
    failure = store.failure(key)
    if failure is not None:
        return {"status": failure.kind, "note": failure.sentence}, None
    return {"status": "running" if store.is_claimed(key) else "missing", "note": ""}, None


def _undecided(store: Store, cell: StudyCell) -> dict[str, Any]:
    """The status of a cell that is still to be chosen."""
    fault = next(filter(None, map(store.fault, cell.keys)), None)
    if fault is not None:
        return {"status": "damaged", "note": fault}
    failures = [store.failure(key) for key in cell.keys if not store.is_finished(key)]
    known = [failure for failure in failures if failure is not None]
    failed = next((failure for failure in known if failure.kind == "failed"), None)
    if failed is not None:
        return {"status": "failed", "note": failed.sentence}
    if len(known) == len(cell.keys):
        return {"status": "diverged", "note": f"all {len(known)} values; {known[0].sentence}"}
    if not failures:
        note = f"no candidate of {quoted(cell.arm)}, seed {cell.seed} has a learning curve"
        return {"status": "damaged", "note": note}
    running = any(map(store.is_claimed, cell.keys))
    ended = len(cell.keys) - len(failures) + len(known)
    return {"status": "running" if running else "missing", "note": f"{ended} of {len(cell.keys)} values tried"}


def _measured(record: Record) -> dict[str, Any]:
    provenance = record.provenance
    return {
        "status": "finished",
        "note": "",
        "validation_accuracy": record.curve[-1].validation_accuracy if record.curve else None,
        "test_accuracy": record.test_accuracy,
        "seconds": record.train_seconds + record.evaluate_seconds,
        "device": provenance.device,
        "device_type": provenance.device_type,
        "precision": provenance.precision,
        "threads": provenance.threads,
        "trials_at_once": provenance.trials_at_once,
        "gpu_share": provenance.gpu_share,
        "micro_batch": provenance.micro_batch,
        "peak_memory": record.peak_memory,
        "versions": ", ".join(f"{name} {version}" for name, version in provenance.versions.items()),
        "started": provenance.started,
        "finished": provenance.finished,
    }


def _answers(store: Store, records: Mapping[tuple[str, int], Record], arms: Sequence[str], classes: int) -> Answers:
    """Predictions from the records' logits, which are dropped one by one: all of them fill gigabytes.

    A cell is left out if its logits are damaged, or its labels differ from those of most of the study's cells.
    """
    kind = np.min_scalar_type(classes - 1)
    damaged: list[Excluded] = []

    def leave_out(cell: tuple[str, int], reason: str) -> None:
        damaged.append(Excluded(*cell, "damaged", printable(reason)))

    read: dict[bytes, list[tuple[tuple[str, int], np.ndarray]]] = defaultdict(list)  # by the labels beside them
    for cell, record in records.items():
        try:
            logits, labels = store.logits(record, "test")
        except DamagedRecord as error:
            leave_out(cell, str(error))
            continue
        if logits.shape[1] != classes or not ((labels >= 0) & (labels < classes)).all():
            leave_out(cell, f"{store.cell_folder(record.key)}: its logits or labels are not of {classes} classes")
            continue
        read[labels.astype(np.int64).tobytes()].append((cell, logits.argmax(1).astype(kind)))
    most = max(read, key=lambda labels: len(read[labels]), default=b"")
    predictions: dict[str, dict[int, np.ndarray]] = {arm: {} for arm in arms}
    for labels_read, cells in read.items():
        for (arm, seed), predicted in cells:
            if labels_read == most:
                predictions[arm][seed] = predicted
            else:
                folder = store.cell_folder(records[arm, seed].key)
                leave_out((arm, seed), f"{folder}: its test labels are not those of most of the study's cells")
    return Answers(np.frombuffer(most, dtype=np.int64), predictions, damaged=tuple(damaged))


def _with_clusters(answers: Answers, clusters: Sequence[int] | None, folder: Path) -> Answers:
    """Raises: UserError: the clusters are those of other test images."""
    if clusters is None or not len(answers.labels):
        return answers
    if len(clusters) != len(answers.labels):
        raise UserError(
            f"{folder / 'study.json'} names the clusters of {len(clusters):,} test images, and the cells have "
            f"{len(answers.labels):,}; move it away and run the study's command again"
        )
    return replace(answers, clusters=np.array(clusters, dtype=np.int64))
