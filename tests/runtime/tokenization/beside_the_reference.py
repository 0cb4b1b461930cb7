"""Calls of a tokenizer and of its counterpart in transformers."""

import warnings
from collections.abc import Callable
from typing import Any


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
