"""int8: 8-bit weights, activations quantized as they come (onnxruntime's dynamic quantization).

No data is needed. Matrix products with constant weights run in integers, embeddings are stored in 8 bits; everything
else, the products inside attention included, stays fp32.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx_ir
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgepipe_export.graphs.files import save_graph
from edgepipe_export.quantize.target import Target


@dataclass(frozen=True, slots=True)
class Options:
    """What decides the recipe.

    Attributes:
        per_channel: A scale for every output channel of a weight instead of one for all.
        reduce_range: Weights in 7 bits, for processors whose 8-bit products saturate.
        operators: The operators whose constant weights are quantized.
    """

    per_channel: bool = True
    reduce_range: bool = False
    operators: tuple[str, ...] = ("MatMul", "Gather")


def quantize(source: Path, destination: Path, target: Target) -> Mapping[str, Any]:
    """Write the int8 graph; see :func:`edgepipe_export.quantize.quantize`."""
    options = Options(reduce_range=target.reduce_range)
    scratch = Path(tempfile.mkdtemp(dir=destination.parent, prefix="int8-"))
    try:
        quantize_dynamic(
            _without_shapes(source, scratch / "shapeless.onnx"),
            scratch / "model.onnx",
            op_types_to_quantize=list(options.operators),
            per_channel=options.per_channel,
            reduce_range=options.reduce_range,
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
            extra_options={"MatMulConstBOnly": True},
        )
        model = onnx_ir.load(scratch / "model.onnx")
        model.producer_name, model.producer_version = "edgepipe", None
        model.metadata_props.clear()
        save_graph(model, destination)
    finally:
        shutil.rmtree(scratch)
    return {"name": "int8", "target": target.name, "weights": "int8", "activations": "dynamic uint8", **asdict(options)}


def _without_shapes(source: Path, copy: Path) -> Path:
    """A copy without the shapes of intermediate values, which onnxruntime infers afresh.

    It turns each Gemm into a MatMul and transposes the weight, but leaves the weight's recorded shape as it was, and
    its own shape inference then fails.
    """
    model = onnx_ir.load(source)
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    for value in model.graph.initializers.values():
        value.shape = None
    save_graph(model, copy)
    return copy
