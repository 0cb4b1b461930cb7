"""w8-rows: the graph of w8, whose prompts are read by integer products with a scale for each token.

The runtime makes the integers of the same weights when it loads the graph
(:mod:`edgepipe.backend.onnxruntime.graphs.integer_products`), so nothing is stored twice. In memory both forms lie side
by side. Encoders have the integers alone. A model that writes takes steps as in w8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepipe.bundle.layout import INT8_ACCURACY_LEVEL
from edgepipe.errors import InputError
from edgepipe_export.quantization.recipe import CPU, FP32, QuantizationJob, Recipe
from edgepipe_export.quantization.recipes import w8
from edgepipe_export.quantization.target import CPU_TARGETS


def quantize(job: QuantizationJob, options: w8.W8Options) -> Mapping[str, Any]:
    """Write the graph; see :func:`edgepipe_export.quantization.quantize.quantize`.

    Raises:
        InputError: products are not to be rounded to 8 bits.
    """
    check_accuracy_level(options.accuracy_level)
    return {**w8.quantize(job, options), "name": "w8-rows", "integer_products": True}


def check_accuracy_level(level: int) -> None:
    """Refuse products in fp32.

    Raises:
        InputError: activations are not to be rounded to 8 bits.
    """
    if level != INT8_ACCURACY_LEVEL:
        raise InputError(
            f"prompts in integers take accuracy_level={INT8_ACCURACY_LEVEL}, got {level}; "
            "or take the dtype without -rows"
        )


RECIPE = Recipe(
    "w8-rows", w8.W8Options, quantize, providers=(CPU,), targets=CPU_TARGETS, mixes=(FP32,), for_prompts=True
)
