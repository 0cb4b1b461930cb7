"""bf16: a record, and no file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgepipe.backend.openvino import ov_session
from edgepipe.backend.openvino.ov_module import CPU, load_core
from edgepipe.errors import DeviceError, InputError
from edgepipe_export.quantization.quantize import add_stored, check_dtypes, graph_path, quantize
from edgepipe_export.quantization.target import Target
from edgepipe_export.selection.choose import list_candidates
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization.small_graphs import layered

TARGET = Target("openvino")


class WithoutBf16:
    """The ``openvino.Core`` of a processor that computes in fp32 alone."""

    def get_property(self, device: str, name: str) -> list[str]:
        """What it computes in."""
        return ["FP32"]


def test_nothing_is_written(tmp_path: Path) -> None:
    source = graph_path(tmp_path, "fp32")
    source.parent.mkdir()
    save_graph(layered(), source)
    before = {path: path.read_bytes() for path in source.parent.iterdir()}
    assert graph_path(tmp_path, "bf16") == source
    recipe: Mapping[str, Any] = quantize("bf16", source, graph_path(tmp_path, "bf16"), TARGET)
    assert recipe == {"name": "bf16", "stored_as": "fp32", "target": "openvino"}
    assert {path: path.read_bytes() for path in source.parent.iterdir()} == before


def test_it_is_for_openvino_alone() -> None:
    with pytest.raises(InputError, match="bf16 is not for the target vnni, which runs fp32, int8"):
        check_dtypes(["bf16"], Target("vnni"))
    assert "bf16" not in list_candidates(Target("vnni"), generates=False)


def test_the_variant_that_it_is_stored_as_comes_with_it() -> None:
    assert check_dtypes("bf16") == ("bf16", "fp32")
    assert check_dtypes("int8,fp32,bf16") == ("int8", "fp32", "bf16")
    assert add_stored(["w8"]) == ("w8",)


def test_a_processor_without_it_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this system, or is not installed")
    monkeypatch.setattr(ov_session, "load_core", WithoutBf16)
    with pytest.raises(DeviceError, match="this processor has no instructions for bf16"):
        check_dtypes(["fp32", "bf16"], TARGET)
    assert "bf16" not in list_candidates(TARGET, generates=False)


def test_auto_tries_it_where_the_processor_has_it() -> None:
    pytest.importorskip("openvino", reason="OpenVINO has no wheel for this system, or is not installed")
    has_it = "BF16" in load_core().get_property(CPU, "OPTIMIZATION_CAPABILITIES")
    assert ("bf16" in list_candidates(TARGET, generates=False)) == has_it
