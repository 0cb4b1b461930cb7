"""Sessions of onnxruntime: threads, memory, and what they compute."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepipe import Model
from edgepipe.backend.engines import create_session
from edgepipe.backend.onnxruntime.inference_session import check_device
from edgepipe.backend.session import Session, SessionConfig
from edgepipe.backend.threads import available_threads
from edgepipe.errors import BundleError, InputError
from tests.runtime.small_bundle import expected_logits

IDS = np.array([[2, 30, 31, 3]])
FEEDS = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}


def threads_of(session: Session) -> int:
    count: int = session._session.get_session_options().intra_op_num_threads
    return count


def test_threads(graph: Path) -> None:
    assert threads_of(create_session(graph)) == available_threads()
    assert threads_of(create_session(graph, SessionConfig(num_threads=3))) == 3
    assert threads_of(create_session(graph, SessionConfig(workers=available_threads()))) == 1
    assert threads_of(create_session(graph, SessionConfig(workers=2, num_threads=3))) == 3
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 5
    assert threads_of(create_session(graph, SessionConfig(session_options=options))) == 5
    assert threads_of(create_session(graph, SessionConfig(session_options=options, num_threads=2))) == 2


def test_workers_are_for_processors(folder: Path) -> None:
    other = next((name for name in onnxruntime.get_available_providers() if name != "CPUExecutionProvider"), None)
    if other is None:
        pytest.skip("this onnxruntime has no other provider")
    config = SessionConfig(providers=[other, "CPUExecutionProvider"], workers=2)
    for load in (lambda: create_session(folder / "onnx" / "model.onnx", config), lambda: check_device(config)):
        with pytest.raises(InputError, match=f"workers=2 is for processors, and {other} is none"):
            load()


@pytest.mark.parametrize("options", [{}, "options", 3])
def test_what_are_no_session_options(options: Any, folder: Path) -> None:
    with pytest.raises(InputError, match=rf"onnxruntime\.SessionOptions, got {type(options).__name__}"):
        Model.from_pretrained(folder, session_options=options)


def test_low_memory_gives_the_same(graph: Path) -> None:
    low = create_session(graph, SessionConfig(low_memory=True))
    assert low._session.get_session_options().get_session_config_entry("session.disable_prepacking") == "1"
    np.testing.assert_array_equal(low.run(FEEDS)["logits"], create_session(graph).run(FEEDS)["logits"])


def test_a_session(graph: Path) -> None:
    session = create_session(graph)
    assert session.inputs == {"input_ids": "int64", "attention_mask": "int64"}
    assert session.outputs == ("logits",)
    np.testing.assert_allclose(session.run(FEEDS)["logits"], expected_logits("fp32", IDS), rtol=1e-5)


def test_additions_and_norms_are_not_made_one_on_a_cpu(tmp_path: Path) -> None:
    # onnxruntime's operator for both takes longer than the two.
    ones = [numpy_helper.from_array(np.ones(8, np.float32), name) for name in ("scale", "bias")]
    nodes = [
        helper.make_node("Add", ["one", "other"], ["sum"]),
        helper.make_node("LayerNormalization", ["sum", "scale", "bias"], ["normed"], axis=-1),
    ]
    shape = ["batch", "length", 8]
    one, other, normed = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("one", "other", "normed")
    )
    graph = helper.make_graph(nodes, "norm", [one, other], [normed], ones)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "norm.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    create_session(tmp_path / "norm.onnx", SessionConfig(session_options=options))
    assert [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node] == ["Add", "LayerNormalization"]
    onnxruntime.InferenceSession(tmp_path / "norm.onnx", options, providers=["CPUExecutionProvider"])
    assert [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node] == ["SkipLayerNormalization"]


@pytest.mark.parametrize("name", [b"batch_size", b"logits"])
def test_names_that_are_no_text(name: bytes, graph: Path, tmp_path: Path) -> None:
    """onnxruntime takes them, and Python does not."""
    for file in graph.parent.glob(f"{graph.name}*"):
        shutil.copy(file, tmp_path)
    altered = tmp_path / graph.name
    altered.write_bytes(graph.read_bytes().replace(name, name[:-1] + b"\xff"))
    with pytest.raises(BundleError, match=r"an input, output or axis of .*model\.onnx cannot be read as UTF-8"):
        create_session(altered)
