"""OpenAI's models and embeddings, asked by its own client."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from edgepipe import pipeline
from edgepipe_export import export
from tests.golden.make_similarity import save_encoder
from tests.runtime.serve.running_server import RunningServer, serve_bundles
from tests.runtime.small_bundle import write_bundle

TEXTS = ["A text", "and another, which is a little longer", ""]
KEY = "a-key"


@dataclass(frozen=True)
class Embedder:
    """A server of a sentence encoder and a classifier, OpenAI's client of it, and the encoder's pipeline."""

    server: RunningServer
    client: openai.OpenAI
    task: Any


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedder]:
    folder = tmp_path_factory.mktemp("embedder")
    save_encoder(folder, "mean")
    bundle = folder / "sentences"
    export(str(folder / "encoder"), bundle, task="feature-extraction", verify=False, progress=False)
    write_bundle(folder / "small")
    options = ("--max-texts", "16", "--threads", "1")
    with (
        serve_bundles(bundle, folder / "small", options=options, env={"EDGEPIPE_API_KEY": KEY}) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client,
    ):
        yield Embedder(server, client, pipeline("feature-extraction", bundle, num_threads=1))


def test_models(embedder: Embedder) -> None:
    models = embedder.client.models.list().data
    assert [each.id for each in models] == ["sentences", "small"]
    assert embedder.client.models.retrieve("small") == models[1]
    assert models[0].created == int(Path(embedder.task.model.directory).stat().st_mtime)


def test_an_unknown_model(embedder: Embedder) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        embedder.client.models.retrieve("smal")
    assert caught.value.code == "model_not_found"
    assert "those here are sentences, small" in caught.value.message


def test_a_key_is_needed(embedder: Embedder) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        embedder.client.with_options(api_key="another").models.list()
    assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize("given", [TEXTS[0], TEXTS], ids=["one", "several"])
@pytest.mark.parametrize("encoding", [openai.omit, "float", "base64"], ids=["client's own", "float", "base64"])
def test_embeddings_are_those_of_the_pipeline(embedder: Embedder, given: Any, encoding: Any) -> None:
    found = embedder.client.embeddings.create(model="sentences", input=given, encoding_format=encoding)
    expected = np.stack([embedder.task.embed(text) for text in ([given] if isinstance(given, str) else given)])
    vectors: list[Any] = [each.embedding for each in found.data]
    if encoding == "base64":
        vectors = [np.frombuffer(base64.b64decode(each), "<f4") for each in vectors]
    np.testing.assert_array_equal(np.array(vectors, np.float32), expected)
    assert [each.index for each in found.data] == list(range(len(expected)))
    tokens = sum(
        len(embedder.task.tokenizer(text)["input_ids"]) for text in ([given] if isinstance(given, str) else given)
    )
    assert (found.usage.prompt_tokens, found.usage.total_tokens) == (tokens, tokens)


def test_shorter_vectors_have_length_1(embedder: Embedder) -> None:
    found = embedder.client.embeddings.create(model="sentences", input=TEXTS[:2], dimensions=8)
    expected = [embedder.task.embed(text, truncate_dim=8, normalize_embeddings=True) for text in TEXTS[:2]]
    vectors = np.array([each.embedding for each in found.data], np.float32)
    np.testing.assert_array_equal(vectors, np.stack(expected))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_a_text_that_is_too_long_is_cut_and_the_answer_says_so(embedder: Embedder) -> None:
    long = "word " * 100
    raw = embedder.client.embeddings.with_raw_response.create(model="sentences", input=long)
    vector = np.array(raw.parse().data[0].embedding, np.float32)
    with pytest.warns(UserWarning, match="cut"):
        np.testing.assert_array_equal(vector, embedder.task.embed(long))
    assert "1 of 1 texts were cut" in raw.headers["x-warning"]


@pytest.mark.parametrize(
    ("body", "param", "code", "message"),
    [
        pytest.param({"input": [1, 2, 3]}, "input", "unsupported_parameter", "send the text", id="token ids"),
        pytest.param({"input": [[1, 2], [3]]}, "input", "unsupported_parameter", "send the text", id="lists of ids"),
        pytest.param({"input": ["a", 1]}, "input", "unsupported_parameter", "send the text", id="text and number"),
        pytest.param({"input": []}, "input", "invalid_value", "length >= 1", id="nothing"),
        pytest.param({}, "input", "missing_required_parameter", "input", id="no input"),
        pytest.param({"input": "a", "dimensions": 33}, "dimensions", "invalid_value", "have 32", id="too many values"),
        pytest.param({"input": "a", "dimensions": 0}, "dimensions", "invalid_value", ">= 1", id="no values"),
        pytest.param(
            {"input": "a", "encoding_format": "hex"}, "encoding_format", "invalid_value", "hex", id="encoding"
        ),
        pytest.param({"input": "a", "pooling": "mean"}, "pooling", "unknown_parameter", "pooling", id="unknown field"),
        pytest.param({"input": "a", "model": "small"}, None, None, "makes no embeddings", id="classifier"),
    ],
)
def test_what_cannot_be_embedded(
    embedder: Embedder, body: Any, param: str | None, code: str | None, message: str
) -> None:
    answer = httpx.post(
        f"{embedder.server.url}/v1/embeddings",
        json={"model": "sentences"} | body,
        headers={"authorization": f"Bearer {KEY}"},
    )
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert message in error["message"]


def test_more_texts_than_a_request_may_have(embedder: Embedder) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        embedder.client.embeddings.create(model="sentences", input=["a"] * 17)
    assert caught.value.status_code == 413
    assert "16 of a request" in caught.value.message


def test_a_route_that_is_not_there(embedder: Embedder) -> None:
    answer = httpx.post(f"{embedder.server.url}/v1/moderations", json={})
    assert answer.status_code == 404
    assert "there is no route" in answer.json()["error"]["message"]
