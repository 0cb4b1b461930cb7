"""Errors in OpenAI's shape: which type, code and field each has."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from starlette.requests import Request

from edgepipe.errors import InputError, TaskError
from edgepipe.serve.call import Call, RefusedError
from edgepipe.serve.endpoint import Context, describe_error, status_of
from edgepipe.serve.protocols.openai.openai_errors import RequestError, make_error, read_body, refuse_field
from edgepipe.serve.protocols.openai.openai_routes import CreateEmbeddingRequest


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "invalid_request_error", None),
        (401, "invalid_request_error", "invalid_api_key"),
        (413, "invalid_request_error", None),
        (429, "tokens", "rate_limit_exceeded"),
        (500, "server_error", None),
        (503, "server_error", None),
    ],
)
def test_the_type_and_code_of_a_status(status: int, kind: str, code: str | None) -> None:
    error = make_error(status, "no", RefusedError(status, "no")).error
    assert (error.message, error.type, error.param, error.code) == ("no", kind, None, code)


@pytest.mark.parametrize(
    ("error", "kind", "code", "param"),
    [
        pytest.param(RequestError(404, "no", code="model_not_found"), "invalid_request_error", "model_not_found", None),
        pytest.param(refuse_field("tools", "no"), "invalid_request_error", "unsupported_parameter", "tools"),
        pytest.param(RefusedError(504, "late"), "server_error", None, None),
        pytest.param(InputError("no"), "invalid_request_error", None, None),
        pytest.param(TaskError("no"), "invalid_request_error", None, None),
    ],
    ids=["code", "field", "late", "input", "task"],
)
def test_an_error_in_a_stream(error: Exception, kind: str, code: str | None, param: str | None) -> None:
    found = describe_error(error, status_of(error), Call(), make_error).error
    assert (found.message, found.type, found.code, found.param) == (str(error), kind, code, param)


def test_an_error_that_nobody_foresaw_goes_to_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "edgepipe.serve"):
        logging.getLogger("edgepipe.serve").propagate = True
        found = describe_error(ZeroDivisionError("secret"), 500, Call("id-7"), make_error).error
    assert "secret" not in found.message
    assert found.type == "server_error"
    assert "id-7" in caplog.text


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        pytest.param(b'{"model": "m"}', "missing_required_parameter", "input", id="missing"),
        pytest.param(b'{"model": "m", "input": "a", "inputs": 1}', "unknown_parameter", "inputs", id="unknown"),
        pytest.param(b'{"model": 1, "input": "a"}', "invalid_type", "model", id="type"),
        pytest.param(b'{"model": "m", "input": "a", "dimensions": 0}', "invalid_value", "dimensions", id="value"),
        pytest.param(b'{"model": "m", "input": []}', "invalid_value", "input", id="empty"),
        pytest.param(b"[]", None, None, id="no object"),
        pytest.param(b"{", None, None, id="no JSON"),
        pytest.param(b'"\xff"', None, None, id="no UTF-8"),
    ],
)
def test_the_field_that_is_wrong(body: bytes, code: str | None, param: str | None) -> None:
    scope: dict[str, Any] = {"type": "http", "path_params": {}, "query_string": b"", "headers": [], "client": None}
    context = Context(Request(scope), Call(), None, body)  # type: ignore[arg-type]
    with pytest.raises(RequestError) as caught:
        read_body(context, CreateEmbeddingRequest)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)
