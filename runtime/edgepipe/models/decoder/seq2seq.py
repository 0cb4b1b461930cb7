"""Encoder-decoder graphs: the encoder once, then a decoder that projects its states at the first step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.device import Device, DeviceTensor, TensorView
from edgepipe.backend.session import SessionConfig
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.layout import (
    DECODER,
    ENCODER,
    PAST_SEQUENCE_LENGTH,
    PLAIN_DECODER,
    SOURCE_BATCH_SIZE,
    present_name,
)
from edgepipe.errors import InputError
from edgepipe.models.decoder.decoding import ROOM, GraphDecoder, GraphDecoding
from edgepipe.models.decoder.step_tensors import Logits, StepInput
from edgepipe.models.graph_outputs import check_output
from edgepipe.models.kv_cache import Cache, layer_shapes
from edgepipe.models.kv_memory import count_token_bytes
from edgepipe.models.variants import load_graph

# A row for each sequence, in the host's memory or on a device.
RowTensor = NDArray[Any] | TensorView


class EncoderDecoderGraphs(GraphDecoder):
    """The two graphs of an encoder-decoder, loaded; a :class:`~edgepipe.generation.decoder_protocol.Decoder`.

    Attributes:
        encoder: The encoder's session; the decoder's is `session`.
        cross: The inputs of the cache that hold keys and values of the source.
        broadcasts: Whether one row of the source serves all rows of the target.
    """

    is_encoder_decoder: bool = True

    def __init__(self, bundle: Bundle, dtype: str | None = None, session: SessionConfig | None = None) -> None:
        super().__init__(bundle, dtype, session, bundle.max_target_length)
        self.max_source_length = bundle.max_length
        decoder = DECODER if bundle.has_graph(self._stored, DECODER) else PLAIN_DECODER
        self.encoder = load_graph(bundle, self.dtype, session, ENCODER)
        self.session = load_graph(bundle, self.dtype, session, decoder, for_steps=True)
        shapes = layer_shapes(self.session, bundle.path)
        self.cross = {name: shape for name, shape in shapes.items() if ".encoder." in name}
        self._layers = {name: shape for name, shape in shapes.items() if name not in self.cross}
        mask = self.session.input_shapes.get("encoder_attention_mask")
        self.broadcasts = mask is not None and mask[0] == SOURCE_BATCH_SIZE
        self.shares = (
            bundle.shares_cache(self._stored)
            and PAST_SEQUENCE_LENGTH in self.session.optional_inputs
            and self.session.in_place
        )

    def begin(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], max_length: int | None = None
    ) -> EncoderDecoderDecoding:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoder`."""
        cache = self._create_cache(len(input_ids), max_length or ROOM)
        return EncoderDecoderDecoding(self, self._encode(input_ids, attention_mask), attention_mask, cache)

    def count_cache_bytes(self, inputs: int, width: int, input_length: int, length: int) -> int:
        """See :class:`~edgepipe.generation.decoder_protocol.Decoder`; those of the source are kept beside it."""
        sources = 1 if inputs == 1 and self.broadcasts else inputs * width
        own = super().count_cache_bytes(inputs, width, input_length, length)
        return own + sources * input_length * count_token_bytes(self.cross)

    def close(self) -> None:
        """Release both graphs; see :class:`GraphDecoder`."""
        self.encoder.close()
        super().close()

    def scores(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        decoder_input_ids: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """The logits of what follows every token of the target, to measure perplexity.

        Args:
            input_ids: int64[rows, length], the source.
            attention_mask: int64[rows, length], 0 for padding.
            decoder_input_ids: int64[rows, target], beginning with what the decoder starts with.

        Returns:
            float32[rows, target, vocabulary].
        """
        rows, length = decoder_input_ids.shape
        cache = self._create_cache(rows, length)
        states = self._encode(input_ids, attention_mask)
        decoding = EncoderDecoderDecoding(self, states, attention_mask, cache, every=True)
        if self.session.input_shapes["input_ids"][1] == 1:  # ProphetNet's decoder takes one token at a time
            steps = [decoding.step(decoder_input_ids[:, index : index + 1]) for index in range(length)]
            return np.concatenate(steps, axis=1)
        return decoding.step(decoder_input_ids)

    def _encode(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        length = input_ids.shape[1]
        if self.max_source_length is not None and length > self.max_source_length:
            raise InputError(
                f"{length} tokens are more than the {self.max_source_length} that the encoder takes; shorten the text "
                "or pass truncation=True"
            )
        feeds = {"input_ids": input_ids, "attention_mask": attention_mask}
        declared = {name: feeds[name].astype(dtype, copy=False) for name, dtype in self.encoder.inputs.items()}
        outputs = self.encoder.run(declared)
        name = next(iter(outputs))
        check_output(outputs, name, (len(input_ids), None, None))
        return outputs[name]


class EncoderDecoderDecoding(GraphDecoding):
    """Rows on their way through a decoder; see :class:`~edgepipe.generation.decoder_protocol.Decoding`."""

    def __init__(
        self,
        graphs: EncoderDecoderGraphs,
        states: NDArray[np.float32],
        attention_mask: NDArray[np.int64],
        cache: Cache | None,
        *,
        every: bool = False,
    ) -> None:
        super().__init__(graphs, len(states), cache)
        self._graphs = graphs
        self._every = every
        self._device = self._session.device
        # Which source each row is of, and which each row of the fixed tensors.
        self._sources = self._fixed_sources = np.arange(len(states))
        # What does not change from step to step. Of the source's keys there are none before the first.
        self._has_source = np.array([False])
        source = {
            "encoder_hidden_states": states,
            "encoder_attention_mask": attention_mask.astype(self._inputs.get("encoder_attention_mask", "int64")),
        }
        for name, (heads, width, dtype) in graphs.cross.items():
            source[name] = np.empty((len(states), heads, 0, width), dtype)
        self._fixed = {name: _store(array, self._device) for name, array in source.items()}
        self._bind_fixed()

    def _bind_fixed(self) -> None:
        """Bind what does not change, in a binding of its own."""
        self._binding = self._session.bind()
        self._logits = Logits(self._session, self._binding, every=self._every)
        for name in self._fixed.keys() & self._inputs.keys():
            rows = self._fixed[name]
            is_view = isinstance(rows, TensorView)
            self._binding.bind_input(name, rows if is_view else self._device.wrap(np.ascontiguousarray(rows)))
        if "use_cache_branch" in self._inputs:
            self._binding.bind_input("use_cache_branch", self._has_source)
        self._ids = StepInput(self._binding, "input_ids", self._inputs["input_ids"], self._device)
        self._past = StepInput(self._binding, PAST_SEQUENCE_LENGTH, "int64", self._device)

    def _run(self, tokens: NDArray[np.int64], before: int, *, on_device: bool) -> Mapping[str, DeviceTensor]:
        rows, new = tokens.shape
        self._history.append(tokens)
        fed = tokens if self._cache is not None else self._history.tokens
        self._ids.write(fed)
        if self._graphs.shares:
            self._past.write(np.array([before]))
        if self._cache is not None:
            self._cache.bind(self._binding, before + new)
        self._logits.bind(rows, fed.shape[1], on_device=on_device)
        if before == 0:
            for name in self._graphs.cross:
                self._binding.bind_output(present_name(name), None, self._device)
        outputs = self._binding.run()
        if before == 0 and self._graphs.cross:
            for name, (_, _, dtype) in self._graphs.cross.items():
                self._fixed[name] = _adopt(outputs[present_name(name)], self._device, dtype)
            self._has_source = np.array([True])
            self._bind_fixed()
        return outputs

    def _select_own(self, rows: NDArray[np.int64]) -> None:
        self._sources = needed = self._sources[rows]
        if self._graphs.broadcasts and (needed == needed[0]).all():
            needed = needed[:1]  # products with what all rows have in common need it once
        if not np.array_equal(needed, self._fixed_sources):
            indices = (self._fixed_sources == needed[:, None]).argmax(axis=1)
            self._fixed = {name: _gather(tensor, indices) for name, tensor in self._fixed.items()}
            self._fixed_sources = needed
            self._bind_fixed()


def _store(array: NDArray[Any], device: Device) -> RowTensor:
    """An array, [rows, ...], where the graph reads it."""
    if device.is_host:
        return array
    memory = device.copy(array) if array.size else device.empty((1,), array.dtype.name)
    return TensorView(memory, device, array.shape, array.dtype.name)


def _adopt(output: DeviceTensor, device: Device, dtype: str) -> RowTensor:
    """An output of a run, [rows, ...], as what later runs read."""
    return output.numpy() if device.is_host else TensorView(output, device, tuple(output.shape()), dtype)


def _gather(tensor: RowTensor, rows: NDArray[np.int64]) -> RowTensor:
    """The rows of these indices, int64[kept]."""
    if not isinstance(tensor, TensorView):
        return tensor[rows]
    shape = (len(rows), *tensor.shape[1:])
    memory = tensor.device.empty((max(1, math.prod(shape)),), tensor.dtype)
    gathered = TensorView(memory, tensor.device, shape, tensor.dtype)
    if math.prod(shape):
        tensor.device.gather_rows(_as_block(tensor), rows, _as_block(gathered))
    return gathered


def _as_block(view: TensorView) -> TensorView:
    """The same memory as [1, rows, 1, 1, all of a row]."""
    return replace(view, shape=(1, view.shape[0], 1, 1, math.prod(view.shape[1:])))
