"""From the name of a task to its pipeline: the classes behind :data:`edgepipe.bundle.tasks.TASKS`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from edgepipe.bundle.tasks import TASKS, resolve_alias, task_entry
from edgepipe.pipelines.base import Task


def task_class(name: str) -> type[Task]:
    """The class of a task; that of ``translation_xx_to_yy`` is ``translation``'s under that name.

    Raises:
        TaskError: no task has that name; the message has the nearest and all names.
        LookupError: the table has the task, and ``edgepipe.pipelines`` lacks its module or its class.
    """
    module, attribute = task_entry(name).pipeline
    path = f"{__package__}.{module}"
    try:
        task: type[Task] = getattr(import_module(path), attribute)
    except AttributeError as error:
        raise LookupError(f"the table of tasks has {name!r}, but {path} has no class {attribute}; write it") from error
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise LookupError(
            f"the table of tasks has {name!r}, but there is no module {path}; write it, with a class {attribute}"
        ) from error
    if resolve_alias(name) != task.name:
        raise LookupError(f"the table of tasks has {name!r}, but {path}.{attribute} is named {task.name!r}")
    renamed = name not in TASKS and resolve_alias(name) == "translation"
    return type(attribute, (task,), {"name": name, "__reduce__": _reduce_renamed}) if renamed else task


def _reduce_renamed(task: Task) -> tuple[Any, ...]:
    """As :meth:`Task.__reduce__`; the class is named by its task, since no module has it."""
    _, (_, *arguments) = Task.__reduce__(task)
    return _make_renamed, tuple(arguments)


def _make_renamed(tokenizer: Any, model: Any, given: Mapping[str, Any]) -> Task:
    return task_class(given["task"])(tokenizer, model, **given)
