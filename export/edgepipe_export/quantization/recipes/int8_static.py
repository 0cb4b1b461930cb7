"""int8-static: 8-bit weights, and 8-bit activations whose ranges were measured beforehand (QDQ).

onnxruntime's static quantization, for runtimes and accelerators that cannot measure while they run. Only products with
constant weights are quantized, and only what goes into them: softmax, layer norms, GELU, the additions around them and
the products inside attention stay fp32, and so do the products' results, which are added to the residual. Everything in
8 bits takes an encoder for entities from 0.77 F1 to below 0.2: a mask adds the lowest number there is, and a range that
holds it has no steps left for scores. A repair then finds the operators that ruin it, and takes them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from edgepipe.errors import InputError
from edgepipe_export.quantization.methods.integer_quantizers import code_in_blocks, quantize_with
from edgepipe_export.quantization.methods.smoothquant import smooth_for
from edgepipe_export.quantization.recipe import BLOCKWISE_8, CPU, FP32, Facts, Order
from edgepipe_export.quantization.weights.layers import PRODUCTS, Layer, find_layers
from edgepipe_export.quantization.weights.operators import TYPES, find_operators
from edgepipe_export.tracing.serialization import save_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Batches = Sequence[Mapping[str, NDArray[Any]]]

FACTS = Facts(
    operators=("MatMul", "Gemm", "Gather"),
    providers=(CPU,),
    targets=("avx2", "avx512", "vnni", "arm64"),
    needs_batches=True,
    uses_batches=True,
    mixes=(BLOCKWISE_8, FP32),
    use="runtimes that need the ranges of activations beforehand",
)

METHODS: Mapping[str, CalibrationMethod] = {
    "min-max": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


@dataclass(frozen=True, slots=True)
class Options:
    """What decides the recipe.

    Attributes:
        method: How ranges are found: ``"min-max"``, ``"entropy"`` (least divergence) or ``"percentile"`` (99.999).
        per_channel: A scale for every output channel of a weight instead of one for all.
        reduce_range: Weights in 7 bits, for processors whose 8-bit products saturate; None decides by the target.
        embedding_block: Numbers of an embedding that share a scale.
        smoothing: How much of the range of activations goes into the weights, 0 (none) to 1.
        everything: Quantize every operator that onnxruntime can, with its inputs and outputs, and embeddings with one
            scale: what other tools do. Operators without weights can stay fp32, by their type.
    """

    method: str = "min-max"
    per_channel: bool = True
    reduce_range: bool | None = None
    embedding_block: int = 128
    smoothing: float = 0.75
    everything: bool = False


def quantize(order: Order, options: Options) -> Mapping[str, Any]:
    """Write the int8-static graph; see :func:`edgepipe_export.quantization.quantize.quantize`."""
    if options.method not in METHODS:
        raise InputError(f"there is no calibration method {options.method!r}; it is one of {', '.join(METHODS)}")
    if options.reduce_range is None:
        options = replace(options, reduce_range=order.target.reduce_range)
    model = onnx_ir.load(order.source)
    layers = find_layers(model)
    options = replace(options, smoothing=smooth_for(model, order, options.smoothing))
    quantized = _quantized(model, order, options)
    if options.everything:
        layers = [layer for layer in layers if layer.name in order.names(BLOCKWISE_8)]
    code_in_blocks(model, order, layers, options.embedding_block)
    # Ranges are measured for whole types of operators: only for those that need them.
    types = {node.op_type for node in model.graph if node.name in quantized} if options.everything else PRODUCTS

    def quantizer(source: Path, destination: Path) -> None:
        quantize_static(
            source,
            destination,
            _Reader(order.batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=sorted(types),
            nodes_to_quantize=quantized,
            per_channel=options.per_channel,
            reduce_range=options.reduce_range,
            activation_type=QuantType.QInt8 if order.target.name == "arm64" else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=METHODS[options.method],
            use_external_data_format=True,
            # One batch at a time: onnxruntime's histograms cannot take batches of several lengths at once.
            extra_options={
                "CalibStridedMinMax": 1,
                "OpTypesToExcludeOutputQuantization": [] if options.everything else list(PRODUCTS),
            },
        )

    if quantized:
        quantize_with(quantizer, model, order.destination)
    else:  # an empty list would mean every node
        save_graph(model, order.destination)
    return {
        "name": "int8-static",
        "target": order.target.name,
        "weights": "int8",
        "activations": "static 8 bits",
        "batches": len(order.batches),
        **asdict(options),
    }


def more_layers(model: onnx_ir.Model, options: Options) -> list[Layer]:
    """The operators without weights that it quantizes, which can stay fp32."""
    return find_operators(model) if options.everything else []


def _quantized(model: onnx_ir.Model, order: Order, options: Options) -> list[str]:
    """The nodes that onnxruntime is to quantize, of the graph before layers are raised."""
    layers = [*more_layers(model, options), *find_layers(model)]
    if not options.everything:
        return [node for layer in layers if layer.name not in order.precisions for node in layer.products]
    left = {node for layer in layers if layer.name in order.precisions for node in layer.nodes}
    return [node.name or "" for node in model.graph if node.op_type in TYPES and node.name not in left]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Batches as onnxruntime's calibrator asks for them."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._left = iter(batches)

    def get_next(self) -> Mapping[str, NDArray[Any]] | None:
        """The next batch of the range, or None at its end."""
        return next(self._left, None)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Begin to give the batches of a range."""
        self._left = iter(self._batches[start_index:end_index])

    def __len__(self) -> int:
        return len(self._batches)
