"""What every recipe takes, and what it declares about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe_export.quantization.target import Target

if TYPE_CHECKING:
    import onnx_ir
    from numpy.typing import NDArray

    from edgepipe_export.quantization.weights.layers import Layer

# Precisions that a layer of a mixed graph can have beside the recipe's own.
BLOCKWISE_8, FP32 = "w8", "fp32"

# What OpenVINO may compute fp32's graph in, and what a quantized graph leaves in fp32.
BF16 = "bf16"

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@dataclass(frozen=True, slots=True)
class QuantizationJob:
    """One graph to quantize.

    Attributes:
        source: The fp32 graph.
        destination: The graph to write; its weights go beside it.
        target: The processor it is for.
        precisions: The precision of single layers, ``"w8"`` or ``"fp32"``, by the name of a
            :class:`~edgepipe_export.quantization.weights.layers.Layer`. All others get the recipe's own.
        batches: Inputs to calibrate with: each a name -> array for every input of the graph.
    """

    source: Path
    destination: Path
    target: Target
    precisions: Mapping[str, str] = field(default_factory=dict)
    batches: Sequence[Mapping[str, NDArray[Any]]] = ()

    def layers_in(self, precision: str) -> frozenset[str]:
        """The layers that are to have a precision."""
        return frozenset(name for name, wanted in self.precisions.items() if wanted == precision)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A way to quantize, as its file declares it.

    Attributes:
        dtype: What the variant is called.
        options: A frozen dataclass with a default for every option.
        quantize: Writes the graph of a job, and returns what the manifest says of it.
        providers: The execution providers that its graphs are for, the first best.
        targets: The processors it is for, keys of :data:`~edgepipe_export.quantization.target.TARGETS`.
        mixes: Which other precisions it can give single layers, the least exact first.
        uses_batches: Whether it does better with calibration batches.
        needs_batches: Whether it cannot do without them.
        for_prompts: Whether it is for models that write, and not tried for others where the exporter chooses.
        in_transformers_js: Whether transformers.js knows the dtype and its files.
        find_operators: Gives the operators without weights that it quantizes with these options; None where there are
            none.
    """

    dtype: str
    options: Callable[[], Any]
    quantize: Callable[[QuantizationJob, Any], Mapping[str, Any]]
    providers: tuple[str, ...]
    targets: tuple[str, ...]
    mixes: tuple[str, ...] = (BLOCKWISE_8, FP32)
    uses_batches: bool = True
    needs_batches: bool = False
    for_prompts: bool = False
    in_transformers_js: bool = False
    find_operators: Callable[[onnx_ir.Model, Any], list[Layer]] | None = None
