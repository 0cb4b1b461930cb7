"""What the operators of a graph take in OpenVINO, by its own counters."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgepipe.backend.openvino.ov_diagnostics import explain_load_failure, explain_run_failure
from edgepipe.backend.openvino.ov_module import CPU, load_core
from edgepipe.backend.openvino.ov_session import compile_options
from edgepipe.backend.session import GraphTimes, SessionConfig
from edgepipe.forks import within_engine

_WARM_UP = 2


def profile_operators(graph: Path, config: SessionConfig, feeds: Mapping[str, NDArray[Any]], runs: int) -> GraphTimes:
    """See :class:`~edgepipe.backend.session.Engine`. The kinds are OpenVINO's, after it has fused operators."""
    with explain_load_failure(graph):
        compiled = load_core().compile_model(str(graph), CPU, {**compile_options(config), "PERF_COUNT": True})
    request = compiled.create_infer_request()
    seconds, operators = [], []
    for number in range(-_WARM_UP, runs):
        start = time.perf_counter()
        with explain_run_failure(feeds), within_engine():
            request.infer(dict(feeds), share_inputs=True, share_outputs=True)
        if number < 0:
            continue
        seconds.append(time.perf_counter() - start)
        operators += [
            (entry.node_type, entry.real_time.total_seconds(), 0)
            for entry in request.profiling_info
            if entry.status == entry.status.EXECUTED
        ]
    return GraphTimes.of(statistics.median(seconds), runs, operators)
