"""What a task does with a probe: token ids, outputs, and results of made-up outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.engines import engine_for
from edgepipe.backend.machine import kernel_flags
from edgepipe.backend.session import SessionConfig
from edgepipe.bundle.strict_json import make_finite
from edgepipe.checking.probes import Probe, Rows
from edgepipe.checking.sketch import sketch
from edgepipe.pipelines.base import Outputs, Request, Task

_MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")

# Results that are longer than so many characters, as JSON, are not kept.
_LONGEST_RESULTS = 3000

# Digits of a score that is kept: beyond them machines may differ in their exponential function.
_DIGITS = 5

# Made-up numbers: multiples of one prime, modulo another, so that no two of a million are equal; and how far on
# those of the next piece begin.
_FACTOR, _MODULUS, _NEXT_PIECE = 7919, 1_000_003, 1009


def encode_inputs(task: Task, inputs: Sequence[Any], options: Mapping[str, Any]) -> tuple[Mapping[str, list[int]], ...]:
    """The pieces of all inputs, as the task's tokenizer makes them.

    Raises:
        InputError: an input cannot be used.
    """
    if task.generates:
        return tuple(dict(task.tokenizer(text, return_attention_mask=True)) for text in inputs)
    return tuple(_plain(piece) for request in encode_requests(task, inputs, options) for piece in request.pieces)


def encode_requests(task: Task, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Request]:
    """The inputs on their way through the graph."""
    settings = task.settings(options)
    return [task.encode(item, settings) for item in inputs]


def compute_rows(task: Task, probe: Probe) -> tuple[Outputs, ...]:
    """The model's outputs for a probe: of each piece, or of each step of a text that is written.

    Raises:
        BundleError: an output is missing, or is not finite.
    """
    return tuple(task.compute_outputs(probe.pieces, probe.following))


def describe_machine(task: Task, session: SessionConfig) -> dict[str, Any]:
    """What decides how a variant's outputs are rounded, as JSON can hold it: engine, providers, instructions."""
    model: Any = task.model
    return {
        "engine": engine_for(session).version(session),
        "providers": list(model.session.providers),
        "instructions": list(kernel_flags()),
    }


def sketch_rows(rows: Sequence[Outputs]) -> Rows:
    """The sketches of outputs, those alone that hold floating-point numbers."""
    return tuple(
        {
            name: sketch(array, logits=name.endswith("logits"))
            for name, array in sorted(row.items())
            if array.dtype.kind == "f" and array.size
        }
        for row in rows
    )


def decode_made_up(task: Task, probe: Probe, rows: Sequence[Outputs], options: Mapping[str, Any]) -> Any:
    """What the task makes of made-up outputs of the same shapes: labels, words, places; whatever the model computes.

    Of a task that writes text it is the text of the probe's tokens.

    Returns:
        A result for each input, as JSON holds it, scores rounded; None where that is long.
    """
    if task.generates:
        return [task.tokenizer.decode(list(probe.following))]
    settings = task.settings(options)
    made_up = iter([{name: _make_up(array, place) for name, array in row.items()} for place, row in enumerate(rows)])
    results = [
        task.decode(request, list(islice(made_up, len(request.pieces))), settings)
        for request in encode_requests(task, probe.inputs, options)
    ]
    text = json.dumps(make_finite(_round(results)))
    return None if len(text) > _LONGEST_RESULTS else json.loads(text)


def _make_up(array: NDArray[Any], place: int) -> NDArray[np.float32]:
    numbers = (np.arange(array.size, dtype=np.int64) + _NEXT_PIECE * place) * _FACTOR % _MODULUS
    return (numbers / _MODULUS * 8 - 4).astype(np.float32).reshape(array.shape)


def _plain(piece: Mapping[str, list[int]]) -> dict[str, list[int]]:
    return {
        name: list(map(int, ids))
        for name, ids in piece.items()
        if name in ("input_ids", "attention_mask", "token_type_ids")
    }


def _round(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _round(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_round(item) for item in value]
    return value
