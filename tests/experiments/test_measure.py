"""`experiments/measure.py` on a study that was trained here."""

import importlib.util
import sys
from pathlib import Path

import pytest

from ablations.arm import Arm
from ablations.job import Job
from ablations.plan import Plan, make_plan
from ablations.protocols import PROTOCOLS
from ablations.store import Store
from ablations.trial import result_of
from cnnkit.errors import UserError
from cnnkit.recipe import Recipe

SCRIPT = Path(__file__).parents[2] / "experiments" / "measure.py"
SMALL = PROTOCOLS["smoke"].vary(
    spec=PROTOCOLS["smoke"].spec.vary(image_size=32, widths=(4, 8), hidden_width=0), recipe=Recipe(epochs=1)
)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("script_measure", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    # tyro looks the class of the arguments up by its module
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


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
