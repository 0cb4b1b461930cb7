"""How much may be written after a prompt: total lengths as numbers of new tokens, within what the model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgepipe.errors import InputError

if TYPE_CHECKING:
    from edgepipe.generation.config_sources import GenerationConfig
    from edgepipe.generation.decoder_protocol import Decoder

# New tokens where nobody says how many, as in ``generate``.
_LENGTH = 20


def for_prompt(config: GenerationConfig, decoder: Decoder, length: int) -> GenerationConfig:
    """The options for a prompt of so many tokens, with ``max_new_tokens`` and ``min_new_tokens`` alone.

    ``max_length`` and ``min_length`` count the prompt. In a padded batch they would count the padding too, so that
    what a prompt gives would depend on its neighbours; said as new tokens they do not.

    Args:
        config: The options as given.
        decoder: Says what the model takes.
        length: Tokens of the prompt. Those of an encoder do not count: its decoder begins with one token.

    Raises:
        InputError: the prompt leaves no room within ``max_length``, or is longer than the model takes.
    """
    prompt = 1 if decoder.is_encoder_decoder else length
    if decoder.max_length is not None and prompt > decoder.max_length:
        raise InputError(
            f"the prompt has {prompt} tokens, more than the {decoder.max_length} that the model takes; shorten it, or "
            'pass truncation=True, or handle_long_generation="hole" to keep its end'
        )
    wanted = new_tokens(config, prompt)
    if wanted <= 0:
        raise InputError(
            f"max_length={config.max_length} leaves no room behind a prompt of {prompt} tokens; raise it, or pass "
            "max_new_tokens instead"
        )
    # The last token that is written need not go through the model.
    room = wanted if decoder.max_length is None else decoder.max_length - prompt + 1
    least = config.min_new_tokens
    if least is None and config.min_length:
        least = max(config.min_length - prompt, 0)
    return replace(config, max_new_tokens=min(wanted, room), max_length=None, min_new_tokens=least, min_length=0)


def new_tokens(config: GenerationConfig, prompt: int) -> int:
    """How many tokens may follow a prompt of so many, whatever the model takes; not positive where there is no room."""
    if config.max_new_tokens is not None:
        return config.max_new_tokens
    return _LENGTH if config.max_length is None else config.max_length - prompt


def was_cut(
    token_ids: Sequence[int], wanted: GenerationConfig, given: GenerationConfig, decoder: Decoder, length: int
) -> bool:
    """Whether a text ended only because the model takes no more.

    Args:
        token_ids: What was written; with the decoder's first token where there is an encoder.
        wanted: The options as given by the caller.
        given: What :func:`for_prompt` made of them.
        decoder: Says what the model takes.
        length: Tokens of the prompt.
    """
    prompt = 1 if decoder.is_encoder_decoder else length
    written = len(token_ids) - decoder.is_encoder_decoder
    ended = bool(token_ids) and token_ids[-1] in (given.eos_token_id or ())
    most = given.max_new_tokens or 0
    return not ended and written >= most and most < new_tokens(wanted, prompt)
