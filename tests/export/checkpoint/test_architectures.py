"""The table of architectures: a new one is one entry, which tracing, limits and refusals go by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.cache_utils import (
    DYNAMIC_LAYER_TYPE_MAPPING,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionCacheLayerMixin,
)
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
from edgepipe_export.checkpoint.formats.weight_shapes import make_empty
from edgepipe_export.checkpoint.load import load
from edgepipe_export.checkpoint.resolve import Request, resolve
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


GROUPED = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
STATES: dict[str, dict[str, Any]] = {
    "lfm2": GROUPED | {"layer_types": ["conv", "full_attention"]},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2},
    "mamba2": {"hidden_size": 32, "num_hidden_layers": 2, "num_heads": 8, "head_dim": 8},
    "granitemoehybrid": GROUPED | {"layer_types": ["mamba", "attention"], "mamba_n_heads": 8},
    "falcon_h1": GROUPED,
    "qwen3_next": GROUPED | {"layer_types": ["linear_attention", "full_attention"]},
    "minimax": GROUPED | {"layer_types": ["linear_attention", "full_attention"]},
    "recurrent_gemma": GROUPED,
    "deepseek_v32": {"num_hidden_layers": 2},
    "gemma3n_text": {"num_hidden_layers": 10, "num_kv_shared_layers": 5, "hidden_size": 32},
    "rwkv": {"hidden_size": 32, "num_hidden_layers": 2},
    "xlstm": {"hidden_size": 32, "num_hidden_layers": 2, "num_heads": 4},
}


@pytest.mark.parametrize("model_type", STATES)
def test_caches_of_states_are_refused_by_the_config_alone(model_type: str) -> None:
    model = make_empty(AutoModelForCausalLM, AutoConfig.for_model(model_type, **STATES[model_type]))
    with pytest.raises(ExportError, match=r"cannot be exported exactly: (its cache has something|it has the states)"):
        require_exportable(model)


@pytest.mark.parametrize("model_type", ["mamba", "falcon_h1", "qwen3_next", "granitemoehybrid"])
def test_recurrences_of_models_that_do_not_write_are_refused(model_type: str) -> None:
    config = AutoConfig.for_model(model_type, **STATES[model_type])
    with pytest.raises(ExportError, match="computes its recurrence in chunks"):
        require_exportable(make_empty(AutoModel, config))


def test_convolutions_of_models_that_do_not_write_are_not() -> None:
    require_exportable(make_empty(AutoModel, AutoConfig.for_model("lfm2", **STATES["lfm2"])))


@pytest.mark.parametrize(("model_type", "kind"), [("granitemoehybrid", "attention"), ("lfm2", "full_attention")])
def test_hybrids_of_attention_alone_are_not(model_type: str, kind: str) -> None:
    config = AutoConfig.for_model(model_type, **STATES[model_type] | {"layer_types": [kind] * 2})
    require_exportable(make_empty(AutoModelForCausalLM, config))


def test_every_decoder_of_transformers_is_exported_or_refused_with_a_reason() -> None:
    """By the kinds of layers of its cache: a new kind of them is to be looked at."""
    known = {layer.__name__ for layer in (DynamicLayer, DynamicSlidingWindowLayer)}
    refused = {"DynamicIndexedLayer", "DummyLayer"}
    for kind in LinearAttentionCacheLayerMixin.__subclasses__():
        refused |= {each.__name__ for each in (kind, *kind.__subclasses__())}
    kinds = DYNAMIC_LAYER_TYPE_MAPPING.values()  # a model that was imported adds its own
    new = {kind.__name__ for kind in kinds if kind.__module__ == DynamicLayer.__module__} - known - refused
    assert not new, f"caches of {new} are refused as having something else than keys and values; can they be exported?"


@pytest.mark.parametrize("model_type", ["switch_transformers", "nllb-moe"])
def test_experts_of_encoder_decoders_are_refused(model_type: str) -> None:
    sizes = {"d_model": 32, "num_layers": 2, "encoder_layers": 2, "decoder_layers": 2, "d_ff": 32, "num_experts": 2}
    model = make_empty(AutoModelForSeq2SeqLM, AutoConfig.for_model(model_type, **sizes))
    with pytest.raises(ExportError, match="leaves tokens out by counting them"):
        require_exportable(model)


def test_a_model_without_weights_that_cannot_run_is_asked_later() -> None:
    model, _ = build("led", task="feature-extraction")
    require_exportable(make_empty(AutoModel, model.config))
    require_exportable(model)


def test_a_refusal_comes_before_the_weights_are_read(tmp_path: Path) -> None:
    config = AutoConfig.for_model("mamba", **STATES["mamba"], architectures=["MambaForCausalLM"])
    config.save_pretrained(tmp_path)
    save_file({"nothing": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ExportError, match="MambaForCausalLM cannot be exported exactly"):
        load(resolve(Request(tmp_path)))
