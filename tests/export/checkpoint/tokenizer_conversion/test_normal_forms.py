"""Normal forms of sentencepiece's own normalizer, on letters with marks in every order."""

from __future__ import annotations

import random
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepipe_export.checkpoint.tokenizer_conversion.normal_forms import normalize_as_sentencepiece
from edgepipe_export.checkpoint.tokenizer_conversion.sentencepiece_model import read_pieces
from tests.export.checkpoint.tokenizer_conversion.slow_tokenizers import CORPUS, train

MARKS = [chr(number) for number in range(0x300, 0x3100) if unicodedata.combining(chr(number))]
COMPOSING = "\u0300\u0301\u0302\u0303\u0308\u0313\u0314\u0323\u0327\u0328\u031b\u0338\u0340\u0341\u0343\u0344\u0345"
LETTERS = "aeiouAEOUcnsyzdk"
LETTERS += "\u03b1\u03c9\u03b7\u0391\u03b9\u03c5\ud55c\u1100\u30ab\uff76\uff21\u304c\u1f80\u1f00"
LETTERS += "\u1ec7\u1ec3\u306e\u0939\u02dc\ufe76"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What sentencepiece makes of a text, and what our steps do."""
    lines = CORPUS.read_text(encoding="utf-8").splitlines()
    processor = train(tmp_path_factory.mktemp("model"), "model", lines, vocab_size=700)
    steps = normalize_as_sentencepiece(read_pieces(processor).charsmap, processor.Normalize)

    def compare(text: str) -> tuple[str, str]:
        # Blanks are of another step.
        blanks = re.sub(" {2,}", " ", steps.normalize_str(f"x{text}x")).strip(" ")
        return str(processor.Normalize(f"x{text}x")).replace("\u2581", " ").strip(" "), blanks

    return compare


@pytest.mark.parametrize("marks", [COMPOSING, MARKS, "\uff9e\uff9f\u200d\U0001f3fd"])
def test_letters_with_up_to_three_marks(marks: Any, both: Any) -> None:
    draw = random.Random(0)
    for _ in range(4000):
        text = "".join(
            draw.choice(LETTERS) + "".join(draw.choice(marks) for _ in range(draw.randrange(4))) for _ in range(3)
        )
        expected, got = both(text)
        assert got == expected, ascii(text)


@given(st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0x2FFFF), max_size=8))
def test_any_text(both: Any, text: str) -> None:
    expected, got = both(text)
    assert got == expected, ascii(text)


def test_what_nfc_alone_would_compose_otherwise(both: Any) -> None:
    for text in ("e\u0321\u0341", "u\u0327\u030c", "U\u033c\u0308", "\u1ec3\u032d", "z\u034a\u0323"):
        expected, got = both(text)
        assert got == expected != f"x{unicodedata.normalize('NFC', text)}x"


def test_a_model_without_a_table_is_left_alone(tmp_path: Path) -> None:
    lines = CORPUS.read_text(encoding="utf-8").splitlines()
    processor = train(tmp_path, "model", lines, vocab_size=700, normalization_rule_name="identity")
    assert read_pieces(processor).charsmap == b""
