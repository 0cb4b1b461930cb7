"""Encoder-decoder graphs: the encoder once, then a decoder that projects its states at the first step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe.backend.onnxruntime.session import Session, SessionConfig
from edgepipe.bundle.directory import DECODER, ENCODER, PLAIN_DECODER, Bundle
from edgepipe.errors import InputError
from edgepipe.models.decoder.causal import ROOM, bounded, require_room
from edgepipe.models.decoder.logits_output import Logits
from edgepipe.models.decoder.row_values import bindable, made, placed, taken
from edgepipe.models.decoder.scored import ScoredDecoding
from edgepipe.models.decoder.step_input import StepInput
from edgepipe.models.kv_cache import Cache, History, NoCache, layer_shapes, make_cache, present_name
from edgepipe.models.variants import chosen_variant, loading

if TYPE_CHECKING:
    from numpy.typing import NDArray

# An optional input of decoders that may have past and present in one buffer, int64[1]: how many tokens of it count.
PAST_LENGTH = "past_sequence_length"
# The first axis of what a decoder reads of the source, where one row of it does for any number of the target's.
SOURCE_ROWS = "source_batch_size"


class EncoderDecoderGraphs:
    """The two graphs of an encoder-decoder, loaded; a :class:`~edgepipe.generation.decoder_protocol.Decoder`.

    The attributes are the protocol's, the two sessions, the source's part of the cache (`cross`), and whether the
    target's past and present are one buffer (`shares`), and whether one row of the source serves all of the target's
    (`broadcasts`).
    """

    is_encoder_decoder: bool = True

    def __init__(self, bundle: Bundle, dtype: str | None = None, session: SessionConfig | None = None) -> None:
        self.dtype = chosen_variant(bundle, dtype, session)
        self.directory: Path = bundle.path
        self.config: Mapping[str, Any] = bundle.config
        self.generation_config: Mapping[str, Any] = bundle.generation_config
        self.max_source_length = bundle.max_length
        self.max_length = bundle.max_target_length
        decoder = DECODER if bundle.has_graph(self.dtype, DECODER) else PLAIN_DECODER
        with loading(bundle, self.dtype, session):
            self.encoder = Session(bundle.graph(self.dtype, ENCODER), session)
            self.session = Session(bundle.graph(self.dtype, decoder), session)
        shapes = layer_shapes(self.session, bundle.path)
        self.cross = {name: shape for name, shape in shapes.items() if ".encoder." in name}
        self._own = {name: shape for name, shape in shapes.items() if name not in self.cross}
        mask = self.session.input_shapes.get("encoder_attention_mask")
        self.broadcasts = mask is not None and mask[0] == SOURCE_ROWS
        self.shares = bundle.shares_cache(self.dtype) and PAST_LENGTH in self.session.optional_inputs

    def begin(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], max_length: int | None = None
    ) -> EncoderDecoderDecoding:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoder`."""
        cache = self._cache(len(input_ids), bounded(max_length or ROOM, self.max_length))
        return EncoderDecoderDecoding(self, self._encoded(input_ids, attention_mask), attention_mask, cache)

    def scores(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        decoder_input_ids: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """The scores of what follows every token of the target, to measure how well it is foretold.

        Args:
            input_ids: int64[rows, length], the source.
            attention_mask: int64[rows, length], 0 for padding.
            decoder_input_ids: int64[rows, target], beginning with what the decoder starts with.

        Returns:
            float32[rows, target, vocabulary].
        """
        rows, length = decoder_input_ids.shape
        cache = self._cache(rows, length)
        states = self._encoded(input_ids, attention_mask)
        decoding = EncoderDecoderDecoding(self, states, attention_mask, cache, every=True)
        if self.session.input_shapes["input_ids"][1] == 1:  # ProphetNet's decoder takes one token at a time
            each = [decoding.step(decoder_input_ids[:, place : place + 1]) for place in range(length)]
            return np.concatenate(each, axis=1)
        return decoding.step(decoder_input_ids)

    def _cache(self, rows: int, capacity: int) -> Cache:
        return make_cache(self._own, rows, capacity, shares=self.shares, place=self.session.place)

    def _encoded(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        length = input_ids.shape[1]
        if self.max_source_length is not None and length > self.max_source_length:
            raise InputError(
                f"{length} tokens are more than the {self.max_source_length} that the encoder takes; shorten the text "
                "or pass truncation=True"
            )
        feeds = {"input_ids": input_ids, "attention_mask": attention_mask}
        taken = {name: feeds[name].astype(dtype, copy=False) for name, dtype in self.encoder.inputs.items()}
        return next(iter(self.encoder.run(taken).values()))


class EncoderDecoderDecoding(ScoredDecoding):
    """Rows on their way through a decoder; see :class:`~edgepipe.generation.decoder_protocol.Decoding`."""

    def __init__(
        self,
        graphs: EncoderDecoderGraphs,
        states: NDArray[np.float32],
        attention_mask: NDArray[np.int64],
        cache: Cache,
        *,
        every: bool = False,
    ) -> None:
        self._graphs = graphs
        self._inputs = graphs.session.inputs
        self._cache = cache
        self._every = every
        self._cached = not isinstance(cache, NoCache)
        self._place = graphs.session.place
        self.keeps_scores = not self._place.is_host
        self._history = History(len(states))
        # Which source each row is of, and which each row of the fixed values.
        self._sources = self._held = np.arange(len(states))
        # What does not change from step to step. Of the source's keys there are none before the first.
        self._has_source = np.array([False])
        source = {
            "encoder_hidden_states": states,
            "encoder_attention_mask": attention_mask.astype(self._inputs.get("encoder_attention_mask", "int64")),
        }
        for name, (heads, width, dtype) in graphs.cross.items():
            source[name] = np.empty((len(states), heads, 0, width), dtype)
        self._fixed = {name: placed(array, self._place) for name, array in source.items()}
        self._open()

    def _open(self) -> None:
        """Bind what does not change."""
        self._binding = self._graphs.session.bind()
        self._logits = Logits(self._graphs.session, self._binding, every=self._every)
        for name in self._fixed.keys() & self._inputs.keys():
            self._binding.feed(name, bindable(self._fixed[name]))
        if "use_cache_branch" in self._inputs:
            self._binding.feed("use_cache_branch", self._has_source)
        self._ids = StepInput(self._binding, "input_ids", self._inputs["input_ids"], self._place)
        self._past = StepInput(self._binding, PAST_LENGTH, "int64", self._place)

    def _run(self, tokens: NDArray[np.int64], bind_scores: Callable[[int, int], None]) -> Mapping[str, Any]:
        rows, new = tokens.shape
        before = self._history.tokens.shape[1]
        require_room(before + new, self._graphs.max_length)
        self._history.append(tokens)
        fed = tokens if self._cached else self._history.tokens
        self._ids.write(fed)
        if self._graphs.shares:
            self._past.write(np.array([before]))
        self._cache.bind(self._binding, before + new)
        bind_scores(rows, fed.shape[1])
        if before == 0:
            for name in self._graphs.cross:
                self._binding.give(present_name(name), None, self._place)
        outputs = self._binding.run()
        if before == 0 and self._graphs.cross:
            for name, (_, _, dtype) in self._graphs.cross.items():
                self._fixed[name] = made(outputs[present_name(name)], self._place, dtype)
            self._has_source = np.array([True])
            self._open()
        return outputs

    def select(self, rows: NDArray[np.int64]) -> None:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        if len(rows) == len(self._sources) and (rows == np.arange(len(rows))).all():
            return
        self._cache.select(rows, self._history.agreeing(rows))
        self._history.select(rows)
        self._sources = self._sources[rows]
        held = self._sources
        if self._graphs.broadcasts and (held == held[0]).all():
            held = held[:1]  # products with what all rows have in common need it once
        if not np.array_equal(held, self._held):
            places = (self._held == held[:, None]).argmax(axis=1)
            self._fixed = {name: taken(value, places) for name, value in self._fixed.items()}
            self._held = held
            self._open()
