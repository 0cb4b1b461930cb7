"""Hidden states and attentions of every layer, and the pooler, as outputs of the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

from edgepipe import Model, pipeline
from edgepipe.errors import ExportError
from edgepipe_export import export, verify
from edgepipe_export.tracing.encoder import find_layer_outputs, trace_encoder
from edgepipe_export.tracing.serialization import save_graph
from tests.tiny import build
from tests.tiny.parity import feeds_for


def check_series(bundle: Any, model: Any, tokenizer: Any, keys: tuple[str, ...]) -> None:
    graph = Model(bundle)
    feeds = feeds_for(model, tokenizer, 3, 17)
    with torch.no_grad():
        expected = model(
            **{name: torch.from_numpy(array) for name, array in feeds.items()},
            output_hidden_states=True,
            output_attentions=True,
            return_dict=True,
        )
    got = graph(**feeds)
    names = [f"{key}.{index}" for key in keys for index in range(len(expected[key]))]
    assert list(got) == ["logits", *names]
    for name in names:
        key, _, index = name.partition(".")
        np.testing.assert_allclose(got[name], expected[key][int(index)].numpy(), atol=1e-4, rtol=1e-3, err_msg=name)


def test_hidden_states_and_attentions_of_an_encoder(tmp_path: Path) -> None:
    model, tokenizer = build("bert")
    more = {"output_hidden_states": True, "output_attentions": True}
    bundle = export(model, tmp_path / "bundle", tokenizer=tokenizer, **more)
    check_series(bundle, model, tokenizer, ("hidden_states", "attentions"))
    assert bundle.manifest is not None
    parity = bundle.manifest.variants["fp32"].parity
    assert parity is not None
    assert {"logits", "hidden_states.0", "hidden_states.2", "attentions.1"} <= parity.max_abs_diff.keys()
    assert verify(bundle, model, tokenizer=tokenizer, texts=["one", "another text"]).passed
    assert pipeline("text-classification", bundle)("a text")[0].keys() == {"label", "score"}


def test_hidden_states_and_attentions_of_an_encoder_decoder(tmp_path: Path) -> None:
    model, tokenizer = build("bart", gain=1.0)
    more = {"output_hidden_states": True, "output_attentions": True}
    bundle = export(model, tmp_path / "bundle", tokenizer=tokenizer, verify=False, **more)
    keys = ("decoder_hidden_states", "encoder_hidden_states")
    weights = ("decoder_attentions", "cross_attentions", "encoder_attentions")
    check_series(bundle, model, tokenizer, (*keys, *weights))


def test_the_pooler(tmp_path: Path) -> None:
    classifier, _ = build("bert")
    model = AutoModel.from_config(classifier.config)
    model.eval()
    program = trace_encoder(model, ("input_ids", "attention_mask"), ("last_hidden_state", "pooler_output"))
    save_graph(program, tmp_path / "model.onnx")
    assert [value.name for value in program.graph.outputs] == ["last_hidden_state", "pooler_output"]


def test_an_output_the_model_does_not_have(tmp_path: Path) -> None:
    model, tokenizer = build("distilbert")
    with pytest.raises(ExportError, match="DistilBertForSequenceClassification has no output pooler_output; it has lo"):
        export(model, tmp_path / "bundle", tokenizer=tokenizer, output_pooler=True, verify=False)


def test_a_series_the_model_does_not_have(tmp_path: Path) -> None:
    model, tokenizer = build("fnet")
    with pytest.raises(ExportError, match="has no output attentions"):
        export(model, tmp_path / "bundle", tokenizer=tokenizer, output_attentions=True, verify=False)


def test_series_are_told_from_the_names_of_outputs() -> None:
    assert find_layer_outputs(["logits"]) == ()
    assert find_layer_outputs(["logits", "hidden_states.0", "hidden_states.1"]) == ("hidden_states",)
    assert find_layer_outputs(["encoder_hidden_states.0", "cross_attentions.0"]) == ("hidden_states", "attentions")
