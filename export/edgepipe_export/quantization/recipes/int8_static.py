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
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from edgepipe.errors import InputError
from edgepipe_export.quantization.methods.bias_correction import correct_biases
from edgepipe_export.quantization.methods.onnxruntime_quantizer import quantize_blockwise_layers, run_quantizer
from edgepipe_export.quantization.methods.smoothquant import smooth_activations
from edgepipe_export.quantization.recipe import BF16, BLOCKWISE_8, CPU, FP32, QuantizationJob, Recipe
from edgepipe_export.quantization.target import HOST_TARGETS
from edgepipe_export.quantization.weights.layers import PRODUCTS, Layer, find_layers, find_stacked_products, find_uses
from edgepipe_export.tracing.serialization import save_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Batches = Sequence[Mapping[str, NDArray[Any]]]

# The operators that onnxruntime can quantize.
_TYPES = frozenset({*QDQRegistry, *QLinearOpsRegistry})

# They hand on numbers as they are, and lose nothing of their own.
_COPYING = frozenset(
    {"Concat", "Flatten", "Gather", "GatherElements", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
     "Unsqueeze", "Where"}
)  # fmt: skip

METHODS: Mapping[str, CalibrationMethod] = {
    "min-max": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


@dataclass(frozen=True, slots=True)
class Int8StaticOptions:
    """What decides the recipe.

    Attributes:
        method: How ranges are found: ``"min-max"``, ``"entropy"`` (least divergence) or ``"percentile"`` (99.999).
        per_channel: A scale for every output channel of a weight instead of one for all.
        reduce_range: Weights in 7 bits, for processors whose 8-bit products saturate; None decides by the target.
        embedding_block: Numbers of an embedding that share a scale.
        smoothing: How much of the range of activations goes into the weights, 0 (none) to 1.
        bias_correction: Give the biases what rounding takes from the mean of a product.
        rest: What is not quantized is computed in: ``"fp32"``, or ``"bf16"`` by OpenVINO where the processor has it;
            None decides by the target and the processor here.
        everything: Quantize every operator that onnxruntime can, with its inputs and outputs, and embeddings with one
            scale: what other tools do. Operators without weights can stay fp32, by their type.
    """

    method: str = "min-max"
    per_channel: bool = True
    reduce_range: bool | None = None
    embedding_block: int = 128
    smoothing: float = 0.75
    bias_correction: bool = True
    rest: str | None = None
    everything: bool = False


def quantize(job: QuantizationJob, options: Int8StaticOptions) -> Mapping[str, Any]:
    """Write the int8-static graph; see :func:`edgepipe_export.quantization.quantize.quantize`."""
    if options.method not in METHODS:
        raise InputError(f"there is no calibration method {options.method!r}; it is one of {', '.join(METHODS)}")
    if options.reduce_range is None:
        options = replace(options, reduce_range=job.target.reduce_range)
    if options.rest is None:
        options = replace(options, rest=BF16 if job.target.device is not None and job.target.computes(BF16) else FP32)
    model = onnx_ir.load(job.source)
    layers = find_layers(model)
    options = replace(options, smoothing=smooth_activations(model, job, options.smoothing))
    nodes = _find_nodes(model, job, options)
    if options.bias_correction:
        correct_biases(
            model,
            job.destination.parent,
            job.batches,
            nodes,
            per_channel=options.per_channel,
            reduce_range=bool(options.reduce_range),
        )
    if options.everything:
        layers = [layer for layer in layers if layer.name in job.layers_in(BLOCKWISE_8)]
    quantize_blockwise_layers(model, job, layers, options.embedding_block)
    # Ranges are measured for whole types of operators: only for those that need them.
    types = {node.op_type for node in model.graph if node.name in nodes} if options.everything else PRODUCTS

    def quantizer(source: Path, destination: Path) -> None:
        quantize_static(
            source,
            destination,
            _BatchReader(job.batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=sorted(types),
            nodes_to_quantize=nodes,
            per_channel=options.per_channel,
            reduce_range=options.reduce_range,
            activation_type=QuantType.QInt8 if job.target.name == "arm64" else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=METHODS[options.method],
            use_external_data_format=True,
            # One batch at a time: onnxruntime's histograms cannot take batches of several lengths at once.
            extra_options={
                "CalibStridedMinMax": 1,
                "OpTypesToExcludeOutputQuantization": [] if options.everything else list(PRODUCTS),
            },
        )

    if nodes:
        run_quantizer(quantizer, model, job.destination)
    else:  # an empty list would mean every node
        save_graph(model, job.destination)
    return {
        "name": "int8-static",
        "target": job.target.name,
        "weights": "int8",
        "activations": "static 8 bits",
        "batches": len(job.batches),
        **asdict(options),
    }


def find_operators(model: onnx_ir.Model, options: Int8StaticOptions) -> list[Layer]:
    """The operators without weights that it quantizes, which can stay fp32.

    All of one type are a layer, in the order of the graph.
    """
    if not options.everything:
        return []
    weighted = {use.node for use in find_uses(model.graph)}
    nodes: dict[str, list[str]] = {}
    for node in model.graph:
        if node.op_type in _TYPES - _COPYING and node not in weighted:
            nodes.setdefault(node.op_type, []).append(node.name or "")
    return [Layer(kind, f"every {kind}", (), (), 0, tuple(names)) for kind, names in nodes.items()]


def _find_nodes(model: onnx_ir.Model, job: QuantizationJob, options: Int8StaticOptions) -> list[str]:
    """The nodes that onnxruntime is to quantize, of the graph before layers are raised."""
    layers = [*find_operators(model, options), *find_layers(model)]
    if not options.everything:
        return [node for layer in layers if layer.name not in job.precisions for node in layer.products]
    excluded = {node for layer in layers if layer.name in job.precisions for node in layer.nodes}
    excluded.update(find_stacked_products(model.graph))
    return [node.name or "" for node in model.graph if node.op_type in _TYPES and node.name not in excluded]


class _BatchReader(CalibrationDataReader):  # type: ignore[misc]
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


RECIPE = Recipe(
    "int8-static",
    Int8StaticOptions,
    quantize,
    providers=(CPU,),
    targets=HOST_TARGETS,
    needs_batches=True,
    find_operators=find_operators,
)
