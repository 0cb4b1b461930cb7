"""The options of generation: their names, their defaults, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgepipe.generation import validation as checks
from edgepipe.generation.validation import Check


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """Checked options, under transformers' names and with the defaults of its ``generate`` (5.23).

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
    """

    max_length: int | None = None
    max_new_tokens: int | None = None
    min_length: int = 0
    min_new_tokens: int | None = None
    max_time: float | None = None
    stop_strings: tuple[str, ...] = ()
    do_sample: bool = False
    seed: int | None = None
    num_return_sequences: int = 1
    num_beams: int = 1
    early_stopping: bool | str = False
    length_penalty: float = 1.0
    num_beam_groups: int = 1
    diversity_penalty: float = 0.0
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float | None = None
    top_h: float | None = None
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    repetition_penalty: float = 1.0
    encoder_repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    bad_words_ids: tuple[tuple[int, ...], ...] = ()
    sequence_bias: tuple[tuple[tuple[int, ...], float], ...] = ()
    exponential_decay_length_penalty: tuple[int, float] | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: tuple[int, ...] = ()
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()
    remove_invalid_values: bool = False
    renormalize_logits: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: tuple[int, ...] = ()
    decoder_start_token_id: tuple[int, ...] = ()


CHECKS: Mapping[str, Check] = {
    "max_length": checks.whole(1),
    "max_new_tokens": checks.whole(1),
    "min_length": checks.whole(0),
    "min_new_tokens": checks.whole(0),
    "max_time": checks.number(above=0.0),
    "stop_strings": checks.strings,
    "do_sample": checks.flag,
    "seed": checks.whole(0),
    "num_return_sequences": checks.whole(1),
    "num_beams": checks.whole(1),
    "early_stopping": checks.early_stopping,
    "length_penalty": checks.number(),
    "num_beam_groups": checks.whole(1),
    "diversity_penalty": checks.number(0.0),
    "temperature": checks.temperature,
    "top_k": checks.whole(0),
    "top_p": checks.number(0.0, 1.0),
    "min_p": checks.number(0.0, 1.0),
    "top_h": checks.number(most=1.0, above=0.0),
    "typical_p": checks.number(most=1.0, above=0.0),
    "epsilon_cutoff": checks.number(0.0, 1.0),
    "eta_cutoff": checks.number(0.0, 1.0),
    "repetition_penalty": checks.number(above=0.0),
    "encoder_repetition_penalty": checks.number(above=0.0),
    "no_repeat_ngram_size": checks.whole(0),
    "encoder_no_repeat_ngram_size": checks.whole(0),
    "bad_words_ids": checks.bad_words,
    "sequence_bias": checks.sequence_bias,
    "exponential_decay_length_penalty": checks.decay,
    "forced_bos_token_id": checks.whole(0),
    "forced_eos_token_id": checks.ids,
    "suppress_tokens": checks.ids,
    "begin_suppress_tokens": checks.ids,
    "remove_invalid_values": checks.flag,
    "renormalize_logits": checks.flag,
    "pad_token_id": checks.whole(0),
    "bos_token_id": checks.whole(0),
    "eos_token_id": checks.eos_ids,
    "decoder_start_token_id": checks.ids,
}

# These matter only where tokens are drawn.
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")
