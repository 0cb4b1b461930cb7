"""M2M-100: byte pairs with ids of their own, behind a language."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import M2M100Tokenizer

from edgepipe import Tokenizer
from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.tokenizer_conversion.convert import convert_to_fast
from edgepipe_export.checkpoint.tokenizer_conversion.m2m_100 import convert
from edgepipe_export.checkpoint.tokenizer_files import write_tokenizer
from tests.export.checkpoint.tokenizer_conversion.slow_tokenizers import CORPUS, m2m_100


@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
def test_models_of_both_kinds(model_type: str, tmp_path: Path) -> None:
    slow = m2m_100(tmp_path, model_type)
    backend = convert(slow)
    assert type(backend.model).__name__ == {"bpe": "BPE", "unigram": "Unigram"}[model_type]
    for text in CORPUS.read_text(encoding="utf-8").splitlines()[:200]:
        assert backend.encode(text).ids == slow(text)["input_ids"]
        ids = slow(text, add_special_tokens=False)["input_ids"]
        assert backend.decode(ids) == slow.decode(ids, skip_special_tokens=True)


def test_a_model_of_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="splits into words or characters"):
        convert(m2m_100(tmp_path, "char"))


def test_a_pair_is_one_text_of_one_language(tmp_path: Path) -> None:
    slow = m2m_100(tmp_path)
    assert convert(slow).encode("one", "two").ids == slow("one", "two")["input_ids"]


def test_a_piece_without_an_id_is_divided(tmp_path: Path) -> None:
    whole = m2m_100(tmp_path)
    ids = convert(whole).encode("there").ids
    path = tmp_path / "vocab.json"
    vocabulary = json.loads(path.read_text())
    longest = max((whole.decoder[number] for number in ids if number in whole.decoder), key=len)
    # The last piece takes its place, so that there is no gap.
    vocabulary[max(vocabulary, key=vocabulary.__getitem__)] = vocabulary.pop(longest)
    path.write_text(json.dumps(vocabulary))
    less = M2M100Tokenizer(str(path), str(tmp_path / "sentencepiece.model"))
    assert less("there")["input_ids"].count(less.unk_token_id) == 1, "to transformers it is unknown"
    found = convert(less).encode("there")
    assert less.unk_token_id not in found.ids
    assert len(found.ids) > len(ids)
    assert convert(less).decode(found.ids) == "there"


def test_m2m_100_says_the_language_that_it_is_set_to(tmp_path: Path) -> None:
    slow = m2m_100(tmp_path)
    slow.src_lang = "fr"
    folder = tmp_path / "bundle"
    folder.mkdir()
    write_tokenizer(convert_to_fast(slow), folder)
    ours = Tokenizer.from_pretrained(folder)
    assert ours.language == "__fr__"
    assert ours("Bonjour")["input_ids"] == slow("Bonjour")["input_ids"]
    slow.src_lang = "de"
    assert ours.for_language("de")("Hallo")["input_ids"] == slow("Hallo")["input_ids"]
    assert slow("Hallo")["input_ids"][0] == slow.get_lang_id("de")
