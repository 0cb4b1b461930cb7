"""What the process's control groups allow it: a container's share of the processors and of the memory.

Inside a container the cgroup may be mounted as the root, so the root is read as well as the path that the process sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")

# Version 1 says "no limit" by the largest number of pages.
_NO_LIMIT = 2**62


def cgroup_quota(root: Path = CGROUPS, membership: Path = MEMBERSHIP) -> float | None:
    """The smallest processor quota of the process's cgroup and its ancestors; None where there is no limit.

    Source: the kernel's documentation of ``cpu.max`` (cgroup v2) and ``cpu.cfs_quota_us`` (v1).

    Args:
        root: Where cgroups are mounted.
        membership: ``/proc/self/cgroup``, lines of ``id:controllers:path``.
    """
    names = {2: ("cpu.max",), 1: ("cpu.cfs_quota_us", "cpu.cfs_period_us")}
    quotas = [_read_quota(folder, *names[version]) for version, folder in _folders(root, membership, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def cgroup_memory(root: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int | None:
    """The smallest memory limit of the process's cgroup and its ancestors, in bytes; None where there is none.

    Source: the kernel's documentation of ``memory.max`` (cgroup v2) and ``memory.limit_in_bytes`` (v1).

    Args:
        root: Where cgroups are mounted.
        membership: ``/proc/self/cgroup``, lines of ``id:controllers:path``.
    """
    names = {2: "memory.max", 1: "memory.limit_in_bytes"}
    limits = [_read_limit(folder / names[version]) for version, folder in _folders(root, membership, "memory")]
    return min((limit for limit in limits if limit is not None), default=None)


def cgroup_memory_left(root: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int | None:
    """What the process's cgroups allow beside the private memory of all that is in them, in bytes; None without limit.

    Files in memory do not count: the kernel drops them where memory is short. Source: the kernel's documentation of
    ``memory.stat``: ``anon`` (cgroup v2) and ``total_rss`` (v1).

    Args:
        root: Where cgroups are mounted.
        membership: ``/proc/self/cgroup``, lines of ``id:controllers:path``.
    """
    names = {2: ("memory.max", "anon"), 1: ("memory.limit_in_bytes", "total_rss")}
    found = []
    for version, folder in _folders(root, membership, "memory"):
        limit_name, held_name = names[version]
        limit, held = _read_limit(folder / limit_name), _read_stat(folder / "memory.stat", held_name)
        if limit is not None and held is not None:
            found.append(max(0, limit - held))
    return min(found, default=None)


def _folders(root: Path, membership: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """The folders of the process's cgroups that may limit what the controller shares out, each with its version."""
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers == "":
            yield from ((2, folder) for folder in _ancestors(root, path))
        elif controller in controllers.split(","):
            mount = next((root / name for name in (controllers, controller) if (root / name).is_dir()), root)
            yield from ((1, folder) for folder in _ancestors(mount, path))


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


def _read_limit(file: Path) -> int | None:
    try:
        limit = int(file.read_text())
    except (OSError, ValueError):  # "max" is no number
        return None
    return limit if 0 < limit < _NO_LIMIT else None


def _read_stat(file: Path, name: str) -> int | None:
    """A number of a file of ``name number`` lines."""
    try:
        fields = (line.split() for line in file.read_text().splitlines())
        return next((int(words[1]) for words in fields if len(words) == 2 and words[0] == name), None)
    except (OSError, ValueError):
        return None
