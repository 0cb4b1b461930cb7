"""Configs are made to fit weights that come without one."""

from __future__ import annotations

import pytest
from transformers import AutoModelForSequenceClassification, BertConfig

from edgepipe_export.checkpoint.formats.weight_shapes import fit_config, make_empty
from tests.export.checkpoint.small_checkpoint import SMALL

NAMES = {0: "no", 1: "yes"}


@pytest.mark.parametrize(("labels", "kept"), [(2, True), (5, False)])
@pytest.mark.parametrize("tokens", [True, False])
def test_labels_and_tokens(labels: int, kept: bool, tokens: bool) -> None:
    config = BertConfig(**SMALL, id2label=NAMES)
    shapes = {
        "classifier.weight": (labels, SMALL["hidden_size"]),
        "classifier.bias": (labels,),
        "bert.embeddings.word_embeddings.weight": (SMALL["vocab_size"] + 3, SMALL["hidden_size"]),
    }
    fit_config(config, make_empty(AutoModelForSequenceClassification, config), shapes, tokens=tokens)
    assert config.num_labels == labels
    assert (config.id2label == NAMES) is kept
    assert config.vocab_size == SMALL["vocab_size"] + 3 * tokens


def test_weights_of_other_shapes_change_nothing() -> None:
    config = BertConfig(**SMALL, id2label=NAMES)
    model = make_empty(AutoModelForSequenceClassification, config)
    fit_config(config, model, {"classifier.weight": (5, 1), "classifier.other": (5,)}, tokens=True)
    assert config.id2label == NAMES
    assert model.device.type == "meta"
