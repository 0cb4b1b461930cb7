"""The choice of the next token of each row: the likeliest, or a draw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepipe.errors import InputError
from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.logits.logits_processor_list import build_sampling_warpers
from edgepipe.generation.logits.logits_processors import LogitsProcessor
from edgepipe.numerics import kth_largest, top_indices


class Generators:
    """Random generators, one for each sequence, so that a sequence's draws do not depend on what it is batched with.

    Args:
        seed: None for other numbers each time.
        first_row: How many inputs came before the first of this batch.
        per_input: How many sequences each input has.
    """

    def __init__(self, seed: int | None, first_row: int, per_input: int) -> None:
        self._entropy = np.random.SeedSequence(seed).entropy
        self._first_row = first_row
        self._per_input = per_input

    def __getitem__(self, sequence: int) -> np.random.Generator:
        """The generator of a sequence, from its beginning."""
        row, rank = divmod(sequence, self._per_input)
        key = (self._first_row + row, rank)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self._entropy, spawn_key=key)))


class Sampler:
    """Draws a token for each row, from what the warpers leave.

    Args:
        config: The options.
        generators: One for each row of the search's beginning.
        watermark: What changes the scores that are left; None for nothing.
    """

    def __init__(
        self,
        config: GenerationConfig,
        generators: list[np.random.Generator],
        watermark: LogitsProcessor | None = None,
    ) -> None:
        self._generators = generators
        self._watermark = watermark
        self._top_k = config.top_k
        self._before, self._after = build_sampling_warpers(config)

    def __call__(
        self, scores: NDArray[np.float32], rows: NDArray[np.int64], ids: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Draw.

        Args:
            scores: float32[rows, vocabulary]; changed in place.
            rows: Which rows of the search's beginning they are, int64[rows].
            ids: The tokens so far, int64[rows, length].

        Returns:
            int64[rows].

        Raises:
            InputError: a row has no token with a score.
        """
        for warp in self._before:
            warp(scores)
        tokens = np.empty(len(scores), dtype=np.int64)
        for place, (row, row_scores) in enumerate(zip(rows.tolist(), scores, strict=True)):
            # What top-k leaves is all that the other warpers need to look at.
            least = kth_largest(row_scores, min(self._top_k, row_scores.size)) if self._top_k else -np.inf
            candidates = np.flatnonzero((row_scores >= least) & (row_scores > -np.inf))
            if not candidates.size or not row_scores[candidates].max() < np.inf:
                raise InputError(
                    "no token can be drawn: the options forbid all of them or give them infinite scores, or the "
                    "model's scores are NaN"
                )
            left = row_scores[candidates][None]
            for warp in self._after:
                warp(left)
            if self._watermark is not None:
                whole = np.full((1, row_scores.size), -np.inf, np.float32)
                whole[:, candidates] = left
                self._watermark(ids[place : place + 1], whole, rows[place : place + 1])
                left = whole[:, candidates]
            tokens[place] = candidates[draw(left[0], self._generators[row])]
        return tokens


def draw(scores: NDArray[np.float32], generator: np.random.Generator) -> int:
    """The index of a score, float32[n], drawn with the probabilities that the scores stand for."""
    cumulative = np.cumsum(np.exp(scores.astype(np.float64) - scores.max()))
    # Below the whole mass, so never past the last index that has any.
    return int(np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right"))


def draw_without_replacement(
    scores: NDArray[np.float32], count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """The indices of `count` different scores, float32[n], in the order in which they were drawn.

    Adding Gumbel noise and taking the largest draws without replacement: Kool et al., Stochastic Beams and Where to
    Find Them, arXiv:1903.06059, section 2.3.
    """
    noisy: NDArray[np.float64] = np.full(scores.size, -np.inf)
    possible = np.flatnonzero(scores > -np.inf)
    # The negative logarithm of an exponential variable has the distribution of Gumbel.
    noisy[possible] = scores[possible] - np.log(generator.standard_exponential(possible.size))
    return top_indices(noisy, count)


def likeliest(scores: NDArray[np.float32], rows: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The token with the best score of each row; `rows` and `ids` do not matter."""
    tokens: NDArray[np.int64] = scores.argmax(axis=1)
    return tokens
