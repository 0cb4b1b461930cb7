"""What onnxruntime's kernels take for one product of activations and a weight: python -m benchmarks.graphs.products

Products are most of a model: beside fp32, no recipe is much faster than its kernel is alone. A row is a token. Rounds
in turn, medians; ratios are to fp32.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from benchmarks.turns import ROUNDS, format_medians, measure_medians
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

CONTRIBUTED = "com.microsoft"
CALLS = 20

Weights = dict[str, NDArray[Any]]


def fp32(inputs: int, outputs: int) -> tuple[NodeProto, Weights]:
    """A product in fp32."""
    weight = np.random.default_rng(0).normal(size=(inputs, outputs)).astype(np.float32)
    return helper.make_node("MatMul", ["activations", "weight"], ["products"]), {"weight": weight}


def int8(inputs: int, outputs: int) -> tuple[NodeProto, Weights]:
    """Of `int8`: a scale for all activations, found by the operator, and one for each channel of the weight."""
    weights = {
        "weight": np.random.default_rng(0).integers(-127, 128, (inputs, outputs)).astype(np.int8),
        "scales": np.full(outputs, 0.01, np.float32),
        "zeros": np.zeros(outputs, np.int8),
    }
    names = ["activations", *weights]
    return helper.make_node("DynamicQuantizeMatMul", names, ["products"], domain=CONTRIBUTED), weights


def blockwise(bits: int, size: int) -> Callable[[int, int], tuple[NodeProto, Weights]]:
    """Of `w8` and `q4`: scales for blocks of weights and of activations."""

    def build(inputs: int, outputs: int) -> tuple[NodeProto, Weights]:
        blocks = -(-inputs // size)
        weights = {
            "weight": np.random.default_rng(0).integers(0, 256, (outputs, blocks, size * bits // 8), np.uint8),
            "scales": np.full((outputs, blocks), 0.01, np.float32),
        }
        options = {"K": inputs, "N": outputs, "bits": bits, "block_size": size, "accuracy_level": 4}
        names = ["activations", *weights]
        return helper.make_node("MatMulNBits", names, ["products"], domain=CONTRIBUTED, **options), weights

    return build


KERNELS = {
    "fp32": fp32,
    "int8": int8,
    "w8, 32": blockwise(8, 32),
    "w8, 64": blockwise(8, 64),
    "w8, 128": blockwise(8, 128),
    "w8, 256": blockwise(8, 256),
    "q4, 32": blockwise(4, 32),
    "q4, 128": blockwise(4, 128),
}


def model(node: NodeProto, weights: Weights, inputs: int, outputs: int) -> ModelProto:
    """A graph of the product alone."""
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("activations", TensorProto.FLOAT, ["rows", inputs])],
        [helper.make_tensor_value_info("products", TensorProto.FLOAT, ["rows", outputs])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(CONTRIBUTED, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def bind(session: Any, activations: NDArray[np.float32]) -> Callable[[], object]:
    """A run whose input and output are named already."""
    binding = session.io_binding()
    binding.bind_cpu_input("activations", activations)
    binding.bind_output("products")
    return partial(session.run_with_iobinding, binding)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", default=["384x384", "384x1536", "1536x384"], metavar="INPUTSxOUTPUTS")
    parser.add_argument("--rows", nargs="*", type=int, default=[1, 4, 16, 128])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processor-time", action="store_true", help="count processor time, best with one thread")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.processor_time else time.perf_counter
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    for shape in arguments.shapes:
        inputs, outputs = map(int, shape.split("x"))
        sessions = {
            name: onnxruntime.InferenceSession(
                model(*kernel(inputs, outputs), inputs, outputs).SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
            )
            for name, kernel in KERNELS.items()
        }
        for rows in arguments.rows:
            activations = np.random.default_rng(1).normal(size=(rows, inputs)).astype(np.float32)
            runs = {name: bind(session, activations) for name, session in sessions.items()}
            found = measure_medians(runs, ROUNDS, CALLS, clock=clock)
            print(f"{rows} x {shape}: {format_medians(found, 'fp32', 'us', 1e6, 0)}", flush=True)


if __name__ == "__main__":
    main()
