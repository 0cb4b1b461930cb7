"""The process: how it starts, ends, takes up another bundle, and what becomes of it when a worker dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgepipe_models import default_bundle
from tests.runtime.probed_bundle import sign
from tests.runtime.serve.running_server import RunningServer, serve_bundles
from tests.runtime.small_bundle import write_bundle

ROUTE = "/v2/models/{}/infer"


def ask(server: RunningServer, model: str = "small", text: str = "a b c", **options: Any) -> httpx.Response:
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}
    return httpx.post(server.url + ROUTE.format(model), json=body, timeout=30, **options)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "small", ("fp32",))


def run_serve(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgepipe", "serve", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


def test_a_bundle_that_cannot_be_loaded_ends_the_start(tmp_path: Path) -> None:
    done = run_serve(tmp_path / "none", "--port", "0")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "none" in done.stderr.splitlines()[-1]


def test_a_bundle_that_cannot_be_loaded_ends_all_processes(tmp_path: Path) -> None:
    done = run_serve(tmp_path / "none", "--port", "0", "--workers", "2")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(small: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_serve(small, "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "cannot be listened at" in done.stderr
    assert "pass another --host or --port" in done.stderr


def test_two_bundles_of_one_name(small: Path, tmp_path: Path) -> None:
    done = run_serve(small, tmp_path / "other" / "small")
    assert done.returncode == 1
    assert "two bundles are called 'small'" in done.stderr


def test_what_was_taken_is_answered_before_the_end() -> None:
    """Each request of many that the server has taken gets its answer, though it was told to end meanwhile."""
    with serve_bundles(f"sst2={default_bundle()}") as server:
        with ThreadPoolExecutor(16) as pool, httpx.Client(timeout=60) as client:
            body = {"inputs": [{"name": "text", "shape": [64], "datatype": "BYTES", "data": ["a b c " * 40] * 64}]}
            sent = [pool.submit(client.post, server.url + ROUTE.format("sst2"), json=body) for _ in range(8)]
            deadline = time.monotonic() + 30
            while server.metric("edgepipe_requests_running") < 8 and time.monotonic() < deadline:
                time.sleep(0.02)
            status = server.stop()
            assert [each.result().status_code for each in sent] == [200] * 8
        assert status == 0


def _replace(bundle: Path, other: Path) -> None:
    """Exchange a bundle's directory, as an export does it."""
    bundle.rename(bundle.with_name("old"))
    other.rename(bundle)


@pytest.mark.parametrize("how", ["signal", "route"])
def test_a_bundle_that_was_replaced_is_taken_up_without_a_lost_request(small: Path, tmp_path: Path, how: str) -> None:
    with serve_bundles(small) as server:
        before = httpx.get(f"{server.url}/health/ready").json()["models"]["small"]["digest"]
        other = write_bundle(tmp_path / "other", ("fp32", "int8"))
        answers: list[int] = []
        stop = threading.Event()

        def keep_asking() -> None:
            while not stop.is_set():
                answers.append(ask(server).status_code)

        asking = threading.Thread(target=keep_asking)
        asking.start()
        _replace(small, other)
        if how == "signal":
            server.process.send_signal(signal.SIGHUP)
        else:
            assert httpx.post(f"{server.url}/admin/reload", timeout=30).status_code == 200
        deadline = time.monotonic() + 30
        while (now := _digest(server)) == before and time.monotonic() < deadline:
            time.sleep(0.05)
        stop.set()
        asking.join()
        assert now != before
        assert set(answers) == {200}


def _digest(server: RunningServer) -> str:
    return str(httpx.get(f"{server.url}/health/ready").json()["models"]["small"]["digest"])


def test_a_bundle_that_fails_leaves_the_old_one_in_its_place(small: Path) -> None:
    with serve_bundles(small) as server:
        before = _digest(server)
        (small / "onnx" / "model.onnx").write_bytes(b"no graph")
        answer = httpx.post(f"{server.url}/admin/reload", timeout=30)
        assert (answer.status_code, answer.json()["failed"]) == (500, ["small"])
        assert _digest(server) == before
        assert ask(server).status_code == 200
        assert any("small was not loaded" in each.get("message", "") for each in server.log)


