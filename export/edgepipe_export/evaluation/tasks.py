"""What the exporter needs to know of each task: one entry in :data:`TASK_EVALUATIONS`.

To evaluate another task, add its entry there. Tasks that generate need none: they are compared by their tokens.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgepipe import Tokenizer
from edgepipe.bundle.tasks import generates
from edgepipe.errors import InputError, TaskError
from edgepipe_export.calibration.dataset import (
    Dataset,
    read_feature_extraction,
    read_generation,
    read_question_answering,
    read_text_classification,
    read_texts,
    read_token_classification,
    read_zero_shot_classification,
    require_own_task,
)
from edgepipe_export.calibration.readers import Table, read_table
from edgepipe_export.calibration.texts import context_questions, entity_sentences, sentences, truncate_text
from edgepipe_export.evaluation.metrics.accuracy import candidate_accuracy, label_accuracy
from edgepipe_export.evaluation.metrics.confusion import DecisionNames, Decisions
from edgepipe_export.evaluation.metrics.embedding_similarity import similarity_correlation
from edgepipe_export.evaluation.metrics.entity_f1 import entity_f1
from edgepipe_export.evaluation.metrics.exact_match import answer_f1

_LABELS = ("sport", "politics", "something to eat")
_QUESTIONS = ("What happened?", "Who was it?", "When was that?", "Where is it?", "How much is it?")
_TEXTS_A_CONTEXT = 3
_TWO_MASKS_EVERY = 4

# One of so many sentences is left out where each goes through the graph several times: enough are left to be split.
_LEFT_OUT = 4

# The smallest windows of a context, and how many tokens they share, at least.
_WINDOW, _SHARED = 48, 8


@dataclass(frozen=True, slots=True)
class Metric:
    """How good results are beside the right answers.

    Attributes:
        name: The figure that decides.
        compute: Results and right answers -> all figures by name, each from 0 to 1.
    """

    name: str
    compute: Callable[[Sequence[Any], Sequence[Any]], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class TaskEvaluation:
    """How the results of a task are compared and measured.

    Attributes:
        read: Makes a dataset of a file's rows, the model's labels and its tokenizer.
        make_inputs: Makes the pipeline's inputs of texts; texts that give none are left out.
        options: The options that results are compared under. Only results under the last ones are scored.
        read_decisions: Reads a result under the last options; empty where results are vectors.
        names: What reports call its decisions.
        metric: What is measured where the right answers are known; None where nothing is.
        texts: The built-in texts.
        reserve: How many tokens a text leaves free, up to the model's limit.
        built_in_inputs: Inputs cut to the model's limit, in place of what `make_inputs` makes of the built-in texts.
        pipeline: The task whose pipeline gives the results, where transformers has none of the task's own.
        asks_questions: Whether its graph always reads a question with its context.
    """

    read: Callable[[Table, Sequence[str], Any], Dataset]
    make_inputs: Callable[[Sequence[str], Tokenizer], Iterator[Any]]
    options: tuple[Mapping[str, Any], ...]
    read_decisions: Callable[[Any], Decisions]
    names: DecisionNames = field(default_factory=DecisionNames)
    metric: Metric | None = None
    texts: Callable[[], Sequence[str]] = sentences
    reserve: Callable[[Tokenizer], int] = lambda tokenizer: 0
    built_in_inputs: Callable[[Tokenizer, int | None], Iterator[Any]] | None = None
    pipeline: str | None = None
    asks_questions: bool = False


def find_evaluation(task: str) -> TaskEvaluation:
    """The entry of a task.

    Raises:
        TaskError: it has none.
    """
    if task not in TASK_EVALUATIONS:
        raise TaskError(
            f"the exporter cannot evaluate {task}: it has no entry in TASK_EVALUATIONS "
            f"(edgepipe_export/evaluation/tasks.py), which has {', '.join(TASK_EVALUATIONS)}"
        )
    return TASK_EVALUATIONS[task]


def pipeline_task(task: str) -> str:
    """The task whose pipeline gives the results that are compared: its own, or one with the same graph."""
    return find_evaluation(task).pipeline or task


def read_dataset(path: str | os.PathLike[str], task: str, labels: Sequence[str], tokenizer: Any) -> Dataset:
    """Read a file for a task.

    Args:
        path: Text, CSV, TSV, JSONL or CoNLL; see :func:`~edgepipe_export.calibration.readers.read_table`.
        task: Name of the task.
        labels: The model's labels.
        tokenizer: Its tokenizer, ours or transformers'.

    Raises:
        InputError: the file cannot be read, is empty, lacks what the task needs, is another task's, or has labels that
            the model lacks.
        TaskError: the task has no entry.
    """
    table = read_table(path)
    if generates(task):
        return read_generation(table, tuple(labels), tokenizer)
    evaluation = find_evaluation(task)
    if evaluation.metric is not None:
        require_own_task(table, task)
    return evaluation.read(table, tuple(labels), tokenizer)


def make_inputs(
    task: str, tokenizer: Tokenizer, limit: int | None, texts: Sequence[str] | None = None
) -> tuple[Any, ...]:
    """Inputs of a task's pipeline, cut to the model's limit.

    Args:
        task: Name of the task.
        tokenizer: The bundle's tokenizer.
        limit: The longest input the model takes; None for no limit.
        texts: Texts to make them of; by default the built-in ones of the task.

    Raises:
        InputError: none of the texts gives an input.
    """
    own = find_evaluation(task)
    if texts is None and own.built_in_inputs is not None:
        return tuple(own.built_in_inputs(tokenizer, limit))
    return inputs_of(task, select_texts(task, tokenizer, limit, texts), tokenizer)


def select_texts(
    task: str, tokenizer: Tokenizer, limit: int | None, texts: Sequence[str] | None = None
) -> tuple[str, ...]:
    """The texts of :func:`make_inputs`, cut so that they fit with what the task adds."""
    own = find_evaluation(task)
    chosen = tuple(own.texts() if texts is None else texts)
    if limit is None:
        return chosen
    return tuple(truncate_text(text, tokenizer, limit - own.reserve(tokenizer)) for text in chosen)


def inputs_of(task: str, texts: Sequence[str], tokenizer: Tokenizer) -> tuple[Any, ...]:
    """The inputs of a task's pipeline that are made of texts.

    Raises:
        InputError: none of the texts gives one.
    """
    inputs = tuple(find_evaluation(task).make_inputs(texts, tokenizer))
    if not inputs:
        raise InputError(f"{task} cannot be asked about texts that are all empty; give at least one that is not")
    return inputs


def _texts(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[str]:
    yield from texts


def _nonempty_texts(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[str]:
    yield from (text for text in texts if text.strip())


def _mask_words(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[str]:
    """A mask in place of the word in the middle, and now and then of the last as well."""
    mask = str(tokenizer.mask_token)
    for number, text in enumerate(texts):
        if mask in text:
            yield text
            continue
        words = text.split() or [""]
        words[len(words) // 2] = mask
        if number % _TWO_MASKS_EVERY == 1:
            words[-1] = mask
        yield " ".join(words)


def _add_questions(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[dict[str, str]]:
    nonempty = [text for text in texts if text.strip()]
    for number, start in enumerate(range(0, len(nonempty), _TEXTS_A_CONTEXT)):
        context = " ".join(nonempty[start : start + _TEXTS_A_CONTEXT])
        yield {"question": _QUESTIONS[number % len(_QUESTIONS)], "context": context}


def _built_in_questions(tokenizer: Tokenizer, limit: int | None) -> Iterator[dict[str, str]]:
    """Questions so short that windows of the context, which share up to half of their tokens, have room beside them."""
    # The pipeline's windows are as long as the tokenizer says, where the model has a longer limit or none.
    limits = [each // 2 for each in (limit, tokenizer.model_max_length) if each is not None]
    room = min([_WINDOW - _SHARED, *limits])
    room -= tokenizer.num_special_tokens_to_add(pair=True) + 1
    for question, context in context_questions():
        yield {"question": truncate_text(question, tokenizer, room) or question, "context": context}


def _most_sentences() -> tuple[str, ...]:
    return tuple(text for number, text in enumerate(sentences()) if number % _LEFT_OUT)


def _longest_label(tokenizer: Tokenizer) -> int:
    return max(len(tokenizer(f"This example is {label}.")["input_ids"]) for label in _LABELS)


def _as_entries(result: Any) -> list[Any]:
    """A result that may be one entry, a list of them, or a list for each mask, as one list."""
    entries = result if isinstance(result, list) else [result]
    return (
        [entry for each in entries for entry in _as_entries(each)]
        if entries and isinstance(entries[0], list)
        else entries
    )


def label_scores(result: Any) -> Decisions:
    """The scores of a text's labels."""
    return {"text": {entry["label"]: float(entry["score"]) for entry in _as_entries(result)}}


