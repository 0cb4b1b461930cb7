"""Memory is read by several threads."""

from __future__ import annotations

import pytest
from benchmarks.peers.writing.bandwidth import measure_bandwidth


@pytest.mark.parametrize("threads", [pytest.param(1, id="one"), pytest.param(3, id="three")])
def test_a_rate_comes_of_any_number_of_threads(threads: int) -> None:
    assert measure_bandwidth(threads, size=1 << 20, runs=2) > 0


def test_a_byte_that_ends_the_search_is_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.writing.bandwidth._ABSENT", 2)
    with pytest.raises(AssertionError, match="in no array"):
        measure_bandwidth(2, size=1 << 12, runs=1)
