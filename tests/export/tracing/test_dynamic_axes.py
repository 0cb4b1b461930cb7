"""The axes that vary, in the form that torch.export takes."""

from __future__ import annotations

import torch
from torch.export import Dim

from edgepipe_export.tracing.dynamic_axes import TOKEN_AXES, dynamic_shapes

TENSOR = torch.zeros(2, 3, 4)


def test_inputs_are_found_by_their_names_in_the_graph() -> None:
    sample = {
        "input_ids": TENSOR,
        "past_key_values": [{"key": TENSOR, "value": TENSOR}, {"key": TENSOR, "value": TENSOR}],
        "keep": TENSOR,
    }
    axes = {
        "input_ids": TOKEN_AXES,
        "past_key_values.0.key": {0: "batch_size", 2: "past"},
        "past_key_values.1.value": {2: "past"},
        "not there": {0: "batch_size"},
    }
    assert dynamic_shapes(sample, axes) == {
        "input_ids": {0: Dim.AUTO, 1: Dim.AUTO},
        "past_key_values": [{"key": {0: Dim.AUTO, 2: Dim.AUTO}, "value": {}}, {"key": {}, "value": {2: Dim.AUTO}}],
        "keep": {},
    }


def test_a_single_input_and_an_empty_list() -> None:
    assert dynamic_shapes(TENSOR, {"x": {1: "length"}}, "x") == {1: Dim.AUTO}
    assert dynamic_shapes((TENSOR, []), {"x.0": {1: "length"}}, "x") == [{1: Dim.AUTO}, []]
