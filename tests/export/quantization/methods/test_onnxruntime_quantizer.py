"""What onnxruntime's quantizers are given to read, and what becomes of what they wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx_ir
import pytest

from edgepipe_export.quantization.methods.onnxruntime_quantizer import quantize_blockwise_layers, run_quantizer
from edgepipe_export.quantization.recipe import QuantizationJob
from edgepipe_export.quantization.target import Target
from edgepipe_export.quantization.weights.layers import find_layers
from tests.export.quantization.small_graphs import layered
from tests.export.quantization.weights.test_blockwise import tied


def intermediate_shapes(model: onnx_ir.Model) -> dict[str, onnx_ir.Shape | None]:
    return {
        value.name or "": value.shape for node in model.graph for value in node.outputs if not value.is_graph_output()
    }


def test_a_quantizer_reads_a_graph_without_shapes_and_they_come_back(tmp_path: Path) -> None:
    before = intermediate_shapes(layered())
    assert all(shape is not None for shape in before.values())
    read: dict[str, onnx_ir.Shape | None] = {}

    def quantizer(source: Path, destination: Path) -> None:
        model = onnx_ir.load(source)
        read.update(intermediate_shapes(model))
        assert [value.shape for value in model.graph.outputs] == [onnx_ir.Shape(["batch", 24])]
        model.producer_name, model.metadata_props["written by"] = "onnx.quantize", "something else"
        onnx_ir.save(model, destination)

    run_quantizer(quantizer, layered(), tmp_path / "model.onnx")
    assert read.keys() == before.keys()
    assert set(read.values()) == {None}
    written = onnx_ir.load(tmp_path / "model.onnx")
    assert intermediate_shapes(written) == before
    assert (written.producer_name, dict(written.metadata_props)) == ("edgepipe", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx_data"]


def test_shapes_of_new_values_are_those_that_were_inferred(tmp_path: Path) -> None:
    def quantizer(source: Path, destination: Path) -> None:
        model = onnx_ir.load(source)
        node = next(node for node in model.graph if node.name == "activation")
        node.outputs[0].name, node.outputs[0].shape = "renamed", onnx_ir.Shape([None, 48])
        onnx_ir.save(model, destination)

    run_quantizer(quantizer, layered(), tmp_path / "model.onnx")
    written = intermediate_shapes(onnx_ir.load(tmp_path / "model.onnx"))
    assert written["renamed"] == onnx_ir.Shape([None, 48])
    assert written["pool_out"] == onnx_ir.Shape(["batch", 48])


def test_a_quantizer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def quantizer(source: Path, destination: Path) -> None:
        shutil.copy(source, destination)
        raise ValueError("as onnxruntime's own")

    with pytest.raises(ValueError, match="own"):
        run_quantizer(quantizer, layered(), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def in_blocks(model: onnx_ir.Model) -> list[str]:
    return sorted(name for name in model.graph.initializers if name.endswith("_q8"))


@pytest.mark.parametrize(
    ("precisions", "expected"),
    [
        ({}, ["model.embeddings.weight_q8"]),
        ({"val_3": "w8"}, ["model.embeddings.weight_q8", "val_3_q8"]),
        ({"model.embeddings.weight": "fp32", "val_3": "fp32"}, []),
    ],
    ids=str,
)
def test_tables_and_chosen_layers_go_into_blocks(precisions: dict[str, str], expected: list[str]) -> None:
    model = layered()
    job = QuantizationJob(Path("a"), Path("b"), Target("vnni"), precisions)
    quantize_blockwise_layers(model, job, find_layers(model), embedding_block=16)
    assert in_blocks(model) == expected
    assert not any(name.removesuffix("_q8") in model.graph.initializers for name in expected)


def test_a_head_that_is_tied_to_a_table_goes_with_it() -> None:
    model, _ = tied()
    quantize_blockwise_layers(
        model, QuantizationJob(Path("a"), Path("b"), Target("vnni")), find_layers(model), embedding_block=32
    )
    assert in_blocks(model) == ["wte.weight_q8"]
    assert "MatMulNBits" in {node.op_type for node in model.graph}
