"""mypy and pyright over a page: in which of its lines they find a mistake."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PAGES = Path(__file__).parent
ROOTS = tuple(str(PAGES.parents[1] / root) for root in ("runtime", "export", "models"))

Mistakes = Mapping[int, Sequence[str]]


def find_with_mypy(page: Path, work: Path, python: str | Path, roots: Sequence[str] = ()) -> Mistakes:
    """Messages of ``mypy --strict`` by line.

    Args:
        page: The file to check.
        work: A folder for mypy's cache.
        python: The interpreter whose packages the page uses.
        roots: Where packages lie that are not installed there.
    """
    config = work / "mypy.ini"
    config.write_text(f"[mypy]\nmypy_path = {':'.join(roots)}\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(config), "--output", "json"]
    command += ["--python-executable", str(python), "--cache-dir", str(work / "cache"), str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=work)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines() if line]
    return _by_line((each["line"], each["message"]) for each in found if each["severity"] == "error")


def find_with_pyright(page: Path, work: Path, python: str | Path, roots: Sequence[str] = ()) -> Mistakes:
    """Messages of pyright in its strict mode by line; see :func:`find_with_mypy`."""
    config = work / "pyrightconfig.json"
    settings = {"typeCheckingMode": "strict", "extraPaths": list(roots), "include": [page.name]}  # relative paths alone
    # Lines of the page that only look something up are what it is about.
    config.write_text(json.dumps(settings | {"reportUnusedExpression": False}))
    shutil.copy(page, work)
    command = [sys.executable, "-m", "pyright", "--outputjson", "--project", str(config), "--pythonpath", str(python)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=work)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["summary"]["filesAnalyzed"] == 1, said
    errors = (each for each in said["generalDiagnostics"] if each["severity"] == "error")
    return _by_line((each["range"]["start"]["line"] + 1, each["message"]) for each in errors)


CHECKERS: dict[str, Callable[..., Mistakes]] = {"mypy": find_with_mypy, "pyright": find_with_pyright}


def marked_lines(page: Path) -> set[int]:
    """The lines of a page that say what is wrong with them."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if "  # wrong: " in line}


def _by_line(found: object) -> Mistakes:
    mistakes: dict[int, list[str]] = {}
    for line, message in found:  # type: ignore[attr-defined]
        mistakes.setdefault(line, []).append(message)
    return mistakes
