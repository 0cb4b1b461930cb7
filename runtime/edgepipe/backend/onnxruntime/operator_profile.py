"""What the operators of a graph take in onnxruntime, by its own profiler."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgepipe.backend.onnxruntime.diagnostics import explain_start_failure
from edgepipe.backend.onnxruntime.inference_session import make_options, open_session
from edgepipe.backend.onnxruntime.providers import resolve_providers
from edgepipe.backend.session import GraphTimes, SessionConfig
from edgepipe.forks import within_engine

# Runs that are not counted: the arena grows, and threads wake.
_WARM_UP = 2

# Products of two matrices: (…, rows, K) by (…, K, columns). The first input has K last, the output has the columns.
_PRODUCTS = frozenset(
    {
        *("MatMul", "FusedMatMul", "Gemm", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
        *("QLinearMatMul", "QGemm", "MatMulNBits", "MatMulBnb4", "FusedGemm"),
    }
)
# Attention as one operator: queries, keys and values of (rows, tokens, width).
_ATTENTION = frozenset({"MultiHeadAttention", "Attention"})


def profile_operators(graph: Path, config: SessionConfig, feeds: Mapping[str, NDArray[Any]], runs: int) -> GraphTimes:
    """See :class:`~edgepipe.backend.session.Engine`."""
    providers = resolve_providers(config.device, config.providers)
    options = make_options(config, graph)
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="edgepipe-profile-") as folder:
        options.profile_file_prefix = str(Path(folder) / "trace")
        with explain_start_failure(graph, providers):
            session = open_session(graph, options, providers, config)
        with within_engine():
            for _ in range(_WARM_UP + runs):
                session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    wholes = [event for event in events if event.get("name") == "model_run"][_WARM_UP:]
    first = session.get_providers()[0]
    start = min(event["ts"] for event in wholes)
    kernels = [event for event in events if event["ts"] >= start and event["name"].endswith("_kernel_time")]
    return GraphTimes.of(
        statistics.median(event["dur"] for event in wholes) / 1e6,
        len(wholes),
        (
            (name_operator(event["args"], first), event["dur"] / 1e6, _count_operations(event["args"]))
            for event in kernels
            if "op_name" in event.get("args", {})
        ),
    )


def name_operator(node: Mapping[str, Any], first: str) -> str:
    """The kind of an operator, and which provider runs it where that is not the first one."""
    provider = node.get("provider", first)
    return node["op_name"] if provider == first else f"{node['op_name']} ({provider.removesuffix('ExecutionProvider')})"


def _count_operations(node: Mapping[str, Any]) -> int:
    """Additions and multiplications of a product, from the shapes in the trace; 0 of other operators."""
    inputs, outputs = list(_shapes(node["input_type_shape"])), list(_shapes(node["output_type_shape"]))
    if node["op_name"] in _PRODUCTS and inputs and inputs[0] and outputs:
        return 2 * prod(outputs[0]) * inputs[0][-1]
    if node["op_name"] in _ATTENTION and len(inputs) > 1 and len(inputs[0]) == 3:
        return 4 * prod(inputs[0]) * inputs[1][1]
    return 0


def _shapes(entries: list[Mapping[str, list[int]]]) -> Iterator[list[int]]:
    for entry in entries:
        yield next(iter(entry.values()))
