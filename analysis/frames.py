"""A table of anybody's results, checked and put in order: one row a prediction, or one row a run.

Whatever it holds is looked at once for each distinct value, so that a million rows take seconds. What cannot be compared is
refused in a sentence: a run that is there twice, an image that one run lacks, labels that differ, a number that is none.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from ablations.arm import Level
from ablations.text import printable, quoted
from ablations.units import counted
from analysis.columns import (
    ACCURACIES,
    LOWER_IS_BETTER,
    PREFIX,
    Columns,
    Content,
    Given,
    find,
    words,
)
from analysis.metric import ACCURACY, Detail, Metric, decimals_for, resolution_of
from cnnkit.errors import UserError

SEEDED = re.compile(
    r"(?P<arm>.*?)[\s_,;/=.-]*(?:random_?)?seed[\s_=.:-]*(?P<seed>\d{1,18})$", re.IGNORECASE | re.DOTALL
)
"""A run's name that ends in its seed, such as plain-seed-3."""
FORMULA = re.compile(r"\s*[=@]")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}%?")
"""A number whose comma may stand for the decimal point or between thousands."""
LARGEST_VALUE = 1e15
"""Of one number a run; squares of larger ones leave what can be computed with, and what people compare."""
WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
LARGEST = 2**63 - 1
YES, NO = (
    {"1", "1.0", "true", "t", "yes", "y", "right", "correct"},
    {"0", "0.0", "false", "f", "no", "n", "wrong", "incorrect"},
)
STATUSES: dict[str, Literal["finished", "running", "diverged", "failed"]] = {
    **dict.fromkeys(("finished", "completed", "complete", "done", "success", "succeeded", "ok", "terminated"), "finished"),
    **dict.fromkeys(("running", "pending", "queued", "scheduled", "preempted", "preempting", "starting"), "running"),
    "diverged": "diverged",
    **dict.fromkeys(("failed", "crashed", "killed", "error", "stopped", "aborted"), "failed"),
}  # fmt: skip
"""What tools call the state of a run, and what it is here."""
MIXED = "percentages are mixed with fractions"


@dataclass(frozen=True)
class Unfinished:
    """A run that the table lists without a result."""

    arm: str
    seed: int
    status: Literal["running", "diverged", "failed"]


@dataclass(frozen=True)
class Tabled:
    """What a table says."""

    arms: Mapping[str, Mapping[str, Level]]
    """Names, in the table's order, with the values of the columns that make them up where those are several."""
    detail: Detail
    metric: Metric
    classes: tuple[str, ...]
    labels: np.ndarray
    """(images,) int64, positions in the classes."""
    predictions: Mapping[str, Mapping[int, np.ndarray]]
    """(images,) for each arm and seed; where only right or wrong is known, of the image's class or another one."""
    values: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """Of each arm and seed, where there is one number a run."""
    clusters: np.ndarray | None = None
    """(images,) int64: which images belong together."""
    unfinished: Sequence[Unfinished] = ()
    notes: Sequence[str] = ()
    """What was guessed, and how the table was taken: sentences."""


class Options(Given, total=False):
    """What a caller may say of a table: names of columns, and more."""

    unit: str | None
    """Of the metric; %: percentages."""
    lower_is_better: bool | None
    """Left out: as the metric's name tells."""
    only: str | None
    """Of a table with several metrics: which."""
    classes: Sequence[str] | None
    """Names by class number."""
    paired: bool
    """Whether runs of one seed belong together, as is taken for granted; else they are compared as independent ones."""


def named_columns(options: Options) -> Given:
    """Those that the caller names."""
    return cast(Given, {role: name for role, name in options.items() if role in Given.__annotations__ and name})


