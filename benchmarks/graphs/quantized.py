"""How fast the variants of a bundle are beside its first: python -m benchmarks.graphs.quantized BUNDLE

Rounds are interleaved, so that a machine that is busy for a while slows all of them; medians and ratios are printed.
Inputs are random ids, for encoders at 1x16, 1x128 and 8x128 tokens; for decoders one token after 32 and after 256.

`--without-kernels` adds w8 and q4 as processors without kernels for them compute them: with the accuracy level 1
MatMulNBits multiplies in fp32, as on ARM without dot products. onnxruntime 1.32 has a kernel for that with 4 bits; with
8 it writes the whole matrix in fp32 for each product.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from benchmarks.turns import ROUNDS, format_medians, measure_medians

from edgepipe import Bundle
from edgepipe.backend.engines import create_session
from edgepipe.backend.session import Session, SessionConfig

ENCODED = ((1, 16), (1, 128), (8, 128))
PASTS = (32, 256)
IN_BLOCKS, LEVEL, IN_FP32 = ("w8", "q4"), "accuracy_level", 1


def cases(session: Session) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    """A name and the shape of each input."""
    caches = [name for name in session.inputs if name.startswith("past_key_values.")]
    if not caches:
        for shape in ENCODED:
            yield f"{shape[0]}x{shape[1]}", dict.fromkeys(session.inputs, shape)
        return
    for past in PASTS:
        shapes: dict[str, tuple[int, ...]] = {name: (1, 1) for name in session.inputs}
        shapes["attention_mask"] = (1, past + 1)
        for name in caches:
            _, heads, _, width = session.input_shapes[name]
            assert isinstance(heads, int)
            assert isinstance(width, int)
            shapes[name] = (1, heads, past, width)
        yield f"1 token after {past}", shapes


def random_inputs(
    session: Session, shapes: dict[str, tuple[int, ...]], vocabulary: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Random ids, masks of ones, zeros for the rest."""
    numbers = np.random.default_rng(0)
    arrays = {}
    for name, dtype in session.inputs.items():
        if name == "input_ids":
            array = numbers.integers(0, vocabulary, shapes[name])
        elif name == "attention_mask":
            array = np.ones(shapes[name])
        elif name.startswith("past_key_values."):
            array = numbers.normal(size=shapes[name]) / 10
        else:
            array = np.zeros(shapes[name])
        arrays[name] = array.astype(dtype)
    return arrays


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """What is measured, and how long."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--calls", type=int, default=10)
    return parser


def without_kernels(graph: Path, config: SessionConfig) -> Session:
    """A session whose products with weights in blocks are in fp32."""
    model = onnx.load(graph)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == LEVEL:
                attribute.i = IN_FP32
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / graph.name
        onnx.save(model, changed)
        return create_session(changed, config)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--without-kernels", action="store_true")
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle)
    config = SessionConfig(num_threads=arguments.threads)
    sessions = {dtype: create_session(bundle.graph(dtype), config) for dtype in bundle.dtypes}
    bytes_of = {dtype: sum(path.stat().st_size for path in bundle.files(dtype)) for dtype in sessions}
    if arguments.without_kernels:
        sessions |= {f"{name} without": without_kernels(bundle.graph(name), config) for name in IN_BLOCKS}
        bytes_of |= {f"{name} without": bytes_of[name] for name in IN_BLOCKS}
    first = next(iter(sessions))
    vocabulary = int(bundle.config["vocab_size"])
    print("size:", ", ".join(f"{dtype} {bytes_of[dtype] / bytes_of[first]:.3f}" for dtype in sessions))
    for name, shapes in cases(sessions[first]):
        runs = {dtype: partial(own.run, random_inputs(own, shapes, vocabulary)) for dtype, own in sessions.items()}
        found = measure_medians(runs, arguments.rounds, arguments.calls)
        print(f"{name}: {format_medians(found, first, 'ms', 1e3, 2)}", flush=True)


if __name__ == "__main__":
    main()
