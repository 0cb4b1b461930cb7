"""The options of generation: their names, their defaults, and what their values may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from edgepipe.arguments import check_flag
from edgepipe.generation import validation
from edgepipe.generation.logits.constraints.constraint import Constraint
from edgepipe.generation.logits.watermark_config import Watermark, check_watermark
from edgepipe.generation.validation import Check


def _option(default: Any, check: Check) -> Any:
    """A field with its check, which takes the option's name and value and returns the value as the search uses it."""
    return field(default=default, metadata={"check": check})


# So many rows of one input, as beams or results, at most: each needs its own cache.
MOST_ROWS = 65_536

# So many tokens that are tried at a step at most: the scores of each need memory.
MOST_CANDIDATES = 256


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """Checked options, under transformers' names and with the defaults of its ``generate`` (5.24).

    Make one with :func:`edgepipe.generation.config_sources.generation_config`.

    Attributes:
        max_length: Longest sequence in tokens: the prompt and what follows, or all that an encoder-decoder's decoder
            reads and writes. None for 20 tokens after the prompt.
        max_new_tokens: Most tokens to generate; goes before `max_length`.
        min_length: No sequence ends before it has as many tokens, counted like `max_length`.
        min_new_tokens: No sequence ends before as many new tokens; goes before `min_length`.
        max_time: Seconds after which no further token is begun.
        stop_strings: Texts that end a sequence.
        do_sample: Whether tokens are drawn; the likeliest are taken otherwise.
        seed: Makes draws repeatable; None for other tokens at each call. transformers has ``set_seed`` instead.
        num_return_sequences: How many sequences to return for each input.
        num_beams: Width of the beam search; 1 for none.
        early_stopping: Whether a search ends with as many finished beams as it has ("never": only where no better
            one can come).
        length_penalty: Exponent of the length by which a beam's score is divided.
        num_beam_groups: Groups of beams that are kept apart.
        diversity_penalty: What a token loses for each beam of an earlier group that has just taken it.
        temperature: What scores are divided by before a draw.
        top_k: Draw among as many of the likeliest tokens; 0 for all.
        top_p: Draw among the fewest of the likeliest tokens with this probability together.
        min_p: Draw among tokens at least this fraction as likely as the likeliest.
        top_h: Draw among the likeliest tokens that hold this fraction of the entropy.
        typical_p: Draw among the tokens nearest to the expected information, with this probability together.
        epsilon_cutoff: Draw among tokens at least this likely.
        eta_cutoff: The same, with a bound that falls as the entropy grows.
        repetition_penalty: What the scores of tokens that have occurred are divided by (multiplied, if negative).
        encoder_repetition_penalty: The same in reverse for the tokens of the input.
        no_repeat_ngram_size: No run of as many tokens occurs twice.
        encoder_no_repeat_ngram_size: No run of as many tokens of the input occurs.
        bad_words_ids: Runs of tokens that do not occur.
        sequence_bias: What is added to the score of each run of tokens.
        exponential_decay_length_penalty: After how many new tokens the end becomes likelier, and by which factor.
        prefix_allowed_tokens_fn: A function of an input's place in its batch and of its tokens so far, int64[length];
            it returns the tokens that may come next.
        guidance_scale: How far scores are driven away from those without the prompt (classifier-free guidance); 1 for
            not at all. Not for encoder-decoders.
        negative_prompt_ids: The prompt to be driven away from, as token ids; by default the last token of the prompt.
        logits_processor: Functions of the tokens so far, int64[rows, length], and the scores of what may follow,
            float32[rows, vocabulary], each of which returns new scores; after the other processors.
        stopping_criteria: Functions of the tokens, int64[rows, length], and None, each of which says whether a row
            ends, bool[rows], or True or False for all.
        watermarking_config: A ``WatermarkingConfig`` or ``SynthIDTextWatermarkingConfig`` of transformers, or a dict.
        forced_bos_token_id: The token after the first.
        forced_eos_token_id: The last token at `max_length`, one of these.
        suppress_tokens: Tokens that do not occur.
        begin_suppress_tokens: Tokens that do not occur first.
        remove_invalid_values: Whether NaN and infinite scores are replaced by finite ones.
        renormalize_logits: Whether scores are made logarithms of probabilities after all the above.
        pad_token_id: The token that fills up shorter rows.
        bos_token_id: The token that texts begin with.
        eos_token_id: The tokens that end a sequence.
        decoder_start_token_id: What an encoder-decoder's decoder starts with; one for all rows, or one for each.
        json_schema: The text is JSON that this schema describes, which is JSON itself.
        regex: The whole text matches this regular expression.
        choices: The text is one of these.
        constraint: The last three as the search uses them; no option itself.
        prompt_lookup_num_tokens: How many tokens a step tries at most that came behind the last ones before; None for
            none. It changes no token.
        max_matching_ngram_size: How many of the last tokens are looked up at most.
        num_assistant_tokens: How many tokens an assistant writes ahead at most.
        assistant_confidence_threshold: An assistant stops before a token that it takes for less likely than that.
        kv_cache_memory_bytes: The most that keys and values of a batch may take; None for what is free. What needs more
            is refused before the first token.
    """

    max_length: int | None = _option(None, validation.whole(1))
    max_new_tokens: int | None = _option(None, validation.whole(1))
    min_length: int = _option(0, validation.whole(0))
    min_new_tokens: int | None = _option(None, validation.whole(0))
    max_time: float | None = _option(None, validation.number(above=0.0))
    stop_strings: tuple[str, ...] = _option((), validation.strings)
    do_sample: bool = _option(False, check_flag)
    seed: int | None = _option(None, validation.whole(0))
    num_return_sequences: int = _option(1, validation.whole(1, MOST_ROWS))
    num_beams: int = _option(1, validation.whole(1, MOST_ROWS))
    early_stopping: bool | str = _option(False, validation.early_stopping)
    length_penalty: float = _option(1.0, validation.number())
    num_beam_groups: int = _option(1, validation.whole(1, MOST_ROWS))
    diversity_penalty: float = _option(0.0, validation.number(0.0))
    temperature: float = _option(1.0, validation.temperature)
    top_k: int = _option(50, validation.whole(0))
    top_p: float = _option(1.0, validation.number(0.0, 1.0))
    min_p: float | None = _option(None, validation.number(0.0, 1.0))
    top_h: float | None = _option(None, validation.number(most=1.0, above=0.0))
    typical_p: float = _option(1.0, validation.number(most=1.0, above=0.0))
    epsilon_cutoff: float = _option(0.0, validation.number(0.0, 1.0))
    eta_cutoff: float = _option(0.0, validation.number(0.0, 1.0))
    repetition_penalty: float = _option(1.0, validation.number(above=0.0))
    encoder_repetition_penalty: float = _option(1.0, validation.number(above=0.0))
    no_repeat_ngram_size: int = _option(0, validation.whole(0))
    encoder_no_repeat_ngram_size: int = _option(0, validation.whole(0))
    bad_words_ids: tuple[tuple[int, ...], ...] = _option((), validation.bad_words)
    sequence_bias: tuple[tuple[tuple[int, ...], float], ...] = _option((), validation.sequence_bias)
    exponential_decay_length_penalty: tuple[int, float] | None = _option(None, validation.decay)
    prefix_allowed_tokens_fn: Callable[..., Any] | None = _option(None, validation.function)  # noqa: RUF009 - a field
    guidance_scale: float = _option(1.0, validation.number())
    negative_prompt_ids: tuple[int, ...] = _option((), validation.prompt_ids)
    logits_processor: tuple[Callable[..., Any], ...] = _option((), validation.functions)
    stopping_criteria: tuple[Callable[..., Any], ...] = _option((), validation.functions)
    watermarking_config: Watermark | None = _option(None, check_watermark)  # noqa: RUF009 - a field
    forced_bos_token_id: int | None = _option(None, validation.token_id)
    forced_eos_token_id: tuple[int, ...] = _option((), validation.ids)
    suppress_tokens: tuple[int, ...] = _option((), validation.ids)
    begin_suppress_tokens: tuple[int, ...] = _option((), validation.ids)
    remove_invalid_values: bool = _option(False, check_flag)
    renormalize_logits: bool = _option(False, check_flag)
    pad_token_id: int | None = _option(None, validation.token_id)
    bos_token_id: int | None = _option(None, validation.token_id)
    eos_token_id: tuple[int, ...] = _option((), validation.eos_ids)
    decoder_start_token_id: tuple[int, ...] = _option((), validation.ids)
    json_schema: str | None = _option(None, validation.json_schema)
    regex: str | None = _option(None, validation.regex)
    choices: tuple[str, ...] = _option((), validation.choices)
    constraint: Constraint | None = None
    prompt_lookup_num_tokens: int | None = _option(None, validation.whole(1, MOST_CANDIDATES))
    max_matching_ngram_size: int = _option(2, validation.whole(1))
    num_assistant_tokens: int = _option(20, validation.whole(1, MOST_CANDIDATES))
    assistant_confidence_threshold: float = _option(0.4, validation.number(0.0, 1.0))
    kv_cache_memory_bytes: int | None = _option(None, validation.whole(1))


# What each option is where nobody says otherwise, and what its value may be.
DEFAULTS: Mapping[str, Any] = {each.name: each.default for each in fields(GenerationConfig)}
CHECKS: Mapping[str, Check] = {
    each.name: each.metadata["check"] for each in fields(GenerationConfig) if "check" in each.metadata
}

# These matter only where tokens are drawn.
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")
