"""What a decoder takes to read a prompt, and where that goes: python -m benchmarks.graphs.prompts BUNDLE

Prompts are random ids, one at a time, in turns with each other; ratios are to the first variant. Beside the variants of
w8 and q4 there is a form that edgepipe does not write: `w8, int8` has the same weights, rounded once more to 8 bits
with a scale for each output, and products in integers with a scale for each token, as `int8-rows` has them. It says
what making those weights took, how far logits of the last token are from fp32's, and what each kind of operator takes
by onnxruntime's profiler.

`--openvino BUNDLE` adds the variants of a bundle that was exported with `--target openvino`, on that engine. `--steps`
adds what a token behind the prompt takes. On a busy machine `--processor-time` with `--threads 1` counts processor
time, which others disturb less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from benchmarks.graphs.products import CONTRIBUTED
from benchmarks.turns import ROUNDS, format_medians, measure_medians
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgepipe import Bundle
from edgepipe.backend.engines import create_session
from edgepipe.backend.onnxruntime.operator_profile import profile_operators
from edgepipe.backend.session import Session, SessionConfig
from edgepipe.bundle.layout import LOGITS, LOGITS_TO_KEEP
from edgepipe.models.decoder.decoder_loading import load_decoder

IN_BLOCKS = ("w8", "q4")
# What integers with a scale for each token need: see `edgepipe_export.quantization.methods.quantize_rows`.
MIDDLE, STEPS, TINY = 128, 127, 1e-30
ROW_CONSTANTS: Mapping[str, NDArray[Any]] = {
    "last_axis_of_rows": np.array([-1]),
    "row_step": np.array(1 / STEPS, np.float32),
    "row_middle": np.array(MIDDLE, np.uint8),
    "least_peak": np.array(TINY, np.float32),
}

Feeds = dict[str, NDArray[Any]]


def use_integer_products(model: ModelProto) -> float:
    """Put integer products in the place of those with weights in blocks, but for the head, in place.

    Returns:
        The seconds that it took to make the weights.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    added, nodes, seconds = dict(ROW_CONSTANTS), [], 0.0
    for node in graph.node:
        if node.op_type != "MatMulNBits" or node.output[0] == LOGITS:
            nodes.append(node)
            continue
        start = time.perf_counter()
        codes, scales = round_again(node, weights)
        seconds += time.perf_counter() - start
        name = node.input[1]
        added |= {f"{name}_codes": codes, f"{name}_scales": scales, f"{name}_zeros": np.zeros(len(scales), np.int8)}
        nodes += multiply_rows(node, name)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input} | {each.name for each in graph.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *(numpy_helper.from_array(array, name) for name, array in added.items())])
    return seconds


def round_again(node: NodeProto, weights: Mapping[str, TensorProto]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """The weight of a ``MatMulNBits`` as int8[inputs, outputs] with a scale for each output, float32[outputs]."""
    attributes = {each.name: each.i for each in node.attribute}
    bits, outputs, size = attributes["bits"], attributes["N"], attributes["block_size"]
    arrays = [numpy_helper.to_array(weights[name]) if name else None for name in node.input[1:4]]
    codes, scales, zeros = arrays + [None] * (3 - len(arrays))
    assert codes is not None
    assert scales is not None
    numbers = unpack(codes, bits).reshape(outputs, -1, size).astype(np.float32)
    count = numbers.shape[1]
    if zeros is None:
        numbers -= 2 ** (bits - 1)
    else:
        numbers -= unpack(zeros.reshape(outputs, -1), bits)[:, :count, None]
    whole = (numbers * scales.reshape(outputs, count, 1)).reshape(outputs, -1)[:, : attributes["K"]]
    steps = np.maximum(np.abs(whole).max(axis=1), TINY) / STEPS
    return np.ascontiguousarray(np.rint(whole / steps[:, None]).astype(np.int8).T), steps.astype(np.float32)


def unpack(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """A code in each byte, of two in 4 bits the lower half first."""
    if bits == 8:
        return codes
    return np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:-1], -1)


def multiply_rows(node: NodeProto, name: str) -> list[NodeProto]:
    """The product of a node in integers, each row of activations with a scale of its own."""
    given, result = node.input[0], node.output[0]
    bias = node.input[5] if len(node.input) > 5 else ""
    high, low, opposite, peaks, divided, codes, product = (f"{result}_{number}" for number in range(7))
    scaled = f"{result}_scaled" if bias else result
    make = helper.make_node
    operands = [codes, f"{name}_codes", "row_step", f"{name}_scales", "row_middle", f"{name}_zeros"]
    nodes = [
        make("ReduceMax", [given, "last_axis_of_rows"], [high], keepdims=1),
        make("ReduceMin", [given, "last_axis_of_rows"], [low], keepdims=1),
        make("Neg", [low], [opposite]),
        make("Max", [high, opposite, "least_peak"], [peaks]),
        make("Div", [given, peaks], [divided]),
        make("QuantizeLinear", [divided, "row_step", "row_middle"], [codes]),
        make("MatMulIntegerToFloat", operands, [product], domain=CONTRIBUTED),
        make("Mul", [product, peaks], [scaled]),
    ]
    return [*nodes, make("Add", [scaled, bias], [result])] if bias else nodes


