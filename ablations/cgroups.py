"""What a container or a service may use of its machine: limits of Linux's control groups, versions 1 and 2.

A process is bound by its own group's limits and those of every group above it, so that the smallest counts. Elsewhere than
on Linux, and where nothing is limited, there is no limit to find.
Source: the kernel's documentation, admin-guide/cgroup-v2 and cgroup-v1/memory, scheduler/sched-bwc.
"""

from collections.abc import Iterator
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def memory_limit() -> int | None:
    """The largest memory that this process may use, in bytes; None where there is no limit."""
    limits = [_number(group / name) for group, name in _files("memory", "memory.max", "memory.limit_in_bytes")]
    return min((int(limit) for limit in limits if limit is not None), default=None)


def core_limit() -> float | None:
    """The processor time that this process may use, in cores (1.5: three halves of a second in a second); None where
    there is no limit.
    """
    cores = []
    for group, name in _files("cpu", "cpu.max", "cpu.cfs_quota_us"):
        if name == "cpu.max":
            quota, period = _number(group / name), _number(group / name, place=1)
        else:
            quota, period = _number(group / name), _number(group / "cpu.cfs_period_us")
        if quota is not None and period:
            cores.append(quota / period)
    return min(cores, default=None)


def _files(controller: str, second: str, first: str) -> Iterator[tuple[Path, str]]:
    """The groups that limit this process, from its own up, each with the name of its file in version 2 or 1."""
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    # In a container the paths may be the machine's, of which the container sees the lowest group as its root.
    for line in [*lines, "0::/", f"1:{controller}:/"]:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = MOUNT, second
        elif controller in controllers.split(","):
            root, name = next((r for r in (MOUNT / controllers, MOUNT / controller) if r.is_dir()), MOUNT), first
        else:
            continue
        own = root / path.lstrip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(root):
                yield group, name


def _number(file: Path, place: int = 0) -> float | None:
    """A positive number in `file`; None where it says `max` or -1, or is not there."""
    try:
        number = float(file.read_text(encoding="ascii").split()[place])
    except (OSError, ValueError, IndexError):
        return None
    return number if number > 0 else None
