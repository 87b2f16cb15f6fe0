"""The same facts on the CPU, where they always run, and on a GPU: `pytest -m gpu`, skipped where there is none."""

import pytest
import torch

from ablations.cell import Cell, SplitSizes
from ablations.plan import PlannedCell
from ablations.protocols import PROTOCOLS
from cnnkit.data import Data

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(autouse=True)
def _a_gpu_where_one_is_needed(request: pytest.FixtureRequest):
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, _a_gpu_where_one_is_needed: None) -> torch.device:
    """The CPU, and a GPU."""
    return torch.device(request.param)


@pytest.fixture
def planned_cell(tiny: Data) -> PlannedCell:
    """The baseline of the smoke protocol, seed 0."""
    arm = PROTOCOLS["smoke"].baseline()
    sizes = SplitSizes(train=len(tiny.train), validation=len(tiny.validation), test=len(tiny.test))
    return PlannedCell(arm, Cell.of(arm, data=tiny.fingerprint, split=sizes, seed=0))
