"""How many threads this process may use: affinity, cgroup quota and physical cores, never all cores of the host."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgepipe.backend.cgroups import cgroup_quota

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@dataclass(frozen=True, slots=True)
class ProcessorCount:
    """The processors of this machine, and those this process may use.

    Attributes:
        machine: All of them, hyper-threads one by one; None where the system does not tell.
        allowed: Those that the process may run on.
        cores: Physical cores among these.
        quota: How many the process's cgroups give it; None where there is no limit.
    """

    machine: int | None
    allowed: int
    cores: int
    quota: float | None

    @property
    def threads(self) -> int:
        """How many threads one operator uses, unless told otherwise."""
        return max(1, self.cores if self.quota is None else min(self.cores, int(self.quota)))


def count_processors() -> ProcessorCount:
    """Count processors, cores and what the process may use of them."""
    allowed = _processors()
    return ProcessorCount(os.cpu_count(), len(allowed), _physical_cores(allowed), cgroup_quota())


@cache
def available_threads() -> int:
    """Physical cores among the processors this process may run on, bounded by its cgroups' processor quota.

    Two hyper-threads of one core count as one, as in onnxruntime's own default: a second thread on the same
    arithmetic units makes matrix products slower. A quota of 1.5 processors gives 1 thread; at least 1 comes back.
    """
    return count_processors().threads


def threads_of_worker(workers: int) -> int:
    """How many threads one operator uses, unless told otherwise, where so many runs go side by side."""
    return max(1, available_threads() // workers)


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
