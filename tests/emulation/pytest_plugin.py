"""For pytest inside of the emulator: what a test lacks there, or is too slow there, is counted by its reason.

It is loaded with ``-p tests.emulation.pytest_plugin``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.emulation.left_out import why_not_emulated, why_slow

_MISSING = re.compile(r"No module named '([\w.]+)'|could not import '([\w.]+)'")
# What our own messages say where a package is not there.
_TOLD = {"the exporter is not installed": "edgepipe_export"}

SLOW, NOT_EMULATED = "too slow under emulation", "not under emulation"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--summary", type=Path, help="write what came out to this file, as JSON")
    parser.addoption("--whole", action="store_true", help="run the tests that are slow under emulation, too")
    parser.addoption("--native", action="store_true", help="nothing is emulated: leave nothing out")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Summary(config.getoption("--summary")), "emulation-summary")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--native"):
        return
    for item in items:
        if (reason := why_not_emulated(item.nodeid)) is not None:
            item.add_marker(pytest.mark.skip(reason=f"{NOT_EMULATED}: {reason}"))
        reason = why_slow(item.nodeid)
        if reason is not None:
            item.add_marker(pytest.mark.slow_emulated)
            if not config.getoption("--whole"):
                item.add_marker(pytest.mark.skip(reason=f"{SLOW}: {reason}"))


def find_missing(text: str) -> str | None:
    """The package that is not there, if that is what a failure is of."""
    for match in _MISSING.finditer(text):
        package = (match[1] or match[2]).partition(".")[0]
        if find_spec(package) is None:
            return package
    return next((package for said, package in _TOLD.items() if said in text and find_spec(package) is None), None)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.failed and (missing := find_missing(str(report.longrepr))) is not None:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"needs {missing}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and (missing := find_missing(str(report.longrepr))) is not None:
        report.outcome = "skipped"
        report.longrepr = (str(item.path), 0, f"needs {missing}")
    return report


class Summary:
    """Counts of what came out, and how long each test took."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.passed = 0
        self.skipped: Counter[str] = Counter()
        self.failed: dict[str, str] = {}
        self.seconds: Counter[str] = Counter()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a file that cannot be read."""
        if report.failed:
            self.failed[report.nodeid] = str(report.longrepr)[-2000:]
        elif report.skipped:
            self.skipped[f"whole files: {_reason(report.longrepr)}"] += 1

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test."""
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed[report.nodeid] = str(report.longrepr)[-2000:]
        elif report.skipped:
            self.skipped[_reason(report.longrepr)] += 1
        elif report.when == "call":
            self.passed += 1

    def pytest_sessionfinish(self) -> None:
        """Write the counts."""
        if self._path is not None:
            record = {
                "passed": self.passed,
                "failed": self.failed,
                "skipped": dict(self.skipped.most_common()),
                "seconds": {name: round(seconds, 2) for name, seconds in self.seconds.most_common()},
            }
            self._path.write_text(json.dumps(record, indent=1), encoding="utf-8")


def _reason(said: Any) -> str:
    text = said[2] if isinstance(said, tuple) else str(said)
    missing = find_missing(text)
    return f"needs {missing}" if missing else str(text).removeprefix("Skipped: ").splitlines()[0][:100]
