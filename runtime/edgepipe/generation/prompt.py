"""What a search starts from: the inputs, the tokens before the first new one, and how long it may go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgepipe.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.generation.config import GenerationConfig
    from edgepipe.generation.decoder_protocol import Decoder

# What transformers' generate adds to the prompt where nothing says how long to go on.
_DEFAULT_NEW_TOKENS = 20


@dataclass(frozen=True, slots=True)
class Prompt:
    """The start of a search.

    Attributes:
        input_ids: The inputs, int64[rows, tokens].
        attention_mask: 0 for their padding, int64[rows, tokens].
        ids: What new tokens are added to, int64[rows, length]: the inputs, or what a decoder starts with.
        padding: How many of `ids` are padding on the left, int64[rows].
        longest: Most tokens of a sequence, those of `ids` included.
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    ids: NDArray[np.int64]
    padding: NDArray[np.int64]
    longest: int

    @property
    def length(self) -> int:
        """Number of tokens before the first new one."""
        return int(self.ids.shape[1])


def prepare(
    decoder: Decoder, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], config: GenerationConfig
) -> Prompt:
    """Make the start of a search.

    Raises:
        InputError: there is nothing to start with, or no room for a new token.
    """
    if input_ids.ndim != 2 or input_ids.shape[1] == 0:
        raise InputError(f"input_ids have shape {input_ids.shape}, expected [rows, tokens] with at least one token")
    if decoder.is_encoder_decoder:
        starts = config.decoder_start_token_id
        if len(starts) not in (1, len(input_ids)):
            raise InputError(
                f"decoder_start_token_id has {len(starts)} tokens for {len(input_ids)} inputs, expected one or as many"
            )
        ids = np.empty((len(input_ids), 1), dtype=np.int64)
        ids[:, 0] = starts
        padding = np.zeros(len(ids), dtype=np.int64)
    else:
        ids = input_ids
        padding = np.argmax(attention_mask != 0, axis=1)
    return Prompt(input_ids, attention_mask, ids, padding, _longest(decoder, ids.shape[1], config))


def _longest(decoder: Decoder, length: int, config: GenerationConfig) -> int:
    if config.max_new_tokens is not None:
        longest = length + config.max_new_tokens
    elif config.max_length is not None:
        longest = config.max_length
        if length >= longest:
            raise InputError(
                f"the input has {length} tokens, and max_length={longest} leaves no room for a new one; "
                "pass max_new_tokens, or a larger max_length"
            )
    else:
        longest = length + _DEFAULT_NEW_TOKENS
        positions = decoder.config.get("max_position_embeddings", decoder.max_length)
        if isinstance(positions, int):
            longest = min(longest, positions)
    if decoder.max_length is not None:
        # The last token of a sequence is never read. transformers fails where one token more would be.
        longest = min(longest, decoder.max_length + 1)
    if length >= longest:
        raise InputError(
            f"the input has {length} tokens, and the model takes {decoder.max_length}, which leaves no room for a new "
            "one; pass a shorter input"
        )
    return longest
