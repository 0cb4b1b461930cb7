from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, FunnelTokenizer

from edgepipe import Tokenizer
from edgepipe.errors import ExportError, InputError
from edgepipe_export.calibration.texts import sentences
from edgepipe_export.checkpoint.tokenizer_files import (
    declare_added_tokens,
    find_differences,
    tokenizer_corpus,
    write_tokenizer,
)
from tests.tiny import ARCHITECTURES, TOKENIZERS
from tests.tiny.table import MORE

FAMILIES = sorted({architecture.tokenizer for architecture in (ARCHITECTURES | MORE).values()})


def load(family: str, **options: Any) -> Any:
    return AutoTokenizer.from_pretrained(TOKENIZERS / family, **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_proved_and_reads_the_same_in_transformers(family: str, tmp_path: Path) -> None:
    tokenizer = load(family)
    write_tokenizer(tokenizer, tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in tokenizer_corpus():
        assert again(text) == tokenizer(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_runtime_needs_is_spelled_out(family: str, tmp_path: Path) -> None:
    tokenizer = load(family, padding_side="left", model_max_length=77)
    write_tokenizer(tokenizer, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["model_input_names"] == tokenizer.model_input_names
    assert config["model_max_length"] == 77
    assert config["padding_side"] == "left"
    assert config["truncation_side"] == "right"
    assert config["pad_token"] == tokenizer.pad_token
    assert not {"max_length", "stride", "is_local", "local_files_only", "name_or_path"} & config.keys()


@pytest.mark.parametrize(
    ("family", "told"),
    [("gpt2", {}), ("llama", {"add_bos_token": True}), ("bert", {"add_bos_token": True, "add_eos_token": True})],
)
def test_tokens_around_a_prompt_are_told(family: str, told: dict[str, bool], tmp_path: Path) -> None:
    tokenizer = load(family)
    write_tokenizer(tokenizer, tmp_path)
    declare_added_tokens(tokenizer, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert {name: config[name] for name in ("add_bos_token", "add_eos_token") if name in config} == told
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in tokenizer_corpus():
        assert again(text) == tokenizer(text)


def test_a_vocabulary_without_the_unknown_token_reads_the_words_that_it_has(tmp_path: Path) -> None:
    """Funnel Transformer's tokenizer with BERT's vocabulary: transformers fails at the other words."""
    tokenizer = FunnelTokenizer(vocab=load("bert").get_vocab())
    write_tokenizer(tokenizer, tmp_path)
    own = Tokenizer.from_pretrained(tmp_path)
    assert own("the film")["input_ids"] == tokenizer("the film")["input_ids"]
    with pytest.raises(Exception, match="UNK"):
        tokenizer("\u0f40")
    with pytest.raises(InputError, match="UNK"):
        own("\u0f40")


def test_state_of_an_earlier_call_is_not_saved(tmp_path: Path) -> None:
    tokenizer = load("bert")
    tokenizer("one text", truncation=True, max_length=5, padding="max_length")
    assert json.loads(tokenizer.backend_tokenizer.to_str())["truncation"] is not None
    write_tokenizer(tokenizer, tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    assert content["truncation"] is None
    assert content["padding"] is None


def test_a_difference_names_the_first_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Tokenizer.__call__

    def wrong(self: Tokenizer, *texts: Any, **options: Any) -> Any:
        encoding = honest(self, *texts, **options)
        if "你" in texts[0]:
            encoding["input_ids"][1] += 1
        return encoding

    monkeypatch.setattr(Tokenizer, "__call__", wrong)
    with pytest.raises(ExportError, match=r"BertTokenizer.*input_ids of '你好"):
        write_tokenizer(load("bert"), tmp_path)


def test_different_arrays_are_a_difference(tmp_path: Path) -> None:
    write_tokenizer(load("bert"), tmp_path)
    found = next(find_differences(load("distilbert"), Tokenizer.from_pretrained(tmp_path), ["a text"]))
    assert found.key == "the names of the arrays"
    assert "token_type_ids" in str(found)


def test_the_corpus_covers_what_it_says() -> None:
    text = "".join(tokenizer_corpus())
    assert "" in tokenizer_corpus()
    for sample in ("😀", "👨‍👩‍👧‍👦", "你", "カ", "안", "ש", "م", "\u0301", "\x00", " " * 40):
        assert sample in text


def test_there_are_sentences_of_many_lengths() -> None:
    lengths = [len(sentence.split()) for sentence in sentences()]
    assert len(lengths) == len(set(sentences())) >= 140
    assert min(lengths) == 1
    assert max(lengths) > 30
