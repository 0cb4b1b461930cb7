"""What other graphs of a decoder would save in a step with one token: python -m benchmarks.graphs.decode_parts [BUNDLE]

Attention up to its output, and the gated part of a feed-forward layer, in forms that give the same numbers:

- `exported` is what edgepipe writes.
- `one product` has one for queries, keys and values, or for gate and up, and splits it.
- `packed` turns all heads at once, values by an angle of zero, and hands them to `GroupQueryAttention` as they are.
- `turned within` has `GroupQueryAttention` turn them, which needs tables for every position there may be.
- `no mask` leaves the mask out.

With the bundle of a decoder it also says what it takes to make the mask, once a step. One layer alone stays in the
processor's caches, so what differs is the operators, however fast memory is. Rounds in turn, medians; ratios are to
`exported`. The largest difference of the results is beside them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
from benchmarks.graphs.products import CONTRIBUTED, Weights
from benchmarks.turns import ROUNDS, format_medians, measure_medians
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgepipe import Bundle

CALLS = 400
EXPORTED = "exported"
# Bits of a weight, and numbers that share a scale.
FORMATS = {"w8": (8, 128), "q4": (4, 32)}


@dataclass(frozen=True, slots=True)
class Shape:
    """A layer: its width, heads, heads of keys and values, the width of one, and of the feed-forward layer."""

    width: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int


SHAPES = {"llama-134m": Shape(768, 12, 4, 64, 2048), "qwen-0.5b": Shape(896, 14, 2, 64, 4864)}


class Part:
    """A graph of a part of a layer, put together node by node."""

    def __init__(self, shape: Shape, dtype: str) -> None:
        self.shape = shape
        self.bits, self.block = FORMATS[dtype]
        self.nodes: list[NodeProto] = []
        self.constants: Weights = {}

    def add(self, operator: str, *inputs: str, outputs: tuple[str, ...], domain: str = "", **attributes: Any) -> None:
        """A node."""
        self.nodes.append(helper.make_node(operator, inputs, outputs, domain=domain, **attributes))

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """An initializer."""
        self.constants[name] = array
        return name

    def multiply(self, sizes: Mapping[str, int], *, together: bool) -> None:
        """Products of the states, each with columns of its own, which are the same either way."""
        weights = [self._draw(size, seed) for seed, size in enumerate(sizes.values())]
        if together:
            self._multiply("joined", np.concatenate(weights))
        else:
            for name, codes in zip(sizes, weights, strict=True):
                self._multiply(name, codes)

    def split(self, sizes: Mapping[str, int]) -> None:
        """The parts of the joined product."""
        columns = self.constant("columns", np.array(list(sizes.values())))
        self.add("Split", "joined", columns, outputs=tuple(sizes), axis=-1)

    def start(self, inputs: Mapping[str, list[int]], outputs: Mapping[str, list[int]], threads: int) -> Any:
        """A session."""
        ends = [
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name, axes in each.items()]
            for each in (inputs, outputs)
        ]
        weights = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid(CONTRIBUTED, 1)]
        graph = helper.make_graph(self.nodes, "part", *ends, weights)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        content = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def _draw(self, size: int, seed: int) -> NDArray[np.uint8]:
        blocks = -(-self.shape.width // self.block)
        return np.random.default_rng(seed).integers(0, 256, (size, blocks, self.block * self.bits // 8), np.uint8)

    def _multiply(self, name: str, codes: NDArray[np.uint8]) -> None:
        scales = np.full(codes.shape[:2], 0.01 if self.bits == 4 else 0.001, np.float32)
        layout = {"bits": self.bits, "block_size": self.block, "accuracy_level": 4}
        weights = (self.constant(f"{name}_codes", codes), self.constant(f"{name}_scales", scales))
        sizes = {"K": self.shape.width, "N": len(codes)}
        self.add("MatMulNBits", "states", *weights, outputs=(name,), domain=CONTRIBUTED, **sizes, **layout)


def attention(form: str, shape: Shape, dtype: str, total: int, threads: int) -> Callable[[], Any]:
    """A run of attention over so many tokens, of which the last is new; past and present are one buffer."""
    part, width = Part(shape, dtype), shape.head_dim
    heads = shape.heads + 2 * shape.kv_heads
    sizes = {"query": shape.heads * width, "key": shape.kv_heads * width, "value": shape.kv_heads * width}
    together = form in ("one product", "packed", "turned within")
    part.multiply(sizes, together=together)
    angles = np.arange(total)[:, None] * np.geomspace(1, 1e-4, width // 2)[None]
    cosines, sines = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    given, attributes = ["turned_query", "turned_key", "value"], {}
    if form == "one product":
        part.split(sizes)
    if form == "packed":
        # The operator asks for as many rows as there are heads.
        still = [np.full((heads, width // 2), number, np.float32) for number in (1, 0)]
        tables = [np.concatenate([row, table[-1:]]) for row, table in zip(still, (cosines, sines), strict=True)]
        rows = np.array([[heads] * (shape.heads + shape.kv_heads) + [0] * shape.kv_heads])
        turn = [part.constant("rows", rows), part.constant("cos", tables[0]), part.constant("sin", tables[1])]
        part.add("Reshape", "joined", part.constant("apart", np.array([-1, heads, width])), outputs=("heads",))
        part.add("RotaryEmbedding", "heads", *turn, outputs=("turned",), domain=CONTRIBUTED)
        part.add("Reshape", "turned", part.constant("flat", np.array([1, 1, heads * width])), outputs=("packed",))
        given = ["packed", "", ""]
    elif form == "turned within":
        given, attributes = ["joined", "", ""], {"do_rotary": 1}
    else:
        row = part.constant("rows", np.array([[0]]))
        turn = [row, part.constant("cos", cosines[-1:]), part.constant("sin", sines[-1:])]
        for name in ("query", "key"):
            part.add("RotaryEmbedding", name, *turn, outputs=(f"turned_{name}",), domain=CONTRIBUTED)
    counts = [
        part.constant("before", np.array([total - 1], np.int32)),
        part.constant("total", np.array(total, np.int32)),
    ]
    within = [part.constant("cos", cosines), part.constant("sin", sines)] if form == "turned within" else ["", ""]
    mask = "" if form == "no mask" else part.constant("mask", np.zeros((1, 1, 1, total), np.float32))
    part.add(
        "GroupQueryAttention", *given, "past_key", "past_value", *counts, *within, "", mask, domain=CONTRIBUTED,
        outputs=("result", "present_key", "present_value"), num_heads=shape.heads, kv_num_heads=shape.kv_heads,
        scale=width**-0.5, **attributes,
    )  # fmt: skip
    axes = [1, shape.kv_heads, total, width]
    inputs = {"states": [1, 1, shape.width], "past_key": axes, "past_value": axes}
    outputs = {"result": [1, 1, sizes["query"]], "present_key": axes, "present_value": axes}
    session = part.start(inputs, outputs, threads)
    binding = session.io_binding()
    binding.bind_cpu_input("states", draw(1, 1, shape.width))
    for kind in ("key", "value"):
        buffer = onnxruntime.OrtValue.ortvalue_from_numpy(draw(*axes))
        binding.bind_ortvalue_input(f"past_{kind}", buffer)
        binding.bind_ortvalue_output(f"present_{kind}", buffer)
    return bind(session, binding)


def gated(form: str, shape: Shape, dtype: str, threads: int) -> Callable[[], Any]:
    """A run of a gated feed-forward layer up to the product of its halves."""
    part = Part(shape, dtype)
    sizes = {"gate": shape.inner, "up": shape.inner}
    part.multiply(sizes, together=form == "one product")
    if form == "one product":
        part.split(sizes)
    part.add("Sigmoid", "gate", outputs=("opened",))
    part.add("Mul", "gate", "opened", outputs=("activated",))
    part.add("Mul", "activated", "up", outputs=("result",))
    session = part.start({"states": [1, 1, shape.width]}, {"result": [1, 1, shape.inner]}, threads)
    binding = session.io_binding()
    binding.bind_cpu_input("states", draw(1, 1, shape.width))
    return bind(session, binding)


def make_mask(graph: Path, total: int, threads: int) -> Callable[[], Any]:
    """A run of the nodes that make the mask of a decoder's graph for one new token."""
    model = onnx_ir.load(graph)
    attending = next(node for node in model.graph if node.op_type == "GroupQueryAttention")
    mask = attending.inputs[10]
    assert mask is not None
    model.graph.outputs.clear()
    model.graph.outputs.append(mask)
    RemoveUnusedNodesPass()(model)
    for value in [value for value in model.graph.inputs if not value.uses()]:
        model.graph.inputs.remove(value)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        onnx_ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    lengths = {"attention_mask": total}
    feeds = {each.name: np.ones((1, lengths.get(each.name, 1)), np.int64) for each in session.get_inputs()}
    return partial(session.run, None, feeds)


