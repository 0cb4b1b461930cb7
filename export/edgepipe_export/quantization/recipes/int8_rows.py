"""int8-rows: as int8, but each token's activations have a scale of their own.

A text then gives the same whatever else is in its batch, and its outputs are nearer to fp32's. Finding and applying the
scales takes its time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir

from edgepipe_export.quantization.methods.quantize_rows import QuantizeRowsPass
from edgepipe_export.quantization.recipe import CPU, QuantizationJob, Recipe
from edgepipe_export.quantization.recipes import int8
from edgepipe_export.quantization.target import CPU_TARGETS
from edgepipe_export.tracing.serialization import save_graph


def quantize(job: QuantizationJob, options: int8.Int8Options) -> Mapping[str, Any]:
    """Write the int8-rows graph; see :func:`edgepipe_export.quantization.quantize.quantize`."""
    with tempfile.TemporaryDirectory(dir=job.destination.parent, prefix="int8-rows-") as scratch:
        whole = Path(scratch) / "model.onnx"
        recipe = int8.quantize(replace(job, destination=whole), options)
        model = onnx_ir.load(whole)
        QuantizeRowsPass()(model)
        save_graph(model, job.destination)
    return {**recipe, "name": "int8-rows", "activations": "dynamic uint8, a scale for each token"}


RECIPE = Recipe("int8-rows", int8.Int8Options, quantize, providers=(CPU,), targets=CPU_TARGETS)
