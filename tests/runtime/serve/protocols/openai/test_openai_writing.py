"""What completions and chats share: the cut before a stop text, penalties, and where options come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepipe import pipeline
from edgepipe.serve.protocols.openai.openai_writing import StopCut, TokenPenalties, WritingRequest, search_options
from tests.runtime.serve.writing_bundles import make_writer

SHORT = st.text("ab", min_size=1, max_size=4)


def cut_whole(text: str, stops: list[str]) -> str:
    """The text up to the stop text that is complete first."""
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)]
    return text


@given(st.lists(st.text("ab", max_size=3), max_size=8), st.lists(SHORT, max_size=4))
def test_a_text_in_any_pieces_is_cut_as_the_whole(pieces: list[str], stops: list[str]) -> None:
    expected = cut_whole("".join(pieces), stops)
    cut, shown = StopCut(stops), ""
    for place, piece in enumerate(pieces):
        shown += cut.push(piece, is_last=place == len(pieces) - 1)
        assert expected.startswith(shown), "no part of a stop text is ever shown"
        if cut.found:
            break
    assert shown == expected
    assert cut.found == (expected != "".join(pieces))


def test_what_begins_no_stop_text_is_not_held_back() -> None:
    cut = StopCut(["END", "STOP"])
    assert [cut.push(text) for text in ("so", " EN", "VY", " S", "T", "AND")] == ["so", " ", "ENVY", " ", "", "STAND"]


@pytest.mark.parametrize(
    ("presence", "frequency"),
    [pytest.param(0.5, 0.0, id="presence"), pytest.param(0.0, -1.5, id="frequency"), pytest.param(2, 0.25, id="both")],
)
def test_penalties_are_those_of_the_formula(presence: float, frequency: float) -> None:
    """https://platform.openai.com/docs/guides/text-generation, "Frequency and presence penalties"."""
    penalize = TokenPenalties(presence, frequency)
    prompt, written = [3, 3, 1], [2, 5, 2, 2, 1]
    for length in range(len(written) + 1):
        scores = np.arange(6, dtype=np.float32)[None]
        found = penalize(np.array([prompt + written[:length]]), scores.copy())
        counts = np.array([written[:length].count(token) for token in range(6)])
        expected = scores - counts * frequency - (counts > 0) * presence
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert found.dtype == np.float32


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_writer(tmp_path_factory.mktemp("writing"))


@pytest.mark.parametrize(
    ("own", "asked", "expected"),
    [
        pytest.param({}, {}, {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0}, id="OpenAI's"),
        pytest.param(
            {"temperature": 0.6, "top_k": 7}, {}, {"do_sample": True, "temperature": 0.6, "top_k": 7}, id="the bundle's"
        ),
        pytest.param(
            {"temperature": 0.6, "top_k": 7},
            {"temperature": 1.5, "top_p": 0.5},
            {"temperature": 1.5, "top_p": 0.5, "top_k": 7},
            id="the request's",
        ),
        pytest.param({}, {"temperature": 0}, {"do_sample": False}, id="greedy"),
        pytest.param({}, {"temperature": 1e-9}, {"do_sample": False}, id="too cold to divide by"),
    ],
)
def test_where_options_come_from(
    writer: Path, own: dict[str, Any], asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    task = pipeline("text-generation", writer, **own)
    found = search_options(WritingRequest(model="gpt2", **asked), task)
    assert found.items() >= expected.items()
    task.settings(task.merge_options(found))  # the pipeline takes them
    assert ("temperature" in found) == found["do_sample"]
