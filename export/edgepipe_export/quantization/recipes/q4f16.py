"""q4f16: weights of products in 4-bit blocks, all arithmetic in half precision; for GPUs and browsers.

As q4 and fp16 one after the other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgepipe_export.quantization.recipe import CPU, CUDA, QuantizationJob, Recipe
from edgepipe_export.quantization.recipes import fp16, q4


@dataclass(frozen=True, slots=True)
class Q4F16Options:
    """What decides the recipe.

    Attributes:
        q4: Those of the blocks.
        headroom: Of half precision; see :class:`edgepipe_export.quantization.recipes.fp16.Fp16Options`.
    """

    q4: q4.Q4Options = q4.Q4Options()  # noqa: RUF009 (frozen)
    headroom: float = 8.0


def quantize(job: QuantizationJob, options: Q4F16Options) -> Mapping[str, Any]:
    """Write the q4f16 graph; see :func:`edgepipe_export.quantization.quantize.quantize`."""
    with tempfile.TemporaryDirectory(dir=job.destination.parent, prefix="q4f16-") as scratch:
        in_blocks = Path(scratch) / "model.onnx"
        recipe = q4.quantize(replace(job, destination=in_blocks), options.q4)
        converted = fp16.convert(in_blocks, job, options.headroom)
    return {**recipe, **converted, "name": "q4f16", "headroom": options.headroom}


RECIPE = Recipe(
    "q4f16",
    Q4F16Options,
    quantize,
    providers=(CUDA, CPU),
    targets=q4.RECIPE.targets,
    mixes=q4.RECIPE.mixes,
    in_transformers_js=True,
)
