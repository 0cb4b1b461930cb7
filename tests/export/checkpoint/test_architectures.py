"""The table of architectures: a new one is one entry, which tracing, limits and refusals go by."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.models.bert import modeling_bert

from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.architectures import (
    ARCHITECTURES,
    Architecture,
    find_architecture,
    list_refusals,
    patch_model,
    require_exportable,
)
from tests.tiny import build


def test_an_architecture_without_an_entry_has_nothing_special() -> None:
    model, _ = build("bert")
    entry = find_architecture(model)
    assert entry.patches(model) == {}
    assert entry.refusal is None
    assert not entry.decodes_single_tokens
    require_exportable(model)


def test_a_new_architecture_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = build("bert")
    original = modeling_bert.BertPooler.forward

    def double(pooler: Any, hidden_states: torch.Tensor) -> torch.Tensor:
        doubled: torch.Tensor = 2 * original(pooler, hidden_states)
        return doubled

    entry = Architecture(lambda model: {"BertPooler.forward": double}, "it pools twice")
    monkeypatch.setitem(ARCHITECTURES, "bert", entry)
    ids = torch.tensor([[2, 5, 7, 3]])
    with torch.no_grad():
        before = model.bert(ids).pooler_output
        with patch_model(model):
            torch.testing.assert_close(model.bert(ids).pooler_output, 2 * before)
        torch.testing.assert_close(model.bert(ids).pooler_output, before)
    assert modeling_bert.BertPooler.forward is original
    assert ("bert", "it pools twice") in list_refusals()
    with pytest.raises(ExportError, match="BertForSequenceClassification cannot be exported exactly: it pools twice"):
        require_exportable(model)
    monkeypatch.setitem(ARCHITECTURES, "bert", Architecture(refusal="never", is_refused=lambda model: False))
    require_exportable(model)
