"""A study from the request to its outcome: what the command line and a notebook call.

from ablations import run_study
outcome = run_study("depth", "quick", settings=Settings(seeds=5))
"""

import errno
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ablations import feasible, files
from ablations.cli import known
from ablations.display import display_for, reading_shown
from ablations.grid_files import OwnGrid, grid_of, is_grid_file, load_grid
from ablations.grids import GRIDS, Grid
from ablations.interruption import also_removed
from ablations.looks import Rule, needed_cells
from ablations.plan import Plan, PlannedCell, arms_for, chosen_values, fitted, listed, make_plan, tuning_plan
from ablations.protocols import PROTOCOLS, Protocol
from ablations.record import Tuning
from ablations.resources import Machine, gpu_is_visible
from ablations.store import Store
from ablations.transfer import transfer_of
from ablations.units import LONGEST
from cnnkit.data import find, is_documented
from cnnkit.description import AS_THEY_ARE, DataOptions
from cnnkit.errors import UserError
from cnnkit.images import Data
from cnnkit.readers.found import known_data, silent
from cnnkit.readers.picture_cache import being_written
from cnnkit.search_paths import add_search_paths

if TYPE_CHECKING:
    from ablations.measuring import Measure, Measuring
    from ablations.study import Outcome

also_removed(being_written)

Measures = Callable[[Data], "tuple[Sequence[Measure], Sequence[str]]"]
"""From data to what networks that were trained on it can be asked, and a sentence for each measure that cannot be taken."""
MOST_SEEDS = 1_000


@dataclass(frozen=True)
class Settings:
    """How much of a study is run, where, and with how much of the machine."""

    seeds: int = 3
    """Seeds of each arm, 0 to N-1."""
    looks: Rule | None = None
    """When arms stop of which enough is known, in the place of `seeds`: `analysis.looks.plan_looks(3, 5, 10)`."""
    classes: tuple[str, ...] = ()
    """Classes, or groups of classes, of which each gets a test of its own, and is confirmed only if it is named before there
    are results."""
    budget: float | None = None
    """Seconds; no cell is started that would end later. None: there is time."""
    tune: tuple[str, Sequence[float | int | str]] | None = None
    """A field of the recipe, and the values from which every seed of each arm chooses for itself, by its validation accuracy."""
    tune_once: bool = False
    """Choose once for each arm, on a seed of its own, instead: fewer cells, and a claim about the values so chosen alone."""
    shard: tuple[int, int] | None = None
    """(I, N): only the I-th of N parts of the cells, counted from 1."""
    address: str | None = None
    """A Ray cluster to join, such as auto or 10.0.0.1:6379; None starts Ray here, and ends it."""
    gpu_fraction: float | None = None
    """Share of a GPU for every trial; None measures each arm's memory need."""
    cuda_graphs: bool = False
    """Launch an update's kernels together on GPUs; trained numbers are the same."""
    keep_weights: bool = True
    retry_diverged: bool = False
    """Train cells again whose loss became NaN; otherwise they stay recorded as diverged."""
    dry_run: bool = False
    """Only to be described: nothing is written."""
    network: str = ""
    """For the grid `transfer`: the architecture that is pretrained, as timm:NAME, torchvision:NAME or MODULE:FUNCTION."""
    weights: str = ""
    """For the grid `transfer`: a file of weights; what is published for the architecture where it is empty."""
    arguments: tuple[str, ...] = ()
    """What was typed, kept with the study."""

    @property
    def most_seeds(self) -> int:
        """Of an arm."""
        return self.seeds if self.looks is None else self.looks.plan.seeds[-1]


@dataclass(frozen=True)
class TunedOnce:
    """Cells from which a field of each arm's recipe is chosen once, before the study's own are trained."""

    field: str
    plan: Plan
    candidates: dict[str, list[tuple[Any, PlannedCell]]]
    study: str
    """What the study that follows is called, unless another of that name has chosen other values."""

    def chosen(self, store: Store) -> dict[str, dict[str, Any]] | None:
        """What is chosen for each arm; None as long as candidates are still to be trained."""
        if not all(self.plan.is_over([planned for _, planned in tried]) for tried in self.candidates.values()):
            return None
        return chosen_values(self.field, self.candidates, store)


