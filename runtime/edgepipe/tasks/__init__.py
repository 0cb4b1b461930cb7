"""The tasks, one line each.

To add a task: one file with a subclass of :class:`~edgepipe.tasks.base.Task`, one line here, one golden file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from edgepipe.errors import TaskError

if TYPE_CHECKING:
    from edgepipe.tasks.base import Task

# name: (module in this package, class); a module is imported when its task is first used.
TASKS: dict[str, tuple[str, str]] = {
    "text-classification": ("text_classification", "TextClassification"),
    "token-classification": ("token_classification", "TokenClassification"),
    "question-answering": ("question_answering", "QuestionAnswering"),
    "fill-mask": ("fill_mask", "FillMask"),
    "zero-shot-classification": ("zero_shot_classification", "ZeroShotClassification"),
}

# The other names transformers gives a task.
ALIASES: dict[str, str] = {"sentiment-analysis": "text-classification", "ner": "token-classification"}


def task_names() -> list[str]:
    """Every name that :func:`task_class` takes, sorted."""
    return sorted([*TASKS, *ALIASES])


def task_class(name: str) -> type[Task]:
    """The class of a task.

    Raises:
        TaskError: no task has that name; the message has the nearest and all names.
    """
    try:
        module, attribute = TASKS[ALIASES.get(name, name)]
    except (KeyError, TypeError):
        import difflib  # not at the top: it costs every start, for an error

        near = difflib.get_close_matches(str(name), task_names(), n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise TaskError(f"unknown task {name!r}{hint}; the tasks are {', '.join(task_names())}") from None
    task: type[Task] = getattr(import_module(f"edgepipe.tasks.{module}"), attribute)
    return task


def task_for_architecture(architectures: object) -> str | None:
    """The task whose head the first class in a config's ``architectures`` has, None where there is none."""
    if not isinstance(architectures, list) or not architectures:
        return None
    for name in TASKS:
        if str(architectures[0]).endswith(task_class(name).head):
            return name
    return None
