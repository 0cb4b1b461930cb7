"""What attention takes over keys and values in fp32, fp16, int8 and int4: `python -m benchmarks.graphs.cache_dtypes`.

Twelve times onnxruntime's `GroupQueryAttention` alone, each with a buffer of its own, one text: a step behind some
tokens, and a prompt. Processor time is counted too, which other programs change less.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
from benchmarks.turns import print_progress

from edgepipe.text_table import table

LAYERS, HEADS, WIDTH = 12, 12, 64
FLOAT, HALF, INT8, UINT8 = (
    onnx_ir.DataType.FLOAT,
    onnx_ir.DataType.FLOAT16,
    onnx_ir.DataType.INT8,
    onnx_ir.DataType.UINT8,
)
# Of queries, of the cache, and the attributes of the operator; a byte has two numbers of 4 bits.
KINDS: dict[str, tuple[onnx_ir.DataType, onnx_ir.DataType, dict[str, Any]]] = {
    "fp32": (FLOAT, FLOAT, {}),
    "fp16": (HALF, HALF, {}),
    "int8, a scale a tensor": (FLOAT, INT8, {"kv_cache_bit_width": 8, "k_quant_type": "PER_TENSOR"}),
    "int8, a scale a channel": (FLOAT, INT8, {"kv_cache_bit_width": 8, "k_quant_type": "PER_CHANNEL"}),
    "int4, a scale a channel": (FLOAT, UINT8, {"kv_cache_bit_width": 4, "k_quant_type": "PER_CHANNEL"}),
}
STEPS = 15


def make_model(kind: str, kv_heads: int) -> bytes:
    """The operators behind each other: what one gives is the next one's query."""
    dtype, cached, attributes = KINDS[kind]
    width = WIDTH // 2 if cached == UINT8 else WIDTH
    inputs = [
        onnx_ir.val("query", dtype, ["batch", "new", HEADS * WIDTH]),
        *(onnx_ir.val(name, dtype, ["batch", "new", kv_heads * WIDTH]) for name in ("key", "value")),
        onnx_ir.val("seqlens_k", onnx_ir.DataType.INT32, ["batch"]),
        onnx_ir.val("total_sequence_length", onnx_ir.DataType.INT32, []),
    ]
    query, key, value, lengths, total = inputs
    nodes, outputs, initializers = [], [], []
    scales: list[Any] = []
    if attributes:
        each = attributes["k_quant_type"] == "PER_CHANNEL"
        array = np.full((1, kv_heads, 1, WIDTH) if each else 1, 0.03, np.float32)
        scale = onnx_ir.Value(name="scale", const_value=onnx_ir.tensor(array, name="scale"))
        initializers.append(scale)
        scales = [None] * 5 + [scale, scale]
        attributes = attributes | {"v_quant_type": attributes["k_quant_type"]}
    for layer in range(LAYERS):
        past = [onnx_ir.val(f"past.{layer}.{name}", cached, ["batch", kv_heads, "room", width]) for name in "kv"]
        node = onnx_ir.node(
            "GroupQueryAttention",
            [query, key, value, *past, lengths, total, *scales],
            attributes={"num_heads": HEADS, "kv_num_heads": kv_heads, **attributes},
            domain="com.microsoft",
            num_outputs=3,
        )
        for output, name in zip(node.outputs, (f"output.{layer}", *(value.name for value in past)), strict=True):
            output.name = str(name).replace("past", "present")
            output.type = onnx_ir.TensorType(cached if output.name.startswith("present") else dtype)
        inputs += past
        nodes.append(node)
        outputs += [*node.outputs[1:]]
        query = node.outputs[0]
    graph = onnx_ir.Graph(
        inputs,
        [query, *outputs],
        nodes=nodes,
        initializers=initializers,
        opset_imports={"": 21, "com.microsoft": 1},
        name="layers",
    )
    return onnx_ir.serde.serialize_model(onnx_ir.Model(graph, ir_version=10)).SerializeToString()


class Layers:
    """The operators of a kind, loaded, with buffers for so many tokens."""

    def __init__(self, kind: str, kv_heads: int, room: int, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(make_model(kind, kv_heads), options)
        dtype, cached, _ = KINDS[kind]
        self._dtype, self._kv_heads = dtype.numpy(), kv_heads
        numbers = np.random.default_rng(0)
        shape = (1, kv_heads, room, WIDTH // 2 if cached == UINT8 else WIDTH)
        self._buffers: dict[str, Any] = {}
        for layer in range(LAYERS):
            for name in "kv":
                steps = numbers.integers(0, 50, shape)
                array = (steps if cached in (INT8, UINT8) else steps / 50).astype(cached.numpy())
                self._buffers[f"past.{layer}.{name}"] = onnxruntime.OrtValue.ortvalue_from_numpy(array)

    def run(self, new: int, total: int, times: int) -> tuple[float, float]:
        """Medians of a run's seconds, and of its seconds of processor time."""
        numbers = np.random.default_rng(1)
        binding = self._session.io_binding()
        sizes = {"query": HEADS, "key": self._kv_heads, "value": self._kv_heads}
        for name, heads in sizes.items():
            binding.bind_cpu_input(name, numbers.normal(size=(1, new, heads * WIDTH)).astype(self._dtype))
        binding.bind_cpu_input("seqlens_k", np.array([total - 1], np.int32))
        binding.bind_cpu_input("total_sequence_length", np.array(total, np.int32))
        binding.bind_output(f"output.{LAYERS - 1}")
        for name, tensor in self._buffers.items():
            binding.bind_ortvalue_input(name, tensor)
            binding.bind_ortvalue_output(name.replace("past", "present"), tensor)
        took = []
        for _ in range(times + 1):
            start = time.perf_counter(), time.process_time()
            self._session.run_with_iobinding(binding)
            took.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        seconds, processor = np.median(took[1:], axis=0).tolist()
        return seconds, processor


def main() -> None:
    arguments = _arguments()
    room = max(arguments.past + arguments.prompts) + 1
    rows = []
    for kv_heads in arguments.kv_heads:
        for kind in KINDS:
            print_progress(f"{kv_heads} heads of keys, {kind}")
            layers = Layers(kind, kv_heads, room, arguments.threads)
            runs = [layers.run(1, past + 1, STEPS) for past in arguments.past]
            runs += [layers.run(new, new, 1) for new in arguments.prompts]
            rows.append([str(kv_heads), kind, *(f"{1000 * took:.1f} ({1000 * own:.1f})" for took, own in runs)])
    headers = ["heads of keys", "keys and values", *(f"behind {past:,}, ms" for past in arguments.past)]
    headers += [f"prompt of {new:,}, ms" for new in arguments.prompts]
    print(f"onnxruntime {onnxruntime.__version__}, {arguments.threads} threads; in brackets processor time")
    print(table(headers, rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kv-heads", nargs="+", type=int, default=[4, 12], help=f"heads of keys, of {HEADS} queries")
    parser.add_argument("--past", nargs="+", type=int, default=[100, 1000, 4000], help="tokens before a step")
    parser.add_argument("--prompts", nargs="+", type=int, default=[512, 2000])
    return parser.parse_args()


if __name__ == "__main__":
    main()
