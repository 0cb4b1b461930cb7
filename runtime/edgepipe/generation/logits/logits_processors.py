"""Logits processors: what bends the scores of all tokens before one is chosen.

Each takes the tokens so far, int64[rows, length], the scores of what follows, float32[rows, vocabulary], and which
input each row belongs to, int64[rows]; it changes the scores in place. What they do, and to which tokens, is what the
class of transformers (5.23, ``generation/logits_process.py``) named in each docstring does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgepipe.errors import InputError
from edgepipe.numerics import log_softmax


class LogitsProcessor(Protocol):
    """Changes scores in place; see the module."""

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
        """Change `scores`."""
        ...


def known_tokens(tokens: Sequence[int], vocabulary: int) -> list[int]:
    """The tokens that there are scores for."""
    return [token for token in tokens if token < vocabulary]


class SequenceBiasLogitsProcessor:
    """Adds a number to the score of the last token of each run of tokens (``SequenceBiasLogitsProcessor``).

    With minus infinity the run cannot occur (``NoBadWordsLogitsProcessor``).
    """

    def __init__(self, biases: Sequence[tuple[tuple[int, ...], float]], name: str) -> None:
        by_length: dict[int, list[tuple[tuple[int, ...], float]]] = defaultdict(list)
        for tokens, bias in dict(biases).items():
            by_length[len(tokens)].append((tokens, bias))
        self._groups = [
            (
                np.array([tokens[:-1] for tokens, _ in group], dtype=np.int64).reshape(len(group), length - 1),
                np.array([tokens[-1] for tokens, _ in group], dtype=np.int64),
                np.array([bias for _, bias in group], dtype=np.float32),
            )
            for length, group in by_length.items()
        ]
        self._largest = max((max(tokens) for tokens, _ in biases), default=-1)
        self._name = name

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
        """Change `scores`."""
        if self._largest >= scores.shape[1]:
            raise InputError(f"{self._name} has {self._largest}, the model's last token is {scores.shape[1] - 1}")
        for prefixes, last, biases in self._groups:
            length = prefixes.shape[1]
            if length <= ids.shape[1]:
                ends = ids[:, None, ids.shape[1] - length :]
                rows, groups = np.nonzero((ends == prefixes).all(axis=-1))
                np.add.at(scores, (rows, last[groups]), biases[groups])


class EncoderRepetitionPenaltyLogitsProcessor:
    """Makes the tokens of the input likelier (``EncoderRepetitionPenaltyLogitsProcessor``).

    Keskar et al., CTRL, arXiv:1909.05858, section 4.1, the other way round.
    """

    def __init__(self, penalty: float, encoder_ids: NDArray[np.int64]) -> None:
        self._penalty = 1 / penalty
        self._encoder_ids = encoder_ids

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
        """Change `scores`."""
        _penalize(scores, self._encoder_ids[inputs], self._penalty)


class RepetitionPenaltyLogitsProcessor:
    """Makes tokens that have occurred, in the prompt too, less likely (``RepetitionPenaltyLogitsProcessor``).

    Keskar et al., CTRL, arXiv:1909.05858, section 4.1. Padding on the left does not count.
    """

    def __init__(self, penalty: float, padding: NDArray[np.int64]) -> None:
        self._penalty = penalty
        self._padding = padding

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
        """Change `scores`."""
        padding = self._padding[inputs]
        if padding.any():
            # The last token is never padding, and that it is there twice changes nothing.
            is_padding = np.arange(ids.shape[1]) < padding[:, None]
            ids = np.where(is_padding, ids[:, -1:], ids)
        _penalize(scores, ids, self._penalty)


def _penalize(scores: NDArray[np.float32], ids: NDArray[np.int64], penalty: float) -> None:
    if ids.max(initial=-1) >= scores.shape[1]:  # an embedding with more tokens than there are scores
        for row, row_scores in zip(ids, scores, strict=True):
            _penalize(row_scores[None], row[row < scores.shape[1]][None], penalty)
    elif ids.size:
        rows = np.arange(len(ids))[:, None]
        found = scores[rows, ids]
        scores[rows, ids] = np.where(found < 0, found * np.float32(penalty), found / np.float32(penalty))


class NoRepeatNGramLogitsProcessor:
    """Forbids tokens that would complete a run that has occurred (``NoRepeatNGramLogitsProcessor``)."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
        """Change `scores`."""
        length = ids.shape[1]
        if length < self._size:
            return
        matches = np.ones((len(ids), length - self._size + 1), dtype=bool)
        for place in range(self._size - 1):
            start = length - self._size + 1 + place
            matches &= ids[:, place : place + matches.shape[1]] == ids[:, start : start + 1]
        rows, starts = np.nonzero(matches)
        last = ids[rows, starts + self._size - 1]
        known = last < scores.shape[1]
        scores[rows[known], last[known]] = -np.inf


