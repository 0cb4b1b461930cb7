"""What a value of each option may be, and the form in which the search uses it.

A check takes an option's name and its value and returns the value in that form.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from edgepipe.arguments import check_whole, is_number, is_one_of, is_whole
from edgepipe.errors import InputError, first_line

Check = Callable[[str, Any], Any]

# The ids of tokens have 32 bits.
_LARGEST_ID = 2**31 - 1


def whole(least: int, most: int = 2**63 - 1) -> Check:
    """A whole number from `least` to `most`."""

    def check(name: str, value: Any) -> int:
        found = check_whole(name, value, least)
        if found > most:
            shown = f"{found:.3g}" if found < 10**300 else "more than 1e+300"  # which no float can be
            raise InputError(f"{name} is {shown}, and can be {most:.3g} at most")
        return found

    return check


def token_id(name: str, value: Any) -> int:
    """A token id."""
    found: int = whole(0, _LARGEST_ID)(name, value)
    return found


def _is_id(value: Any) -> bool:
    return is_whole(value) and bool(value <= _LARGEST_ID)


def number(least: float = -math.inf, most: float = math.inf, *, above: float = -math.inf) -> Check:
    """A finite number from `least` to `most`, and more than `above`."""

    def check(name: str, value: Any) -> float:
        if not is_number(value):
            raise InputError(f"{name} must be a number, got {value!r}")
        found = float(value)
        if not least <= found <= most or found <= above:
            bounds = [
                f"more than {above:g}" if math.isfinite(above) else "",
                f"at least {least:g}" if math.isfinite(least) else "",
                f"at most {most:g}" if math.isfinite(most) else "",
            ]
            raise InputError(f"{name} must be {' and '.join(filter(None, bounds))}, got {value!r}")
        return found

    return check


def early_stopping(name: str, value: Any) -> bool | str:
    """True, False or "never"."""
    if not is_one_of(value, (True, False, "never")):
        raise InputError(f"{name} must be True, False or 'never', got {value!r}")
    return bool(value) if isinstance(value, bool) else "never"


def temperature(name: str, value: Any) -> float:
    """A number above 0."""
    if is_number(value) and value == 0:
        raise InputError(f"{name} must be more than 0, got {value!r}; pass do_sample=False for the likeliest tokens")
    return float(number(above=0.0)(name, value))


def ids(name: str, value: Any) -> tuple[int, ...]:
    """A token id or several."""
    values = [value] if isinstance(value, Integral) else value
    if not isinstance(values, (list, tuple)) or not all(map(_is_id, values)):
        raise InputError(f"{name} must be a token id or a list of token ids, got {value!r}")
    return tuple(map(int, values))


def eos_ids(name: str, value: Any) -> tuple[int, ...]:
    """As `ids`, but a negative number means that no token ends a text: some checkpoints have -1."""
    values = [value] if isinstance(value, Integral) else value
    if isinstance(values, (list, tuple)) and all(isinstance(each, Integral) for each in values):
        values = [each for each in values if each >= 0]
    return ids(name, values)


def prompt_ids(name: str, value: Any) -> tuple[int, ...]:
    """The token ids of one prompt, as a list or as an array or tensor of one row."""
    try:
        rows = np.asarray(value)
    except ValueError:  # rows of different lengths
        rows = np.empty(0)
    if rows.dtype.kind not in "iu" or not rows.size or rows.ndim not in (1, 2) or (rows.ndim == 2 and len(rows) > 1):
        raise InputError(f"{name} must be the token ids of one prompt, at least one, got {value!r:.80}")
    return ids(name, rows.ravel().tolist())


def function(name: str, value: Any) -> Callable[..., Any]:
    """A function."""
    if not callable(value):
        raise InputError(f"{name} must be a function, got {value!r:.80}")
    found: Callable[..., Any] = value
    return found


def functions(name: str, value: Any) -> tuple[Callable[..., Any], ...]:
    """A list of functions."""
    if not isinstance(value, (list, tuple)) or not all(map(callable, value)):
        raise InputError(f"{name} must be a list of functions, got {value!r:.80}")
    return tuple(value)


def strings(name: str, value: Any) -> tuple[str, ...]:
    """A text or several, none of them empty."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)) or not all(isinstance(each, str) and each for each in values):
        raise InputError(f"{name} must be a text or a list of texts, none of them empty, got {value!r}")
    _check_unicode(name, *values)
    return tuple(values)


def _check_unicode(name: str, *texts: str) -> None:
    for text in texts:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise InputError(f"{name} holds a lone surrogate, which is not valid Unicode: {text!r:.80}")


def json_schema(name: str, value: Any) -> str:
    """A JSON schema as JSON: of a dict, a truth value, JSON, or a class with ``model_json_schema`` (pydantic's)."""
    if hasattr(value, "model_json_schema"):
        value = value.model_json_schema()
    try:
        schema = json.loads(value) if isinstance(value, str) else value
        found = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{name} must be a JSON schema, and this is no JSON ({first_line(error)})") from error
    if not isinstance(schema, (dict, bool)):
        raise InputError(f"{name} must be a JSON schema, which is an object, got {value!r:.80}")
    return found


def regex(name: str, value: Any) -> str:
    """A regular expression."""
    if not isinstance(value, str):
        raise InputError(f"{name} must be a regular expression as a text, got {value!r:.80}")
    _check_unicode(name, value)
    return value


def choices(name: str, value: Any) -> tuple[str, ...]:
    """A list of texts, none of them empty."""
    if isinstance(value, str) or not value:
        raise InputError(f"{name} must be a list of texts, at least one, got {value!r:.80}")
    return strings(name, value)


def bad_words(name: str, value: Any) -> tuple[tuple[int, ...], ...]:
    """A list of lists of token ids."""
    if not isinstance(value, (list, tuple)) or not value or not all(map(_is_sequence_of_ids, value)):
        raise InputError(f"{name} must be a list of lists of token ids, none of them empty, got {value!r}")
    return tuple(tuple(map(int, sequence)) for sequence in value)


def sequence_bias(name: str, value: Any) -> tuple[tuple[tuple[int, ...], float], ...]:
    """A dict from tuples of token ids to numbers, or a list of pairs of such."""
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, (list, tuple)) or not pairs or not all(map(_is_bias, pairs)):
        raise InputError(
            f"{name} must be a dict of (token ids): number, or a list of [[token ids], number], got {value!r}"
        )
    return tuple((tuple(map(int, sequence)), float(bias)) for sequence, bias in pairs)


def decay(name: str, value: Any) -> tuple[int, float]:
    """A pair of the number of tokens after which it starts, and the factor."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise InputError(f"{name} must be a pair (number of tokens, factor), got {value!r}")
    return whole(0)(f"{name}[0]", value[0]), number(above=0.0)(f"{name}[1]", value[1])


def _is_sequence_of_ids(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and bool(value) and all(map(_is_id, value))


def _is_bias(pair: Any) -> bool:
    is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
    return is_pair and _is_sequence_of_ids(pair[0]) and isinstance(pair[1], Real) and not isinstance(pair[1], bool)
