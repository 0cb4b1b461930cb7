"""Prefixes in a tree: what a prompt has in common with any of them is found, within the bytes that there are."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepipe.models.decoder.prefix_tree import PrefixTree, Reader
from edgepipe.models.kv_buffers import KeyValues
from edgepipe.numerics import count_shared

SHAPES = {"past_key_values.0.key": (2, 3, "float32"), "past_key_values.0.value": (1, 4, "float16")}
TOKEN_BYTES = 2 * 3 * 4 + 1 * 4 * 2
# Few tokens, so that sequences begin alike.
PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=12)


def reader(ids: Sequence[int]) -> Reader:
    """Reads states that tell all tokens up to theirs: the sum of token and place times a power of the place."""
    told = np.cumsum((np.asarray(ids) + 1) * 3.0 ** np.arange(len(ids)) % 97)

    def read(start: int, length: int) -> KeyValues:
        part = told[start : start + length]
        return [
            np.broadcast_to(part[None, None, :, None], (1, 2, length, 3)).astype(np.float32),
            np.broadcast_to(part[None, None, :, None], (1, 1, length, 4)).astype(np.float16),
        ]

    return read


def hold(tree: PrefixTree, ids: Sequence[int], most: int = 1 << 20, *, pinned: bool = False) -> int:
    return tree.insert(ids, reader(ids), most, pinned=pinned)


def found(tree: PrefixTree, ids: Sequence[int]) -> int:
    """How many tokens are held; their states are those that were read."""
    length, parts = tree.match(np.array(ids, np.int64))
    expected = reader(ids)(0, length)
    for index, array in enumerate(expected):
        joined = np.concatenate([part[index] for part in parts], axis=2) if parts else array[:, :, :0]
        np.testing.assert_array_equal(joined, array)
    return length


@settings(max_examples=150, deadline=None)
@given(prompts=PROMPTS, asked=PROMPTS)
def test_the_longest_common_run_is_found_and_held_once(prompts: list[list[int]], asked: list[list[int]]) -> None:
    tree = PrefixTree(SHAPES)
    for ids in prompts:
        assert hold(tree, ids) == len(ids)
    for ids in asked + prompts:
        assert found(tree, ids) == max(count_shared(ids, other) for other in prompts)
    distinct = {tuple(ids[: end + 1]) for ids in prompts for end in range(len(ids))}
    assert tree.count_bytes() == len(distinct) * TOKEN_BYTES
    assert tree.token_bytes == TOKEN_BYTES


@settings(max_examples=150, deadline=None)
@given(prompts=PROMPTS, pins=st.lists(st.booleans(), min_size=12, max_size=12), tokens=st.integers(0, 20))
def test_it_takes_no_more_than_its_bytes_and_keeps_what_is_pinned(
    prompts: list[list[int]], pins: list[bool], tokens: int
) -> None:
    tree, most = PrefixTree(SHAPES), tokens * TOKEN_BYTES + TOKEN_BYTES // 2
    pinned: list[list[int]] = []
    for ids, pin in zip(prompts, pins, strict=False):
        fits = tree.count_bytes(pinned=True) + tree.count_new_bytes(ids) <= most
        held = hold(tree, ids, most, pinned=pin)
        assert held <= found(tree, ids)
        assert not fits or held == len(ids)
        if pin and held == len(ids):
            pinned.append(ids)
        assert tree.count_bytes() <= most
        assert all(found(tree, each) == len(each) for each in pinned)
    tree.evict()
    distinct = {tuple(ids[: end + 1]) for ids in pinned for end in range(len(ids))}
    assert tree.count_bytes() == tree.count_bytes(pinned=True) == len(distinct) * TOKEN_BYTES
    tree.clear()
    assert not tree
    assert found(tree, prompts[0]) == tree.count_bytes() == 0


def test_what_was_used_longest_ago_goes_first() -> None:
    tree, most = PrefixTree(SHAPES), 9 * TOKEN_BYTES
    for first in (1, 2, 3):
        assert hold(tree, [first] * 3, most) == 3
    found(tree, [1] * 3)
    assert hold(tree, [4] * 3, most) == 3
    assert [found(tree, [first] * 3) for first in (1, 2, 3, 4)] == [3, 0, 3, 3]
    # What a prefix begins with does not go for its end.
    assert hold(tree, [1] * 8, most) == 8
    assert found(tree, [1] * 8) == 8


def test_a_prefix_without_room_is_held_as_far_as_there_is_some() -> None:
    tree, most = PrefixTree(SHAPES), 5 * TOKEN_BYTES
    assert hold(tree, [1, 2, 3], most, pinned=True) == 3
    assert hold(tree, [4] * 9, most) == 2
    assert hold(tree, [4] * 9, most, pinned=True) == 2
    assert tree.count_bytes(pinned=True) == 3 * TOKEN_BYTES
    assert hold(tree, [5], 0) == 0
    assert tree.count_bytes() == 3 * TOKEN_BYTES


def test_what_is_held_already_may_be_pinned() -> None:
    tree = PrefixTree(SHAPES)
    hold(tree, [1, 2, 3, 4])
    assert not tree.pin([1, 2, 5])
    assert tree.pin([1, 2])
    tree.evict()
    assert found(tree, [1, 2, 3, 4]) == 2


def test_what_was_found_stays_as_it_is_whatever_becomes_of_the_tree() -> None:
    tree = PrefixTree(SHAPES)
    hold(tree, [1, 2, 3, 4])
    length, parts = tree.match(np.array([1, 2, 3]))
    hold(tree, [1, 5])
    tree.clear()
    assert length == 3
    np.testing.assert_array_equal(parts[0][0], reader([1, 2, 3])(0, 3)[0])


def test_several_threads_use_one_tree() -> None:
    tree, most, failures = PrefixTree(SHAPES), 12 * TOKEN_BYTES, []

    def work(seed: int) -> None:
        generator = np.random.default_rng(seed)
        try:
            for _ in range(150):
                ids = generator.integers(0, 3, int(generator.integers(1, 9))).tolist()
                hold(tree, ids, most)
                found(tree, ids)
                assert tree.count_bytes() <= most
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
