"""What a process holds, read from ``/proc``: memory, threads and open files; and whether memory grows with the work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Samples at the beginning that do not count: arenas and caches fill.
WARM_UP = 0.2
# What memory may grow by from the first fifth after the warm-up to the last fifth. Flat memory moves by some MB
# too: the allocator gives pages back when it likes.
BOUND_MB = 8.0


@dataclass(frozen=True)
class ProcessState:
    """A sample.

    Attributes:
        done: Calls or cycles that were done.
        resident: Bytes of memory.
        threads: How many.
        files: Open descriptors.
    """

    done: int
    resident: int
    threads: int
    files: int


def sample(done: int) -> ProcessState:
    """This process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE")
    return ProcessState(done, resident, len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")))


def growth(samples: Sequence[ProcessState]) -> float:
    """By how many MB memory grew after the warm-up: the median of the last fifth less that of the first fifth."""
    counted = samples[int(len(samples) * WARM_UP) :]
    fifth = max(1, len(counted) // 5)
    first, last = (
        sorted(each.resident for each in part)[len(part) // 2] for part in (counted[:fifth], counted[-fifth:])
    )
    return (last - first) / 1e6


def find_growth(samples: Sequence[ProcessState]) -> list[str]:
    """What grew."""
    counted = samples[int(len(samples) * WARM_UP) :]
    wrong = []
    if (grew := growth(samples)) > BOUND_MB:
        wrong.append(f"memory grew by {grew:.1f} MB, and may by {BOUND_MB:.0f}")
    for what in ("threads", "files"):
        first, last = getattr(counted[0], what), getattr(counted[-1], what)
        if last > first:
            wrong.append(f"{what}: {first} after the warm-up, {last} at the end")
    return wrong


def describe(samples: Sequence[ProcessState]) -> str:
    """One line."""
    first, last = samples[int(len(samples) * WARM_UP)], samples[-1]
    return (
        f"memory {first.resident / 1e6:.1f} MB after the warm-up, {last.resident / 1e6:.1f} MB at the end (growth "
        f"{growth(samples):+.1f} MB), threads {first.threads} and {last.threads}, open files {first.files} and "
        f"{last.files}"
    )
