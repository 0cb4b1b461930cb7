"""The tests mirror the rooms: whoever looks for the tests of a module finds them by its name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.architecture.sources import REPOSITORY, ROOTS

TESTS = {"edgepipe": REPOSITORY / "tests" / "runtime", "edgepipe_export": REPOSITORY / "tests" / "export"}
# A task may have its tests beside the answers of transformers that they compare it with.
GOLDEN = REPOSITORY / "tests" / "golden"
# Modules, or whole rooms, without test files of their own, and why.
UNTESTED = {
    "edgepipe/bundle/layout": "it has names alone",
    "edgepipe/generation/decoder_protocol": "it has protocols alone, which mypy checks",
    "edgepipe/pipelines/task_inputs": "it has types alone; tests/typing has two checkers read pages that need them",
    "edgepipe/pipelines/task_results": "likewise",
}


def mirrored(package: str) -> list[Path]:
    """The test files of a package, relative, without those of ways through many rooms."""
    found = (path.relative_to(TESTS[package]) for path in TESTS[package].rglob("test_*.py"))
    return sorted(path for path in found if path.parts[0] != "end_to_end")


@pytest.mark.parametrize("package", TESTS)
def test_every_test_file_is_named_for_a_module(package: str) -> None:
    lost = []
    for test in mirrored(package):
        name = test.stem.removeprefix("test_")
        folder = ROOTS[package] / package / test.parent
        # A module with much to test may have several files, each with the module's name in front.
        if not any(name == module.stem or name.startswith(f"{module.stem}_") for module in folder.glob("*.py")):
            lost.append(f"tests/{TESTS[package].name}/{test}: there is no {folder.relative_to(REPOSITORY)}/{name}.py")
    rule = (
        "Rule: a test file is named for the module it tests, in the folder of its room. A way through many rooms is "
        "tested in end_to_end/."
    )
    assert not lost, "\n".join([*lost, rule])


def untested(package: str) -> list[str]:
    """The modules of a package that have no test file, as ``package/room/module``."""
    root = ROOTS[package] / package
    modules = (path.relative_to(root) for path in root.rglob("*.py") if not path.stem.startswith("__"))
    return sorted(
        f"{package}/{module.with_suffix('').as_posix()}"
        for module in modules
        if not (TESTS[package] / module.parent / f"test_{module.name}").is_file()
        and not (module.parts[0] == "pipelines" and (GOLDEN / f"test_{module.name}").is_file())
    )


@pytest.mark.parametrize("package", TESTS)
def test_every_module_has_a_test_file_named_for_it(package: str) -> None:
    bare = [name for name in untested(package) if not any(f"{name}/".startswith(f"{each}/") for each in UNTESTED)]
    rule = (
        "Rule: what a module does is tested in a file named for it: edgepipe/models/kv_cache in "
        "tests/runtime/models/test_kv_cache.py. One without anything to test is a line of UNTESTED, with the reason."
    )
    assert not bare, "\n".join([*bare, rule])


def test_no_exception_outlives_its_reason() -> None:
    bare = [name for package in TESTS for name in untested(package)]
    stale = [each for each in UNTESTED if not any(f"{name}/".startswith(f"{each}/") for name in bare)]
    assert not stale, f"Every module there has a test file now: take {', '.join(stale)} out of UNTESTED."


def test_tests_import_from_each_other_what_is_there() -> None:
    """A file that cannot be imported is an error at the end of a whole run, after everything else."""
    lost = []
    for path in sorted((REPOSITORY / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or node.level or (node.module or "").partition(".")[0] != "tests":
                continue
            module = REPOSITORY.joinpath(*(node.module or "").split("."))
            file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
            names = defined_names(file) if file.is_file() else set()
            lost += [
                f"{path.relative_to(REPOSITORY)}:{node.lineno} imports {each.name} from {node.module}"
                for each in node.names
                if each.name not in names and not (module / f"{each.name}.py").is_file()
            ]
    assert not lost, "\n".join(lost)


def defined_names(file: Path) -> set[str]:
    """What a module defines, or has from others, at its top."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.alias(name=name, asname=alias):
                found.add(alias or name)
    return found
