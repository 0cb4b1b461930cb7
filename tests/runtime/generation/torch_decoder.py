"""A decoder in PyTorch: the search is tested with the very logits and cache that ``generate`` has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import DynamicCache, EncoderDecoderCache

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TorchDecoder:
    """A transformers model as the search sees a decoder.

    Attributes:
        calls: Names and row counts of all calls to its decodings, in order.
        selections: The rows of each call to `select`.
    """

    directory = Path()
    dtype = "fp32"
    max_source_length = None
    switch_length = None
    reads_padding = False
    mixes_rows = False
    joins = False

    def __init__(self, model: Any, max_length: int | None = None) -> None:
        self.model = model
        self.config: Mapping[str, Any] = model.config.to_dict()
        self.generation_config: Mapping[str, Any] = model.generation_config.to_dict()
        self.is_encoder_decoder = bool(model.config.is_encoder_decoder)
        self.max_length = max_length
        self.calls: list[tuple[str, int]] = []
        self.selections: list[list[int]] = []

    def count_cache_bytes(self, inputs: int, width: int, input_length: int, length: int) -> int:
        return 0

    def has_room(self, needed: int) -> bool:
        return True

    def check_room(self, needed: int, what: str, most_bytes: int | None, held: int = 0) -> None:
        """There is always room."""

    def begin(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], max_length: int | None = None
    ) -> _TorchDecoding:
        return _TorchDecoding(self, torch.from_numpy(input_ids), torch.from_numpy(attention_mask))


class _TorchDecoding:
    scores_on_device = False
    cached = 0

    def __init__(self, decoder: TorchDecoder, input_ids: torch.Tensor, mask: torch.Tensor) -> None:
        self._decoder = decoder
        self._mask = mask
        config = decoder.model.config
        self._encoded = None
        self._cache: Any = DynamicCache(config=config)
        if decoder.is_encoder_decoder:
            self._cache = EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))
            with torch.no_grad():
                self._encoded = decoder.model.get_encoder()(input_ids=input_ids, attention_mask=mask)

    def step(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        self._decoder.calls.append(("step", len(tokens)))
        return self._advance(tokens)[:, -1]

    def step_every(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        self._decoder.calls.append(("step_every", tokens.shape[1]))
        return self._advance(tokens)

    def forget(self, count: int) -> None:
        self._decoder.calls.append(("forget", count))
        self._cache.crop(-count)
        self._mask = self._mask[:, :-count]

    def _advance(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        ids = torch.from_numpy(np.ascontiguousarray(tokens))
        if self._encoded is not None:
            inputs: dict[str, Any] = {"decoder_input_ids": ids, "encoder_outputs": self._encoded}
        else:
            grown = ids.shape[1] - (self._mask.shape[1] - self._cache.get_seq_length())
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(ids), grown)], dim=1)
            positions = (self._mask.cumsum(-1) - 1).masked_fill(self._mask == 0, 0)
            inputs = {"input_ids": ids, "position_ids": positions[:, -ids.shape[1] :]}
        with torch.no_grad():
            output = self._decoder.model(
                **inputs, attention_mask=self._mask, cache=self._cache, use_cache=True, return_dict=True
            )
        scores: NDArray[np.float32] = output.logits.to(torch.float32).numpy().copy()
        return scores

    def argmax(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self.step(tokens).argmax(axis=1)
        return found

    def select(self, rows: NDArray[np.int64]) -> None:
        self._decoder.calls.append(("select", len(rows)))
        self._decoder.selections.append(rows.tolist())
        index = torch.from_numpy(np.asarray(rows))
        self._cache.reorder_cache(index)
        self._mask = self._mask[index]
        if self._encoded is not None:
            self._encoded["last_hidden_state"] = self._encoded.last_hidden_state[index]
