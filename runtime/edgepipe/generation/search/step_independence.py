"""Whether the scores behind a token depend on what its step reads beside it: the decoder is asked.

Adding up in another order changes the last bits of fp32. Where activations are rounded to 8 bits, by one scale for all
tokens of a step or by one for each block of a token, these last bits decide roundings, and the differences are hundreds
of times as large.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepipe.errors import EdgepipeError
from edgepipe.generation.decoder_protocol import Decoder

# How far scores may be from those of the token alone, as a share of the largest: what adding up in another order does.
_SAME_STEP = 1e-4
# Of the text that is tried, and where it is cut.
_PROMPT, _CUT_AT = 8, 5


def are_same_scores(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two rows of scores, float32[vocabulary], differ by no more than the order of sums does."""
    largest = max(1.0, float(np.abs(other[np.isfinite(other)]).max(initial=0.0)))
    return np.allclose(one, other, 0, _SAME_STEP * largest)


def draw_ids(decoder: Decoder, rows: int, length: int) -> NDArray[np.int64]:
    """Some token ids that the decoder takes, int64[rows, length]."""
    size = decoder.config.get("vocab_size")
    most = min(size, 100) if isinstance(size, int) else 100
    return np.random.default_rng(0).integers(0, most, (rows, length), np.int64)


def reads_ahead(decoder: Decoder, count: int) -> bool:
    """Whether a step that reads several tokens gives what as many steps give, and can be taken back.

    Args:
        decoder: The loaded graphs.
        count: How many tokens; fewer where the model takes no longer text.
    """
    if not decoder.joins:
        return False
    limit = _PROMPT + count if decoder.max_length is None else decoder.max_length
    ids = draw_ids(decoder, 1, min(_PROMPT + count, limit))
    prompt = max(1, min(_PROMPT, limit - 2))
    following = ids[:, prompt:]
    try:
        decoding = decoder.begin(ids[:, :prompt], np.ones_like(ids[:, :prompt]), ids.shape[1])
        decoding.step(ids[:, :prompt])
        together = decoding.step_every(following)[0].copy()
        decoding.forget(following.shape[1])
        alone = [decoding.step(token).copy()[0] for token in np.split(following, following.shape[1], axis=1)]
    except EdgepipeError:  # said when somebody asks
        return False
    return all(map(are_same_scores, together, alone))


def reads_in_parts(decoder: Decoder) -> bool:
    """Whether a prompt that is read in two parts gives the scores of the whole: tried with a few prompts."""
    length = min(_PROMPT, decoder.max_length or _PROMPT)
    for ids in np.split(draw_ids(decoder, 3, length), 3):
        whole, parted = (decoder.begin(ids, np.ones_like(ids), length) for _ in range(2))
        expected = whole.step(ids).copy()
        for part in np.split(ids, [_CUT_AT], axis=1):
            if part.size:
                found = parted.step(part)
        if not are_same_scores(found, expected):
            return False
    return True
