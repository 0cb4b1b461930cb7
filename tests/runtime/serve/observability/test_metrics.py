"""What is counted, as Prometheus reads it; of several processes together."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from edgepipe.serve.observability.metrics import MULTIPROCESS_FOLDER, ServerMetrics
from tests.runtime.processes import run_python

PROGRAM = """
import sys
from edgepipe.serve.observability.metrics import ServerMetrics
metrics = ServerMetrics()
metrics.requests.labels("p", "/r", 200).inc()
metrics.queue.labels("m").set(5)
metrics.observe("m").ran(3, 40, 0.01)
print(metrics.render().decode() if len(sys.argv) > 1 else "")
"""


def values(page: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "pid")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_one_process() -> None:
    metrics = ServerMetrics()
    observer = metrics.observe("m")
    observer.waiting(7)
    observer.ran(2, 30, 0.02)
    observer.wrote(4)
    observer.read(9, 5)
    found = values(metrics.render().decode())
    assert found["edgepipe_queue_tokens", "m"] == 7
    assert found["edgepipe_tokens_total", "m"] == 30
    assert found["edgepipe_written_tokens_total", "m"] == 4
    assert found["edgepipe_prompt_tokens_total", "m"] == 9
    assert found["edgepipe_cached_tokens_total", "m"] == 5
    assert found["edgepipe_batch_rows_sum", "m"] == 2
    assert found["edgepipe_batch_seconds_count", "m"] == 1


def test_several_processes(tmp_path: Path) -> None:
    env = {MULTIPROCESS_FOLDER: str(tmp_path)}
    run_python(PROGRAM, env=env)
    found = values(run_python(PROGRAM, "show", env=env))
    assert found["edgepipe_requests_total", "p", "/r", "200"] == 2
    assert found["edgepipe_batch_rows_sum", "m"] == 6
