"""A fresh process that is timed until its first result."""

import time
from pathlib import Path

import pytest

from edgepipe import EdgepipeError
from edgepipe.benchmarking.benchmark import TEXT
from edgepipe.benchmarking.cold_start import _median, measure_cold_start, time_first_line
from tests.runtime.small_bundle import write_bundle


def test_a_process_that_fails_is_reported_by_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(EdgepipeError, match=r"cold start failed \(1\): .*no config.json"):
        measure_cold_start(tmp_path, {"providers": None}, TEXT, rounds=1, progress=lambda _: None)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("", r"failed \(0\): it said nothing"),
        ("import sys; sys.exit('one\\ntwo\\n \\n')", r"failed \(1\): two"),
        ("print(); import os; os._exit(7)", r"failed \(7\): it said nothing"),
        ("import sys; sys.stderr.buffer.write(b'\\xff' * 2**17); sys.exit(3)", r"failed \(3\): \ufffd+$"),
    ],
)
def test_a_process_that_gives_no_result(program: str, said: str) -> None:
    with pytest.raises(EdgepipeError, match=said):
        time_first_line(program, [])


def test_time_is_taken_at_the_first_line() -> None:
    program = "import json, time; print(flush=True); time.sleep(0.2); print(json.dumps({'peak_bytes': 5}))"
    start = time.perf_counter()
    seconds, memory = time_first_line(program, [])
    assert memory == {"peak_bytes": 5}
    assert 0 < seconds < time.perf_counter() - start - 0.1


def test_memory_that_no_system_tells_has_no_median() -> None:
    assert _median([3, None, 1, 2]) == 2
    assert _median([3, 4]) == 3, "whole bytes"
    assert _median([None, None]) is None


def test_a_round_more_is_run_than_counts(tmp_path: Path) -> None:
    lines: list[str] = []
    folder = write_bundle(tmp_path / "bundle")
    providers = [("CPUExecutionProvider", {"enable_cpu_mem_arena": 0})]
    options = {"providers": providers, "num_threads": 1}
    found = measure_cold_start(folder, options, TEXT, rounds=1, progress=lines.append, call={"top_k": 2})
    assert lines == ["cold start, warming up", "cold start 1 of 1"]
    assert 0 < found.min_ms == found.median_ms == found.max_ms
