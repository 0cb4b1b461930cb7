"""What is wrong with options, each for itself right: unknown ones and contradictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepipe.arguments import did_you_mean
from edgepipe.caller_warnings import warn
from edgepipe.errors import InputError
from edgepipe.generation.config import CHECKS, DEFAULTS, SAMPLING, GenerationConfig
from edgepipe.generation.decoder_protocol import Decoder
from edgepipe.generation.generate_options import UNSUPPORTED_OPTIONS
from edgepipe.generation.logits.watermark_config import SynthIDTextWatermarkingConfig

# Types that cannot be called as transformers' guidance calls a model.
_NEVER_GUIDED = ("flaubert", "reformer", "xlm", "xlnet")


def check_names(options: Mapping[str, Any]) -> None:
    """Refuse names that are no options.

    Raises:
        InputError: there is one; the message has the nearest option.
    """
    for name in options:
        if name not in CHECKS and name not in UNSUPPORTED_OPTIONS:
            raise InputError(f"generation has no option {name!r}{did_you_mean(name, CHECKS)}")


def check_agreement(config: GenerationConfig, options: Mapping[str, Any], decoder: Decoder) -> None:
    """Refuse options that contradict each other, and warn of those that lose against another.

    Args:
        config: All options.
        options: Those of the call: of what a checkpoint sets and a call does not want nobody is warned.
        decoder: The loaded graphs.

    Raises:
        InputError: two options cannot both be followed.
    """
    for wrong, message in (
        (
            config.num_return_sequences > 1 and config.num_beams == 1 and not config.do_sample,
            f"num_return_sequences={config.num_return_sequences} contradicts num_beams=1 and do_sample=False, which "
            "give one sequence; pass do_sample=True or more beams",
        ),
        (
            1 < config.num_beams < config.num_return_sequences,
            f"num_return_sequences={config.num_return_sequences} contradicts num_beams={config.num_beams}: there are "
            "no more sequences than beams",
        ),
        (
            config.num_beam_groups > config.num_beams or config.num_beams % config.num_beam_groups != 0,
            f"num_beam_groups={config.num_beam_groups} contradicts num_beams={config.num_beams}, which must be a "
            "multiple of it",
        ),
        (
            config.num_beam_groups > 1 and config.do_sample,
            f"num_beam_groups={config.num_beam_groups} contradicts do_sample=True: groups of beams are not sampled",
        ),
        (
            config.num_beam_groups > 1 and config.diversity_penalty == 0.0,
            f"num_beam_groups={config.num_beam_groups} contradicts diversity_penalty=0.0, with which all groups find "
            "the same; pass a diversity_penalty above 0",
        ),
        (
            config.num_beam_groups == 1 and config.diversity_penalty > 0.0 and "diversity_penalty" in options,
            f"diversity_penalty={config.diversity_penalty} contradicts num_beam_groups=1; pass more groups",
        ),
        (
            _both(options, "min_new_tokens", "max_new_tokens")
            and (config.min_new_tokens or 0) > (config.max_new_tokens or 0),
            f"min_new_tokens={config.min_new_tokens} contradicts max_new_tokens={config.max_new_tokens}",
        ),
        (
            _both(options, "min_length", "max_length") and config.min_length > (config.max_length or 0),
            f"min_length={config.min_length} contradicts max_length={config.max_length}",
        ),
        (
            config.forced_bos_token_id in config.suppress_tokens,
            f"forced_bos_token_id={config.forced_bos_token_id} contradicts suppress_tokens, which has it",
        ),
        (
            bool(config.forced_eos_token_id) and set(config.forced_eos_token_id) <= set(config.suppress_tokens),
            f"forced_eos_token_id={list(config.forced_eos_token_id)} contradicts suppress_tokens, which has all of it",
        ),
        (
            config.exponential_decay_length_penalty is not None and not config.eos_token_id,
            "exponential_decay_length_penalty contradicts eos_token_id=None: it makes a token likelier that there is "
            "not; pass eos_token_id",
        ),
        (
            config.guidance_scale != 1.0
            and (decoder.is_encoder_decoder or decoder.config.get("model_type") in _NEVER_GUIDED),
            f"guidance_scale={config.guidance_scale} contradicts a model of this kind, which transformers itself "
            "cannot ask for scores without the prompt; pass guidance_scale=None",
        ),
        (
            config.guidance_scale != 1.0 and config.num_beam_groups > 1,
            f"guidance_scale={config.guidance_scale} contradicts num_beam_groups={config.num_beam_groups}: groups of "
            "beams are not guided",
        ),
        (
            config.num_beams > 1 and isinstance(config.watermarking_config, SynthIDTextWatermarkingConfig),
            f"a watermark of SynthID contradicts num_beams={config.num_beams}: transformers itself mixes up what the "
            "beams have had; pass num_beams=1",
        ),
        (
            options.get("prompt_lookup_num_tokens") is not None and config.num_beams > 1,
            f"prompt_lookup_num_tokens={config.prompt_lookup_num_tokens} contradicts num_beams={config.num_beams}: "
            "beams do not look ahead; pass num_beams=1, or leave it out",
        ),
        (
            options.get("prompt_lookup_num_tokens") is not None and config.num_return_sequences > 1,
            f"prompt_lookup_num_tokens={config.prompt_lookup_num_tokens} contradicts "
            f"num_return_sequences={config.num_return_sequences}: one sequence looks ahead at a time; ask for one, or "
            "leave it out",
        ),
        (
            decoder.is_encoder_decoder and not config.decoder_start_token_id,
            "the checkpoint does not say what its decoder starts with; pass decoder_start_token_id",
        ),
    ):
        if wrong:
            raise InputError(message)
    _check_forms(config, decoder)
    _warn(config, options)


def _check_forms(config: GenerationConfig, decoder: Decoder) -> None:
    """Refuse what a text that is held to a form excludes.

    Raises:
        InputError: it is held to two, or the model has an encoder.
    """
    forms = [name for name in ("json_schema", "regex", "choices") if getattr(config, name) != DEFAULTS[name]]
    if len(forms) > 1:
        raise InputError(f"{' and '.join(forms)} exclude each other: a text is held to one form; pass one of them")
    if forms and decoder.is_encoder_decoder:
        raise InputError(f"{forms[0]} is for text-generation, and this model has an encoder; leave it out")


def _warn(config: GenerationConfig, options: Mapping[str, Any]) -> None:
    if _both(options, "max_length", "max_new_tokens"):
        warn(f"max_new_tokens={config.max_new_tokens} goes before max_length={config.max_length}")
    if _both(options, "min_length", "min_new_tokens"):
        warn(f"min_new_tokens={config.min_new_tokens} goes before min_length={config.min_length}")
    if config.negative_prompt_ids and config.guidance_scale == 1.0:
        warn("negative_prompt_ids has no effect with guidance_scale=1; pass another")
    if not config.do_sample:
        for name in SAMPLING:
            if options.get(name) is not None and getattr(config, name) != DEFAULTS[name]:
                warn(f"{name}={options[name]!r} has no effect with do_sample=False; pass do_sample=True")
    if options.get("max_matching_ngram_size") is not None and config.prompt_lookup_num_tokens is None:
        warn(f"max_matching_ngram_size={config.max_matching_ngram_size} has no effect; pass prompt_lookup_num_tokens")
    if config.num_beams == 1:
        for name in ("early_stopping", "length_penalty"):
            if options.get(name) is not None and getattr(config, name) != DEFAULTS[name]:
                warn(f"{name}={options[name]!r} has no effect with num_beams=1; pass more")


def _both(options: Mapping[str, Any], first: str, second: str) -> bool:
    return options.get(first) is not None and options.get(second) is not None
