"""Where a search starts, and its limits of length: the prompt's tokens, and how many may follow them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.arguments import is_whole
from edgepipe.errors import InputError, LengthError
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
        vocabulary_size: Of the model, as its config says; 0 where it does not.
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    ids: NDArray[np.int64]
    padding: NDArray[np.int64]
    longest: int
    vocabulary_size: int = 0

    @property
    def length(self) -> int:
        """Number of tokens before the first new one."""
        return int(self.ids.shape[1])


def prepare_prompt(
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
    longest = _longest(decoder, ids.shape[1], config)
    return Prompt(input_ids, attention_mask, ids, padding, longest, _vocabulary_size(decoder.config))


def check_room(
    decoder: Decoder, prompt: Prompt, config: GenerationConfig, *, assistant: Decoder | None = None, held: int = 0
) -> int:
    """Check that keys and values have room for a search from its first token to its last.

    Args:
        decoder: The loaded graphs.
        prompt: The start.
        config: The options.
        assistant: What writes ahead; it has keys and values of its own.
        held: Bytes that other searches hold, and give back before.

    Returns:
        What they take when all rows are as long as they may get, in bytes.

    Raises:
        OutOfMemoryError: there is no room.
    """
    inputs, width = len(prompt.ids), max(config.num_beams, config.num_return_sequences)
    length = max(prompt.length, prompt.longest - 1)  # the last new token is never read
    needed = decoder.count_cache_bytes(inputs, width, int(prompt.input_ids.shape[1]), length)
    if config.guidance_scale != 1.0:  # what is written goes behind another prompt, too
        other = max(1, len(config.negative_prompt_ids)) + length - prompt.length
        needed += decoder.count_cache_bytes(inputs, width, other, other)
    if assistant is not None:
        needed += assistant.count_cache_bytes(inputs, width, length, length)
    rows = inputs * width
    what = f"{rows:,} sequence{'s' if rows > 1 else ''} of up to {length:,} tokens"
    decoder.check_room(needed, what, config.kv_cache_memory_bytes, held)
    return needed


def limit_new_tokens(config: GenerationConfig, decoder: Decoder, length: int) -> GenerationConfig:
    """The options for a prompt of so many tokens, with ``max_new_tokens`` and ``min_new_tokens`` alone.

    ``max_length`` and ``min_length`` count the prompt. In a padded batch they would count the padding too, so that
    what a prompt gives would depend on its neighbours. New tokens do not.

    Args:
        config: The caller's options.
        decoder: Says what the model takes.
        length: Tokens of the prompt. Those of an encoder do not count: its decoder begins with one token.

    Raises:
        InputError: the prompt leaves no room within ``max_length``.
        LengthError: it is longer than the model takes.
    """
    prompt = 1 if decoder.is_encoder_decoder else length
    wanted = count_new_tokens(config, prompt)
    room = _check_room(decoder, prompt, wanted, config)
    least = config.min_new_tokens
    if least is None and config.min_length:
        least = max(config.min_length - prompt, 0)
    return replace(config, max_new_tokens=min(wanted, room), max_length=None, min_new_tokens=least, min_length=0)


def count_new_tokens(config: GenerationConfig, prompt: int) -> int:
    """How many tokens the options let follow a prompt of so many tokens; 0 or less where there is no room."""
    if config.max_new_tokens is not None:
        return config.max_new_tokens
    return _DEFAULT_NEW_TOKENS if config.max_length is None else config.max_length - prompt


def is_cut_off(
    token_ids: Sequence[int], config: GenerationConfig, limited: GenerationConfig, decoder: Decoder, length: int
) -> bool:
    """Whether a text ends only because the model's limit is reached.

    Args:
        token_ids: The new tokens; after the decoder's first token where there is an encoder.
        config: The caller's options.
        limited: The same from :func:`limit_new_tokens`.
        decoder: Says what the model takes.
        length: Tokens of the prompt.
    """
    if decoder.max_length is None:
        return False
    prompt = 1 if decoder.is_encoder_decoder else length
    new = len(token_ids) - decoder.is_encoder_decoder
    ended = bool(token_ids) and token_ids[-1] in limited.eos_token_id
    most = limited.max_new_tokens or 0
    return not ended and new >= most and most < count_new_tokens(config, prompt)


def _vocabulary_size(config: Mapping[str, Any]) -> int:
    """That of the text model, as transformers' ``get_text_config`` finds it."""
    parts = [config.get(name) for name in ("decoder", "generator", "text_config")]
    found = next((part for part in parts if isinstance(part, Mapping)), config).get("vocab_size")
    return found if is_whole(found) else 0


def _longest(decoder: Decoder, length: int, config: GenerationConfig) -> int:
    """Most tokens of a sequence, those of the prompt included."""
    wanted = count_new_tokens(config, length)
    longest = length + min(wanted, _check_room(decoder, length, wanted, config))
    positions = decoder.config.get("max_position_embeddings", decoder.max_length)
    if config.max_new_tokens is None and config.max_length is None and isinstance(positions, int):
        # As in ``generate``, which goes past them only with a length among the options.
        longest = max(min(longest, positions), length + 1)
    return longest


def _check_room(decoder: Decoder, prompt: int, wanted: int, config: GenerationConfig) -> int:
    """How many tokens can follow a prompt of so many: all the model takes and one, which is never its input."""
    if decoder.max_length is not None and prompt > decoder.max_length:
        raise LengthError(
            f"the prompt has {prompt} tokens, more than the {decoder.max_length} that the model takes; shorten it, or "
            'pass truncation=True, or handle_long_generation="hole" to keep its end'
        )
    if wanted <= 0:
        raise InputError(
            f"max_length={config.max_length} leaves no room behind a prompt of {prompt} tokens; raise it, or pass "
            "max_new_tokens instead"
        )
    return wanted if decoder.max_length is None else decoder.max_length - prompt + 1
