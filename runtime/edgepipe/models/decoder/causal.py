"""Decoder-only graphs: one for the prompt and for every step after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe.backend.onnxruntime.session import Session, SessionConfig
from edgepipe.bundle.directory import Bundle
from edgepipe.errors import InputError
from edgepipe.models.decoder.logits_output import Logits
from edgepipe.models.decoder.scored import ScoredDecoding
from edgepipe.models.decoder.step_input import StepInput
from edgepipe.models.kv_cache import Cache, History, NoCache, layer_shapes, make_cache
from edgepipe.models.variants import chosen_variant, loading

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Room for new tokens where nobody says how long the rows are going to be.
ROOM = 64


class CausalGraph:
    """A causal language model's graph, loaded; a :class:`~edgepipe.generation.decoder_protocol.Decoder`.

    The attributes are the protocol's, and `session`.
    """

    is_encoder_decoder: bool = False
    max_source_length: int | None = None

    def __init__(self, bundle: Bundle, dtype: str | None = None, session: SessionConfig | None = None) -> None:
        self.dtype = chosen_variant(bundle, dtype, session)
        self.directory: Path = bundle.path
        self.config: Mapping[str, Any] = bundle.config
        self.generation_config: Mapping[str, Any] = bundle.generation_config
        self.max_length = bundle.max_length
        with loading(bundle, self.dtype, session):
            self.session = Session(bundle.graph(self.dtype), session)
        self._layers = layer_shapes(self.session, bundle.path)
        self._shares = bundle.shares_cache(self.dtype)

    def begin(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], max_length: int | None = None
    ) -> CausalDecoding:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoder`."""
        rows, length = input_ids.shape
        require_room(length, self.max_length)
        capacity = bounded(max(length, length + ROOM if max_length is None else max_length), self.max_length)
        return CausalDecoding(self, attention_mask, self._cache(rows, capacity))

    def scores(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """The scores of what follows every token, to measure how well a text is foretold.

        Args:
            input_ids: int64[rows, length].
            attention_mask: int64[rows, length], 0 for padding.

        Returns:
            float32[rows, length, vocabulary].
        """
        rows, length = input_ids.shape
        require_room(length, self.max_length)
        return CausalDecoding(self, attention_mask, self._cache(rows, length), every=True).step(input_ids)

    def _cache(self, rows: int, capacity: int) -> Cache:
        return make_cache(self._layers, rows, capacity, shares=self._shares, place=self.session.place)


def bounded(length: int, most: int | None) -> int:
    """`length`, or `most` where that is less."""
    return length if most is None else min(length, most)


def require_room(length: int, max_length: int | None) -> None:
    """Make sure that so many tokens fit.

    Raises:
        InputError: they do not.
    """
    if max_length is not None and length > max_length:
        raise InputError(
            f"{length} tokens are more than the {max_length} that the model takes, prompt and new tokens together; "
            "shorten the prompt or ask for fewer tokens"
        )


class CausalDecoding(ScoredDecoding):
    """Rows on their way through a causal graph; see :class:`~edgepipe.generation.decoder_protocol.Decoding`."""

    def __init__(
        self, graph: CausalGraph, attention_mask: NDArray[np.int64], cache: Cache, *, every: bool = False
    ) -> None:
        self._graph = graph
        self.keeps_scores = not graph.session.place.is_host
        self._inputs = graph.session.inputs
        self._binding = graph.session.bind()
        self._cache = cache
        self._cached = not isinstance(cache, NoCache)
        rows = len(attention_mask)
        self._prompt_mask = attention_mask
        self._history = History(rows)
        self._mask = np.empty((rows, 0), np.int64)
        self._written = {
            name: StepInput(self._binding, name, self._inputs[name], graph.session.place)
            for name in ("input_ids", "position_ids")
            if name in self._inputs
        }
        self._logits = Logits(graph.session, self._binding, every=every)

    def _run(self, tokens: NDArray[np.int64], bind_scores: Callable[[int, int], None]) -> Mapping[str, Any]:
        new = tokens.shape[1]
        before = self._mask.shape[1]
        require_room(before + new, self._graph.max_length)
        mask = np.ones_like(tokens) if before else self._prompt_mask[:, -new:]
        self._mask = np.concatenate([self._mask, mask], axis=1)
        self._history.append(np.where(mask == 0, -1, tokens) if not before else tokens)
        fed = tokens if self._cached else np.where(self._mask == 0, 0, self._history.tokens)
        self._written["input_ids"].write(fed)
        if "attention_mask" in self._inputs:  # longer at every step
            mask = np.ascontiguousarray(self._mask, dtype=self._inputs["attention_mask"])
            self._binding.feed("attention_mask", mask)
        if "position_ids" in self._written:
            # As transformers' GenerationMixin makes them: counted from the first token that is not padding.
            self._written["position_ids"].write(np.maximum(self._mask.cumsum(axis=1) - 1, 0)[:, -fed.shape[1] :])
        if "use_cache_branch" in self._inputs:
            self._binding.feed("use_cache_branch", np.array([before > 0]))
        self._cache.bind(self._binding, before + new)
        bind_scores(len(tokens), fed.shape[1])
        return self._binding.run()

    def select(self, rows: NDArray[np.int64]) -> None:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        if len(rows) == len(self._mask) and (rows == np.arange(len(rows))).all():
            return
        self._cache.select(rows, self._history.agreeing(rows))
        self._history.select(rows)
        self._mask = self._mask[rows]
