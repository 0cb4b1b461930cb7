"""Checks of arguments, written once: whole numbers, numbers, truth values, names that may be misspelt, and options of
transformers that have no use here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, TypeGuard

from edgepipe.errors import InputError


def is_whole(value: Any, least: int = 0) -> TypeGuard[int]:
    """Whether `value` is a whole number of at least `least`, numpy's too; True and False are none."""
    # `type(value) is int` first: abstract classes are slow, and this is asked at every call.
    whole = type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))
    return whole and bool(value >= least)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether `value` is a finite number, numpy's too; True and False are none."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number with more than 308 digits
        return False


def is_one_of(value: Any, choices: Iterable[str | bool | None]) -> bool:
    """Whether `value` is one of some texts, truth values or None; no array is, and no number is a truth value."""
    return any(value is each or (isinstance(value, str) and value == each) for each in choices)


def check_whole(name: str, value: Any, least: int) -> int:
    """A whole number of at least `least`.

    Raises:
        InputError: `value` is something else.
    """
    if not is_whole(value, least):
        raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """A truth value; no text or number stands in for one.

    Raises:
        InputError: `value` is something else.
    """
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, got {value!r}")
    return value


def nearest_name(name: Any, names: Iterable[str]) -> str | None:
    """The name that was probably meant, None where none is near."""
    import difflib  # not at the top: it costs every start, for an error

    return next(iter(difflib.get_close_matches(str(name), list(names), n=1)), None)


def did_you_mean(name: Any, names: Iterable[str]) -> str:
    """``"; did you mean 'top_k'?"`` to end an error message with; empty where no name is near."""
    near = nearest_name(name, names)
    return f"; did you mean {near!r}?" if near else ""


@dataclass(frozen=True, slots=True)
class ReferenceOption:
    """An option of transformers that has no use here.

    Attributes:
        changes_nothing: Whether a value changes no result here, so that it is taken.
        advice: What to do where it would; it ends the message.
    """

    changes_nothing: Callable[[Any], bool]
    advice: str


def drop_reference_options(options: Mapping[str, Any], table: Mapping[str, ReferenceOption]) -> dict[str, Any]:
    """The options that are not in a table of those of transformers.

    Raises:
        InputError: one that is there would change something.
    """
    for name, value in options.items():
        if name in table and not table[name].changes_nothing(value):
            raise InputError(f"{name}={value!r:.80} is not taken: {table[name].advice}")
    return {name: value for name, value in options.items() if name not in table}


def is_none(value: Any) -> bool:
    """Whether an option was left at None."""
    return value is None


def is_off(value: Any) -> bool:
    """Whether an option is None or False."""
    return value is None or value is False


def is_flag(value: Any) -> bool:
    """Whether an option is True, False or None."""
    return value is None or isinstance(value, bool)


def is_count(value: Any) -> bool:
    """Whether an option is a whole number of at least 0, or None."""
    return value is None or is_whole(value)


def is_any(value: Any) -> bool:
    """Whatever it is."""
    return True
