"""Tokenizers of many languages (mBART, NLLB, M2M-100): the token that says which language a text is in.

Which one it is says the post-processor of ``tokenizer.json``: it puts a special token around a text that none of the
named ones (``eos_token`` and so on) is. The other languages are special tokens without a name like it.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import processors

from edgepipe.errors import InputError
from edgepipe.tokenization.loading import TokenizerSettings


def find_language_token(backend: RustTokenizer, settings: TokenizerSettings) -> str | None:
    """The token of the language that texts are taken to be in; None for a tokenizer of one language."""
    unnamed = set(settings.extra_special_tokens) - set(settings.special_tokens.values())
    return next((token for token in _tokens_around_text(backend) if token in unnamed), None)


def find_language(code: Any, option: str, backend: RustTokenizer, settings: TokenizerSettings) -> str:
    """The token of a language by its code: the code itself, or what M2M-100 makes of it, e.g. ``__en__``.

    Raises:
        InputError: the tokenizer has no such language; the message has the nearest codes.
    """
    tokens = set(settings.extra_special_tokens)
    if isinstance(code, str):
        for token in (code, f"__{code}__"):
            if token in tokens and backend.token_to_id(token) is not None:
                return token
    raise InputError(f"{option} is {code!r}, a language that the tokenizer lacks; {_nearest_codes(code, tokens)}")


def set_language(backend: RustTokenizer, current: str, wanted: str, twin: RustTokenizer) -> None:
    """Give a tokenizer's twin a post-processor with the `wanted` language's token in place of the `current` one's."""
    state = json.loads(backend.post_processor.__getstate__())
    forms = {form: [_rename_language(part, current, wanted) for part in state[form]] for form in ("single", "pair")}
    names = {token for form in forms.values() for token in form if not token.startswith("$")}
    special = [(name, backend.token_to_id(name)) for name in sorted(names)]
    twin.post_processor = processors.TemplateProcessing(**forms, special_tokens=special)


def _rename_language(part: dict[str, Any], current: str, wanted: str) -> str:
    if "Sequence" in part:
        return f"${part['Sequence']['id']}"
    token = str(part["SpecialToken"]["id"])
    return wanted if token == current else token


def _tokens_around_text(backend: RustTokenizer) -> list[str]:
    """The special tokens that are put around a single text."""
    if backend.post_processor is None:
        return []
    state = json.loads(backend.post_processor.__getstate__())
    if state.get("type") != "TemplateProcessing":
        return []
    return [part["SpecialToken"]["id"] for part in state["single"] if "SpecialToken" in part]


def _nearest_codes(code: Any, tokens: Collection[str]) -> str:
    import difflib  # not at the top: it costs every start, for an error

    codes = sorted(token.removeprefix("__").removesuffix("__") for token in tokens)
    near = difflib.get_close_matches(str(code), codes, n=5) or codes[:5]
    return f"it has {len(codes)}, e.g. {', '.join(near)}"
