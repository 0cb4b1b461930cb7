"""The table of logits processors, and which processors and warpers the options ask for, in the order of
transformers' ``_get_logits_processor`` (5.24).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgepipe.generation.config import DEFAULTS, GenerationConfig
from edgepipe.generation.logits import logits_warpers as warpers
from edgepipe.generation.logits.constraints.constraint_processor import ConstraintLogitsProcessor
from edgepipe.generation.logits.logits_processors import (
    CustomLogitsProcessors,
    EncoderNoRepeatNGramLogitsProcessor,
    EncoderRepetitionPenaltyLogitsProcessor,
    ExponentialDecayLengthPenalty,
    ForcedTokensLogitsProcessor,
    HammingDiversityLogitsProcessor,
    LogitsProcessor,
    MinLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    PrefixConstrainedLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    SuppressTokensLogitsProcessor,
    remove_invalid_values,
    renormalize,
)
from edgepipe.generation.logits.watermark_config import SynthIDTextWatermarkingConfig, WatermarkingConfig
from edgepipe.generation.prompt import Prompt

LogitsWarper = Callable[["NDArray[np.float32]"], None]
BuildProcessor = Callable[["GenerationConfig", "Prompt"], "LogitsProcessor | None"]


def _bad_words(config: GenerationConfig, prompt: Prompt) -> LogitsProcessor | None:
    # Bad words cannot forbid that a text ends.
    words = [word for word in config.bad_words_ids if len(word) > 1 or word[0] not in config.eos_token_id]
    return SequenceBiasLogitsProcessor([(word, -np.inf) for word in words], "bad_words_ids") if words else None


def _min_length(config: GenerationConfig, length: int) -> LogitsProcessor | None:
    return MinLengthLogitsProcessor(length, config.eos_token_id) if config.eos_token_id else None


def _decay(config: GenerationConfig, prompt: Prompt) -> LogitsProcessor | None:
    start, factor = config.exponential_decay_length_penalty or (0, 1.0)
    return ExponentialDecayLengthPenalty(start + prompt.length, factor, config.eos_token_id)


def _begin_suppress(config: GenerationConfig, prompt: Prompt) -> LogitsProcessor | None:
    is_after_forced = prompt.length == 1 and config.forced_bos_token_id is not None
    return SuppressTokensLogitsProcessor(config.begin_suppress_tokens, prompt.length + is_after_forced)


def build_watermark(config: GenerationConfig, prompt: Prompt) -> LogitsProcessor:
    """The processor of a watermark."""
    from edgepipe.generation.logits.watermarks import SynthIDTextWatermarkLogitsProcessor, WatermarkLogitsProcessor

    if isinstance(config.watermarking_config, SynthIDTextWatermarkingConfig):
        return SynthIDTextWatermarkLogitsProcessor(config.watermarking_config, prompt.length)
    return WatermarkLogitsProcessor(config.watermarking_config or WatermarkingConfig(), prompt.vocabulary_size)


def build_sampling_watermark(config: GenerationConfig, prompt: Prompt) -> LogitsProcessor | None:
    """The watermark of a search that samples, which comes after the warpers; None where the options ask for none."""
    return None if config.watermarking_config is None else build_watermark(config, prompt)


# What builds a processor where its option has another value than the default; None where the other options leave it
# nothing to do. To add a processor: its option in GenerationConfig, its class in logits_processors, its entry here.
LOGITS_PROCESSORS: dict[str, BuildProcessor] = {
    # Before all that transformers has: they see what is left.
    "constraint": lambda config, prompt: (
        None if config.constraint is None else ConstraintLogitsProcessor(config.constraint, config, prompt)
    ),
    "sequence_bias": lambda config, _: SequenceBiasLogitsProcessor(config.sequence_bias, "sequence_bias"),
    "diversity_penalty": lambda config, _: (
        HammingDiversityLogitsProcessor(config.diversity_penalty) if config.num_beam_groups > 1 else None
    ),
    "encoder_repetition_penalty": lambda config, prompt: EncoderRepetitionPenaltyLogitsProcessor(
        config.encoder_repetition_penalty, prompt.input_ids
    ),
    "repetition_penalty": lambda config, prompt: RepetitionPenaltyLogitsProcessor(
        config.repetition_penalty, prompt.padding
    ),
    "no_repeat_ngram_size": lambda config, _: NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size),
    "encoder_no_repeat_ngram_size": lambda config, prompt: EncoderNoRepeatNGramLogitsProcessor(
        config.encoder_no_repeat_ngram_size, prompt.input_ids
    ),
    "bad_words_ids": _bad_words,
    "min_length": lambda config, _: _min_length(config, config.min_length) if config.min_new_tokens is None else None,
    "min_new_tokens": lambda config, prompt: _min_length(config, prompt.length + (config.min_new_tokens or 0)),
    "prefix_allowed_tokens_fn": lambda config, _: PrefixConstrainedLogitsProcessor(config.prefix_allowed_tokens_fn),
    "forced_bos_token_id": lambda config, _: ForcedTokensLogitsProcessor(
        1, [config.forced_bos_token_id or 0], "forced_bos_token_id"
    ),
    "forced_eos_token_id": lambda config, prompt: ForcedTokensLogitsProcessor(
        prompt.longest - 1, config.forced_eos_token_id, "forced_eos_token_id"
    ),
    "remove_invalid_values": lambda _, __: remove_invalid_values,
    "exponential_decay_length_penalty": _decay,
    "suppress_tokens": lambda config, _: SuppressTokensLogitsProcessor(config.suppress_tokens),
    "begin_suppress_tokens": _begin_suppress,
    "logits_processor": lambda config, _: CustomLogitsProcessors(config.logits_processor),
    # Where tokens are sampled, after the warpers.
    "watermarking_config": lambda config, prompt: None if config.do_sample else build_watermark(config, prompt),
    "renormalize_logits": lambda config, _: None if config.do_sample else renormalize,
}


def build_logits_processors(config: GenerationConfig, prompt: Prompt) -> list[LogitsProcessor]:
    """The processors that the options ask for, before those for sampling.

    Raises:
        LookupError: an entry of :data:`LOGITS_PROCESSORS` is named after no option.
    """
    processors = []
    for option, build in LOGITS_PROCESSORS.items():
        if option not in DEFAULTS:
            raise LookupError(
                f"LOGITS_PROCESSORS has {option!r}, which is no option; add a field of that name to GenerationConfig"
            )
        if getattr(config, option) != DEFAULTS[option] and (processor := build(config, prompt)) is not None:
            processors.append(processor)
    return processors


def build_sampling_warpers(config: GenerationConfig) -> tuple[list[LogitsWarper], list[LogitsWarper]]:
    """The warpers for sampling: those before top-k, which is no part of either list, and those after it."""
    # A beam needs a token to go on with besides those that end it.
    keep = 1 if config.num_beams == 1 else max(2, len(config.eos_token_id) + 1)
    before: list[LogitsWarper] = []
    if config.temperature != 1.0:
        before.append(partial(warpers.temperature, value=config.temperature))
    if config.top_h is not None:
        before.append(partial(warpers.top_h, share=config.top_h))
    after: list[LogitsWarper] = []
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


def build_beam_warpers(config: GenerationConfig) -> list[LogitsWarper]:
    """All warpers of a beam search that samples."""
    before, after = build_sampling_warpers(config)
    keep = max(2, len(config.eos_token_id) + 1)
    top_k = [partial(warpers.top_k, k=config.top_k, keep=keep)] if config.top_k else []
    return [*before, *top_k, *after]
