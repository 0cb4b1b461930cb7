"""Decoder-only graphs: one for the prompt and for every step after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.device import DeviceTensor
from edgepipe.backend.session import Session, SessionConfig
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.layout import PAST_WINDOW_LENGTH
from edgepipe.errors import InputError
from edgepipe.models.decoder.decoding import ROOM, GraphDecoder, GraphDecoding
from edgepipe.models.decoder.prefix_tree import PrefixTree
from edgepipe.models.decoder.step_tensors import Logits, StepInput
from edgepipe.models.kv_buffers import KeyValues
from edgepipe.models.kv_cache import Cache, layer_shapes, pad_and_stack
from edgepipe.models.kv_memory import count_token_bytes
from edgepipe.models.variants import load_graph, reads_prompts_apart
from edgepipe.models.windowed_cache import WindowedCache, count_room, create_windowed_cache

# Model types: Reformer takes no mask; the others count positions from the first token of a row, padding or not.
READ_PADDING = frozenset({
    "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "marian", "mbart", "mvp", "pegasus", "plbart",
    "reformer", "roformer",
})  # fmt: skip


# Most tokens of a row that are read together. With more, scores of pairs of which one does not see the other take time;
# with fewer, products take longer a token: `python -m benchmarks.graphs.prompts BUNDLE --parts 512 256 128`.
_LONGEST_PART = 256
# All parts but the last are multiples of it. ``MatMulNBits`` computes the last of an odd number of rows in another way.
_PART_STEP = 64
# Columns that are padding in all rows are dropped when they are at least this part of all: then the few steps that they
# would slow down as much as dropping takes are soon over.
_WORTH_DROPPING = 4
# Prompts of a batch are read one after another where each has so many cached tokens on average: a prompt by itself
# reads all weights, which takes about as long as computing so many tokens.
_WORTH_READING_APART = 16


class CausalGraph(GraphDecoder):
    """A causal language model's graph, loaded; a :class:`~edgepipe.generation.decoder_protocol.Decoder`.

    Attributes:
        prompt_session: What reads prompts where that is another form of the graph; else `session`.
        limits_past: Whether the graph asks how many tokens the layers with a window have keys and values of.
        window: How many of the last tokens these see; None where they keep all.
    """

    is_encoder_decoder: bool = False
    max_source_length: int | None = None

    def __init__(self, bundle: Bundle, dtype: str | None = None, session: SessionConfig | None = None) -> None:
        super().__init__(bundle, dtype, session, bundle.max_length)
        self.session = load_graph(bundle, self.dtype, session, for_steps=True)
        self._layers = layer_shapes(self.session, bundle.path)
        self.prompt_session = self.session
        if reads_prompts_apart(bundle, self.dtype, session):
            self.prompt_session = load_graph(bundle, self.dtype, session)
            if not self._layers:  # every step reads the whole text
                self.session.close()
                self.session = self.prompt_session
        self.shares = bundle.shares_cache(self._stored) and self.session.in_place
        self._joins_rows = bool(self._layers) and bundle.joins_rows(self._stored)
        self.reads_padding = bundle.config.get("model_type") in READ_PADDING
        # A row of Reformer that hashes reads the states of the first one.
        self.mixes_rows = any(name.endswith(".buckets") for name in self._layers)
        self.prefixes = PrefixTree(self._layers) if self.joins else None
        self.limits_past = PAST_WINDOW_LENGTH in self.session.optional_inputs
        forgets = self.limits_past and self.session.device.is_host  # in a device's memory rows move as a whole
        self.window = bundle.attention_window(self._stored) if forgets else None
        self._windowed = {
            name: shape
            for name, shape in self._layers.items()
            if self.window is not None and self.session.input_shapes[name][2] == PAST_WINDOW_LENGTH
        }

    @property
    def joins(self) -> bool:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoder`; in a device's memory rows move as a whole."""
        return self._joins_rows and self.session.device.is_host and not (self.reads_padding or self.mixes_rows)

    def begin(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], max_length: int | None = None
    ) -> CausalDecoding:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoder`."""
        rows, length = input_ids.shape
        capacity = max(length, length + ROOM if max_length is None else max_length)
        decoding = CausalDecoding(self, attention_mask, self._create_cache(rows, capacity, length))
        found = self._match(input_ids, attention_mask)
        if rows == 1 and found:
            decoding.load(input_ids, *found[0])
        elif sum(length for length, _ in found) >= rows * _WORTH_READING_APART:
            decoding.reads_apart = True
        return decoding

    def close(self) -> None:
        """Release the graphs; see :class:`GraphDecoder`."""
        self.prompt_session.close()
        super().close()

    def count_cache_bytes(self, inputs: int, width: int, input_length: int, length: int) -> int:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoder`; layers with a window forget what is before it."""
        every = super().count_cache_bytes(inputs, width, input_length, length)
        if self.window is None or not self._windowed:
            return every
        forgotten = max(0, length - count_room(self.window, input_length))
        return every - inputs * width * forgotten * count_token_bytes(self._windowed) * (1 if self.shares else 2)

    def _create_cache(self, rows: int, capacity: int, prompt: int = 0) -> Cache | None:
        """See :class:`GraphDecoder`; at first so many tokens are read."""
        if self.window is None or not self._windowed:
            return super()._create_cache(rows, capacity)
        whole = {name: shape for name, shape in self._layers.items() if name not in self._windowed}
        capacity, device = self._bound_capacity(capacity), self.session.device
        return create_windowed_cache(
            whole, self._windowed, self.window, rows, capacity, prompt, shares=self.shares, device=device
        )

    def _match(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> list[tuple[int, list[KeyValues]]]:
        """What is cached of each prompt, but for its last token; nothing where none of it may be used.

        The arguments are those of :meth:`begin`.
        """
        length = input_ids.shape[1]
        if not self.prefixes or not self.can_cache(length):
            return []
        padding = np.argmax(attention_mask != 0, axis=1)
        if not (attention_mask.astype(bool).sum(axis=1) == length - padding).all():  # a hole, or nothing but padding
            return []
        if len(input_ids) == 1 and padding[0]:
            return []
        return [self.prefixes.match(ids[start:-1]) for ids, start in zip(input_ids, padding.tolist(), strict=True)]

    def scores(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """The logits of what follows every token, to measure perplexity.

        Args:
            input_ids: int64[rows, length].
            attention_mask: int64[rows, length], 0 for padding.

        Returns:
            float32[rows, length, vocabulary].
        """
        rows, length = input_ids.shape
        cache = self._create_cache(rows, length, length)
        return CausalDecoding(self, attention_mask, cache, every=True).step(input_ids)


class CausalDecoding(GraphDecoding):
    """Rows on their way through a causal graph; see :class:`~edgepipe.generation.decoder_protocol.Decoding`.

    Attributes:
        reads_apart: Whether each row reads its prompt by itself, behind what is cached of it, and joins the others
            then. ``GroupQueryAttention`` takes several tokens behind a past for one row alone.
    """

    reads_apart = False
    _decoder: CausalGraph

    def __init__(
        self, graph: CausalGraph, attention_mask: NDArray[np.int64], cache: Cache | None, *, every: bool = False
    ) -> None:
        super().__init__(graph, len(attention_mask), cache)
        self._switch = graph.rotary_switch
        self._prompt_mask = attention_mask
        self._mask = np.empty((len(attention_mask), 0), np.int64)
        self._every = every
        self._bind(graph.prompt_session)

    def _logits_of(self, tokens: NDArray[np.int64]) -> Logits:
        """See :class:`GraphDecoding`; it is the graph for prompts that reads several tokens, or the first one."""
        is_step = tokens.shape[1] == 1 and self._mask.shape[1]
        session = self._decoder.session if is_step else self._decoder.prompt_session
        if session is not self._session:
            self._bind(session)
        return self._logits

    def _bind(self, session: Session) -> None:
        """Have the next runs be those of a graph."""
        self._session = session
        self._binding = binding = session.bind()
        device = session.device
        self._written = {
            name: StepInput(binding, name, self._inputs[name], device)
            for name in ("input_ids", "position_ids")
            if name in self._inputs
        }
        self._logits = Logits(session, binding, every=self._every)
        self._held = StepInput(binding, PAST_WINDOW_LENGTH, "int64", device) if self._decoder.limits_past else None

    def load(self, input_ids: NDArray[np.int64], length: int, states: Sequence[KeyValues]) -> None:
        """Begin with the keys and values of the first tokens of a prompt, for one row.

        Args:
            input_ids: The prompt, int64[1, tokens].
            length: How many of its tokens they are of.
            states: The keys and values; see :meth:`Cache.load`.
        """
        if length:
            assert self._cache is not None
            self._cache.load(states, length)
            self._append(input_ids[:, :length], np.ones((1, length), np.int64))
            self.cached = length

    def step(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        if self.reads_apart:
            self.reads_apart = False
            return self._read_apart(tokens)
        return super().step(tokens)

    def _read_apart(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the whole prompts, int64[rows, tokens], of which some begin as others did; see `reads_apart`."""
        assert self._cache is not None
        scores = []
        for row, before in enumerate(np.argmax(self._prompt_mask != 0, axis=1).tolist()):
            ids = tokens[row : row + 1, before:]
            decoding = self._decoder.begin(ids, np.ones_like(ids), ids.shape[1])
            scores.append(decoding.step(ids))
            assert decoding._cache is not None
            self._cache.place(decoding._cache, row, before)
        self._append(tokens, self._prompt_mask)
        return np.concatenate(scores)

    def _append(self, tokens: NDArray[np.int64], mask: NDArray[np.int64]) -> None:
        """Have read tokens, int64[rows, new], of which some are padding."""
        self._mask = np.concatenate([self._mask, mask], axis=1)
        self._history.append(np.where(mask == 0, -1, tokens))

    def _run(self, tokens: NDArray[np.int64], before: int, *, on_device: bool) -> Mapping[str, DeviceTensor]:
        new = tokens.shape[1]
        mask = np.ones_like(tokens) if before else self._prompt_mask[:, -new:]
        self._append(tokens, mask)
        restarts = self._crosses_switch(new)
        if restarts and self._cache is not None:
            self._cache.clear()
        reads_all = restarts or self._cache is None
        fed = np.where(self._mask == 0, 0, self._history.tokens) if reads_all else tokens
        self._written["input_ids"].write(fed)
        if "attention_mask" in self._inputs:  # longer at every step
            mask = np.ascontiguousarray(self._mask, dtype=self._inputs["attention_mask"])
            self._binding.bind_input("attention_mask", mask)
        if "position_ids" in self._written:
            # As transformers' GenerationMixin makes them: counted from the first token that is not padding.
            self._written["position_ids"].write(np.maximum(self._mask.cumsum(axis=1) - 1, 0)[:, -fed.shape[1] :])
        if "use_cache_branch" in self._inputs:
            self._binding.bind_input("use_cache_branch", np.array([before > 0 and not restarts]))
        if self._cache is not None:
            self._cache.bind(self._binding, before + new)
        if self._held is not None:
            all_before = before + new - fed.shape[1]
            held = self._cache.held if isinstance(self._cache, WindowedCache) else all_before
            self._held.write(np.array([held]))
        self._logits.bind(len(tokens), fed.shape[1], on_device=on_device)
        return self._binding.run()

    def _crosses_switch(self, new: int) -> bool:
        """Whether what the rows have had is to be read again, because their positions change with so many new tokens.

        As in transformers' ``prepare_inputs_for_generation`` of Phi-3.

        Raises:
            InputError: some rows are past the switch, and others not; what these give would depend on those.
        """
        if self._switch is None:
            return False
        lengths = self._mask.sum(axis=1)
        shortest, longest = int(lengths.min()), int(lengths.max())
        if longest <= self._switch.length:
            return False
        if shortest <= self._switch.length:
            raise InputError(
                f"a batch has rows of {shortest} and of {longest} tokens, and this model has other positions from "
                f"{self._switch.length + 1} tokens on (rope type longrope): give rows of one length, or one at a time"
            )
        return self._switch.restarts and 0 < longest - new <= self._switch.length

    def join(self, other: CausalDecoding) -> None:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`; for a graph that `joins`."""
        assert self._cache is not None
        assert other._cache is not None
        own, others = self._mask.shape[1], other._mask.shape[1]
        length = max(own, others)
        self._cache.join(other._cache, length - own, length - others)
        self._history.join(other._history)
        self._mask = pad_and_stack(self._mask, other._mask, 0)

    def drop_padding(self) -> None:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`."""
        columns = self._history.count_padding()
        if columns * _WORTH_DROPPING >= self._mask.shape[1]:
            self._drop(columns)

    def forget(self, count: int) -> None:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoding`; for a graph that `joins`."""
        assert self._cache is not None
        length = self._mask.shape[1] - count
        self._cache.crop(length)
        self._history.crop(length)
        self._mask = self._mask[:, :length]

    def _advance(self, tokens: NDArray[np.int64], *, on_device: bool) -> Mapping[str, DeviceTensor]:
        tokens, self.cached = tokens[:, self.cached :], 0
        if self._exceeds_limit(tokens.shape[1]):
            # Columns count, and where a longer row has left, no row has as many tokens.
            self._drop(self._history.count_padding())
        *parts, last = self._split(tokens)
        for part in parts:
            super()._advance(part, on_device=on_device)
        return super()._advance(last, on_device=on_device)

    def _split(self, tokens: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """The parts that tokens are read in, one after another: ``GroupQueryAttention`` takes a past for one row alone.

        It computes the scores of all pairs of tokens that are read together, though no token sees later ones.
        """
        length, graph = tokens.shape[1], self._decoder
        splits = graph.shares and graph.joins and graph.window is None and self._switch is None
        whole = self._logits.every or self._exceeds_limit(length) or not self._prompt_mask.all()
        if len(tokens) > 1 or length <= _LONGEST_PART or not splits or whole:
            return [tokens]
        count = -(-length // _LONGEST_PART)
        size = -(-length // (count * _PART_STEP)) * _PART_STEP
        return [tokens[:, start : start + size] for start in range(0, length, size)]

    def _drop(self, columns: int) -> None:
        if columns and self._cache is not None:
            self._cache.drop(columns)
            self._history.drop(columns)
            self._mask = self._mask[:, columns:]

    def _select_own(self, rows: NDArray[np.int64]) -> None:
        self._mask = self._mask[rows]
