"""Search without beams: each sequence goes its own way, by the likeliest token or by draws."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.decoder_protocol import Decoder
from edgepipe.generation.prompt import Prompt
from edgepipe.generation.search.token_choice import TokenChoice
from edgepipe.generation.stopping_criteria import StoppingCriteria


def greedy_search(
    decoder: Decoder, prompt: Prompt, config: GenerationConfig, stopping: StoppingCriteria, first_row: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Go on with every sequence until it is finished; what is finished leaves the batch.

    Args:
        decoder: The loaded graphs.
        prompt: What to start from.
        config: The options; `num_return_sequences` sequences for each input, the first ones those of the first input.
        stopping: When a sequence is finished.
        first_row: How many inputs came before the first of this batch; see :class:`Generators`.

    Yields:
        At each step which sequences got a token, int64[rows], and the tokens, int64[rows].
    """
    choice = TokenChoice(decoder, prompt, config, stopping, first_row)
    decoding = decoder.begin(prompt.input_ids, prompt.attention_mask, prompt.longest - 1)
    last = prompt.ids
    while True:
        tokens = choice.advance(decoding, last)
        yield choice.rows, tokens
        kept = choice.append(tokens)
        if kept is not None:
            if not kept.size:
                return
            tokens = tokens[kept]
            decoding.select(kept)
        last = tokens[:, None]
