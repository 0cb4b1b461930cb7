"""Texts that are cut are said once a call, with their number, unless the caller asked for that."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from edgepipe import pipeline
from edgepipe.pipelines.cut_texts import CutTexts, asks_to_cut
from tests.runtime.small_bundle import LIMIT, write_bundle

LONG = "so long a text " * LIMIT
TEXTS = ["short", LONG, "shorter", f"another, {LONG}"]


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return pipeline(model=write_bundle(tmp_path_factory.mktemp("cut") / "bundle"))


def said(call: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert all(each.filename == __file__ for each in caught), "a warning names the line of the caller"
    return [str(each.message) for each in caught]


def cut(count: int, total: int) -> str:
    return f"texts that were cut at {LIMIT} tokens, which is the limit: {count} of {total}; "


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_list_is_said_once(classify: Any, batch_size: int) -> None:
    [warning] = said(lambda: classify(TEXTS, batch_size=batch_size))
    assert warning.startswith(cut(2, 4))
    [warning] = said(lambda: list(classify(iter(TEXTS), batch_size=batch_size)))
    assert warning.startswith(cut(2, 4))


def test_one_text(classify: Any) -> None:
    [warning] = said(lambda: classify(LONG))
    assert warning.startswith(cut(1, 1))
    assert said(lambda: classify("short")) == said(lambda: classify(["short"])) == []


def test_an_iterator_that_is_left_says_what_was_read(classify: Any) -> None:
    def leave() -> None:
        results = classify(iter([LONG, *TEXTS]))
        next(results)
        results.close()

    [warning] = said(leave)
    assert warning.startswith(cut(1, 1))


@pytest.mark.parametrize("options", [{"truncation": True}, {"max_length": 8}, {"truncation": True, "max_length": 8}])
def test_who_asks_for_it_is_not_told(classify: Any, options: dict[str, Any]) -> None:
    assert said(lambda: classify(TEXTS, **options)) == said(lambda: classify(LONG, **options)) == []


def test_who_does_not_want_it_is_not_told(classify: Any) -> None:
    classify.warns_of_cuts = False
    assert said(lambda: classify(TEXTS)) == []
    classify.warns_of_cuts = True


@pytest.mark.parametrize(
    ("options", "generates", "asked"),
    [
        ({}, False, False),
        ({"top_k": 2}, False, False),
        ({"truncation": None}, False, False),
        ({"truncation": True}, True, True),
        ({"max_length": 8}, False, True),
        ({"max_length": 8}, True, False),
        ({"tokenizer_kwargs": {"max_length": 8}}, False, True),
        ({"tokenize_kwargs": {"truncation": True}}, False, True),
        ({"tokenizer_kwargs": None}, False, False),
    ],
)
def test_what_asks_for_it(options: dict[str, Any], generates: bool, asked: bool) -> None:
    assert asks_to_cut(options, generates=generates) is asked


def test_nothing_is_said_of_nothing() -> None:
    counted = CutTexts()
    assert said(counted.warn) == []
    assert list(counted.warn_after(iter([1, 2]))) == [1, 2]


def test_the_command_line_says_it_once(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    command = [sys.executable, "-m", "edgepipe", "run", str(write_bundle(tmp_path / "bundle")), "-f"]
    done = subprocess.run([*command, str(tmp_path / "texts.txt")], capture_output=True, text=True, check=True)
    assert done.stderr.startswith(f"Warning: {cut(2, 4)}")
    assert done.stderr.count("\n") == 1