@dataclass(frozen=True)
class PreparedStudy:
    """A study that can be described, and run."""

    grid: Grid
    grid_name: str
    protocol: Protocol
    data: Data
    settings: Settings
    search_paths: tuple[str, ...]
    store: Store | None
    """None for a dry run on a results folder that does not exist yet."""
    machine: Machine
    results: Path
    """The results folder, whether it exists or not."""

    def check(self) -> None:
        """Raises: UserError: it would not end on any machine, or not fit into this one."""
        elsewhere, tuning = self.settings.address is not None, self.tuning()
        for plan in (self.plan(), *([] if tuning is None else [tuning.plan])):
            feasible.check(plan, self.machine, elsewhere=elsewhere)

    def plan(self, tuned: dict[str, dict[str, Any]] | None = None) -> Plan:
        """The study's cells. Args: tuned: fields of the recipe that were chosen for an arm, by the arm's name."""
        rule = self.settings.looks
        plan = make_plan(
            self.grid,
            self.grid_name,
            self.protocol,
            self.data,
            self.store,
            seeds=range(self.settings.most_seeds),
            arguments=list(self.settings.arguments),
            now=datetime.now(UTC).isoformat(timespec="seconds"),
            tuned=tuned,
            tuning=None if self.settings.tune_once else self._tuning,
            looks=None if rule is None else rule.plan,
            classes=self.settings.classes,
        )
        if rule is not None and len(plan.arms) <= rule.least_arms:
            raise UserError(
                f"moderated variances need at least {rule.least_arms} arms beside the baseline, and {self.grid_name} has "
                f"{len(plan.arms) - 1}; leave --variance away"
            )
        if rule is not None and len(rule.plan.seeds) > 1 and plan.study.screening is not None:
            raise UserError(
                f"{self.grid_name} is a screening design, of which all runs are read together, and planned looks would stop "
                f"single runs; give --seeds one number"
            )
        return plan.shard(*self.settings.shard) if self.settings.shard else plan

    @property
    def _tuning(self) -> Tuning | None:
        if self.settings.tune is None:
            return None
        field, values = self.settings.tune
        return Tuning(field=field, values=list(values))

    def expected(self) -> Plan:
        """The study's plan with the cells that are known to be needed: with planned looks, not those of later ones; where values
        are still to be chosen once, with the first of them.
        """
        tuning = self.tuning()
        chosen = None
        if tuning is not None:
            chosen = None if self.store is None else tuning.chosen(self.store)
            chosen = chosen or {arm: {tuning.field: tried[0][0]} for arm, tried in tuning.candidates.items()}
        plan = self.plan(chosen)
        return replace(plan, cells=plan.of_shard(needed_cells(plan, self.settings.looks)))

    def tuning(self) -> TunedOnce | None:
        """What is trained before the study, or None.

        Raises: UserError: a value does not suit the field, or two arms differ in nothing else.
        """
        tuning = self._tuning
        if tuning is None or not self.settings.tune_once:
            return None
        plan, candidates = tuning_plan(replace(self, store=None).plan(), tuning, self.store)
        first = {arm: {tuning.field: tried[0][0]} for arm, tried in candidates.items()}
        return TunedOnce(tuning.field, plan, candidates, replace(self, store=None).plan(first).study.name)

    def measure(self, outcome: "Outcome", measures: Measures, console: Console | None = None) -> "Measuring | None":
        """Takes the measures of the study's finished networks; None where no weights are kept that could be asked.

        Raises: UserError: the results folder cannot be written, or Ray does not start or has ended.
        """
        from ablations.side_by_side import Where, take_measures

        out = console or _console()
        assert self.store is not None, "prepared to be described only"
        if not self.settings.keep_weights:
            out.print("nothing is measured: weights are not kept", markup=False, soft_wrap=True)
            return None
        study = self.store.study(outcome.study)
        if study is None or not outcome.finished:
            return None
        taken, left_out = measures(self.data.subset(train=study.split.train))
        for sentence in left_out:
            out.print(sentence, markup=False, soft_wrap=True)
        where = Where(self.machine, self.settings.address, search_paths=self.search_paths)
        return take_measures(self.store, study, taken, where, out)

    def measure_if_possible(self, outcome: "Outcome", measures: Measures, console: Console) -> bool:
        """As `measure`, for a report that can do without: what is in the way is said. Returns whether a signal has ended it."""
        try:
            found = self.measure(outcome, measures, console)
        except UserError as error:
            console.print(f"not measured: {error}", markup=False, soft_wrap=True)
            return False
        return found is not None and found.interrupted

    def run(self, console: Console | None = None, *, watch: Callable[[Path], None] = lambda folder: None) -> "Outcome":
        """Trains what is missing.

        Args: watch: called with the study's folder now and then while its cells are trained; not while fields are tuned.
        Raises: UserError: the results folder cannot be written, Ray does not start or has ended, or none of an arm's
            candidates could be trained.
        """
        from ablations.study import Options, run  # Ray, which a description does without

        out = console or _console()
        assert self.store is not None, "prepared to be described only"
        settings = self.settings
        options = Options(
            self.machine,
            settings.address,
            settings.gpu_fraction,
            cuda_graphs=settings.cuda_graphs,
            keep_weights=settings.keep_weights,
            retry_diverged=settings.retry_diverged,
            search_paths=self.search_paths,
            ends=None if settings.budget is None else time.monotonic() + settings.budget,
        )
        tuning = self.tuning()
        with files.one_sentence_errors(self.store.root):
            if tuning is not None:
                outcome = run(tuning.plan, options, display_for(out))
                # A value with which the loss became NaN is not chosen; other failures are to be mended first.
                if (
                    outcome.interrupted
                    or outcome.out_of_time
                    or any(failure.kind == "failed" for failure in outcome.failures)
                ):
                    return replace(outcome, study=tuning.study, folder=self.store.study_folder(tuning.study))
                chosen = chosen_values(tuning.field, tuning.candidates, self.store)
                for arm, fields in chosen.items():
                    out.print(f"{arm}: {tuning.field} {fields[tuning.field]}", markup=False, soft_wrap=True)
                plan = self.plan(chosen)
                out.print(f"study {plan.study.name}", markup=False, soft_wrap=True)
            else:
                plan = self.plan()
            self._write_manifest(plan)
            outcome = run(plan, replace(options, watch=watch), display_for(out), settings.looks)
            if not (outcome.folder / "study.json").is_file():
                cells = listed(needed_cells(plan, settings.looks))
                self._write_manifest(replace(plan, study=plan.study.model_copy(update={"cells": cells})))
                out.print(f"{outcome.folder} was removed meanwhile; it is written anew", markup=False, soft_wrap=True)
            return outcome

    def _write_manifest(self, plan: Plan) -> None:
        assert self.store is not None
        self.store.write_study(plan.study)
        self.store.write_command(plan.study.name, plan.command)


