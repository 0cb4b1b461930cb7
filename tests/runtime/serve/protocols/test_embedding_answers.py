"""What becomes of long texts; the routes' tests have the vectors and similarities."""

from __future__ import annotations

import pytest

from edgepipe.serve.call import Call
from edgepipe.serve.protocols.embedding_answers import Direction, limit_texts
from tests.runtime.serve.protocols.conftest import TinyServer


@pytest.mark.parametrize(
    ("direction", "side"),
    [("Left", "left"), ("left", "left"), ("Right", "right"), ("right", "right"), (None, None)],
    ids=["Left", "left", "Right", "right", "none"],
)
def test_a_direction_is_a_side(direction: Direction | None, side: str | None) -> None:
    call = Call()
    limit_texts(call, False, direction)
    assert (call.cuts, call.cut_side) == (False, side)
    limit_texts(call, True, direction)
    assert call.cuts


def test_more_dimensions_than_there_are_are_refused(tiny_server: TinyServer) -> None:
    assert len(tiny_server.ask("/embed", inputs="a", dimensions=32)[0]) == 32
    response = tiny_server.post("/embed", {"inputs": ["a", "b"], "dimensions": 33})
    assert "dimensions=33 is more than the 32 of a vector" in response.json()["error"]


def test_a_cut_is_told_and_a_refusal_says_the_limit(tiny_server: TinyServer) -> None:
    cut = tiny_server.post("/embed", {"inputs": ["a", "a " * 80], "truncate": True})
    assert cut.headers["x-warning"] == "1 of 2 texts were cut at 64 tokens, which is the limit"
    refused = tiny_server.post("/embed", {"inputs": ["a", "a " * 80]})
    assert "1 of 2 texts have more than 64 tokens" in refused.json()["error"]
