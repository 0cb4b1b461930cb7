"""What control groups allow, read from files as the kernel lays them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepipe.backend.cgroups import cgroup_memory, cgroup_memory_left, cgroup_quota


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


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/a/b\n", {}, None),
        ("0::/a/b\n", {"a/memory.max": "max\n"}, None),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "2147483648\n"}, 2**31),
        ("0::/a/b\n", {"a/b/memory.max": "1000\n", "memory.max": "2000\n"}, 1000),
        ("0::/\n", {"memory.max": "nonsense"}, None),
        ("9:memory:/docker/x\n", {"memory/docker/x/memory.limit_in_bytes": "536870912\n"}, 2**29),
        ("9:memory:/docker/x\n", {"memory/docker/x/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("9:cpu:/docker/x\n", {"memory/docker/x/memory.limit_in_bytes": "536870912\n"}, None),
    ],
)
def test_the_memory_s_limit(tmp_path: Path, membership: str, files: dict[str, str], expected: int | None) -> None:
    lay_out(tmp_path, {"self-cgroup": membership})
    assert cgroup_memory(lay_out(tmp_path / "cgroup", files), tmp_path / "self-cgroup") == expected


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/a\n", {"a/memory.max": "1000\n", "a/memory.stat": "file 900\nanon 300\n"}, 700),
        ("0::/a\n", {"a/memory.max": "1000\n", "a/memory.stat": "anon 3000\n"}, 0),
        ("0::/a\n", {"a/memory.max": "max\n", "a/memory.stat": "anon 300\n"}, None),
        ("0::/a\n", {"a/memory.max": "1000\n"}, None),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9\n", "memory/a/memory.stat": "total_rss 4\n"}, 5),
    ],
    ids=["files-do-not-count", "more-than-allowed", "no-limit", "not-told", "version-1"],
)
def test_what_is_left_of_a_memory_limit(
    tmp_path: Path, membership: str, files: dict[str, str], expected: int | None
) -> None:
    lay_out(tmp_path, {"self-cgroup": membership})
    assert cgroup_memory_left(lay_out(tmp_path / "cgroup", files), tmp_path / "self-cgroup") == expected
