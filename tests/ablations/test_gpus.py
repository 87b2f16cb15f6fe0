"""What a cluster offers, without one."""

from types import SimpleNamespace

import pytest

from ablations.gpus import cluster_machine
from ablations.grids import GRIDS
from ablations.plan import make_plan
from ablations.protocols import PROTOCOLS
from ablations.resources import GIB, cpu_plan
from ablations.study import Placing


@pytest.fixture
def small_workers(monkeypatch):
    """A cluster of three nodes of two cores and 4 GiB, which a large machine has joined that offers nothing."""
    workers = [{"Alive": True, "Resources": {"CPU": 2.0, "memory": 4.0 * GIB}} for _ in range(3)]
    dead = {"Alive": False, "Resources": {"CPU": 1.0, "memory": 1.0 * GIB}}
    driver = {"Alive": True, "Resources": {"memory": 512.0 * GIB}}
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 6.0}, nodes=lambda: [driver, *workers, dead])
    monkeypatch.setattr("ablations.gpus.ray", ray)


def test_a_driver_larger_than_its_clusters_workers_asks_for_no_more_than_a_worker_has(small_workers, sample):
    machine = cluster_machine()
    assert (machine.cores, machine.node_cores, machine.memory, machine.gpus) == (6, 2, 4 * GIB, 0)
    protocol = PROTOCOLS["documented"]
    plan = make_plan(
        GRIDS["depth"], "depth", protocol, sample, None, seeds=range(1), arguments=[], now="2026-01-01T00:00:00+00:00"
    )
    baseline = plan.baseline
    cpu = cpu_plan(baseline.spec, baseline.recipe, cores=machine.node_cores, memory=machine.memory)
    placing = Placing(machine, cpu, {})
    for planned in plan.cells:
        for alone in (False, True):
            (bundle,) = placing.request(planned, alone=alone).bundles
            assert bundle["CPU"] <= 2
            assert bundle["memory"] <= 4 * GIB
            placement = placing.placement(planned, alone=alone)
            assert placement.threads <= 2
