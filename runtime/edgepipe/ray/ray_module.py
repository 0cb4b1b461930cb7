"""Ray itself, which is imported when it is needed and not before: that takes a second."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from edgepipe.errors import DependencyError


def load_ray(part: str = "") -> Any:
    """Ray, or a part of it.

    Args:
        part: ``"data"``, ``"serve"``, or nothing for Ray itself.

    Raises:
        DependencyError: it is missing, or a package that the part needs.
    """
    try:
        return import_module(f"ray.{part}" if part else "ray")
    except ImportError as error:
        raise DependencyError(f"a Ray cluster needs Ray's packages ({error}); pip install 'edgepipe[ray]'") from error


def assigned_cpus() -> int | None:
    """How many processors Ray has given to this actor or task; None outside of one."""
    ray: Any = sys.modules.get("ray")  # in an actor it is there
    if ray is None or not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    if context.get_task_id() is None and context.get_actor_id() is None:
        return None
    return max(1, int(context.get_assigned_resources().get("CPU", 1)))
