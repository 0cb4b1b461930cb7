"""int8-static: 8-bit weights, and 8-bit activations whose ranges were measured beforehand (QDQ).

onnxruntime's static quantization, for runtimes and accelerators that cannot measure while they run. Only products with
constant weights are quantized, and only what goes into them: softmax, layer norms, GELU, the additions around them and
the products inside attention stay fp32, and so do the products' results, which are added to the residual. Everything in
8 bits takes an encoder for entities from 0.77 F1 to below 0.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from edgepipe.errors import InputError
from edgepipe_export.graphs.files import save_graph
from edgepipe_export.quantize.integers import code_in_blocks, quantize_with
from edgepipe_export.quantize.layers import PRODUCTS, find_layers
from edgepipe_export.quantize.recipe import BLOCKWISE_8, CPU, FP32, Facts, Order
from edgepipe_export.quantize.smoothing import smooth_for

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
            scale: what other tools do, for comparison.
    """

    method: str = "min-max"
    per_channel: bool = True
    reduce_range: bool | None = None
    embedding_block: int = 128
    smoothing: float = 0.75
    everything: bool = False


def quantize(order: Order, options: Options) -> Mapping[str, Any]:
    """Write the int8-static graph; see :func:`edgepipe_export.quantize.quantize`."""
    if options.method not in METHODS:
        raise InputError(f"there is no calibration method {options.method!r}; it is one of {', '.join(METHODS)}")
    if options.reduce_range is None:
        options = replace(options, reduce_range=order.target.reduce_range)
    model = onnx_ir.load(order.source)
    layers = find_layers(model)
    options = replace(options, smoothing=smooth_for(model, order, options.smoothing))
    if not options.everything:
        code_in_blocks(model, order, layers, options.embedding_block)

    kept, raised = order.names(FP32), order.names(BLOCKWISE_8)
    products = [node for layer in layers if layer.name not in kept | raised for node in layer.products]
    operators = None if options.everything else list(PRODUCTS)

    def quantizer(source: Path, destination: Path) -> None:
        quantize_static(
            source,
            destination,
            _Reader(order.batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=operators,
            nodes_to_quantize=None if options.everything else products,
            per_channel=options.per_channel,
            reduce_range=options.reduce_range,
            activation_type=QuantType.QInt8 if order.target.name == "arm64" else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=METHODS[options.method],
            use_external_data_format=True,
            # One batch at a time: onnxruntime's histograms cannot take batches of several lengths at once.
            extra_options={"CalibStridedMinMax": 1, "OpTypesToExcludeOutputQuantization": operators or []},
        )

    if products or options.everything:
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
