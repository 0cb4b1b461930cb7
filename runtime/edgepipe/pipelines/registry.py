"""From the name of a task to its pipeline: the classes behind :data:`edgepipe.bundle.tasks.TASKS`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from edgepipe.arguments import nearest_name
from edgepipe.bundle.tasks import TASKS, resolve_alias, task_names
from edgepipe.errors import TaskError

if TYPE_CHECKING:
    from edgepipe.pipelines.base import Task


def task_class(name: str) -> type[Task]:
    """The class of a task; that of ``translation_xx_to_yy`` is ``translation``'s under that name.

    Raises:
        TaskError: no task has that name; the message has the nearest and all names.
    """
    try:
        registered = resolve_alias(name)
        module, attribute = TASKS[registered].pipeline
    except (KeyError, TypeError):
        near = nearest_name(name, task_names())
        hint = f" (did you mean {near!r}?)" if near else ""
        raise TaskError(f"unknown task {name!r}{hint}; the tasks are {', '.join(task_names())}") from None
    task: type[Task] = getattr(import_module(f"edgepipe.pipelines.{module}"), attribute)
    return task if name in TASKS or registered != "translation" else type(attribute, (task,), {"name": name})
