"""What OpenVINO's counters say of a graph's operators."""

from __future__ import annotations

from pathlib import Path

from tests.runtime.backend.onnxruntime.test_operator_profile import profile, write_product


def test_operators_are_counted(tmp_path: Path) -> None:
    times = profile(write_product(tmp_path / "graph.onnx", "MatMul"), "openvino")
    products = [each for each in times.operators if each.kind in ("MatMul", "FullyConnected")]
    assert [each.count for each in products] == [1]
    assert sum(each.seconds for each in times.operators) >= 0
    assert times.seconds > 0
