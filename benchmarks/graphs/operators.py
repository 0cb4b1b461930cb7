"""Where the time of int8 goes before and after edgepipe's passes: python -m benchmarks.graphs.operators BUNDLE

Of the bundle's fp32 graph of an encoder it makes three of int8: `plain`, onnxruntime's `quantize_dynamic` for each
channel; `written out`, ours with attention in standard operators; and `int8`, ours. They are timed in turn, and ratios
are to `written out`. Then onnxruntime's profiler says what each kind of operator takes. The share of the processor's
peak is that of all products with weights, had they been as fast as one large product was in the same run.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnxruntime
from benchmarks.graphs.products import bind, model
from benchmarks.graphs.products import int8 as int8_product
from benchmarks.graphs.quantized import ENCODED, make_parser, random_inputs
from benchmarks.turns import format_medians, measure_medians
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgepipe import Bundle, Tokenizer
from edgepipe.backend.engines import create_session
from edgepipe.backend.onnxruntime.operator_profile import profile_operators
from edgepipe.backend.session import SessionConfig
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.quantization.quantize import quantize
from edgepipe_export.quantization.recipes import int8
from edgepipe_export.quantization.target import find_target

SHAPES = (*ENCODED, (32, 128))
LARGE, CALIBRATED = (1024, 768, 3072), 64
INTEGER = ("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger")
PLAIN, BEFORE, AFTER = "plain", "written out", "int8"


def calibration(bundle: Bundle) -> list[dict[str, np.ndarray[Any, Any]]]:
    """Texts that ship with the exporter, one at a time."""
    inputs = create_session(bundle.graph("fp32")).inputs
    tokenizer = Tokenizer.from_pretrained(bundle.path)
    encoded = [tokenizer(text) for text in sentences()[:CALIBRATED]]
    return [{name: np.array([own[name]], np.int64) for name in inputs} for own in encoded]


def make_graphs(bundle: Bundle, folder: Path) -> dict[str, Path]:
    """The three graphs."""
    source, batches = bundle.graph("fp32"), calibration(bundle)
    graphs = {name: folder / f"{name.replace(' ', '_')}.onnx" for name in (PLAIN, BEFORE, AFTER)}
    quantize_dynamic(
        source, graphs[PLAIN], per_channel=True, weight_type=QuantType.QInt8, use_external_data_format=True
    )
    with patch.object(int8, "FuseAttentionPass", lambda: lambda model: None):
        quantize("int8", source, graphs[BEFORE], find_target(), batches=batches)
    quantize("int8", source, graphs[AFTER], find_target(), batches=batches)
    return graphs


def main() -> None:
    arguments = make_parser(__doc__).parse_args()
    bundle = Bundle.load(arguments.bundle)
    rows, width, outputs = LARGE
    with tempfile.TemporaryDirectory() as scratch:
        graphs = make_graphs(bundle, Path(scratch))
        config = SessionConfig(num_threads=arguments.threads)
        sessions = {name: create_session(graph, config) for name, graph in graphs.items()}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        alone = model(*int8_product(width, outputs), width, outputs).SerializeToString()
        large = onnxruntime.InferenceSession(alone, options, providers=["CPUExecutionProvider"])
        activations = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
        vocabulary = int(bundle.config["vocab_size"])
        for batch, length in SHAPES:
            inputs = {
                name: random_inputs(own, dict.fromkeys(own.inputs, (batch, length)), vocabulary)
                for name, own in sessions.items()
            }
            runs = {name: partial(own.run, inputs[name]) for name, own in sessions.items()}
            runs["large product"] = bind(large, activations)
            found = measure_medians(runs, arguments.rounds, arguments.calls)
            peak = 2.0 * rows * width * outputs / found.pop("large product")
            profiles = {
                name: profile_operators(graph, config, inputs[name], arguments.calls) for name, graph in graphs.items()
            }
            best = sum(own.operations for own in profiles[AFTER].operators if own.kind in INTEGER) / peak
            print(f"{batch}x{length}: {format_medians(found, BEFORE, 'ms', 1e3, 2)}", flush=True)
            shares = ", ".join(f"{name} {best / took:.2f}" for name, took in found.items())
            print(f"  share of the peak, {peak / 1e9:.0f} GOP/s: {shares}", flush=True)
            for name, times in profiles.items():
                whole = sum(own.seconds for own in times.operators)
                parts = [
                    f"{own.count} {own.kind} {own.seconds / whole:.0%}"
                    for own in times.operators
                    if own.seconds > whole / 100
                ]
                print(f"  {name}: {whole * 1e3:.2f} ms in operators: {', '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
