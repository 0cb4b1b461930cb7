"""What each task is asked when two sides are compared, and how its answers are read.

To compare the results of another task: one entry in :data:`QUESTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgepipe import Tokenizer
from edgepipe.errors import InputError
from edgepipe_export.calibration.texts import context_questions, entity_sentences, sentences

# What a result decides: for each decision (one for a text, or one for each of its tokens or masks) scores by choice.
Decisions = Mapping[Hashable, Mapping[Hashable, float]]

_LABELS = ("sport", "politics", "something to eat")
_ASKED = ("What happened?", "Who was it?", "When was that?", "Where is it?", "How much is it?")
_TEXTS_A_CONTEXT = 3
_TWO_MASKS_EVERY = 4

# One of so many sentences is left out where each goes through the graph several times: enough are left to be split.
_LEFT_OUT = 4

# The smallest pieces of a context that are asked for, and how many of their tokens they share, at least.
_PIECE, _SHARED = 48, 8


@dataclass(frozen=True, slots=True)
class Questions:
    """How the results of a task are compared.

    Attributes:
        ask: Makes the pipeline's inputs of texts; texts without a question are left out.
        options: The options that results are compared under; those that come last for every input, and their results
            are the ones that are scored.
        decisions: Reads a result under the last options; empty where results are vectors.
        texts: The texts to ask about, where the user gives none.
        reserved: Tokens that a text leaves free, up to the model's limit.
        written: Inputs to ask for where the user gives no texts, cut to the model's limit, in place of what `ask` makes
            of `texts`; None where there are none.
    """

    ask: Callable[[Sequence[str], Tokenizer], Iterator[Any]]
    options: tuple[Mapping[str, Any], ...]
    decisions: Callable[[Any], Decisions]
    texts: Callable[[], Sequence[str]] = sentences
    reserved: Callable[[Tokenizer], int] = lambda tokenizer: 0
    written: Callable[[Tokenizer, int | None], Iterator[Any]] | None = None


def questions(task: str) -> Questions:
    """How the results of a task are compared."""
    return QUESTIONS[compared_as(task)]


def compared_as(task: str) -> str:
    """The task whose results are compared for a bundle of `task`: its own, or one with the same graph."""
    return _COMPARED_AS.get(task, task)


def asked(task: str, texts: Sequence[str], tokenizer: Tokenizer) -> tuple[Any, ...]:
    """The inputs of a task's pipeline that are made of texts.

    Raises:
        InputError: none of the texts gives one.
    """
    inputs = tuple(questions(task).ask(texts, tokenizer))
    if not inputs:
        raise InputError(f"{task} cannot be asked about texts that are all empty; give at least one that is not")
    return inputs


def shortened(text: str, tokenizer: Tokenizer, room: int) -> str:
    """As much of a text as fits into `room` tokens, special tokens counted."""
    wanted = room
    while len(tokenizer(text)["input_ids"]) > room and wanted > 0:
        kept = tokenizer(text, truncation=True, max_length=wanted, return_offsets_mapping=True)["offset_mapping"]
        spans = [(start, end) for start, end in kept if end > start]
        # A word that was cut may take more tokens than it did: then one less is kept.
        text = text[spans[0][0] : spans[-1][1]] if spans else ""
        wanted -= 1
    return text


def _texts(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[str]:
    yield from texts


def _filled_texts(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[str]:
    yield from (text for text in texts if text.strip())


def _masked(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[str]:
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


def _with_contexts(texts: Sequence[str], tokenizer: Tokenizer) -> Iterator[dict[str, str]]:
    filled = [text for text in texts if text.strip()]
    for number, start in enumerate(range(0, len(filled), _TEXTS_A_CONTEXT)):
        context = " ".join(filled[start : start + _TEXTS_A_CONTEXT])
        yield {"question": _ASKED[number % len(_ASKED)], "context": context}


def _written_questions(tokenizer: Tokenizer, limit: int | None) -> Iterator[dict[str, str]]:
    """Questions so short that pieces of the context, which share up to half of their tokens, have room beside them."""
    room = _PIECE - _SHARED if limit is None else min(_PIECE - _SHARED, limit // 2)
    room -= tokenizer.num_special_tokens_to_add(pair=True) + 1
    for question, context in context_questions():
        yield {"question": shortened(question, tokenizer, room) or question, "context": context}


def _most_sentences() -> tuple[str, ...]:
    return tuple(text for number, text in enumerate(sentences()) if number % _LEFT_OUT)


def _longest_label(tokenizer: Tokenizer) -> int:
    return max(len(tokenizer(f"This example is {label}.")["input_ids"]) for label in _LABELS)


def label_scores(result: Any) -> Decisions:
    """The scores of a text's labels."""
    entries = result if isinstance(result, list) else [result]
    return {"text": {entry["label"]: float(entry["score"]) for entry in entries}}


def _candidate_scores(result: Any) -> Decisions:
    return {"text": dict(zip(result["labels"], map(float, result["scores"]), strict=True))}


def _entities(result: Any) -> Decisions:
    """One decision a token that either side gives a label; that the others have none would hide what these have."""
    return {entry["index"]: {entry["entity"]: float(entry["score"])} for entry in result}


def _answers(result: Any) -> Decisions:
    entries = result if isinstance(result, list) else [result]
    return {"question": {(entry["start"], entry["end"]): float(entry["score"]) for entry in entries}}


def _fillings(result: Any) -> Decisions:
    masks = result if result and isinstance(result[0], list) else [result]
    return {
        number: {entry["token"]: float(entry["score"]) for entry in entries} for number, entries in enumerate(masks)
    }


def _none(result: Any) -> Decisions:
    return {}


QUESTIONS: dict[str, Questions] = {
    "text-classification": Questions(
        _texts, ({}, {"function_to_apply": "sigmoid", "top_k": None}, {"top_k": None}), label_scores
    ),
    "token-classification": Questions(
        _texts,
        (
            *({"aggregation_strategy": strategy} for strategy in ("simple", "first", "average", "max")),
            {"ignore_labels": []},
            {},
        ),
        _entities,
        entity_sentences,
    ),
    "question-answering": Questions(
        _with_contexts,
        (
            {},
            {"top_k": 3, "handle_impossible_answer": True},
            {"top_k": 2, "max_seq_len": _PIECE, "doc_stride": _SHARED, "align_to_words": False},
            {"top_k": 5},
        ),
        _answers,
        written=_written_questions,
    ),
    "fill-mask": Questions(
        _masked, ({}, {"targets": ["a", "e", "i"]}, {"top_k": 10}), _fillings, reserved=lambda tokenizer: 1
    ),
    "zero-shot-classification": Questions(
        _filled_texts,
        (
            {"candidate_labels": list(_LABELS), "multi_label": True},
            {"candidate_labels": "good, bad", "hypothesis_template": "It is {}."},
            {"candidate_labels": list(_LABELS)},
        ),
        _candidate_scores,
        _most_sentences,
        _longest_label,
    ),
    "feature-extraction": Questions(_texts, ({},), _none),
}

# Tasks that transformers lacks: those with the same graph that are compared in their place.
_COMPARED_AS = {"sentence-similarity": "feature-extraction"}
