from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir
import pytest
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgepipe.backend.engines import create_session
from edgepipe_export.tracing.passes.remove_idle_gathers import RemoveIdleGathersPass
from edgepipe_export.tracing.serialization import save_graph
from tests.export.quantization.small_graphs import INT64, SmallGraph

ROWS, COLUMNS = 3, 5


def gathered(*, start: int = 0, swapped: bool = False, read: str = "columns") -> onnx_ir.Model:
    """A matrix of which every number is looked up, as transformers does it with a mask.

    Args:
        start: What the numbers of the columns begin with.
        swapped: Whether the numbers of rows and columns change places.
        read: The name of the axis that is counted for the columns.
    """
    graph = SmallGraph()
    matrix = graph.input("matrix", ["rows", "columns"], INT64)
    indices, spread = [], []
    for axis, (name, begin, place) in enumerate((("rows", 0, 0), (read, start, 3))):
        shape: list[int | str] = [1, 1, 1, 1]
        shape[place] = name
        own = graph.node("Shape", matrix, name=f"shape_{axis}", shape=[1], kind=INT64, start=axis, end=axis + 1)
        size = graph.node("Squeeze", own, name=f"size_{axis}", shape=[], kind=INT64)
        zero = graph.constant(f"begin_{axis}", np.array(begin))
        step = graph.constant(f"step_{axis}", np.array(1))
        if begin:
            size = graph.node("Add", size, zero, name=f"end_{axis}", shape=[], kind=INT64)
        numbers = graph.node("Range", zero, size, step, name=f"range_{axis}", shape=[name], kind=INT64)
        axes = graph.constant(f"axes_{axis}", np.array([other for other in range(4) if other != place]))
        indices.append(graph.node("Unsqueeze", numbers, axes, name=f"along_{axis}", shape=shape, kind=INT64))
    whole = graph.node("Max", *indices, name="whole", shape=["rows", 1, 1, "columns"], kind=INT64)
    shape_of_all = graph.node("Shape", whole, name="shape_of_all", shape=[4], kind=INT64)
    last = graph.constant("last", np.array([-1]))
    for axis, value in enumerate(indices):
        expanded = graph.node(
            "Expand", value, shape_of_all, name=f"expand_{axis}", shape=["a", "b", "c", "d"], kind=INT64
        )
        spread.append(
            graph.node("Unsqueeze", expanded, last, name=f"each_{axis}", shape=["a", "b", "c", "d", 1], kind=INT64)
        )
    pairs = reversed(spread) if swapped else spread
    places = graph.node("Concat", *pairs, name="places", shape=["a", "b", "c", "d", 2], kind=INT64, axis=-1)
    found = graph.node("GatherND", matrix, places, name="found", shape=["rows", 1, 1, "columns"], kind=INT64)
    return graph.finish(found)


def test_a_lookup_of_everything_is_the_matrix(tmp_path: Path) -> None:
    model = gathered()
    save_graph(model, tmp_path / "before.onnx")
    assert RemoveIdleGathersPass()(model).modified
    RemoveUnusedNodesPass()(model)
    assert [node.op_type for node in model.graph] == ["Unsqueeze"]
    save_graph(model, tmp_path / "after.onnx")
    feeds = {"matrix": np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)}
    before, after = (create_session(tmp_path / f"{name}.onnx").run(feeds)["found_out"] for name in ("before", "after"))
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(gathered(start=1), id="from-another-column"),
        pytest.param(gathered(swapped=True), id="transposed"),
        pytest.param(gathered(read="some"), id="of-other-columns"),
    ],
)
def test_other_lookups_stay(model: onnx_ir.Model) -> None:
    before = [node.name for node in model.graph]
    assert not RemoveIdleGathersPass()(model).modified
    assert [node.name for node in model.graph] == before
