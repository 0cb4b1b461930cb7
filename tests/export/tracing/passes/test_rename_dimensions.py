from __future__ import annotations

import onnx_ir
import pytest

from edgepipe.errors import ExportError
from edgepipe_export.tracing.dynamic_axes import TOKEN_AXES
from edgepipe_export.tracing.passes.rename_dimensions import RenameDimensionsPass
from tests.export.tracing.passes.hand_made import hand_made


def test_symbols_within_expressions_are_renamed() -> None:
    model = hand_made(["s1", "s2"])
    RenameDimensionsPass({"read": TOKEN_AXES, "passed on": {0: "batch_size"}, "not there": {0: "another"}})(model)
    assert model.graph.inputs[0].shape == onnx_ir.Shape(["batch_size", "sequence_length"])
    assert model.graph.outputs[0].shape == onnx_ir.Shape(["2*batch_size", "other"])


def test_an_axis_that_became_a_constant_is_an_error() -> None:
    with pytest.raises(ExportError, match=r"sequence_length of the input read .* constant 11"):
        RenameDimensionsPass({"read": TOKEN_AXES})(hand_made(["s1", 11]))


def test_axes_with_two_names_that_became_one_are_an_error() -> None:
    with pytest.raises(ExportError, match=r"past_length of the input passed on .* equal to sequence_length"):
        RenameDimensionsPass({"read": TOKEN_AXES, "passed on": {1: "past_length"}})(hand_made(["s1", "s2"]))


def test_an_axis_that_is_a_sum_is_called_by_the_names_of_its_parts() -> None:
    model = hand_made(["s1", "s2"])
    model.graph.inputs[2].shape = onnx_ir.Shape(["s1", "s1 + s2"])
    RenameDimensionsPass({"read": TOKEN_AXES, "passed on": {1: "total_length"}})(model)
    assert model.graph.inputs[2].shape == onnx_ir.Shape(["batch_size", "batch_size + sequence_length"])
