"""A config read by key, and by attribute as transformers' configs are."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from transformers import PreTrainedConfig

from edgepipe.bundle.model_config import ModelConfig

LABELLED: dict[str, Any] = {"id2label": {"1": "good", "0": "bad"}, "label2id": {"bad": 0, "good": 1}}


@pytest.mark.parametrize(
    "content", [LABELLED, {}, {"num_labels": 3}, {"id2label": {str(i): f"L{i}" for i in range(12)}}]
)
def test_labels_are_those_of_transformers(content: dict[str, Any]) -> None:
    ours, theirs = ModelConfig(content), PreTrainedConfig.from_dict(dict(content))
    assert ours.id2label == theirs.id2label
    assert ours.label2id == {label: place for place, label in theirs.id2label.items()}
    assert ours.num_labels == theirs.num_labels


def test_keys_give_what_the_file_has() -> None:
    config = ModelConfig(LABELLED | {"hidden_size": 32, "text_config": {"vocab_size": 9}})
    assert config["id2label"] == LABELLED["id2label"]
    assert config.hidden_size == config["hidden_size"] == 32
    assert config.text_config == {"vocab_size": 9}
    assert json.loads(json.dumps(config)) == config


def test_a_key_that_is_not_there() -> None:
    config = ModelConfig({"hidden_size": 32})
    assert config.get("hidden_sizes") is None
    assert not hasattr(config, "hidden_sizes")
    with pytest.raises(AttributeError, match=r"config\.json has no 'hidden_sizes'"):
        _ = config.hidden_sizes


def test_a_config_is_copied_and_pickled() -> None:
    config = ModelConfig(LABELLED)
    for other in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):  # noqa: S301 - our own
        assert type(other) is ModelConfig
        assert other == config
