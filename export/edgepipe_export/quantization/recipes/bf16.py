"""bf16: the graph of fp32, computed in bf16 by OpenVINO where the processor has instructions for it.

Nothing is written: the variant is a record of what was measured. 8 bits of precision are left of 24, with the range of
fp32, so nothing overflows and no data are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgepipe.bundle.layout import STORED_AS
from edgepipe_export.quantization.recipe import BF16, CPU, QuantizationJob, Recipe


@dataclass(frozen=True, slots=True)
class Bf16Options:
    """Nothing is left to decide."""


def describe(job: QuantizationJob, options: Bf16Options) -> Mapping[str, Any]:
    """The recipe for the manifest; see :func:`edgepipe_export.quantization.quantize.quantize`."""
    return {"name": BF16, "stored_as": STORED_AS[BF16], "target": job.target.name}


RECIPE = Recipe(BF16, Bf16Options, describe, providers=(CPU,), targets=("openvino",), mixes=(), uses_batches=False)
