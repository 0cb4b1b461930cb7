"""What OpenAI calls ``response_format``: answers that are JSON, of any form or of a schema's.

https://platform.openai.com/docs/guides/structured-outputs
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import msgspec

from edgepipe.errors import DependencyError, InputError
from edgepipe.generation.config import CHECKS
from edgepipe.generation.logits.constraints.constraint import build_constraint
from edgepipe.pipelines.generative import GenerativeTask
from edgepipe.serve.protocols.openai.openai_errors import RequestError, refuse_field
from edgepipe.serve.served_model import ServedModel

# Why nothing can be held to a form.
NO_ENGINE = "the server lacks llguidance; install edgepipe[guided] there"

_FIELD = "response_format"
_ANY_OBJECT: dict[str, Any] = {"type": "object"}


class JsonSchemaFormat(msgspec.Struct, forbid_unknown_fields=True):
    """A schema. Answers are held to it whatever `strict` says."""

    name: str
    description: str | None = None
    schema: dict[str, Any] | bool | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, forbid_unknown_fields=True):
    """What an answer has to be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


async def read_response_format(form: ResponseFormat | None, model: ServedModel) -> dict[str, Any]:
    """The options of the task that hold an answer to a form; none for plain text.

    The form is made ready for the model in a thread: a schema may take as long as other requests should not wait.

    Raises:
        RequestError: answers cannot be held to it.
    """
    if form is None or form.type == "text":
        return {}
    schema: Any = _ANY_OBJECT
    if form.type == "json_schema":
        if form.json_schema is None:
            message = f"{_FIELD} of the type json_schema has no json_schema; send one"
            raise RequestError(400, message, code="missing_required_parameter", param=f"{_FIELD}.json_schema")
        schema = _ANY_OBJECT if form.json_schema.schema is None else form.json_schema.schema
    if isinstance(model.task, GenerativeTask):
        try:
            checked = CHECKS["json_schema"]("json_schema", schema)
            await asyncio.to_thread(build_constraint, "json_schema", checked, model.task.tokenizer)
        except DependencyError as error:
            raise refuse_field(_FIELD, NO_ENGINE) from error
        except InputError as error:
            raise RequestError(400, f"Invalid {_FIELD}: {error}", code="invalid_value", param=_FIELD) from error
    return {"json_schema": schema}
