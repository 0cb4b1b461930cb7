"""Errors as OpenAI's server has them: a message, a type, a code, and the field that is wrong."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from edgepipe.errors import InputError
from edgepipe.serve.call import RefusedError
from edgepipe.serve.endpoint import Context
from edgepipe.serve.served_model import ServedModel

# What OpenAI's clients look at to tell errors of one status apart.
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}

# The field in the messages of msgspec.
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")
_MISSING = re.compile(r"missing required field `([^`]+)`")
_PATH = re.compile(r"`\$\.([^`]+)`$")

Body = TypeVar("Body")


class ErrorDetail(msgspec.Struct):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorBody(msgspec.Struct):
    """An error."""

    error: ErrorDetail


class RequestError(RefusedError):
    """A request that is refused with a code of OpenAI's, or for one of its fields.

    Attributes:
        code: OpenAI's word for the reason.
        param: The field.
    """

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(status, message)
        self.code = code
        self.param = param


def make_error(status: int, message: str, error: Exception) -> OpenAIErrorBody:
    """An error; of one that is not OpenAI's own nothing is known but its status."""
    code, param = (error.code, error.param) if isinstance(error, RequestError) else (_CODES.get(status), None)
    return OpenAIErrorBody(ErrorDetail(message, _type_of(status), param, code))


def read_body(context: Context, kind: type[Body]) -> Body:
    """The body of a request.

    Raises:
        RequestError: it is no JSON, has a field that is not known, or a value that cannot be used.
    """
    try:
        return context.read(kind)
    except InputError as error:
        message = str(error)
        for pattern, code in ((_UNKNOWN, "unknown_parameter"), (_MISSING, "missing_required_parameter")):
            if found := pattern.search(message):
                raise RequestError(400, message, code=code, param=found[1]) from error
        place = _PATH.search(message)
        code = "invalid_type" if ", got " in message else "invalid_value"
        raise RequestError(400, message, code=code if place else None, param=place[1] if place else None) from error


def find_model(context: Context, name: str) -> ServedModel:
    """A model by its name.

    Raises:
        RefusedError: there is none, or it is not loaded.
    """
    try:
        return context.repository.get(name)
    except RefusedError as error:
        if error.status != 404:
            raise
        raise RequestError(404, str(error), code="model_not_found") from error


def refuse_field(name: str, reason: str, *, param: str | None = None) -> RequestError:
    """The error for a field, or a value of the field `param`, that OpenAI has and this server has not."""
    message = f"{name} is not served here: {reason}"
    return RequestError(400, message, code="unsupported_parameter", param=param or name)


def _type_of(status: int) -> str:
    if status >= 500:
        return "server_error"
    return "tokens" if status == 429 else "invalid_request_error"
