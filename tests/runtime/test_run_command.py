"""``edgepipe run`` on what is no plain text: JSON inputs, and results with numpy's numbers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edgepipe.commands.run import parse_inputs, shown, write_results
from edgepipe.errors import InputError

ENTITY = {"entity": "B-PER", "score": np.float32(0.5), "word": "Zoë", "start": 0, "end": 3}


def echo(inputs: Iterator[Any]) -> Iterator[Any]:
    for item in inputs:
        yield [ENTITY, item]


def written(inputs: list[Any], *, as_json: bool) -> str:
    out = io.StringIO()
    write_results(echo, iter(inputs), out, as_json=as_json)
    return out.getvalue()


def test_scores_of_numpy_are_written() -> None:
    plain = {**ENTITY, "score": 0.5}
    assert json.loads(written(["Zoë"], as_json=True)) == {"input": "Zoë", "output": [plain, "Zoë"]}
    result, text = written(["Zoë"], as_json=False).rstrip("\n").split("\t")
    assert json.loads(result) == [plain, "Zoë"]
    assert text == "Zoë"
    assert "Zoë" in shown([ENTITY])
    assert json.loads(shown(np.arange(3))) == [0, 1, 2]


def test_inputs_that_are_no_text_are_written_as_json() -> None:
    line = written([{"question": "Wer?", "context": "Zoë"}], as_json=False)
    assert line.endswith('\t{"question": "Wer?", "context": "Zoë"}\n')


def test_json_inputs() -> None:
    lines = ['{"question": "a", "context": "b"}', "", '["two", "words"]', ' "text" ']
    assert list(parse_inputs(lines)) == [{"question": "a", "context": "b"}, ["two", "words"], "text"]


@pytest.mark.parametrize("line", ["plain text", "{'question': 1}", '{"question": ', "NaN,"])
def test_what_is_not_json(line: str) -> None:
    with pytest.raises(InputError, match=r"input 2 is not JSON .*--json-input"):
        list(parse_inputs(['"fine"', line]))
