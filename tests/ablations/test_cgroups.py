"""Limits of control groups, from folders as Linux lays them out."""

import pytest

from ablations import cgroups, resources
from ablations.cgroups import core_limit, memory_limit

GIB = 2**30


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """Lays out groups: what /proc/self/cgroup says, and the files below /sys/fs/cgroup."""

    def lay_out(membership: str, files: dict[str, object]) -> None:
        (tmp_path / "membership").write_text(membership)
        for name, content in files.items():
            file = tmp_path / "cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{content}\n")
        monkeypatch.setattr(cgroups, "MOUNT", tmp_path / "cgroup")
        monkeypatch.setattr(cgroups, "MEMBERSHIP", tmp_path / "membership")

    return lay_out


@pytest.mark.parametrize(
    ("membership", "files", "cores", "memory"),
    [
        ("0::/\n", {"cpu.max": "150000 100000", "memory.max": 2 * GIB}, 1.5, 2 * GIB),
        ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        ("0::/a/b\n", {"cpu.max": "max 100000", "a/cpu.max": "200000 100000", "a/b/cpu.max": "400000 100000"}, 2, None),
        ("0::/a/b\n", {"a/memory.max": 3 * GIB, "a/b/memory.max": 5 * GIB, "memory.max": "max"}, None, 3 * GIB),
        ("0::/not/seen/here\n", {"memory.max": GIB, "cpu.max": "50000 100000"}, 0.5, GIB),
        ("0::/../beside\n", {"memory.max": GIB}, None, GIB),
        (
            "4:memory:/a\n2:cpu,cpuacct:/a\n0::/\n",
            {
                "memory/memory.limit_in_bytes": 2**63 - 4096, "memory/a/memory.limit_in_bytes": GIB,
                "cpu,cpuacct/cpu.cfs_quota_us": -1, "cpu,cpuacct/a/cpu.cfs_quota_us": 300_000,
                "cpu,cpuacct/a/cpu.cfs_period_us": 100_000,
            },
            3, GIB,
        ),
        (
            "3:cpuacct,cpu:/docker/x\n",
            {"cpu/cpu.cfs_quota_us": 100_000, "cpu/cpu.cfs_period_us": 50_000, "memory/memory.limit_in_bytes": GIB},
            2, GIB,
        ),
        ("", {}, None, None),
        ("", {"memory.max": "garbage", "cpu.max": "1"}, None, None),
    ],
)  # fmt: skip
def test_the_smallest_limit_up_the_tree_counts(linux, membership, files, cores, memory):
    linux(membership, files)
    assert core_limit() == cores
    assert memory_limit() == memory


def test_a_machine_is_what_its_container_leaves_of_it(linux, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(16)), raising=False)
    for quota, cores in (("150000", 2), ("400000", 4), ("10000", 1), ("6400000", 16), ("max", 16)):
        linux("0::/job\n", {"job/cpu.max": f"{quota} 100000", "job/memory.max": GIB // 2})
        assert resources.machine_cores() == cores
        assert resources.machine_memory() == GIB // 2


def test_without_control_groups_the_machine_is_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "MEMBERSHIP", tmp_path / "nowhere")
    monkeypatch.setattr(cgroups, "MOUNT", tmp_path / "nowhere")
    assert core_limit() is None
    assert memory_limit() is None
    assert resources.machine_cores() >= 1
