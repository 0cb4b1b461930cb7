"""Traces that are made once a session: most exports in the tests are of a few tiny models, and tracing takes longest.

A trace is shared only between models of one class, config and weights, for one task and with the same options. What is
traced is the product's own work; only the second time it is not done again. A test of tracing itself (that it repeats
byte for byte, what it prints) takes the fixture ``fresh_trace``: two exports that share a trace cannot differ.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

# What a config says of a model's name and of how its results are read. No forward pass looks at it.
_NOT_IN_A_GRAPH = ("_name_or_path", "architectures", "id2label", "label2id", "problem_type", "task_specific_params")


@contextmanager
def share_traces() -> Iterator[None]:
    """Let exports of the same model share their trace."""
    try:
        from edgepipe_export.tracing import trace
    except ImportError:  # on a processor that is emulated there is no torch, and nothing to share
        yield
        return
    trace_graphs = trace.trace_graphs
    known: dict[Hashable, trace.TracedGraphs] = {}

    @functools.wraps(trace_graphs)
    def trace_once(loaded: Any, options: trace.TraceOptions) -> trace.TracedGraphs:
        key = (_identify(loaded), options)
        if key not in known:
            known[key] = trace_graphs(loaded, options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "trace_graphs", trace_once)
        yield


@contextmanager
def trace_afresh() -> Iterator[None]:
    """Let every export trace its model, within :func:`share_traces` too."""
    try:
        from edgepipe_export.tracing import trace
    except ImportError:  # on a processor that is emulated there is no torch, and nothing to share
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "trace_graphs", inspect.unwrap(trace.trace_graphs))
        yield


def _identify(loaded: Any) -> Hashable:
    model, task = loaded.model, loaded.checkpoint.task
    config = json.loads(model.config.to_json_string(use_diff=False))
    for name in _NOT_IN_A_GRAPH:
        config.pop(name, None)
    config["attention"] = model.config._attn_implementation
    weights = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        weights.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return (
        type(model),
        type(model).forward,
        task.outputs,
        task.generates,
        tuple(loaded.tokenizer.model_input_names),
        json.dumps(config, sort_keys=True),
        weights.hexdigest(),
    )
