"""Graphs on disk, their weights beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest

from edgepipe.backend.engines import create_session
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization.small_graphs import SmallGraph, layered, layered_logits

PAGE = 4096


def test_two_files_and_the_same_results(tmp_path: Path) -> None:
    assert save_graph(layered(), tmp_path / "model_w8.onnx") == (
        tmp_path / "model_w8.onnx",
        tmp_path / "model_w8.onnx_data",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model_w8.onnx", "model_w8.onnx_data"]
    ids = np.array([[1, 2, 3]])
    (found,) = create_session(tmp_path / "model_w8.onnx").run({"ids": ids}).values()
    np.testing.assert_allclose(found, layered_logits(ids), rtol=1e-4, atol=1e-4)


def test_a_large_weight_begins_on_a_page_of_its_own(tmp_path: Path) -> None:
    graph = SmallGraph()
    value = graph.input("states", [300])
    for number in range(3):
        for name, length in (("small", 300), ("large", 300 * 300)):
            weight = graph.constant(f"{name}.{number}", np.full((length // 300, 300), number, np.float32))
            value = graph.node("Mul", value, weight, name=f"{name}_{number}", shape=[300, 300])
    save_graph(graph.finish(value), tmp_path / "model.onnx")
    offsets = {
        tensor.name: int(next(entry.value for entry in tensor.external_data if entry.key == "offset"))
        for tensor in onnx.load(tmp_path / "model.onnx", load_external_data=False).graph.initializer
        if tensor.external_data
    }
    assert all(offsets[f"large.{number}"] % PAGE == 0 for number in range(3))


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    written = [[path.read_bytes() for path in save_graph(layered(), tmp_path / "model.onnx")] for _ in range(2)]
    assert written[0] == written[1]


def test_a_graph_that_was_read_can_be_written_over(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    save_graph(layered(), path)
    model = onnx_ir.load(path)
    before = [file.read_bytes() for file in save_graph(model, path)]
    assert [file.read_bytes() for file in save_graph(onnx_ir.load(path), path)] == before


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        save_graph(layered(), tmp_path / "nowhere" / "model.onnx")
