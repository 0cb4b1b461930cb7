"""What every recipe takes and what it declares about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe_export.quantization.target import Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Precisions that a layer of a mixed graph can have, from the least exact to fp32.
RECIPES_OWN, BLOCKWISE_8, FP32 = "recipe", "w8", "fp32"

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a recipe declares.

    Attributes:
        operators: The operators whose constant weights it quantizes, or that it changes.
        providers: The execution providers that its graphs are for, the first best.
        targets: The processors it is for, keys of :data:`~edgepipe_export.quantization.target.TARGETS`.
        needs_batches: Whether it cannot do without calibration batches.
        uses_batches: Whether it does better with them.
        mixes: Which other precisions it can give single layers.
        use: One line on when to take it.
    """

    operators: tuple[str, ...]
    providers: tuple[str, ...]
    targets: tuple[str, ...]
    needs_batches: bool
    uses_batches: bool
    mixes: tuple[str, ...]
    use: str


@dataclass(frozen=True, slots=True)
class Order:
    """What a recipe is asked to make.

    Attributes:
        source: The fp32 graph.
        destination: The graph to write; its weights go beside it.
        target: The processor it is for.
        precisions: The precision of single layers: the name of a
        :class:`~edgepipe_export.quantization.weights.layers.Layer` ->
            ``"w8"`` or ``"fp32"``. All others get the recipe's own.
        batches: Inputs to calibrate with: each a name -> array for every input of the graph.
    """

    source: Path
    destination: Path
    target: Target
    precisions: Mapping[str, str] = field(default_factory=dict)
    batches: Sequence[Mapping[str, NDArray[Any]]] = ()

    def names(self, precision: str) -> frozenset[str]:
        """The layers that are to have a precision."""
        return frozenset(name for name, wanted in self.precisions.items() if wanted == precision)
