"""fp16: weights and arithmetic in half precision, for GPUs; inputs and outputs stay fp32, a decoder's cache does not.

A number past 65504 becomes infinite in half precision, and soon NaN. Kept in fp32 are root mean squares (their sums of
squares overflow first), and with batches to watch, every node that comes near the limit on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir

from edgepipe.backend.engines import create_session
from edgepipe.bundle.layout import PAST, PRESENT
from edgepipe.errors import ParityError
from edgepipe_export.quantization.methods.activations import value_maxima
from edgepipe_export.quantization.methods.half_precision import LARGEST, ConvertToHalfPass
from edgepipe_export.quantization.recipe import CPU, CUDA, FP32, QuantizationJob, Recipe
from edgepipe_export.quantization.target import CPU_TARGETS
from edgepipe_export.quantization.weights.layers import find_layers
from edgepipe_export.tracing.passes.decompose_attention import DecomposeAttentionPass
from edgepipe_export.tracing.serialization import save_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Batches = Sequence[Mapping[str, NDArray[Any]]]

_CACHE = (PAST, PRESENT)

# The steps from the mean of squares to its reciprocal root.
_NORM_STEPS = ("Add", "Sqrt", "Reciprocal")


@dataclass(frozen=True, slots=True)
class Fp16Options:
    """What decides the recipe.

    Attributes:
        headroom: How many times larger than anything seen a number may get; nodes with less room stay fp32.
    """

    headroom: float = 8.0


def quantize(job: QuantizationJob, options: Fp16Options) -> Mapping[str, Any]:
    """Write the fp16 graph; see :func:`edgepipe_export.quantization.quantize.quantize`."""
    return {"name": "fp16", "weights": "fp16", **convert(job.source, job, options.headroom), **asdict(options)}


def convert(source: Path, job: QuantizationJob, headroom: float) -> dict[str, Any]:
    """Write `source` in half precision to the job's destination.

    Args:
        source: The graph to convert; its products may be in blocks.
        job: Precisions, batches and destination.
        headroom: See :class:`Fp16Options`.

    Returns:
        For the recipe: ``"kept"``, the names of the nodes that stayed fp32, and ``"cache"``, where it is another.

    Raises:
        ExportError: the graph gives NaN or infinity on the job's batches.
    """
    model = onnx_ir.load(source)
    layers = job.layers_in(FP32)
    in_fp32 = {node for layer in find_layers(model) if layer.name in layers for node in layer.nodes}
    in_fp32 |= _find_norms(model.graph)
    if job.batches:
        in_fp32 |= _find_nodes_near_limit(model.graph, value_maxima(source, job.batches), LARGEST / headroom)
    decomposed = DecomposeAttentionPass()(model).modified
    ConvertToHalfPass(in_fp32, _CACHE)(model)
    save_graph(model, job.destination)
    _check_finite(job.destination, job.batches)
    return {"kept": sorted(in_fp32), **({"cache": "concatenated"} if decomposed else {})}


def _find_norms(graph: onnx_ir.Graph) -> set[str]:
    """The nodes of root mean squares that are written out in single steps."""
    found: set[str] = set()
    for mean in (node for node in graph if node.op_type == "ReduceMean"):
        squares = None if mean.inputs[0] is None else mean.inputs[0].producer()
        chain = [mean] if squares is None else [squares, mean]
        following = list(mean.outputs[0].consumers())
        while len(following) == 1 and following[0].op_type in _NORM_STEPS:
            chain.append(following[0])
            following = list(following[0].outputs[0].consumers())
        found.update(node.name or "" for node in chain)
    return found


def _find_nodes_near_limit(graph: onnx_ir.Graph, maxima: Mapping[str, float], limit: float) -> set[str]:
    large = {name for name, maximum in maxima.items() if maximum > limit}
    return {
        node.name or ""
        for node in graph
        if any(value is not None and value.name in large for value in (*node.inputs, *node.outputs))
    }


def _check_finite(graph: Path, batches: Batches) -> None:
    """Run the graph where we are and look at what comes out.

    On a CPU onnxruntime computes much of it in fp32, so this finds less than a GPU would; what comes near the limit was
    kept in fp32 before.

    Raises:
        ParityError: it is not finite.
    """
    if not batches:
        return
    session = create_session(graph)
    for number, batch in enumerate(batches):
        feeds = {name: np.asarray(batch[name], dtype) for name, dtype in session.inputs.items()}
        for name, array in session.run(feeds).items():
            if not np.isfinite(array).all():
                raise ParityError(
                    f"in half precision {name} is not finite on calibration batch {number}: this model needs fp32; "
                    "give its largest layers that precision, or leave fp16 out"
                )


RECIPE = Recipe(
    "fp16",
    Fp16Options,
    quantize,
    providers=(CUDA, CPU),
    targets=(*CPU_TARGETS, "cuda"),
    mixes=(FP32,),
    in_transformers_js=True,
)
