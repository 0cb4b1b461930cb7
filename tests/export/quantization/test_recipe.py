"""What every recipe takes."""

from __future__ import annotations

from pathlib import Path

from edgepipe_export.quantization.recipe import BLOCKWISE_8, FP32, QuantizationJob
from edgepipe_export.quantization.target import Target


def test_layers_are_found_by_their_precision() -> None:
    job = QuantizationJob(Path("a"), Path("b"), Target("vnni"), {"one": "w8", "two": "fp32", "three": "w8"})
    assert job.layers_in(BLOCKWISE_8) == {"one", "three"}
    assert job.layers_in(FP32) == {"two"}
    assert QuantizationJob(Path("a"), Path("b"), Target("vnni")).layers_in(FP32) == frozenset()