class EncoderNoRepeatNGramLogitsProcessor:
    """Forbids the runs of tokens that the input has (``EncoderNoRepeatNGramLogitsProcessor``)."""

    def __init__(self, size: int, encoder_ids: NDArray[np.int64]) -> None:
        self._size = size
        self._followers: list[dict[tuple[int, ...], list[int]]] = []
        for row in encoder_ids.tolist():
            followers: dict[tuple[int, ...], list[int]] = defaultdict(list)
            for start in range(len(row) - size + 1):
                *prefix, last = row[start : start + size]
                followers[tuple(prefix)].append(last)
            self._followers.append(dict(followers))

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
        """Change `scores`."""
        ends = ids[:, max(ids.shape[1] + 1 - self._size, 0) :].tolist()
        for row, (end, index) in enumerate(zip(ends, inputs.tolist(), strict=True)):
            banned = self._followers[index].get(tuple(end))
            if banned:
                scores[row, known_tokens(banned, scores.shape[1])] = -np.inf


class MinLengthLogitsProcessor:
    """No token of these before a length (``MinLengthLogitsProcessor``, ``MinNewTokensLengthLogitsProcessor``)."""

    def __init__(self, length: int, tokens: Sequence[int]) -> None:
        self._length = length
        self._tokens = tokens

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
        """Change `scores`."""
        if ids.shape[1] < self._length:
            scores[:, known_tokens(self._tokens, scores.shape[1])] = -np.inf


class PrefixConstrainedLogitsProcessor:
    """Allows what a function says for the tokens so far (``PrefixConstrainedLogitsProcessor``, 5.24)."""

    def __init__(self, allowed: Callable[[int, NDArray[np.int64]], Sequence[int]] | None) -> None:
        self._allowed = allowed

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
        """Change `scores`."""
        assert self._allowed is not None  # it is built where there is a function
        allowed = [self._ask(item, row, scores.shape[1]) for item, row in zip(inputs.tolist(), ids, strict=True)]
        best = np.array([row[tokens].max() for row, tokens in zip(scores, allowed, strict=True)])
        for place, tokens in enumerate(allowed):
            # Where nothing that is allowed to any row of an input can follow, all of that is equally likely.
            is_stuck = bool(np.isneginf(best[inputs == inputs[place]]).all())
            left = 0.0 if is_stuck else scores[place, tokens]
            scores[place].fill(-np.inf)
            scores[place, tokens] = left

    def _ask(self, item: int, row: NDArray[np.int64], vocabulary: int) -> NDArray[np.int64]:
        """The tokens that are allowed after these, int64[tokens]."""
        assert self._allowed is not None
        tokens = np.asarray(self._allowed(item, row.copy()))
        if not tokens.size or tokens.dtype.kind not in "iu" or not 0 <= tokens.min() <= tokens.max() < vocabulary:
            raise InputError(
                f"prefix_allowed_tokens_fn must return token ids below {vocabulary}, at least one, got "
                f"{tokens.tolist()!r:.60} for input {item}"
            )
        return tokens.ravel()