def _candidate_scores(result: Any) -> Decisions:
    return {"text": dict(zip(result["labels"], map(float, result["scores"]), strict=True))}


def _entity_scores(result: Any) -> Decisions:
    """One decision a token that either side gives a label; that the others have none would hide what these have."""
    return {entry["index"]: {entry["entity"]: float(entry["score"])} for entry in result}


def _answer_scores(result: Any) -> Decisions:
    return {"question": {(entry["start"], entry["end"]): float(entry["score"]) for entry in _as_entries(result)}}


def _token_scores(result: Any) -> Decisions:
    masks = result if result and isinstance(result[0], list) else [result]
    return {
        number: {entry["token"]: float(entry["score"]) for entry in entries} for number, entries in enumerate(masks)
    }


def _entity_words(result: Any) -> Mapping[Hashable, str]:
    return {entry["index"]: entry["word"] for entry in result}


def _answer_texts(result: Any) -> Mapping[Hashable, str]:
    return {(entry["start"], entry["end"]): entry["answer"] or "no answer" for entry in _as_entries(result)}


def _token_texts(result: Any) -> Mapping[Hashable, str]:
    return {entry["token"]: entry["token_str"] for entry in _as_entries(result)}


def _mask_numbers(result: Any) -> Mapping[Hashable, str]:
    several = result and isinstance(result[0], list)
    return {number: f"mask {number + 1}" for number in range(len(result))} if several else {}


