"""Half precision node by node: casts stand only where a node in it meets one in fp32."""

from __future__ import annotations

import numpy as np
import onnx_ir
import pytest

from edgepipe.errors import ExportError
from edgepipe_export.quantization.methods.half_precision import FULL, HALF, LARGEST, ConvertToHalfPass
from tests.export.quantization.small_graphs import SmallGraph, layered, weights

CACHE = ("past_key_values.", "present.")


def convert(model: onnx_ir.Model, *excluded: str) -> onnx_ir.Graph:
    ConvertToHalfPass(excluded, CACHE)(model)
    return model.graph


def casts(graph: onnx_ir.Graph) -> dict[str, str]:
    """Where the graph changes the type of a value: from what to what."""
    return {
        str(node.inputs[0].name): str(node.outputs[0].name)
        for node in graph
        if node.op_type == "Cast" and node.inputs[0] is not None
    }


def types(graph: onnx_ir.Graph) -> dict[str, onnx_ir.DataType | None]:
    """The types of all float initializers."""
    found = {name: value.dtype for name, value in graph.initializers.items()}
    return {name: kind for name, kind in found.items() if kind in (FULL, HALF)}


def test_weights_become_half_under_their_names() -> None:
    graph = convert(layered())
    assert types(graph) == dict.fromkeys(weights(), HALF)
    value = graph.initializers["classifier.weight"].const_value
    assert value is not None
    np.testing.assert_array_equal(value.numpy(), weights()["classifier.weight"].astype(np.float16))


def test_only_the_output_is_cast_and_keeps_its_name() -> None:
    graph = convert(layered())
    assert [(value.name, value.dtype) for value in graph.outputs] == [("logits", FULL)]
    assert casts(graph) == {"logits_half": "logits"}
    assert [(value.name, value.dtype) for value in graph.inputs] == [("ids", onnx_ir.DataType.INT64)]


def test_a_float_input_stays_and_is_cast_once() -> None:
    model = SmallGraph()
    states = model.input("states", [2, 4])
    one = model.node("Neg", states, name="one", shape=[2, 4])
    other = model.node("Add", one, states, name="other", shape=[2, 4])
    graph = convert(model.finish(other))
    assert graph.inputs[0].dtype == FULL
    assert casts(graph) == {"states": "states_half", "other_out_half": "other_out"}
    assert [node.op_type for node in graph] == ["Cast", "Neg", "Add", "Cast"]


def test_the_cache_becomes_half_without_casts() -> None:
    graph = convert(layered(cache=True))
    assert {value.name: value.dtype for value in graph.inputs}["past_key_values.0.key"] == HALF
    assert {value.name: value.dtype for value in graph.outputs} == {"logits": FULL, "present.0.key": HALF}
    assert casts(graph) == {"logits_half": "logits"}


def test_neighbours_in_fp32_are_not_cast_between_each_other() -> None:
    graph = convert(layered(), "plus", "pool")
    assert casts(graph) == {
        "product_out": "product_out_full",
        "pool_out": "pool_out_half",
        "logits_half": "logits",
    }
    assert types(graph)["model.dense.bias"] == FULL
    assert types(graph)["val_3"] == HALF


def test_a_weight_that_both_read_is_there_in_both() -> None:
    model = SmallGraph()
    states, weight = model.input("states", [4]), model.constant("weight", np.ones(4, np.float32))
    one = model.node("Mul", states, weight, name="one", shape=[4])
    other = model.node("Mul", one, weight, name="other", shape=[4])
    graph = convert(model.finish(other), "other")
    assert types(graph) == {"weight": FULL, "weight_half": HALF}
    assert casts(graph) == {"states": "states_half", "one_out": "one_out_full"}


@pytest.mark.parametrize("operator", ["CumSum", "Max"])
def test_operators_without_a_kernel_stay_fp32(operator: str) -> None:
    model = SmallGraph()
    states = model.input("states", [4])
    second = model.constant("axis", np.array(0)) if operator == "CumSum" else states
    before = model.node("Neg", states, name="before", shape=[4])
    graph = convert(model.finish(model.node(operator, before, second, name="node", shape=[4])))
    node = next(node for node in graph if node.op_type == operator)
    assert node.outputs[0].dtype == FULL
    assert "before_out" in casts(graph)
    assert graph.outputs[0] is node.outputs[0], "no cast behind it"


def test_numbers_past_the_largest_are_the_largest() -> None:
    model = SmallGraph()
    states, mask = model.input("states", [2]), model.constant("mask", np.array([-np.inf, 1e6], np.float32))
    graph = convert(model.finish(model.node("Add", states, mask, name="node", shape=[2])))
    value = graph.initializers["mask"].const_value
    assert value is not None
    assert value.numpy().tolist() == [-LARGEST, LARGEST]


def test_what_nodes_make_of_their_own_becomes_half() -> None:
    model = SmallGraph()
    ids, states = model.input("ids", [2], onnx_ir.DataType.INT64), model.input("states", [2])
    cast = model.node("Cast", ids, name="cast", shape=[2], to=FULL.value)
    shape = model.node("Shape", states, name="shape", shape=[1], kind=onnx_ir.DataType.INT64)
    filled = model.node(
        "ConstantOfShape", shape, name="fill", shape=[2], value=onnx_ir.tensor(np.array([1e9], np.float32))
    )
    graph = convert(model.finish(model.node("Add", cast, filled, name="sum", shape=[2])))
    made = {node.name: node for node in graph}
    assert made["cast"].attributes["to"].as_int() == HALF.value
    assert made["fill"].attributes["value"].as_tensor().numpy().tolist() == [LARGEST]
    assert made["shape"].outputs[0].dtype == onnx_ir.DataType.INT64
    assert made["sum"].outputs[0].dtype == HALF


def test_a_graph_within_a_graph_is_refused() -> None:
    one = onnx_ir.node("Constant", [], attributes={"value": onnx_ir.tensor(np.ones(2, np.float32))})
    branch = onnx_ir.Graph([], one.outputs, nodes=[one], name="branch")
    model = SmallGraph()
    condition = model.input("condition", [], onnx_ir.DataType.BOOL)
    outer = model.finish(model.node("If", condition, name="choose", shape=[2], then_branch=branch, else_branch=branch))
    with pytest.raises(ExportError, match="If choose has a graph within it, which cannot be made half precision"):
        ConvertToHalfPass((), CACHE).call(outer)
