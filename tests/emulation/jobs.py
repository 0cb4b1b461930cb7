"""What is done on one processor: bundles are checked with their probes, tests run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.emulation.bundles import EMBEDDED
from tests.emulation.environment import ENGINE, REPOSITORY, pinned_versions
from tests.emulation.processors import MACHINES, Processor

# Seconds after which something hangs.
_PATIENCE = 3600

_ENVIRONMENT = {
    "EDGEPIPE_CACHE": "",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONDONTWRITEBYTECODE": "",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One variant on one processor.

    Attributes:
        processor: A name of :data:`~tests.emulation.processors.PROCESSORS`.
        machine: What Python calls its architecture.
        onnxruntime: The version.
        bundle: The kind of graph, or ``"embedded"``.
        target: What the variant was made for.
        variant: Its dtype.
        passed: Whether it passed its probes; None where nothing could be compared.
        cause: Why it did not.
        from_export: See :class:`edgepipe.checking.deviation.Deviation`; None where there is none.
        from_fp32: Likewise.
        at_export: Likewise ``exported``.
    """

    processor: str
    machine: str
    onnxruntime: str
    bundle: str
    target: str
    variant: str
    passed: bool | None
    cause: str | None
    from_export: float | None = None
    from_fp32: float | None = None
    at_export: float | None = None

    def to_record(self) -> dict[str, Any]:
        """As JSON can hold it, numbers with three digits: more differ from run to run."""
        record = asdict(self)
        for name in ("from_export", "from_fp32", "at_export"):
            if record[name] is not None:
                record[name] = float(f"{record[name]:.2g}")
        return record


def run_in(
    python: Path, arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a Python of a processor in the repository."""
    return run_words([str(python), *arguments], environment)


def run_words(words: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command line in the repository, without this Python's own settings."""
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    return subprocess.run(
        words,
        cwd=REPOSITORY,
        env=own | _ENVIRONMENT | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )


def check_variants(
    processor: Processor, versions: str, python: Path, bundles: Mapping[tuple[str, str], Path]
) -> list[Row]:
    """Check the embedded bundle by the command line, and every variant of some bundles."""
    where = (processor.name, MACHINES[processor.architecture], pinned_versions(versions)[ENGINE])
    shown = run_in(python, ["-m", "edgepipe", "check", "--json"])
    if not shown.stdout.startswith("{"):
        return [Row(*where, EMBEDDED, "", "", False, explain(shown))]
    rows = list(_read_rows(where, EMBEDDED, "", json.loads(shown.stdout)))
    answer = run_in(python, ["-m", "edgepipe", "run", "I love this.", "--verify", "never"])
    if "POSITIVE" not in answer.stdout.upper():
        rows.append(Row(*where, EMBEDDED, "", "run", False, explain(answer)))
    done = run_in(python, ["-m", "tests.emulation.check_bundles", *map(str, bundles.values())])
    lines = done.stdout.splitlines()
    for number, (kind, target) in enumerate(bundles):
        if number >= len(lines):
            rows.append(Row(*where, kind, target, "", False, explain(done)))
            break
        rows += _read_rows(where, kind, target, json.loads(lines[number]))
    return rows


def explain(done: subprocess.CompletedProcess[str]) -> str:
    """What ended a process."""
    last = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1].removeprefix("Error: ")
    return last if done.returncode >= 0 else f"{signal.Signals(-done.returncode).name}: {last}"


def _read_rows(where: tuple[str, str, str], kind: str, target: str, found: Mapping[str, Any]) -> list[Row]:
    rows = [Row(*where, kind, target, "files", False, sentence) for sentence in found.get("altered", ())]
    for each in found.get("variants", ()):
        deviation = each["deviation"] or {}
        distances = [deviation.get(name) for name in ("from_export", "from_fp32", "exported")]
        rows.append(Row(*where, kind, target, each["dtype"], each["passed"], each["cause"], *distances))
    if not rows:
        rows.append(Row(*where, kind, target, "", False, "the check ended with an error"))
    return rows


def run_tests(processor: Processor, python: Path, tests: Sequence[str], *, whole: bool) -> dict[str, Any]:
    """Run tests; what came out, as :class:`tests.emulation.pytest_plugin.Summary` writes it.

    Args:
        processor: On which.
        python: Its interpreter.
        tests: Files and folders.
        whole: Whether to run those that are slow under emulation, too.
    """
    asked = ["--whole"] * whole + ["--native"] * (not processor.emulated)
    with tempfile.TemporaryDirectory(prefix="edgepipe-emulated-") as folder:
        summary = Path(folder) / "summary.json"
        options = ["-p", "tests.emulation.pytest_plugin", "-p", "no:cacheprovider", "-q", "--summary", str(summary)]
        done = run_in(python, ["-m", "pytest", *options, *asked, *tests])
        if not summary.is_file():
            return {"passed": 0, "failed": {"pytest": explain(done)}, "skipped": {}, "seconds": {}}
        found: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
        return found
