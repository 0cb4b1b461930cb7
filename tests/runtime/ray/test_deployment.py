"""The server on Ray Serve: while replicas die, come and go, while bundles are exchanged; streams; bundles on demand."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import edgepipe
from edgepipe.errors import InputError
from edgepipe.ray import build_app
from tests.runtime.ray.cluster_processes import find_actors, join, kill, wait_until
from tests.runtime.small_bundle import write_bundle

ray = pytest.importorskip("ray")
serve = pytest.importorskip("ray.serve")

TEXT = "a movie that nobody has to see"


@pytest.fixture(scope="module")
def url(cluster: Any) -> Iterator[str]:
    """Where Ray Serve answers."""
    with socket.socket() as stream:
        stream.bind(("127.0.0.1", 0))
        port = stream.getsockname()[1]
    with join(cluster):
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            yield f"http://127.0.0.1:{port}"
        finally:
            serve.shutdown()


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another bundle for the same task, whose results differ."""
    return write_bundle(tmp_path_factory.mktemp("second") / "mood", dtypes=("int8",))


def infer(client: httpx.Client, name: str = "mood", **options: Any) -> httpx.Response:
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}]}
    return client.post(f"/v2/models/{name}/infer", json=body, **options)


def read_score(response: httpx.Response) -> float:
    outputs = {each["name"]: each["data"][0] for each in response.json()["outputs"]}
    return float(outputs["score"])


def pipeline_score(bundle: Path) -> float:
    with edgepipe.pipeline(model=str(bundle)) as classify:
        return float(classify(TEXT)[0]["score"])


class Caller:
    """Asks again and again, one request after another, until the block ends."""

    def __init__(self, url: str) -> None:
        self.answers: list[tuple[int, float | str]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask, args=(url,))

    def _ask(self, url: str) -> None:
        with httpx.Client(base_url=url, timeout=300) as client:
            while not self._end.is_set():
                answer = infer(client)
                good = answer.status_code == 200
                self.answers.append((answer.status_code, read_score(answer) if good else answer.text))

    @property
    def failed(self) -> list[Any]:
        return [each for each in self.answers if each[0] != 200]

    def wait_for_more(self, count: int = 20) -> None:
        target = len(self.answers) + count
        wait_until(lambda: len(self.answers) >= target)

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()


def test_replicas_answer_what_the_pipeline_gives(url: str, bundle: Path) -> None:
    serve.run(build_app(f"mood={bundle}", num_replicas=2), name="mood")
    with httpx.Client(base_url=url, timeout=300) as client:
        assert read_score(infer(client)) == pytest.approx(pipeline_score(bundle), abs=1e-6)
        assert client.get("/health/ready").status_code == 200
        assert infer(client, "other").status_code == 404
        assert client.post("/admin/reload").status_code == 403


def test_a_replica_s_death_costs_at_most_what_it_was_answering(url: str, bundle: Path) -> None:
    serve.run(build_app(f"mood={bundle}", num_replicas=2), name="mood")
    before = find_actors("ServeReplica")
    assert len(before) == 2
    with Caller(url) as caller, Caller(url) as other:
        caller.wait_for_more()
        kill(before[0])
        wait_until(lambda: len(set(find_actors("ServeReplica")) - {before[0]}) == 2)
        caller.wait_for_more()
        other.wait_for_more()
    assert len(caller.failed) <= 1, caller.failed  # a caller has one request at a time
    assert len(other.failed) <= 1, other.failed


def test_an_upgrade_fails_no_request(url: str, bundle: Path, second: Path) -> None:
    serve.run(build_app(f"mood={bundle}", num_replicas=2), name="mood")
    with Caller(url) as caller, Caller(url) as other:
        caller.wait_for_more()
        serve.run(build_app(f"mood={second}", num_replicas=2), name="mood")
        for each in (caller, other):
            each.wait_for_more()
    scores = [pytest.approx(pipeline_score(path), abs=1e-6) for path in (bundle, second)]
    assert scores[0] != scores[1].expected
    for each in (caller, other):
        assert not each.failed
        assert each.answers[0][1] == scores[0]
        assert each.answers[-1][1] == scores[1]
        assert all(score in scores for _, score in each.answers)


@pytest.mark.environments  # two minutes
def test_replicas_come_with_requests_and_go_after_them(url: str, bundle: Path) -> None:
    seconds = {"upscale_delay_s": 0.2, "downscale_delay_s": 1, "metrics_interval_s": 0.2, "look_back_period_s": 1}
    scaling = {"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 1, **seconds}
    serve.run(build_app(f"mood={bundle}", autoscaling_config=scaling), name="mood")
    wait_until(lambda: len(find_actors("ServeReplica")) == 1)
    with Caller(url) as one, Caller(url) as two, Caller(url) as three:
        callers = (one, two, three)
        wait_until(lambda: len(find_actors("ServeReplica")) == 2)
        for each in callers:
            each.wait_for_more()
    wait_until(lambda: len(find_actors("ServeReplica")) == 1)
    expected = pytest.approx(pipeline_score(bundle), abs=1e-6)
    for each in callers:
        assert not each.failed
        assert all(score == expected for _, score in each.answers)


def test_bundles_are_loaded_when_they_are_asked_for(url: str, bundle: Path, second: Path) -> None:
    serve.run(build_app(f"one={bundle}", f"two={second}", max_num_models_per_replica=1), name="mood")
    expected = {"one": pipeline_score(bundle), "two": pipeline_score(second)}
    with httpx.Client(base_url=url, timeout=300) as client:
        for name in ("one", "two", "one", "one"):
            answer = infer(client, name, headers={"serve_multiplexed_model_id": name})
            assert read_score(answer) == pytest.approx(expected[name], abs=1e-6)
        assert read_score(infer(client, "one")) == pytest.approx(expected["one"], abs=1e-6)
        lost = infer(client, "three", headers={"serve_multiplexed_model_id": "three"})
        assert lost.status_code == 404
        assert lost.json() == {"error": "there is no model 'three'; those here are one, two"}


def test_texts_are_streamed(url: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tests.runtime.tiny_bundles import make_writer

    writer = make_writer(tmp_path / "writer", "gpt2")
    serve.run(build_app(f"writer={writer}"), name="mood")
    body = {"model": "writer", "prompt": "good", "max_tokens": 6, "temperature": 0}
    with httpx.Client(base_url=url, timeout=300) as client:
        whole = client.post("/v1/completions", json=body).json()["choices"][0]["text"]
        with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event)["choices"] for event in events[:-1]]
    assert len(chunks) > 2
    assert "".join(choice["text"] for choices in chunks for choice in choices) == whole


def test_a_bundle_that_is_not_there_fails_the_deployment(url: str, tmp_path: Path) -> None:
    serve.delete("mood")
    app = build_app(f"mood={tmp_path}", deployment_options={"max_constructor_retry_count": 1})
    with pytest.raises(RuntimeError):
        serve.run(app, name="lost")
    status = serve.status().applications["lost"]
    messages = " ".join(each.message for each in status.deployments.values())
    serve.delete("lost")
    assert "has no config.json: it is not a bundle" in messages


def test_no_bundle_is_an_error() -> None:
    with pytest.raises(InputError, match="no bundle is named"):
        build_app()


def test_two_of_one_name_are_an_error(bundle: Path) -> None:
    with pytest.raises(InputError, match="two bundles are called"):
        build_app(f"a={bundle}", f"a={bundle}")
