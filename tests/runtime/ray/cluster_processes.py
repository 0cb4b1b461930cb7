"""Processes of a Ray cluster in tests: which they are, and their end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def join(cluster: Any) -> Iterator[None]:
    """Join a cluster, and leave it whatever happens: the next tests join it, too."""
    import ray

    ray.init(address=cluster.address, log_to_driver=False)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
    finally:
        ray.shutdown()


def find_actors(word: str) -> list[int]:
    """The processes of living actors with a word in their class's name, on the cluster that this process has joined."""
    from ray._private.state import actors

    found: dict[str, Any] = actors()
    return sorted(each["Pid"] for each in found.values() if each["State"] == "ALIVE" and word in each["ActorClassName"])


def find_nodes(word: str) -> set[str]:
    """The nodes of those actors."""
    from ray._private.state import actors

    found: dict[str, Any] = actors()
    return {each["Address"]["NodeID"] for each in found.values() if word in each["ActorClassName"]}


def kill(process: int) -> None:
    """End a process as a machine does that has no memory left."""
    os.kill(process, signal.SIGKILL)


def is_running(process: int) -> bool:
    """Whether a process still does something; one that ended and was not waited for does nothing."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    """Return when something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so within {seconds:g} seconds"
        time.sleep(0.05)
