"""Which tokens may follow a text: those, and only those, with which its decoded text can have the form."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from edgepipe.errors import InputError
from edgepipe.generation.logits.constraints.constraint import build_constraint
from edgepipe.generation.validation import json_schema
from edgepipe.tokenization.tokenizer import Tokenizer
from tests.runtime.generation.logits.constraints.small_vocabularies import (
    ENDS,
    FORMS,
    VOCABULARIES,
    followers,
    make_constraint,
    make_tokenizer,
    small_tokenizer,
)

pytest.importorskip("llguidance")

KINDS = pytest.mark.parametrize("kind", VOCABULARIES)


@pytest.mark.parametrize("form", FORMS)
@KINDS
def test_what_may_follow_is_what_brute_force_finds(kind: str, form: str) -> None:
    constraint = make_constraint(kind, form)
    count = len(small_tokenizer(kind, form))
    expected = followers(kind, form)
    assert len(expected) > len(FORMS[form][3])
    for ids, (after, is_complete) in expected.items():
        state = constraint.replay(ids)
        assert state is not None
        mask = state.mask()
        assert mask is not None
        scores = np.arange(count, dtype=np.float32)[None] - 5
        mask.apply(scores[0], ENDS)
        allowed = {int(token) for token in np.flatnonzero(np.isfinite(scores[0]))}
        assert allowed == after | (set(ENDS) if is_complete else set()), small_tokenizer(kind, form).decode(list(ids))
        assert all(scores[0, token] == token - 5 for token in allowed)
        assert (mask.is_complete, state.is_complete()) == (is_complete, is_complete)
        assert constraint.accepts(ids, ENDS) == constraint.accepts([*ids, ENDS[1]], ENDS) == is_complete
        for token in range(count + 2):
            assert state.copy().advance(token) == (token in after)


def test_states_go_their_own_ways() -> None:
    constraint = make_constraint("byte-level", "choices")
    tokenizer = small_tokenizer("byte-level")
    a, b = tokenizer.convert_tokens_to_ids("a"), tokenizer.convert_tokens_to_ids("b")
    assert a is not None
    assert b is not None
    state = constraint.begin()
    other = state.copy()
    assert state.advance(a)
    third = state.copy()
    assert other.advance(b)
    assert state.advance(b)
    assert state.is_complete()
    assert not third.is_complete()
    assert other.advance(a)
    assert other.is_complete()
    assert not state.advance(a)


def test_scores_of_tokens_that_the_tokenizer_lacks() -> None:
    mask = make_constraint("byte-level", "regex").begin().mask()
    assert mask is not None
    longer = np.zeros(200, np.float32)
    mask.apply(longer, (0, 150))
    assert np.isfinite(longer[[0, 150]]).all()  # the empty text is one of them
    assert np.isneginf(longer[len(small_tokenizer("byte-level")) : 150]).all()
    assert np.isneginf(longer[151:]).all()
    shorter = np.zeros(3, np.float32)
    mask.apply(shorter, (0, 150))
    assert np.isfinite(shorter).tolist() == [True, False, True]


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf, -0.0], ids=["NaN", "inf", "-inf", "-0"])
def test_only_scores_of_what_may_not_follow_change(score: float) -> None:
    """Not even those that are no numbers."""
    count = len(small_tokenizer("byte-level", "schema"))
    assert count % 8  # bits of other tokens are in the last byte
    for ids, (after, is_complete) in followers("byte-level", "schema").items():
        state = make_constraint("byte-level", "schema").replay(ids)
        assert state is not None
        mask = state.mask()
        assert mask is not None
        scores = np.full(count, score, np.float32)
        with np.errstate(all="raise"):
            mask.apply(scores, (0, 0, 1))
        kept = [token in after or (is_complete and token in ENDS) for token in range(count)]
        expected = np.where(kept, np.float32(score), np.float32(-np.inf))
        assert scores.tobytes() == expected.tobytes()


def test_two_tokens_of_one_text_may_both_follow() -> None:
    tokenizer = small_tokenizer("sentencepiece")
    state = make_constraint("sentencepiece", "choices").begin()
    mask = state.mask()
    assert mask is not None
    scores = np.zeros(len(tokenizer), np.float32)
    mask.apply(scores, ENDS)
    same = tokenizer.convert_tokens_to_ids(["a", "▁a", "<0x61>"])
    assert np.isfinite(scores[same]).all()


def build(option: str, value: Any, tokenizer: Tokenizer | None = None) -> None:
    made = json_schema(option, value) if option == "json_schema" else value
    build_constraint(option, made, tokenizer or small_tokenizer("byte-level"))


WRONG: dict[str, tuple[str, Any, str]] = {
    "unclosed": ("regex", "(", "regex cannot be followed: unclosed group"),
    "look-ahead": ("regex", "(?=a)b", "regex cannot be followed: look-around"),
    "backreference": ("regex", r"(a)\1", "regex cannot be followed: backreferences are not supported"),
    "word boundary": ("regex", r"a\b", "regex cannot be followed: .*not supported"),
    "no text": ("regex", r"[^\s\S]", "regex cannot be met: no text of the model's tokens fulfils it"),
    "no token": ("choices", ("z",), "choices cannot be met"),
    "false": ("json_schema", False, "json_schema is false, which no text fulfils"),
    "not": ("json_schema", {"not": {}}, r'json_schema cannot be followed: Unimplemented keys: \["not"\]; docs/how-to'),
    "if": ("json_schema", {"if": {}, "then": {}}, r'Unimplemented keys: \["if", "then"\]'),
    "unique": ("json_schema", {"type": "array", "uniqueItems": True}, 'Unimplemented keys: ."uniqueItems".'),
    "switched off": (
        "json_schema",
        {"not": {}, "x-guidance": {"lenient": True}},
        'Unimplemented keys: ."not".',
    ),
    "oneOf": ("json_schema", {"oneOf": [{"type": "string"}, {"type": ["string", "null"]}]}, "oneOf constraints are"),
    "bounds": ("json_schema", {"type": "integer", "minimum": 5, "maximum": 3}, "Unsatisfiable schema: minimum"),
    "type": ("json_schema", {"type": "text"}, "json_schema cannot be followed: Invalid type: text"),
    "format": ("json_schema", {"type": "string", "format": "regex"}, "Unknown format: regex"),
    "reference": ("json_schema", {"$ref": "#/$defs/x"}, "json_schema cannot be followed"),
    "address": ("json_schema", {"$ref": "https://example.org/x.json"}, "json_schema cannot be followed"),
    "itself": ("json_schema", {"$ref": "#"}, "json_schema is cyclic without end"),
    "ring": (
        "json_schema",
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        "cyclic without end",
    ),
    "twice": ("json_schema", {"type": "object", "minProperties": 2}, '"minProperties" is 2'),
    "letters": ("json_schema", {"type": "boolean"}, "json_schema cannot be met"),  # the vocabulary has no "t"
}


@pytest.mark.parametrize(("option", "value", "message"), WRONG.values(), ids=WRONG)
def test_what_no_text_is_held_to(option: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build(option, value)
    assert "\n" not in str(caught.value)
    assert "llguidance {" not in str(caught.value)  # our own grammar is nobody's business


def test_schemas_that_are_nested_too_deeply() -> None:
    deep: Any = {"type": "string"}
    for _ in range(300):
        deep = {"type": "array", "items": deep}
    with pytest.raises(InputError, match=r"json_schema cannot be followed: .*recursion limit exceeded"):
        build("json_schema", deep)
    text = '{"items":' * 100_000 + "{}" + "}" * 100_000
    with pytest.raises(InputError, match=r"json_schema (must be a JSON schema|is nested too deeply|has 1000002)"):
        build("json_schema", text)


def test_patterns_that_would_take_all_memory_are_an_error_and_no_end_of_the_process() -> None:
    tokenizer = make_tokenizer(["a", "b"], None)
    with pytest.raises(InputError, match="need a tokenizer whose tokens stand for the same text"):
        build("regex", "a", tokenizer)
    constraint = build_constraint("regex", "(.*a.{200}b)*", small_tokenizer("byte-level"))
    ab = [int(token) for token in re.sub("[^ab]", "", json.dumps("abba" * 50)).translate({97: "2", 98: "3"})]
    state = constraint.replay(ab)
    assert state is None or state.mask() is not None or not state.is_complete()
