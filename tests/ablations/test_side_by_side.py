"""Measures through Ray: what they find, what goes wrong, and what a person sees."""

import io
import os
import re
import shutil
import signal

import numpy as np
import pytest
from rich.console import Console

from ablations.arm import Arm
from ablations.job import Job
from ablations.measure_store import MeasureStore
from ablations.plan import make_plan
from ablations.protocols import PROTOCOLS
from ablations.resources import Machine
from ablations.side_by_side import Where, take_measures
from ablations.store import Store
from ablations.trial import result_of
from analysis.measures import Images, ready
from analysis.stimuli import read_stimuli
from cnnkit.recipe import Recipe

SMALL = PROTOCOLS["smoke"].vary(
    spec=PROTOCOLS["smoke"].spec.vary(image_size=32, widths=(4, 8), hidden_width=0), recipe=Recipe(epochs=1)
)
CELLS = [("baseline", 0), ("3 blocks", 0), ("baseline", 1), ("3 blocks", 1)]


def grid(baseline: Arm) -> list[Arm]:
    """Does a third block matter?"""
    return [baseline, baseline.variant("3 blocks", {"blocks": 3}, widths=(4, 8, 8))]


class Study:
    """A results folder with one study, of which the cells are all trained."""

    def __init__(self, root) -> None:
        self.store = Store(root)
        self.name = self.store.studies()[0]
        self.manifest = self.store.study(self.name)

    def record(self, arm, seed):
        return self.store.read(next(c.key for c in self.manifest.cells if (c.arm, c.seed) == (arm, seed)))

    def found(self, name):
        kept = MeasureStore(self.store)
        return {cell: kept.read(self.record(*cell), name) for cell in CELLS}

    def measure(self, measures, out=None, **how):
        out = out or Console(file=io.StringIO(), width=200)
        where = Where(Machine(cores=2, memory=4 * 2**30))
        return take_measures(self.store, self.manifest, measures, where, out, **how)


@pytest.fixture(scope="module")
def root(tmp_path_factory, sample):
    data = sample.subset(train=100, validation=50, test=50)
    root = tmp_path_factory.mktemp("side") / "results"
    store = Store.open(root, data=data.fingerprint, data_description=data.describe())
    plan = make_plan(grid, "g", SMALL, data, store, seeds=range(2), arguments=[], now="2026-01-01")
    store.write_study(plan.study)
    for planned in plan.cells:
        store.write(result_of(Job(cell=planned.cell, arm=planned.arm.name, protocol="smoke"), plan.data))
    return root


@pytest.fixture
def study(root, tmp_path):
    return Study(shutil.copytree(root, tmp_path / "results"))


@pytest.fixture(scope="module")
def measures(sample):
    images = Images(sample.test.images[:100], sample.test.labels[:100], sample.description.classes, sample.fingerprint)
    return ready(["shape_bias", "reliance", "attention"], read_stimuli(), images)


def test_what_is_found_through_ray_is_what_is_found_here_to_the_last_bit(study, root, tmp_path, measures):
    here = Study(shutil.copytree(root, tmp_path / "here"))
    assert here.measure(measures).measured == 4
    result = study.measure(measures, always_ray=True)
    assert (result.measured, result.lacking, result.interrupted) == (4, [], False)
    for measure in measures:
        one, other = study.found(measure.name), here.found(measure.name)
        for cell in CELLS:
            assert one[cell].keys() == other[cell].keys()
            assert all(np.array_equal(one[cell][name], other[cell][name]) for name in one[cell])
    assert study.measure(measures, always_ray=True).before == 4


@pytest.mark.slow  # Ray is started, and starts four processes anew
def test_a_process_that_dies_costs_its_own_cell_alone(study):
    class Deadly:
        name = "deadly-1"

        def __call__(self, network):
            if len(network.model.blocks) == 3:
                os._exit(1)
            return {"size": np.array([network.image_size])}

    result = study.measure([Deadly()], always_ray=True)
    assert result.measured == 2
    assert sorted(result.lacking) == [
        f"3 blocks, seed {seed}: its process died twice; memory may be short" for seed in (0, 1)
    ]
    assert [cell for cell, found in study.found("deadly-1").items() if found] == CELLS[::2]


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(study, measures):
    class Interrupting(Console):
        def print(self, *objects, **options):
            super().print(*objects, **options)
            if objects and str(objects[0]).startswith("[1/4]"):
                os.kill(os.getpid(), signal.SIGINT)

    out = Interrupting(file=io.StringIO(), width=200)
    result = study.measure(measures[:1], out, always_ray=True)
    assert result.interrupted
    assert 1 <= result.measured < 4
    assert "stopping: what is finished stays" in out.file.getvalue()
    again = study.measure(measures[:1])
    assert (again.before, again.measured, again.interrupted) == (result.measured, 4 - result.measured, False)


def test_one_measure_that_fails_costs_no_other_measure_of_the_cell(study, measures):
    class Failing:
        name = "failing-1"

        def __call__(self, network):
            if len(network.model.blocks) == 3:
                raise MemoryError
            raise ZeroDivisionError("by nought\nand so on")

    result = study.measure([Failing(), measures[0]])
    assert result.measured == 0
    assert [sentence for sentence in result.lacking if "seed 0" in sentence] == [
        "baseline, seed 0, failing: measuring failed with ZeroDivisionError: by nought",
        "3 blocks, seed 0, failing: out of memory; run experiments/measure.py where there is more",
    ]
    assert all(study.found(measures[0].name).values())


def test_pipes_get_a_line_a_cell_and_terminals_a_bar_with_the_time_left(study, measures):
    plain = Console(file=io.StringIO(), width=200)
    study.measure(measures[:1], plain)
    lines = plain.file.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"[{place}/4] {arm}, seed {seed}" for place, (arm, seed) in enumerate(CELLS, start=1)
    ]
    assert all("left" in line for line in lines[:-1])
    live = Console(file=io.StringIO(), width=200, force_terminal=True, force_interactive=True)
    study.measure(measures[1:2], live)
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", live.file.getvalue())
    assert "measuring" in drawn
    assert re.search(r"\[1/4\] baseline, seed 0: .* left", drawn)
