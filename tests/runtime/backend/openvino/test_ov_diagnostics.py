"""Errors of OpenVINO's as ours: what cannot be read, and what would be computed otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgepipe.backend.engines import create_session
from edgepipe.backend.openvino.ov_diagnostics import explain_load_failure, explain_run_failure, find_reason
from edgepipe.backend.session import SessionConfig
from edgepipe.errors import BundleError, KernelError, OutOfMemoryError
from edgepipe.models.variants import load_graph, open_bundle
from tests.runtime.small_bundle import write_bundle, write_graph

HERE = SessionConfig("openvino")


def write_operator(path: Path, operator: str, domain: str) -> None:
    """A graph of one operator."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(operator, ["input_ids"], ["logits"], domain=domain)],
        "one",
        [value("input_ids", TensorProto.INT64, ["batch", "length"])],
        [value("logits", TensorProto.FLOAT, ["batch", 3])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(domain, 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


def test_an_operator_that_it_does_not_know(tmp_path: Path) -> None:
    write_operator(tmp_path / "model.onnx", "Unheard", "com.example")
    with pytest.raises(KernelError, match=r"needs com\.example\.Unheard, for which OpenVINO [\d.]+ has no translation"):
        create_session(tmp_path / "model.onnx", HERE)


def test_attention_that_it_computes_for_one_row_alone(tmp_path: Path) -> None:
    write_operator(tmp_path / "model.onnx", "GroupQueryAttention", "com.microsoft")
    with pytest.raises(KernelError, match=r"needs GroupQueryAttention, .* or take device"):
        create_session(tmp_path / "model.onnx", HERE)


def test_the_variants_that_can_run_are_named(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", ("fp32", "int8"))
    (folder / "edgepipe.json").unlink()  # which has the graph's hash
    write_operator(folder / "onnx" / "model.onnx", "Unheard", "com.example")
    bundle = open_bundle(folder, None, HERE)
    with pytest.raises(KernelError, match="int8 can run there"):
        load_graph(bundle, "fp32", HERE)


def test_weights_that_end_too_early(tmp_path: Path) -> None:
    write_graph(tmp_path / "model.onnx")
    os.truncate(tmp_path / "model.onnx_data", 100)
    with pytest.raises(BundleError, match=r"model\.onnx_data has fewer bytes than the graph needs"):
        create_session(tmp_path / "model.onnx", HERE)


def test_what_is_no_graph(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Add", ["missing"], ["logits"])], "wrong", [], [value])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "model.onnx")
    with pytest.raises(BundleError, match=r"OpenVINO [\d.]+ cannot load .*model\.onnx: ."):
        create_session(tmp_path / "model.onnx", HERE)


def test_the_reason_is_the_last_line() -> None:
    text = "Exception from a.cpp:1:\nException from b.cpp:2:\nCheck 'false' failed at c.cpp:3:\nit is wrong\n\n\n"
    assert find_reason(RuntimeError(text)) == "it is wrong"
    assert find_reason(RuntimeError("Exception from a.cpp:1:\n")) == "RuntimeError"


def test_memory_that_ran_out(tmp_path: Path) -> None:
    for error in (MemoryError(), RuntimeError("Exception from a.cpp:1:\nstd::bad_alloc")):
        with pytest.raises(OutOfMemoryError, match="cannot be loaded: memory ran out"), explain_load_failure(tmp_path):
            raise error
        with pytest.raises(OutOfMemoryError, match="the graph failed on : memory ran out"), explain_run_failure({}):
            raise error
