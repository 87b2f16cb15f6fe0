"""Several arms on one card through Ray: each within its share, and one that takes too much harms nobody."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from ablations.arm import Arm
from ablations.job import Job, Placement
from ablations.plan import make_plan
from ablations.protocols import PROTOCOLS, Split
from ablations.resources import GIB, Machine, memory_cap
from ablations.store import Store
from ablations.study import Options, run
from ablations.trial import result_of
from cnnkit import BASELINE, Recipe
from cnnkit.search_paths import add_search_paths

HERE = str(Path(__file__).parent)
ON_A_GPU = PROTOCOLS["quick"].vary(recipe=Recipe(epochs=20), split=Split(train=4000, validation=500, test=1000))
ON_THE_CPU = PROTOCOLS["smoke"].vary(
    spec=BASELINE.vary(image_size=64, hidden_width=16, widths=(8, 16)),
    recipe=Recipe(epochs=2),
    split=Split(train=200, validation=100, test=100),
)


def three_and_a_greedy_one(baseline: Arm) -> list[Arm]:
    """Does one arm's need of memory harm the others?"""
    small = [baseline.variant(f"dropout {p}", {"dropout": p}, dropout=p) for p in (0.0, 0.2)]
    return [baseline, baseline.replaced("greedy", {"dropout": "greedy"}, "greedy_network:greedy"), *small]


class Recorder:
    """A display that keeps the lines that it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def update(self, tally):
        pass

    def line(self, text):
        self.lines.append(text)


@pytest.mark.parametrize(
    "where", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)]
)
def test_four_arms_share_a_card_and_the_greedy_one_harms_nobody(where, sample, tmp_path):
    add_search_paths([HERE])
    on_gpu = where == "cuda"
    machine = Machine.this() if on_gpu else Machine(cores=4, memory=16 * GIB)
    store = Store.open(tmp_path / "results", data=sample.fingerprint, data_description="sample")
    plan = make_plan(
        three_and_a_greedy_one, "sharing", ON_A_GPU if on_gpu else ON_THE_CPU, sample, store,
        seeds=range(1), arguments=[], now="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    display = Recorder()
    outcome = run(plan, Options(machine, gpu_fraction=0.25 if on_gpu else None, search_paths=(HERE,)), display)
    print("\n".join(display.lines))
    others = [planned for planned in plan.cells if planned.arm.name != "greedy"]
    (greedy,) = [planned for planned in plan.cells if planned.arm.name == "greedy"]
    assert any("greedy" in line and "it is tried once more, alone" in line for line in display.lines)
    assert {planned.name for planned in others} <= {planned.name for planned in outcome.finished}
    records = [store.read(planned.cell.key) for planned in others]
    placement = Placement(device_type=where, threads=records[0].provenance.threads)
    job = Job(cell=others[0].cell, arm=others[0].arm.name, protocol=plan.study.protocol, placement=placement)
    assert np.array_equal(result_of(job, plan.data).test_logits, store.logits(records[0], "test")[0])
    if not on_gpu:
        assert [failure.arm for failure in outcome.failures] == ["greedy"]
        return
    cap = memory_cap(0.25, machine.gpu_memory) * machine.gpu_memory
    for record in records:
        assert record.provenance.gpu_share == 0.25
        assert record.provenance.device_type == "cuda"
        assert record.peak_memory <= cap
    spans = [
        (datetime.fromisoformat(record.provenance.started), datetime.fromisoformat(record.provenance.finished))
        for record in records
    ]
    assert max(start for start, _ in spans) <= min(end for _, end in spans), "they ran side by side"
    alone = store.read(greedy.cell.key)
    assert alone.provenance.gpu_share == 1.0
    assert alone.peak_memory > cap
    assert torch.cuda.mem_get_info()[0] > 0.9 * machine.gpu_memory, "nobody keeps memory when the study is over"
