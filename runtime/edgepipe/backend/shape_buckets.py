"""Fixed shapes for inputs that have none: which one a batch goes to, how it is padded, what of the outputs is real."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe.arguments import is_whole
from edgepipe.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shape = tuple[int, int]
Axes = tuple[str | None, ...]

# What a GPU gets where nobody says otherwise. Chosen, not measured: padding at most doubles rows, and tokens beyond 16,
# and larger batches keep a GPU busy for long enough that starting its kernels one by one costs nothing.
_LENGTHS = (16, 32, 64, 128, 256, 512)
_BATCHES = (1, 2, 4, 8, 16, 32)
_MOST_TOKENS = 4096
ON_DEVICES: tuple[Shape, ...] = tuple(
    (batch, length) for batch in _BATCHES for length in _LENGTHS if batch * length <= _MOST_TOKENS
)


def check_buckets(buckets: object) -> tuple[Shape, ...]:
    """The shapes [batch, length], the smallest first.

    Raises:
        InputError: they are no pairs of positive whole numbers.
    """
    if not isinstance(buckets, Iterable) or isinstance(buckets, (str, bytes, Mapping)):
        raise InputError(
            f"buckets must be a list of (batch, length) pairs such as [(1, 128), (8, 64)], got {buckets!r}"
        )
    found = set()
    for entry in buckets:
        pair = tuple(entry) if isinstance(entry, (list, tuple)) else ()
        if len(pair) != 2 or not all(is_whole(size, 1) for size in pair):
            raise InputError(f"a bucket must be a pair of positive whole numbers (batch, length), got {entry!r}")
        found.add((int(pair[0]), int(pair[1])))
    return tuple(sorted(found, key=_size))


def find_bucket(buckets: Sequence[Shape], shape: Shape, *, pads_tokens: bool) -> Shape | None:
    """The smallest bucket that a batch fits into; None where there is none.

    Args:
        buckets: The smallest first.
        shape: Rows and tokens of the batch.
        pads_tokens: Whether tokens may be added; otherwise the length has to be the bucket's own.
    """
    rows, tokens = shape
    for batch, length in buckets:
        if rows <= batch and (tokens <= length if pads_tokens else tokens == length):
            return batch, length
    return None


def pad_to_bucket(feeds: Mapping[str, NDArray[Any]], bucket: Shape, fill: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """Inputs [rows, tokens] in a bucket's shape.

    Tokens are added at the end, with an attention mask of 0. Rows are added as copies of the first: a row that masks
    all of its tokens would give NaN, and extremes of its own where a graph quantizes whatever comes.

    Args:
        feeds: The inputs.
        bucket: Rows and tokens they are to have.
        fill: What padding holds in each input; 0 where it does not say.
    """
    found = {}
    for name, array in feeds.items():
        rows, tokens = array.shape
        full = np.full(bucket, fill.get(name, 0), array.dtype)
        full[:rows, :tokens] = array
        full[rows:, :tokens] = array[0]
        found[name] = full
    return found


def crop(array: NDArray[Any], axes: Axes, shape: Shape) -> NDArray[Any]:
    """The part of an output that belongs to what was not padding.

    Args:
        array: The output for the bucket.
        axes: What each axis is; see :func:`name_axes`.
        shape: Rows and tokens that were not padding.
    """
    real = {"batch": shape[0], "length": shape[1]}
    return array[tuple(slice(None) if axis is None else slice(real[axis]) for axis in axes)]


def name_axes(declared: Sequence[int | str | None], inputs: Sequence[int | str | None]) -> Axes | None:
    """What each axis of an output is: ``"batch"``, ``"length"``, or None for a fixed size.

    Args:
        declared: The output's declared shape.
        inputs: That of ``input_ids``.

    Returns:
        None where the graph does not say it all by the names of its dimensions.
    """
    if len(inputs) != 2 or not all(isinstance(name, str) for name in inputs) or inputs[0] == inputs[1]:
        return None
    roles = {inputs[0]: "batch", inputs[1]: "length"}
    if any(not isinstance(size, int) and size not in roles for size in declared):
        return None
    return tuple(None if isinstance(size, int) else roles[size] for size in declared)


def bucket_shape(declared: Sequence[int | str | None], axes: Axes, bucket: Shape) -> tuple[int, ...]:
    """The shape an output has for a bucket."""
    sizes = {"batch": bucket[0], "length": bucket[1]}
    return tuple(
        size if isinstance(size, int) else sizes[axis or ""] for size, axis in zip(declared, axes, strict=True)
    )


def _size(bucket: Shape) -> tuple[int, int]:
    return bucket[0] * bucket[1], bucket[1]
