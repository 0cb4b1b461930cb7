"""Which graphs a checkpoint becomes, and what the manifest says of them."""

from __future__ import annotations

from typing import Any

import pytest

from edgepipe.bundle.layout import DECODER, ENCODER, MODEL
from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.load import LoadedCheckpoint, load
from edgepipe_export.checkpoint.resolve import Request, resolve
from edgepipe_export.tracing import trace
from edgepipe_export.tracing.kv_cache.cached_attention import CONCATENATED, SHARED
from edgepipe_export.tracing.trace import TraceOptions
from tests.tiny import build
from tests.tiny.generative import WINDOW, build_generative


def loaded(task: str, made: tuple[Any, Any]) -> LoadedCheckpoint:
    model, tokenizer = made
    return load(resolve(Request(model, task, tokenizer)))


def trace_graphs(checkpoint: LoadedCheckpoint, **options: Any) -> trace.TracedGraphs:
    """Looked up at the call: the tests share traces."""
    return trace.trace_graphs(checkpoint, TraceOptions(**options))


def test_an_encoder_is_one_graph() -> None:
    found = trace_graphs(loaded("text-classification", build("bert")))
    assert list(found.graphs) == [MODEL]
    assert found.recipe == {"name": "fp32", "opset": found.graphs[MODEL].opset_imports[""], "attention": "eager"}
    assert [value.name for value in found.graphs[MODEL].graph.outputs] == ["logits"]


@pytest.mark.parametrize(
    ("task", "family", "names"),
    [("text-generation", "gpt2", [MODEL]), ("text2text-generation", "bart", [ENCODER, DECODER])],
)
def test_what_writes_says_what_cache_it_has(task: str, family: str, names: list[str]) -> None:
    found = trace_graphs(loaded(task, build_generative(family)))
    assert list(found.graphs) == names
    assert found.recipe["cache"] == SHARED
    operators = {node.op_type for graph in found.graphs.values() for node in graph.graph}
    assert "GroupQueryAttention" in operators


def test_in_standard_operators_a_cache_is_concatenated() -> None:
    found = trace_graphs(loaded("text-generation", build_generative("gemma2")), standard_attention=True)
    assert (found.recipe["cache"], found.recipe["window"]) == (CONCATENATED, WINDOW)
    assert {node.domain for node in found.graphs[MODEL].graph} == {""}


def test_more_outputs_of_an_encoder() -> None:
    outputs = ("hidden_states", "attentions")
    found = trace_graphs(loaded("text-classification", build("bert")), layer_outputs=outputs)
    names = [value.name for value in found.graphs[MODEL].graph.outputs]
    layers = [f"hidden_states.{layer}" for layer in range(3)] + [f"attentions.{layer}" for layer in range(2)]
    assert names == ["logits", *layers]


def test_an_output_that_the_model_lacks() -> None:
    with pytest.raises(ExportError, match="has no output pooler_output; it has logits"):
        trace_graphs(loaded("text-classification", build("bert")), pooler=True)
