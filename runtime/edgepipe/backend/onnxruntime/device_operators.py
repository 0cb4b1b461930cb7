"""Graphs of a few operators for what is done with values on a device, where numpy cannot reach.

onnxruntime runs them on the device the values are on. The ``onnx`` package is none of the runtime's, so they are
written here byte by byte: https://protobuf.dev/programming-guides/encoding for the bytes, ``onnx.proto`` for the
numbers of the fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from edgepipe.backend.onnxruntime.io_binding import Binding
from edgepipe.backend.onnxruntime.library import load_ort
from edgepipe.errors import BundleError

if TYPE_CHECKING:
    from edgepipe.backend.onnxruntime.device_memory import Place

_IR_VERSION = 8
_OPSET = 13
# TensorProto.DataType
_ELEMENTS = {"float32": 1, "int32": 6, "int64": 7, "float16": 10, "float64": 11}


@dataclass(frozen=True)
class Node:
    """One operator.

    Attributes:
        operator: Its name in ONNX.
        inputs: Names of what it reads.
        outputs: Names of what it writes.
        attributes: Its whole-numbered attributes.
    """

    operator: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, int] = field(default_factory=dict)


def model(
    nodes: Sequence[Node], inputs: Mapping[str, tuple[str, int]], outputs: Mapping[str, tuple[str, int]]
) -> bytes:
    """A model as onnxruntime reads it.

    Args:
        nodes: In the order in which they run.
        inputs: Dtype and number of axes of each.
        outputs: Likewise.
    """
    graph = [
        *(_field(1, _node(node)) for node in nodes),
        _field(2, b"small"),
        *(_field(11, _tensor(name, *kind)) for name, kind in inputs.items()),
        *(_field(12, _tensor(name, *kind)) for name, kind in outputs.items()),
    ]
    opset = _field(1, b"") + _number(2, _OPSET)
    return _number(1, _IR_VERSION) + _field(7, b"".join(graph)) + _field(8, opset)


@cache
def moved_rows(dtype: str, place: Place) -> SmallGraph:
    """``block`` [tensors, rows, heads, tokens, width], ``rows`` int64[kept] -> ``moved``, of which axis 1 is `kept`."""
    nodes = [Node("Gather", ["block", "rows"], ["moved"], {"axis": 1})]
    return SmallGraph(model(nodes, {"block": (dtype, 5), "rows": ("int64", 1)}, {"moved": (dtype, 5)}), place)


@cache
def roomier_rows(dtype: str, place: Place) -> SmallGraph:
    """As :func:`moved_rows`, with ``room`` [tensors, kept, heads, new, width] after the tokens."""
    nodes = [
        Node("Gather", ["block", "rows"], ["kept"], {"axis": 1}),
        Node("Concat", ["kept", "room"], ["moved"], {"axis": 3}),
    ]
    inputs = {"block": (dtype, 5), "rows": ("int64", 1), "room": (dtype, 5)}
    return SmallGraph(model(nodes, inputs, {"moved": (dtype, 5)}), place)


@cache
def likeliest_tokens(dtype: str, place: Place) -> SmallGraph:
    """``scores`` [rows, tokens, vocabulary] -> ``tokens`` int64[rows, tokens], the first of the best."""
    nodes = [Node("ArgMax", ["scores"], ["tokens"], {"axis": -1, "keepdims": 0})]
    return SmallGraph(model(nodes, {"scores": (dtype, 3)}, {"tokens": ("int64", 2)}), place)


@cache
def best_tokens(dtype: str, place: Place) -> SmallGraph:
    """The best of ``scores`` [rows, tokens, vocabulary], best first, as many as ``count`` int64[1] says.

    ``tokens`` int64[rows, tokens, count], and their log-probabilities ``logarithms``, float32 likewise.
    """
    nodes = [
        Node("Cast", ["scores"], ["single"], {"to": _ELEMENTS["float32"]}),
        Node("LogSoftmax", ["single"], ["all"], {"axis": -1}),
        Node("TopK", ["all", "count"], ["logarithms", "tokens"], {"axis": -1}),
    ]
    outputs = {"logarithms": ("float32", 3), "tokens": ("int64", 3)}
    return SmallGraph(model(nodes, {"scores": (dtype, 3), "count": ("int64", 1)}, outputs), place)


class SmallGraph:
    """A small graph, loaded on a device."""

    def __init__(self, content: bytes, place: Place) -> None:
        ort = load_ort()
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        providers: list[Any] = ["CPUExecutionProvider"]
        if place.kind == "cuda":
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": place.index}))
        self._session = ort.InferenceSession(content, options, providers=providers, enable_fallback=0)

    def run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run it.

        Args:
            inputs: Arrays, values or views by name.
            outputs: Values or views to write into; None has one made in the host's memory.

        Returns:
            The values that were made.
        """
        binding = Binding(self._session)
        for name, value in inputs.items():
            binding.feed(name, value)
        for name, value in outputs.items():
            binding.give(name, value)
        return binding.run()


def _node(node: Node) -> bytes:
    return b"".join(
        [
            *(_field(1, name.encode()) for name in node.inputs),
            *(_field(2, name.encode()) for name in node.outputs),
            _field(4, node.operator.encode()),
            *(_field(5, _attribute(name, value)) for name, value in node.attributes.items()),
        ]
    )


def _attribute(name: str, value: int) -> bytes:
    is_integer = 2  # AttributeProto.INT
    return _field(1, name.encode()) + _number(3, value) + _number(20, is_integer)


def _tensor(name: str, dtype: str, axes: int) -> bytes:
    """A ValueInfoProto whose axes are of any size.

    Raises:
        BundleError: nothing is known of the dtype.
    """
    if dtype not in _ELEMENTS:
        raise BundleError(f"values of {dtype} cannot be kept on a device, only {', '.join(_ELEMENTS)}")
    shape = _field(1, b"") * axes
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, _ELEMENTS[dtype]) + _field(2, shape)))


def _field(number: int, content: bytes) -> bytes:
    """A field that holds bytes: text, or a message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    """A field that holds a whole number."""
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    value &= 2**64 - 1  # negative ones as two's complement of 64 bits
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
