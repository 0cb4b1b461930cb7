"""Tokenizers of a dozen tokens, one of each kind, and forms of a few texts: all there is can be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from tokenizers import AddedToken, decoders, models
from tokenizers import Tokenizer as RustTokenizer

from edgepipe.generation.logits.constraints.constraint import Constraint, build_constraint
from edgepipe.generation.validation import Check, choices, json_schema, regex
from edgepipe.tokenization.loading import TokenizerSettings
from edgepipe.tokenization.tokenizer import Tokenizer

# The first two tokens of each vocabulary; both end a text.
END_TOKENS = ("</s>", "<end>")
ENDS = (0, 1)

_BLANKS = ("Ġ", "Ġa", "▁", "▁a", "<0x20>")
_SENTENCEPIECE = decoders.Sequence(
    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)
VOCABULARIES: dict[str, tuple[list[str], Any]] = {
    "byte-level": (["a", "b", "ab", "Ġ", "Ġa", "1", "{", '"', ":", '{"a', '":', "}", "Ã", "©"], decoders.ByteLevel()),
    "sentencepiece": (
        ["a", "b", "ab", "▁", "▁a", "1", "{", '"', ":", '{"a', '":', "}", "<0x20>", "<0x61>", "<0xC3>", "<0xA9>"],
        _SENTENCEPIECE,
    ),
    "metaspace": (["a", "b", "ab", "▁", "▁a", "1", "{", '"', ":", '{"a', '":', "}", "é"], decoders.Metaspace()),
    "wordpiece": (
        ["a", "##a", "b", "##b", "ab", "1", "##1", "{", '"', '##"', "##:", '{"a', '##":', "##}", "##é"],
        decoders.WordPiece("##", cleanup=False),
    ),
}

# A token for each byte, in the order of the bytes.
ALL_BYTES: tuple[list[str], Any] = (
    [f"<0x{byte:02X}>" for byte in range(256)], decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
)  # fmt: skip

# Forms, each with all texts that have it. Where WordPiece must begin a word, it puts a blank, which JSON allows.
_GAPS = ("", " ")
FORMS: dict[str, tuple[str, Check, Any, frozenset[str]]] = {
    "choices": ("choices", choices, ["ab", "a a", "ba", " a", "é"], frozenset({"ab", "a a", "ba", " a", "é"})),
    "regex": ("regex", regex, "a{2}|b?1| ?aé|", frozenset({"aa", "1", "b1", "aé", " aé", ""})),
    "schema": (
        "json_schema",
        json_schema,
        {
            "type": "object",
            "properties": {"a": {"enum": [1, "a"]}},
            "required": ["a"],
            "additionalProperties": False,
        },
        frozenset(f'{{{first}"a":{second}{value}}}' for first in _GAPS for second in _GAPS for value in ("1", '"a"')),
    ),
}


@cache
def small_tokenizer(kind: str, form: str = "choices") -> Tokenizer:
    """The tokenizer of a kind, or one of all bytes; for JSON without blanks, of which there could be any number."""
    tokens, decoder = ALL_BYTES if kind == "bytes" else VOCABULARIES[kind]
    return make_tokenizer([token for token in tokens if form != "schema" or token not in _BLANKS], decoder)


def make_tokenizer(tokens: Sequence[str], decoder: Any) -> Tokenizer:
    """A tokenizer of the ends and some tokens."""
    places = {token: place for place, token in enumerate([*END_TOKENS, *tokens])}
    backend = RustTokenizer(models.WordLevel(places, unk_token=END_TOKENS[0]))
    backend.add_special_tokens([AddedToken(token, special=True) for token in END_TOKENS])
    if decoder is not None:
        backend.decoder = decoder
    return Tokenizer(backend, TokenizerSettings())


def make_constraint(kind: str, form: str) -> Constraint:
    """What holds texts of a small vocabulary to a form."""
    option, check, value, _ = FORMS[form]
    return build_constraint(option, check(option, value), small_tokenizer(kind, form))


@cache
def followers(kind: str, form: str) -> dict[tuple[int, ...], tuple[frozenset[int], bool]]:
    """What may follow, by brute force: each run of tokens is decoded, and compared with all texts of the form.

    Returns:
        By the tokens of each beginning of a text: the tokens that may follow, and whether the text may end there.
    """
    tokenizer, texts = small_tokenizer(kind, form), FORMS[form][3]
    found: dict[tuple[int, ...], tuple[frozenset[int], bool]] = {}

    def look(ids: tuple[int, ...]) -> bool:
        """Whether these tokens begin a text."""
        text = tokenizer.decode(list(ids))
        # Half a character, and what bytes there are before it, show as these; the other half may follow.
        shown = text.rstrip("\ufffd")
        if len(text) > len(shown) + 4 or not any(whole.startswith(shown) for whole in texts):
            return False
        after = frozenset(token for token in range(len(ENDS), len(tokenizer)) if look((*ids, token)))
        if not after and text not in texts:
            return False
        found[ids] = after, text in texts
        return True

    look(())
    return found
