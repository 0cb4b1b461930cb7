"""The bytes of tokens, joined, are what the tokenizer decodes; tokenizers of which that is not true are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import decoders

from edgepipe.errors import InputError
from edgepipe.generation.logits.constraints.token_table import TokenTable, token_table
from edgepipe.tokenization.tokenizer import Tokenizer
from tests.runtime.generation.logits.constraints.small_vocabularies import make_tokenizer

pytest.importorskip("llguidance")

TOKENIZERS = Path(__file__).parents[4] / "data" / "tokenizers"
KINDS = ("gpt2", "llama", "bert", "xlm-roberta", "albert", "roberta", "modernbert", "electra")


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_joined_are_the_text(kind: str) -> None:
    tokenizer = Tokenizer.from_pretrained(TOKENIZERS / kind)
    table = TokenTable(tokenizer)
    draws = np.random.default_rng(1)
    shown = [token for token in range(len(tokenizer)) if table.shows(token)]
    assert len(shown) > 0.9 * len(tokenizer)
    compared = 0
    for _ in range(2000):
        ids = draws.choice(shown, draws.integers(1, 7)).tolist()
        joined = table.first[ids[0]] + b"".join(table.later[token] for token in ids[1:])
        try:
            text = joined.decode()
        except UnicodeDecodeError:  # halves of characters, of which decoders show something
            continue
        assert text == tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        compared += 1
    assert compared > 400


@pytest.mark.parametrize("kind", KINDS)
def test_texts_come_back(kind: str) -> None:
    tokenizer = Tokenizer.from_pretrained(TOKENIZERS / kind)
    table = TokenTable(tokenizer)
    ids = tokenizer("the quick brown fox: 12, yes", add_special_tokens=False)["input_ids"]
    joined = table.first[ids[0]] + b"".join(table.later[token] for token in ids[1:])
    assert joined.decode() == tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def test_special_tokens_are_no_part_of_a_text() -> None:
    tokenizer = Tokenizer.from_pretrained(TOKENIZERS / "llama")
    table = token_table(tokenizer)
    assert token_table(tokenizer) is table
    for token in tokenizer.all_special_ids:
        assert token is not None
        assert not table.shows(token)
        assert table.engine_tokens(token, is_first=True) is None
    assert not table.shows(10**6)


@pytest.mark.parametrize(
    "decoder",
    [
        None,
        decoders.BPEDecoder("</w>"),
        decoders.CTC(),
        decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 0, 1)]),
    ],
    ids=["none", "ends of words", "repetitions", "end of the text"],
)
def test_tokens_that_depend_on_their_neighbours_are_refused(decoder: Any) -> None:
    tokenizer = make_tokenizer(["a</w>", "b", " ", "c ", "|", "a"], decoder)
    with pytest.raises(InputError, match=r"need a tokenizer whose tokens stand for the same text wherever they are"):
        TokenTable(tokenizer)
