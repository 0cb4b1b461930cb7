"""A stand-in for a decoder, where only options are gathered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def decoder(
    generation: dict[str, Any] | None = None, config: dict[str, Any] | None = None, is_encoder_decoder: bool = False
) -> Any:
    """As much of a decoder as options need."""
    return SimpleNamespace(
        generation_config=generation or {}, config=config or {}, is_encoder_decoder=is_encoder_decoder, max_length=None
    )
