"""Tokenizers beside those of transformers: encoding with every option, and decoding."""

from __future__ import annotations

import functools
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from edgepipe import Tokenizer
from edgepipe.errors import EdgepipeError
from tests.fuzz.campaign import Campaign, Outcome, describe_error, is_raw
from tests.fuzz.texts import make_text
from tests.runtime.tokenization.beside_the_reference import attempt, find_difference

REPOSITORY = Path(__file__).parents[2]
TOKENIZERS = REPOSITORY / "tests" / "data" / "tokenizers"
# Folders, and what both are loaded with.
FAMILIES: dict[str, tuple[Path, dict[str, Any]]] = {path.name: (path, {}) for path in sorted(TOKENIZERS.iterdir())}
FAMILIES |= {
    "default": (REPOSITORY / "models" / "default", {}),
    "gpt2, padded": (TOKENIZERS / "gpt2", {"pad_token": "<|endoftext|>"}),
    "llama, padded": (TOKENIZERS / "llama", {"pad_token": "</s>"}),
    "bert, from the left": (TOKENIZERS / "bert", {"truncation_side": "left", "padding_side": "left"}),
}

# More rows than so many are not asked for.
MOST_PIECES = 20_000

_PADDING = (False, True, "longest", "max_length", "do_not_pad")
_TRUNCATION = (None, False, True, "longest_first", "only_first", "only_second", "do_not_truncate")


@dataclass(frozen=True)
class TokenizerCase:
    """A call of a tokenizer.

    Attributes:
        family: A name in FAMILIES.
        args: Texts, and second texts.
        options: Keyword arguments.
        decodes: Keyword arguments of a call of ``decode`` with the ids that came back; None for no call.
    """

    family: str
    args: tuple[Any, ...]
    options: dict[str, Any]
    decodes: dict[str, Any] | None


@functools.cache
def load_both(family: str) -> tuple[Tokenizer, Any]:
    """Our tokenizer and that of transformers, of the same folder."""
    folder, options = FAMILIES[family]
    return Tokenizer.from_pretrained(folder, **options), AutoTokenizer.from_pretrained(folder, **options)


class TokenizerCampaign(Campaign):
    """See the module."""

    name, unit, count = "tokenizers", "texts", 5_000

    def make(self, index: int) -> TokenizerCase:
        draw = self.draw(index)
        family = draw.choice(list(FAMILIES))
        args, words = _make_texts(draw)
        options = _make_options(draw) | ({"is_split_into_words": True} if words else {})
        if count_pieces(args, options) > MOST_PIECES:
            options["return_overflowing_tokens"] = False  # they are what the call asks for, by the gigabyte
        decodes = None
        if draw.random() < 0.5:
            decodes = {
                "skip_special_tokens": draw.random() < 0.5,
                "clean_up_tokenization_spaces": draw.choice((None, True, False)),
            }
        return TokenizerCase(family, args, options, decodes)

    def run(self, case: TokenizerCase) -> Outcome:
        ours, reference = load_both(case.family)
        size = count_texts(case.args)
        if count_pieces(case.args, case.options) > MOST_PIECES:
            # The reference would take gigabytes for them, whether they are asked for or not; ours must not.
            actual = attempt(ours, *case.args, **case.options)
            if isinstance(actual, BaseException) and is_raw(actual):
                return Outcome("raw", describe_error(actual), size)
            return Outcome("refused" if isinstance(actual, EdgepipeError) else "unchecked", size=size)
        expected = attempt(reference, *case.args, **case.options)
        actual = attempt(ours, *case.args, **case.options)
        if isinstance(actual, BaseException) and is_raw(actual):
            return Outcome("raw", describe_error(actual), size)
        difference = find_difference(reference, expected, actual, case.options)
        if difference is not None:
            return Outcome("wrong", difference, size)
        if isinstance(actual, EdgepipeError):
            return Outcome("refused", size=size)
        if case.decodes is not None:
            return self._decode(case, expected["input_ids"], size)
        return Outcome("equal", size=size)

    def _decode(self, case: TokenizerCase, ids: Any, size: int) -> Outcome:
        ours, reference = load_both(case.family)
        if isinstance(ids, np.ndarray) and ids.ndim == 2 and not ids.size:
            return Outcome("equal", size=size)
        expected = attempt(reference.decode, ids, **case.decodes or {})
        actual = attempt(ours.decode, ids, **case.decodes or {})
        if isinstance(actual, BaseException) and is_raw(actual):
            return Outcome("raw", f"decode: {describe_error(actual)}", size)
        if actual != expected and not (isinstance(actual, EdgepipeError) and isinstance(expected, BaseException)):
            return Outcome("wrong", f"decode: {actual!r:.300} instead of {expected!r:.300}", size)
        return Outcome("equal", size=size)