def read(table: pd.DataFrame, options: Options, *, source: str) -> Tabled:
    """What a table says.

    Args: source: what messages call it.
    Raises: UserError: it cannot be compared, and why.
    """
    if any(name is not None for name in table.index.names):
        table = table.reset_index()
    table = table.set_axis([str(name) for name in table.columns], axis="columns")
    if not len(table.columns):
        raise UserError(f"{source} is empty")
    if not len(table):
        raise UserError(f"{source} has no rows below its heading")
    given = named_columns(options)
    names = list(table.columns)
    contents: dict[str, Content] = {}

    def content(name: str) -> Content:
        if name not in contents:
            contents[name] = _content(table.iloc[:, names.index(name)])  # of two columns of one name, the first
        return contents[name]

    if len(table.columns) == 1:
        raise UserError(
            f"{source} has one column, {table.columns[0]!r}; a table needs at least an arm and a value in each row"
        )
    columns = find(names, given, source=source, content=content)
    return _Reader(table[columns.names], columns, options, source).read()


def _content(column: pd.Series) -> Content:
    try:
        values = _distinct(column, "")[1]
    except UserError:  # lists, which are no arm, seed or number
        return Content(numbers=False, repeats=False, names_seeds=False)
    texts = [_text(value) for value in values]
    present = [text for text in texts if text]
    numbers = bool(present) and all(_number(text, comma=True) is not None for text in present)
    return Content(
        numbers=numbers,
        repeats=len(values) < len(column),
        names_seeds=bool(present) and not numbers and all(SEEDED.fullmatch(text) for text in present),
    )


def _distinct(column: pd.Series, source: str) -> tuple[Int[np.ndarray, " rows"], list[Any]]:
    """A place for each row in the distinct values; -1 for missing."""
    try:
        places, values = pd.factorize(column)
    except TypeError:
        raise UserError(
            f"{source}: column {column.name!r} holds lists or other things that are no single values"
        ) from None
    return np.asarray(places, dtype=np.int64), list(values)


def _text(value: Any) -> str:
    """A value as a name; whole numbers without a point. Empty for what is missing."""
    if isinstance(value, bytes):
        return printable(value.decode("utf-8", "backslashreplace").strip())
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating):
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    return printable(str(value).strip())


def _number(text: str, *, comma: bool = False) -> float | None:
    """Of a text, with a decimal comma where one is allowed; None where it is no number."""
    plain = text.replace(",", ".") if comma and "." not in text and text.count(",") == 1 else text
    plain = plain.removesuffix("%").rstrip()
    if "_" in plain:  # which Python reads
        return None
    try:
        return float(plain)
    except ValueError:
        return None


@dataclass(frozen=True)
class _Coded:
    """A column: its distinct values as texts, and which of them each row has."""

    name: str
    places: Int[np.ndarray, " rows"]
    texts: list[str]
    rows: Int[np.ndarray, " rows"]
    """Each row's number in the table, counted from 1, the heading not counted."""

    def first(self, place: int) -> str:
        """Where a text stands first, in words."""
        return f"{self.texts[place]!r} in column {self.name!r} (row {self.rows[np.argmax(self.places == place)]})"


