"""Whatever is sent to any route of any protocol: a documented status, the protocol's own form, and a server that lives.

The routes are those of the application's table. A protocol that is added is tested here once its bodies are in `RIGHT`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from edgepipe.serve.app import PROTOCOLS, create_app
from edgepipe.serve.endpoint import Operation, ProtocolRoutes
from edgepipe.serve.openapi import describe
from edgepipe.serve.protocols import embeddings_inference as tei
from edgepipe.serve.protocols.hub_inference import InferenceRequest
from edgepipe.serve.protocols.open_inference import InferRequest
from edgepipe.serve.protocols.openai.openai_chats import CreateChatCompletionRequest
from edgepipe.serve.protocols.openai.openai_completions import CreateCompletionRequest
from edgepipe.serve.protocols.openai.openai_routes import CreateEmbeddingRequest
from edgepipe.serve.settings import ServeSettings
from edgepipe_models import default_bundle
from tests.runtime.serve.running_server import RunningServer, serve_bundles
from tests.runtime.serve.writing_bundles import make_chat
from tests.runtime.tiny_bundles import make_encoder, make_sentence_encoder

DESCRIPTION = describe(PROTOCOLS)
OPERATIONS = {
    f"{operation.method} {operation.path}": (protocol, operation)
    for protocol in PROTOCOLS
    for operation in protocol.operations
}
# Routes that load models: they are asked a few times, and what they unloaded is loaded again.
CHANGES_MODELS = ("/admin/", "/v2/repository/models/")
EXAMPLES, FEW = 50, 4

TENSOR = {"name": "text", "shape": [2], "datatype": "BYTES", "parameters": {}, "data": ["a", "b"]}
ROW = {"shape": [1, 3], "datatype": "INT64", "parameters": {}, "data": [2, 50, 3]}
WRITTEN = {"max_tokens": 3, "n": 2, "temperature": 0.5, "top_p": 0.9, "seed": 1, "stop": ["x"], "logit_bias": {"5": 1}}
# Right requests by the type of their body: the model, and fields of all kinds.
RIGHT: Mapping[Any, list[tuple[str, dict[str, Any]]]] = {
    InferRequest: [
        ("mood", {"id": "1", "inputs": [TENSOR], "outputs": [{"name": "label"}],
                  "parameters": {"function_to_apply": "none"}}),
        ("mood", {"inputs": [{"name": name, **ROW} for name in ("input_ids", "attention_mask")]}),
        ("sentences", {"inputs": [TENSOR], "parameters": {"truncate_dim": 4, "normalize_embeddings": True}}),
        ("chat", {"inputs": [TENSOR], "parameters": {"max_new_tokens": 3}}),
    ],
    CreateEmbeddingRequest: [
        ("sentences", {"model": "sentences", "input": ["a", "b"], "encoding_format": "float", "dimensions": 4}),
    ],
    CreateCompletionRequest: [
        ("chat", {"model": "chat", "prompt": ["a", "b"], "logprobs": 2, "echo": False, **WRITTEN}),
        ("chat", {"model": "chat", "prompt": "a", "stream": True, "stream_options": {"include_usage": True}}),
    ],
    CreateChatCompletionRequest: [
        ("chat", {"model": "chat", "messages": [{"role": "user", "content": "a"}], **WRITTEN, "top_k": 5}),
        (
            "chat",
            {
                "model": "chat", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
                "stream": True, "max_completion_tokens": 3, "logprobs": True, "top_logprobs": 2,
            },
        ),
    ],
    tei.EmbedRequest: [
        (
            "sentences",
            {"inputs": ["a", "b"], "truncate": True, "truncation_direction": "Left", "prompt_name": "query",
             "normalize": True, "dimensions": 4},
        ),
    ],
    tei.EmbedAllRequest: [("sentences", {"inputs": "a", "truncate": True, "prompt_name": "query"})],
    tei.SimilarityRequest: [
        (
            "sentences",
            {"inputs": {"source_sentence": "a", "sentences": ["b", "c"]}, "parameters": {"truncate": True}},
        ),
    ],
    tei.PredictRequest: [("mood", {"inputs": [["a"], ["a", "b"]], "raw_scores": True, "truncate": True})],
    tei.RerankRequest: [("reranker", {"query": "a", "texts": ["b", "c"], "return_text": True, "raw_scores": True})],
    tei.TokenizeRequest: [("mood", {"inputs": ["a", "b"], "add_special_tokens": True})],
    tei.DecodeRequest: [("sentences", {"ids": [[1, 2], [3]], "skip_special_tokens": True})],
    InferenceRequest: [
        ("mood", {"inputs": ["a", {"text": "b", "text_pair": "c"}], "parameters": {"top_k": 1, "truncation": True}}),
        ("sentences", {"inputs": ["a"], "normalize": True, "dimensions": 4, "options": {"use_cache": True}}),
        ("sentences", {"inputs": ["a"], "parameters": {"truncate": True, "truncation_direction": "left"}}),
        ("chat", {"inputs": "a", "parameters": {"max_new_tokens": 3, "details": True, "top_n_tokens": 2}}),
        ("chat", {"inputs": "a", "parameters": {"max_new_tokens": 3, "temperature": 0.5, "seed": 1}, "stream": True}),
    ],
}  # fmt: skip
# A model for routes without a body.
MODEL = "mood"
TASKS = {"mood": "text-classification", "sentences": "feature-extraction", "chat": "text-generation"}

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**63, 2**64, -1, 0, 5000, 10**400])
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(["\x00", "\ud800", "a" * 5000, "NaN", "mood", "chat", "Left"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(["", "text/plain", "application/xml", "multipart/form-data", "a/b; charset=x"]),
        "content-encoding": st.sampled_from(["gzip", "br", "x"]),
        "accept": st.sampled_from(["text/html", "image/png", "x"]),
        "inference-header-content-length": st.sampled_from(["0", "5", "-1", "x", "999999999999999", "99999"]),
        "x-priority": st.sampled_from(["high", "low", "", "x"]),
        "x-timeout-ms": st.sampled_from(["", "-1", "1.5", "x", "600000"]),
        "traceparent": st.sampled_from(["", "00-x-y-01", "a" * 300]),
    },
)
NAMES = st.sampled_from(
    ["mood", "sentences", "reranker", "chat", "other", "%2e%2e", "mood/a", "%ff", "a b", "é", "\x00"]
)


@dataclass(frozen=True)
class Sent:
    """A request."""

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes


def write_json(value: Any) -> bytes:
    """As UTF-8; a lone surrogate stays an escape."""
    return json.dumps(value).encode()


def fill(path: str, model: str, version: str = "1", task: str | None = None) -> str:
    """A route's path with values in it."""
    values = {"model": model, "version": version, "task": TASKS.get(model, "x") if task is None else task}
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value if value.startswith("%") else quote(value, safe=""))
    return path


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything that is in a body."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*way, key)
        yield from places(each, (*way, key))


