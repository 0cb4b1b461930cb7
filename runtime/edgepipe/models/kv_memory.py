"""Whether keys and values have room, said before the first token: the kernel ends a process without a word.

They grow with every token, and their buffer is made for the longest text that a call may write. What is free counts,
not what there is: a text that needs the memory of other programs would be lost on its way.
"""

from __future__ import annotations

import numpy as np

from edgepipe.backend.machine import memory_bounds
from edgepipe.errors import OutOfMemoryError
from edgepipe.models.kv_buffers import LayerShapes

_MEGABYTE = 1e6
# So few bytes are not looked at closer: reading what is free takes 0.2 ms.
_FEW = 16 << 20


def count_token_bytes(shapes: LayerShapes) -> int:
    """What keys and values of one token of one row take, in all layers."""
    return sum(heads * width * np.dtype(dtype).itemsize for heads, width, dtype in shapes.values())


def has_room(needed: int) -> bool:
    """Whether so many bytes of the host's memory are free at the moment."""
    return needed <= _FEW or all(needed <= bound.left for bound in memory_bounds())


def check_room(needed: int, what: str, most_bytes: int | None, *, held: int = 0, is_host: bool = True) -> None:
    """Compare what keys and values need with what they may take.

    Args:
        needed: Bytes.
        what: Of what, for a message: ``"8 sequences of up to 4096 tokens"``.
        most_bytes: The most that they may take; None for what is free.
        held: Bytes that others hold, and give back before.
        is_host: Whether they lie in the host's memory. Nothing is known of what is free on other devices.

    Raises:
        OutOfMemoryError: they need more.
    """
    advice = (
        "ask for fewer new tokens (max_new_tokens), fewer texts at once (batch_size, num_beams, num_return_sequences) "
        "or shorter prompts"
    )
    if most_bytes is not None:
        if needed > most_bytes:
            raise OutOfMemoryError(
                f"the keys and values of {what} need {needed:,} bytes, more than kv_cache_memory_bytes={most_bytes:,}; "
                f"{advice}, or raise it"
            )
        return
    if needed <= _FEW or not is_host:
        return
    short = min(memory_bounds(), key=lambda bound: bound.left, default=None)
    if short is not None and needed > short.left + held:
        raise OutOfMemoryError(
            f"the keys and values of {what} need {needed / _MEGABYTE:,.0f} MB of memory, and {short.name} has "
            f"{(short.left + held) / _MEGABYTE:,.0f} MB free; {advice}, take a smaller variant (dtype), which leaves "
            "more for them, or pass kv_cache_memory_bytes to have it tried, as texts may end sooner"
        )
