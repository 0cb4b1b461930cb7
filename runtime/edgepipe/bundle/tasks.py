"""The table of tasks, as plain data: what a checkpoint's classes are called, and which pipeline runs it.

To add a task: one entry here, one file in ``edgepipe.pipelines``, one entry of the exporter's
(``edgepipe_export.evaluation.tasks``), one golden file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgepipe.arguments import nearest_name
from edgepipe.errors import TaskError


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """What is known of a task without loading its pipeline.

    Attributes:
        pipeline: Module in ``edgepipe.pipelines`` and class.
        auto_model: Name of the transformers auto class that loads a checkpoint for it.
        heads: How the class names of such checkpoints end, the usual one first.
        generates: Whether it writes text, token by token.
    """

    pipeline: tuple[str, str]
    auto_model: str
    heads: tuple[str, ...]
    generates: bool = False


_CLASSIFICATION = ("AutoModelForSequenceClassification", ("ForSequenceClassification",))
_SEQ2SEQ = ("AutoModelForSeq2SeqLM", ("ForConditionalGeneration", "MTModel"), True)

TASKS: dict[str, TaskEntry] = {
    "text-classification": TaskEntry(("text_classification", "TextClassification"), *_CLASSIFICATION),
    "token-classification": TaskEntry(
        ("token_classification", "TokenClassification"), "AutoModelForTokenClassification", ("ForTokenClassification",)
    ),
    "question-answering": TaskEntry(
        ("question_answering", "QuestionAnswering"), "AutoModelForQuestionAnswering", ("ForQuestionAnswering",)
    ),
    "fill-mask": TaskEntry(("fill_mask", "FillMask"), "AutoModelForMaskedLM", ("ForMaskedLM",)),
    "zero-shot-classification": TaskEntry(("zero_shot_classification", "ZeroShotClassification"), *_CLASSIFICATION),
    "feature-extraction": TaskEntry(("feature_extraction", "FeatureExtraction"), "AutoModel", ("Model",)),
    "sentence-similarity": TaskEntry(("sentence_similarity", "SentenceSimilarity"), "AutoModel", ("Model",)),
    "text-generation": TaskEntry(
        ("text_generation", "TextGeneration"),
        "AutoModelForCausalLM",
        ("ForCausalLM", "LMHeadModel", "ModelWithLMHead"),
        generates=True,
    ),
    "text2text-generation": TaskEntry(("text2text_generation", "Text2TextGeneration"), *_SEQ2SEQ),
    "summarization": TaskEntry(("summarization", "Summarization"), *_SEQ2SEQ),
    "translation": TaskEntry(("translation", "Translation"), *_SEQ2SEQ),
}

# The other names transformers gives a task.
ALIASES: dict[str, str] = {"sentiment-analysis": "text-classification", "ner": "token-classification"}

# How classes are named that end as a bare encoder's does, e.g. GPT2LMHeadModel or MarianMTModel, but have a head.
_HEADED = ("HeadModel", "HeadsModel", "MTModel")
# Translation between two languages, e.g. translation_en_to_fr.
_LANGUAGES = re.compile(r"translation_[^\W_]+(-[^\W_]+)*_to_[^\W_]+(-[^\W_]+)*")


def task_names() -> list[str]:
    """Every name of a task, sorted; ``translation_xx_to_yy`` is one too."""
    return sorted([*TASKS, *ALIASES])


def resolve_alias(name: str) -> str:
    """The name in :data:`TASKS` of what may be called otherwise; a name that is unknown stays as it is."""
    return "translation" if _LANGUAGES.fullmatch(name) else ALIASES.get(name, name)


def task_entry(name: str) -> TaskEntry:
    """The entry of a task, by any of its names.

    Raises:
        TaskError: no task has that name; the message has the nearest and all names.
    """
    entry = TASKS.get(resolve_alias(name)) if isinstance(name, str) else None
    if entry is None:
        near = nearest_name(name, task_names())
        hint = f" (did you mean {near!r}?)" if near else ""
        raise TaskError(f"unknown task {name!r}{hint}; the tasks are {', '.join(task_names())}")
    return entry


def generates(task: str | None) -> bool:
    """Whether a task writes text; not one that is unknown."""
    return task is not None and (entry := TASKS.get(resolve_alias(task))) is not None and entry.generates


def task_for_architecture(architectures: object) -> str | None:
    """The task whose head the first class in a config's ``architectures`` has, None where there is none."""
    if not isinstance(architectures, list) or not architectures:
        return None
    architecture = str(architectures[0])
    headed = architecture.endswith(_HEADED)
    for name, entry in TASKS.items():
        for head in entry.heads:
            if architecture.endswith(head) and (not headed or head.endswith(_HEADED)):
                return name
    return None
