"""How fast the processor multiplies: one large product, which is nearly all that it could do."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.engines import create_session, write_product
from edgepipe.backend.session import SessionConfig
from edgepipe.benchmarking.timing import time_runs
from edgepipe.models.variants import stored_variant

# Large enough that what is around the product takes little: additions and multiplications, and bytes of the result.
_ROWS, _INNER, _COLUMNS = 4096, 3072, 768
_RUNS = 9
# Variants whose products have integers of 8 bits.
_INTEGERS = ("int8", "uint8", "q8")


def measure_peak(dtype: str, config: SessionConfig) -> tuple[str, float]:
    """The peak in the precision that the products of a variant have.

    Integers are multiplied by onnxruntime on the processor (unsigned by signed ones of 8 bits, added in 32), others by
    the engine of the configuration.

    Returns:
        The precision, and additions and multiplications a second: the best of some runs.
    """
    generator = np.random.default_rng(0)
    left: NDArray[Any] = generator.random((_ROWS, _INNER), np.float32)
    right: NDArray[Any] = generator.random((_INNER, _COLUMNS), np.float32)
    name, result = "fp32", "float32"
    if dtype.startswith(_INTEGERS):
        left, right = (left * 255).astype("uint8"), (right * 127).astype("int8")
        name, result = "8-bit integers", "int32"
        config = SessionConfig("cpu", config.num_threads)
    elif stored_variant(dtype, config) != dtype:
        name, config = dtype, replace(config, precision=dtype)
    with tempfile.TemporaryDirectory(prefix="edgepipe-peak-") as folder:
        graph = Path(folder) / "product.onnx"
        write_product(graph, (left.dtype.name, right.dtype.name, result))
        session = create_session(graph, config)
        seconds = min(time_runs(lambda: session.run({"left": left, "right": right}), runs=_RUNS, wake=2))
        session.close()
    return name, 2 * _ROWS * _INNER * _COLUMNS / seconds
