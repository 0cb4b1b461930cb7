"""``response_format``, asked for by OpenAI's own client: answers are JSON of the schema, whoever writes beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from jsonschema import Draft202012Validator

from tests.runtime.serve.protocols.openai.conftest import Writers
from tests.runtime.serve.running_server import RunningServer, serve_bundles
from tests.runtime.serve.tool_templates import TOOLS

MESSAGES: list[Any] = [{"role": "user", "content": "Hello there"}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad", "méh"]}, "stars": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["mood", "stars"],
    "additionalProperties": False,
}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "review", "schema": SCHEMA, "strict": True}}
LENGTH = 300


@pytest.fixture
def served(writers: Writers) -> tuple[RunningServer, openai.OpenAI, Any]:
    return writers.server, writers.client, writers.tasks["chat"]


def create(client: openai.OpenAI, **options: Any) -> Any:
    asked: dict[str, Any] = {"model": "chat", "messages": MESSAGES, "max_tokens": LENGTH} | options
    return client.chat.completions.create(**asked)


def test_answers_are_what_the_pipeline_writes(served: Any) -> None:
    _, client, write = served
    choice = create(client, temperature=0, response_format=FORMAT).choices[0]
    assert choice.finish_reason == "stop"
    Draft202012Validator(SCHEMA).validate(json.loads(choice.message.content))
    options = {"do_sample": False, "max_new_tokens": LENGTH, "return_full_text": False}
    assert choice.message.content == write(MESSAGES, json_schema=SCHEMA, **options)[0]["generated_text"]


def test_streams_and_several_answers(served: Any) -> None:
    _, client, _ = served
    whole = create(client, seed=3, n=3, response_format=FORMAT, logprobs=True)
    texts = ["", "", ""]
    for chunk in create(client, seed=3, n=3, response_format=FORMAT, stream=True):
        for each in chunk.choices:
            texts[each.index] += each.delta.content or ""
    assert texts == [each.message.content for each in whole.choices]
    assert len({*texts}) > 1
    for each in whole.choices:
        assert each.finish_reason == "stop"
        Draft202012Validator(SCHEMA).validate(json.loads(each.message.content))
        assert all(token.logprob <= 0 for token in each.logprobs.content)


def test_requests_side_by_side_have_forms_of_their_own(served: Any) -> None:
    _, client, _ = served
    forms = [FORMAT, {"type": "text"}, {"type": "json_object"}, FORMAT]

    def ask(form: Any) -> str:
        text: str = create(client, temperature=0, max_tokens=80, response_format=form).choices[0].message.content
        return text

    alone = [ask(form) for form in forms]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, forms)) == alone
    assert alone[0] == alone[3] != alone[1]
    assert alone[2].startswith("{")


def test_an_answer_that_is_cut_off_says_so(served: Any) -> None:
    _, client, _ = served
    choice = create(client, max_tokens=2, response_format={"type": "json_object"}).choices[0]
    assert choice.finish_reason == "length"
    assert choice.message.content.startswith("{")


def test_a_format_without_a_schema_is_any_object(served: Any) -> None:
    _, client, _ = served
    form = {"type": "json_schema", "json_schema": {"name": "any"}}
    forms: list[Any] = [form, {"type": "json_object"}]
    same = [create(client, temperature=0, max_tokens=9, response_format=each) for each in forms]
    assert same[0].choices[0].message.content == same[1].choices[0].message.content


WRONG: list[Any] = [
    pytest.param({"type": "json_schema"}, "response_format.json_schema", "missing_required_parameter", id="no schema"),
    pytest.param({"type": "xml"}, "response_format.type", "invalid_value", id="type"),
    pytest.param("json", "response_format", "invalid_type", id="text"),
    pytest.param({"type": "json_object", "a": 1}, "a", "unknown_parameter", id="unknown field"),
    pytest.param(
        {"type": "json_schema", "json_schema": {"schema": {}}}, "name", "missing_required_parameter", id="no name"
    ),
    pytest.param(
        {"type": "json_schema", "json_schema": {"name": "a", "schema": {"not": {}}}},
        "response_format", "invalid_value", id="unknown keyword",
    ),
    pytest.param(
        {"type": "json_schema", "json_schema": {"name": "a", "schema": {"$ref": "#"}}},
        "response_format", "invalid_value", id="endless",
    ),
    pytest.param(
        {"type": "json_schema", "json_schema": {"name": "a", "schema": False}},
        "response_format", "invalid_value", id="nothing",
    ),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("form", "param", "code"), WRONG)
def test_formats_that_are_refused(served: Any, form: Any, param: str, code: str, stream: bool) -> None:
    server, _, _ = served
    body = {"model": "chat", "messages": MESSAGES, "response_format": form, "stream": stream}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code), error
    if param == "response_format" and code == "invalid_value":
        assert error["message"].startswith("Invalid response_format: json_schema")


CONSTRAINED: list[Any] = [
    pytest.param("/models/hermes", {"inputs": "a", "parameters": {"regex": "a+"}}, id="hub-inference"),
    pytest.param("/models/hermes", {"inputs": "a", "parameters": {"choices": ["a"]}, "stream": True}, id="hub stream"),
    pytest.param("/", {"inputs": "a", "parameters": {"json_schema": True, "details": True}}, id="hub details"),
    pytest.param(
        "/v2/models/hermes/infer",
        {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}], "parameters": {"regex": "a"}},
        id="open-inference",
    ),
    pytest.param(
        "/v1/chat/completions", {"model": "hermes", "messages": MESSAGES, "response_format": FORMAT}, id="format"
    ),
    pytest.param(
        "/v1/chat/completions",
        {"model": "hermes", "messages": MESSAGES, "tools": TOOLS, "tool_choice": "required", "stream": True},
        id="tools",
    ),
]


@pytest.fixture(scope="module")
def bare_server(writers: Writers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that cannot import llguidance."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "llguidance.py").write_text("raise ImportError('there is none')")
    with serve_bundles(writers.tasks["hermes"].model.directory, env={"PYTHONPATH": str(folder)}) as server:
        yield server


@pytest.mark.parametrize(("route", "body"), CONSTRAINED)
def test_without_the_engine_every_route_says_what_to_install(bare_server: RunningServer, route: str, body: Any) -> None:
    answer = httpx.post(f"{bare_server.url}{route}", json=body, timeout=60)
    assert answer.status_code == 400, answer.text
    assert "edgepipe[guided]" in answer.text
    error = answer.json()["error"]
    if route.startswith("/v1"):
        assert (error["type"], error["code"]) == ("invalid_request_error", "unsupported_parameter")
        assert error["param"] in ("response_format", "tool_choice")
    plain = httpx.post(f"{bare_server.url}/", json={"inputs": "a", "parameters": {"max_new_tokens": 1}}, timeout=60)
    assert plain.status_code == 200, plain.text
