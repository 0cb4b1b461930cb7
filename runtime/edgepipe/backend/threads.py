"""How many threads this process may use: affinity, cgroup quota and physical cores, never all cores of the host."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@cache
def available_threads() -> int:
    """Physical cores among the processors this process may run on, bounded by its cgroups' processor quota.

    Two hyper-threads of one core count as one, as in onnxruntime's own default: a second thread on the same
    arithmetic units makes matrix products slower. A quota of 1.5 processors gives 1 thread; at least 1 comes back.
    """
    cores = _physical_cores(_processors())
    quota = cgroup_quota(_CGROUP, _MEMBERSHIP)
    return max(1, cores if quota is None else min(cores, int(quota)))


def _processors() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _physical_cores(processors: set[int]) -> int:
    cores = set()
    for processor in processors:
        try:
            cores.add(Path(_TOPOLOGY.format(processor)).read_text().strip())
        except OSError:  # not Linux, or a sandbox that hides the topology: each processor is its own core
            cores.add(str(processor))
    return len(cores)


def cgroup_quota(root: Path, membership: Path) -> float | None:
    """The smallest processor quota of the process's cgroup and its ancestors; None where there is no limit.

    Source: the kernel's documentation of ``cpu.max`` (cgroup v2) and ``cpu.cfs_quota_us`` (v1). Inside a container
    the cgroup may be mounted as the root, so the root is read as well as the path that the process sees.

    Args:
        root: Where cgroups are mounted.
        membership: ``/proc/self/cgroup``, lines of ``id:controllers:path``.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        return None
    quotas = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers == "":
            quotas += [_read_quota(folder, "cpu.max") for folder in _ancestors(root, path)]
        elif "cpu" in controllers.split(","):
            mount = next((root / name for name in (controllers, "cpu") if (root / name).is_dir()), root)
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quotas += [_read_quota(folder, *names) for folder in _ancestors(mount, path)]
    found = [quota for quota in quotas if quota is not None]
    return min(found) if found else None


def _ancestors(mount: Path, path: str) -> list[Path]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]


def _read_quota(folder: Path, *names: str) -> float | None:
    """Processors a cgroup may use, from files that hold a quota and a period; ``max`` or -1 is no limit."""
    try:
        quota, period = " ".join((folder / name).read_text() for name in names).split()
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None
    except (OSError, ValueError):  # "max" is no number
        return None
