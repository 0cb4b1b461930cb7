"""What `python -m` and the Makefile run does something: without its last two lines a module ends in silence, exit 0."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.documentation.pages import REPOSITORY

_MODULE = re.compile(r"-m ((?:tests|benchmarks|scripts)(?:\.\w+)+)")
_SCRIPT = re.compile(r"python[\d.]*\)? ((?:benchmarks|scripts|tests)/[\w/]+\.py)")


def _named() -> dict[str, str]:
    """Each module that a file says how to run, as its path, and one file that says it."""
    files = [REPOSITORY / "Makefile", *REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]
    folders = ("tests", "benchmarks", "scripts")
    files += [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py") if not _is_hidden(path)]
    found: dict[str, str] = {}
    for file in sorted(files):
        content = file.read_text(encoding="utf-8")
        modules = [module.replace(".", "/") for module in _MODULE.findall(content)]
        paths = [f"{path}/__main__.py" if (REPOSITORY / path).is_dir() else f"{path}.py" for path in modules]
        found |= dict.fromkeys([*paths, *_SCRIPT.findall(content)], file.relative_to(REPOSITORY).as_posix())
    return found


def _is_hidden(path: Path) -> bool:
    """Whether it is in an environment that a benchmark has made for itself, e.g. benchmarks/peers/.venv-peers."""
    return any(part.startswith(".") for part in path.relative_to(REPOSITORY).parts)


NAMED = _named()


def test_the_commands_are_found() -> None:
    assert {"tests/tiny/coverage.py", "benchmarks/pipelines/request.py", "tests/golden/make.py"} <= set(NAMED)


@pytest.mark.parametrize("path", NAMED)
def test_a_module_that_is_run_does_something(path: str) -> None:
    assert (REPOSITORY / path).is_file(), f"{NAMED[path]} says to run {path}, which is not there"
    last = ast.parse((REPOSITORY / path).read_text(encoding="utf-8")).body[-1]
    runs = path.endswith("__main__.py") or (isinstance(last, ast.If) and "__main__" in ast.unparse(last.test))
    assert runs, f"{NAMED[path]} says to run {path}, which runs nothing"
