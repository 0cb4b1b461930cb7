"""The command of docs/explanation/security.md runs a good bundle, and ends one that never ends or fills the memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.documentation.pages import text
from tests.runtime.small_bundle import write_bundle

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux keeps a limit of addresses")


def run_limited(bundle: Path, **shorter: str) -> subprocess.CompletedProcess[str]:
    """Run the page's command on a bundle, with limits that a test can wait for."""
    (command,) = re.findall(r"^\(ulimit .*\)$", text("docs/explanation/security.md"), re.MULTILINE)
    for limit, value in shorter.items():
        command, count = re.subn(rf"{limit} \d+", f"{limit} {value}", command)
        assert count == 1
    command = command.replace("BUNDLE", str(bundle))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ | {"PATH": path})


def add_before(bundle: Path, nodes: list[onnx.NodeProto], **constants: np.ndarray) -> None:
    """Have the graph compute these nodes, whose output ``late`` is a whole number, before it answers."""
    path = bundle / "onnx" / "model.onnx"
    model = onnx.load(path)
    last = model.graph.node[-1]
    adding = helper.make_node("Add", [last.input[1], "late"], ["axes_at_last"])
    last.input[1] = "axes_at_last"
    for place, node in enumerate([*nodes, adding]):
        model.graph.node.insert(place, node)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.save_model(model, path)


def endless_loop() -> onnx.NodeProto:
    number, before, after = (
        helper.make_tensor_value_info(name, TensorProto.INT64, []) for name in ("number", "before", "after")
    )
    going, on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("going", "on"))
    nodes = [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Identity", ["number"], ["after"])]
    body = helper.make_graph(nodes, "body", [number, going, before], [on, after])
    return helper.make_node("Loop", ["", "always", "zero"], ["late"], body=body)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = write_bundle(tmp_path / "bundle")
    (folder / "edgepipe.json").unlink()
    return folder


def test_a_good_bundle_runs(bundle: Path) -> None:
    done = run_limited(bundle)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_a_graph_without_end_is_ended(bundle: Path) -> None:
    add_before(bundle, [endless_loop()], always=np.array(True), zero=np.array(0))
    done = run_limited(bundle, **{"-t": "2"})
    assert done.returncode in (137, 152, -9, -24), done
    assert not done.stdout


def test_memory_is_limited(bundle: Path) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["terabyte"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["late"], to=TensorProto.INT64),
    ]
    add_before(bundle, nodes, terabyte=np.array([2**38]))
    done = run_limited(bundle)
    assert done.returncode == 1, done
    assert "memory ran out when" in done.stderr
