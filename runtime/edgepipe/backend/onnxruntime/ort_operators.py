"""Small ONNX models for what is computed on the device that has the tensors: rows taken, best scores found."""

from __future__ import annotations

from functools import cache
from typing import Any

from edgepipe.backend.onnxruntime.graphs.onnx_writer import ELEMENT_TYPES, Node, write_model
from edgepipe.backend.onnxruntime.ort_module import CPU, CUDA, load_ort

_GATHER, _DTYPE = {"axis": 1}, ""
# Nodes, inputs and outputs; a value has a dtype and a number of axes, and `_DTYPE` stands for that of the values.
_OPERATORS: dict[str, tuple[list[Node], dict[str, tuple[str, int]], dict[str, tuple[str, int]]]] = {
    "gather": (
        [Node("Gather", ["source", "rows"], ["target"], _GATHER)],
        {"source": (_DTYPE, 5), "rows": ("int64", 1)},
        {"target": (_DTYPE, 5)},
    ),
    "extend": (
        [
            Node("Gather", ["source", "rows"], ["gathered"], _GATHER),
            Node("Concat", ["gathered", "room"], ["target"], {"axis": 3}),
        ],
        {"source": (_DTYPE, 5), "rows": ("int64", 1), "room": (_DTYPE, 5)},
        {"target": (_DTYPE, 5)},
    ),
    "argmax": (
        [Node("ArgMax", ["scores"], ["indices"], {"axis": -1, "keepdims": 0})],
        {"scores": (_DTYPE, 3)},
        {"indices": ("int64", 2)},
    ),
    "top_k": (
        [
            Node("Cast", ["scores"], ["single"], {"to": ELEMENT_TYPES["float32"]}),
            Node("LogSoftmax", ["single"], ["all"], {"axis": -1}),
            Node("TopK", ["all", "count"], ["logarithms", "indices"], {"axis": -1}),
        ],
        {"scores": (_DTYPE, 3), "count": ("int64", 1)},
        {"logarithms": ("float32", 3), "indices": ("int64", 3)},
    ),
}


@cache
def load_operator(name: str, dtype: str, kind: str, index: int) -> Any:
    """The session of one of the operators for values of a dtype, on the host or on a GPU."""
    nodes, inputs, outputs = _OPERATORS[name]
    typed = [{key: (own or dtype, axes) for key, (own, axes) in values.items()} for values in (inputs, outputs)]
    ort = load_ort()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    providers: list[Any] = [(CUDA, {"device_id": index}), CPU] if kind == "cuda" else [CPU]
    return ort.InferenceSession(write_model(nodes, *typed), options, providers=providers, enable_fallback=0)
