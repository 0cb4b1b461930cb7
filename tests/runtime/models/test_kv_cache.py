"""Keys and values from step to step: what a decoder would read as its past is what it wrote, row by row."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepipe.backend.onnxruntime.ort_device import HOST, OrtDevice
from edgepipe.models.kv_cache import History, SharedBufferCache, SwappedBufferCache, create_cache
from tests.runtime.models.device_memory import DEVICE
from tests.runtime.models.token_graph import TokenGraph

SHAPES = {"past_key_values.0.key": (2, 3, "float32"), "past_key_values.0.value": (1, 4, "float32")}


class Graph(TokenGraph):
    """One whose inputs have all tokens."""

    def run(self, tokens: NDArray[np.int64], total: int) -> NDArray[np.float32]:
        """The tokens that the cache has for each row, float32[rows, total]."""
        for name in self.inputs:
            self.append(name, total - tokens.shape[1], tokens)
        found = [self.read_tokens(name, total) for name in self.inputs]
        assert all(np.array_equal(found[0], each) for each in found)
        return found[0]


@pytest.mark.parametrize(
    ("kind", "shares", "device"),
    [
        (SharedBufferCache, True, HOST),
        (SwappedBufferCache, False, HOST),
        (SharedBufferCache, True, DEVICE),
        (SwappedBufferCache, False, DEVICE),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_rows_go_on_with_what_they_had(seed: int, kind: type, shares: bool, device: OrtDevice) -> None:
    generator = np.random.default_rng(seed)
    rows = 3
    cache = create_cache(SHAPES, rows, 4, shares=shares, device=device)  # to be outgrown
    assert isinstance(cache, kind)
    graph, history = Graph(), History(rows)
    wanted = np.zeros((rows, 0), np.int64)
    for step in range(25):
        tokens = generator.integers(0, 3, (len(wanted), 5 if step == 0 else 1))
        history.append(tokens)
        wanted = np.concatenate([wanted, tokens], axis=1)
        cache.bind(graph, wanted.shape[1])  # type: ignore[arg-type]
        assert np.array_equal(graph.run(tokens, wanted.shape[1]), wanted)
        chosen = generator.integers(0, len(wanted), generator.integers(1, 6))
        cache.select(chosen, history.count_common(chosen))
        history.select(chosen)
        wanted = wanted[chosen]


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("device", [HOST, DEVICE])
def test_a_cleared_cache_begins_anew_with_the_rows_it_has(shares: bool, device: OrtDevice) -> None:
    cache = create_cache(SHAPES, 2, 4, shares=shares, device=device)
    assert cache is not None
    graph, tokens = Graph(), np.array([[1, 2, 3], [4, 5, 6]])
    cache.bind(graph, 3)  # type: ignore[arg-type]
    graph.run(tokens, 3)
    cache.select(np.array([1, 0, 1]), np.zeros(3, np.int64))
    cache.clear()
    anew = np.arange(15).reshape(3, 5)
    cache.bind(graph, 5)  # type: ignore[arg-type]
    np.testing.assert_array_equal(graph.run(anew, 5), anew)
    more = np.array([[7], [8], [9]])
    cache.bind(graph, 6)  # type: ignore[arg-type]
    np.testing.assert_array_equal(graph.run(more, 6), np.concatenate([anew, more], axis=1))


def test_rows_of_one_text_agree_as_far_as_their_tokens_do() -> None:
    history = History(2)
    history.append(np.array([[7, 8, 9], [7, 8, 9]]))
    twice = np.array([0, 0, 1])
    assert history.count_common(twice).tolist() == [3, 0, 0], "another input, and a place that was not there"
    history.select(twice)
    history.append(np.array([[1], [2], [1]]))
    assert history.count_common(np.array([1, 0, 2])).tolist() == [3, 3, 4]
    assert history.count_common(np.array([2, 1, 0])).tolist() == [0, 4, 0]


def test_what_lies_where_it_belongs_is_not_moved() -> None:
    cache = create_cache(SHAPES, 2, 8, shares=True, device=HOST)
    graph = Graph()
    cache.bind(graph, 6)  # type: ignore[arg-type]
    graph.run(np.arange(12).reshape(2, 6), 6)
    key = graph.inputs["past_key_values.0.key"]
    key[0, :, :4] = -1  # as if it were common to both rows
    cache.select(np.array([0, 0]), np.array([6, 4]))
    assert key[1, 0, :6, 0].tolist() == [6, 7, 8, 9, 4, 5], "only from the fourth token on"


@pytest.mark.parametrize("shares", [True, False], ids=["one buffer", "two buffers"])
@pytest.mark.parametrize("seed", range(8))
def test_rows_that_join_go_on_with_what_they_had(seed: int, shares: bool) -> None:
    generator = np.random.default_rng(seed)
    cache = create_cache(SHAPES, 1, 3, shares=shares, device=HOST)
    assert cache is not None
    graph, length = Graph(), 1
    rows: list[list[int]] = [[int(generator.integers(1, 9))]]
    cache.bind(graph, 1)  # type: ignore[arg-type]
    graph.run(np.array(rows), 1)
    for _ in range(20):
        if generator.random() < 0.5:
            count, new = int(generator.integers(1, 3)), int(generator.integers(1, 12))
            others = generator.integers(1, 9, (count, new))
            other, reader = create_cache(SHAPES, count, new, shares=shares, device=HOST), Graph()
            assert other is not None
            other.bind(reader, new)  # type: ignore[arg-type]
            reader.run(others, new)
            total = max(length, new)
            cache.join(other, total - length, total - new)
            rows, length = [*rows, *others.tolist()], total
        if len(rows) > 1 and generator.random() < 0.5:
            kept = generator.permutation(len(rows))[: int(generator.integers(1, len(rows)))]
            cache.select(kept, np.zeros(len(kept), np.int64))
            rows = [rows[index] for index in kept]
        if (columns := length - max(map(len, rows))) and generator.random() < 0.5:
            cache.drop(columns)
            length -= columns
        tokens = generator.integers(1, 9, (len(rows), 1))
        rows, length = [[*row, int(token)] for row, token in zip(rows, tokens[:, 0], strict=True)], length + 1
        cache.bind(graph, length)  # type: ignore[arg-type]
        found = graph.run(tokens, length)
        for row, present in zip(rows, found, strict=True):
            assert present[length - len(row) :].tolist() == row
            assert np.isfinite(present).all(), "what is masked is multiplied by 0, and NaN would stay NaN"


@pytest.mark.parametrize("shares", [True, False], ids=["one buffer", "two buffers"])
@pytest.mark.parametrize("room", [1, 4, 12])
def test_a_row_begins_with_tokens_that_were_read(shares: bool, room: int) -> None:
    source, graph = create_cache(SHAPES, 2, 7, shares=shares, device=HOST), Graph()
    assert source is not None
    source.bind(graph, 7)  # type: ignore[arg-type]
    graph.run(np.array([[1, 2, 3, 4, 5, 6, 7], [8] * 7]), 7)
    parts = [source.read(0, 3), source.read(3, 2)]
    cache, graph = create_cache(SHAPES, 1, room, shares=shares, device=HOST), Graph()
    assert cache is not None
    cache.load(parts, 5)
    for array in (each for part in parts for each in part):
        array[...] = -1  # the cache has copies
    cache.bind(graph, 7)  # type: ignore[arg-type]
    assert graph.run(np.array([[8, 9]]), 7).tolist() == [[1, 2, 3, 4, 5, 8, 9]]


@pytest.mark.parametrize("shares", [True, False], ids=["one buffer", "two buffers"])
@pytest.mark.parametrize("room", [1, 4, 12])
def test_rows_begin_with_those_of_caches_of_one_row(shares: bool, room: int) -> None:
    cache, graph = create_cache(SHAPES, 2, room, shares=shares, device=HOST), Graph()
    assert cache is not None
    for row, tokens in enumerate(([1, 2, 3, 4], [5, 6])):
        other, reader = create_cache(SHAPES, 1, 4, shares=shares, device=HOST), Graph()
        assert other is not None
        other.bind(reader, len(tokens))  # type: ignore[arg-type]
        reader.run(np.array([tokens]), len(tokens))
        cache.place(other, row, 4 - len(tokens))
    cache.bind(graph, 5)  # type: ignore[arg-type]
    assert graph.run(np.array([[7], [8]]), 5).tolist() == [[1, 2, 3, 4, 7], [0, 0, 5, 6, 8]]


def test_rows_join_in_place_where_there_is_room() -> None:
    caches = [create_cache(SHAPES, 1, 8, shares=True, device=HOST) for _ in range(4)]
    graph = Graph()
    for index, cache in enumerate(caches):
        assert isinstance(cache, SharedBufferCache)
        cache.bind(graph, 2)  # type: ignore[arg-type]
        graph.run(np.array([[index, index + 10]]), 2)
    first = caches[0]
    assert isinstance(first, SharedBufferCache)
    places = []
    for other in caches[1:]:
        assert isinstance(other, SharedBufferCache)
        first.join(other, 0, 0)
        first.bind(graph, 2)  # type: ignore[arg-type]
        places.append(graph.inputs["past_key_values.0.key"].ctypes.data)
    assert len(set(places)) == 1, "the first join made room for more"
    assert graph.inputs["past_key_values.0.value"][:, 0, :2, 0].tolist() == [[0, 10], [1, 11], [2, 12], [3, 13]]


def test_what_joins_is_of_another_input_and_shorter_rows_get_padding() -> None:
    history, other = History(1), History(2)
    history.append(np.array([[7, 8, 9]]))
    other.append(np.array([[7], [4]]))
    history.join(other)
    assert history.tokens.tolist() == [[7, 8, 9], [-1, -1, 7], [-1, -1, 4]]
    assert history.count_common(np.array([0, 0, 2])).tolist() == [3, 0, 3]
    assert history.count_padding() == 0
    history.select(np.array([1, 2]))
    assert history.count_padding() == 2
    history.drop(2)
    assert history.tokens.tolist() == [[7], [4]]
    assert History(3).count_padding() == 0


@pytest.mark.parametrize("shares", [True, False])
def test_last_tokens_are_forgotten(shares: bool) -> None:
    cache = create_cache(SHAPES, 1, 4, shares=shares, device=HOST)
    assert cache is not None
    graph, text = Graph(), np.empty((1, 0), np.int64)
    for new, forgotten in ((3, 0), (5, 4), (2, 1), (6, 6), (1, 0), (9, 8), (1, 0)):
        tokens = np.arange(new)[None] + 10 * text.shape[1]
        text = np.concatenate([text, tokens], axis=1)
        cache.bind(graph, text.shape[1])  # type: ignore[arg-type]
        np.testing.assert_array_equal(graph.run(tokens, text.shape[1]), text)
        text = text[:, : text.shape[1] - forgotten]
        cache.crop(text.shape[1])


def test_a_history_forgets_its_last_tokens() -> None:
    history = History(2)
    history.append(np.array([[1, 2, 3], [4, 5, 6]]))
    history.crop(2)
    assert history.tokens.tolist() == [[1, 2], [4, 5]]
