"""Runs of an encoder in a few fixed shapes, whose inputs and outputs stay bound on the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.backend.session import Session
from edgepipe.backend.shape_buckets import Shape, find_bucket, pad_to_bucket, resolve_shape
from edgepipe.errors import BundleError, OutOfMemoryError

Arrays = Mapping[str, NDArray[Any]]


# A bucket, and what of it is padded: rows, tokens.
_Padding = tuple[Shape, bool, bool]

# What the outputs of all buckets may take together. Hidden states of 768 for 4,096 tokens take 12.6 MB, scores of
# 30,522 words for them 500 MB.
_MOST_BYTES = 2**29
# onnxruntime records a run after it has seen some of them, so that none of the memory it needs is new.
_RUNS_TO_CAPTURE = 3


class BucketedRuns:
    """Runs that pad their inputs to a bucket, where that changes nothing, and others that do not.

    A bucket has input and output tensors of its own, allocated when it is first used; in a session that captures, a
    recorded graph too. One run at a time uses them.

    Whether padding changes anything is measured: the first run of a bucket, and the first that pads rows or tokens in
    it, is computed without padding as well. Where the two differ (a model that convolves over tokens, say, or one
    quantized by the extremes of each batch), such runs go on without the bucket.
    """

    def __init__(
        self, session: Session, buckets: Sequence[Shape], *, fill: Mapping[str, int], tolerance: float
    ) -> None:
        """Begin without tensors.

        Args:
            session: The loaded graph, whose inputs are all [batch, length].
            buckets: The shapes, the smallest first.
            fill: What padding holds in each input.
            tolerance: How far an output may be off, as a share of its largest value.
        """
        self._session = session
        self._fill = fill
        self._tolerance = tolerance
        # Without names for all dimensions nobody can tell what of an output is padding.
        self._buckets = () if self._output_shapes((1, 1)) is None else tuple(buckets)
        self._pads_tokens = "attention_mask" in session.inputs
        self._bound: dict[Shape, _BoundTensors | None] = {}
        self._matches: dict[_Padding, bool] = {}
        self._bytes = 0

    @property
    def buckets(self) -> tuple[Shape, ...]:
        """The shapes in use, the smallest first."""
        return self._buckets

    def __call__(self, feeds: Arrays) -> dict[str, NDArray[np.float32]]:
        """Run the graph on int64[rows, tokens] for each input; see :meth:`Session.run`."""
        rows, tokens = feeds["input_ids"].shape
        bucket = find_bucket(self._buckets, (rows, tokens), pads_tokens=self._pads_tokens)
        if bucket is None:
            return self._session.run(feeds)
        return self._session.serial.run(lambda: self._run_in_bucket(bucket, feeds))

    def warm_up(self, example_feeds: Callable[[int, int], Arrays]) -> None:
        """Allocate every bucket, and try it with all that can come: full, and half empty in either way.

        Args:
            example_feeds: Gives inputs for so many rows and tokens.
        """
        for batch, length in self._buckets:
            for rows in {batch, (batch + 1) // 2}:
                for tokens in {length, (length + 1) // 2} if self._pads_tokens else {length}:
                    feeds = example_feeds(rows, tokens)
                    self._session.serial.run(partial(self._run_in_bucket, (batch, length), feeds))

    def is_used(self, rows: int, tokens: int) -> bool:
        """Whether runs of this shape go through a bucket. None of them does before the first has been tried."""
        bucket = find_bucket(self._buckets, (rows, tokens), pads_tokens=self._pads_tokens)
        return bucket is not None and self._matches.get(_padding_of(bucket, (rows, tokens))) is True

    def _run_in_bucket(self, bucket: Shape, feeds: Arrays) -> dict[str, NDArray[np.float32]]:
        padding = _padding_of(bucket, feeds["input_ids"].shape)
        if bucket not in self._bound:
            self._bound[bucket] = self._allocate(bucket, len(self._bound) + 1)
        bound = self._bound[bucket]
        if bound is None or self._matches.get(padding) is False:
            return self._session.run(feeds)
        if padding in self._matches:
            return self._run_padded(bound, feeds, bucket)
        expected = self._session.run(feeds)
        self._matches[padding] = self._compare(bound, feeds, bucket, expected)
        return expected

    def _run_padded(self, bound: _BoundTensors, feeds: Arrays, bucket: Shape) -> dict[str, NDArray[np.float32]]:
        rows, tokens = feeds["input_ids"].shape
        arrays = bound.run(pad_to_bucket(feeds, bucket, self._fill))
        shapes = self._output_shapes((rows, tokens)) or {}
        return {name: arrays[name][tuple(map(slice, shape))] for name, shape in shapes.items()}

    def _compare(self, bound: _BoundTensors, feeds: Arrays, bucket: Shape, expected: Arrays) -> bool:
        """Whether the bucket gives what was expected; one that fails cannot be used either."""
        try:
            if self._session.captures:
                for _ in range(_RUNS_TO_CAPTURE):
                    self._run_padded(bound, feeds, bucket)
                self._session.run(feeds)  # a run in between must not disturb what was recorded
            found = self._run_padded(bound, feeds, bucket)
        except (BundleError, OutOfMemoryError):
            return False
        return all(self._is_close(found[name], expected[name]) for name in expected)

    def _is_close(self, found: NDArray[Any], expected: NDArray[Any]) -> bool:
        largest = float(np.abs(expected).max(initial=1.0, where=np.isfinite(expected)))
        return np.allclose(found, expected, rtol=0.0, atol=self._tolerance * largest, equal_nan=True)

    def _allocate(self, bucket: Shape, graph_id: int) -> _BoundTensors | None:
        """A bucket's tensors; None where there is no room for them."""
        session = self._session
        shapes = self._output_shapes(bucket) or {}
        size = sum(math.prod(shape) * np.dtype(session.output_dtypes[name]).itemsize for name, shape in shapes.items())
        if self._bytes + size > _MOST_BYTES:
            return None
        try:
            bound = _BoundTensors(session, bucket, shapes, graph_id)
        except OutOfMemoryError:
            return None
        self._bytes += size
        return bound

    def _output_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]] | None:
        """The shape of each output for a batch of this shape; None where the graph does not say."""
        inputs = self._session.input_shapes.get("input_ids", ())
        declared = self._session.output_shapes
        found = {name: resolve_shape(sizes, inputs, shape) for name, sizes in declared.items()}
        resolved = {name: each for name, each in found.items() if each is not None}
        return resolved if len(resolved) == len(found) else None


def _padding_of(bucket: Shape, shape: tuple[int, ...]) -> _Padding:
    return bucket, shape[0] < bucket[0], shape[1] < bucket[1]


class _BoundTensors:
    """The inputs and outputs of one bucket."""

    def __init__(self, session: Session, bucket: Shape, outputs: Mapping[str, tuple[int, ...]], graph_id: int) -> None:
        self._device = session.device
        self._binding = session.bind(graph_id)
        self._inputs = {name: self._device.empty(bucket, dtype) for name, dtype in session.inputs.items()}
        self._outputs = {
            name: self._device.empty(shape, session.output_dtypes[name]) for name, shape in outputs.items()
        }
        for name, tensor in self._inputs.items():
            self._binding.bind_input(name, tensor)
        for name, tensor in self._outputs.items():
            self._binding.bind_output(name, tensor)

    def run(self, feeds: Arrays) -> dict[str, NDArray[np.float32]]:
        for name, array in feeds.items():
            self._inputs[name].update_inplace(array)
        self._binding.run()
        fetch = self._device.fetch
        return {name: fetch(tensor).astype(np.float32, copy=False) for name, tensor in self._outputs.items()}