def count_pieces(args: tuple[Any, ...], options: dict[str, Any]) -> int:
    """About how many rows `tokenizers` makes of pairs that are cut: each piece of one text with each of the other."""
    length = options.get("max_length") or 512
    if options.get("truncation") in (False, "do_not_truncate", "only_first", "only_second"):
        return 0
    first, second = (args[0], args[1]) if len(args) == 2 else (args[0], None)
    if isinstance(first, str):
        pairs = [(first, second or "")]
    elif second is not None:
        pairs = list(zip(first, second, strict=False))
    else:
        pairs = [each for each in first if isinstance(each, tuple)]
    half = max((length - 3) // 2, 1)
    return sum(math.prod(max(_count_characters(text) // half, 1) for text in pair) for pair in pairs)


def _count_characters(text: Any) -> int:
    return sum(map(len, text))


def count_texts(texts: Any) -> int:
    """How many texts there are in lists of lists of them; words of a split text each count."""
    return 1 if isinstance(texts, str) else sum(map(count_texts, texts or ()))


def _make_texts(draw: random.Random) -> tuple[tuple[Any, ...], bool]:
    """The texts of a call in one of the shapes that they may have, and whether they are split into words."""
    words = draw.random() < 0.08
    single = draw.random() < 0.35
    rows = 1 if single else draw.randint(1, 12)
    paired = draw.random() < 0.3

    def text() -> Any:
        return [make_text(draw, 2, long=False) for _ in range(draw.randint(0, 6))] if words else make_text(draw)

    first, second = [text() for _ in range(rows)], [text() for _ in range(rows)] if paired else None
    if single:
        return ((first[0],) if second is None else (first[0], second[0])), words
    if second is None:
        return (first,), words
    return ((first, second) if draw.random() < 0.6 else (list(zip(first, second, strict=True)),)), words


def _make_options(draw: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {"return_offsets_mapping": True, "return_special_tokens_mask": True}
    if draw.random() < 0.5:
        found["return_token_type_ids"] = draw.choice((None, True, False))
        found["return_attention_mask"] = draw.choice((None, True, False))
        found["add_special_tokens"] = draw.random() < 0.7
        found["return_length"] = draw.random() < 0.5
    if draw.random() < 0.5:
        found["padding"] = draw.choice(_PADDING)
        found["truncation"] = draw.choice(_TRUNCATION)
        found["max_length"] = draw.choice((None, draw.randint(3, 12), draw.randint(5, 60), 512))
        if draw.random() < 0.1:
            found["max_length"] = draw.randint(0, 3)
        if draw.random() < 0.3:
            found["stride"] = draw.randint(0, 6)
        if draw.random() < 0.2:
            found["pad_to_multiple_of"] = draw.randint(1, 16)
        if draw.random() < 0.3:
            found["padding_side"] = draw.choice((None, "left", "right"))
        found["return_overflowing_tokens"] = draw.random() < 0.3
        if draw.random() < 0.1 or found["padding"] in (True, "longest"):
            found["return_tensors"] = draw.choice((None, "np"))
    return found
