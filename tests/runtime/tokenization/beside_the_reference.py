"""Calls of a tokenizer and of its counterpart in transformers."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgepipe.errors import InputError


def attempt(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result, or the exception; a Rust panic is a BaseException."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(*args, **kwargs)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return error


def find_difference(reference: Any, expected: Any, actual: Any, options: Mapping[str, Any]) -> str | None:
    """How what our tokenizer gave, or raised, is not what that of transformers did; None where it is.

    The exceptions are those that `Tokenizer` documents: a `max_length` below the number of special tokens, and rows of
    several lengths as an array.

    Args:
        reference: The tokenizer of transformers.
        expected: What it gave, or raised.
        actual: What ours did.
        options: Keyword arguments of the call.
    """
    if isinstance(expected, BaseException):
        return (
            None if isinstance(actual, InputError) else f"{actual!r:.300}, and the reference raises {expected!r:.300}"
        )
    if isinstance(actual, InputError):
        ragged = any(isinstance(value, np.ndarray) and value.dtype == object for value in expected.values())
        length = options.get("max_length")
        too_small = length is not None and length < reference.num_special_tokens_to_add(True)
        message = str(actual)
        documented = (ragged and "which is no array" in message) or (too_small and "is too small" in message)
        return None if documented else f"refused: {message}"
    if isinstance(actual, BaseException):
        return f"raised {actual!r:.300}"
    if list(actual) != list(expected):
        return f"{list(actual)} instead of {list(expected)}"
    for name, value in expected.items():
        if isinstance(value, np.ndarray):
            same = actual[name].dtype == value.dtype == np.int64 and np.array_equal(actual[name], value)
        else:
            same = actual[name] == value
        if not same:
            return f"{name} is {actual[name]!r:.600} instead of {value!r:.600}"
    if len(actual.encodings) != len(expected.encodings):
        return f"{len(actual.encodings)} encodings instead of {len(expected.encodings)}"
    for row in range(len(expected.encodings)):
        for name in ("tokens", "word_ids", "sequence_ids"):
            got, wanted = (getattr(encoding, name)(row) for encoding in (actual, expected))
            if got != wanted:
                return f"{name} of row {row}: {got!r:.300} instead of {wanted!r:.300}"
    return None
