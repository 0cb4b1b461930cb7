"""The JSON schema of ``edgepipe.json``, made of the classes that read and write it.

python -m tests.documentation.manifest_schema > docs/reference/edgepipe.schema.json
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from edgepipe.bundle import manifest

PLAIN = {str: "string", int: "integer", bool: "boolean", type(None): "null"}
# Written always, and asked for by the reader, though the class has a default.
ALWAYS_THERE = {manifest.Manifest: {"schema_version", "files"}, manifest.Variant: {"parity"}}

_ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def make_schema() -> dict[str, Any]:
    """The schema of the manifest; its parts are definitions."""
    definitions: dict[str, Any] = {}
    schema = _schema_of_class(manifest.Manifest, definitions)
    schema["properties"]["schema_version"] = {
        "const": manifest.SCHEMA_VERSION,
        "description": "The version of this schema.",
    }
    schema["properties"]["manifest_sha256"] = {
        "type": "string",
        "description": "The sha256 of this object without this field, as JSON with sorted keys and without blanks; "
        "older bundles lack it.",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgepipe.json",
        **schema,
        "$defs": dict(sorted(definitions.items())),
    }


def _schema_of_class(kind: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    told = read_attributes(kind)
    properties = {
        each.name: _schema_of_type(hints[each.name], definitions) | _describe(told.get(each.name, ""))
        for each in fields(kind)
    }
    required = [
        each.name
        for each in fields(kind)
        if (each.default is MISSING and each.default_factory is MISSING) or each.name in ALWAYS_THERE.get(kind, ())
    ]
    summary = _describe((kind.__doc__ or "").splitlines()[0])
    return {"type": "object", **summary, "properties": properties, "required": required}


def _schema_of_type(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return {}
    if hint in PLAIN:
        return {"type": PLAIN[hint]}
    if hint is float:  # infinity and NaN, which JSON lacks, are written as null
        return {"type": ["number", "null"]}
    if is_dataclass(hint):
        assert isinstance(hint, type)
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = _schema_of_class(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    if origin in (Union, types.UnionType):
        return _either([_schema_of_type(each, definitions) for each in arguments])
    if origin is tuple:
        return {"type": "array", "items": _schema_of_type(arguments[0], definitions)}
    assert origin is Mapping, f"{hint} has no schema yet"
    return {"type": "object", "additionalProperties": _schema_of_type(arguments[1], definitions)}


def _either(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """One of several schemas; as one list of types where that says it."""
    if any(schema.keys() != {"type"} for schema in schemas):
        return {"anyOf": schemas}
    names: dict[str, None] = {}
    for schema in schemas:
        names |= dict.fromkeys([schema["type"]] if isinstance(schema["type"], str) else schema["type"])
    return {"type": list(names)}


def read_attributes(kind: type[Any]) -> dict[str, str]:
    """What a class's docstring says of each attribute, on one line."""
    _, _, section = (kind.__doc__ or "").partition("    Attributes:\n")
    unindented = re.sub(r"^ {4}", "", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in _ATTRIBUTE.findall(unindented)}


def _describe(text: str) -> dict[str, str]:
    """A text of a docstring as JSON's words have it."""
    return {"description": text.replace("``", "").replace("None", "null")} if text else {}


if __name__ == "__main__":
    print(json.dumps(make_schema(), indent=2))
