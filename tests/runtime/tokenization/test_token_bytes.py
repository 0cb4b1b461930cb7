"""What tokens stand for on their own, on tokenizers of every kind of decoder."""

from __future__ import annotations

import pytest

from edgepipe import Tokenizer
from edgepipe.tokenization.token_bytes import TokenBytes
from tests.tiny import TOKENIZERS

TEXT = "naïve café 你好 😀, and an end"


@pytest.mark.parametrize("name", ["gpt2", "roberta", "llama"])
def test_the_tokens_of_a_text_joined_are_its_bytes(name: str) -> None:
    tokenizer = Tokenizer.from_pretrained(TOKENIZERS / name)
    found = TokenBytes(tokenizer)
    pieces = [found[token] for token in tokenizer(TEXT, add_special_tokens=False)["input_ids"]]
    assert None not in pieces
    assert b"".join(piece or b"" for piece in pieces).decode().strip() == TEXT
    assert any(not _is_text(piece or b"") for piece in pieces), "a test without half characters shows nothing"


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "albert"])
def test_a_special_token_is_its_text_and_an_unknown_id_is_none(name: str) -> None:
    tokenizer = Tokenizer.from_pretrained(TOKENIZERS / name)
    found = TokenBytes(tokenizer)
    special = tokenizer.all_special_ids[-1]
    assert (found[special] or b"").decode().strip() == tokenizer.convert_ids_to_tokens(special)
    assert found[len(tokenizer) + 1000] is None


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
