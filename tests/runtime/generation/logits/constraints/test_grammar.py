"""The options as grammars, and the package that reads them."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from edgepipe.errors import DependencyError, InputError
from edgepipe.generation.logits.constraints import grammar
from edgepipe.generation.logits.constraints.constraint import build_constraint
from tests.runtime.generation.logits.constraints.small_vocabularies import small_tokenizer

pytest.importorskip("llguidance")


def test_a_schema_s_own_options_for_the_engine_are_dropped() -> None:
    schema = {"type": "object", "x-guidance": {"lenient": True, "whitespace_flexible": False}}
    written = grammar.write_json_grammar(json.dumps(schema))
    found: Any = json.loads(written.partition("%json ")[2])
    assert found["type"] == "object"
    assert found["x-guidance"]["lenient"] is False
    assert found["x-guidance"]["whitespace_flexible"] is True


def test_any_json_is_a_schema_without_keywords() -> None:
    assert grammar.write_json_grammar("true") == grammar.write_json_grammar("{}")


@pytest.mark.parametrize(
    "choices", [('"', "\\", "a\nb"), ("\x00\x1f", "é", "😀"), ("/", "|", "a b")], ids=["quotes", "codes", "signs"]
)
def test_choices_may_have_any_character(choices: tuple[str, ...]) -> None:
    tokenizer = small_tokenizer("bytes")
    constraint = build_constraint("choices", choices, tokenizer)
    for choice in (*choices, "b"):
        ids = [byte + 2 for byte in choice.encode()]
        assert constraint.accepts(ids, (0,)) == (choice in choices)


@pytest.mark.parametrize(
    ("regex", "text"),
    [
        ("a/b", "a/b"),
        ("a\nb", "a\nb"),
        (r"\d+", "٣"),
        ("^ab$", "ab"),
        ("(?i)ab", "aB"),
        ('"x"', '"x"'),
        (r"[^a]", "\n"),
    ],
    ids=["slash", "line", "digits", "anchors", "case", "quotes", "other"],
)
def test_regular_expressions_match_whole_texts(regex: str, text: str) -> None:
    constraint = build_constraint("regex", regex, small_tokenizer("bytes"))
    for whole, expected in ((text, True), (text + "!", False), ("!" + text, False)):
        assert constraint.accepts([byte + 2 for byte in whole.encode()], (0,)) == expected


@pytest.mark.parametrize(
    "write",
    [
        lambda text: grammar.write_json_grammar(json.dumps({"const": text})),
        grammar.write_regex_grammar,
        lambda text: grammar.write_choice_grammar((text,)),
    ],
    ids=["schema", "regex", "choices"],
)
def test_grammars_have_a_greatest_length(write: Any) -> None:
    with pytest.raises(InputError, match=r"has 10000\d\d characters, and can have 1000000 at most; make it simpler"):
        write("a" * 1_000_005)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(DependencyError, match=r"need llguidance.*pip install 'edgepipe\[guided\]'"):
        build_constraint("regex", "a", small_tokenizer("byte-level"))


class PanicException(BaseException):
    """As pyo3's, which has no module to import it from."""


def test_a_panic_of_the_engine_is_an_error_of_the_request() -> None:
    """No input is known that makes one: the engine catches those of its parser itself."""
    said = r"had llguidance fail \(index out of bounds\); make it simpler"
    with pytest.raises(InputError, match=said), grammar.convert_engine_panics():
        raise PanicException("index out of bounds")
    for other in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(other), grammar.convert_engine_panics():
            raise other
