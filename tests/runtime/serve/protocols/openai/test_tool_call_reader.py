"""Answers with calls, in any pieces: what is text, what is a call, and that nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgepipe.serve.protocols.openai.tool_call_form import CallForm
from edgepipe.serve.protocols.openai.tool_call_reader import (
    AnswerReader,
    Event,
    ForcedCallReader,
    JsonEnd,
    count_held,
    find_calls,
    make_call_id,
    read_calls,
)

TAGGED = CallForm(tag="<tool_call>", end="</tool_call>")
BARE = CallForm(arguments="parameters", keys=frozenset({"name", "parameters"}))
LIST = CallForm(keys=frozenset({"name", "arguments", "id"}), is_list=True)
NAMES = {"find", "stop"}
CUTS = st.lists(st.integers(0, 120), max_size=8)

FIND = '{"name": "find", "arguments": {"a": "}\\" ü"}}'
STOP = '{"name": "stop", "arguments": {}}'
CALL = ("find", {"a": '}" ü'})


def read(reader: AnswerReader, text: str, cuts: Sequence[int]) -> tuple[str, list[tuple[str, Any]]]:
    """The text and the calls of an answer that comes in pieces; calls are numbered, and begin with name and id."""
    places = sorted({min(cut, len(text)) for cut in cuts})
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    events: list[Event] = []
    for place, piece in enumerate(pieces):
        events += reader.push(piece, is_last=place == len(pieces) - 1)
    shown = "".join(each.text for each in events if each.call is None)
    calls: list[list[str]] = []
    for each in events:
        if each.name is not None:
            assert each.call == len(calls)
            assert each.call_id
            calls.append([each.name, each.text])
        elif each.call is not None:
            assert each.text
            calls[each.call][1] += each.text
    assert reader.calls == len(calls)
    return shown, [(name, json.loads(arguments)) for name, arguments in calls]


ANSWERS: list[Any] = [
    pytest.param(TAGGED, "Only text.\n", "Only text.\n", [], id="text"),
    pytest.param(TAGGED, f"<tool_call>\n{FIND}\n</tool_call>", "", [CALL], id="a call"),
    pytest.param(
        TAGGED, f"Let me look.\n\n<tool_call>{FIND}</tool_call>\n<tool_call>\n{STOP} </tool_call>\n",
        "Let me look.", [CALL, ("stop", {})], id="text and two calls",
    ),
    pytest.param(
        TAGGED, f"<tool_call>{STOP}</tool_call>\nDone.", "\nDone.", [("stop", {})], id="text behind a call"
    ),
    pytest.param(TAGGED, f"<tool_call>{FIND}", f"<tool_call>{FIND}", [], id="no end"),
    pytest.param(TAGGED, f"a <tool_call>{FIND[:-1]}", f"a <tool_call>{FIND[:-1]}", [], id="cut off"),
    pytest.param(TAGGED, "say <tool_call> and </tool_call>!", "say <tool_call> and </tool_call>!", [], id="words"),
    pytest.param(
        TAGGED, '<tool_call>{"name": "fly", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "fly", "arguments": {}}</tool_call>', [], id="no such function",
    ),
    pytest.param(
        TAGGED, f'<tool_call>{{"name": "find"}}</tool_call> <tool_call>{STOP}</tool_call>',
        '<tool_call>{"name": "find"}</tool_call>', [("stop", {})], id="a call behind none",
    ),
    pytest.param(
        TAGGED, '<tool_call>{"name": "find", "arguments": {"a": NaN}}</tool_call>',
        '<tool_call>{"name": "find", "arguments": {"a": NaN}}</tool_call>', [], id="no JSON",
    ),
    pytest.param(
        TAGGED, '<tool_call>{"name": "find", "arguments": "{}"}</tool_call>',
        '<tool_call>{"name": "find", "arguments": "{}"}</tool_call>', [], id="arguments are a text",
    ),
    pytest.param(TAGGED, f"<tool_<tool_call>{STOP}</tool_call>", "<tool_", [("stop", {})], id="half a tag"),
    pytest.param(TAGGED, " \n", " \n", [], id="blanks"),
    pytest.param(BARE, '\n{"name": "stop", "parameters": {}} ', "", [("stop", {})], id="bare"),
    pytest.param(BARE, "The {answer}.", "The {answer}.", [], id="bare text"),
    pytest.param(BARE, STOP, STOP, [], id="bare with other keys"),
    pytest.param(
        BARE, '{"name": "stop", "parameters": {}} and', '{"name": "stop", "parameters": {}} and', [],
        id="text behind a bare call",
    ),
    pytest.param(LIST, f" [{FIND}, {STOP}]", "", [CALL, ("stop", {})], id="list"),
    pytest.param(LIST, '[{"name": "stop", "arguments": {}, "id": "abc"}]', "", [("stop", {})], id="list with an id"),
    pytest.param(LIST, "[1, 2]", "[1, 2]", [], id="another list"),
    pytest.param(LIST, "[]", "[]", [], id="empty list"),
    pytest.param(LIST, f"{STOP}", f"{STOP}", [], id="no list"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "answer", "text", "calls"), ANSWERS)
@settings(max_examples=25)
@given(cuts=CUTS)
@example(cuts=list(range(200)))
def test_an_answer_in_any_pieces(form: CallForm, answer: str, text: str, calls: Any, cuts: list[int]) -> None:
    assert read(find_calls(form, NAMES), answer, cuts) == (text, calls)


@given(
    st.lists(
        st.sampled_from(["<tool_call>", "</tool_call>", FIND, STOP, "{", "}", '"', "\n", "a", "<tool", "["]), max_size=9
    ),
    CUTS,
)
def test_pieces_change_nothing(parts: list[str], cuts: list[int]) -> None:
    answer = "".join(parts)
    for form in (TAGGED, BARE, LIST):
        assert read(find_calls(form, NAMES), answer, cuts) == read(find_calls(form, NAMES), answer, [])


def test_text_is_given_at_once_where_no_call_can_begin() -> None:
    reader = find_calls(TAGGED, NAMES)
    shown = [
        "".join(e.text for e in reader.push(piece, is_last=False)) for piece in ("so ", "<b>", " <", "tool", "s> x")
    ]
    assert shown == ["so", " <b>", "", "", " <tools> x"]


@pytest.mark.parametrize("most", [1, None])
def test_only_so_many_calls_are_given(most: int | None) -> None:
    answer = f"<tool_call>{STOP}</tool_call>" * 3
    assert len(read(find_calls(TAGGED, NAMES, most=most), answer, [])[1]) == (most or 3)


FORCED: list[Any] = [
    pytest.param(TAGGED, FIND, id="object"),
    pytest.param(LIST, f"[{FIND}]", id="list"),
    pytest.param(LIST, f"[ \n{FIND} ]", id="list with blanks"),
    pytest.param(TAGGED, FIND.replace(": ", " :\n  "), id="lines"),
]


@pytest.mark.parametrize(("form", "answer"), FORCED)
@settings(max_examples=25)
@given(cuts=CUTS)
@example(cuts=list(range(200)))
def test_a_forced_call_in_any_pieces(form: CallForm, answer: str, cuts: list[int]) -> None:
    expected = json.loads(answer)
    expected = expected[0] if isinstance(expected, list) else expected
    assert read(ForcedCallReader(form), answer, cuts) == ("", [(expected["name"], expected["arguments"])])


def test_a_forced_call_comes_piece_by_piece_and_is_cut_off_where_the_text_is() -> None:
    reader = ForcedCallReader(TAGGED)
    assert reader.push('{"name": "find", "argu', is_last=False) == []
    name, begin = reader.push('ments": {"a"', is_last=False)
    assert (name.name, begin.text) == ("find", '{"a"')
    assert [each.text for each in reader.push(": 1", is_last=True)] == [": 1"]
    assert reader.calls == 1


@pytest.mark.parametrize(
    "name",
    ["[]", "{}", "null", "1", '["find"]', '{"find": 1}'],
    ids=["list", "object", "null", "number", "in a list", "in an object"],
)
def test_a_name_that_is_no_text_makes_no_call(name: str) -> None:
    assert read_calls(f'{{"name": {name}, "arguments": {{}}}}', TAGGED, frozenset(NAMES)) is None


def test_arguments_with_half_a_character_can_be_sent() -> None:
    half = chr(92) + "ud83d"
    [(_, arguments)] = read_calls(f'{{"name": "find", "arguments": {{"a": "ü{half}"}}}}', TAGGED, NAMES) or []
    assert json.loads(arguments) == {"a": "ü" + json.loads(f'"{half}"')}
    assert arguments.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "end"),
    [("{}", 2), ('{"}": [1, {}]} more', 14), ('{"\\"}', None), ("[[]]]", 4), ("", None), ("ab", None), ("}", 1)],
)
def test_the_end_of_json(text: str, end: int | None) -> None:
    assert JsonEnd().push(text) == end


@pytest.mark.parametrize(
    ("text", "held"), [("a<to", 3), ("<", 1), ("", 0), ("<tool_call>", 0), ("<<", 1), ("<tool_cal", 9)]
)
def test_how_much_of_a_tag_has_begun(text: str, held: int) -> None:
    assert count_held(text, "<tool_call>") == held


def test_ids_are_those_that_mistral_takes() -> None:
    ids = {make_call_id() for _ in range(50)}
    assert len(ids) == 50
    assert all(len(each) == 9 and each.isalnum() for each in ids)
