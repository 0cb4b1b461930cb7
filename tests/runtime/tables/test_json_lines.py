"""JSON values, one a line."""

from __future__ import annotations

import pytest

from edgepipe.errors import InputError
from edgepipe.tables.json_lines import read_json_lines


def test_lines_keep_their_numbers() -> None:
    lines = ['{"a": 1}\n', "\n", '"a text"\n', " \t\n", "[1, 2]"]
    assert list(read_json_lines(lines, "t.jsonl")) == [
        (1, '{"a": 1}\n', {"a": 1}),
        (3, '"a text"\n', {"text": "a text"}),
        (5, "[1, 2]", [1, 2]),
    ]


def test_a_line_that_is_not_json_is_named() -> None:
    with pytest.raises(InputError, match=r"t\.jsonl, line 3, is not JSON: "):
        list(read_json_lines(["1", "", "{"], "t.jsonl"))
