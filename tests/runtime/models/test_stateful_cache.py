"""Keys and values that the engine keeps: what a run goes on from is what each row had."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepipe.backend.openvino.ov_host import HOST
from edgepipe.models.stateful_cache import StatefulCache

SHAPES = {"past_key_values.0.key": (2, 3, "float32"), "past_key_values.0.value": (1, 4, "float32")}


class StateGraph:
    """What a cache is bound to in place of a session: keys and values of a token are its number everywhere.

    Attributes:
        writes: How often states were written.
    """

    def __init__(self) -> None:
        self._states: dict[str, NDArray[Any]] = {}
        self._rows = np.empty(0, np.int64)
        self.writes = 0

    def choose_rows(self, rows: NDArray[np.int64]) -> None:
        self._rows = rows.copy()

    def clear_states(self) -> None:
        self._states = {}

    def read_states(self) -> dict[str, NDArray[Any]]:
        return {name: array.copy() for name, array in self._states.items()}

    def write_states(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._states = {name: array.copy() for name, array in arrays.items()}
        self.writes += 1

    def run(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Append tokens, int64[rows, new]; returns those that the states have then, float32[rows, total]."""
        assert self._rows.shape == (len(tokens),)
        found = []
        for name, (heads, width, dtype) in SHAPES.items():
            past = (
                self._states[name][self._rows]
                if name in self._states
                else np.zeros((len(tokens), heads, 0, width), dtype)
            )
            new = np.broadcast_to(tokens[:, None, :, None], (*tokens.shape[:1], heads, tokens.shape[1], width))
            state = self._states[name] = np.concatenate([past, new.astype(dtype)], axis=2)
            assert np.array_equal(state, np.broadcast_to(state[:, :1, :, :1], state.shape), equal_nan=True)
            found.append(state[:, 0, :, 0])
        assert np.array_equal(*found, equal_nan=True)
        return found[0]


def begin(tokens: Any) -> tuple[StatefulCache, StateGraph]:
    """A cache whose rows have read these tokens."""
    tokens = np.asarray(tokens)
    cache, graph = StatefulCache(SHAPES, len(tokens), HOST), StateGraph()
    step(cache, graph, tokens, tokens.shape[1])
    return cache, graph


def step(cache: StatefulCache, graph: StateGraph, tokens: Any, total: int) -> NDArray[np.float32]:
    """What the rows have behind these tokens."""
    cache.bind(graph, total)  # type: ignore[arg-type]
    found = graph.run(np.asarray(tokens))
    assert found.shape[1] == total
    return found


@pytest.mark.parametrize("seed", range(8))
def test_rows_go_on_with_what_they_had(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows: list[list[int]] = generator.integers(1, 9, (2, 3)).tolist()
    cache, graph = begin(rows)
    length = 3
    for _ in range(30):
        change = generator.choice(["nothing", "select", "join", "drop", "crop", "clear"])
        if change == "select":
            chosen = generator.integers(0, len(rows), generator.integers(1, 6))
            cache.select(chosen, np.zeros(len(chosen), np.int64))
            rows = [rows[index] for index in chosen]
        elif change == "join":
            others = generator.integers(1, 9, (int(generator.integers(1, 3)), int(generator.integers(1, 9))))
            total = max(length, others.shape[1])
            cache.join(begin(others)[0], total - length, total - others.shape[1])
            rows, length = [*rows, *others.tolist()], total
        elif change == "drop":
            columns = length - max(map(len, rows))
            cache.drop(columns)
            length -= columns
        elif change == "crop":
            forgotten = int(generator.integers(0, min(map(len, rows))))
            cache.crop(length - forgotten)
            rows, length = [row[: len(row) - forgotten] for row in rows], length - forgotten
        elif change == "clear":
            cache.clear()
            rows, length = [[] for _ in rows], 0
        new = int(generator.integers(1, 4))
        tokens = generator.integers(1, 9, (len(rows), new))
        rows, length = [[*row, *more] for row, more in zip(rows, tokens.tolist(), strict=True)], length + new
        found = step(cache, graph, tokens, length)
        for row, present in zip(rows, found, strict=True):
            assert present[length - len(row) :].tolist() == row
            assert np.isfinite(present).all(), "what is masked is multiplied by 0, and NaN would stay NaN"


def test_rows_that_move_are_not_copied() -> None:
    cache, graph = begin([[1, 2], [3, 4]])
    cache.select(np.array([1, 0, 1]), np.zeros(3, np.int64))
    cache.select(np.array([2, 1]), np.zeros(2, np.int64))
    assert step(cache, graph, [[5], [6]], 3).tolist() == [[3, 4, 5], [1, 2, 6]]
    assert graph.writes == 0


def test_rows_are_chosen_before_there_are_tokens() -> None:
    cache, graph = StatefulCache(SHAPES, 1, HOST), StateGraph()
    cache.select(np.array([0, 0, 0]), np.zeros(3, np.int64))
    assert step(cache, graph, [[1], [2], [3]], 1).tolist() == [[1], [2], [3]]


def test_a_row_begins_with_tokens_that_were_read() -> None:
    source, graph = begin([[1, 2, 3, 4, 5, 6, 7], [8] * 7])
    parts = [source.read(0, 3), source.read(3, 2)]
    assert [len(part) for part in parts] == [source.count_blocks()] * 2
    assert step(source, graph, [[9], [9]], 8)[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 9], "what was read is still there"
    cache, graph = StatefulCache(SHAPES, 1, HOST), StateGraph()
    cache.load(parts, 5)
    for array in (each for part in parts for each in part):
        array[...] = -1  # the cache has copies
    assert cache.read(1, 2)[0][0, 0, :, 0].tolist() == [2, 3]
    assert step(cache, graph, [[8, 9]], 7).tolist() == [[1, 2, 3, 4, 5, 8, 9]]


def test_rows_begin_with_those_of_caches_of_one_row() -> None:
    cache, graph = StatefulCache(SHAPES, 2, HOST), StateGraph()
    for row, tokens in enumerate(([1, 2, 3, 4], [5, 6])):
        cache.place(begin([tokens])[0], row, 4 - len(tokens))
    assert step(cache, graph, [[7], [8]], 5).tolist() == [[1, 2, 3, 4, 7], [0, 0, 5, 6, 8]]


def test_it_has_all_tokens() -> None:
    assert begin([[1, 2]])[0].is_whole
