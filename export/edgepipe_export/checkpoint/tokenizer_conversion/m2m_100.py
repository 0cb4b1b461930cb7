"""M2M-100: a sentencepiece model, ids of its own, and a token for each language, which stands before the text."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, processors
from tokenizers.models import BPE
from transformers.convert_slow_tokenizer import generate_merges

from edgepipe_export.checkpoint.tokenizer_conversion.sentencepiece_model import (
    BPE_MODEL,
    Pieces,
    make_unigram,
    read_pieces,
    unhide,
    wrap_model,
)
from edgepipe_export.checkpoint.tokenizer_conversion.special_tokens import special_tokens


def convert(tokenizer: Any) -> Tokenizer:
    """An M2M-100 tokenizer for texts in the language that it is set to.

    Raises:
        ExportError: its sentencepiece model works in a way that tokenizer.json has no words for.
    """
    pieces = read_pieces(tokenizer.sp_model)
    backend = _by_merges(tokenizer, pieces) if pieces.kind == BPE_MODEL else _by_scores(tokenizer, pieces)
    backend.add_special_tokens(special_tokens(tokenizer, tokenizer.lang_token_to_id))
    language = tokenizer.get_lang_token(tokenizer.src_lang)
    end = tokenizer.eos_token
    backend.post_processor = processors.TemplateProcessing(
        single=f"{language} $A {end}",
        pair=f"{language} $A $B {end}",
        special_tokens=[(language, tokenizer.get_lang_id(tokenizer.src_lang)), (end, tokenizer.eos_token_id)],
    )
    return backend


def _by_scores(tokenizer: Any, pieces: Pieces) -> Tokenizer:
    """Of a unigram model."""
    ids = tokenizer.encoder | tokenizer.lang_token_to_id
    special = {token.content for token in special_tokens(tokenizer, tokenizer.lang_token_to_id)}
    return wrap_model(make_unigram(ids, pieces, tokenizer.unk_token_id, special), pieces, unhide())


def _by_merges(tokenizer: Any, pieces: Pieces) -> Tokenizer:
    """Of a BPE model."""
    # A piece without an id is divided into smaller ones; to transformers it is unknown. Published models have none.
    scores = {piece: score for piece, score in pieces.scores.items() if piece in tokenizer.encoder}
    places = {piece: index for index, piece in enumerate(scores)}
    model = BPE(
        vocab=tokenizer.encoder | tokenizer.lang_token_to_id,
        merges=generate_merges(places, scores),
        unk_token=tokenizer.unk_token,
        fuse_unk=True,
    )
    return wrap_model(model, pieces)
