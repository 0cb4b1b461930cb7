"""q4-rows: the graph of q4, whose prompts are read by integer products with a scale for each token.

The runtime makes the integers of the same weights when it loads the graph
(:mod:`edgepipe.backend.onnxruntime.graphs.integer_products`), so nothing is stored twice. In memory both forms lie side
by side. Encoders have the integers alone. A model that writes takes steps as in q4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepipe_export.quantization.recipe import CPU, QuantizationJob, Recipe
from edgepipe_export.quantization.recipes import q4
from edgepipe_export.quantization.recipes.w8_rows import check_accuracy_level
from edgepipe_export.quantization.target import CPU_TARGETS


def quantize(job: QuantizationJob, options: q4.Q4Options) -> Mapping[str, Any]:
    """Write the graph; see :func:`edgepipe_export.quantization.quantize.quantize`.

    Raises:
        InputError: products are not to be rounded to 8 bits.
    """
    check_accuracy_level(options.accuracy_level)
    return {**q4.quantize(job, options), "name": "q4-rows", "integer_products": True}


RECIPE = Recipe("q4-rows", q4.Q4Options, quantize, providers=(CPU,), targets=CPU_TARGETS, for_prompts=True)
