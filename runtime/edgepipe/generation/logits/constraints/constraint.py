"""A grammar over the tokens of a model: which tokens may follow a text, and whether it may end."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgepipe.errors import InputError
from edgepipe.generation.logits.constraints.grammar import (
    convert_engine_panics,
    import_llguidance,
    write_choice_grammar,
    write_json_grammar,
    write_regex_grammar,
)
from edgepipe.generation.logits.constraints.token_table import TokenTable, token_table
from edgepipe.tokenization.tokenizer import Tokenizer

# The options, and what writes the grammar of each.
GRAMMARS = {"json_schema": write_json_grammar, "regex": write_regex_grammar, "choices": write_choice_grammar}

# Grammars that are kept: a server gets the same with many requests.
_MOST_KEPT = 32
# For each byte of a mask the bounds of the scores of its eight tokens, float32[256, 8]. NaN is no bound: ``fmin`` takes
# the other number. This takes the same time for every mask; ``copyto`` where bits are set can take ten times as long.
_BOUNDS = np.where(np.arange(256)[:, None] >> np.arange(8) & 1, np.float32(np.nan), np.float32(-np.inf))
# Where in our grammar something is, which nobody wrote.
_PLACE = re.compile(r"^at \d+\(\d+\): ")
_PREFIX = "failed to compile JSON schema: "


class Constraint:
    """What a text has to be; it does not change, and serves any number of searches and threads.

    Attributes:
        option: The option it comes from.
        table: The tokens.
    """

    def __init__(self, option: str, grammar: str, table: TokenTable) -> None:
        """Compile.

        Args:
            option: The option it comes from.
            grammar: For llguidance.
            table: The tokens of the model.

        Raises:
            InputError: the engine does not take the grammar, or no text of these tokens fulfils it.
        """
        self.option = option
        self.table = table
        self._matcher = _compile(option, grammar, table.engine)
        at_start = _compile(option, grammar, table.engine_at_start) if table.differs_at_start else self._matcher
        self.start_mask = read_mask(at_start.deep_copy(), table)
        if self.start_mask is None:
            raise InputError(f"{option} cannot be met: no text of the model's tokens fulfils it; pass another")
        self.start_mask.allow(table.silent_at_start)

    def begin(self) -> ConstraintState:
        """The state of an empty text."""
        with convert_engine_panics():
            return ConstraintState(self, self._matcher.deep_copy())

    def replay(self, tokens: Sequence[int]) -> ConstraintState | None:
        """The state after some tokens; None where they do not fit."""
        state = self.begin()
        return state if all(map(state.advance, tokens)) else None

    def accepts(self, tokens: Sequence[int], ends: Sequence[int]) -> bool:
        """Whether tokens are a whole text that fulfils the constraint.

        Args:
            tokens: New tokens, with or without the one that ended them.
            ends: Tokens that end a text.
        """
        shown = tokens[:-1] if tokens and tokens[-1] in ends else tokens
        state = self.replay(shown)
        return state is not None and state.is_complete()


class Mask:
    """Which tokens may follow.

    Attributes:
        is_complete: Whether the text may end here.
        may_go_on: Whether any token may follow.
    """

    def __init__(self, bits: bytes, table: TokenTable) -> None:
        """Take the engine's bits, one a token, the first of a byte the lowest."""
        end = table.end
        self.is_complete = bool(bits[end // 8] >> (end % 8) & 1)
        # The engine's own tokens, behind those of the vocabulary, are not the model's.
        self._own = bits[: table.count // 8]
        self.may_go_on = self._own != table.no_bits

    def allow(self, tokens: Sequence[int]) -> None:
        """Let some tokens follow, too."""
        own = bytearray(self._own)
        for token in tokens:
            own[token // 8] |= 1 << token % 8
        self._own = bytes(own)
        self.may_go_on = self.may_go_on or bool(tokens)

    def apply(self, scores: NDArray[np.float32], ends: Sequence[int]) -> None:
        """Give all tokens that may not follow a score of minus infinity.

        Args:
            scores: Of one row, float32[vocabulary]; changed in place.
            ends: Tokens that end a text, and show nothing.
        """
        known = [end for end in ends if end < scores.size]
        kept = [scores[end] if self.is_complete else -np.inf for end in known]
        bounds = _BOUNDS.take(np.frombuffer(self._own, np.uint8), axis=0).ravel()
        own = scores[: bounds.size]
        np.fmin(own, bounds[: own.size], out=own)
        scores[bounds.size :] = -np.inf
        for end, score in zip(known, kept, strict=True):
            scores[end] = score


class ConstraintState:
    """Where one text is in its grammar."""

    def __init__(self, constraint: Constraint, matcher: Any, *, is_first: bool = True) -> None:
        self._constraint = constraint
        self._matcher = matcher
        self._is_first = is_first

    def mask(self) -> Mask | None:
        """Which tokens may follow; None where the text can neither go on nor end."""
        if self._is_first:
            return self._constraint.start_mask
        return read_mask(self._matcher, self._constraint.table)

    def is_complete(self) -> bool:
        """Whether the text may end here."""
        with convert_engine_panics():
            return bool(self._matcher.is_accepting())

    def advance(self, token: int) -> bool:
        """Add a token; False where it may not follow, and then the state is of no more use."""
        tokens = self._constraint.table.engine_tokens(token, is_first=self._is_first)
        self._is_first = False
        with convert_engine_panics():
            return tokens is not None and bool(self._matcher.consume_tokens(tokens))

    def copy(self) -> Self:
        """A state that goes its own way."""
        with convert_engine_panics():
            return type(self)(self._constraint, self._matcher.deep_copy(), is_first=self._is_first)


def read_mask(matcher: Any, table: TokenTable) -> Mask | None:
    """The mask of an engine's state; None where nothing may follow, not even the end."""
    with convert_engine_panics():
        bits = matcher.compute_bitmask()
        if matcher.is_error():
            return None
    found = Mask(bits, table)
    return found if found.is_complete or found.may_go_on else None


class _Cache:
    """Constraints of a table that were used last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, str], tuple[TokenTable, Constraint]] = OrderedDict()
        self._lock = Lock()

    def get(self, option: str, grammar: str, table: TokenTable) -> Constraint:
        key = (id(table), grammar)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][1]
        made = Constraint(option, grammar, table)  # without the lock: it may take a second
        with self._lock:
            self._kept[key] = (table, made)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return made


_cache = _Cache()


def build_constraint(option: str, value: Any, tokenizer: Tokenizer) -> Constraint:
    """The constraint of an option.

    Args:
        option: One of :data:`GRAMMARS`.
        value: Its checked value.
        tokenizer: The model's.

    Raises:
        DependencyError: llguidance is not installed.
        InputError: the engine does not take it, no text fulfils it, or the tokenizer is of a kind that cannot be held
            to anything.
    """
    import_llguidance()
    write: Any = GRAMMARS[option]
    with convert_engine_panics():
        return _cache.get(option, write(value), token_table(tokenizer))


def _compile(option: str, grammar: str, engine: Any) -> Any:
    llguidance = import_llguidance()
    limits = llguidance.LLParserLimits(verbose_errors=False)
    matcher = llguidance.LLMatcher(engine, grammar, log_level=0, limits=limits)
    if matcher.is_error():
        raise InputError(
            f"{option} cannot be followed: {_reason(matcher.get_error())}; docs/how-to/structured-output.md has what "
            "can be"
        )
    return matcher


def _reason(error: str) -> str:
    """What the engine says, without what it says of our grammar."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    detail = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), None)
    return detail or _PLACE.sub("", lines[0] if lines else "").removeprefix(_PREFIX)
