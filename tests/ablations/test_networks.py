"""A network that a study has trained, loaded again."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from ablations import load_network
from ablations.arm import Arm
from ablations.job import Job
from ablations.plan import Plan, make_plan
from ablations.protocols import PROTOCOLS
from ablations.store import Store
from ablations.trial import result_of
from cnnkit.errors import UserError
from cnnkit.evaluate import predict
from cnnkit.recipe import Recipe
from cnnkit.search_paths import add_search_paths

SMALL = PROTOCOLS["smoke"].vary(
    spec=PROTOCOLS["smoke"].spec.vary(image_size=32, widths=(4, 8), hidden_width=0), recipe=Recipe(epochs=1)
)
OWN = """
from torch import nn

def make(width):
    return nn.Sequential(nn.Conv2d(3, width, 3, stride=4), nn.BatchNorm2d(width), nn.Flatten(), nn.LazyLinear(10))
"""


def grid(baseline: Arm) -> list[Arm]:
    """Is it the dropout, or our own network?"""
    return [
        baseline,
        baseline.variant("no dropout", {"dropout": 0.0}, dropout=0.0),
        baseline.replaced("ours", {"network": "ours"}, "a_small_network:make", {"width": 4}),
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, sample) -> Plan:
    """A study of one seed, trained in this process."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "a_small_network.py").write_text(OWN)
    add_search_paths([str(folder)])
    data = sample.subset(train=100, validation=50, test=50)
    store = Store.open(folder / "results", data=data.fingerprint, data_description=data.describe())
    plan = make_plan(grid, "g", SMALL, data, store, seeds=range(1), arguments=[], now="2026-01-01")
    store.write_study(plan.study)
    for planned in plan.cells:
        store.write(result_of(Job(cell=planned.cell, arm=planned.arm.name, protocol="smoke"), plan.data))
    return plan


@pytest.mark.parametrize("arm", ["baseline", "no dropout", "ours"])
def test_a_loaded_network_computes_the_logits_of_its_record(trained, arm):
    network, entry = load_network(trained.store.root, trained.study.name, arm, seed=0)
    assert not network.training
    assert entry == next(entry for entry in trained.study.arms if entry.name == arm)
    key = next(cell.key for cell in trained.study.cells if cell.arm == arm)
    kept, _ = trained.store.logits(trained.store.read(key), "test")
    again = predict(network, torch.from_numpy(trained.data.test.images), image_size=32)
    np.testing.assert_allclose(again.numpy(), kept, atol=2e-5)


def test_what_cannot_be_loaded_is_one_sentence(trained, tmp_path):
    root, name = trained.store.root, trained.study.name
    for study, arm, seed, words in (
        ("h", "baseline", 0, f"has no study 'h'; it has {name}"),
        (name, "wide", 0, "has no arm 'wide'; it has baseline, no dropout, ours"),
        (name, "baseline", 7, "has no seed 7 of 'baseline'; it has 0"),
    ):
        with pytest.raises(UserError, match=words):
            load_network(root, study, arm, seed)
    with pytest.raises(UserError, match="not a results folder"):
        load_network(tmp_path, name, "baseline", 0)


def test_damaged_and_pruned_weights_are_not_loaded(trained, tmp_path):
    root = tmp_path / "results"
    shutil.copytree(trained.store.root, root)
    key = next(cell.key for cell in trained.study.cells if cell.arm == "baseline")
    file = root / "cells" / key / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="altered since it was written; run the study's command again"):
        load_network(root, trained.study.name, "baseline", 0)
    file.unlink()
    with pytest.raises(UserError, match="has no weights"):
        load_network(root, trained.study.name, "baseline", 0)


def test_code_that_has_changed_since_is_said(trained):
    source = trained.store.root.parent / "a_small_network.py"
    source.write_text(OWN + "\nCHANGED = True\n")
    with pytest.warns(UserWarning, match="a_small_network:make is not the code that arm 'ours' was trained with"):
        load_network(trained.store.root, trained.study.name, "ours", 0)
    source.write_text(OWN)
    load_network(trained.store.root, trained.study.name, "ours", 0)


def test_importing_the_package_loads_no_torch():
    code = "import sys, ablations, ablations.store, ablations.claims; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