def prepare_study(
    grid: str | Path | Grid,
    protocol: str | Protocol | None = None,
    *,
    data: str | Path | Data = "auto",
    options: DataOptions = AS_THEY_ARE,
    groups: Mapping[str, Sequence[str]] | None = None,
    results: str | Path = "results",
    settings: Settings | None = None,
    out: Console | None = None,
) -> PreparedStudy:
    """A study that can be described, and run.

    Args: grid: a grid's name, a YAML or Python file, or a function from the baseline arm to a list of arms. protocol: its name,
        or one that was varied; None is `documented` where a GPU is visible and the data are the documented study's, else
        `quick`. data: what `cnnkit.data.find` takes, or data that are loaded already. options: how images are read and stored.
        groups: classes that are also looked at together, by the group's name, in the place of those that the data name.
        results: a new or an empty folder, or one that holds results of the same data.
        out: where it is said whose code a YAML grid calls, before it is called.
    Raises: UserError: what is wrong, in one sentence.
    """
    settings = settings or Settings()
    if settings.most_seeds < 1:
        raise UserError(f"--seeds {settings.most_seeds}: at least one seed is needed")
    if settings.most_seeds > MOST_SEEDS:
        raise UserError(f"--seeds {settings.most_seeds}: at most {MOST_SEEDS:,} seeds")
    if settings.budget is not None and not 0 < settings.budget <= LONGEST:
        raise UserError(f"a budget of {settings.budget:g} s: give more than 0 s, and at most ten years")
    if protocol is None:
        documented = gpu_is_visible() and (data.about.is_documented if isinstance(data, Data) else is_documented(data))
        protocol = "documented" if documented else "quick"
    if isinstance(protocol, str):
        protocol = PROTOCOLS[known("protocol", protocol, list(PROTOCOLS))]
    paths = search_paths(grid)
    add_search_paths(paths)
    function, name = find_grid(grid, settings)
    if out is not None and isinstance(function, OwnGrid):
        for factory in function.code:
            out.print(f"{grid} calls {factory}", markup=False, soft_wrap=True)
    if isinstance(data, Data):
        found = known_data(data)
    else:
        options = options.model_copy(update={"channels": options.channels or _channels(protocol)})
        found = find(data, options=options, image_size=protocol.spec.image_size)
    if groups:
        found = found.grouped(groups)
    for asked in settings.classes:
        known("class", asked, [*found.about.classes, *found.about.groups])
    # What cannot be built is refused before images are read, or anything is written.
    arms_for(function, name, fitted(protocol, found.about), found.about)
    data = found.read(silent if out is None else reading_shown(out))
    prepared = PreparedStudy(function, name, protocol, data, settings, paths, None, Machine.this(), Path(results))
    prepared.check()  # too few images, too, are refused before anything is written
    store = None
    if not settings.dry_run:
        store = Store.open(Path(results), data=data.fingerprint, data_description=data.describe())
    elif _is_begun(Path(results)):
        store = Store.reading(Path(results), data=data.fingerprint, data_description=data.describe())
    return replace(prepared, store=store)


