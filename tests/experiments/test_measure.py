"""`experiments/measure.py` on a study that was trained here."""

import importlib.util
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from ablations.arm import Arm
from ablations.job import Job
from ablations.plan import Plan, make_plan
from ablations.protocols import PROTOCOLS
from ablations.running import PreparedStudy
from ablations.store import Store
from ablations.trial import result_of
from analysis.stimuli import read_stimuli
from cnnkit.errors import UserError
from cnnkit.recipe import Recipe

SCRIPTS = Path(__file__).parents[2] / "experiments"
SMALL = PROTOCOLS["smoke"].vary(
    spec=PROTOCOLS["smoke"].spec.vary(image_size=32, widths=(4, 8), hidden_width=0), recipe=Recipe(epochs=1)
)


def loaded(name: str):
    """A script as a module; tyro looks the class of the arguments up by its module."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    yield loaded("measure")
    del sys.modules["script_measure"]


@pytest.fixture
def others():
    """The scripts `prune`, `status` and `run_ablation`."""
    names = ("prune", "status", "run_ablation")
    yield {name: loaded(name) for name in names}
    for name in names:
        del sys.modules[f"script_{name}"]


def grid(baseline: Arm) -> list[Arm]:
    """Does a third block matter?"""
    return [baseline, baseline.variant("3 blocks", {"blocks": 3}, widths=(4, 8, 8))]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, sample) -> Plan:
    data = sample.subset(train=100, validation=50, test=50)
    root = tmp_path_factory.mktemp("script") / "results"
    store = Store.open(root, data=data.fingerprint, data_description=data.describe())
    plan = make_plan(grid, "g", SMALL, data, store, seeds=range(2), arguments=[], now="2026-01-01")
    store.write_study(plan.study)
    for planned in plan.cells:
        job = Job(cell=planned.cell, arm=planned.arm.name, protocol="smoke", keep_weights=planned.cell.seed == 0)
        store.write(result_of(job, plan.data))
    return plan


def test_it_measures_what_is_missing_names_what_cannot_be_and_prints_a_table(script, trained, capsys):
    arguments = [str(trained.store.root), "--data", "sample", "--only", "shape_bias", "reliance", "--images", "100"]
    assert script.main(arguments) == 1
    first = capsys.readouterr().out
    assert "[1/4] baseline, seed 0" in first
    assert "not measured: baseline, seed 1 has no weights" in first
    assert "not measured: 3 blocks, seed 1 has no weights" in first
    assert "\nshape_bias\n" in first
    assert "patch shuffle 4x4" in first
    assert "\nshape_bias, choosing among all 10 classes\n" in first
    assert "\nshape_bias, stimuli not made as small as the data's images (32 pixels)\n" in first
    assert script.main(arguments) == 1
    again = capsys.readouterr().out
    assert "seed 0:" not in again  # nothing is measured twice
    assert again[again.index("\nshape_bias\n") :] == first[first.index("\nshape_bias\n") :]


def test_an_unknown_measure_or_other_data_is_one_sentence(script, trained, tmp_path):
    root = str(trained.store.root)
    with pytest.raises(UserError, match="no measure 'shape'"):
        script.main([root, "--data", "sample", "--only", "shape"])
    with pytest.raises(UserError, match="no folder of stimuli"):
        script.main([root, "--data", "sample", "--stimuli", str(tmp_path / "nowhere")])


def test_a_few_stimuli_of_ones_own_are_measured_and_have_no_table_in_one_sentence(script, trained, tmp_path, capsys):
    stimuli = read_stimuli()
    for place in np.flatnonzero(stimuli.conflict)[:4]:
        folder = tmp_path / "mine" / stimuli.table["shape"][place]
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.ascontiguousarray(np.moveaxis(stimuli.images[place], 0, -1)))
        image.save(folder / f"{stimuli.table['name'][place]}.png")
    (tmp_path / "mine" / "kitten.png").write_bytes(b"no picture")
    arguments = [str(trained.store.root), "--data", "sample", "--stimuli", str(tmp_path / "mine")]
    assert script.main([*arguments, "--only", "shape_bias", "attention"]) == 1
    said = capsys.readouterr().out
    assert "stimuli: 1 left out: not named like cat7-truck2.png (kitten.png); 1 left out: no silhouette" in said
    assert "attention not measured: the stimuli have no silhouettes" in said
    assert re.search(
        r"^shape_bias: 4 stimuli of \d and \d instances .* are too few for an interval$", said, re.MULTILINE
    )


def test_measures_are_listed_and_counted_and_their_weights_are_pruned_without_them(script, others, trained, capsys):
    root = str(trained.store.root)
    arguments = [root, "--data", "sample", "--only", "shape_bias", "--images", "100"]
    script.main(arguments)
    tables = capsys.readouterr().out.split("\nshape_bias\n")[1]
    script.main([root, "--list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["shape_bias", "reliance", "attention", "composites"]
    assert lines[0].endswith("(2 of 4 cells)")
    assert lines[2].endswith("(0 of 4 cells)")
    others["status"].main([root])
    assert re.search(r"^g-smoke.*: cells measured: .*shape_bias 2, of 4$", capsys.readouterr().out, re.MULTILINE)
    others["prune"].main([root])
    said = capsys.readouterr().out
    assert re.search(r"^measures of 2 cells stay \(.*B\)$", said, re.MULTILINE)
    assert "weights of 2 cells" in said
    script.main(arguments)
    after = capsys.readouterr().out
    assert after.split("\nshape_bias\n")[1] == tables  # what was found is there without the weights
    assert "seed 0 has no weights" not in after


def test_cells_that_would_lose_their_weights_before_they_are_measured_are_counted(others, trained, tmp_path, capsys):
    data = trained.data
    store = Store.open(tmp_path / "results", data=data.fingerprint, data_description=data.describe())
    for planned in trained.cells[:2]:
        store.write(result_of(Job(cell=planned.cell, arm=planned.arm.name, protocol="smoke"), data))
    others["prune"].main([str(store.root), "--dry-run"])
    said = capsys.readouterr().out
    assert said.startswith("2 cells have weights and no measures, which experiments/measure.py takes")


def test_studies_end_with_measures_unless_they_are_smoke_or_told_not_to(others):
    def asked(*arguments: str) -> bool:
        return others["run_ablation"].read_arguments(["--grid", "depth", *arguments])[0].measures

    assert asked("--protocol", "quick")
    assert asked("--protocol", "documented")
    assert not asked("--protocol", "quick", "--no-measures")
    assert not asked("--protocol", "smoke")
    assert asked("--protocol", "smoke", "--measures")


def test_a_study_whose_measures_cannot_be_taken_says_so_and_goes_on_to_its_report():
    class Prepared:
        def measure(self, *arguments):
            raise UserError("Ray does not start on this machine")

    out = Console(file=io.StringIO(), width=200)
    assert PreparedStudy.measure_if_possible(Prepared(), None, None, out) is False
    assert out.file.getvalue() == "not measured: Ray does not start on this machine\n"
