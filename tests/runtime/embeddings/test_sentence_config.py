"""What a sentence-transformers directory says beside its modules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgepipe.embeddings.modules import Pooling
from edgepipe.embeddings.sentence_config import CONFIG_NAME, read_sentence_config
from edgepipe.errors import BundleError, InputError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"transformer_task": "fill-mask"}, "transformer_task 'fill-mask'"),
        ({"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}}, "pooler_output"),
        ({"processing_kwargs": {"text": {"padding": "max_length"}}}, "processing_kwargs"),
        ({"tokenizer_args": {"padding_side": "left"}}, "sets padding_side in tokenizer_args"),
        ({"max_seq_length": "long"}, "max_seq_length must be a whole number"),
    ],
)
def test_transformer_settings_that_cannot_be_followed(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps(settings))
    with pytest.raises(BundleError, match=message):
        read_sentence_config(tmp_path)


def test_limits_by_each_of_their_names(tmp_path: Path) -> None:
    assert read_sentence_config(tmp_path).max_seq_length is None
    (tmp_path / "sentence_roberta_config.json").write_text('{"tokenizer_args": {"model_max_length": 7}}')
    assert read_sentence_config(tmp_path).max_seq_length == 7
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 9, "do_lower_case": true}')
    found = read_sentence_config(tmp_path)
    assert (found.max_seq_length, found.lower_case, found.modules) == (9, True, None)


def write_config(folder: Path, **settings: Any) -> Path:
    (folder / CONFIG_NAME).write_text(json.dumps(settings), encoding="utf-8")
    return folder


def test_prompts_are_given_or_named_or_the_default(tmp_path: Path) -> None:
    prompts = {"query": "find: ", "empty": None}
    config = read_sentence_config(write_config(tmp_path, prompts=prompts, default_prompt_name="query"))
    assert config.prompts == {"query": "find: ", "document": "", "empty": ""}
    assert config.prompt() == "find: "
    assert config.prompt("my own: ") == "my own: "
    assert config.prompt("") == ""
    assert (config.prompt(name="document"), config.prompt(name="empty")) == ("", "")


def test_a_default_that_no_prompt_has_is_none(tmp_path: Path) -> None:
    assert read_sentence_config(tmp_path).prompt() == ""
    assert read_sentence_config(write_config(tmp_path, default_prompt_name="gone")).prompt() == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "a", "name": "query"}, "pass prompt or prompt_name, not both; got 'a' and 'query'"),
        ({"prompt": 3}, "prompt must be a text, got int 3"),
        ({"name": "qury"}, "there is no prompt named 'qury'; there is query, document"),
        ({"name": ["query"]}, r"there is no prompt named \['query'\]"),
    ],
)
def test_what_is_no_prompt(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_sentence_config(tmp_path).prompt(**options)


@pytest.mark.parametrize("prompts", [["a"], "text", {"query": 3}])
def test_what_are_no_prompts(tmp_path: Path, prompts: Any) -> None:
    with pytest.raises(BundleError, match=rf"{CONFIG_NAME}: prompts must be texts by name, got "):
        read_sentence_config(write_config(tmp_path, prompts=prompts))


@pytest.mark.parametrize("name", [3, True, [], {"query": 1}])
def test_a_default_that_is_no_name(tmp_path: Path, name: Any) -> None:
    with pytest.raises(BundleError, match=rf"{CONFIG_NAME}: default_prompt_name must be a prompt's name, got "):
        read_sentence_config(write_config(tmp_path, default_prompt_name=name))


@pytest.mark.parametrize("value", [3, ["a"], [["a"]], "text"])
@pytest.mark.parametrize("name", ["processor_kwargs", "model_args"])
def test_what_are_no_settings_of_transformers(tmp_path: Path, name: str, value: Any) -> None:
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({name: value}))
    with pytest.raises(BundleError, match=rf"sentence_bert_config\.json: {name} must be settings by name, got "):
        read_sentence_config(tmp_path)


@pytest.mark.parametrize("size", [0, -3, 1.5, "8", True])
def test_what_is_no_dimension(tmp_path: Path, size: Any) -> None:
    with pytest.raises(BundleError, match=rf"truncate_dim must be a whole number of at least 1, got {size!r}"):
        read_sentence_config(write_config(tmp_path, truncate_dim=size))
    assert read_sentence_config(write_config(tmp_path, truncate_dim=8)).truncate_dim == 8


def test_the_pooling_that_the_caller_names_comes_first(tmp_path: Path) -> None:
    config = read_sentence_config(tmp_path)
    assert config.modules_for(("cls",)) == (Pooling(("cls",)),)
    with pytest.raises(InputError, match=r'has no modules\.json, .*: pass pooling="mean"'):
        config.modules_for(None)
    own = replace(config, modules=(Pooling(("max",)),))
    assert own.modules_for(None) == (Pooling(("max",)),)
    assert own.modules_for(("cls",)) == (Pooling(("cls",)),)
