"""How many threads a process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgepipe.backend.threads import _physical_cores, available_threads, cgroup_quota
from tests.runtime.processes import run_python


def lay_out(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def quota(tmp_path: Path, membership: str, files: dict[str, str]) -> float | None:
    lay_out(tmp_path, {"self-cgroup": membership})
    return cgroup_quota(lay_out(tmp_path / "cgroup", files), tmp_path / "self-cgroup")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"a/b/cpu.max": "50000 100000\n"}, 0.5),
        ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n", "cpu.max": "max 100000\n"}, 3.0),
        ({"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0),
        ({"a/c/cpu.max": "1000 100000\n"}, None),
        ({"a/b/cpu.max": "nonsense"}, None),
        ({"a/b/cpu.max": ""}, None),
    ],
)
def test_cgroup_v2(tmp_path: Path, files: dict[str, str], expected: float | None) -> None:
    assert quota(tmp_path, "0::/a/b\n", files) == expected


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu", "cpuacct,cpu"])
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"docker/x/cpu.cfs_quota_us": "250000\n", "docker/x/cpu.cfs_period_us": "100000\n"}, 2.5),
        ({"cpu.cfs_quota_us": "100000\n", "cpu.cfs_period_us": "50000\n"}, 2.0),
        ({"docker/x/cpu.cfs_quota_us": "-1\n", "docker/x/cpu.cfs_period_us": "100000\n"}, None),
        ({"docker/x/cpu.cfs_quota_us": "250000\n"}, None),
        ({"other": "1"}, None),
    ],
)
def test_cgroup_v1(tmp_path: Path, mount: str, files: dict[str, str], expected: float | None) -> None:
    controllers = "cpu,cpuacct" if mount == "cpu" else mount
    membership = f"12:memory:/docker/x\n5:{controllers}:/docker/x\n4:cpuset:/elsewhere\n1:name=systemd:/docker/x\n"
    files = {f"{mount}/{name}": content for name, content in files.items()}
    assert quota(tmp_path, membership, files) == expected


def test_both_hierarchies_at_once(tmp_path: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000", "cpu.max": "200000 100000"}
    assert quota(tmp_path, "3:cpu:/\n0::/\n", files) == 2.0


def test_a_path_from_outside_of_the_namespace(tmp_path: Path) -> None:
    assert quota(tmp_path, "0::/../../pod/x\n", {"cpu.max": "100000 100000"}) == 1.0


@pytest.mark.parametrize("membership", ["", "garbage\n", "0:\n"])
def test_an_unreadable_membership(tmp_path: Path, membership: str) -> None:
    assert quota(tmp_path, membership, {"cpu.max": "100000 100000"}) is None
    assert cgroup_quota(tmp_path, tmp_path / "missing") is None


def test_a_processor_without_topology_is_a_core() -> None:
    unknown = {10**6, 10**6 + 1}
    assert _physical_cores(unknown) == 2


def test_between_one_and_what_the_process_may_use() -> None:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert 1 <= available_threads() <= allowed


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
        from pathlib import Path
        from edgepipe.backend import threads
        threads._CGROUP, threads._MEMBERSHIP = Path(sys.argv[1], "cgroup"), Path(sys.argv[1], "self")
        print(threads.available_threads(), threads._physical_cores(threads._processors()))
    """
    found, cores = map(int, run_python(program, str(tmp_path)).split())
    assert found == (cores if limit is None else limit)
