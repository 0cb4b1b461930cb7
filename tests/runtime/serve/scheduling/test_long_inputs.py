"""Which inputs are tokenized in a thread."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from edgepipe.serve.scheduling.long_inputs import count_characters, tokenize


@pytest.mark.parametrize(
    ("item", "is_long"),
    [
        ("a" * 100, False),
        ("a" * 5000, True),
        ({"question": "a", "context": "b" * 5000}, True),
        ([{"role": "user", "content": "b" * 2500}] * 2, True),
        (["a"] * 100, False),
        (7, False),
    ],
    ids=["text", "long_text", "context", "chat", "list", "number"],
)
def test_a_long_input_goes_to_another_thread(item: Any, is_long: bool) -> None:
    async def run() -> int:
        return await tokenize(lambda _: threading.get_ident(), item)

    assert (asyncio.run(run()) != threading.get_ident()) is is_long


def test_characters_are_those_of_all_texts() -> None:
    assert count_characters({"a": ["bc", ("d", {"e": "fgh"})], "i": 5}) == 6


def test_an_error_comes_back() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(tokenize(lambda _: 1 // 0, "a" * 5000))
