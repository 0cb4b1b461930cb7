"""What is read of a sentencepiece model, and what around it is done as sentencepiece does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers.models import Unigram

from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.tokenizer_conversion.sentencepiece_model import (
    BPE_MODEL,
    SPACE,
    UNIGRAM_MODEL,
    read_pieces,
    wrap_model,
)
from tests.export.checkpoint.tokenizer_conversion.slow_tokenizers import CORPUS, train

LINES = CORPUS.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """``trained(**options)``: a small model."""
    folder = tmp_path_factory.mktemp("sentencepiece")

    def make(**options: Any) -> Any:
        return train(folder, "model", LINES, **{"vocab_size": 700, **options})

    return make


@pytest.mark.parametrize(("model_type", "kind"), [("unigram", UNIGRAM_MODEL), ("bpe", BPE_MODEL)])
def test_the_pieces_that_text_can_become(model_type: str, kind: int, trained: Callable[..., Any]) -> None:
    processor = trained(model_type=model_type, user_defined_symbols=["<own>"], control_symbols=["<control>"])
    pieces = read_pieces(processor)
    assert pieces.kind == kind
    names = [processor.IdToPiece(index) for index in range(processor.GetPieceSize())]
    assert list(pieces.scores) == [name for name in names if name not in ("<unk>", "<s>", "</s>", "<control>")]
    assert "<own>" in pieces.scores
    assert all(pieces.scores[name] == processor.GetScore(processor.PieceToId(name)) for name in pieces.scores)
    assert pieces.charsmap


def test_a_model_without_normal_forms(trained: Callable[..., Any]) -> None:
    assert read_pieces(trained(normalization_rule_name="identity")).charsmap == b""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "char"}, "splits into words or characters"),
        ({"model_type": "bpe", "byte_fallback": True, "vocab_size": 1000}, "falls back to bytes"),
        ({"add_dummy_prefix": False}, "does not treat blanks in the usual way"),
        ({"remove_extra_whitespaces": False}, "does not treat blanks in the usual way"),
    ],
    ids=str,
)
def test_what_tokenizer_json_has_no_words_for(
    options: dict[str, Any], message: str, trained: Callable[..., Any]
) -> None:
    with pytest.raises(ExportError, match=message):
        read_pieces(trained(**options))


@pytest.mark.parametrize(
    "text",
    ["", " ", "a", "  Hello   there ", "\uff21 \ufb01ne \uff11st", "e\u0301 and é", "new\nline\tand tab", " \u3000 x"],
)
@pytest.mark.parametrize("rule", ["nmt_nfkc", "identity"])
def test_texts_become_the_pieces_that_sentencepiece_makes(
    rule: str, text: str, trained: Callable[..., Any], tmp_path: Path
) -> None:
    processor = trained(normalization_rule_name=rule)
    pieces = read_pieces(processor)
    names = [processor.IdToPiece(index) for index in range(processor.GetPieceSize())]
    lowest = min(pieces.scores.values())
    model = Unigram([(name, pieces.scores.get(name, lowest)) for name in names], unk_id=processor.unk_id())
    backend = wrap_model(model, pieces)
    ids = backend.encode(text).ids
    assert ids == processor.EncodeAsIds(text)
    if processor.unk_id() not in ids:
        assert backend.decode(ids) == processor.DecodeIds(ids)


def test_what_decodes_pieces_comes_before_the_words(trained: Callable[..., Any]) -> None:
    from tokenizers import decoders

    pieces = read_pieces(trained())
    model = Unigram([("<unk>", 0.0), (f"!{SPACE}a", -1.0)], unk_id=0)
    assert wrap_model(model, pieces, decoders.Replace("!", "")).decode([1, 1]) == "a a"
