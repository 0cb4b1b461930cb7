"""q4f16: weights of products in 4-bit blocks, all arithmetic in half precision; for GPUs and browsers.

As q4 and fp16 one after the other.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgepipe_export.quantization.recipe import CPU, CUDA, Facts, Order
from edgepipe_export.quantization.recipes import fp16, q4

FACTS = Facts(
    operators=q4.FACTS.operators,
    providers=(CUDA, CPU),
    targets=q4.FACTS.targets,
    needs_batches=False,
    uses_batches=True,
    mixes=q4.FACTS.mixes,
    use="the smallest for GPUs",
)


@dataclass(frozen=True, slots=True)
class Options:
    """What decides the recipe.

    Attributes:
        q4: Those of the blocks.
        headroom: Of half precision; see :class:`edgepipe_export.quantization.recipes.fp16.Options`.
    """

    q4: q4.Options = q4.Options()  # noqa: RUF009 (frozen)
    headroom: float = 8.0


def quantize(order: Order, options: Options) -> Mapping[str, Any]:
    """Write the q4f16 graph; see :func:`edgepipe_export.quantization.quantize.quantize`."""
    scratch = Path(tempfile.mkdtemp(dir=order.destination.parent, prefix="q4f16-"))
    try:
        coded = scratch / "model.onnx"
        recipe = q4.quantize(replace(order, destination=coded), options.q4)
        converted = fp16.convert(coded, order, options.headroom)
    finally:
        shutil.rmtree(scratch)
    return {**recipe, **converted, "name": "q4f16", "headroom": options.headroom}
