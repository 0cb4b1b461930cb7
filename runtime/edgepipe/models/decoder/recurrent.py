"""XLNet's graph: each token may see later ones, and every step reads two tokens behind kept hidden states.

What is kept of a token, its ``mems``, was computed when later tokens were not there. So a text has other scores than
its steps, and steps are taken exactly as transformers' ``generate`` takes them. The graph appends the token whose
place is to be filled, keeps all others from seeing it, and gives the scores of that place alone. It takes no mask:
padding on the left is read like any token, as in transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.device import DeviceTensor
from edgepipe.backend.session import SessionConfig
from edgepipe.bundle.directory import Bundle
from edgepipe.models.decoder.decoding import ROOM, GraphDecoder, GraphDecoding
from edgepipe.models.decoder.step_tensors import Logits, StepInput
from edgepipe.models.kv_cache import Cache, layer_shapes
from edgepipe.models.variants import load_graph

# The tokens that a step reads beside the mems: the last one, and the one before it again.
_READ_AGAIN = 2
# What transformers' XLNetConfig has where config.json says nothing.
_DEFAULT_MEM_LEN = 512


class RecurrentGraph(GraphDecoder):
    """XLNet's graph, loaded; a :class:`~edgepipe.generation.decoder_protocol.Decoder`."""

    is_encoder_decoder: bool = False
    max_source_length: int | None = None
    reads_padding = True
    shares = False

    def __init__(self, bundle: Bundle, dtype: str | None = None, session: SessionConfig | None = None) -> None:
        super().__init__(bundle, dtype, session, bundle.max_length)
        self.session = load_graph(bundle, self.dtype, session)
        self._layers = layer_shapes(self.session, bundle.path)

    def begin(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], max_length: int | None = None
    ) -> RecurrentDecoding:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoder`; the mask does not matter."""
        rows, length = input_ids.shape
        capacity = max(length, length + ROOM if max_length is None else max_length)
        return RecurrentDecoding(self, rows, self._create_cache(rows, capacity))

    def count_cache_bytes(self, inputs: int, width: int, input_length: int, length: int) -> int:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoder`; no more is kept than the config says."""
        mem_len = self.config.get("mem_len", _DEFAULT_MEM_LEN)
        return super().count_cache_bytes(inputs, width, input_length, min(length, mem_len) if mem_len else length)

    def scores(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """The logits of what follows every token, to measure perplexity: those of single steps.

        Args:
            input_ids: int64[rows, length].
            attention_mask: int64[rows, length]; does not matter.

        Returns:
            float32[rows, length, vocabulary].
        """
        decoding = self.begin(input_ids, attention_mask, input_ids.shape[1])
        columns = range(input_ids.shape[1])
        return np.stack([decoding.step(input_ids[:, column : column + 1]).copy() for column in columns], axis=1)


class RecurrentDecoding(GraphDecoding):
    """Rows on their way through XLNet's graph; see :class:`~edgepipe.generation.decoder_protocol.Decoding`."""

    def __init__(self, graph: RecurrentGraph, rows: int, cache: Cache | None) -> None:
        super().__init__(graph, rows, cache)
        self._config = graph.config
        self._binding = self._session.bind()
        self._written = StepInput(self._binding, "input_ids", self._inputs["input_ids"], self._session.device)
        self._logits = Logits(self._session, self._binding)
        self._kept = 0

    def _run(self, tokens: NDArray[np.int64], before: int, *, on_device: bool) -> Mapping[str, DeviceTensor]:
        self._history.append(tokens)
        fed = self._history.tokens
        if self._cache is not None:
            fed = fed[:, -_READ_AGAIN:] if before else fed
            self._kept = count_kept(self._kept, fed.shape[1], self._config)
            self._cache.bind(self._binding, self._kept)
        self._written.write(fed)
        self._logits.bind(len(tokens), 1, on_device=on_device)
        return self._binding.run()

    def _count_common(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """All or nothing: what is kept of a token depends on the one behind it too."""
        common = super()._count_common(rows)
        return np.where(common >= self._history.tokens.shape[1], common, 0)

    def _select_own(self, rows: NDArray[np.int64]) -> None:
        """The tokens are all that there is."""


def count_kept(kept: int, new: int, config: Mapping[str, Any]) -> int:
    """How many states of each layer a step leaves for the next one.

    As ``XLNetModel.cache_mem`` and ``XLNetLMHeadModel.prepare_inputs_for_generation`` cut them.

    Args:
        kept: How many there were.
        new: How many tokens the step reads; the graph appends one.
        config: The checkpoint's ``config.json``, with its ``mem_len`` and ``reuse_len``.
    """
    mem_len, reuse_len = config.get("mem_len", _DEFAULT_MEM_LEN), config.get("reuse_len")
    states = range(new + 1)[: reuse_len if reuse_len is not None and reuse_len > 0 else None]
    return len(range(kept + len(states))[-mem_len if mem_len else 0 :][:-_READ_AGAIN])
