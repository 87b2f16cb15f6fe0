"""Memory: what a probe says a trial needs, what the trial then takes, and what it may take at most."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from ablations.grids import GRIDS, arms_of
from ablations.protocols import PROTOCOLS
from ablations.resources import CONTEXT_BYTES, GIB, CpuPlan, Machine, memory_cap
from ablations.study import Placing

IN_A_FRESH_PROCESS = """
import json, sys
from ablations.grids import GRIDS, arms_of
from ablations.protocols import PROTOCOLS
arms = [arm for arm in arms_of(GRIDS["depth"], PROTOCOLS["documented"].baseline()) if arm.name in sys.argv[2:]]
if sys.argv[1] == "probe":
    from ablations.gpus import probe_bytes
    print(json.dumps({arm.name: probe_bytes(arm.spec, arm.recipe) for arm in arms}))
else:
    from ablations.cell import Cell, SplitSizes
    from ablations.job import Job, Placement
    from ablations.trial import result_of
    from cnnkit import load
    data = load("sample").subset(train=1000)
    sizes = SplitSizes(train=1000, validation=len(data.validation), test=len(data.test))
    for arm in arms:
        cell = Cell.of(arm.model_copy(update={"recipe": arm.recipe.vary(epochs=1)}), data=data.fingerprint, split=sizes, seed=0)
        job = Job(cell=cell, arm=arm.name, protocol="documented", placement=Placement(device_type="cuda"), keep_weights=False)
        images = sum(part.images.nbytes for part in (data.train, data.validation, data.test))
        print(json.dumps({arm.name: result_of(job, data).peak_memory - images}))
"""


def bytes_of(what: str, *arms: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, what, *arms],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read(process: subprocess.Popen[str]) -> dict[str, int]:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return json.loads(out.splitlines()[-1])


@pytest.mark.gpu
def test_a_probe_says_within_a_fifth_what_a_trial_then_reserves():
    # The smallest, the baseline and the largest of the grid, the largest first: each is measured as if it were alone.
    by_need = ("2 blocks", "4 blocks", "6 blocks")
    assert set(by_need) <= {arm.name for arm in arms_of(GRIDS["depth"], PROTOCOLS["documented"].baseline())}
    probe = bytes_of("probe", *by_need)
    trials = [bytes_of("trial", name) for name in by_need]
    probed, taken = read(probe), {name: need for trial in trials for name, need in read(trial).items()}
    print({name: (probed[name] / GIB, taken[name] / GIB) for name in by_need})
    for name in by_need:
        assert probed[name] == pytest.approx(taken[name], rel=0.2), name


@pytest.mark.gpu
def test_a_small_network_is_probed_as_small_after_a_large_one():
    from ablations.gpus import probe_bytes
    from cnnkit import BASELINE, Recipe

    small = BASELINE.vary(image_size=32)
    alone = probe_bytes(small, Recipe())
    assert probe_bytes(BASELINE, Recipe()) > 2 * alone
    assert probe_bytes(small, Recipe()) == pytest.approx(alone, rel=0.2)


@pytest.mark.gpu
def test_the_cap_of_a_share_is_a_limit():
    code = f"""
import torch
from ablations.job import Placement
from ablations.trial import _prepare_device
total = torch.cuda.get_device_properties(0).total_memory
_prepare_device(Placement(device_type="cuda", memory_cap={memory_cap(0.2, 80 * GIB)}))
torch.empty(total // 8, dtype=torch.uint8, device="cuda")
try:
    torch.empty(total // 4, dtype=torch.uint8, device="cuda")
except torch.OutOfMemoryError:
    print("refused")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["refused"], run.stderr


def test_a_cell_that_runs_alone_may_use_the_whole_gpu(planned_cell):
    machine = Machine(cores=16, memory=64 * GIB, gpus=1, gpu_memory=80 * GIB, gpu_name="a card")
    placing = Placing(machine, CpuPlan(1, 16), {planned_cell.arm.name: 0.25})
    beside, alone = (placing.placement(planned_cell, alone=alone) for alone in (False, True))
    assert beside.memory_cap == pytest.approx(0.25 - CONTEXT_BYTES / machine.gpu_memory)
    assert alone.memory_cap == pytest.approx(1 - CONTEXT_BYTES / machine.gpu_memory)
    assert (alone.gpu_share, alone.trials_at_once) == (1.0, 1)


def test_images_are_copied_to_a_device_once(device, tiny):
    from cnnkit import ConvNetSpec, Recipe, build
    from cnnkit.train import Training

    spec = ConvNetSpec(image_size=32, widths=(8, 16), hidden_width=16)
    run = Training(build(spec), Recipe(epochs=1), tiny, image_size=32, seed=0, device=device)
    where = run.images.images.data_ptr()
    for _ in run.run():
        assert run.images.images.data_ptr() == where
    assert run.images.images.device.type == device.type
    assert np.array_equal(run.images.images.cpu().numpy(), tiny.train.images)
    if device.type == "cuda":
        assert torch.cuda.max_memory_reserved() >= tiny.train.images.nbytes
