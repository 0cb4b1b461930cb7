"""q4-rows is q4, but for how prompts are read; end_to_end/test_recipes_of_decoders.py compares scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from edgepipe.errors import InputError
from edgepipe_export.quantization.quantize import quantize
from edgepipe_export.quantization.recipes.q4 import Q4Options
from edgepipe_export.quantization.target import Target
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization.small_graphs import layered


def make(folder: Path, dtype: str, **options: Any) -> tuple[dict[str, Any], Path]:
    source, path = folder / "source.onnx", folder / f"{dtype}.onnx"
    save_graph(layered(), source)
    return dict(quantize(dtype, source, path, Target("vnni"), options=Q4Options(**options))), path


def test_weights_and_steps_are_those_of_q4(tmp_path: Path) -> None:
    (plain, graph), (rows, other) = (make(tmp_path, dtype) for dtype in ("q4", "q4-rows"))
    assert rows == {**plain, "name": "q4-rows", "integer_products": True}
    first, second = (onnx.load(path).graph for path in (graph, other))
    assert first.node == second.node
    assert first.initializer == second.initializer


def test_products_in_fp32_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prompts in integers take accuracy_level=4, got 1"):
        make(tmp_path, "q4-rows", accuracy_level=1)
