"""Texts that were cut at a limit: counted while they are encoded, and said once a call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeVar

from edgepipe.caller_warnings import warn

Result = TypeVar("Result")

# Options with which a caller asks for texts to be cut, and those that may hold them.
_ASKED = ("truncation", "max_length")
_ASKED_OF_WRITERS = ("truncation",)  # max_length is that of what they write
_HOLDERS = ("tokenizer_kwargs", "tokenize_kwargs")


class EncodedInput(Protocol):
    """An input that is encoded, with what tells whether it was cut."""

    @property
    def cut_at(self) -> int | None:
        """The tokens that are left of an input that was cut; None for one that is whole."""


Encoded = TypeVar("Encoded", bound=EncodedInput)


class CutTexts:
    """Counts the inputs of a call, and those that were cut.

    Attributes:
        count: How many were cut.
        total: How many there were.
        limit: The tokens that were left of the longest.
    """

    def __init__(self) -> None:
        self.count = self.total = self.limit = 0

    def add(self, request: Encoded) -> Encoded:
        """Count an input; returns it."""
        self.total += 1
        if request.cut_at is not None:
            self.count += 1
            self.limit = max(self.limit, request.cut_at)
        return request

    def warn_after(self, results: Iterator[Result]) -> Iterator[Result]:
        """The same results; a warning follows the last that is read."""
        try:
            yield from results
        finally:
            self.warn()

    def warn(self) -> None:
        """Say how many were cut, if any were."""
        if self.count:
            warn(
                f"texts that were cut at {self.limit} tokens, which is the limit: {self.count} of {self.total}; what "
                "is behind it was not read. Split long texts to have all of them read"
            )


def asks_to_cut(options: Mapping[str, Any], *, generates: bool = False) -> bool:
    """Whether a caller's options ask for long texts to be cut, so that nobody need be told.

    Args:
        options: The caller's options.
        generates: Whether the task writes text.
    """
    names = _ASKED_OF_WRITERS if generates else _ASKED
    given = [options, *(held for name in _HOLDERS if isinstance(held := options.get(name), Mapping))]
    return any(each.get(name) is not None for each in given for name in names)
