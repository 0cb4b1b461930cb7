"""When a sequence is finished: at one of its last tokens, at a text, at its greatest length, or out of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgepipe.errors import InputError
from edgepipe.generation.config import DEFAULTS, GenerationConfig
from edgepipe.tokenization.token_bytes import TokenBytes
from edgepipe.tokenization.tokenizer import Tokenizer

Tokens = NDArray[np.int64]
Finished = NDArray[np.bool_]


class StoppingCriterion(Protocol):
    """Says which sequences end with the token just chosen, or with True or False whether all do."""

    def __call__(self, ids: Tokens, tokens: Tokens, parents: Tokens | None) -> Finished | bool:
        """See :meth:`StoppingCriteria.__call__`."""
        ...


class MaxLengthCriteria:
    """All sequences end at their greatest length."""

    def __init__(self, longest: int) -> None:
        self._longest = longest

    def __call__(self, ids: Tokens, tokens: Tokens, parents: Tokens | None) -> bool:
        """Whether the length is reached."""
        return bool(ids.shape[1] + 1 >= self._longest)


class MaxTimeCriteria:
    """All sequences end after some seconds, counted from now."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def __call__(self, ids: Tokens, tokens: Tokens, parents: Tokens | None) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self._deadline


class EosTokenCriteria:
    """A sequence ends with one of some tokens, at least one."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = tokens

    def __call__(self, ids: Tokens, tokens: Tokens, parents: Tokens | None) -> Finished:
        """Which tokens are among them, bool[chosen]."""
        finished: Finished = tokens == self._tokens[0]
        for token in self._tokens[1:]:
            finished |= tokens == token
        return finished


class StopStringCriteria:
    """Says whether a sequence's last token completes one of some texts.

    What counts is the text that each token stands for on its own, joined: a text is found where it ends in the last
    token, whether or not the token goes on after it. Tokens of a byte-level vocabulary, and those that stand for a
    byte, are compared as bytes: a token may hold half a character.
    """

    def __init__(self, strings: Sequence[str], tokenizer: Tokenizer) -> None:
        self._bytes = TokenBytes(tokenizer)
        self._strings = [text.encode() for text in strings]
        # The longest text has no more tokens than bytes: what lies farther back cannot matter.
        self._reach = max(map(len, self._strings))

    def __call__(self, ids: Tokens, tokens: Tokens, parents: Tokens | None = None) -> Finished:
        """Which tokens complete a text, bool[chosen]."""
        ids = ids if parents is None else ids[parents]
        before = ids[:, max(ids.shape[1] + 1 - self._reach, 0) :].tolist()
        return np.array([self._ends([*row, last]) for row, last in zip(before, tokens.tolist(), strict=True)])

    def _ends(self, row: list[int]) -> bool:
        last = self._bytes[row[-1]]
        if not last:
            return False
        text = b""
        for token in reversed(row[:-1]):
            piece = self._bytes[token]
            if piece is None:
                break
            text = piece + text
        # At least one byte of a string must lie in the last token.
        return any((text + last).find(each, max(len(text) - len(each) + 1, 0)) >= 0 for each in self._strings)


class CustomStoppingCriteria:
    """The caller's own, as transformers' ``StoppingCriteriaList`` calls them, with arrays in place of tensors."""

    def __init__(self, criteria: Sequence[Callable[..., Any]]) -> None:
        self._criteria = criteria

    def __call__(self, ids: Tokens, tokens: Tokens, parents: Tokens | None) -> Finished:
        """Which tokens end their sequences, bool[chosen]."""
        sequences = np.concatenate([ids if parents is None else ids[parents], tokens[:, None]], axis=1)
        finished = np.zeros(len(tokens), dtype=bool)
        for criterion in self._criteria:
            found = np.asarray(criterion(sequences.copy(), None))
            if found.shape not in ((), finished.shape) or found.dtype.kind != "b":
                raise InputError(
                    f"a stopping criterion must return True, False or bool[{len(tokens)}], got {found.dtype} of shape "
                    f"{found.shape}"
                )
            finished |= found
        return finished


def _build_stop_strings(config: GenerationConfig, longest: int, tokenizer: Tokenizer | None) -> StoppingCriterion:
    if tokenizer is None:
        raise InputError(f"stop_strings={list(config.stop_strings)} need the model's tokenizer; pass tokenizer")
    return StopStringCriteria(config.stop_strings, tokenizer)


# What builds a criterion where its option has another value than the default. To add a criterion: its option in
# GenerationConfig, its class above, its entry here.
STOPPING_CRITERIA: dict[str, Callable[[GenerationConfig, int, Tokenizer | None], StoppingCriterion]] = {
    "max_time": lambda config, _, __: MaxTimeCriteria(config.max_time or 0.0),
    "eos_token_id": lambda config, _, __: EosTokenCriteria(config.eos_token_id),
    "stop_strings": _build_stop_strings,
    "stopping_criteria": lambda config, _, __: CustomStoppingCriteria(config.stopping_criteria),
}


class StoppingCriteria:
    """Says which sequences are finished, by the criteria that the options ask for and at a length of `longest`.

    The clock of `max_time` starts when it is built.

    Raises:
        InputError: `stop_strings` without a tokenizer.
        LookupError: an entry of :data:`STOPPING_CRITERIA` is named after no option.
    """

    def __init__(self, config: GenerationConfig, longest: int, tokenizer: Tokenizer | None) -> None:
        if unknown := STOPPING_CRITERIA.keys() - DEFAULTS.keys():
            raise LookupError(
                f"STOPPING_CRITERIA has {min(unknown)!r}, which is no option; add a field of that name to "
                "GenerationConfig"
            )
        self._limits: list[StoppingCriterion] = [MaxLengthCriteria(longest)]
        self._ends: list[StoppingCriterion] = []
        for option, build in STOPPING_CRITERIA.items():
            if getattr(config, option) != DEFAULTS[option]:
                found = build(config, longest, tokenizer)
                (self._limits if isinstance(found, MaxTimeCriteria) else self._ends).append(found)

    def __call__(self, ids: Tokens, tokens: Tokens, parents: Tokens | None = None) -> Finished:
        """Which sequences end with the token just chosen.

        Args:
            ids: The tokens before, int64[rows, length].
            tokens: The tokens chosen, int64[chosen].
            parents: Which row each of them follows, int64[chosen]; None where there is one for each row.

        Returns:
            bool[chosen].
        """
        ended, limited = self.find(ids, tokens, parents)
        return ended | limited

    def find(self, ids: Tokens, tokens: Tokens, parents: Tokens | None = None) -> tuple[Finished, bool]:
        """As a call, but tells ends from limits; a sequence may reach both.

        Returns:
            Which sequences end by what they say, bool[chosen], and whether all are out of room or out of time.
        """
        ended = np.zeros(len(tokens), dtype=bool)
        for criterion in self._ends:
            ended |= criterion(ids, tokens, parents)
        return ended, any(bool(criterion(ids, tokens, parents)) for criterion in self._limits)
