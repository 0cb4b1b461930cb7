"""Watermarks: scores are changed by what only who has the key can tell, as transformers (5.24) changes them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edgepipe.generation.logits.torch_random import random_numbers, randperm
from edgepipe.generation.logits.watermark_config import SynthIDTextWatermarkingConfig, WatermarkingConfig
from edgepipe.numerics import softmax

Scores = NDArray[np.float32]
Ids = NDArray[np.int64]

# Numbers of the reference (transformers/generation/logits_process.py).
_TABLE_SIZE = 1_000_003
_CANDIDATES = 40
_SEEDS = 2**64 - 1
_MULTIPLIER = np.array(6364136223846793005, np.int64)


class WatermarkLogitsProcessor:
    """Adds to the scores of a green list (``WatermarkLogitsProcessor``)."""

    def __init__(self, config: WatermarkingConfig, vocabulary_size: int) -> None:
        self._config = config
        self._vocabulary_size = vocabulary_size
        self._green = int(vocabulary_size * config.greenlist_ratio)

    def __call__(self, ids: Ids, scores: Scores, inputs: Ids) -> None:
        """Change `scores`."""
        if ids.shape[1] < self._config.context_width:
            return
        choose = self._choose_self if self._config.seeding_scheme == "selfhash" else self._choose_left
        for row, row_scores in zip(ids.tolist(), scores, strict=True):
            row_scores[choose(row, row_scores)] += np.float32(self._config.bias)

    def _choose_left(self, row: list[int], scores: Scores) -> list[int]:
        return self._green_list(self._config.hashing_key * row[-1])

    def _choose_self(self, row: list[int], scores: Scores) -> list[int]:
        """Of the likeliest tokens those that are in the green list which they themselves lead to."""
        found = []
        for token in np.argsort(-scores, kind="stable")[:_CANDIDATES].tolist():
            window = np.array([*row, token][-self._config.context_width :])
            table = _hash_table(self._config.hashing_key)
            factors = table[window % _TABLE_SIZE] + 1
            own = table[window[-1:] % _TABLE_SIZE] + 1
            seed = int((np.array([self._config.hashing_key]) * factors * own).min())  # which may overflow, as there
            if token in self._green_list(seed):
                found.append(token)
        return found

    def _green_list(self, seed: int) -> list[int]:
        return randperm(self._vocabulary_size, seed % _SEEDS, self._green)


@lru_cache(maxsize=2)
def _hash_table(key: int) -> Ids:
    """A permutation by which tokens are hashed, int64[`_TABLE_SIZE`]; it takes a second to make."""
    return np.array(randperm(_TABLE_SIZE, key))


class SynthIDTextWatermarkLogitsProcessor:
    """Lets tokens play a tournament (``SynthIDTextWatermarkLogitsProcessor``).

    The reference keeps a state from call to call; all that it holds can be told from the tokens that are new.
    """

    def __init__(self, config: SynthIDTextWatermarkingConfig, start: int) -> None:
        """Begin for sequences whose first `start` tokens are the prompt's."""
        self._config = config
        self._start = start
        self._table = random_numbers(config.sampling_table_seed, config.sampling_table_size) % 2

    def __call__(self, ids: Ids, scores: Scores, inputs: Ids) -> None:
        """Change `scores`."""
        if self._config.debug_mode:
            scores[...] = 1.0
        new = ids[:, self._start :]
        first = self._config.ngram_len - 1 if self._config.skip_first_ngram_calls else 0
        if new.shape[1] < first:
            return
        hashes = self._hash_contexts(new)
        own, before = hashes[:, -1], hashes[:, first:-1][:, -self._config.context_history_size :]
        repeated = (before == own[:, None]).any(axis=1)
        if before.shape[1] < self._config.context_history_size:
            repeated |= own == 0  # what the memory holds at first
        changed = self._play(own, scores)
        scores[~repeated] = changed[~repeated]

    def _hash_contexts(self, new: Ids) -> Ids:
        """The hash of what was before each token, and of what is before the next, int64[rows, length + 1]."""
        rows, length = new.shape
        width = self._config.ngram_len - 1
        hashes = np.ones((rows, length + 1), np.int64)
        if width:
            windows = sliding_window_view(np.pad(new, ((0, 0), (width, 0))), width, axis=1)
            for place in range(width):
                hashes = _accumulate(hashes, windows[..., place])
        return hashes

    def _play(self, contexts: Ids, scores: Scores) -> Scores:
        """The scores after all rounds, float32[rows, vocabulary]."""
        tokens = _accumulate(contexts[:, None], np.arange(scores.shape[1])[None])
        probabilities = softmax(scores)
        for key in self._config.keys:
            wins = self._table[_accumulate(tokens, np.array(key)) % len(self._table)].astype(np.float32)
            mass = (wins * probabilities).sum(axis=1, keepdims=True)
            probabilities *= 1 + wins - mass
        with np.errstate(divide="ignore", invalid="ignore"):
            logarithms = np.log(probabilities)
        logarithms[~np.isfinite(logarithms)] = np.finfo(np.float32).min
        return logarithms


def _accumulate(hashes: Ids, data: Ids) -> Ids:
    """One more number in hashes, by a linear congruential generator; products overflow, as in the reference."""
    return (hashes + data) * _MULTIPLIER + 1
