"""Which provider runs which nodes: read from real sessions, and judged."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnxruntime
import pytest

from edgepipe.backend.onnxruntime.plugins import node_placement
from edgepipe.backend.onnxruntime.plugins.node_placement import (
    SHAPE_OPERATORS,
    check_placement,
    read_placement,
    record_placement,
    tell_choice,
)
from edgepipe.errors import KernelError

CPU, OTHER = "CPUExecutionProvider", "OtherExecutionProvider"
GRAPH = Path("model.onnx")


def test_a_session_tells_where_its_nodes_run(graph: Path) -> None:
    options = onnxruntime.SessionOptions()
    record_placement(options)
    placement = read_placement(onnxruntime.InferenceSession(graph, options, providers=[CPU]))
    assert list(placement) == [CPU]
    assert placement[CPU]["Gather"] == 1
    counts = list(placement[CPU].values())
    assert counts == sorted(counts, reverse=True), "the most first"


def test_a_session_that_was_not_told_to_does_not(graph: Path) -> None:
    with pytest.raises(Exception, match="record_ep_graph_assignment_info"):
        read_placement(onnxruntime.InferenceSession(graph, providers=[CPU]))


@pytest.mark.parametrize("allows_cpu", [True, False])
def test_shapes_may_stay_on_the_processor(allows_cpu: bool) -> None:
    check_placement(GRAPH, {OTHER: {"MatMul": 9}, CPU: {"Shape": 2, "Gather": 1}}, OTHER, allows_cpu=allows_cpu)
    check_placement(GRAPH, {OTHER: {"MatMul": 9}}, OTHER, allows_cpu=allows_cpu)


def test_products_on_the_processor_are_an_error_unless_allowed() -> None:
    placement = {OTHER: {"MatMul": 9}, CPU: {"Shape": 2, "Softmax": 3, "LayerNormalization": 1}}
    with pytest.raises(
        KernelError,
        match=r"model\.onnx: Other.* leaves 4 of 15 nodes to the processor \(Softmax 3, LayerNormalization 1\); put",
    ):
        check_placement(GRAPH, placement, OTHER, allows_cpu=False)
    check_placement(GRAPH, placement, OTHER, allows_cpu=True)


@pytest.mark.parametrize("allows_cpu", [True, False])
def test_a_provider_that_runs_nothing_is_an_error(allows_cpu: bool) -> None:
    for placement in ({CPU: {"Shape": 3}}, {OTHER: {}, CPU: {"MatMul": 3}}):
        with pytest.raises(KernelError, match=r'Other.* runs none of the 3 nodes.*; take device="cpu"'):
            check_placement(GRAPH, placement, OTHER, allows_cpu=allows_cpu)


def test_what_takes_the_time_of_a_model_is_no_work_on_shapes() -> None:
    heavy = {"MatMul", "Gemm", "MatMulNBits", "MatMulInteger", "Attention", "MultiHeadAttention", "GroupQueryAttention"}
    heavy |= {"Softmax", "LayerNormalization", "SkipLayerNormalization", "Gelu", "Erf", "Tanh", "DynamicQuantizeLinear"}
    assert not heavy & SHAPE_OPERATORS


def test_a_choice_is_told_once() -> None:
    node_placement._warn_of_choice.cache_clear()
    placement = {OTHER: {"MatMul": 2}, CPU: {"Shape": 1}}
    with pytest.warns(UserWarning, match=r"onnxruntime chose: Other\w+ 2 nodes; CPU\w+ 1 nodes \(Shape 1\)"):
        tell_choice(placement)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_choice(placement)
