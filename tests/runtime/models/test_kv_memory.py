"""Keys and values that have no room are an error before the first token, with what is needed and what there is."""

from __future__ import annotations

import pytest

from edgepipe.backend.machine import MemoryBound
from edgepipe.errors import OutOfMemoryError
from edgepipe.models import kv_memory
from edgepipe.models.kv_memory import check_room, count_token_bytes, has_room

MEGABYTE = 1_000_000
WHAT = "8 sequences of up to 4,096 tokens"


def bound_by(monkeypatch: pytest.MonkeyPatch, *left: int) -> None:
    bounds = [MemoryBound(f"board {each}", 9000 * MEGABYTE, each * MEGABYTE) for each in left]
    monkeypatch.setattr(kv_memory, "memory_bounds", lambda: bounds)


def test_a_token_takes_what_all_layers_keep_of_it() -> None:
    shapes = {"past_key_values.0.key": (2, 64, "float32"), "past_key_values.0.value": (2, 32, "float16")}
    assert count_token_bytes(shapes) == 2 * 64 * 4 + 2 * 32 * 2
    assert count_token_bytes({}) == 0


def test_the_least_that_is_free_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    bound_by(monkeypatch, 900, 300)
    check_room(300 * MEGABYTE, WHAT, None)
    assert has_room(300 * MEGABYTE)
    assert not has_room(301 * MEGABYTE)
    with pytest.raises(OutOfMemoryError) as raised:
        check_room(301 * MEGABYTE, WHAT, None)
    said = str(raised.value)
    assert f"the keys and values of {WHAT} need 301 MB of memory, and board 300 has 300 MB free" in said
    assert "max_new_tokens" in said
    assert "batch_size" in said
    assert isinstance(raised.value, MemoryError)


def test_what_others_give_back_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    bound_by(monkeypatch, 300)
    check_room(350 * MEGABYTE, WHAT, None, held=50 * MEGABYTE)
    with pytest.raises(OutOfMemoryError, match="has 350 MB free"):
        check_room(351 * MEGABYTE, WHAT, None, held=50 * MEGABYTE)


def test_a_bound_by_hand_goes_before_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    bound_by(monkeypatch, 300)
    check_room(400 * MEGABYTE, WHAT, 400 * MEGABYTE)
    with pytest.raises(OutOfMemoryError, match="need 1,001 bytes, more than kv_cache_memory_bytes=1,000; ask"):
        check_room(1001, WHAT, 1000)


def test_nothing_is_known_of_a_device_and_little_is_never_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    bound_by(monkeypatch, 0)
    check_room(400 * MEGABYTE, WHAT, None, is_host=False)
    check_room(MEGABYTE, WHAT, None)
    assert has_room(MEGABYTE)


def test_without_any_bound_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    bound_by(monkeypatch)
    check_room(400 * MEGABYTE, WHAT, None)
    assert has_room(400 * MEGABYTE)
