"""From the name of a task to its pipeline: the classes behind :data:`edgepipe.bundle.tasks.TASKS`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from edgepipe.bundle.tasks import TASKS, resolve_alias, task_entry

if TYPE_CHECKING:
    from edgepipe.pipelines.base import Task


def task_class(name: str) -> type[Task]:
    """The class of a task; that of ``translation_xx_to_yy`` is ``translation``'s under that name.

    Raises:
        TaskError: no task has that name; the message has the nearest and all names.
    """
    module, attribute = task_entry(name).pipeline
    task: type[Task] = getattr(import_module(f"edgepipe.pipelines.{module}"), attribute)
    renamed = name not in TASKS and resolve_alias(name) == "translation"
    return type(attribute, (task,), {"name": name}) if renamed else task
