from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgepipe_export.tracing import trace
from edgepipe_export.tracing.trace import TraceOptions
from tests.shared_traces import share_traces, trace_afresh
from tests.tiny import build

TASK = SimpleNamespace(outputs=("logits",), generates=False)


def load_tiny(shift: float = 0) -> Any:
    model, tokenizer = build("bert")
    model.classifier.bias.data += shift
    return SimpleNamespace(model=model, tokenizer=tokenizer, checkpoint=SimpleNamespace(task=TASK))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[TraceOptions]:
    """The options of each trace that was made."""
    made: list[TraceOptions] = []

    def trace_graphs(_: object, options: TraceOptions) -> trace.TracedGraphs:
        made.append(options)
        return trace.TracedGraphs({}, {})

    monkeypatch.setattr(trace, "trace_graphs", trace_graphs)
    return made


def test_equal_models_share_a_trace(traced: list[TraceOptions]) -> None:
    with share_traces():
        first = trace.trace_graphs(load_tiny(), TraceOptions())
        assert trace.trace_graphs(load_tiny(), TraceOptions()) is first
    assert len(traced) == 1


def test_other_weights_and_other_options_are_traced(traced: list[TraceOptions]) -> None:
    with share_traces():
        for model, options in (
            (load_tiny(), TraceOptions()),
            (load_tiny(1), TraceOptions()),
            (load_tiny(), TraceOptions(18)),
        ):
            trace.trace_graphs(model, options)
    assert traced == [TraceOptions(), TraceOptions(), TraceOptions(18)]


def test_a_fresh_trace_is_never_a_shared_one(traced: list[TraceOptions]) -> None:
    with share_traces():
        first = trace.trace_graphs(load_tiny(), TraceOptions())
        with trace_afresh():
            assert trace.trace_graphs(load_tiny(), TraceOptions()) is not first
        assert trace.trace_graphs(load_tiny(), TraceOptions()) is first
    assert len(traced) == 2
