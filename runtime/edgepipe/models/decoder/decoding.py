"""What decoders with and without an encoder have in common: how they are loaded, and how their rows take a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.device import DeviceTensor
from edgepipe.backend.session import SessionConfig
from edgepipe.bundle.directory import Bundle
from edgepipe.errors import InputError, not_finite_error
from edgepipe.models.decoder.prefix_tree import PrefixTree
from edgepipe.models.decoder.rotary_switch import find_rotary_switch
from edgepipe.models.decoder.step_tensors import Logits
from edgepipe.models.kv_buffers import LayerShapes
from edgepipe.models.kv_cache import Cache, History, create_cache
from edgepipe.models.kv_memory import check_room, count_token_bytes, has_room
from edgepipe.models.loaded_variant import LoadedVariant
from edgepipe.models.stateful_cache import StatefulCache

# Room for new tokens where nobody says how long the rows are going to be.
ROOM = 64
# Room at first in a model without a limit, whatever length is asked for; the cache grows where it is needed.
_MOST_ROOM = 4096


class GraphDecoder(LoadedVariant):
    """Graphs for generation, loaded; a :class:`~edgepipe.generation.decoder_protocol.Decoder`.

    Attributes:
        generation_config: The bundle's ``generation_config.json``; empty where there is none.
        max_source_length: Longest input of the encoder in tokens; None where it has no limit or there is no encoder.
        is_encoder_decoder: Whether the inputs go to an encoder of their own.
        reads_padding: Whether padding is read like any token.
        mixes_rows: Whether all rows look at the first one.
        session: The graph that is run at every step.
        shares: Whether its past and present are one buffer.
        rotary_switch: Where its positions change; None where they do not.
        prefixes: How earlier prompts began; None where that cannot be held.
    """

    is_encoder_decoder: bool
    reads_padding: bool = False
    mixes_rows: bool = False
    max_source_length: int | None
    shares: bool
    prefixes: PrefixTree | None = None
    _layers: LayerShapes

    def __init__(self, bundle: Bundle, dtype: str | None, config: SessionConfig | None, max_length: int | None) -> None:
        super().__init__(bundle, dtype, config, max_length)
        self.generation_config: Mapping[str, Any] = bundle.generation_config
        self.rotary_switch = find_rotary_switch(bundle.config)
        self.switch_length = None if self.rotary_switch is None else self.rotary_switch.length

    @property
    def joins(self) -> bool:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoder`."""
        return False

    @abstractmethod
    def begin(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], max_length: int | None = None
    ) -> GraphDecoding:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoder`."""

    def count_cache_bytes(self, inputs: int, width: int, input_length: int, length: int) -> int:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoder`; past and present may be two buffers."""
        return inputs * width * length * count_token_bytes(self._layers) * (1 if self.shares else 2)

    def has_room(self, needed: int) -> bool:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoder`."""
        return not self.session.device.is_host or has_room(needed)

    def check_room(self, needed: int, what: str, most_bytes: int | None, held: int = 0) -> None:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoder`."""
        check_room(needed, what, most_bytes, held=held, is_host=self.session.device.is_host)

    def can_cache(self, length: int) -> bool:
        """Whether a prompt of so many tokens can use, and leave, cached tokens: not beyond a switch of positions.

        There those of all tokens change, also of the first ones.
        """
        return self.prefixes is not None and (self.switch_length is None or length <= self.switch_length)

    def cache_prefix(self, ids: Sequence[int], most_bytes: int, *, pinned: bool) -> bool:
        """Compute the keys and values of a prefix, and hold them for prompts that begin so.

        Args:
            ids: Its tokens; :meth:`can_cache` so many.
            most_bytes: The most that everything which is held may take then. What was used longest ago goes for it.
            pinned: Whether it stays until everything goes.

        Returns:
            Whether there was room for all of it.

        Raises:
            InputError: it is longer than the model takes.
        """
        assert self.prefixes is not None
        if pinned and self.prefixes.pin(ids):
            return True
        row = np.array([ids], np.int64)
        decoding = self.begin(row, np.ones_like(row), len(ids))
        decoding.step(row)
        return decoding.keep(most_bytes, pinned=pinned) == len(ids)

    def _create_cache(self, rows: int, capacity: int) -> Cache | None:
        """A cache for rows of so many tokens, or as many as the model takes."""
        if self.session.states:
            return StatefulCache(self._layers, rows, self.session.device)
        capacity = self._bound_capacity(capacity)
        return create_cache(self._layers, rows, capacity, shares=self.shares, device=self.session.device)

    def _bound_capacity(self, capacity: int) -> int:
        return min(capacity, _MOST_ROOM if self.max_length is None else self.max_length)


class GraphDecoding(ABC):
    """Rows on their way through a graph; see :class:`~edgepipe.generation.decoder_protocol.Decoding`."""

    cached = 0
    _logits: Logits

    def __init__(self, decoder: GraphDecoder, rows: int, cache: Cache | None) -> None:
        """Begin without tokens."""
        self._decoder = decoder
        self._session = decoder.session
        self._dtype = decoder.dtype
        self._inputs = decoder.session.inputs
        self._max_length = decoder.max_length
        self._cache = cache
        self._history = History(rows)
        self.scores_on_device = not decoder.session.device.is_host

    def step(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        logits = self._logits_of(tokens)
        return self._check_finite(logits.read(self._advance(tokens, on_device=False)))

    def step_every(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        logits = self._logits_of(tokens)
        logits.give_every(True)
        try:
            return self._check_finite(logits.read(self._advance(tokens, on_device=False)))
        finally:
            logits.give_every(False)

    def argmax(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        if not self.scores_on_device:
            best: NDArray[np.int64] = self.step(tokens).argmax(axis=1)
            return best
        logits = self._logits_of(tokens)
        return logits.argmax(self._advance(tokens, on_device=True))

    def top_k(self, tokens: NDArray[np.int64], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        logits = self._logits_of(tokens)
        scores, indices = logits.top_k(self._advance(tokens, on_device=True), count)
        return self._check_finite(scores), indices

    def _logits_of(self, tokens: NDArray[np.int64]) -> Logits:
        """The logits of the run that reads these tokens; it may replace them by others for the next one."""
        return self._logits

    def select(self, rows: NDArray[np.int64]) -> None:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        if len(rows) == len(self._history.tokens) and (rows == np.arange(len(rows))).all():
            return
        if self._cache is not None:
            self._cache.select(rows, self._count_common(rows))
        self._history.select(rows)
        self._select_own(rows)

    def join(self, other: Self) -> None:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        raise NotImplementedError

    def drop_padding(self) -> None:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        raise NotImplementedError

    def keep_prompt(self, most_bytes: int) -> None:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        self.keep(most_bytes, pinned=False)

    def keep(self, most_bytes: int, *, pinned: bool) -> int:
        """Hold the tokens of one row; see :meth:`~edgepipe.models.decoder.prefix_tree.PrefixTree.insert`."""
        ids = self._history.tokens[0].tolist()
        if self._cache is None or self._decoder.prefixes is None or not self._decoder.can_cache(len(ids)):
            return 0
        if not self._cache.is_whole:
            return 0
        return self._decoder.prefixes.insert(ids, self._cache.read, most_bytes, pinned=pinned)

    def forget(self, count: int) -> None:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        raise NotImplementedError

    def _count_common(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How much of the cache each of `rows` has in common with the row whose index it gets, int64[kept]."""
        return self._history.count_common(rows)

    def _check_finite(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores, float32[..., vocabulary], of which each token's has a best that is finite.

        Raises:
            BundleError: a token has none.
        """
        if not np.isfinite(scores.max(axis=-1)).all():
            raise not_finite_error("logits", self._dtype)
        return scores

    def _advance(self, tokens: NDArray[np.int64], *, on_device: bool) -> Mapping[str, DeviceTensor]:
        new = tokens.shape[1]
        before = self._history.tokens.shape[1]
        if self._exceeds_limit(new):
            raise InputError(
                f"{before + new} tokens are more than the {self._max_length} that the model takes, prompt and new "
                "tokens together; shorten the prompt or ask for fewer tokens"
            )
        return self._run(tokens, before, on_device=on_device)

    def _exceeds_limit(self, new: int) -> bool:
        return self._max_length is not None and self._history.tokens.shape[1] + new > self._max_length

    @abstractmethod
    def _run(self, tokens: NDArray[np.int64], before: int, *, on_device: bool) -> Mapping[str, DeviceTensor]:
        """Append tokens and run the graph.

        Args:
            tokens: int64[rows, new].
            before: How many tokens the rows have had.
            on_device: Where the logits are needed.

        Returns:
            The outputs that were allocated.
        """

    @abstractmethod
    def _select_own(self, rows: NDArray[np.int64]) -> None:
        """As :meth:`select`, for what is not in the cache."""
