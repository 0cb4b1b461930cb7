"""ByT5: a token for each byte.

What is no text (a character that was cut) is left out when tokens become text. ``ByteLevel`` writes U+FFFD for it, so
that is taken out behind it, and a U+FFFD that tokens do say is called otherwise before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers.convert_slow_tokenizer import bytes_to_unicode

from edgepipe_export.checkpoint.tokenizer_conversion.special_tokens import special_tokens

# Stands for what tokens do say while the other is taken out: no character at all.
_REPLACEMENT, _PLACEHOLDER = "\ufffd", "\U0010ffff"


def convert(tokenizer: Any) -> Tokenizer:
    """A ByT5 tokenizer: bytes after its special tokens, and those that mask spans of text at the end."""
    names = bytes_to_unicode()
    vocabulary = {names[byte]: byte + tokenizer.offset for byte in range(256)}
    added = {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}
    backend = Tokenizer(BPE(vocab=vocabulary | added, merges=[], unk_token=None))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = _make_decoder(names, [token for token in added if token not in vocabulary])
    backend.add_special_tokens(special_tokens(tokenizer, added))
    end = tokenizer.eos_token
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    return backend


def _make_decoder(names: Mapping[int, str], added: Iterable[str]) -> decoders.Decoder:
    if not all(character in names.values() for token in added for character in token):
        return decoders.ByteLevel()  # a token that is no bytes would make all of a text such
    said, stands = ("".join(names[byte] for byte in each.encode()) for each in (_REPLACEMENT, _PLACEHOLDER))
    return decoders.Sequence(
        [
            decoders.Fuse(),
            decoders.Replace(said, stands),
            decoders.ByteLevel(),
            decoders.Replace(_REPLACEMENT, ""),
            decoders.Replace(_PLACEHOLDER, _REPLACEMENT),
        ]
    )
