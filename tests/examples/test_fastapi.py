"""``examples/fastapi`` under a real server: it answers as the pipeline does, refuses what it must, ends cleanly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import httpx
import pytest

from edgepipe import pipeline
from edgepipe_models import default_bundle
from tests.conftest import REPOSITORY
from tests.examples.servers import Server, serve
from tests.runtime.small_bundle import LABELS, write_bundle

FOLDER = REPOSITORY / "examples" / "fastapi"
TEXTS = ["I love this", "What a waste of time.", "", "日本 😀", "a b c " * 2000]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "bundle", ("fp32", "int8"))


@pytest.fixture(scope="module")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("log") / "server.log"
    with serve(FOLDER, log, BUNDLE=str(bundle), DTYPE="int8") as running:
        yield running


def classify(server: Server, texts: object) -> httpx.Response:
    return httpx.post(f"{server.url}/classify", json={"texts": texts}, timeout=60)


def test_the_answers_are_the_pipeline_s(server: Server, bundle: Path) -> None:
    answer = classify(server, TEXTS)
    assert answer.status_code == 200
    expected = pipeline("text-classification", bundle, dtype="int8")(TEXTS, batch_size=16)
    assert [result["label"] for result in answer.json()] == [result["label"] for result in expected]
    assert [result["score"] for result in answer.json()] == pytest.approx([result["score"] for result in expected])


def test_health_says_what_is_served(server: Server, bundle: Path) -> None:
    assert httpx.get(f"{server.url}/health").json() == {
        "bundle": bundle.name,
        "dtype": "int8",
        "labels": list(LABELS),
    }


def test_many_at_once_get_their_own_answers(server: Server, bundle: Path) -> None:
    texts = [f"a b c {index} " * (index % 7 + 1) for index in range(64)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda text: classify(server, [text]).json(), texts))
    run = pipeline("text-classification", bundle, dtype="int8")
    for text, [answer] in zip(texts, answers, strict=True):
        [expected] = run(text)
        assert answer["label"] == expected["label"]
        assert answer["score"] == pytest.approx(expected["score"], abs=1e-6)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], "at least 1 item"),
        (["a"] * 65, "at most 64 items"),
        (["a" * 20_001], "at most 20000 characters"),
        ("I love this", "valid list"),
        ([1], "valid string"),
        (None, "valid list"),
    ],
)
def test_what_cannot_be_classified_gets_the_reason(server: Server, texts: object, said: str) -> None:
    answer = classify(server, texts)
    assert answer.status_code == 422
    assert said in answer.text


def test_the_routes_are_documented(server: Server) -> None:
    schema = httpx.get(f"{server.url}/openapi.json").json()
    assert set(schema["paths"]) == {"/classify", "/health"}
    assert httpx.get(f"{server.url}/docs").status_code == 200


def test_without_a_bundle_the_embedded_model_is_served(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name == "BUNDLE"}
    assert not environment, "BUNDLE is set where the tests run"
    with serve(FOLDER, tmp_path / "log") as running:
        assert httpx.get(f"{running.url}/health").json()["bundle"] == default_bundle().name
        assert classify(running, ["I love this"]).json()[0]["label"] == "POSITIVE"


def test_a_crowd_is_turned_away_at_once(bundle: Path, tmp_path: Path) -> None:
    """As the README starts it, with a bound on how many wait."""
    with serve(FOLDER, tmp_path / "log", ["--limit-concurrency", "4"], BUNDLE=str(bundle)) as running:
        with ThreadPoolExecutor(32) as pool:
            statuses = list(pool.map(lambda _: classify(running, ["a b c " * 3000] * 64).status_code, range(64)))
        assert set(statuses) == {200, 503}
        assert classify(running, ["I love this"]).status_code == 200


def test_what_has_begun_is_answered_before_it_ends(bundle: Path, tmp_path: Path) -> None:
    """It is told to end when the first of four is answered; the others wait for their turn then."""
    with serve(FOLDER, tmp_path / "log", BUNDLE=str(bundle)) as running, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(classify, running, ["a b c " * 3000] * texts) for texts in (1, 64, 64, 64)]
        wait(asked, return_when=FIRST_COMPLETED)
        assert not all(future.done() for future in asked)
        status = running.stop()
        assert [future.result().status_code for future in asked] == [200] * 4
    assert status in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("named", "said"),
    [("missing", "is not a directory"), ("other-task", "token-classification"), ("damaged", "truncated or altered")],
)
def test_it_does_not_start_with_what_it_cannot_serve(named: str, said: str, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    if named == "missing":
        bundle.write_text("no bundle")
    else:
        write_bundle(bundle, task="token-classification" if named == "other-task" else "text-classification")
    if named == "damaged":
        with (bundle / "onnx" / "model.onnx_data").open("ab") as weights:
            weights.write(b"more")
    command = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(FOLDER), "--port", "0"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=os.environ | {"BUNDLE": str(bundle)}
    )
    assert done.returncode != 0
    assert said in done.stderr
    assert "Application startup failed" in done.stderr
