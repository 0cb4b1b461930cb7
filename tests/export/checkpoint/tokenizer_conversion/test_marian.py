"""Marian: a source's pieces in a vocabulary that the target shares."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import ByT5Tokenizer, MarianTokenizer

from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.tokenizer_conversion.convert import convert_to_fast
from edgepipe_export.checkpoint.tokenizer_conversion.marian import convert, looks_up_unknown
from tests.export.checkpoint.tokenizer_conversion.slow_tokenizers import CORPUS, marian, pieces, train


def test_a_source_of_another_kind_is_refused(tmp_path: Path) -> None:
    slow = marian(tmp_path)
    train(tmp_path, "pairs", CORPUS.read_text(encoding="utf-8").splitlines(), vocab_size=700, model_type="bpe")
    shutil.copy(tmp_path / "pairs.model", tmp_path / "source.spm")
    files = [str(tmp_path / name) for name in ("source.spm", "target.spm", "vocab.json")]
    with pytest.raises(ExportError, match=r"the source\.spm of this MarianTokenizer is no unigram model"):
        convert(MarianTokenizer(*files))
    assert convert(slow).get_vocab_size() == len(slow.encoder)


def test_a_vocabulary_with_gaps_is_refused(tmp_path: Path) -> None:
    slow = marian(tmp_path)
    last = max(slow.encoder, key=slow.encoder.__getitem__)
    slow.encoder[last] += 1
    with pytest.raises(ExportError, match=r"the ids in the vocab\.json of this MarianTokenizer have gaps"):
        convert(slow)


def test_a_source_never_becomes_what_the_target_alone_has(tmp_path: Path) -> None:
    slow = marian(tmp_path)
    own = {*pieces(slow.spm_target)} - {*pieces(slow.spm_source)}
    assert own
    ids = convert(slow).encode(" ".join(piece.replace("\u2581", " ") for piece in sorted(own))).ids
    assert not {slow.encoder[piece] for piece in own} & {*ids}


def test_characters_that_only_the_target_knows_are_noticed(tmp_path: Path) -> None:
    slow = marian(tmp_path)
    own = json.loads((tmp_path / "vocab.json").read_text())
    unknown = next(
        slow.encoder[piece]
        for piece in pieces(slow.spm_target)
        if slow.spm_source.IsUnknown(slow.spm_source.PieceToId(piece))
    )
    known = [own[piece] for piece in pieces(slow.spm_source)][:5]
    special = [slow.eos_token_id, slow.pad_token_id, slow.unk_token_id, own[">>fra<<"]]
    assert not looks_up_unknown(slow, [*known, *special])
    assert looks_up_unknown(slow, [*known, unknown])
    assert not looks_up_unknown(ByT5Tokenizer(), [unknown]), "others have one vocabulary"


def test_a_code_before_a_source_says_the_language(tmp_path: Path) -> None:
    slow = marian(tmp_path)
    fast = convert_to_fast(slow)
    for text in (">>fra<< Hello there", ">>deu<<Hello  there ", ">>fra<<"):
        assert fast(text)["input_ids"] == slow(text)["input_ids"]
        assert len(slow(text)["input_ids"]) < 8


def test_what_marian_writes_has_the_targets_pieces(tmp_path: Path) -> None:
    slow = marian(tmp_path)
    fast = convert_to_fast(slow)
    targets = [slow.encoder[piece] for piece in pieces(slow.spm_target)]
    own = [number for number in targets if slow.spm_source.IsUnknown(slow.spm_source.PieceToId(slow.decoder[number]))]
    assert len(own) > 100
    assert fast.decode(own) == slow.decode(own)
    assert fast.decode(targets) == slow.decode(targets)


def test_marian_with_a_vocabulary_for_each_side_is_refused(tmp_path: Path) -> None:
    slow = marian(tmp_path)
    slow.separate_vocabs = True
    with pytest.raises(ExportError, match="a vocabulary for the source and another for the target"):
        convert_to_fast(slow)
