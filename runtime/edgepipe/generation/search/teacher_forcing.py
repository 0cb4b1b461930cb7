"""Text whose tokens are given, step by step, and the likeliest text: what comparisons of decoders are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgepipe.generation.decoder_protocol import Decoder


def force_tokens(
    decoder: Decoder, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], following: NDArray[np.int64]
) -> list[NDArray[np.float32]]:
    """The scores at each step of a text that is given (teacher forcing, Williams and Zipser 1989).

    Of one row a second is made after the first step, as in beam search, and what it gives is returned: what both have
    in common may be held once.

    Args:
        decoder: The loaded graphs.
        input_ids: int64[rows, length], as :meth:`Decoder.begin` takes them.
        attention_mask: int64[rows, length].
        following: What each row goes on with, int64[rows, new]; that of an encoder-decoder begins with what its
            decoder starts with.

    Returns:
        float32[rows, vocabulary] for each step: of a decoder-only model one more than tokens follow.
    """
    decoding = decoder.begin(input_ids, attention_mask)
    fed = np.split(following, following.shape[1], axis=1) if following.size else []
    first, *rest = fed if decoder.is_encoder_decoder else [input_ids, *fed]
    found = [decoding.step(first).copy()]
    count = len(input_ids)
    rows = np.arange(count) if count > 1 else np.zeros(2, np.int64)
    decoding.select(rows)
    return found + [decoding.step(tokens[rows])[-count:].copy() for tokens in rest]


def write_likeliest(
    decoder: Decoder, input_ids: NDArray[np.int64], count: int, start: int | None = None
) -> tuple[Sequence[int], list[NDArray[np.float32]]]:
    """The likeliest tokens behind a prompt, whatever they are, and the scores that each was taken from.

    Args:
        decoder: The loaded graphs.
        input_ids: The prompt, int64[length].
        count: How many tokens.
        start: What an encoder-decoder's decoder starts with; None for a decoder-only model.

    Returns:
        The tokens, and float32[1, vocabulary] for each.
    """
    rows = input_ids[None]
    decoding = decoder.begin(rows, np.ones_like(rows))
    last = rows if start is None else np.array([[start]], np.int64)
    tokens, scores = [], []
    for _ in range(count):
        scores.append(decoding.step(last).copy())
        last = scores[-1].argmax(axis=1)[:, None]
        tokens.append(int(last[0, 0]))
    return tokens, scores
