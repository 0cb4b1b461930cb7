"""Tokenizers that transformers runs in Python, converted and proved."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import (
    AutoModelForSeq2SeqLM,
    ByT5Tokenizer,
    GenerationConfig,
)

from edgepipe import Tokenizer, pipeline
from edgepipe.errors import CheckpointError, ExportError
from edgepipe_export import export
from edgepipe_export.checkpoint.tokenizer_conversion.convert import convert_to_fast
from edgepipe_export.checkpoint.tokenizer_conversion.marian import looks_up_unknown
from edgepipe_export.checkpoint.tokenizer_files import tokenizer_corpus, write_tokenizer
from tests.export.checkpoint.tokenizer_conversion.slow_tokenizers import KINDS, ctrl
from tests.tiny.generative import build_generative


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_in_python_is_converted(kind: str, tmp_path: Path) -> None:
    slow = KINDS[kind](tmp_path / "files")
    assert not slow.is_fast
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    write_tokenizer(convert_to_fast(slow), bundle)  # each step proves itself on the corpus
    ours = Tokenizer.from_pretrained(bundle)
    known = set()
    for text in tokenizer_corpus():
        wanted = slow(text)["input_ids"]
        if kind == "marian" and looks_up_unknown(slow, wanted):
            continue
        assert ours(text)["input_ids"] == wanted, text
        ids = slow(text, add_special_tokens=False)["input_ids"]
        assert ours.decode(ids, skip_special_tokens=True) == slow.decode(ids, skip_special_tokens=True), text
        known.update(wanted)
    assert len(known) > 150, "the corpus is mostly unknown to this tokenizer: it proves little"


def test_a_conversion_that_is_not_exact_is_refused_and_the_first_text_is_shown(tmp_path: Path) -> None:
    slow = ctrl(tmp_path)
    slow._tokenize = lambda text: ["the"]
    with pytest.raises(ExportError, match=r"this CTRLTokenizer cannot be written .* of '"):
        convert_to_fast(slow)


def test_other_tokenizers_in_python_are_named(tmp_path: Path) -> None:
    class Spelling(ByT5Tokenizer):
        pass

    with pytest.raises(CheckpointError, match=r"Spelling is neither a fast tokenizer .* MarianTokenizer"):
        convert_to_fast(Spelling())


@pytest.mark.coverage
@pytest.mark.parametrize(("kind", "task"), [("marian", "translation"), ("m2m_100", "translation_en_to_fr")])
def test_a_checkpoint_with_a_tokenizer_in_python(kind: str, task: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    slow = KINDS[kind](tmp_path / "files")
    start = slow.pad_token_id if kind == "marian" else slow.eos_token_id
    model, _ = build_generative(
        kind,
        vocab_size=len(slow) + 108,  # M2M-100's languages are not counted
        pad_token_id=slow.pad_token_id,
        eos_token_id=slow.eos_token_id,
        decoder_start_token_id=start,
    )
    ends = {"pad_token_id": slow.pad_token_id, "eos_token_id": slow.eos_token_id}
    model.generation_config = GenerationConfig(**ends, decoder_start_token_id=start)
    model.save_pretrained(checkpoint)
    slow.save_pretrained(checkpoint)
    assert not (checkpoint / "tokenizer.json").exists()
    model = AutoModelForSeq2SeqLM.from_pretrained(checkpoint)  # with the positions that are not saved
    ours = pipeline(task, export(checkpoint, tmp_path / "bundle", task=task))
    texts = ["Hello there, my friend.", "How are you?"]
    search = {"max_new_tokens": 12, "num_beams": 2}
    options = {} if kind == "marian" else {"forced_bos_token_id": slow.get_lang_id("fr")}
    encoded = slow(texts, return_tensors="pt", padding=True)
    ids = model.generate(**encoded, **search, **options)
    wanted = [slow.decode(row, skip_special_tokens=True).replace("__fr__", "") for row in ids]
    assert [each["translation_text"] for each in ours(texts, **search)] == wanted
