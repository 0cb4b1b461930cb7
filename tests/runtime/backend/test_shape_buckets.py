"""Fixed shapes: which bucket a batch goes to, and what padding holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepipe import Model
from edgepipe.backend.shape_buckets import ON_DEVICES, check_buckets, find_bucket, pad_to_bucket, resolve_shape
from edgepipe.errors import InputError
from tests.runtime.small_bundle import LIMIT, write_bundle

BUCKETS = [(4, 16), (1, 8), (2, 8), (1, 4)]
sizes = st.integers(1, 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("buckets"))


@given(st.lists(st.tuples(sizes, sizes)), sizes, sizes, st.booleans())
def test_the_smallest_bucket_that_fits(pairs: list[tuple[int, int]], rows: int, tokens: int, pads: bool) -> None:
    buckets = check_buckets(pairs)
    fit = [bucket for bucket in buckets if rows <= bucket[0] and (tokens <= bucket[1] if pads else tokens == bucket[1])]
    found = find_bucket(buckets, (rows, tokens), pads_tokens=pads)
    if not fit:
        assert found is None
    else:
        assert found in fit
        assert found[0] * found[1] == min(batch * length for batch, length in fit)


@pytest.mark.parametrize(
    "buckets", ["1x8", 8, {"batch": 1}, [8], [(1, 2, 3)], [(0, 8)], [(1, -8)], [(1, 2.0)], [(True, 8)], [("1", "8")]]
)
def test_what_is_no_bucket(buckets: Any, folder: Path) -> None:
    with pytest.raises(InputError, match=r"must be a (list|pair) of .*, got "):
        Model.from_pretrained(folder, buckets=buckets)


def test_the_buckets_of_gpus_grow_in_small_steps() -> None:
    assert check_buckets(ON_DEVICES)[0] == (1, 16)
    assert (1, 512) in ON_DEVICES
    assert (32, 128) in ON_DEVICES
    for rows in range(1, 33):
        for tokens in range(16, 129):
            bucket = find_bucket(check_buckets(ON_DEVICES), (rows, tokens), pads_tokens=True)
            assert bucket is not None
            assert bucket[0] * bucket[1] <= 4 * rows * tokens


def test_padding_masks_tokens_and_repeats_a_row() -> None:
    feeds = {"input_ids": np.array([[5, 6], [7, 8]]), "attention_mask": np.array([[1, 1], [1, 0]])}
    found = pad_to_bucket(feeds, (3, 4), {"input_ids": 9})
    assert found["input_ids"].tolist() == [[5, 6, 9, 9], [7, 8, 9, 9], [5, 6, 9, 9]]
    assert found["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]]


def test_outputs_are_cut_by_the_names_of_their_axes() -> None:
    inputs = ["batch_size", "sequence_length"]
    assert resolve_shape(["batch_size", 2, "sequence_length", "sequence_length"], inputs, (3, 5)) == (3, 2, 5, 5)
    assert resolve_shape(["batch_size", "some_dimension"], inputs, (3, 5)) is None
    assert resolve_shape(["batch_size", None], inputs, (3, 5)) is None
    assert resolve_shape(["batch_size", 3], ["batch_size", 128], (3, 5)) is None
    assert resolve_shape([None, 3], [None, None], (3, 5)) is None


def test_buckets_beyond_the_model_s_limit_are_left_out(folder: Path) -> None:
    assert Model.from_pretrained(folder, buckets=[(1, LIMIT), (1, LIMIT + 1)]).buckets == ((1, LIMIT),)


def test_without_buckets_nothing_is_pad_to_bucket(folder: Path) -> None:
    assert Model.from_pretrained(folder).buckets == ()
    assert Model.from_pretrained(folder, buckets=[]).buckets == ()
