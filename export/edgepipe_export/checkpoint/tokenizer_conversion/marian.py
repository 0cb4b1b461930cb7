"""Marian: a sentencepiece model for the source, another for the target, and one vocabulary that both share.

A bundle's tokenizer reads the source and writes the target: nothing in a pipeline reads a target. Its model has the
source's pieces at their places in the vocabulary. The target's own pieces, which no source may become, stand there
behind a character that no text has, and which the decoder takes away.

Two things differ from transformers, where a source has what its model does not know. Unknown characters are one unknown
token each run; transformers looks the run up in the vocabulary, where the target may have it. And a piece without a
place in the vocabulary is divided into smaller ones; to transformers it is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, processors

from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.tokenizer_conversion.sentencepiece_model import (
    UNIGRAM_MODEL,
    make_unigram,
    read_pieces,
    unhide,
    wrap_model,
)
from edgepipe_export.checkpoint.tokenizer_conversion.special_tokens import special_tokens


def convert(tokenizer: Any) -> Tokenizer:
    """A Marian tokenizer's source and vocabulary.

    Raises:
        ExportError: source and target have a vocabulary each, or the source's model is of another kind.
    """
    if tokenizer.separate_vocabs:
        raise ExportError(
            "this MarianTokenizer has a vocabulary for the source and another for the target, and tokenizer.json has "
            "one"
        )
    pieces = read_pieces(tokenizer.spm_source)
    if pieces.kind != UNIGRAM_MODEL:
        raise ExportError("the source.spm of this MarianTokenizer is no unigram model")
    vocabulary = sorted(tokenizer.encoder, key=tokenizer.encoder.__getitem__)
    if [tokenizer.encoder[token] for token in vocabulary] != list(range(len(vocabulary))):
        raise ExportError("the ids in the vocab.json of this MarianTokenizer have gaps")
    codes = tokenizer.supported_language_codes
    plain = {*codes, *(token.content for token in special_tokens(tokenizer))}
    backend = wrap_model(make_unigram(tokenizer.encoder, pieces, tokenizer.unk_token_id, plain), pieces, unhide())
    backend.add_special_tokens(special_tokens(tokenizer))
    backend.add_tokens([AddedToken(code, normalized=False) for code in codes])
    end = tokenizer.eos_token
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A $B {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    return backend


def looks_up_unknown(tokenizer: Any, ids: Sequence[int]) -> bool:
    """Whether transformers found characters that a Marian source does not know among the target's pieces."""
    if type(tokenizer).__name__ != "MarianTokenizer":
        return False
    known = {*tokenizer.all_special_tokens, *tokenizer.supported_language_codes}
    tokens = tokenizer.convert_ids_to_tokens(list(ids))
    return any(
        token not in known and tokenizer.spm_source.IsUnknown(tokenizer.spm_source.PieceToId(token)) for token in tokens
    )
