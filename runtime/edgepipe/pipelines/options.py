"""The tokenizer's keyword arguments as options of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, TypeVar

from edgepipe.arguments import check_flag, did_you_mean, is_one_of
from edgepipe.errors import InputError
from edgepipe.tokenization.tokenizer import Tokenizer

FlagOrNone = TypeVar("FlagOrNone", bool, None)

# What a task sets itself: the texts, and the form of the arrays.
_NOT_OPTIONS = {
    "self",
    "text",
    "text_pair",
    "return_tensors",
    "is_split_into_words",
    "return_overflowing_tokens",
}


def check_options(options: Mapping[str, Any], known: Sequence[str], task: str) -> None:
    """Refuse options that a task does not have.

    Raises:
        InputError: an option is not among `known`; the message has the nearest that is.
    """
    for name in options:
        if name not in known:
            raise InputError(f"{task} has no option {name!r}{did_you_mean(name, known)}")


def get_flag(options: Mapping[str, Any], name: str, default: FlagOrNone) -> bool | FlagOrNone:
    """An option that is True or False; `default` where it is None or missing.

    Raises:
        InputError: it is something else.
    """
    value = options.get(name)
    return default if value is None else check_flag(name, value)


def return_type_name(value: Any, names: Sequence[str]) -> str | None:
    """The name of a ``ReturnType`` of transformers, which no other value is; None for None.

    Raises:
        InputError: it is something else.
    """
    if value is None:
        return None
    name = getattr(value, "name", value)
    if not is_one_of(name, names):
        raise InputError(f"return_type must be a ReturnType of transformers ({', '.join(names)}), got {value!r:.60}")
    return str(name)


def check_text(item: Any, hint: str = "") -> str:
    """An input that must be a text; `hint` ends the message.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(item, str):
        raise InputError(f"expected a text, got {type(item).__name__} {item!r:.60}{hint}")
    return item


def check_tokenizer_arguments(name: str, value: Any) -> Mapping[str, Any]:
    """An option that holds keyword arguments of the tokenizer; none where it is None.

    Raises:
        InputError: it is no dict.
    """
    if value is not None and not isinstance(value, Mapping):
        raise InputError(f"{name} must be a dict of the tokenizer's arguments, got {value!r:.60}")
    return value or {}


def min_limit(*limits: int | None) -> int | None:
    """The smallest of limits, None where there is none."""
    return min((limit for limit in limits if limit is not None), default=None)


def build_tokenizer_options(
    options: Mapping[str, Any], tokenizer: Tokenizer, limit: int | None, task: str, own: Sequence[str] = ()
) -> Mapping[str, Any]:
    """Check options meant for the tokenizer, and keep texts within what the graph accepts.

    Args:
        options: What is left of the caller's options once the task took its own.
        tokenizer: The bundle's tokenizer.
        limit: Longest input in tokens that the graph accepts; None where it has no limit. Longer texts are truncated
            unless ``truncation=False`` is among the options.
        task: Name of the task, for the message.
        own: The task's own options, for the message.

    Raises:
        InputError: an option that neither the task nor the tokenizer has.
    """
    if options:
        known = [name for name in signature(type(tokenizer).__call__).parameters if name not in _NOT_OPTIONS]
        check_options(options, [*own, *known], task)
    if limit is None or is_one_of(options.get("truncation", True), (False, "do_not_truncate")):
        return options
    wanted = options.get("max_length")
    if wanted is None and "truncation" in options:
        wanted = tokenizer.model_max_length
    if wanted is None:
        wanted = limit
    longest = min(limit, wanted) if isinstance(wanted, int) else wanted  # the tokenizer refuses what is no number
    return {"truncation": True, **options, "max_length": longest}
