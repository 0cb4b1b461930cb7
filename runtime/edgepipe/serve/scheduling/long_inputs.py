"""Long inputs become tokens in a thread of their own: other requests would wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

# Characters of an input that is long.
_LONG = 4_000

Item = TypeVar("Item")
Tokens = TypeVar("Tokens")


async def tokenize(encode: Callable[[Item], Tokens], item: Item) -> Tokens:
    """What `encode` gives for an input; of a long one from another thread.

    Args:
        encode: Makes tokens of it.
        item: A text, or lists and dicts of texts.
    """
    if count_characters(item) <= _LONG:
        return encode(item)
    return await asyncio.to_thread(encode, item)


def count_characters(item: Any) -> int:
    """How many characters the texts of an input have together."""
    if isinstance(item, str):
        return len(item)
    if isinstance(item, Mapping):
        return sum(map(count_characters, item.values()))
    if isinstance(item, (list, tuple)):
        return sum(map(count_characters, item))
    return 0
