"""Products with weights in blocks, computed in integers: a scale for each output, and one for each row of activations.

``MatMulNBits`` is made for one row, which is a token: with many it takes about three times as long as a product of
integers. So the graph of a variant with such weights can be loaded as another one, for prompts and for encoders. Its
weights are rounded once more, from blocks to whole outputs, when it is loaded: nothing is stored twice. Activations are
rounded row by row, as in int8-rows, so that a row gives the same in any batch.

Heads stay as they are: of a prompt they compute one row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.external_data import open_graph, read_fields, read_messages
from edgepipe.backend.onnxruntime.graphs.onnx_reader import (
    GRAPH,
    INITIALIZER,
    NODE,
    OUTPUT,
    NodeHead,
    TensorHead,
    read_name,
    read_node,
    read_opset,
    read_tensor,
)
from edgepipe.backend.onnxruntime.graphs.onnx_writer import (
    Node,
    declare_initializer,
    write_field,
    write_initializer,
    write_node,
    write_number,
)
from edgepipe.bundle.integrity import EXPORT_AGAIN
from edgepipe.bundle.layout import INT8_ACCURACY_LEVEL
from edgepipe.errors import BundleError

_CONTRIBUTED = "com.microsoft"
# ``ReduceMax`` has its axes as an input from there on.
_FIRST_OPSET = 18
_FLOAT = 1  # TensorProto.DataType

# Activations have codes from 1 to 255 around the middle: onnxruntime's kernels for signed ones take many times as long
# on x86. Weights have them from -127 to 127. A row of zeros is divided by the least there is.
_MIDDLE, _STEPS, _LEAST = 128, 127, 1e-30
_OWN = "edgepipe.rows"
_AXIS, _STEP, _ZERO, _PEAK = (f"{_OWN}.{name}" for name in ("last_axis", "step", "zero_point", "least_peak"))
_CONSTANTS: Mapping[str, NDArray[Any]] = {
    _AXIS: np.array([-1], np.int64),
    _STEP: np.array(1 / _STEPS, np.float32),
    _ZERO: np.array(_MIDDLE, np.uint8),
    _PEAK: np.array(_LEAST, np.float32),
}
# What the graph says of weights that are given to the session; no such file is opened.
GIVEN = "given"
# Outputs of a weight that are rounded at a time: their numbers in fp32 fit into a processor's cache.
_OUTPUTS_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class RewrittenGraph:
    """A graph whose products are in integers.

    Attributes:
        model: The model's bytes. What is not in `weights` lies in the files that it names, beside the first graph.
        weights: Initializers by name, to be given to the session.
    """

    model: bytes
    weights: Mapping[str, NDArray[Any]]


def rewrite_products(data: Any) -> bytes:
    """A model's bytes with its products in integers, whose weights are declared in it as in the file :data:`GIVEN`.

    Raises:
        ValueError: the graph is damaged.
        IndexError: it ends too early.
    """
    return _Rewriter(data).rewrite()


def use_integer_products(graph: Path, num_threads: int = 1) -> RewrittenGraph | None:
    """Read a graph, and rewrite its products with weights in blocks of 4 or 8 bits; None where it has none.

    Args:
        graph: Its file, with the weights' file beside it.
        num_threads: How many threads round the weights.

    Raises:
        BundleError: it is of an opset before 18, or a weight is not whole.
        OSError: a file cannot be read.
        ValueError: the graph is damaged.
        IndexError: it ends too early.
    """
    with open_graph(graph) as data:
        rewriter = _Rewriter(data)
        model = rewriter.rewrite()
        products = list(rewriter.products.values())
        if not products:
            return None
        if (opset := read_opset(data)) < _FIRST_OPSET:
            raise BundleError(
                f"{graph} cannot have its products in integers: it is written in opset {opset}, and that takes "
                f"{_FIRST_OPSET} or a newer one; take w8 or q4 in its place"
            )
        with ThreadPoolExecutor(num_threads) as threads:
            rounded = list(threads.map(lambda product: _round_weight(graph, data, product), products))
    weights: dict[str, NDArray[Any]] = {}
    for product, (codes, scales) in zip(products, rounded, strict=True):
        weights |= {product.codes: codes, product.scales: scales}
    return RewrittenGraph(model, weights)


@dataclass(frozen=True, slots=True)
class _Product:
    """A product that is rewritten: the tensors of its weight, and its attributes.

    `zeros` is None where each block's zero point is half of the range.
    """

    blocks: TensorHead
    block_scales: TensorHead
    zeros: TensorHead | None
    inputs: int
    outputs: int
    bits: int
    block_size: int

    @property
    def codes(self) -> str:
        """The name of the codes in integers."""
        return f"{_OWN}.{self.blocks.name}.codes"

    @property
    def scales(self) -> str:
        """The name of the scale of each output."""
        return f"{_OWN}.{self.blocks.name}.scales"

    @property
    def names(self) -> set[str]:
        """Those of the tensors of its weight in blocks."""
        return {tensor.name for tensor in (self.blocks, self.block_scales, self.zeros) if tensor is not None}


@dataclass(slots=True)
class _Rewriter:
    """Copies a model but for its products; `products` has those that were rewritten, by the names of their weights."""

    data: Any
    products: dict[str, _Product] = field(default_factory=dict)
    _weights: dict[str, TensorHead] = field(default_factory=dict)
    _results: set[str] = field(default_factory=set)
    _read: set[str] = field(default_factory=set)  # by nodes that stay
    _quantized: dict[str, tuple[str, str]] = field(default_factory=dict)

    def rewrite(self) -> bytes:
        """The model's bytes; weights that it is to be given are declared in it."""
        data = self.data
        return b"".join(
            write_number(field, start)
            if end < 0
            else write_field(field, self._rewrite_graph(start, end) if field == GRAPH else bytes(data[start:end]))
            for field, start, end in read_fields(data, 0, len(data))
        )

    def _rewrite_graph(self, start: int, end: int) -> bytes:
        fields = list(read_messages(self.data, start, end))
        names: dict[int, str] = {}
        for number, first, last in fields:
            if number == INITIALIZER:
                tensor = read_tensor(self.data, first, last)
                names[first] = tensor.name
                self._weights[tensor.name] = tensor
            elif number == OUTPUT:
                self._results.add(read_name(self.data, first, last))
        nodes = [self._rewrite_node(first, last) for number, first, last in fields if number == NODE]
        blocks = {name for product in self.products.values() for name in product.names} - self._read
        others = [
            write_field(number, bytes(self.data[first:last]))
            for number, first, last in fields
            if number != NODE and names.get(first) not in blocks
        ]
        constants = (write_initializer(name, array) for name, array in _CONSTANTS.items()) if self.products else ()
        return b"".join([*nodes, *others, *constants, *self._declare_weights()])

    def _rewrite_node(self, start: int, end: int) -> bytes:
        node = read_node(self.data, start, end)
        product = self._find_product(node)
        if product is None:
            self._read.update(node.inputs)
            return write_field(NODE, bytes(self.data[start:end]))
        return b"".join(map(write_node, self._multiply(node, product)))

    def _find_product(self, node: NodeHead) -> _Product | None:
        """What a node multiplies by; None for one that stays as it is."""
        if (node.operator, node.domain) != ("MatMulNBits", _CONTRIBUTED) or set(node.outputs) & self._results:
            return None
        names = (*node.inputs, *[""] * 6)[:6]
        _, blocks, scales, zeros, groups, _ = names
        numbers = node.integers
        known = all(name in self._weights for name in (blocks, scales, *([zeros] if zeros else [])))
        if (
            not known
            or groups
            or numbers.get("accuracy_level") != INT8_ACCURACY_LEVEL
            or numbers.get("bits", 4) not in (4, 8)
        ):
            return None
        if self._weights[scales].dtype != _FLOAT:
            return None
        if blocks not in self.products:
            self.products[blocks] = _Product(
                self._weights[blocks],
                self._weights[scales],
                self._weights[zeros] if zeros else None,
                numbers["K"],
                numbers["N"],
                numbers.get("bits", 4),
                numbers["block_size"],
            )
        return self.products[blocks]

    def _multiply(self, node: NodeHead, product: _Product) -> Iterator[Node]:
        """The nodes in place of one: rows of activations are divided by their peaks, products multiplied by these."""
        given, result = node.inputs[0], node.outputs[0]
        bias = node.inputs[5] if len(node.inputs) > 5 else ""
        if given not in self._quantized:
            yield from self._quantize(given)
        codes, peaks = self._quantized[given]
        whole, scaled = f"{_OWN}.{result}.whole", f"{_OWN}.{result}.scaled" if bias else result
        operands = [codes, product.codes, _STEP, product.scales, _ZERO]
        yield Node("MatMulIntegerToFloat", operands, [whole], domain=_CONTRIBUTED)
        yield Node("Mul", [whole, peaks], [scaled])
        if bias:
            yield Node("Add", [scaled, bias], [result])

    def _quantize(self, given: str) -> Iterator[Node]:
        """The nodes that make the codes of a tensor, uint8[..., inputs], and its rows' peaks, float32[..., 1]."""
        names = ("high", "low", "opposite", "peaks", "divided", "codes")
        high, low, opposite, peaks, divided, codes = (f"{_OWN}.{given}.{name}" for name in names)
        self._quantized[given] = codes, peaks
        yield Node("ReduceMax", [given, _AXIS], [high], {"keepdims": 1})
        yield Node("ReduceMin", [given, _AXIS], [low], {"keepdims": 1})
        yield Node("Neg", [low], [opposite])
        yield Node("Max", [high, opposite, _PEAK], [peaks])
        yield Node("Div", [given, peaks], [divided])
        yield Node("QuantizeLinear", [divided, _STEP, _ZERO], [codes])

    def _declare_weights(self) -> Iterator[bytes]:
        for product in self.products.values():
            yield declare_initializer(product.codes, "int8", (product.inputs, product.outputs), GIVEN)
            yield declare_initializer(product.scales, "float32", (product.outputs,), GIVEN)