def test_models_are_reloaded_from_this_machine_alone(small: Path) -> None:
    with serve_bundles(small) as server:
        for name in ("/admin/reload", "/v2/repository/models/small/unload"):
            answer = httpx.post(server.url + name, headers={"x-forwarded-for": "10.0.0.1"})
            assert (answer.status_code, "own machine" in answer.text) == (403, True)


def test_a_worker_that_dies_is_replaced(small: Path) -> None:
    with serve_bundles(small, options=("--workers", "2")) as server:
        children = server.workers()
        assert len(children) >= 2
        os.kill(children[-1], signal.SIGKILL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            now = server.workers()
            if children[-1] not in now and len(now) == len(children) and all(map(_listens, [server] * 8)):
                break
            time.sleep(0.2)
        else:
            raise AssertionError(f"{children} became {now}")
        assert [ask(server).status_code for _ in range(20)] == [200] * 20
        assert server.metric("edgepipe_requests_total") >= 20
        assert server.stop() == 0


def _listens(server: RunningServer) -> bool:
    try:
        return ask(server).status_code == 200
    except httpx.TransportError:
        return False


def test_several_processes_take_up_a_bundle_together(small: Path, tmp_path: Path) -> None:
    with serve_bundles(small, options=("--workers", "2")) as server:
        before = _digest(server)
        _replace(small, write_bundle(tmp_path / "other", ("fp32", "int8")))
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 60
        while before in (found := {_digest(server) for _ in range(20)}) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert before not in found
        assert ask(server).status_code == 200


def test_tls(small: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not here")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with serve_bundles(small, options=("--certificate", str(certificate), "--key", str(key))) as server:
        assert server.url.startswith("https://")
        assert ask(server, verify=False).status_code == 200


def test_a_client_that_sends_half_a_request_does_not_hold_the_server(small: Path) -> None:
    with serve_bundles(small) as server:
        host, port = server.url.removeprefix("http://").split(":")
        for part in (
            b"POST /v2/mod",
            b"POST /v2/models/small/infer HTTP/1.1\r\ncontent-length: 100\r\n\r\n{",
            b"\x00\xff",
        ):
            with socket.create_connection((host, int(port))) as half:
                half.sendall(part)
        assert ask(server).status_code == 200
        assert httpx.get(f"{server.url}/health/live").status_code == 200


def test_the_log_has_a_line_for_each_request_with_its_trace(small: Path) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with serve_bundles(small) as server:
        headers = {"x-request-id": "mine", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        answer = ask(server, headers=headers)
        assert answer.headers["x-request-id"] == "mine"
        assert answer.headers["traceparent"].startswith(f"00-{trace}-")
        deadline = time.monotonic() + 10
        while not (lines := [each for each in server.log if each.get("request_id") == "mine"]):
            assert time.monotonic() < deadline, server.log
            time.sleep(0.01)
        assert (lines[0]["status"], lines[0]["trace_id"], lines[0]["method"]) == (200, trace, "POST")
        assert "a b c" not in json.dumps(server.log), "texts are not logged"


def test_a_bundle_that_fails_its_probes_is_not_taken_up(tmp_path: Path) -> None:
    from tests.runtime.probed_bundle import write_probed_bundle

    folder = write_probed_bundle(tmp_path / "small", ("fp32",))
    with serve_bundles(folder) as server:
        other = write_bundle(tmp_path / "other", ("int8",))
        shutil.copy(other / "onnx" / "model_int8.onnx", folder / "onnx" / "model.onnx")
        sign(folder)
        answer = httpx.post(f"{server.url}/admin/reload", timeout=30)
        assert (answer.status_code, answer.json()["failed"]) == (500, ["small"])
        assert ask(server).status_code == 200
