"""From a module to a graph, and what every traced graph is cleared of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import pytest
import torch
from torch import nn

from edgepipe.backend.engines import create_session
from edgepipe.errors import ExportError
from edgepipe_export.tracing.dynamic_axes import TOKEN_AXES
from edgepipe_export.tracing.onnx_export import clean_up, export_to_onnx
from edgepipe_export.tracing.serialization import save_graph
from tests.export.tracing.passes.hand_made import hand_made
from tests.tiny import build


class Sums(nn.Module):
    """Looks tokens up twice in the same weights, and does not read its second input."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Embedding(30, 8)
        self.second = nn.Embedding(30, 8)
        self.second.weight.data = self.first.weight.data.clone()

    def forward(self, input_ids: torch.Tensor, token_type_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sums": (self.first(input_ids) + 2 * self.second(input_ids)).sum(1)}


@pytest.fixture(scope="module")
def module() -> Sums:
    torch.manual_seed(0)
    return Sums(build("bert")[0].config).eval()


@pytest.fixture(scope="module")
def traced(module: Sums) -> onnx_ir.Model:
    """The graph as it is written; not to be changed."""
    model, _ = build("bert")
    ids = torch.arange(10).reshape(2, 5)
    axes = dict.fromkeys(("input_ids", "token_type_ids"), TOKEN_AXES)
    program = export_to_onnx(model, module, {"input_ids": ids, "token_type_ids": torch.zeros_like(ids)}, axes, 18)
    clean_up(program, axes)
    return program


def test_every_size_runs(traced: onnx_ir.Model, module: Sums, tmp_path: Path) -> None:
    save_graph(traced, tmp_path / "model.onnx")
    session = create_session(tmp_path / "model.onnx")
    assert session.input_shapes == {"input_ids": ["batch_size", "sequence_length"]}, "what is not read is gone"
    for rows, length in ((1, 1), (3, 7)):
        ids = np.arange(rows * length).reshape(rows, length)
        with torch.no_grad():
            expected = module(torch.from_numpy(ids), torch.from_numpy(ids))["sums"].numpy()
        np.testing.assert_allclose(session.run({"input_ids": ids})["sums"], expected, rtol=1e-5, atol=1e-5)


def test_the_opset_is_the_one_asked_for(traced: onnx_ir.Model) -> None:
    assert traced.opset_imports[""] == 18


def test_equal_weights_are_stored_once(traced: onnx_ir.Model) -> None:
    large = [value for value in traced.graph.initializers.values() if value.shape == onnx_ir.Shape([30, 8])]
    assert len(large) == 1


def test_nothing_says_where_it_was_traced(traced: onnx_ir.Model) -> None:
    assert (traced.producer_name, traced.producer_version, traced.doc_string) == ("edgepipe", None, None)
    assert not traced.metadata_props
    for node in traced.graph.all_nodes():
        assert not node.metadata_props
        assert not node.doc_string


def test_patches_are_in_place_for_the_trace_alone(module: Sums, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.longformer import modeling_longformer as own

    model, _ = build("longformer")
    original = own.LongformerSelfAttention.forward
    seen = []

    class Exporter:
        def export(self, *_: Any) -> Any:
            seen.append(own.LongformerSelfAttention.forward is not original and not torch.is_grad_enabled())
            raise RuntimeError("no further")

    monkeypatch.setattr("transformers.exporters.exporter_onnx.OnnxExporter", Exporter)
    with pytest.raises(RuntimeError, match="no further"):
        export_to_onnx(model, module, {}, {}, None)
    assert seen == [True]
    assert own.LongformerSelfAttention.forward is original


def test_an_axis_that_is_a_constant_is_refused() -> None:
    with pytest.raises(ExportError, match="batch_size of the input read was traced as the constant 2"):
        clean_up(hand_made([2, 3]), {"read": {0: "batch_size"}})
