"""The tasks, one line each.

To add a task: one file with a subclass of :class:`~edgepipe.pipelines.base.Task`, one line here, one golden file.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING

from edgepipe.errors import TaskError

if TYPE_CHECKING:
    from edgepipe.pipelines.base import Task

# name: (module in this package, class); a module is imported when its task is first used.
TASKS: dict[str, tuple[str, str]] = {
    "text-classification": ("text_classification", "TextClassification"),
    "token-classification": ("token_classification", "TokenClassification"),
    "question-answering": ("question_answering", "QuestionAnswering"),
    "fill-mask": ("fill_mask", "FillMask"),
    "zero-shot-classification": ("zero_shot_classification", "ZeroShotClassification"),
    "feature-extraction": ("feature_extraction", "FeatureExtraction"),
    "sentence-similarity": ("sentence_similarity", "SentenceSimilarity"),
    "text-generation": ("text_generation", "TextGeneration"),
    "text2text-generation": ("text2text_generation", "Text2TextGeneration"),
    "summarization": ("summarization", "Summarization"),
    "translation": ("translation", "Translation"),
}

# How classes are named that end as a bare encoder's does, e.g. GPT2LMHeadModel or MarianMTModel, but have a head.
_HEADED = ("HeadModel", "HeadsModel", "MTModel")
# Translation between two languages, e.g. translation_en_to_fr.
_LANGUAGES = re.compile(r"translation_[^_]+_to_[^_]+")

# The other names transformers gives a task.
ALIASES: dict[str, str] = {"sentiment-analysis": "text-classification", "ner": "token-classification"}


def task_names() -> list[str]:
    """Every name that :func:`task_class` takes, sorted."""
    return sorted([*TASKS, *ALIASES])


def task_class(name: str) -> type[Task]:
    """The class of a task; that of ``translation_xx_to_yy`` is ``translation``'s under that name.

    Raises:
        TaskError: no task has that name; the message has the nearest and all names.
    """
    try:
        registered = "translation" if _LANGUAGES.fullmatch(name) else ALIASES.get(name, name)
        module, attribute = TASKS[registered]
    except (KeyError, TypeError):
        import difflib  # not at the top: it costs every start, for an error

        near = difflib.get_close_matches(str(name), task_names(), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise TaskError(f"unknown task {name!r}{hint}; the tasks are {', '.join(task_names())}") from None
    task: type[Task] = getattr(import_module(f"edgepipe.pipelines.{module}"), attribute)
    return type(attribute, (task,), {"name": name}) if _LANGUAGES.fullmatch(name) else task


def task_for_architecture(architectures: object) -> str | None:
    """The task whose head the first class in a config's ``architectures`` has, None where there is none."""
    if not isinstance(architectures, list) or not architectures:
        return None
    architecture = str(architectures[0])
    headed = architecture.endswith(_HEADED)
    for name in TASKS:
        task = task_class(name)
        for head in (task.head, *task.other_heads):
            if architecture.endswith(head) and (not headed or head.endswith(_HEADED)):
                return name
    return None
