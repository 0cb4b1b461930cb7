"""ProphetNet: BERT's words and pieces with a separator of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import ProphetNetTokenizer

from edgepipe.errors import ExportError
from edgepipe_export.checkpoint.tokenizer_conversion.prophetnet import convert
from tests.export.checkpoint.tokenizer_conversion.slow_tokenizers import prophetnet


@pytest.mark.parametrize("options", [{"do_basic_tokenize": False}, {"never_split": ["the"]}], ids=str)
def test_words_that_are_left_whole_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    prophetnet(tmp_path)
    slow = ProphetNetTokenizer(str(tmp_path / "prophetnet.tokenizer"), **options)
    with pytest.raises(ExportError, match="this ProphetNetTokenizer leaves words unsplit"):
        convert(slow)


@pytest.mark.parametrize(
    "options",
    [{}, {"do_lower_case": False}, {"strip_accents": True}, {"do_lower_case": False, "strip_accents": True}],
    ids=str,
)
@pytest.mark.parametrize("text", ["Caf\u00e9, THE \u4f60\u597d!", "one\ufdd0two \uffff\ufffe", "", "[X_SEP] a [SEP]"])
def test_words_are_cleaned_as_the_tokenizer_says(text: str, options: dict[str, Any], tmp_path: Path) -> None:
    prophetnet(tmp_path)
    slow = ProphetNetTokenizer(str(tmp_path / "prophetnet.tokenizer"), **options)
    assert convert(slow).encode(text).ids == slow(text)["input_ids"]


def test_a_pair_has_two_separators(tmp_path: Path) -> None:
    slow = prophetnet(tmp_path)
    assert convert(slow).encode("one", "two").ids == slow("one", "two")["input_ids"]
