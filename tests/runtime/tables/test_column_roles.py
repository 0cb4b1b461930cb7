"""Which columns hold the inputs: named, guessed where that is plain, else asked for."""

from __future__ import annotations

import math
from typing import Any

import pytest

from edgepipe.errors import InputError
from edgepipe.tables.column_roles import choose_columns, read_input

CLASSIFY, ANSWER, COMPARE = "text-classification", "question-answering", "sentence-similarity"


@pytest.mark.parametrize(
    ("task", "columns", "named", "chosen"),
    [
        (CLASSIFY, ["id", "text"], [], {"text": "text"}),
        (CLASSIFY, ["Sentence", "label"], [], {"text": "Sentence"}),
        (CLASSIFY, ["id", "review"], ["review"], {"text": "review"}),
        (CLASSIFY, ["a", "b"], ["a", "b"], {"text": "a", "text_pair": "b"}),
        (CLASSIFY, ["a", "b"], ["text_pair=a", "b"], {"text": "b", "text_pair": "a"}),
        (CLASSIFY, ["text=a"], ["text=a"], {"text": "text=a"}),
        (ANSWER, ["context", "id", "question"], [], {"question": "question", "context": "context"}),
        (ANSWER, ["q", "context"], ["question=q", "context=context"], {"question": "q", "context": "context"}),
        (COMPARE, ["s1", "s2"], ["s1", "s2"], {"source_sentence": "s1", "sentences": "s2"}),
        ("fill-mask", ["content"], [], {"text": "content"}),
    ],
)
def test_columns(task: str, columns: list[str], named: list[str], chosen: dict[str, str]) -> None:
    assert choose_columns(task, columns, named, "t.csv") == chosen


@pytest.mark.parametrize(
    ("task", "columns", "named", "message"),
    [
        (
            CLASSIFY,
            ["id", "review"],
            [],
            r"t.csv has the columns id, review; say which holds the text: --column text=NAME",
        ),
        (CLASSIFY, ["text", "content"], [], r"say which holds the text"),
        (CLASSIFY, ["text", "text_pair"], [], r"say which holds the text"),
        ("fill-mask", ["id", "review"], [], r"say which holds the text: --column NAME"),
        (ANSWER, ["q", "context"], [], r"say which holds the question: --column question=NAME"),
        (CLASSIFY, ["id", "text"], ["txt"], r"t.csv has no column 'txt', it has id, text; did you mean 'text'\?"),
        (CLASSIFY, ["id", "text"], ["text=txt"], r"has no column 'txt'"),
        (CLASSIFY, ["a", "b", "c"], ["a", "b", "c"], r"reads text and text_pair, and --column names 3"),
        ("fill-mask", [], [], r"has the columns none"),
    ],
)
def test_columns_that_cannot_be_told(task: str, columns: list[str], named: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_columns(task, columns, named, "t.csv")


@pytest.mark.parametrize(
    ("chosen", "cells", "value"),
    [
        ({"text": "a"}, {"a": " x ", "b": 1}, " x "),
        ({"text": "a"}, {"a": ["two", "words"]}, ["two", "words"]),
        ({"text": "a", "text_pair": "b"}, {"a": "x", "b": "y"}, {"text": "x", "text_pair": "y"}),
        ({"text": "a", "text_pair": "b"}, {"a": "x", "b": ""}, None),
        (
            {"source_sentence": "a", "sentences": "b"},
            {"a": "x", "b": "y"},
            {"source_sentence": "x", "sentences": ["y"]},
        ),
        ({"text": "a"}, {"a": None}, None),
        ({"text": "a"}, {"a": math.nan}, None),
        ({"text": "a"}, {"a": " \t"}, None),
        ({"text": "a"}, {"b": "x"}, None),
    ],
)
def test_the_input_of_a_row(chosen: dict[str, str], cells: dict[str, Any], value: Any) -> None:
    assert read_input(chosen, cells, "t.csv, line 2") == value


@pytest.mark.parametrize("cell", [5, 0.5, True])
def test_what_is_not_a_text_is_an_error_with_its_place(cell: Any) -> None:
    with pytest.raises(InputError, match=rf"t.jsonl, line 3: the column a has {cell}, expected a text"):
        read_input({"text": "a"}, {"a": cell}, "t.jsonl, line 3")
