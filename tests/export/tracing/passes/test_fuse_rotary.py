"""Heads that are turned by halves are turned by one operator, to the same place; others stay as they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import torch

from edgepipe_export.tracing.passes.fuse_rotary import FuseRotaryPass
from tests.tiny.generation import export_generative

HEADS, WIDTH = 3, 8


class Rotary(torch.nn.Module):
    """Rotary embeddings as models have them.

    Args:
        form: ``halves``, ``scaled`` (cosines times a number), ``normed`` (heads that were normed before), ``shared``
            (texts whose positions are the same), ``neighbors`` (pairs of neighbors), ``unequal`` (the halves of a table
            differ).
    """

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.frequencies = torch.nn.Buffer(torch.linspace(0.1, 1.0, WIDTH // 2))

    def forward(self, states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        heads = states.unflatten(2, (HEADS, WIDTH))
        if self.form == "normed":
            heads = heads * torch.rsqrt(heads.pow(2).mean(-1, keepdim=True) + 1e-6)
        heads = heads.transpose(1, 2)
        if self.form == "shared":
            positions = torch.arange(states.shape[1])[None]
        angles = positions[..., None].float() * self.frequencies
        both = torch.cat((angles, angles * 2 if self.form == "unequal" else angles), -1)
        scale = 1.25 if self.form == "scaled" else 1.0
        cosines, sines = (each.unsqueeze(1) for each in (both.cos() * scale, both.sin() * scale))
        if self.form == "neighbors":
            swapped = torch.stack((-heads[..., 1::2], heads[..., ::2]), -1).flatten(-2)
        else:
            swapped = torch.cat((-heads[..., WIDTH // 2 :], heads[..., : WIDTH // 2]), -1)
        return (heads * cosines + swapped * sines).transpose(1, 2).flatten(2)


def trace(form: str) -> onnx_ir.Model:
    inputs = (torch.randn(2, 5, HEADS * WIDTH), torch.arange(10).reshape(2, 5))
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    program = torch.onnx.export(
        Rotary(form).eval(), inputs, dynamo=True, opset_version=20, verbose=False,
        dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length}),
    )  # fmt: skip
    assert program is not None
    return program.model


def mark(model: onnx_ir.Model) -> None:
    """Let the graph have an operator of onnxruntime's, as those of decoders do."""
    last = model.graph.outputs[0]
    node = onnx_ir.node("QuickGelu", [last], {"alpha": 1.0}, domain="com.microsoft", name="mark")
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "marked", last.type, last.shape
    model.graph.append(node)
    model.graph.outputs.append(node.outputs[0])
    model.graph.opset_imports["com.microsoft"] = 1


def run(model: onnx_ir.Model, states: Any, positions: Any) -> Any:
    session = onnxruntime.InferenceSession(
        onnx_ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feeds = {"states": states, "positions": positions}
    return session.run(None, {each.name: feeds[each.name] for each in session.get_inputs()})[0]


@pytest.mark.parametrize("form", ["halves", "scaled", "normed", "shared"])
def test_it_gives_the_same_for_any_batch_and_positions(form: str) -> None:
    model = trace(form)
    mark(model)
    draw = np.random.default_rng(0)
    calls = [
        (draw.standard_normal((rows, new, HEADS * WIDTH), np.float32), draw.integers(0, 900, (rows, new)))
        for rows, new in ((1, 1), (3, 1), (2, 7), (1, 40))
    ]
    before = [run(model, *call) for call in calls]
    assert FuseRotaryPass()(model).modified
    operators = Counter(node.op_type for node in model.graph)
    assert (operators["RotaryEmbedding"], operators["Neg"], operators["Transpose"]) == (1, 0, 0)
    for call, expected in zip(calls, before, strict=True):
        np.testing.assert_allclose(run(model, *call), expected, atol=1e-6)
    onnx.checker.check_model(onnx_ir.to_proto(model))


@pytest.mark.parametrize("form", ["neighbors", "unequal"])
def test_other_forms_stay(form: str) -> None:
    model = trace(form)
    mark(model)
    assert not FuseRotaryPass()(model).modified


def test_graphs_of_standard_operators_stay() -> None:
    assert not FuseRotaryPass()(trace("halves")).modified


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt_neox"])
def test_decoders_turn_queries_and_keys_by_it(tmp_path: Path, family: str) -> None:
    _, _, bundle = export_generative(family, tmp_path)
    graph = onnx.load(bundle.path / "onnx" / "model.onnx", load_external_data=False).graph
    operators = Counter(node.op_type for node in graph.node)
    assert operators["RotaryEmbedding"] == 2 * operators["GroupQueryAttention"]
    assert not operators["Neg"]
