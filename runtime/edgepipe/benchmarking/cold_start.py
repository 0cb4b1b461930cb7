"""Cold start: fresh processes, timed from the outside until they write their first result."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import edgepipe
from edgepipe.benchmarking.results import ColdStart
from edgepipe.errors import EdgepipeError

# A program of its own rather than a module of this package, whose imports would be timed with it.
_PROGRAM = """
import json, sys
root, options, path, text, call = json.loads(sys.argv[1])
if root not in sys.path:
    sys.path.append(root)
if options["providers"] is not None:
    options["providers"] = [entry if isinstance(entry, str) else tuple(entry) for entry in options["providers"]]
from edgepipe import pipeline
task = pipeline(None, path, **options)
task(text, **call)
print(flush=True)
from edgepipe.benchmarking.memory import read_memory
print(json.dumps(read_memory()))
"""


def measure_cold_start(
    path: Path,
    options: Mapping[str, Any],
    text: str,
    *,
    rounds: int,
    progress: Callable[[str], None],
    call: Mapping[str, Any] | None = None,
) -> ColdStart:
    """Start a process that loads a bundle and answers one text, `rounds` times and one more before that.

    The one before compiles modules and brings the files into the page cache. `options` of the pipeline and those of the
    `call` must be what JSON can hold.

    Raises:
        EdgepipeError: the process failed; the message has its last line on stderr.
    """
    root = str(Path(edgepipe.__file__).parents[1])
    argument = (root, dict(options), str(path.resolve()), text, dict(call or {}))
    starts, memories = [], []
    for number in range(-1, rounds):
        progress("cold start, warming up" if number < 0 else f"cold start {number + 1} of {rounds}")
        seconds, memory = time_first_line(_PROGRAM, argument)
        if number >= 0:
            starts.append(seconds * 1e3)
            memories.append(memory)
    return ColdStart(
        median_ms=statistics.median(starts),
        min_ms=min(starts),
        max_ms=max(starts),
        peak_bytes=_median([memory["peak_bytes"] for memory in memories]),
        anonymous_bytes=_median([memory["anonymous_bytes"] for memory in memories]),
    )


def time_first_line(program: str, argument: Sequence[Any]) -> tuple[float, dict[str, Any]]:
    """Run a program in a process of its own: the seconds until its first line, and the JSON of its second.

    Args:
        program: Python; it writes two lines on standard output.
        argument: What it finds as JSON in ``sys.argv[1]``.

    Raises:
        EdgepipeError: the process failed; the message has its last line on stderr.
    """
    command = [sys.executable, "-P", "-c", program, json.dumps(argument)]
    with tempfile.TemporaryFile() as problems:  # a pipe that nobody reads meanwhile could fill up
        start = time.perf_counter()
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=problems, encoding="utf-8"
        ) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            seconds = time.perf_counter() - start
            rest = process.stdout.read()
        problems.seek(0)
        errors = problems.read().decode(errors="replace")
    if process.returncode != 0 or not first:
        last = errors.strip().splitlines()[-1:] or ["it said nothing"]
        raise EdgepipeError(f"the process that measures the cold start failed ({process.returncode}): {last[0]}")
    return seconds, json.loads(rest)


def _median(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return int(statistics.median(known)) if known else None
