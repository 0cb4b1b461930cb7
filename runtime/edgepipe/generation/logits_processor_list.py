"""Which processors and warpers the options ask for, in the order of transformers' ``_get_logits_processor`` (5.23)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edgepipe.generation import logits_warpers as warpers
from edgepipe.generation.logits_processors import (
    EncoderNoRepeatNGramLogitsProcessor,
    EncoderRepetitionPenaltyLogitsProcessor,
    ExponentialDecayLengthPenalty,
    ForcedTokensLogitsProcessor,
    MinLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    Processor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    SuppressTokensLogitsProcessor,
    remove_invalid_values,
    renormalize,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.generation.config import GenerationConfig
    from edgepipe.generation.prompt import Prompt

Warper = Callable[["NDArray[np.float32]"], None]


def processors(config: GenerationConfig, prompt: Prompt, diversity: Processor | None = None) -> list[Processor]:
    """The processors before those for sampling; `diversity` is that of groups of beams, for its place among them."""
    found: list[Processor] = []
    if config.sequence_bias:
        found.append(SequenceBiasLogitsProcessor(config.sequence_bias, "sequence_bias"))
    if diversity is not None:
        found.append(diversity)
    if config.encoder_repetition_penalty != 1.0:
        found.append(EncoderRepetitionPenaltyLogitsProcessor(config.encoder_repetition_penalty, prompt.input_ids))
    if config.repetition_penalty != 1.0:
        found.append(RepetitionPenaltyLogitsProcessor(config.repetition_penalty, prompt.padding))
    if config.no_repeat_ngram_size > 0:
        found.append(NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    if config.encoder_no_repeat_ngram_size > 0:
        found.append(EncoderNoRepeatNGramLogitsProcessor(config.encoder_no_repeat_ngram_size, prompt.input_ids))
    # That a text never ends is not for bad words to say.
    words = [word for word in config.bad_words_ids if len(word) > 1 or word[0] not in config.eos_token_id]
    if words:
        found.append(SequenceBiasLogitsProcessor([(word, -np.inf) for word in words], "bad_words_ids"))
    shortest = config.min_length if config.min_new_tokens is None else prompt.length + config.min_new_tokens
    if shortest > 0 and config.eos_token_id:
        found.append(MinLengthLogitsProcessor(shortest, config.eos_token_id))
    if config.forced_bos_token_id is not None:
        found.append(ForcedTokensLogitsProcessor(1, [config.forced_bos_token_id], "forced_bos_token_id"))
    if config.forced_eos_token_id:
        found.append(ForcedTokensLogitsProcessor(prompt.longest - 1, config.forced_eos_token_id, "forced_eos_token_id"))
    if config.remove_invalid_values:
        found.append(remove_invalid_values)
    if config.exponential_decay_length_penalty is not None:
        start, factor = config.exponential_decay_length_penalty
        found.append(ExponentialDecayLengthPenalty(start + prompt.length, factor, config.eos_token_id))
    if config.suppress_tokens:
        found.append(SuppressTokensLogitsProcessor(config.suppress_tokens))
    if config.begin_suppress_tokens:
        is_after_forced = prompt.length == 1 and config.forced_bos_token_id is not None
        found.append(SuppressTokensLogitsProcessor(config.begin_suppress_tokens, prompt.length + is_after_forced))
    if config.renormalize_logits and not config.do_sample:  # after the warpers, where there are some
        found.append(renormalize)
    return found


def sampling_warpers(config: GenerationConfig) -> tuple[list[Warper], list[Warper]]:
    """The warpers for sampling: those before top-k, which is no part of either list, and those after it."""
    # A beam needs a token to go on with besides those that end it.
    keep = 1 if config.num_beams == 1 else max(2, len(config.eos_token_id) + 1)
    before: list[Warper] = []
    if config.temperature != 1.0:
        before.append(partial(warpers.temperature, value=config.temperature))
    if config.top_h is not None:
        before.append(partial(warpers.top_h, share=config.top_h))
    after: list[Warper] = []
    if config.top_p < 1.0:
        after.append(partial(warpers.top_p, mass=config.top_p, keep=keep))
    if config.min_p is not None:
        after.append(partial(warpers.min_p, share=config.min_p, keep=keep))
    if config.typical_p < 1.0:
        after.append(partial(warpers.typical_p, mass=config.typical_p, keep=keep))
    if 0.0 < config.epsilon_cutoff < 1.0:
        after.append(partial(warpers.epsilon_cutoff, epsilon=config.epsilon_cutoff, keep=keep))
    if 0.0 < config.eta_cutoff < 1.0:
        after.append(partial(warpers.eta_cutoff, epsilon=config.eta_cutoff, keep=keep))
    return before, after


def beam_warpers(config: GenerationConfig) -> list[Warper]:
    """All warpers of a beam search that samples."""
    before, after = sampling_warpers(config)
    keep = max(2, len(config.eos_token_id) + 1)
    top_k = [partial(warpers.top_k, k=config.top_k, keep=keep)] if config.top_k else []
    return [*before, *top_k, *after]
