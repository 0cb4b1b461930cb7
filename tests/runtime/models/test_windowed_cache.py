"""Layers of both kinds through all that happens to rows: each reads the tokens that it may see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepipe.backend.onnxruntime.ort_device import HOST
from edgepipe.models import windowed_cache
from edgepipe.models.kv_cache import History
from edgepipe.models.windowed_cache import WindowedCache, count_room, create_windowed_cache
from tests.runtime.models.token_graph import TokenGraph

WINDOW, SPARE = 4, 5
WHOLE = {"past_key_values.0.key": (2, 3, "float32"), "past_key_values.0.value": (1, 4, "float32")}
LAST = {"past_key_values.1.key": (2, 3, "float32"), "past_key_values.2.value": (1, 5, "float32")}


@pytest.fixture(autouse=True)
def few_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowed_cache, "SPARE", SPARE)


class Graph(TokenGraph):
    """One of whose inputs some have all tokens, and some the last ones."""

    def step(self, cache: WindowedCache, tokens: NDArray[np.int64], total: int) -> None:
        """Have all layers read so many tokens, and the new ones among them."""
        cache.bind(self, total)  # type: ignore[arg-type]
        for name in self.inputs:
            self.append(name, cache.held if name in LAST else total - tokens.shape[1], tokens)

    def read(self, cache: WindowedCache, new: int, total: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """The tokens that the layers of each kind have, [rows, tokens]."""
        whole, *_ = [self.read_tokens(name, total) for name in WHOLE]
        last, *_ = [self.read_tokens(name, cache.held + new) for name in LAST]
        return whole, last


def make(rows: int, prompt: int, *, shares: bool = True, whole: bool = True) -> WindowedCache:
    shapes = WHOLE if whole else {}
    return create_windowed_cache(shapes, LAST, WINDOW, rows, 200, prompt, shares=shares, device=HOST)


@pytest.mark.parametrize("shares", [True, False], ids=["one buffer", "two buffers"])
@pytest.mark.parametrize("seed", range(6))
def test_rows_go_on_with_what_they_had(seed: int, shares: bool) -> None:
    generator = np.random.default_rng(seed)
    rows, new = 3, int(generator.integers(1, 30))
    cache, graph, history = make(rows, new, shares=shares), Graph(), History(rows)
    wanted = np.zeros((rows, 0), np.int64)
    most = 0
    for step in range(90):
        tokens = generator.integers(0, 2, (len(wanted), 1 if step else new))
        history.append(tokens)
        wanted = np.concatenate([wanted, tokens], axis=1)
        graph.step(cache, tokens, wanted.shape[1])
        whole, last = graph.read(cache, tokens.shape[1], wanted.shape[1])
        np.testing.assert_array_equal(whole, wanted)
        np.testing.assert_array_equal(last, wanted[:, wanted.shape[1] - last.shape[1] :])
        assert last.shape[1] >= min(WINDOW, wanted.shape[1])
        most = max(most, last.shape[1]) if step else 0
        if generator.random() < 0.3:
            chosen = generator.integers(0, len(wanted), generator.integers(1, 6))
            cache.select(chosen, history.count_common(chosen))
            history.select(chosen)
            wanted = wanted[chosen]
    assert most <= max(new + 1, count_room(WINDOW, 0))
    assert not cache.is_whole


@pytest.mark.parametrize("shares", [True, False], ids=["one buffer", "two buffers"])
def test_memory_is_that_of_the_window(shares: bool) -> None:
    cache, graph = make(2, 50, shares=shares), Graph()
    graph.step(cache, np.ones((2, 50), np.int64), 50)
    graph.step(cache, np.ones((2, 1), np.int64), 51)
    assert cache.held == WINDOW - 1 + SPARE
    graph.step(cache, np.ones((2, 1), np.int64), 52)
    buffers = [value for value in vars(cache._windowed).values() if hasattr(value, "most_rows")]
    sizes = [memory.nbytes for buffer in buffers for memory in buffer._memories]
    of_a_token = 2 * (2 * 3 + 5) * 4
    assert sum(sizes) == of_a_token * count_room(WINDOW, 0) * (1 if shares else 2)


@pytest.mark.parametrize("seed", range(8))
def test_rows_that_join_go_on_with_what_they_had(seed: int) -> None:
    generator = np.random.default_rng(seed)
    cache, graph, length = make(1, 1), Graph(), 1
    rows: list[list[int]] = [[5]]
    graph.step(cache, np.array(rows), 1)
    for _ in range(60):
        if generator.random() < 0.2:
            new, steps = int(generator.integers(1, 40)), int(generator.integers(0, 20))
            others = generator.integers(1, 9, (1, new + steps))
            other, reader = make(1, new), Graph()
            reader.step(other, others[:, :new], new)
            for end in range(new + 1, new + steps + 1):
                reader.step(other, others[:, end - 1 : end], end)
            total = max(length, new + steps)
            cache.join(other, total - length, total - new - steps)
            rows, length = [*rows, *others.tolist()], total
        if len(rows) > 1 and generator.random() < 0.2:
            kept = generator.permutation(len(rows))[: int(generator.integers(1, len(rows)))]
            cache.select(kept, np.zeros(len(kept), np.int64))
            rows = [rows[index] for index in kept]
        if (columns := length - max(map(len, rows))) and generator.random() < 0.5:
            cache.drop(columns)
            length -= columns
        tokens = generator.integers(1, 9, (len(rows), 1))
        rows, length = [[*row, int(token)] for row, token in zip(rows, tokens[:, 0], strict=True)], length + 1
        graph.step(cache, tokens, length)
        whole, last = graph.read(cache, 1, length)
        assert np.isfinite(last).all(), "what is masked is multiplied by 0, and NaN would stay NaN"
        for index, row in enumerate(rows):
            assert whole[index, length - len(row) :].tolist() == row
            seen = min(WINDOW, len(row))
            assert last[index, last.shape[1] - seen :].tolist() == row[-seen:]


def test_a_prefix_is_read_and_loaded_while_it_is_whole() -> None:
    cache, graph = make(1, 9), Graph()
    tokens = np.arange(9)[None]
    graph.step(cache, tokens, 9)
    assert cache.is_whole
    parts = [cache.read(0, 4), cache.read(4, 3)]
    assert len(parts[0]) == cache.count_blocks() == 4
    again, reader = make(1, 9), Graph()
    again.load(parts, 7)
    reader.step(again, tokens[:, 7:], 9)
    whole, last = reader.read(again, 2, 9)
    assert whole.tolist() == last.tolist() == tokens.tolist()
    placed = make(2, 12)
    for row, columns in ((0, 3), (1, 3)):
        placed.place(again, row, columns)
    writer = Graph()
    writer.step(placed, np.array([[7], [8]]), 13)
    _, last = writer.read(placed, 1, 13)
    assert last.tolist() == [[0, 0, 0, *range(9), 7], [0, 0, 0, *range(9), 8]]


def test_tokens_are_taken_back_as_far_as_there_are_some() -> None:
    cache, graph = make(1, 40, whole=False), Graph()
    graph.step(cache, np.arange(40)[None], 40)
    graph.step(cache, np.array([[40]]), 41)
    cache.crop(41 - SPARE)
    graph.step(cache, np.array([[99]]), 42 - SPARE)
    name = "present.1.key"
    assert graph.outputs[name][0, 0, cache.held - WINDOW + 1 : cache.held + 1, 0].tolist() == [33, 34, 35, 99]
    with pytest.raises(AssertionError, match="a window reaches tokens that are forgotten"):
        cache.crop(35 - SPARE)


def test_a_cleared_cache_begins_anew() -> None:
    cache, graph = make(1, 30), Graph()
    graph.step(cache, np.ones((1, 30), np.int64), 30)
    graph.step(cache, np.ones((1, 1), np.int64), 31)
    cache.clear()
    assert cache.is_whole
    graph.step(cache, np.arange(20)[None], 20)
    whole, last = graph.read(cache, 20, 20)
    assert whole.tolist() == last.tolist() == [list(range(20))]