def draw(*axes: int) -> NDArray[np.float32]:
    """Numbers, the same for the same axes."""
    return np.random.default_rng(0).standard_normal(axes, np.float32)


def bind(session: Any, binding: Any) -> Callable[[], Any]:
    """A run that gives its binding."""
    binding.bind_output("result")

    def run() -> Any:
        session.run_with_iobinding(binding)
        return binding

    return run


def compare(runs: Mapping[str, Callable[[], Any]]) -> str:
    """The medians of runs, and how far their results are from the first's."""
    found = measure_medians(runs, ROUNDS, CALLS)
    results = {name: result_of(run) for name, run in runs.items()}
    largest = max(float(np.abs(array - results[EXPORTED]).max()) for array in results.values())
    return f"{format_medians(found, EXPORTED, 'us', 1e6, 1)}; largest difference {largest:.1e}"


def result_of(run: Callable[[], Any]) -> NDArray[np.float32]:
    """What a run gives: the output that was bound last."""
    return np.asarray(run().get_outputs()[-1].numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", help="bundle of a decoder")
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=SHAPES)
    parser.add_argument("--dtypes", nargs="*", default=list(FORMATS), choices=FORMATS)
    parser.add_argument("--totals", nargs="*", type=int, default=[64, 512])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.bundle is not None:
        graph = Bundle.load(arguments.bundle).graph("fp32")
        runs = {f"mask of {total}": make_mask(graph, total, arguments.threads) for total in arguments.totals}
        print(format_medians(measure_medians(runs, ROUNDS, CALLS), next(iter(runs)), "us", 1e6, 1), flush=True)
    forms = (EXPORTED, "one product", "packed", "turned within", "no mask")
    for name in arguments.shapes:
        shape = SHAPES[name]
        for dtype in arguments.dtypes:
            for total in arguments.totals:
                runs = {form: attention(form, shape, dtype, total, arguments.threads) for form in forms}
                print(f"{name}, {dtype}, attention over {total}: {compare(runs)}", flush=True)
            runs = {form: gated(form, shape, dtype, arguments.threads) for form in (EXPORTED, "one product")}
            print(f"{name}, {dtype}, gate and up: {compare(runs)}", flush=True)


if __name__ == "__main__":
    main()