class _Reader:
    """One table."""

    def __init__(self, table: pd.DataFrame, columns: Columns, options: Options, source: str) -> None:
        self.table, self.columns, self.options, self.source = table, columns, options, source
        self.notes = [f"columns: {columns.words}"]
        self.rows = np.arange(1, len(table) + 1)

    def read(self) -> Tabled:
        if self.columns.value is not None:
            return self._runs()
        return self._images()

    # -- what is compared

    def _coded(self, name: str, *, what: str, may_lack: bool = False) -> _Coded:
        """A column whose every row has something."""
        places, values = _distinct(self.table[name], self.source)
        texts = [_text(value) for value in values]
        distinct = list(dict.fromkeys(text for text in texts if text))
        order = {text: place for place, text in enumerate(distinct)} | {"": -1}
        places = np.array([*(order[text] for text in texts), -1], dtype=np.int64)[places]
        if not may_lack and (places < 0).any():
            raise UserError(f"{self.source}: row {self.rows[np.argmax(places < 0)]} has no {what} (column {name!r})")
        return _Coded(name, places, distinct, self.rows)

    def _arms(self) -> tuple[_Coded, dict[str, dict[str, Level]]]:
        """The arm of each row, and the levels of arms that several columns make up."""
        parts = [self._coded(name, what="arm") for name in self.columns.arm]
        if len(parts) == 1:
            return parts[0], {text: {} for text in parts[0].texts}
        places = np.zeros(len(self.table), dtype=np.int64)
        for part in parts:
            places = places * len(part.texts) + part.places
        found, first, own = np.unique(places, return_index=True, return_inverse=True)
        in_order = np.argsort(first, kind="stable")
        rank = np.empty(len(found), dtype=np.int64)
        rank[in_order] = np.arange(len(found))
        levels: dict[str, dict[str, Level]] = {}
        for place in in_order.tolist():
            row = int(first[place])
            values = {_plain(part.name): part.texts[part.places[row]] for part in parts}
            levels[", ".join(f"{name} {text}" for name, text in values.items())] = {
                name: _level(text) for name, text in values.items()
            }
        if len(levels) < len(found):
            raise UserError(
                f"{self.source}: two combinations of {' and '.join(self.columns.arm)} read alike; rename their values"
            )
        return _Coded(" + ".join(self.columns.arm), rank[own.ravel()], list(levels), self.rows), levels

    def _runs_of_rows(self) -> tuple[_Coded, dict[str, dict[str, Level]], Int[np.ndarray, " rows"], list[int]]:
        """The arm of each row, levels of arms, which of the seeds a row has, and the seeds."""
        arms, levels = self._arms()
        arms, places, seeds = self._seeds(arms)
        if not self.options.get("paired", True):
            runs, places = np.unique(arms.places * len(seeds) + places, return_inverse=True)
            self.notes.append(f"runs are not paired, as was asked, and numbered from 0 to {len(runs) - 1}")
            seeds = list(range(len(runs)))
        return arms, {name: levels.get(name, {}) for name in arms.texts}, places.ravel(), seeds

    def _seeds(self, arms: _Coded) -> tuple[_Coded, Int[np.ndarray, " rows"], list[int]]:
        """The arm of each row, which of the seeds it has, and the seeds."""
        if self.columns.seed is None and len(self.columns.arm) == 1:
            split = [SEEDED.fullmatch(text) for text in arms.texts]
            if all(split):
                return self._seeds_of_names(arms, [match for match in split if match])
        if self.columns.seed is None:
            return arms, *self._numbered(arms)
        seeds = self._coded(self.columns.seed, what="seed")
        if all(WHOLE.fullmatch(text) and abs(int(float(text))) < LARGEST for text in seeds.texts):
            numbers = [int(text.partition(".")[0]) for text in seeds.texts]
            distinct = sorted({*numbers})
            order = {number: place for place, number in enumerate(distinct)}
            return arms, np.array([order[number] for number in numbers])[seeds.places], distinct
        some = ", ".join(f"{quoted(text)} is {place}" for place, text in enumerate(seeds.texts[:3]))
        self.notes.append(
            f"seeds are no whole numbers and are numbered in their order: {some}{' ...' if len(seeds.texts) > 3 else ''}"
        )
        return arms, seeds.places, list(range(len(seeds.texts)))

    def _seeds_of_names(
        self, arms: _Coded, split: Sequence[re.Match[str]]
    ) -> tuple[_Coded, Int[np.ndarray, " rows"], list[int]]:
        """Of runs whose names end in their seeds."""
        names = [match["arm"] or "seed" for match in split]
        numbers = [int(match["seed"]) for match in split]
        distinct, seeds = list(dict.fromkeys(names)), sorted({*numbers})
        self.notes.append(
            f"seeds are taken from the names: {quoted(arms.texts[0])} is {quoted(names[0])}, seed {numbers[0]}"
        )
        own = np.array([distinct.index(name) for name in names])[arms.places]
        return (
            _Coded(arms.name, own, distinct, self.rows),
            np.array([seeds.index(n) for n in numbers])[arms.places],
            seeds,
        )

    def _numbered(self, arms: _Coded) -> tuple[Int[np.ndarray, " rows"], list[int]]:
        """Of runs without a seed: each row of an arm is one."""
        if self.columns.value is None:
            self.notes.append("no column says which seed a row has: each arm is taken to have one run")
            return np.zeros(len(self.table), dtype=np.int64), [0]
        if self.columns.step is not None:
            raise UserError(f"{self.source}: which column tells runs of an arm apart? Give --seed-column")
        order = np.argsort(arms.places, kind="stable")
        places = np.empty_like(order)
        places[order] = np.arange(len(order))  # a number of its own for each run, so that none is taken for a pair
        self.notes.append(
            "no column says which seed a row has: each row is taken to be a run of its own, numbered from 0"
        )
        return places, list(range(len(places)))

    # -- one row a prediction

    def _images(self) -> Tabled:
        arms, levels, seed_places, seeds = self._runs_of_rows()
        runs, run_of_row = np.unique(arms.places * len(seeds) + seed_places, return_inverse=True)
        named = [(arms.texts[run // len(seeds)], seeds[run % len(seeds)]) for run in runs.tolist()]
        run_of_row = run_of_row.ravel()
        images, texts = self._image_of_row(run_of_row, named)
        count = len(texts) if texts else int(images.max()) + 1
        self._require_each_once(run_of_row, images, named, texts, count)
        if count < 2:
            raise UserError(f"{self.source} has one image a run; a table of predictions needs at least two")
        detail, classes, label_of_row, answer_of_row = self._answers()
        labels = np.zeros(count, dtype=np.int64)
        labels[images] = label_of_row
        differs = labels[images] != label_of_row
        if differs.any():
            row = int(np.argmax(differs))
            image = (
                f"image {quoted(texts[images[row]])}" if texts else f"the image in row {images[row] + 1} of each run"
            )
            one, other = (classes[place] for place in (label_of_row[row], labels[images[row]]))
            arm, seed = named[run_of_row[row]]
            hint = "" if texts else "; give --image-column if runs list their images in different orders"
            raise UserError(
                f"{self.source}: {image} has the label {one!r} in {_run(arm, seed)}, and {other!r} elsewhere{hint}"
            )
        answers = np.empty((len(runs), count), dtype=np.min_scalar_type(len(classes) - 1))
        answers[run_of_row, images] = answer_of_row
        if detail == "predictions" and not (answers == labels).any():
            raise UserError(
                f"{self.source}: no prediction is right in any run (the first: {classes[answers[0, 0]]!r} for "
                f"{classes[labels[0]]!r}); are labels and predictions named alike?"
            )
        predictions: dict[str, dict[int, np.ndarray]] = {name: {} for name in arms.texts}
        for place, (arm, seed) in enumerate(named):
            predictions[arm][seed] = answers[place]
        return Tabled(
            arms=levels, detail=detail, metric=ACCURACY, classes=classes, labels=labels,
            predictions=predictions, clusters=self._clusters(images, texts, count), notes=self.notes,
        )  # fmt: skip

    def _image_of_row(
        self, run_of_row: Int[np.ndarray, " rows"], named: Sequence[tuple[str, int]]
    ) -> tuple[Int[np.ndarray, " rows"], list[str]]:
        """Which image a row is about, and the images' names; none where rows are in order."""
        if self.columns.image is not None:
            images = self._coded(self.columns.image, what="image")
            return images.places, images.texts
        counts = np.bincount(run_of_row)
        if counts.min() < counts.max():
            few, many = int(counts.argmin()), int(counts.argmax())
            raise UserError(
                f"{self.source}: no column says which image a row is about, and {_run(*named[many])} has {counts[many]:,} rows, "
                f"{_run(*named[few])} {counts[few]:,}; give --image-column"
            )
        self.notes.append("no column says which image a row is about: the rows of each run are taken in their order")
        return _positions(run_of_row), []

    def _require_each_once(
        self, run_of_row: Int[np.ndarray, " rows"], images: Int[np.ndarray, " rows"], named: Sequence[tuple[str, int]],
        texts: Sequence[str], count: int,
    ) -> None:  # fmt: skip
        """Raises: UserError: a run has an image twice, or lacks one."""
        of_run = np.bincount(run_of_row, minlength=len(named))
        if (of_run == count).all() and len(self.table) == len(named) * count:
            seen = np.zeros((len(named), count), dtype=bool)
            seen[run_of_row, images] = True
            if seen.all():
                return
        pairs = run_of_row * count + images
        once, times = np.unique(pairs, return_counts=True)
        if (times > 1).any():
            run, image = divmod(int(once[np.argmax(times > 1)]), count)
            arm, seed = named[run]
            if (times[once // count == run] > 1).all():
                raise UserError(f"{self.source} has {_run(arm, seed)} twice{self._why_twice()}")
            raise UserError(f"{self.source} has image {quoted(texts[image])} twice in {_run(arm, seed)}")
        lacking = int(np.argmax(of_run < count))
        missing = np.setdiff1d(np.arange(count), images[run_of_row == lacking])
        others = f" and {len(missing) - 1:,} others" if len(missing) > 1 else ""
        raise UserError(
            f"{self.source}: {_run(*named[lacking])} has no row for image {quoted(texts[missing[0]])}{others}; every run needs "
            f"all {count:,} images, or leave the run out"
        )

    def _answers(self) -> tuple[Detail, tuple[str, ...], Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
        """What is known, the classes, and the label and the answer of each row."""
        if self.columns.prediction is None:
            return self._right_or_wrong()
        assert self.columns.label is not None  # `find` has seen to it
        label = self._coded(self.columns.label, what="label")
        answer = self._coded(self.columns.prediction, what="prediction")
        by_number = [all(WHOLE.fullmatch(text) for text in each.texts) for each in (label, answer)]
        named = self.options.get("classes")
        if named is not None:
            classes = tuple(map(printable, named))
            places = [self._in_classes(each, classes) for each in (label, answer)]
            self._check_correct(places[0][label.places] == places[1][answer.places])
            return "predictions", classes, places[0][label.places], places[1][answer.places]
        if by_number[0] != by_number[1]:
            numbers, names = (label, answer) if by_number[0] else (answer, label)
            raise UserError(
                f"{self.source}: column {numbers.name!r} has class numbers ({numbers.texts[0]}) and {names.name!r} names "
                f"({names.texts[0]!r}); give --classes, the names in the order of their numbers"
            )
        number = {text: int(float(text)) for text in {*label.texts, *answer.texts}} if all(by_number) else {}
        distinct = sorted({number.get(text, text) for text in {*label.texts, *answer.texts}}, key=_order)
        order = {value: place for place, value in enumerate(distinct)}
        places = [np.array([order[number.get(text, text)] for text in each.texts]) for each in (label, answer)]
        if len(distinct) < 2:
            raise UserError(f"{self.source} has one class, {str(distinct[0])!r}; nothing can be compared")
        never = {*map(str, distinct)} - {str(number.get(text, text)) for text in label.texts}
        if never:
            some = ", ".join(quoted(name) for name in sorted(never)[:3])
            self.notes.append(f"predicted, but the class of no image: {some}{' ...' if len(never) > 3 else ''}")
        self._check_correct(places[0][label.places] == places[1][answer.places])
        return "predictions", tuple(map(str, distinct)), places[0][label.places], places[1][answer.places]

    def _check_correct(self, right: Bool[np.ndarray, " rows"]) -> None:
        """A column that says which answers are right, beside those that show it, says the same.

        Raises: UserError: it does not.
        """
        if self.columns.correct is None:
            return
        column = self._coded(self.columns.correct, what="answer", may_lack=True)
        if not column.texts or not {text.lower() for text in column.texts} <= YES | NO:
            return  # of another meaning
        said = np.array([text.lower() in YES for text in column.texts])[column.places]
        differs = int(((said != right) & (column.places >= 0)).sum())
        if differs:
            raise UserError(
                f"{self.source}: column {column.name!r} contradicts {self.columns.label!r} and {self.columns.prediction!r} in "
                f"{counted(differs, 'row')}; leave out what is wrong"
            )

    def _in_classes(self, column: _Coded, classes: Sequence[str]) -> Int[np.ndarray, " texts"]:
        """Positions of a column's texts, each a class's name or number."""
        order = {name: place for place, name in enumerate(classes)}
        places = []
        for place, text in enumerate(column.texts):
            number = int(float(text)) if WHOLE.fullmatch(text) else -1
            if text in order:
                places.append(order[text])
            elif 0 <= number < len(classes):
                places.append(number)
            else:
                raise UserError(f"{self.source}: {column.first(place)} is none of the {len(classes)} classes")
        return np.array(places)

    def _right_or_wrong(self) -> tuple[Detail, tuple[str, ...], Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
        assert self.columns.correct is not None
        column = self._coded(self.columns.correct, what="answer")
        for place, text in enumerate(column.texts):
            if text.lower() not in YES | NO:
                raise UserError(f"{self.source}: {column.first(place)} is neither right nor wrong; write 1 or 0")
        right = np.array([text.lower() in YES for text in column.texts])[column.places]
        if self.columns.label is None:
            return "correct", ("right", "wrong"), np.zeros(len(right), dtype=np.int64), (~right).astype(np.int64)
        label = self._coded(self.columns.label, what="label")
        classes = tuple(sorted(label.texts, key=_order))
        places = np.array([classes.index(text) for text in label.texts])[label.places]
        return "recall", (*classes, "another class"), places, np.where(right, places, len(classes))

    def _clusters(
        self, images: Int[np.ndarray, " rows"], texts: Sequence[str], count: int
    ) -> Int[np.ndarray, " images"] | None:
        if self.columns.group is None:
            return None
        group = self._coded(self.columns.group, what="group")
        clusters = np.zeros(count, dtype=np.int64)
        clusters[images] = group.places
        differs = clusters[images] != group.places
        if differs.any():
            image = images[int(np.argmax(differs))]
            name = quoted(texts[image]) if texts else str(image + 1)
            raise UserError(f"{self.source}: image {name} is in two groups (column {group.name!r})")
        found = len(np.unique(clusters))
        if found < 2:
            raise UserError(
                f"{self.source}: all images are in one group (column {group.name!r}); nothing can be said of others"
            )
        self.notes.append(f"images belong together in {found:,} groups, which are the units of evidence")
        return clusters

    # -- one row a run

    def _runs(self) -> Tabled:
        assert self.columns.value is not None
        name = self._only_tag()
        state = self._states()
        arms, levels, seed_places, seeds = self._runs_of_rows()
        value = self._coded(self.columns.value, what="value", may_lack=True)
        numbers = self._numbers(value)[value.places]
        present = value.places >= 0
        keep = state == "finished"
        runs = arms.places * len(seeds) + seed_places
        if self.columns.step is not None:
            known = np.bincount(runs[present & keep], minlength=int(runs.max()) + 1) > 0
            keep &= present | ~known[runs]  # other metrics are logged at other steps
            keep = self._last(runs, keep)

        def named(run: int) -> tuple[str, int]:
            return arms.texts[run // len(seeds)], seeds[run % len(seeds)]

        lacking = keep & ~present
        if lacking.any():
            row = int(np.argmax(lacking))
            raise UserError(
                f"{self.source}: {_run(*named(int(runs[row])))} has no number in column {value.name!r} (row {self.rows[row]}); "
                "leave the run out, or say in a column `status` that it failed or diverged"
            )
        kept = runs[keep]
        distinct, times = np.unique(kept, return_counts=True)
        if (times > 1).any():
            twice = named(int(distinct[np.argmax(times > 1)]))
            raise UserError(f"{self.source} has {_run(*twice)} twice{self._why_twice()}")
        lost = [run for run in dict.fromkeys(runs.tolist()) if run not in {*distinct.tolist()}]
        if not len(distinct):
            raise UserError(f"{self.source} has no finished run")
        unfinished = [Unfinished(*named(run), self._status_of(state[runs == run])) for run in lost]
        self._require_finite(value, numbers, keep)
        read, metric = self._metric(name, numbers[keep], kept // len(seeds), value)
        values: dict[str, dict[int, float]] = {name: {} for name in arms.texts}
        for run, number in zip(kept.tolist(), read.tolist(), strict=True):
            arm, seed = named(run)
            values[arm][seed] = number
        nothing = np.zeros(0, dtype=np.int64)
        return Tabled(
            arms=levels, detail="value", metric=metric,
            classes=(), labels=nothing, predictions={arm: dict.fromkeys(own, nothing) for arm, own in values.items()},
            values=values, unfinished=unfinished, notes=self.notes,
        )  # fmt: skip

    def _only_tag(self) -> str:
        """Of a table with several metrics keeps one; returns what the metric is called."""
        assert self.columns.value is not None
        if self.columns.tag is None:
            return _plain(self.columns.value)
        tags = self._coded(self.columns.tag, what="metric")
        wanted = self.options.get("only")
        if wanted is None and len(tags.texts) > 1:
            raise UserError(
                f"{self.source} has {counted(len(tags.texts), 'metric')} ({some(tags.texts)}); choose one by --only"
            )
        tag = tags.texts[0] if wanted is None else printable(wanted)
        if tag not in tags.texts:
            raise UserError(f"{self.source} has no metric {tag!r} in column {tags.name!r}; it has {some(tags.texts)}")
        own = tags.places == tags.texts.index(tag)
        self.table, self.rows = self.table[own], self.rows[own]
        return tag

    def _states(self) -> np.ndarray:
        """finished, running, failed or diverged, for each row."""
        if self.columns.status is None:
            return np.full(len(self.table), "finished")
        states = self._coded(self.columns.status, what="status", may_lack=True)
        known = [STATUSES.get(text.lower()) for text in states.texts]
        if None in known:
            if self.columns.guessed & {"status"}:  # a column of another meaning
                return np.full(len(self.table), "finished")
            at = states.first(known.index(None))
            raise UserError(f"{self.source}: {at} is no state of a run, such as finished or failed")
        return np.array([*map(str, known), "finished"])[states.places]

    @staticmethod
    def _status_of(states: np.ndarray) -> Literal["running", "diverged", "failed"]:
        first = str(next((state for state in states if state != "finished"), "failed"))
        return {"running": "running", "diverged": "diverged"}.get(first, "failed")  # type: ignore[return-value]

    def _last(self, runs: Int[np.ndarray, " rows"], keep: np.ndarray) -> np.ndarray:
        """The rows of each run's last step, if a run has several rows."""
        assert self.columns.step is not None
        if len(np.unique(runs[keep])) == int(keep.sum()):
            return keep
        step = self._coded(self.columns.step, what="step")
        steps = self._numbers(step)[step.places]
        self._require_finite(step, steps, keep)
        last = np.full(int(runs.max()) + 1, -np.inf)
        np.maximum.at(last, runs[keep], steps[keep])
        self.notes.append(f"of each run the last step counts (column {step.name!r})")
        chosen = keep & (steps == last[runs])
        final = np.unique(steps[chosen])
        if len(final) > 1:
            self.notes.append(f"runs end at different steps, from {final[0]:g} to {final[-1]:g}")
        return chosen

    def _why_twice(self) -> str:
        if self.columns.step is not None:
            return f" at its last step (column {self.columns.step!r})"
        if self.columns.seed is None:
            return "; give --seed-column if it has several runs"
        return "; leave one out, or name further columns that tell arms apart by --arm-column"

    def _numbers(self, column: _Coded) -> np.ndarray:
        """Of a column's texts, and NaN. Raises: UserError: one is no number, or two kinds of writing are mixed."""
        with_comma = [text for text in column.texts if "," in text]
        if with_comma and any("." in text for text in column.texts):
            raise UserError(
                f"{self.source}: column {column.name!r} has commas and points in its numbers ({with_comma[0]!r}); write all "
                "of them with a decimal point"
            )
        if with_comma and all(THOUSANDS.fullmatch(text) for text in with_comma):
            raise UserError(
                f"{self.source}: {with_comma[0]!r} in column {column.name!r} may be {with_comma[0].replace(',', '')} or "
                f"{with_comma[0].replace(',', '.')}; write numbers with a decimal point and nothing between thousands"
            )
        if with_comma:
            self.notes.append(f"{with_comma[0]!r} is read as a number with a decimal comma")
        numbers = [_number(text, comma=True) for text in column.texts]
        for place, (text, number) in enumerate(zip(column.texts, numbers, strict=True)):
            if number is None and FORMULA.match(text):
                raise UserError(
                    f"{self.source}: {column.first(place)} is a spreadsheet's formula; save the table with its values"
                )
            if number is None:
                raise UserError(f"{self.source}: {column.first(place)} is no number")
        return np.array([*numbers, np.nan], dtype=np.float64)  # the last: of rows that have none

    def _require_finite(self, column: _Coded, numbers: np.ndarray, rows: np.ndarray) -> None:
        bad = rows & ~np.isfinite(numbers)
        if bad.any():
            at = column.first(column.places[int(np.argmax(bad))])
            raise UserError(
                f"{self.source}: {at} is not finite; leave the run out, or say in a column `status` that it diverged"
            )
        large = rows & (np.abs(numbers) > LARGEST_VALUE)
        if large.any():
            at = column.first(column.places[int(np.argmax(large))])
            raise UserError(
                f"{self.source}: {at} is beyond {LARGEST_VALUE:g}; give another unit, or say in a column `status` that the run "
                "diverged"
            )

    def _metric(
        self, name: str, numbers: np.ndarray, arm_of_run: np.ndarray, column: _Coded
    ) -> tuple[np.ndarray, Metric]:
        """The values as they are held, and what they are."""
        unit, shares = self._unit(name, numbers, column)
        lower = self.options.get("lower_is_better")
        telling = {"error", "err"} if unit == "%" else LOWER_IS_BETTER
        if lower is None and words(name) & telling:
            lower = True
            self.notes.append(f"lower is better, as the name {name} tells (--higher-is-better says otherwise)")
        held = numbers / 100 if unit == "%" and not shares else numbers
        resolution = resolution_of(numbers) * (0.01 if unit == "%" and not shares else 1.0)
        if unit == "%":
            return held, Metric(name, "%", lower_is_better=bool(lower), margin=ACCURACY.margin, resolution=resolution)
        own = [held[arm_of_run == arm].std(ddof=1) for arm in np.unique(arm_of_run) if (arm_of_run == arm).sum() > 1]
        spread = float(np.median(own)) if own else 0.0
        decimals = decimals_for(spread or float(np.ptp(held)) or float(np.abs(held).max()) / 100)
        return held, Metric(name, unit, decimals, lower_is_better=bool(lower), resolution=resolution)

    def _unit(self, name: str, numbers: np.ndarray, column: _Coded) -> tuple[str, bool]:
        """The unit, and whether values in it are shares, 0 to 1."""
        wanted = self.options.get("unit")
        signs = {text.endswith("%") for text in column.texts}
        if len(signs) > 1:
            raise UserError(f"{self.source}: in column {column.name!r} {MIXED}: some numbers have a % and others none")
        low, high = float(numbers.min()), float(numbers.max())
        if True in signs:
            return "%", False
        is_accuracy = bool(words(name) & ACCURACIES)
        if wanted is not None and (wanted != "%" or not is_accuracy):
            return wanted, False
        if not is_accuracy:
            return wanted or "", False
        if low < 0 or high > 100:
            self.notes.append(
                f"{name}: values from {low:g} to {high:g} are neither shares nor percentages, and are taken as they are"
            )
            return wanted or "", False
        if high <= 1:
            self.notes.append(f"{name}: values from 0 to 1 are shares, shown in percent")
            return "%", True
        if low <= 1 and wanted is None:
            raise UserError(
                f"{self.source}: in column {column.name!r} {MIXED} ({low:g} beside {high:g}); give --unit % if "
                "all are percentages"
            )
        self.notes.append(f"{name}: values up to {high:g} are percentages")
        return "%", False


def _positions(groups: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    """Of each row, how many rows of its group come before it."""
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    places = np.empty(len(groups), dtype=np.int64)
    places[order] = np.arange(len(groups)) - starts
    return places


def _plain(name: str) -> str:
    """A column's name without a tool's prefix."""
    return printable(PREFIX.sub("", name.strip()))


def _level(text: str) -> Level:
    """A value of a column that makes up arms."""
    if text in ("True", "False"):
        return text == "True"
    number = _number(text)
    if number is None or not math.isfinite(number) or text.endswith("%"):
        return text
    return int(number) if WHOLE.fullmatch(text) else number


def _order(value: int | str) -> tuple[int, int | str]:
    return (0, value) if isinstance(value, int) else (1, value)


def _run(arm: str, seed: int) -> str:
    return f"{arm!r}, seed {seed}"


def some(names: Sequence[str]) -> str:
    """Names, or the first of many."""
    return f"{', '.join(map(quoted, names[:8]))}{' ...' if len(names) > 8 else ''}"
