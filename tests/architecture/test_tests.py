"""The tests mirror the rooms: whoever looks for the tests of a module finds them by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.sources import REPOSITORY, ROOTS

TESTS = {"edgepipe": REPOSITORY / "tests" / "runtime", "edgepipe_export": REPOSITORY / "tests" / "export"}


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