@st.composite
def mutated(draw: Callable[..., Any], body: dict[str, Any]) -> Any:
    """A right body in which one field has another value or name, is not there, or there is one more."""
    body = deepcopy(body)
    *way, key = draw(st.sampled_from(list(places(body))))
    holder: Any = body
    for each in way:
        holder = holder[each]
    how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "rename", "add"]))
    if how == "remove":
        del holder[key]
    elif how == "replace" or isinstance(holder, list):
        holder[key] = draw(ANY_JSON)
    else:
        holder[draw(st.text(max_size=8))] = holder.pop(key) if how == "rename" else draw(ANY_JSON)
    return body


@st.composite
def requests(draw: Callable[..., Any], operation: Operation) -> Sent:
    """A request to a route, wrong in one way or another."""
    model, body = draw(st.sampled_from(RIGHT[operation.body])) if operation.body else (MODEL, {"a": "☃"})
    content = write_json(body)
    headers: Mapping[str, str] = {}
    path = fill(operation.path, model)
    how = draw(st.sampled_from(["mutated", "mutated", "mutated", "json", "bytes", "cut", "utf8", "names", "headers"]))
    if how == "mutated":
        content = write_json(draw(mutated(body)))
    elif how == "json":
        content = write_json(draw(ANY_JSON))
    elif how == "bytes":
        content = draw(st.binary(max_size=60))
    elif how == "cut":
        content = content[: draw(st.integers(0, len(content) - 1))]
    elif how == "utf8":
        place = draw(st.integers(0, len(content)))
        content = content[:place] + draw(st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80"])) + content[place:]
    elif how == "names":
        path = fill(operation.path, draw(NAMES), draw(NAMES), draw(NAMES))
    else:
        headers = draw(HEADERS)
    return Sent(operation.method, path, headers, b"" if operation.method == "GET" and how != "bytes" else content)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("bundles")
    sentences = make_sentence_encoder(make_encoder(folder / "hidden", "feature-extraction"), folder / "sentences")
    reranker = make_encoder(folder / "reranker", "text-classification", num_labels=1)
    options = ["--max-texts", "8", "--max-tokens", "60", "--threads", "1"]
    with serve_bundles(f"mood={default_bundle()}", sentences, reranker, make_chat(folder), options=options) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as found:
        yield found


def send(client: httpx.Client, sent: Sent) -> httpx.Response:
    return client.request(sent.method, sent.path, headers=dict(sent.headers), content=sent.content)


def assert_form(protocol: ProtocolRoutes, response: httpx.Response) -> None:
    """An error is as the protocol describes it, and has no more than that."""
    assert response.headers["content-type"] == "application/json"
    error = msgspec.json.decode(response.content, type=protocol.error)
    assert msgspec.to_builtins(error) == response.json()
    assert "Traceback" not in response.text


def assert_answered(protocol: ProtocolRoutes, operation: Operation, response: httpx.Response) -> None:
    """A result, or an error that is documented."""
    documented = DESCRIPTION["paths"][operation.path][operation.method.lower()]["responses"]
    assert str(response.status_code) in documented, response.text
    assert response.status_code < 500 or is_unloaded(operation, response), response.text
    if "there is no route" in response.text:  # a name with a slash in it is no name any more
        assert_form_of_any(response)
    elif response.status_code != 200:
        assert_form(protocol, response)
    elif operation.answer is not None and response.headers["content-type"] == operation.content == "application/json":
        msgspec.json.decode(response.content, type=operation.answer)


def assert_form_of_any(response: httpx.Response) -> None:
    """The answer for a route that is not there is as a protocol has it whose routes begin alike, if one has such."""
    first = response.request.url.path.split("/")[1]
    alike = [each for each in PROTOCOLS if any(op.path.split("/")[1] == first for op in each.operations)]
    assert_form((alike or PROTOCOLS)[0], response)


def is_unloaded(operation: Operation, response: httpx.Response) -> bool:
    """Whether a route says that a model is gone, which it has unloaded itself."""
    return operation.path.startswith(CHANGES_MODELS) and response.status_code == 503


def assert_lives(client: httpx.Client, operation: Operation) -> None:
    """Right requests to a route get their results."""
    for model in ("mood", "sentences", "reranker", "chat") if operation.path.startswith(CHANGES_MODELS) else ():
        assert client.post(f"/v2/repository/models/{model}/load").status_code == 200
    for model, body in RIGHT[operation.body] if operation.body else [(MODEL, {})]:
        if operation.path.endswith("/unload"):
            continue
        if operation.path == "/" and model != MODEL:  # asks the first model
            continue
        version = client.get(f"/v2/models/{model}").json()["versions"][0]
        response = client.request(operation.method, fill(operation.path, model, version), content=write_json(body))
        assert response.status_code == 200, (operation.path, body, response.text)


def test_every_route_of_the_application_is_a_protocol_s() -> None:
    routes = {
        f"{method} {route.path}"
        for route in create_app(ServeSettings(())).routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert routes == {*OPERATIONS, "GET /openapi.json"}
    bodies = {operation.body for _, operation in OPERATIONS.values() if operation.body is not None}
    assert bodies == set(RIGHT), "there is a right request for each kind of body"


@pytest.mark.parametrize("route", OPERATIONS)
def test_what_is_wrong_gets_an_error_and_what_is_right_a_result(client: httpx.Client, route: str) -> None:
    protocol, operation = OPERATIONS[route]
    examples = FEW if operation.path.startswith(CHANGES_MODELS) else EXAMPLES

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(requests(operation))
    def ask(sent: Sent) -> None:
        assert_answered(protocol, operation, send(client, sent))

    try:
        ask()
    finally:
        assert_lives(client, operation)


@pytest.mark.parametrize("route", OPERATIONS)
def test_other_methods_are_refused_in_the_form_of_the_route_s_protocol(client: httpx.Client, route: str) -> None:
    protocol, operation = OPERATIONS[route]
    taken = {each.method for _, each in OPERATIONS.values() if each.path == operation.path}
    for method in sorted({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} - taken):
        response = client.request(method, fill(operation.path, MODEL), content=b"{}")
        assert response.status_code == 405, response.text
        assert taken <= set(response.headers["allow"].split(", "))
        assert_form(protocol, response)


@pytest.mark.parametrize("more", ["/other", "/%ff", "//", "/" + "a" * 2000, "?a=%ff"])
def test_what_is_behind_a_route_is_another_or_none(client: httpx.Client, more: str) -> None:
    for _, operation in OPERATIONS.values():
        if operation.path.startswith(CHANGES_MODELS):
            continue
        response = client.request(operation.method, fill(operation.path, MODEL).rstrip("/") + more, content=b"{")
        assert response.status_code < 500
        if response.status_code in (404, 405):
            assert_form_of_any(response)


def test_half_a_request_to_any_route_costs_the_others_nothing(server: RunningServer, client: httpx.Client) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    for _, operation in OPERATIONS.values():
        with socket.create_connection((host, int(port)), timeout=10) as half:
            path = fill(operation.path, MODEL)
            head = f"{operation.method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n"
            half.sendall(head.encode() + b'{"inputs": "a')
    for _, operation in OPERATIONS.values():
        if not operation.path.startswith(CHANGES_MODELS):
            assert_lives(client, operation)
    assert server.process.poll() is None
    assert not [each for each in server.log if each.get("level") == "ERROR"], server.log
