"""Special tokens, as they are found in a text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken


def special_tokens(tokenizer: Any, more: Iterable[str] = ()) -> list[AddedToken]:
    """The special tokens of a tokenizer, and more of them, with the blanks that each takes from the text around it."""
    named = [str(token) for token in tokenizer.special_tokens_map.values() if isinstance(token, str)]
    known = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
    return [
        AddedToken(
            content,
            lstrip=content in known and known[content].lstrip,
            rstrip=content in known and known[content].rstrip,
            normalized=False,
            special=True,
        )
        for content in dict.fromkeys([*named, *more])
    ]