class CustomLogitsProcessors:
    """The caller's own, as transformers' ``LogitsProcessorList`` calls them, with arrays in place of tensors."""

    def __init__(self, processors: Sequence[Callable[..., Any]]) -> None:
        self._processors = processors

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
        """Change `scores`."""
        for process in self._processors:
            found = np.asarray(process(ids.copy(), scores.copy()))
            if found.shape != scores.shape or found.dtype.kind != "f":
                raise InputError(
                    f"a logits_processor must return numbers of shape {scores.shape}, got {found.dtype} of shape "
                    f"{found.shape}"
                )
            scores[...] = found


class ForcedTokensLogitsProcessor:
    """One of these tokens at a length (``ForcedBOSTokenLogitsProcessor``, ``ForcedEOSTokenLogitsProcessor``)."""

    def __init__(self, length: int, tokens: Sequence[int], name: str) -> None:
        self._length = length
        self._tokens = list(tokens)
        self._name = name

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
        """Change `scores`."""
        if max(self._tokens) >= scores.shape[1]:
            raise InputError(f"{self._name} has {max(self._tokens)}, the model's last token is {scores.shape[1] - 1}")
        if ids.shape[1] == self._length:
            scores.fill(-np.inf)
            scores[:, self._tokens] = 0.0


def remove_invalid_values(ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
    """0 for NaN, the largest and smallest numbers for infinite ones (``InfNanRemoveLogitsProcessor``)."""
    np.nan_to_num(scores, copy=False)


class ExponentialDecayLengthPenalty:
    """Makes the end likelier with each token past a length (``ExponentialDecayLengthPenalty``)."""

    def __init__(self, start: int, factor: float, tokens: Sequence[int]) -> None:
        self._start = start
        self._factor = factor
        self._tokens = tokens

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
        """Change `scores`."""
        past = ids.shape[1] - self._start
        if past > 0:
            tokens = known_tokens(self._tokens, scores.shape[1])
            found = scores[:, tokens]
            # Of the size of the score, so that negative scores grow too; what is forbidden stays so.
            size = np.abs(np.where(np.isfinite(found), found, 0.0))
            scores[:, tokens] = found + size * np.float32(self._factor**past - 1)


class SuppressTokensLogitsProcessor:
    """Forbids tokens (``SuppressTokensLogitsProcessor``).

    With a length, only for the token after as many (``SuppressTokensAtBeginLogitsProcessor``).
    """

    def __init__(self, tokens: Sequence[int], length: int | None = None) -> None:
        self._tokens = tokens
        self._length = length

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
        """Change `scores`."""
        if self._length is None or ids.shape[1] == self._length:
            scores[:, known_tokens(self._tokens, scores.shape[1])] = -np.inf


class HammingDiversityLogitsProcessor:
    """Makes tokens less likely that earlier groups of beams have just chosen (``HammingDiversityLogitsProcessor``).

    Vijayakumar et al., Diverse Beam Search, arXiv:1610.02424, with the Hamming distance; transformers 4.57.

    Attributes:
        current_tokens: What the earlier groups of each row's input chose at this step, int64[rows, beams]. The search
            sets it.
    """

    def __init__(self, penalty: float) -> None:
        self.current_tokens: NDArray[np.int64] = np.empty((0, 0), dtype=np.int64)
        self._penalty = np.float32(penalty)

    def __call__(self, ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
        """Change `scores`."""
        for row, current in zip(scores, self.current_tokens, strict=True):
            tokens, counts = np.unique(current, return_counts=True)
            row[tokens] -= self._penalty * counts.astype(np.float32)


def renormalize(ids: NDArray[np.int64], scores: NDArray[np.float32], inputs: NDArray[np.int64]) -> None:
    """Logarithms of probabilities (``LogitNormalization``)."""
    log_softmax(scores)