def _round_weight(graph: Path, data: Any, product: _Product) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A weight as int8[inputs, outputs], with a scale for each output, float32[outputs]."""
    bits, size, outputs = product.bits, product.block_size, product.outputs
    count = -(-product.inputs // size)
    blocks = _read(graph, data, product.blocks, np.uint8).reshape(outputs, count, size * bits // 8)
    block_scales = _read(graph, data, product.block_scales, np.float32).reshape(outputs, count, 1)
    zeros = None if product.zeros is None else _read(graph, data, product.zeros, np.uint8).reshape(outputs, -1)
    codes = np.empty((product.inputs, outputs), np.int8)
    scales = np.empty(outputs, np.float32)
    for first in range(0, outputs, _OUTPUTS_AT_ONCE):
        part = slice(first, first + _OUTPUTS_AT_ONCE)
        numbers = _unpack(blocks[part], bits).astype(np.float32)
        if zeros is None:
            numbers -= 2 ** (bits - 1)
        else:
            numbers -= _unpack(zeros[part], bits)[:, :count, None]
        numbers *= block_scales[part]
        rows = numbers.reshape(len(numbers), -1)[:, : product.inputs]
        steps = np.maximum(np.maximum(rows.max(axis=1), -rows.min(axis=1)), _LEAST) / _STEPS
        rows /= steps[:, None]
        codes[:, part] = np.rint(rows, out=rows).T
        scales[part] = steps
    return codes, scales


def _unpack(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """A code in each byte, of two in 4 bits the lower half first."""
    if bits == 8:
        return codes
    return np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:-1], -1)


def _read(graph: Path, data: Any, tensor: TensorHead, dtype: Any) -> NDArray[Any]:
    """The numbers of a weight, mapped where they lie in a file.

    Raises:
        BundleError: the file ends before them, or they are written in another form than bytes.
    """
    size = int(np.prod(tensor.dims)) * np.dtype(dtype).itemsize
    if tensor.location:
        path = graph.parent / tensor.location
        if tensor.length == size and tensor.offset + size <= path.stat().st_size:
            return np.memmap(path, dtype, "r", tensor.offset, tensor.dims)
    elif tensor.inside is not None and tensor.inside[1] - tensor.inside[0] == size:
        return np.frombuffer(data[slice(*tensor.inside)], dtype).reshape(tensor.dims)
    raise BundleError(f"cannot load {graph}: the weight {tensor.name} is truncated or altered; {EXPORT_AGAIN}")
