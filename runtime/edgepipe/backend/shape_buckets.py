"""Fixed shapes for inputs that have none: which one a batch goes to, and how it is padded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepipe.arguments import is_whole
from edgepipe.errors import InputError

Shape = tuple[int, int]

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
    """The first bucket that has room for so many rows and tokens; tokens are added only where `pads_tokens`."""
    rows, tokens = shape
    for batch, length in buckets:
        if rows <= batch and (tokens <= length if pads_tokens else tokens == length):
            return batch, length
    return None


def pad_to_bucket(feeds: Mapping[str, NDArray[Any]], bucket: Shape, fill: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """Inputs [rows, tokens] in a bucket's shape.

    Tokens are added at the end, from `fill` or 0, with an attention mask of 0. Rows are added as copies of the first:
    a row that masks all of its tokens would give NaN, and extremes of its own where a graph quantizes each batch.
    """
    found = {}
    for name, array in feeds.items():
        rows, tokens = array.shape
        full = np.full(bucket, fill.get(name, 0), array.dtype)
        full[:rows, :tokens] = array
        full[rows:, :tokens] = array[0]
        found[name] = full
    return found


def resolve_shape(
    declared: Sequence[int | str | None], inputs: Sequence[int | str | None], shape: Shape
) -> tuple[int, ...] | None:
    """The shape of an output for a batch.

    Args:
        declared: The output's declared shape.
        inputs: That of ``input_ids``, the names of batch and length.
        shape: Rows and tokens of the batch.

    Returns:
        None where the names of the dimensions do not tell.
    """
    if len(inputs) != 2 or not all(isinstance(name, str) for name in inputs) or inputs[0] == inputs[1]:
        return None
    sizes = dict(zip(inputs, shape, strict=True))
    found = [size if isinstance(size, int) else sizes.get(size) for size in declared]
    return None if None in found else tuple(size for size in found if size is not None)


def _size(bucket: Shape) -> tuple[int, int]:
    return bucket[0] * bucket[1], bucket[1]
