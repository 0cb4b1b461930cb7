"""A large product in each precision; how fast it is is the machine's business."""

from __future__ import annotations

import pytest

from edgepipe.backend.session import SessionConfig
from edgepipe.benchmarking import peak


@pytest.mark.parametrize(
    ("dtype", "device", "precision"),
    [("fp32", "cpu", "fp32"), ("w8", "openvino", "fp32"), ("int8", "cpu", "8-bit integers"),
     ("int8-static", "openvino", "8-bit integers")],
)  # fmt: skip
def test_the_precision_is_the_variant_s(
    dtype: str, device: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peak, "_ROWS", 64)
    name, speed = peak.measure_peak(dtype, SessionConfig(device, num_threads=1))
    assert name == precision
    assert speed > 0
