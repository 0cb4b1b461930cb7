"""CTRL and Blenderbot-small: byte pairs within words, whose parts are written ``wo@@`` ``rd``.

Within the model the parts are ``wo`` and ``rd</w>``, as in the algorithm; the names are of no consequence to ids.
"""

from __future__ import annotations

import re
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from edgepipe_export.checkpoint.tokenizer_conversion.special_tokens import special_tokens

_END = "</w>"
_PART = "@@"


def ctrl(tokenizer: Any) -> Tokenizer:
    """Words are what lies between blanks, with the end of the line that follows."""
    backend = _pairs(tokenizer)
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"\S+\n?"), "removed", invert=True)
    return backend


def blenderbot_small(tokenizer: Any) -> Tokenizer:
    """Words in lower case; a stop begins a word, and an apostrophe is one."""
    backend = _pairs(tokenizer)
    backend.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(r"(?<=\S)\n"), " __newln__ "), normalizers.Lowercase()]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split("'", "isolated"),
            pre_tokenizers.Split(Regex(r"[.,!?()]"), "merged_with_next"),
        ]
    )
    return backend


def _pairs(tokenizer: Any) -> Tokenizer:
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    added = special_tokens(tokenizer)
    special = [token.content for token in added]
    vocabulary = {
        token.removesuffix(_PART) if token.endswith(_PART) else token + _END: number
        for token, number in tokenizer.encoder.items()
        if token not in special
    }
    vocabulary |= {token: tokenizer.encoder[token] for token in special if token in tokenizer.encoder}
    # Parts that merges lead through, but that have no id: no text of the training ended with one. To transformers such
    # an end is unknown, here it has an id that no model takes.
    parts = dict.fromkeys(part for pair in merges for part in (*pair, "".join(pair)) if part not in vocabulary)
    vocabulary |= {part: len(tokenizer.encoder) + index for index, part in enumerate(parts)}
    backend = Tokenizer(
        BPE(vocab=vocabulary, merges=merges, unk_token=tokenizer.unk_token, end_of_word_suffix=_END, fuse_unk=False)
    )
    no_special = "".join(f"(?<!{re.escape(token)})" for token in special)
    backend.decoder = decoders.Sequence(
        [
            decoders.Fuse(),
            # A text may end within a word, and says so; a special token is no word.
            decoders.Replace(Regex(rf"(?<=[\s\S])(?<!{_END}){no_special}(?![\s\S])"), _PART),
            decoders.Replace(_END, " "),
            decoders.Replace(Regex(" $"), ""),
        ]
    )
    backend.add_special_tokens(added)
    return backend
