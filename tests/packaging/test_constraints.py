"""constraints.txt pins one version of each package; two that contradict each other stop every `make`."""

from __future__ import annotations

import re
import tomllib
from collections import Counter

from scripts.lock import normal

from tests.packaging.conftest import REPOSITORY


def pins() -> list[str]:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [normal(line.partition("==")[0]) for line in lines if line and not line.startswith("#")]


def test_each_package_is_pinned_once() -> None:
    assert [name for name, count in Counter(pins()).items() if count > 1] == []


def test_the_packages_of_every_extra_are_pinned() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {normal(re.split(r"[\[<>=!~ ;]", entry)[0]) for entries in project["optional-dependencies"].values()
             for entry in entries}  # fmt: skip
    assert asked - {"edgepipe"} <= set(pins())
