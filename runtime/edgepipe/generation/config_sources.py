"""Where the values of options come from: the checkpoint, the task, a ``generation_config``, the call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from edgepipe.arguments import drop_reference_options, is_whole
from edgepipe.errors import BundleError, InputError
from edgepipe.generation.config import CHECKS, DEFAULTS, SAMPLING, GenerationConfig
from edgepipe.generation.conflicts import check_agreement, check_names
from edgepipe.generation.decoder_protocol import Decoder
from edgepipe.generation.generate_options import GENERATE_OPTIONS, UNSUPPORTED_OPTIONS
from edgepipe.generation.logits.constraints.constraint import GRAMMARS, build_constraint
from edgepipe.generation.logits.constraints.constraint_processor import find_ends
from edgepipe.tokenization.tokenizer import Tokenizer

_NOTHING: Mapping[str, Any] = MappingProxyType({})
# How many rows of one input a checkpoint may ask for by itself.
_MOST_ROWS = 1024
# What the caller decides, and no file that comes with a model.
_OF_THE_CALL = ("kv_cache_memory_bytes",)
# None in place of a value switches an option off. For these that is not their default.
_OFF: Mapping[str, Any] = {"top_k": 0}
# Configs of parts of a model in which transformers looks for what config.json itself does not set.
_PARTS = ("decoder", "generator", "text_config")


def generation_config(
    decoder: Decoder,
    task_params: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    tokenizer: Tokenizer | None = None,
    defaults: Mapping[str, Any] = _NOTHING,
    given: Mapping[str, Any] = _NOTHING,
) -> GenerationConfig:
    """Gather the options of a call, the last of these that has one winning.

    `defaults`, the checkpoint's own (see :func:`checkpoint_options`), `task_params`, `given`, `options`.

    Args:
        decoder: The loaded graphs.
        task_params: What ``task_specific_params`` of ``config.json`` has for the task; names that are no options
            (``prefix``) are left alone.
        options: What was passed to the call. None switches an option off.
        tokenizer: Its padding token is taken where nothing else names one.
        defaults: What a pipeline sets unless someone else does, as transformers 5's pipelines do it: a default for
            `max_new_tokens` gives way to any `max_length`, and those for sampling go where nothing is sampled.
        given: What a ``generation_config`` of the caller's says (see :func:`read_generation_config`).

    Raises:
        BundleError: the checkpoint asks for more than 1024 rows of one input.
        InputError: an option that there is not, a value that it cannot have, or two that contradict each other.
    """
    options = dict(given) | drop_reference_options(options, GENERATE_OPTIONS)
    check_names(options)
    merged = checkpoint_options(decoder) | dict(task_params) | options
    _check_rows(merged, options)
    merged = drop_reference_options(merged, UNSUPPORTED_OPTIONS)
    added = {name: value for name, value in defaults.items() if name not in merged}
    if "max_length" in merged:
        added.pop("max_new_tokens", None)
    merged = added | merged
    if merged.get("do_sample") is not True:  # what is neither True nor False is refused below
        merged = {name: value for name, value in merged.items() if name not in SAMPLING or name not in added}
    values = {
        name: _OFF.get(name, DEFAULTS[name]) if merged[name] is None else check(name, merged[name])
        for name, check in CHECKS.items()
        if name in merged
    }
    if values.get("pad_token_id") is None:
        values["pad_token_id"] = _pad_token_id(values.get("eos_token_id", ()), tokenizer)
    if "decoder_start_token_id" not in values and values.get("bos_token_id") is not None:
        values["decoder_start_token_id"] = (values["bos_token_id"],)
    config = GenerationConfig(**values)
    check_agreement(config, options, decoder)
    return _with_constraint(config, tokenizer)


def _with_constraint(config: GenerationConfig, tokenizer: Tokenizer | None) -> GenerationConfig:
    """The options with what a text is held to, ready to use.

    Raises:
        DependencyError: llguidance is not installed.
        InputError: no text can be held to it.
    """
    option = next((name for name in GRAMMARS if getattr(config, name) != DEFAULTS[name]), None)
    if option is None:
        return config
    if tokenizer is None:
        raise InputError(f"{option} needs the model's tokenizer; pass tokenizer")
    constraint = build_constraint(option, getattr(config, option), tokenizer)
    find_ends(constraint, config)
    return replace(config, constraint=constraint)


def read_generation_config(given: Any) -> dict[str, Any]:
    """The options that a ``generation_config`` of the caller's sets.

    Args:
        given: A ``GenerationConfig`` of transformers, a dict, or None.

    Raises:
        InputError: it is something else, or has an option that is missing here.
    """
    found = given.to_diff_dict() if hasattr(given, "to_diff_dict") else {} if given is None else given
    if not isinstance(found, Mapping):
        raise InputError(f"generation_config must be a GenerationConfig of transformers or a dict, got {given!r:.80}")
    said = {name: value for name, value in found.items() if value is not None and not name.startswith("_")}
    said.pop("transformers_version", None)
    return drop_reference_options(said, GENERATE_OPTIONS)


def checkpoint_options(decoder: Decoder) -> dict[str, Any]:
    """The options that a checkpoint sets: ``generation_config.json``, or without one what ``config.json`` has of them.

    Values of None, which set nothing, are left out; names that are no options stay in.
    """
    found = {
        name: value
        for name, value in decoder.generation_config.items()
        if value is not None and name not in _OF_THE_CALL
    }
    if found:
        return found
    names = CHECKS.keys() - set(_OF_THE_CALL)
    found = {name: decoder.config[name] for name in names if decoder.config.get(name) is not None}
    if decoder.config.get("force_bos_token_to_be_generated") and "bos_token_id" in found:
        found["forced_bos_token_id"] = found["bos_token_id"]
    part = next((decoder.config[name] for name in _PARTS if decoder.config.get(name)), _NOTHING)
    inner = {name: part[name] for name in names if isinstance(part, Mapping) and part.get(name) is not None}
    return inner | found


def _check_rows(options: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that asks for so many rows that one short text fills the memory.

    Raises:
        BundleError: it does.
    """
    for name in ("num_beams", "num_beam_groups", "num_return_sequences"):
        if name not in given and is_whole(options.get(name), _MOST_ROWS + 1):
            raise BundleError(
                f"the bundle's generation config has {name}={options[name]:.3g}, more than {_MOST_ROWS}: each needs "
                f"memory of its own; pass {name}= with the call if you want that many, and correct the file"
            )


def _pad_token_id(eos_token_id: tuple[int, ...], tokenizer: Tokenizer | None) -> int | None:
    if tokenizer is not None and tokenizer.pad_token_id is not None:
        return tokenizer.pad_token_id
    return eos_token_id[0] if eos_token_id else None