def _channels(protocol: Protocol) -> int | None:
    """Channels of the network where they were given; None where they follow the data."""
    own = PROTOCOLS[protocol.name].spec.in_channels if protocol.name in PROTOCOLS else 3
    return protocol.spec.in_channels if protocol.spec.in_channels != own else None


def _is_begun(results: Path) -> bool:
    """Whether there is something in the results folder, which nothing is written to.

    Raises: UserError: it could not be made, so that the study could not be run.
    """
    try:
        if results.is_dir():
            return any(results.iterdir())
        existing = next(folder for folder in (results, *results.absolute().parents) if os.path.lexists(folder))
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise NotADirectoryError(errno.ENOTDIR, f"{existing} is no folder that can be written", str(existing))
    except OSError as error:
        raise UserError(f"cannot write to the results folder {results}: {error.strerror}") from error
    return False


def run_study(
    grid: str | Path | Grid,
    protocol: str | Protocol | None = None,
    *,
    data: str | Path | Data = "auto",
    options: DataOptions = AS_THEY_ARE,
    groups: Mapping[str, Sequence[str]] | None = None,
    results: str | Path = "results",
    settings: Settings | None = None,
    measures: Measures | None = None,
) -> "Outcome":
    """Trains what is missing of a study; prints what it is about and how it goes: live on a terminal, else a line a cell.

    The arguments are those of `prepare_study`, and what the trained networks are asked afterwards, such as
    `analysis.measures.all_measures`.

    Raises: UserError: what is wrong, in one sentence.
    """
    out = _console()
    prepared = prepare_study(
        grid, protocol, data=data, options=options, groups=groups, results=results, settings=settings, out=out
    )
    outcome = prepared.run(out)
    if measures is not None and not outcome.interrupted:
        prepared.measure(outcome, measures, out)
    return outcome


def find_grid(grid: str | Path | Grid, settings: Settings | None = None) -> tuple[Grid, str]:
    """The grid and what it is called.

    Raises: UserError: there is no such grid, its file is wrong, or the settings are another grid's.
    """
    if settings is not None and (settings.network or settings.weights):
        if grid != transfer_of().__name__:
            raise UserError(
                "--network and --weights are for --grid transfer; in a file, give them to its arms or baseline"
            )
        if settings.weights and not settings.network:
            raise UserError(f"--weights {settings.weights}: give --network, too, whose weights they are")
        return transfer_of(settings.network, settings.weights), str(grid)
    if not isinstance(grid, str | Path):
        name = getattr(grid, "__name__", type(grid).__name__)
        return grid_of(grid, name), name
    if is_grid_file(str(grid)):
        return load_grid(Path(grid)), Path(grid).stem
    return GRIDS[known("grid", str(grid), list(GRIDS))], str(grid)


def _console() -> Console:
    """Where a study that Python code runs prints, a notebook's cell too."""
    return Console(highlight=False, emoji=False, force_jupyter=False)


def search_paths(grid: str | Path | Grid) -> tuple[str, ...]:
    """Where networks of the user's own are looked for: beside the grid's file, or the script that calls with a function, and
    in the current folder.
    """
    is_file = isinstance(grid, str | Path) and is_grid_file(str(grid))
    script = getattr(sys.modules["__main__"], "__file__", None) if callable(grid) else None
    beside = os.fspath(grid) if is_file else script  # type: ignore[arg-type]
    folders = [*([Path(os.path.realpath(beside)).parent] if beside else []), Path.cwd()]
    return tuple(dict.fromkeys(str(folder) for folder in folders))
