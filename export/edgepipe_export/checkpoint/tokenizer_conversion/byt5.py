"""ByT5: a token for each byte."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers.convert_slow_tokenizer import bytes_to_unicode

from edgepipe_export.checkpoint.tokenizer_conversion.special_tokens import special_tokens


def convert(tokenizer: Any) -> Tokenizer:
    """A ByT5 tokenizer: bytes after its special tokens, and those that mask spans of text at the end."""
    names = bytes_to_unicode()
    vocabulary = {names[byte]: byte + tokenizer.offset for byte in range(256)}
    added = {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}
    backend = Tokenizer(BPE(vocab=vocabulary | added, merges=[], unk_token=None))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(special_tokens(tokenizer, added))
    end = tokenizer.eos_token
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    return backend
