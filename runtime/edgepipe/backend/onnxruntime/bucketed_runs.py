"""Runs of an encoder in a few fixed shapes, whose inputs and outputs stay where they are on the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe.backend.onnxruntime.device_memory import fetched
from edgepipe.backend.shape_buckets import Shape, axes_of, cut, fitting, padded, sized
from edgepipe.errors import BundleError, OutOfMemoryError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepipe.backend.onnxruntime.session import Session

    Arrays = Mapping[str, NDArray[Any]]

_Kind = tuple[Shape, bool, bool]

# What the outputs of all buckets may take together. Hidden states of 768 for 4,096 tokens take 12.6 MB, scores of
# 30,522 words for them 500 MB.
_MOST_BYTES = 2**29
# onnxruntime records a run after it has seen some of them, so that none of the memory it needs is new.
_RUNS_TO_CAPTURE = 3


class BucketedRuns:
    """Runs that pad their inputs to a bucket, where that changes nothing, and others that do not.

    A bucket has values for its inputs and outputs of its own, made when it is first used; in a session that captures,
    a recorded graph too. One run at a time uses them.

    That padding changes nothing is not believed but seen: the first run of a bucket, and the first that pads rows or
    tokens in it, is computed as it came as well. Where the two differ (a model that convolves over tokens, say, or one
    quantized by the extremes of whatever comes), such runs go on without the bucket.
    """

    def __init__(
        self, session: Session, buckets: Sequence[Shape], *, fill: Mapping[str, int], tolerance: float
    ) -> None:
        """Begin without values.

        Args:
            session: The loaded graph, whose inputs are all [batch, length].
            buckets: The shapes, the smallest first.
            fill: What padding holds in each input.
            tolerance: How far an output may be off, as a share of its largest value.
        """
        self._session = session
        self._fill = fill
        self._tolerance = tolerance
        inputs = session.input_shapes.get("input_ids", ())
        axes = {name: axes_of(shape, inputs) for name, shape in session.output_shapes.items()}
        self._axes = {name: each for name, each in axes.items() if each is not None}
        # Without names for all dimensions nobody can tell what of an output is padding.
        self._buckets = tuple(buckets) if len(self._axes) == len(axes) else ()
        self._pads_tokens = "attention_mask" in session.inputs
        self._bound: dict[Shape, _Bound | None] = {}
        self._proven: dict[_Kind, bool] = {}
        self._bytes = 0

    @property
    def buckets(self) -> tuple[Shape, ...]:
        """The shapes in use, the smallest first."""
        return self._buckets

    def __call__(self, feeds: Arrays) -> dict[str, NDArray[np.float32]]:
        """Run the graph on int64[rows, tokens] for each input; see :meth:`Session.run`."""
        rows, tokens = feeds["input_ids"].shape
        bucket = fitting(self._buckets, (rows, tokens), pads_tokens=self._pads_tokens)
        if bucket is None:
            return self._session.run(feeds)
        return self._session.alone(lambda: self._through(bucket, feeds))

    def warm_up(self, made: Callable[[int, int], Arrays]) -> None:
        """Make the values of every bucket, and try it with all that can come: full, and half empty in either way.

        Args:
            made: Gives inputs for so many rows and tokens.
        """
        for batch, length in self._buckets:
            for rows in {batch, (batch + 1) // 2}:
                for tokens in {length, (length + 1) // 2} if self._pads_tokens else {length}:
                    self._session.alone(partial(self._through, (batch, length), made(rows, tokens)))

    def _through(self, bucket: Shape, feeds: Arrays) -> dict[str, NDArray[np.float32]]:
        kind = _kind(bucket, feeds["input_ids"].shape)
        bound = self._values(bucket)
        if bound is None or self._proven.get(kind) is False:
            return self._session.run(feeds)
        if kind in self._proven:
            return self._run(bound, feeds, bucket)
        expected = self._session.run(feeds)
        self._proven[kind] = self._proves(bound, feeds, bucket, expected)
        return expected

    def is_used(self, rows: int, tokens: int) -> bool:
        """Whether runs of this shape go through a bucket. None of them does before the first has been tried."""
        bucket = fitting(self._buckets, (rows, tokens), pads_tokens=self._pads_tokens)
        return bucket is not None and self._proven.get(_kind(bucket, (rows, tokens))) is True

    def _run(self, bound: _Bound, feeds: Arrays, bucket: Shape) -> dict[str, NDArray[np.float32]]:
        shape = feeds["input_ids"].shape
        arrays = bound.run(padded(feeds, bucket, self._fill))
        return {name: cut(array, self._axes[name], (shape[0], shape[1])) for name, array in arrays.items()}

    def _proves(self, bound: _Bound, feeds: Arrays, bucket: Shape, expected: Arrays) -> bool:
        """Whether the bucket gives what was expected; one that fails cannot be used either."""
        try:
            if self._session.captures:
                for _ in range(_RUNS_TO_CAPTURE):
                    self._run(bound, feeds, bucket)
                self._session.run(feeds)  # a run in between must not disturb what was recorded
            found = self._run(bound, feeds, bucket)
        except (BundleError, OutOfMemoryError):
            return False
        return all(self._agree(found[name], expected[name]) for name in expected)

    def _agree(self, found: NDArray[Any], expected: NDArray[Any]) -> bool:
        largest = float(np.abs(expected).max(initial=1.0, where=np.isfinite(expected)))
        return np.allclose(found, expected, rtol=0.0, atol=self._tolerance * largest, equal_nan=True)

    def _values(self, bucket: Shape) -> _Bound | None:
        """A bucket's values; None where there is no room for them."""
        if bucket not in self._bound:
            self._bound[bucket] = self._made(bucket, len(self._bound) + 1)
        return self._bound[bucket]

    def _made(self, bucket: Shape, graph_id: int) -> _Bound | None:
        outputs = self._outputs(bucket)
        size = sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in outputs.values())
        if self._bytes + size > _MOST_BYTES:
            return None
        try:
            bound = _Bound(self._session, bucket, outputs, graph_id)
        except OutOfMemoryError:
            return None
        self._bytes += size
        return bound

    def _outputs(self, bucket: Shape) -> dict[str, tuple[tuple[int, ...], str]]:
        session = self._session
        return {
            name: (sized(session.output_shapes[name], axes, bucket), session.output_dtypes[name])
            for name, axes in self._axes.items()
        }


def _kind(bucket: Shape, shape: tuple[int, ...]) -> _Kind:
    """A bucket, and in what a batch of this shape is padded in it: rows, tokens."""
    return bucket, shape[0] < bucket[0], shape[1] < bucket[1]


class _Bound:
    """The values of one bucket."""

    def __init__(
        self, session: Session, bucket: Shape, outputs: Mapping[str, tuple[tuple[int, ...], str]], graph_id: int
    ) -> None:
        self._binding = session.bind(graph_id)
        self._inputs = {name: session.place.empty(bucket, dtype) for name, dtype in session.inputs.items()}
        self._outputs = {name: session.place.empty(shape, dtype) for name, (shape, dtype) in outputs.items()}
        for name, value in self._inputs.items():
            self._binding.feed(name, value)
        for name, value in self._outputs.items():
            self._binding.give(name, value)

    def run(self, feeds: Arrays) -> dict[str, NDArray[np.float32]]:
        for name, array in feeds.items():
            self._inputs[name].update_inplace(array)
        self._binding.run()
        return {name: fetched(value).astype(np.float32, copy=False) for name, value in self._outputs.items()}
