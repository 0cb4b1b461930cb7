"""How many threads a process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgepipe.backend.threads import _physical_cores, available_threads, count_processors, threads_of_worker
from tests.runtime.backend.test_cgroups import lay_out
from tests.runtime.processes import run_python


def test_a_processor_without_topology_is_a_core() -> None:
    unknown = {10**6, 10**6 + 1}
    assert _physical_cores(unknown) == 2


def test_between_one_and_what_the_process_may_use() -> None:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert 1 <= available_threads() <= allowed
    found = count_processors()
    assert (found.allowed, found.threads) == (allowed, available_threads())
    assert 1 <= found.cores <= found.allowed


def test_workers_share_the_threads() -> None:
    assert threads_of_worker(1) == available_threads()
    assert [threads_of_worker(available_threads() * times) for times in (1, 2, 9)] == [1, 1, 1]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no processor affinity")
def test_affinity_bounds_the_threads() -> None:
    program = """
        import os
        from edgepipe.backend.threads import available_threads
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        print(available_threads())
    """
    assert run_python(program) == "1\n"


@pytest.mark.parametrize(("processors", "limit"), [("50000", 1), ("150000", 1), ("10000000", None)])
def test_the_quota_bounds_the_threads(tmp_path: Path, processors: str, limit: int | None) -> None:
    lay_out(tmp_path, {"cgroup/cpu.max": f"{processors} 100000", "self": "0::/\n"})
    program = """
        import sys
        from functools import partial
        from pathlib import Path
        from edgepipe.backend import threads
        own = Path(sys.argv[1], "cgroup"), Path(sys.argv[1], "self")
        threads.cgroup_quota = partial(threads.cgroup_quota, *own)
        print(threads.available_threads(), threads._physical_cores(threads._processors()))
    """
    found, cores = map(int, run_python(program, str(tmp_path)).split())
    assert found == (cores if limit is None else limit)
