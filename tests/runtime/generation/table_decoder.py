"""A decoder without a network: the scores of the next token are the sum of what each token so far says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.generation.prompt import Prompt
from edgepipe.models import kv_memory
from edgepipe.models.kv_cache import pad_and_stack
from edgepipe.numerics import log_softmax


def draw_table(vocabulary: int, seed: int = 0) -> NDArray[np.float32]:
    """What each token says of the next one, float32[vocabulary, vocabulary]."""
    return np.random.default_rng(seed).normal(scale=2, size=(vocabulary, vocabulary)).astype(np.float32)


def prompt_of(ids: Any, longest: int) -> Prompt:
    """Prompts of equal length, without padding."""
    array = np.asarray(ids)
    return Prompt(array, np.ones_like(array), array, np.zeros(len(array), np.int64), longest)


class TableDecoder:
    """A :class:`~edgepipe.generation.decoder_protocol.Decoder` over a table.

    Attributes:
        calls: Names and row counts of all calls to its decodings, in order.
        token_bytes: What a token is said to take in the cache.
    """

    token_bytes = 0
    directory = Path()
    dtype = "fp32"
    config: Mapping[str, Any] = {}
    generation_config: Mapping[str, Any] = {}
    max_length = None
    max_source_length = None
    switch_length = None
    reads_padding = False
    mixes_rows = False
    is_encoder_decoder = False

    def __init__(self, table: NDArray[np.float32], *, on_device: bool = False, joins: bool = False) -> None:
        self.table = table
        self.joins = joins
        self.on_device = on_device
        self.calls: list[tuple[str, int]] = []

    def count_cache_bytes(self, inputs: int, width: int, input_length: int, length: int) -> int:
        return inputs * width * length * self.token_bytes

    def has_room(self, needed: int) -> bool:
        return kv_memory.has_room(needed)

    def check_room(self, needed: int, what: str, most_bytes: int | None, held: int = 0) -> None:
        kv_memory.check_room(needed, what, most_bytes, held=held)

    def begin(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], max_length: int | None = None
    ) -> TableDecoding:
        return TableDecoding(self, len(input_ids))


class TableDecoding:
    """A :class:`~edgepipe.generation.decoder_protocol.Decoding`; its cache are the tokens themselves."""

    cached = 0

    def __init__(self, decoder: TableDecoder, rows: int) -> None:
        self.scores_on_device = decoder.on_device
        self._decoder = decoder
        self._ids = np.empty((rows, 0), np.int64)

    def step(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        self._decoder.calls.append(("step", len(tokens)))
        return self._advance(tokens)

    def step_every(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        assert len(tokens) == 1, "GroupQueryAttention takes several tokens behind others for one row"
        self._decoder.calls.append(("step_every", tokens.shape[1]))
        return np.stack([self._advance(token).copy() for token in np.split(tokens, tokens.shape[1], axis=1)], axis=1)

    def forget(self, count: int) -> None:
        assert 0 < count < self._ids.shape[1]
        self._decoder.calls.append(("forget", count))
        self._ids = self._ids[:, :-count]

    def argmax(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        self._decoder.calls.append(("argmax", len(tokens)))
        best: NDArray[np.int64] = self._advance(tokens).argmax(axis=1)
        return best

    def top_k(self, tokens: NDArray[np.int64], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        self._decoder.calls.append(("top_k", len(tokens)))
        scores = log_softmax(self._advance(tokens))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(scores, best, axis=1), best

    def select(self, rows: NDArray[np.int64]) -> None:
        self._decoder.calls.append(("select", len(rows)))
        self._ids = self._ids[rows]

    def join(self, other: TableDecoding) -> None:
        self._decoder.calls.append(("join", len(other._ids)))
        self._ids = pad_and_stack(self._ids, other._ids, -1)

    def keep_prompt(self, most_bytes: int) -> None:
        self._decoder.calls.append(("keep", most_bytes))

    def drop_padding(self) -> None:
        self._ids = self._ids[:, (self._ids >= 0).any(axis=0)]

    def _advance(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        assert len(tokens) == len(self._ids), "a row each"
        self._ids = np.concatenate([self._ids, tokens], axis=1)
        # A row more, for padding, which says nothing.
        scores: NDArray[np.float32] = np.pad(self._decoder.table, ((0, 1), (0, 0)))[self._ids].sum(axis=1)
        return scores
