"""Schemas that the engine takes, and no text can be held to."""

from __future__ import annotations

from typing import Any

import pytest

from edgepipe.errors import InputError
from edgepipe.generation.logits.constraints.schema_checks import check_schema

_SELF: dict[str, Any] = {"$ref": "#"}
_LIST: dict[str, Any] = {
    "$ref": "#/$defs/list",
    "$defs": {
        "list": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/list"}]}},
            "required": ["next"],
        }
    },
}
ENDLESS: dict[str, Any] = {
    "itself": _SELF,
    "required property": {"type": "object", "properties": {"a": _SELF}, "required": ["a"]},
    "additional property": {"type": "object", "additionalProperties": _SELF, "required": ["a"]},
    "property by pattern": {"type": "object", "patternProperties": {"^a": _SELF}, "required": ["ab"]},
    "items": {"type": "array", "items": _SELF, "minItems": 1},
    "first items": {"type": "array", "prefixItems": [{}, _SELF], "minItems": 2},
    "older first items": {"type": "array", "items": [{}], "additionalItems": _SELF, "minItems": 2},
    "all of": {"allOf": [{"type": "null"}, _SELF]},
    "any of two": {"anyOf": [_SELF, {"type": "array", "items": _SELF, "minItems": 1}]},
    "one of": {"oneOf": [{"type": "object", "properties": {"b": _SELF}, "required": ["b"]}]},
    "two kinds": {
        "type": ["object", "array"], "properties": {"a": _SELF}, "required": ["a"], "items": _SELF, "minItems": 1,
    },
    "false within": {"type": "object", "properties": {"a": False}, "required": ["a"]},
    "two that need each other": {
        "$ref": "#/$defs/a~1b",
        "$defs": {
            "a/b": {"type": "object", "properties": {"c": {"$ref": "#/$defs/c"}}, "required": ["c"]},
            "c": {"type": "array", "items": {"$ref": "#/$defs/a~1b"}, "minItems": 3},
        },
    },
    "through a list": {
        "allOf": [{"type": "object", "properties": {"a": {"$ref": "#/allOf/0"}}, "required": ["a"]}],
    },
}  # fmt: skip
ENDING: dict[str, Any] = {
    "true": True,
    "nothing": {},
    "list": _LIST,
    "tree": {"type": "object", "properties": {"children": {"type": "array", "items": _SELF}}, "required": ["children"]},
    "optional": {"type": "object", "properties": {"a": _SELF}},
    "or text": {"type": ["object", "string"], "properties": {"a": _SELF}, "required": ["a"]},
    "no type": {"properties": {"a": _SELF}, "required": ["a"]},
    "constant": {"properties": {"a": _SELF}, "required": ["a"], "const": 1, "type": "integer"},
    "few items": {"type": "array", "prefixItems": [{}, _SELF], "minItems": 1},
    "unused": {"type": "null", "$defs": {"a": {"$ref": "#/$defs/a"}, "b": {"minProperties": 9}}},
    "in data": {"const": {"$ref": "#", "minProperties": 9}},
    "elsewhere": {"$ref": "https://example.org/a"},
    "missing": {"$ref": "#/$defs/none"},
    "no text": {"$ref": 5},
    "identified": {"$defs": {"a": {"$id": "urn:a", "$ref": "#"}}, "$ref": "#/$defs/a"},
    "wrong pattern": {"type": "object", "patternProperties": {"(": _SELF}, "required": ["a"]},
    "wrong kinds": {"type": 5, "required": 5, "items": 5, "properties": [], "minItems": "a", "anyOf": {}},
}


@pytest.mark.parametrize("schema", ENDLESS.values(), ids=ENDLESS)
def test_no_text_of_these_comes_to_an_end(schema: Any) -> None:
    with pytest.raises(InputError, match=r"json_schema is cyclic without end: .*; leave the property out of"):
        check_schema(schema)


@pytest.mark.parametrize("schema", ENDING.values(), ids=ENDING)
def test_texts_of_these_come_to_an_end(schema: Any) -> None:
    check_schema(schema)


def test_nothing_fulfils_false() -> None:
    with pytest.raises(InputError, match="json_schema is false, which no text fulfils"):
        check_schema(False)


def test_a_property_that_comes_twice_counts_once() -> None:
    closed = {"properties": {"a": {}, "b": {}}, "additionalProperties": False}
    check_schema({"minProperties": 2, **closed})
    check_schema({"minProperties": 1})
    check_schema({"minProperties": 2, "required": ["a", "b"]})
    for schema in (
        {"minProperties": 2},
        {"minProperties": 2, "required": ["a"]},
        {"minProperties": 2, **closed, "patternProperties": {"^x": {}}},
        {"type": "array", "items": {"allOf": [{"minProperties": 3}]}},
    ):
        with pytest.raises(InputError, match=r'"minProperties" is \d, and an additional property may come twice'):
            check_schema(schema)
