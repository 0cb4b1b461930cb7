"""Calls of a pipeline with one option after the other, beside the reference."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from edgepipe import Bundle, pipeline
from edgepipe.errors import InputError
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.evaluation.differences import compare_results
from edgepipe_export.evaluation.pytorch_reference import load_pipeline
from edgepipe_export.evaluation.tasks import find_evaluation

# Texts that every tokenizer of the table divides into five tokens or more, and that fit into every model.
TEXTS = ("I love this film", "What a waste of time. I want my money back", "The 2nd of May, 12:30", "Zoë flew to Köln.")

# With `batch_size`, all inputs in one call; the others one after another.
OPTIONS: dict[str, tuple[Mapping[str, Any], ...]] = {
    "text-classification": (
        {},
        {"top_k": None},
        {"top_k": 2},
        {"function_to_apply": "sigmoid"},
        {"function_to_apply": "softmax", "top_k": None},
        {"function_to_apply": "none", "top_k": None},
        {"truncation": True, "max_length": 7},
        {"batch_size": 3},
    ),
    "token-classification": (
        {},
        {"ignore_labels": []},
        *({"aggregation_strategy": strategy} for strategy in ("simple", "first", "average", "max")),
        {"aggregation_strategy": "simple", "stride": 4},
        {"batch_size": 3},
    ),
    "question-answering": (
        {},
        {"top_k": 3},
        {"handle_impossible_answer": True},
        {"max_answer_len": 3},
        {"align_to_words": False},
        {"max_seq_len": 32, "doc_stride": 4},
        {"batch_size": 3},
    ),
    "fill-mask": (
        {},
        {"top_k": 10},
        {"targets": ["a", "e", "i"]},
        {"tokenizer_kwargs": {"truncation": True}},
        {"batch_size": 3},
    ),
    "feature-extraction": (
        {},
        {"truncation": True},
        {"tokenize_kwargs": {"truncation": True, "max_length": 7}},
        {"batch_size": 3},
    ),
}


def describe(options: Mapping[str, Any]) -> str:
    """Options as they are written in a call."""
    return ", ".join(f"{name}={value!r}" for name, value in options.items()) or "no option"


def compare_calls(
    model: Any, tokenizer: Any, bundle: Bundle, task: str, *, device: str | None = None
) -> dict[str, str | None]:
    """Call a bundle's pipeline, on a device, and the reference with each option of the task.

    Returns:
        What differs with each option; None where nothing does.
    """
    loaded = load(resolve(Request(model, task, tokenizer)))
    reference = load_pipeline(task, loaded)
    own: Any = pipeline(task, bundle, device=device)
    evaluation = find_evaluation(task)
    inputs = list(evaluation.make_inputs(TEXTS, own.tokenizer))
    found: dict[str, str | None] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for options in OPTIONS[task]:
            try:
                expected = _call(reference, inputs, options)
            except (ValueError, RuntimeError, TypeError, LookupError) as error:
                found[describe(options)] = _refused_alike(own, inputs, options, error)
                continue
            got = _call(own, inputs, options)
            found[describe(options)] = compare_results(inputs, expected, got, lambda result: {}).first
    return found


def _call(pipe: Any, inputs: list[Any], options: Mapping[str, Any]) -> list[Any]:
    if "batch_size" in options:
        return list(pipe(inputs, **options))
    return [pipe(item, **options) for item in inputs]


def _refused_alike(own: Any, inputs: list[Any], options: Mapping[str, Any], error: Exception) -> str | None:
    try:
        _call(own, inputs, options)
    except InputError:
        return None
    return f"answers, and the reference raises {type(error).__name__}: {str(error).splitlines()[0]}"
