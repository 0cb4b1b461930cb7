"""JSON that every reader takes, whatever numbers and texts are in it."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from typing import Any

import pytest

from edgepipe.bundle.strict_json import dumps


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_none_becomes_null(number: float) -> None:
    value = OrderedDict(a=number, b=[(1.5, number)], c={"d": number})
    assert json.loads(dumps(value)) == {"a": None, "b": [[1.5, None]], "c": {"d": None}}


@pytest.mark.parametrize("value", [None, True, 0, -0.0, 10**30, 1e-320, "", "é 你 😀 \x00 \u2028", [], {}, {"": [{}]}])
def test_everything_else_is_kept(value: Any) -> None:
    assert json.loads(dumps(value)) == value


def test_half_a_character_is_written_as_its_escape() -> None:
    text = dumps({"a\ud83d": "\ude00 😀"})
    assert text == '{\n  "a\\ud83d": "\\ude00 😀"\n}'
    assert text.encode()
    assert json.loads(text) == {"a\ud83d": "\ude00 😀"}


def test_what_json_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        dumps([{1, 2}])
