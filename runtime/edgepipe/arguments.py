"""Checks of arguments, written once: whole numbers, numbers, truth values, and names that may be misspelt."""

from __future__ import annotations

import math
from collections.abc import Iterable
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
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


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
