"""What holds for all routes: keys, limits, ids, origins, and clients that are slow or go away."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgepipe_models import default_bundle
from tests.runtime.serve.running_server import RunningServer, serve_bundles
from tests.runtime.small_bundle import write_bundle

INFER = "/v2/models/small/infer"


def body(*texts: str) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("small") / "small", ("fp32",))


@pytest.fixture(scope="module")
def limited(folder: Path) -> Iterator[RunningServer]:
    """A server that takes little."""
    options = ("--max-body", "2000", "--max-texts", "3", "--max-tokens", "20", "--allow-origin", "https://a.example")
    with serve_bundles(folder, options=options) as server:
        yield server


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        pytest.param(body("a" * 3000), "larger than 2000 bytes", id="body"),
        pytest.param(body("a", "b", "c", "d"), "4 inputs are more than the 3 of a request", id="texts"),
        pytest.param(body("a b c d e f", "a b c d e f", "a b c d e f"), "tokens are more than the 20", id="tokens"),
    ],
)
def test_more_than_a_request_may_have(limited: RunningServer, sent: Any, message: str) -> None:
    answer = httpx.post(limited.url + INFER, json=sent)
    assert answer.status_code == 413
    assert message in answer.json()["error"]


def test_a_body_without_a_length_is_bounded_too(limited: RunningServer) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    answer = httpx.post(limited.url + INFER, content=parts())
    assert (answer.status_code, "larger than 2000 bytes" in answer.text) == (413, True)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        pytest.param({"x-priority": "urgent"}, "x-priority must be one of high, normal, low", id="priority"),
        pytest.param({"x-timeout-ms": "-1"}, "x-timeout-ms must be a whole number", id="timeout"),
    ],
)
def test_headers_that_cannot_be_used(limited: RunningServer, headers: dict[str, str], message: str) -> None:
    answer = httpx.post(limited.url + INFER, json=body("a"), headers=headers)
    assert (answer.status_code, message in answer.json()["error"]) == (400, True)


def test_an_id_is_given_back_or_made(limited: RunningServer) -> None:
    given = httpx.post(limited.url + INFER, json=body("a"), headers={"x-request-id": "m\tine"})
    made = [httpx.post(limited.url + INFER, json=body("a")).headers["x-request-id"] for _ in range(2)]
    assert given.headers["x-request-id"] == "m?ine"
    assert made[0] != made[1]


def test_pages_of_an_origin_that_is_allowed(limited: RunningServer) -> None:
    headers = {"origin": "https://a.example", "access-control-request-method": "POST"}
    allowed = httpx.options(limited.url + INFER, headers=headers)
    other = httpx.options(limited.url + INFER, headers={**headers, "origin": "https://b.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://a.example"
    assert "access-control-allow-origin" not in other.headers


def test_no_page_may_ask_unless_it_is_allowed(folder: Path) -> None:
    with serve_bundles(folder) as server:
        answer = httpx.post(server.url + INFER, json=body("a"), headers={"origin": "https://a.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("how", ["variable", "file"])
def test_keys(folder: Path, tmp_path: Path, how: str) -> None:
    options, env = (), {}
    if how == "variable":
        env = {"EDGEPIPE_API_KEY": "one two"}
    else:
        (tmp_path / "keys").write_text("one\ntwo\n")
        options = ("--api-key", str(tmp_path / "keys"))
    with serve_bundles(folder, options=options, env=env) as server:

        def status(key: str | None, path: str = INFER) -> int:
            headers = {} if key is None else {"authorization": key}
            ask = httpx.post if path == INFER else httpx.get
            more = {"json": body("a")} if path == INFER else {}
            return int(ask(server.url + path, headers=headers, **more).status_code)

        assert [status(key) for key in ("Bearer one", "bearer two")] == [200, 200]
        wrong = (None, "Bearer", "Bearer three", "Basic one", "one", "Bearer one two")
        assert [status(key) for key in wrong] == [401] * len(wrong)
        assert status(None, "/health/ready") == 200
        assert status(None, "/metrics") == 401
        answer = httpx.post(server.url + INFER, json=body("a"))
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json() == {"error": "a key is needed: Authorization: Bearer KEY"}


LONG = ["a b c " * 150] * 64


def test_what_takes_too_long_ends_and_the_others_go_on() -> None:
    with serve_bundles(f"small={default_bundle()}") as server:
        begin = time.monotonic()
        late = httpx.post(server.url + INFER, json=body(*LONG), headers={"x-timeout-ms": "100"}, timeout=60)
        assert time.monotonic() - begin < 5
        assert (late.status_code, "took longer than it may" in late.json()["error"]) == (504, True)
        assert httpx.post(server.url + INFER, json=body("a"), timeout=60).status_code == 200
        assert server.metric("edgepipe_queue_tokens") == 0


def test_pieces_of_a_client_that_went_away_leave_the_queue() -> None:
    with serve_bundles(f"small={default_bundle()}") as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(server.url + INFER, json=body(*LONG), timeout=0.5)
        begin = time.monotonic()
        assert httpx.post(server.url + INFER, json=body("a"), timeout=60).status_code == 200
        while server.metric("edgepipe_queue_tokens") and time.monotonic() - begin < 30:
            time.sleep(0.05)
        assert server.metric("edgepipe_tokens_total") < 64 * 450
        route = 'protocol="open-inference",route="/v2/models/{model}/infer"'
        assert server.metric(f'edgepipe_requests_total{{{route},status="499"') == 1


def test_a_full_queue_says_when_to_come_again() -> None:
    with serve_bundles(f"small={default_bundle()}", options=("--max-queue", "20000")) as server:
        with ThreadPoolExecutor(8) as pool:
            sent = [pool.submit(httpx.post, server.url + INFER, json=body(*LONG[:30]), timeout=120) for _ in range(8)]
            answers = [each.result() for each in sent]
        assert {answer.status_code for answer in answers} == {200, 429}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert "wait already, and the queue holds 20000" in refused.json()["error"]


def test_a_client_that_sends_slowly_is_let_go(folder: Path) -> None:
    with serve_bundles(folder, options=("--read-timeout", "0.5")) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST " + INFER.encode() + b" HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{")
            slow.settimeout(20)
            assert b" 408 " in slow.recv(4096)
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST " + INFER.encode() + b" HTTP/1.1\r\nhost")
            slow.settimeout(20)
            assert slow.recv(4096) == b""


def test_texts_that_were_cut_are_told(folder: Path) -> None:
    with serve_bundles(folder) as server:
        answer = httpx.post(server.url + INFER, json=body("a b c " * 30))
        assert answer.headers["x-warning"] == "1 of 1 texts were cut at 16 tokens, which is the limit"


def test_many_at_once_get_what_each_gets_alone(folder: Path) -> None:
    texts = [f"{'a b c d e f g'[: 2 * (number % 7) + 1]}" for number in range(200)]
    with serve_bundles(folder) as server:
        alone = {text: httpx.post(server.url + INFER, json=body(text)).json()["outputs"] for text in set(texts)}
        found: dict[int, Any] = {}
        with ThreadPoolExecutor(16) as pool, httpx.Client() as client:

            def ask(number: int) -> None:
                found[number] = client.post(server.url + INFER, json=body(texts[number])).json()["outputs"]

            list(pool.map(ask, range(len(texts))))
    for number, text in enumerate(texts):
        assert found[number][1]["data"] == alone[text][1]["data"]
        assert found[number][2]["data"] == pytest.approx(alone[text][2]["data"], abs=1e-5)


def test_no_thread_is_left(folder: Path) -> None:
    before = threading.active_count()
    with serve_bundles(folder) as server:
        assert json.loads(httpx.get(f"{server.url}/health/live").text) == {"live": True}
    assert threading.active_count() <= before + 1
