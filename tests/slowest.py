"""Which tests take longest: a report at the end of a run, by test and by file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import pytest

_SHOWN = 10
# Seconds below which nobody needs to know.
_LEAST = 1.0


class SlowestTests:
    """A pytest plugin that adds up how long each test takes, with what sets it up and what cleans up behind it."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a phase of a test."""
        self._seconds[report.nodeid] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the report."""
        for line in report_slowest(self._seconds):
            terminalreporter.write_line(line)


def report_slowest(seconds: Mapping[str, float]) -> list[str]:
    """The slowest tests and files as lines; none where all are quick.

    Args:
        seconds: How long each test took, by its node id.
    """
    files: defaultdict[str, float] = defaultdict(float)
    for test, duration in seconds.items():
        files[test.partition("::")[0]] += duration
    lines = []
    for what, durations in (("tests", seconds), ("files", files)):
        slow = [(name, duration) for name, duration in durations.items() if duration >= _LEAST]
        slow.sort(key=lambda entry: -entry[1])
        if slow:
            lines.append(f"slowest {what}, of {sum(durations.values()):.0f} s:")
            lines += [f"{duration:8.1f} s  {name}" for name, duration in slow[:_SHOWN]]
    return lines
