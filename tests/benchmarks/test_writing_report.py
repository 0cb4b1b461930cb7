"""Rates, shares of the bandwidth, ratios and floors, from figures that are easy to divide."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.peers.writing.writing_report import build_record, count_equal, markdown


def answers(first: float, seconds: float) -> dict[str, list[dict[str, float]]]:
    """Two rounds that took the same behind both prompts."""
    return {length: [{"first_seconds": first, "seconds": seconds}] * 2 for length in ("32", "512")}


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    model = {
        "model": "gpt2",
        "new": 5,
        "left_out": {"onnxruntime-genai int4": "GPT-2 is not supported."},
        "bandwidths": [3e9, 1e9],
        "bytes_read": {"edgepipe w8": 100_000_000, "llama.cpp Q8_0": 110_000_000, "OpenVINO GenAI int8": 100_000_000},
        "answers": {
            # 4 tokens behind the first, in 0.4 seconds and in 0.5.
            "edgepipe w8": answers(1.0, 1.4),
            "llama.cpp Q8_0": answers(2.0, 2.5),
            "OpenVINO GenAI int8": answers(0.5, 1.5),
        },
        "equal_tokens": {"edgepipe w8": "3 of 10", "llama.cpp Q8_0": "10 of 10", "OpenVINO GenAI int8": ""},
        "starts": {"edgepipe w8": [0.5, 0.25], "llama.cpp Q8_0": [1.0, 1.0], "OpenVINO GenAI int8": [2.0, 2.0]},
    }
    return build_record([model], "python -m b", "a machine", 2)


def test_rates_are_of_the_prompt_and_of_what_comes_behind_its_token(record: dict[str, Any]) -> None:
    rates = record["models"][0]["rates"]["edgepipe w8"]
    assert rates["prompt of 512"] == [512, 512]
    assert rates["decode behind 512"] == [pytest.approx(10)] * 2


def test_a_share_is_of_the_median_bandwidth(record: dict[str, Any]) -> None:
    assert record["models"][0]["shares"]["edgepipe w8"]["decode behind 32"] == pytest.approx(100e6 * 10 / 2e9)


def test_a_ratio_is_of_the_same_round(record: dict[str, Any]) -> None:
    ratios = record["models"][0]["ratios"]
    assert set(ratios) == {"edgepipe w8 / llama.cpp Q8_0", "edgepipe w8 / OpenVINO GenAI int8"}
    starts = ratios["edgepipe w8 / llama.cpp Q8_0"]["start"]
    assert starts == {"median": 3.0, "worst": 2.0}


def test_floors_are_met_missed_or_not_measured(record: dict[str, Any]) -> None:
    page = markdown(record)
    for line in (
        "| edgepipe w8 / llama.cpp Q8_0 | decode behind 32 | 1.25 | 1.15 | met |",
        "| edgepipe w8 / bandwidth | decode behind 32 | 0.50 | 0.75 | missed |",
        "| edgepipe w8-rows / OpenVINO GenAI int8 | prompt of 512 |  | 0.90 | not measured |",
        "| edgepipe q4 / llama.cpp Q4_0 | decode behind 512 |  | 1.00 | not measured |",
    ):
        assert f"\n{line}\n" in page


def test_the_page(record: dict[str, Any]) -> None:
    page = markdown(record)
    for line in (
        "`python -m b`, on a machine.",
        "Bandwidth: 3.0 GB/s at best, 2.0 in the middle, 1.0 at least.",
        "| tokens a second (share) | MB a token | prompt of 32 | decode behind 32 | prompt of 512 | decode behind 512 "
        "| start, ms | equal tokens |",
        "| edgepipe w8 | 100 | 32 | 10 (50%) | 512 | 10 (50%) | 333 | 3 of 10 |",
        "- onnxruntime-genai int4 is left out: GPT-2 is not supported.",
    ):
        assert f"\n{line}\n" in page


def test_tokens_are_equal_up_to_the_first_that_is_not() -> None:
    reference = {"32": [{"tokens": [1, 2, 3, 4]}], "512": [{"tokens": [5, 6, 7, 8]}]}
    found = {"32": [{"tokens": [1, 2, 9, 4]}], "512": [{"tokens": [5, 6, 7, 8]}]}
    assert count_equal(found, reference) == "6 of 8"
    assert count_equal(found, None) == ""
