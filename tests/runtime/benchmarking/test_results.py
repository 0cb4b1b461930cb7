"""Figures that follow from others, and how they are written."""

import json
from dataclasses import replace

import pytest

from edgepipe.benchmarking.generation_speed import NEW_TOKENS
from edgepipe.benchmarking.results import BenchReport, ColdStart, GenerationLatency, Latency, ShapeLatency


def test_latency_counts_in_milliseconds() -> None:
    latency = Latency.of([[0.001, 0.002, 0.003], [0.003, 0.004, 0.005]])
    assert (latency.p50_ms, latency.runs) == (pytest.approx(3.0), 6)
    assert latency.spread == pytest.approx((4 - 2) / 3)
    assert ShapeLatency.of(8, 16, latency).tokens_per_s == pytest.approx(8 * 16 / 0.003)


LATENCY = Latency(2.0, 3.0, 4.0, 0.25, 10)
REPORT = BenchReport(
    bundle="words",
    task="text-classification",
    dtype="fp32",
    bytes=1_250_000,
    providers=("CUDAExecutionProvider", "CPUExecutionProvider"),
    low_memory=True,
    threads=2,
    machine="a processor, 2 threads",
    versions={"python": "3.12", "numpy": "2.0"},
    rounds=3,
    shapes=(ShapeLatency.of(1, 16, LATENCY), ShapeLatency.of(8, 128, LATENCY)),
    request_tokens=9,
    request=LATENCY,
    cold_start=ColdStart(300.4, 290.0, 310.6, 50_000_000, None),
)


def test_the_spread_is_that_of_the_rounds_not_of_the_runs() -> None:
    assert Latency.of([[0.001, 0.009, 0.002], [0.002]]).spread == 0
    assert Latency.of([[0.004]]) == Latency(4.0, 4.0, 4.0, 0.0, 1)


def test_throughput_follows_from_the_median() -> None:
    found = GenerationLatency.of(4, 50, LATENCY, Latency(5.0, 6.0, 7.0, 0.0, 3))
    assert (found.prompt_tokens_per_s, found.new_tokens_per_s) == (100_000, 800)
    assert (REPORT.shapes[1].texts_per_s, REPORT.shapes[1].tokens_per_s) == (4000, 512_000)


def test_the_table_of_a_report() -> None:
    lines = REPORT.table().splitlines()
    assert lines[:3] == [
        "words: text-classification, fp32, 1.2 MB, low memory",
        "a processor, 2 threads; CUDA, CPU",
        "python 3.12, numpy 2.0",
    ]
    assert [" ".join(line.split()) for line in lines[7:9]] == [
        "1 16 2.00 ms 3.00 ms 4.00 ms 25% 10 500 8,000",
        "8 128 2.00 ms 3.00 ms 4.00 ms 25% 10 4,000 512,000",
    ]
    values = [line.rpartition("  ")[2] for line in lines[11:]]
    assert values == ["2.00 ms", "3.00 ms, 4.00 ms", "300 ms", "290 ms, 311 ms", "50.0 MB", "-"]
    assert lines[11].startswith("one text of 9 tokens, median ")


def test_a_report_of_generation_has_a_table_of_its_own() -> None:
    found = tuple(GenerationLatency.of(batch, length, LATENCY, LATENCY) for batch, length in [(1, 2), (3, 7)])
    report = replace(REPORT, shapes=(), generation=found, new_tokens=NEW_TOKENS)
    head, *rows = report.table().split("the graph alone\n")[1].splitlines()[:4]
    assert head.split()[:2] == ["batch", "prompt"]
    assert [row.split()[:2] for row in rows[1:]] == [["1", "2"], ["3", "7"]]
    assert f", {NEW_TOKENS} new, median" in report.table()
    assert json.loads(report.to_json())["generation"][1]["length"] == 7
