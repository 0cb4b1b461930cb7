"""Graphs whose outputs do not fit the task or the config: by name, type, axes and sizes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepipe import pipeline
from edgepipe.errors import BundleError, TaskError
from edgepipe.models.graph_outputs import check_output

DATA = Path(__file__).parents[2] / "data"
Wreck = Callable[[Any, str, str], int]


def by_another_name(graph: Any, before: str, name: str) -> int:
    graph.node.append(helper.make_node("Identity", [before], [f"other_{name}"]))
    return TensorProto.FLOAT


def cast(kind: int) -> Wreck:
    def wreck(graph: Any, before: str, name: str) -> int:
        graph.node.append(helper.make_node("Cast", [before], [name], to=kind))
        return kind

    return wreck


def reshape(*shape: int) -> Wreck:
    def wreck(graph: Any, before: str, name: str) -> int:
        graph.initializer.append(numpy_helper.from_array(np.array(shape), f"{name}_shape"))
        graph.node.append(helper.make_node("Reshape", [before, f"{name}_shape"], [name]))
        return TensorProto.FLOAT

    return wreck


def twice(axis: int) -> Wreck:
    def wreck(graph: Any, before: str, name: str) -> int:
        graph.node.append(helper.make_node("Concat", [before, before], [name], axis=axis))
        return TensorProto.FLOAT

    return wreck


def summed(graph: Any, before: str, name: str) -> int:
    graph.node.append(helper.make_node("ReduceSum", [before], [name], keepdims=0))
    return TensorProto.FLOAT


WRECKS: dict[str, Wreck] = {
    "another name": by_another_name,
    "truth values": cast(TensorProto.BOOL),
    "texts": cast(TensorProto.STRING),
    "whole numbers": cast(TensorProto.INT64),
    "one axis": reshape(-1),
    "an axis more": reshape(1, 1, 1, -1),
    "one number": summed,
    "twice the rows": twice(0),
}
CASES: dict[str, Any] = {
    "foreign/optimum-text-classification": "a b c",
    "foreign/optimum-feature-extraction": "a b c",
    "foreign/optimum-question-answering": {"question": "a b", "context": "c d e"},
    "foreign/optimum-token-classification": "a b c",
    "foreign/optimum-fill-mask": "a [MASK] b",
    "foreign_writers/decoder": "a b c",
    "foreign_writers/merged": "a b c",
}


def alter(path: Path, wreck: Wreck) -> None:
    """Have a graph give another thing in place of each output but those of the cache."""
    model = onnx.load(path, load_external_data=False)
    for output in [each for each in model.graph.output if not each.name.startswith("present")]:
        name, before = output.name, f"{output.name}_before"
        for node in model.graph.node:
            node.output[:] = [before if each == name else each for each in node.output]
            node.input[:] = [before if each == name else each for each in node.input]
        model.graph.output.remove(output)
        kind = wreck(model.graph, before, name)
        given = model.graph.node[-1].output[0]
        model.graph.output.append(helper.make_tensor_value_info(given, kind, None))
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("wreck", WRECKS)
@pytest.mark.parametrize("folder", CASES)
def test_outputs_that_do_not_fit(tmp_path: Path, folder: str, wreck: str) -> None:
    shutil.copytree(DATA / folder, tmp_path / "bundle")
    for graph in (tmp_path / "bundle").rglob("*.onnx"):
        alter(graph, WRECKS[wreck])
    text = CASES[folder]
    task = {"f": folder.rpartition("optimum-")[2], "decoder": "text-generation", "merged": "text2text-generation"}
    options = {"max_new_tokens": 3} if "writers" in folder else {}
    # By another name an output can be that of another task.
    with pytest.raises((BundleError, TaskError), match=r"the graph (gives|declares)|expected|cannot load|is for"):
        pipeline(task.get(folder.rpartition("/")[2], task["f"]), model=tmp_path / "bundle")([text, text], **options)


def test_what_was_expected_is_said() -> None:
    array = np.zeros((2, 3), np.float32)
    check_output({"logits": array}, "logits", (2, None))
    with pytest.raises(BundleError, match=r"the graph gives logits of the shape \[2, 3\], expected \[2, 4, any\]"):
        check_output({"logits": array}, "logits", (2, 4, None))
    with pytest.raises(BundleError, match="the graph gives other, and no logits"):
        check_output({"other": array}, "logits", (2, None))
    with pytest.raises(BundleError, match="the graph gives logits as int64"):
        check_output({"logits": array.astype(int)}, "logits", (2, None))
    with pytest.raises(BundleError, match="the graph gives logits as list"):
        check_output({"logits": [array]}, "logits", (2, None))