def _read_masked(table: Table, labels: Sequence[str], tokenizer: Any) -> Dataset:
    return Dataset(inputs_of("fill-mask", read_texts(table, "fill-mask"), tokenizer), None, table.origin)


TASK_EVALUATIONS: dict[str, TaskEvaluation] = {
    "text-classification": TaskEvaluation(
        read_text_classification,
        _texts,
        ({}, {"function_to_apply": "sigmoid", "top_k": None}, {"top_k": None}),
        label_scores,
        DecisionNames(labels=True),
        Metric("accuracy", label_accuracy),
    ),
    "token-classification": TaskEvaluation(
        read_token_classification,
        _texts,
        (
            *({"aggregation_strategy": strategy} for strategy in ("simple", "first", "average", "max")),
            {"ignore_labels": []},
            {},
        ),
        _entity_scores,
        DecisionNames(places=_entity_words, none="O", labels=True),
        Metric("f1", entity_f1),
        entity_sentences,
    ),
    "question-answering": TaskEvaluation(
        read_question_answering,
        _add_questions,
        (
            {},
            {"top_k": 3, "handle_impossible_answer": True},
            {"top_k": 2, "max_seq_len": _WINDOW, "doc_stride": _SHARED, "align_to_words": False},
            {"top_k": 5},
        ),
        _answer_scores,
        DecisionNames(_answer_texts),
        Metric("f1", answer_f1),
        built_in_inputs=_built_in_questions,
        asks_questions=True,
    ),
    "fill-mask": TaskEvaluation(
        _read_masked,
        _mask_words,
        ({}, {"targets": ["a", "e", "i"]}, {"top_k": 10}),
        _token_scores,
        DecisionNames(_token_texts, _mask_numbers),
        reserve=lambda tokenizer: 1,
    ),
    "zero-shot-classification": TaskEvaluation(
        read_zero_shot_classification,
        _nonempty_texts,
        (
            {"candidate_labels": list(_LABELS), "multi_label": True},
            {"candidate_labels": "good, bad", "hypothesis_template": "It is {}."},
            {"candidate_labels": list(_LABELS)},
        ),
        _candidate_scores,
        DecisionNames(labels=True),
        Metric("accuracy", candidate_accuracy),
        _most_sentences,
        _longest_label,
    ),
    "feature-extraction": TaskEvaluation(
        read_feature_extraction,
        _texts,
        ({},),
        lambda result: {},
        metric=Metric("spearman", similarity_correlation),
    ),
}
TASK_EVALUATIONS["sentence-similarity"] = replace(TASK_EVALUATIONS["feature-extraction"], pipeline="feature-extraction")
