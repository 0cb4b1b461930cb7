"""What CONTRIBUTING.md names is there: its files, and in them the names that a newcomer is sent to."""

from __future__ import annotations

import re

import pytest

from tests.documentation.pages import REPOSITORY, text

PAGE = "CONTRIBUTING.md"
_PATH = re.compile(r"`((?:runtime|export|models|tests|benchmarks|docs)/[\w./-]*|[\w-]+\.(?:md|toml|txt))`")
# `NAME` of `path`, `NAME` in `path`: the table or class that the file has.
_NAME = re.compile(r"`(\w+)`\s+(?:of|in)\s+`((?:runtime|export)/[\w./]+\.py)`")
KINDS = ("task", "recipe", "backend", "command", "architecture", "logits processor", "metric", "graph pass")


def test_the_files_are_there() -> None:
    paths = _PATH.findall(text(PAGE))
    assert len(paths) > 40
    missing = [path for path in paths if not (REPOSITORY / path).exists()]
    assert not missing, f"{PAGE} names what is not there: {', '.join(missing)}; name what took its place"


def test_the_tables_are_in_their_files() -> None:
    names = _NAME.findall(text(PAGE))
    assert len(names) > 10
    for name, path in names:
        content = (REPOSITORY / path).read_text(encoding="utf-8")
        assert re.search(rf"^(?:class )?{name}\b", content, re.MULTILINE), f"{PAGE}: {path} has no {name}"


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_checklist(kind: str) -> None:
    assert re.search(rf"^## Add an? {kind}\n\n(?:(?!## ).*\n)*?1\. ", text(PAGE), re.MULTILINE)
