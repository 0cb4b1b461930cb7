"""Schemas that llguidance takes, but cannot hold a text to: no text fulfils them, or not all that it lets through do.

What it does not know it refuses itself. It does not see that a schema is cyclic without end, and that an object may
have the same additional property twice, which a reader of JSON counts once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from edgepipe.arguments import is_number
from edgepipe.errors import InputError

# Where a schema has schemas that a text must fulfil: one, several in a list, or several by name.
_SINGLE = ("items", "additionalProperties", "additionalItems")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_NAMED = ("properties", "patternProperties")


def check_schema(schema: Any) -> None:
    """Refuse what the engine would take and not hold.

    Args:
        schema: A parsed schema.

    Raises:
        InputError: no text fulfils the schema, or what it asks for cannot be kept.
    """
    if schema is False:
        raise InputError("json_schema is false, which no text fulfils; pass a schema that can be met")
    nodes = _Nodes(schema)
    for node in nodes.found:
        _check_least_properties(node)
    if not nodes.has_finite_text():
        raise InputError(
            "json_schema is cyclic without end: what it requires holds the same again, so that no text fulfils it; "
            'leave the property out of "required", or allow null beside the "$ref"'
        )


def _check_least_properties(node: Mapping[str, Any]) -> None:
    least = node.get("minProperties", 0)
    required = node.get("required", ())
    sure = max(1, len(required) if isinstance(required, (list, tuple)) else 0)
    if node.get("additionalProperties") is False and not node.get("patternProperties"):
        return
    if is_number(least) and least > sure:
        raise InputError(
            f'json_schema cannot be followed: "minProperties" is {least}, and an additional property may come twice; '
            'name properties in "required", or set "additionalProperties" to false'
        )


class _Nodes:
    """The parts of a schema that a text may have to fulfil.

    Attributes:
        found: Those that are objects, each once, the whole first.
    """

    def __init__(self, root: Any) -> None:
        self._root = root
        self.found: list[Mapping[str, Any]] = []
        self._finite: set[int] = set()
        seen: set[int] = set()
        waiting = [root]
        # An inner "$id" or an anchor may have references mean what is not looked up here: the engine does.
        self._is_plain = True
        while waiting:
            node = waiting.pop(0)
            if not isinstance(node, Mapping) or id(node) in seen:
                continue
            seen.add(id(node))
            self.found.append(node)
            self._is_plain &= node is root or "$id" not in node
            waiting += _children(node)
            if "$ref" in node:
                waiting.append(self._resolve(node["$ref"]))

    def has_finite_text(self) -> bool:
        """Whether a text can come to an end: the least fixed point of what each part needs of its parts."""
        if not self._is_plain:
            return True
        is_growing = True
        while is_growing:
            grown = {id(node) for node in self.found if id(node) not in self._finite and self._ends(node)}
            self._finite |= grown
            is_growing = bool(grown)
        return self._is_finite(self._root)

    def _is_finite(self, node: Any) -> bool:
        return id(node) in self._finite if isinstance(node, Mapping) else node is not False

    def _ends(self, node: Mapping[str, Any]) -> bool:
        """Whether a node has a text, by what is known of its parts."""
        if "$ref" in node and not self._is_finite(self._resolve(node["$ref"])):
            return False
        if not all(map(self._is_finite, _list(node.get("allOf")))):
            return False
        for name in ("anyOf", "oneOf"):
            if (parts := _list(node.get(name))) and not any(map(self._is_finite, parts)):
                return False
        if "const" in node or "enum" in node or "type" not in node:
            return True
        kinds = {node["type"]} if isinstance(node["type"], str) else set(map(str, _list(node["type"])))
        if not kinds or not kinds <= {"object", "array"}:  # a scalar, or no type: then the engine says so
            return True
        return ("object" in kinds and self._object_ends(node)) or ("array" in kinds and self._array_ends(node))

    def _object_ends(self, node: Mapping[str, Any]) -> bool:
        return all(
            self._is_finite(_property(node, name)) for name in _list(node.get("required")) if isinstance(name, str)
        )

    def _array_ends(self, node: Mapping[str, Any]) -> bool:
        least = node.get("minItems", 0)
        if not is_number(least) or least <= 0:
            return True
        items = node.get("items", True)
        first = _list(node.get("prefixItems")) or _list(items)
        needed = first[: int(least)]
        if least > len(first):
            rest = node.get("additionalItems", True) if isinstance(items, list) else items
            needed = [*needed, rest]
        return all(map(self._is_finite, needed))

    def _resolve(self, reference: Any) -> Any:
        """What a reference within the schema means; True, any JSON, for all others."""
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            return True
        place = self._root
        for part in reference[2:].split("/") if len(reference) > 1 else ():
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(place, Mapping) and key in place:
                place = place[key]
            elif isinstance(place, list) and key.isdecimal() and int(key) < len(place):
                place = place[int(key)]
            else:
                return True
        return place


def _children(node: Mapping[str, Any]) -> Iterator[Any]:
    for name in _SINGLE:
        yield node.get(name)
    for name in _LISTS:
        yield from _list(node.get(name))
    for name in _NAMED:
        if isinstance(node.get(name), Mapping):
            yield from node[name].values()


def _property(node: Mapping[str, Any], name: str) -> Any:
    """What a property must be."""
    properties = node.get("properties")
    if isinstance(properties, Mapping) and name in properties:
        return properties[name]
    patterns = node.get("patternProperties")
    for pattern, found in patterns.items() if isinstance(patterns, Mapping) else ():
        try:
            if re.search(pattern, name):
                return found
        except (re.error, TypeError):
            return True
    return node.get("additionalProperties", True)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