def prompt(session: Session, ids: NDArray[np.int64]) -> Feeds:
    """What a graph reads for a prompt without a past, of whose last token alone logits are wanted."""
    arrays: Feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(ids.size)[None]}
    feeds = {name: arrays[name] for name in session.inputs if name in arrays}
    for name, dtype in session.inputs.items():
        if name not in feeds:
            _, heads, _, width = session.input_shapes[name]
            feeds[name] = np.zeros((1, int(heads or 0), 0, int(width or 0)), dtype)
    if LOGITS_TO_KEEP in session.optional_inputs:
        feeds[LOGITS_TO_KEEP] = np.array(1, session.optional_inputs[LOGITS_TO_KEEP])
    return feeds


def find_graphs(bundle: Bundle, dtypes: Sequence[str], folder: Path) -> Iterator[tuple[str, Path]]:
    """The variants' graphs, and those with integer products."""
    for dtype in dtypes:
        yield dtype, bundle.graph(dtype)
        if dtype not in IN_BLOCKS:
            continue
        model = onnx.load(bundle.graph(dtype))
        print(f"{dtype}: weights in int8 made of it in {use_integer_products(model):.2f} s", flush=True)
        path = folder / f"{dtype}.onnx"
        onnx.save(model, path, save_as_external_data=True, location=f"{dtype}.onnx_data", size_threshold=1024)
        yield f"{dtype}, int8", path


def time_steps(
    bundle: Bundle, dtypes: Sequence[str], config: SessionConfig, ids: NDArray[np.int64]
) -> dict[str, Callable[[], object]]:
    """Runs of one more token behind the prompt, with the cache that edgepipe has."""
    runs: dict[str, Callable[[], object]] = {}
    for dtype in dtypes:
        decoding = load_decoder(bundle, dtype, config).begin(ids, np.ones_like(ids), 2 * ids.size)
        decoding.step(ids)
        runs[dtype] = partial(decoding.step, ids[:, :1])
    return runs


def describe_operators(graph: Path, config: SessionConfig, feeds: Feeds, calls: int) -> str:
    """The share of each kind of operator that takes a hundredth at least."""
    operators = profile_operators(graph, config, feeds, calls).operators
    whole = sum(own.seconds for own in operators)
    parts = [f"{own.kind} {own.seconds / whole:.0%}" for own in operators if own.seconds > whole / 100]
    return ", ".join(parts)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle of a decoder with fp32")
    parser.add_argument("--openvino", type=Path, help="one of the same checkpoint, exported with --target openvino")
    parser.add_argument("--dtypes", nargs="+", default=["w8", "q4", "int8", "fp32"])
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--calls", type=int, default=3)
    parser.add_argument("--steps", action="store_true", help="what a token behind the prompt takes, too")
    parser.add_argument("--processor-time", action="store_true", help="count processor time")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    clock = time.process_time if arguments.processor_time else time.perf_counter
    here, there = (SessionConfig(device, num_threads=arguments.threads) for device in ("cpu", "openvino"))
    bundle = Bundle.load(arguments.bundle)
    dtypes = [dtype for dtype in arguments.dtypes if dtype in bundle.dtypes]
    ids = np.random.default_rng(0).integers(0, int(bundle.config["vocab_size"]), (1, arguments.tokens))
    with tempfile.TemporaryDirectory(prefix="edgepipe-bench-") as scratch:
        graphs = dict(find_graphs(bundle, dtypes, Path(scratch)))
        sessions = {name: create_session(path, here) for name, path in graphs.items()}
        feeds = {name: prompt(session, ids) for name, session in sessions.items()}
        runs: dict[str, Callable[[], Any]] = {
            name: partial(session.run, feeds[name]) for name, session in sessions.items()
        }
        steps = time_steps(bundle, dtypes, here, ids) if arguments.steps else {}
        if arguments.openvino is not None:
            other = Bundle.load(arguments.openvino)
            shared = [dtype for dtype in dtypes if dtype in other.dtypes]
            loaded = {dtype: load_decoder(other, dtype, there).session for dtype in shared}
            runs |= {f"{dtype}, OpenVINO": partial(own.run, prompt(own, ids)) for dtype, own in loaded.items()}
            if arguments.steps:
                behind = time_steps(other, shared, there, ids)
                steps |= {f"{dtype}, OpenVINO": run for dtype, run in behind.items()}
        found = measure_medians(runs, arguments.rounds, arguments.calls, clock=clock)
        print(f"prompt of {ids.size}: {format_medians(found, dtypes[0], 'ms', 1e3, 1)}", flush=True)
        if steps:
            found = measure_medians(steps, arguments.rounds, arguments.calls, clock=clock)
            print(f"a token behind it: {format_medians(found, dtypes[0], 'ms', 1e3, 2)}", flush=True)
        exact = create_session(bundle.graph("fp32"), here).run(prompt(sessions[dtypes[0]], ids))[LOGITS]
        for name, run in runs.items():
            away = float(np.sqrt(np.mean((run()[LOGITS][:, -1] - exact[:, -1]) ** 2)))
            print(f"{name}: logits {away / float(exact[:, -1].std()):.4f} of their spread from fp32's", flush=True)
        for name, path in graphs.items():
            print(f"{name}: {describe_operators(path, here, feeds[name], arguments.calls)}", flush=True)


if __name__ == "__main__":
    main()
