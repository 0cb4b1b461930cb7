"""From inputs to tokens: the search that the options ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepipe.generation.config import GenerationConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgepipe.generation.decoding import Decoder
    from edgepipe.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Generated:
    """One generated sequence.

    Attributes:
        token_ids: What a decoder-only model added to its prompt, or all that the decoder of an encoder-decoder read
            and wrote, its start included. Ends with the token that ended it, if one did; never padded.
        score: A beam's score, its log-probability divided by the length penalty; None without beams.
    """

    token_ids: list[int]
    score: float | None = None


def generate(
    decoder: Decoder,
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    config: GenerationConfig,
    *,
    tokenizer: Tokenizer | None = None,
    first_row: int = 0,
) -> list[list[Generated]]:
    """Generate for a batch of inputs, as transformers' ``generate`` does."""
    raise NotImplementedError


def stream(
    decoder: Decoder,
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    config: GenerationConfig,
    *,
    tokenizer: Tokenizer | None = None,
    first_row: int = 0,
) -> Iterator[int]:
    """Generate for one input, each new token as it comes."""
    raise NotImplementedError
