"""The description of all routes as OpenAPI 3.1, from the types that the routes read and write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from edgepipe.serve.endpoint import ProtocolRoutes

_PARAMETER = re.compile(r"{(\w+)}")

# What any route may answer beside its result.
_ERRORS = {
    "400": "The request cannot be used.",
    "401": "A key is needed.",
    "403": "Not from there.",
    "404": "No such model.",
    "408": "The body came too slowly.",
    "413": "More than a request may have.",
    "422": "The request cannot be used, as text-embeddings-inference says it.",
    "424": "The model is for another task, as text-embeddings-inference says it.",
    "429": "Too much waits; come again after Retry-After seconds.",
    "500": "The server failed.",
    "503": "The model is not loaded.",
    "504": "It took longer than it may.",
}


def describe(protocols: Sequence[ProtocolRoutes]) -> dict[str, Any]:
    """The description.

    Args:
        protocols: Whose routes.
    """
    from edgepipe import __version__

    types = [
        each
        for protocol in protocols
        for each in (protocol.error, *(kind for op in protocol.operations for kind in (op.body, op.answer)))
        if each is not None
    ]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    found = {id(each): schema for each, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for protocol in protocols:
        for operation in protocol.operations:
            answer: dict[str, Any] = {"description": operation.summary}
            if operation.answer is not None:
                answer["content"] = {operation.content: {"schema": found[id(operation.answer)]}}
            elif operation.content != "application/json":
                answer["content"] = {operation.content: {"schema": {"type": "string"}}}
            if operation.streams:
                answer["content"]["text/event-stream"] = {"schema": {"type": "string"}}
            error = {"content": {"application/json": {"schema": found[id(protocol.error)]}}}
            described: dict[str, Any] = {
                "tags": [protocol.name],
                "summary": operation.summary,
                "operationId": _name(operation.method, operation.path),
                "parameters": [
                    {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                    for name in _PARAMETER.findall(operation.path)
                ],
                "responses": {
                    "200": answer,
                    **{code: {"description": text, **error} for code, text in _ERRORS.items()},
                },
            }
            if operation.body is not None:
                described["requestBody"] = {
                    "required": True,
                    "content": {"application/json": {"schema": found[id(operation.body)]}},
                }
            paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "edgepipe", "version": __version__},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _name(method: str, path: str) -> str:
    return "_".join([method.lower(), *re.findall(r"\w+", path)])
