"""A fresh process that is timed until its first result."""

from pathlib import Path

import pytest

from edgepipe import EdgepipeError
from edgepipe.benchmarking.benchmark import TEXT
from edgepipe.benchmarking.cold_start import measure_cold_start


def test_a_process_that_fails_is_reported_by_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(EdgepipeError, match=r"cold start failed \(1\): .*no config.json"):
        measure_cold_start(tmp_path, {"providers": None}, TEXT, rounds=1, progress=lambda _: None)
