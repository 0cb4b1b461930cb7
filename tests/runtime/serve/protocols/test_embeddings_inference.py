"""text-embeddings-inference's routes: results of our pipelines in its shapes, its errors and its statuses."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient, constants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.serve.protocols.conftest import TinyServer, ask_while_it_is_unloaded

TEXTS = ["I love it", "日本 🎬", "a\x00b", "Déjà vu", "not good at all, " * 3, ""]
LONG = "one two " * 100
# JSON of any kind, and bytes that are none.
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["inputs", "texts", "query", "ids", "normalize", "truncate", "truncation_direction", "dimensions", "prompt_name",
     "raw_scores", "return_text", "parameters", "add_special_tokens", "skip_special_tokens"]
)  # fmt: skip
ROUTES = ("embed", "embed_all", "similarity", "predict", "rerank", "tokenize", "decode")
OF_ROUTES = {"predict": "mood", "rerank": "reranker"}
TYPES = {"Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty"}


def close(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.array(got), np.array(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("path", ["/embed", "/models/sentences/embed"], ids=["first", "named"])
def test_vectors_have_length_1_unless_told_otherwise(tiny_server: TinyServer, path: str) -> None:
    task = tiny_server.tasks["sentences"]
    close(tiny_server.ask(path, inputs=TEXTS), task.embed(TEXTS, normalize_embeddings=True))
    close(tiny_server.ask(path, inputs=TEXTS, normalize=False), task.embed(TEXTS))


def test_the_hub_s_client_asks_these_routes_too(tiny_server: TinyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # the server is on this machine
    client, task = InferenceClient(), tiny_server.tasks["sentences"]
    got = client.feature_extraction(TEXTS[0], model=f"{tiny_server.server.url}/embed")
    close(got, [task.embed(TEXTS[0], normalize_embeddings=True)])
    source, *others = task.embed(["a", "b", "c"], normalize_embeddings=True)
    got = client.sentence_similarity("a", ["b", "c"], model=f"{tiny_server.server.url}/similarity")
    close(got, np.stack(others) @ source)


def test_one_text_gives_one_vector_in_a_list(tiny_server: TinyServer) -> None:
    close(tiny_server.ask("/embed", inputs="a", normalize=False), [tiny_server.tasks["sentences"].embed("a")])


def test_prompts_and_dimensions(tiny_server: TinyServer) -> None:
    expected = tiny_server.tasks["sentences"].embed(
        ["a"], prompt_name="query", truncate_dim=5, normalize_embeddings=True
    )
    close(tiny_server.ask("/embed", inputs=["a"], prompt_name="query", dimensions=5), expected)


def test_a_long_text_is_cut_on_the_side_that_is_asked_for(tiny_server: TinyServer) -> None:
    text = "begin " + LONG + "end"
    task = tiny_server.tasks["sentences"]
    for direction, side in (("Right", "right"), ("Left", "left")):
        other = task.with_tokenizer(task.tokenizer.with_truncation_side(side))
        with pytest.warns(UserWarning, match="cut at 64 tokens"):
            expected = other.embed([text], normalize_embeddings=True)
        close(tiny_server.ask("/embed", inputs=text, truncate=True, truncation_direction=direction), expected)


def test_tokens_have_their_hidden_states(tiny_server: TinyServer) -> None:
    hidden = tiny_server.tasks["hidden"]
    got = tiny_server.ask("/models/hidden/embed_all", inputs=TEXTS[:3])
    for own, expected in zip(got, [hidden(text)[0] for text in TEXTS[:3]], strict=True):
        close(own, expected)
    close(tiny_server.ask("/models/sentences/embed_all", inputs="a", prompt_name="query"), hidden("find this: a"))


def test_sentences_are_compared(tiny_server: TinyServer) -> None:
    task = tiny_server.tasks["sentences"]
    source, *others = task.embed(["a", *TEXTS], normalize_embeddings=True)
    inputs = {"source_sentence": "a", "sentences": TEXTS}
    close(tiny_server.ask("/similarity", inputs=inputs), np.stack(others) @ source)


def assert_labels(got: Any, expected: Any) -> None:
    assert [each["label"] for each in got] == [each["label"] for each in expected]
    close([each["score"] for each in got], [each["score"] for each in expected])


@pytest.mark.parametrize("raw", [False, True], ids=["scores", "raw"])
def test_labels_come_best_first(tiny_server: TinyServer, raw: bool) -> None:
    task = tiny_server.tasks["mood"]
    options = {"top_k": None, **({"function_to_apply": "none"} if raw else {})}
    for text in TEXTS:
        assert_labels(tiny_server.ask("/predict", inputs=text, raw_scores=raw), task(text, **options))


def test_two_texts_in_a_list_are_a_pair_and_lists_in_a_list_are_a_batch(tiny_server: TinyServer) -> None:
    task = tiny_server.tasks["mood"]
    pair = task([{"text": "a", "text_pair": "b"}], top_k=None)[0]
    alone = task(["a"], top_k=None)[0]
    assert_labels(tiny_server.ask("/predict", inputs=["a", "b"]), pair)
    assert_labels(tiny_server.ask("/predict", inputs=["a"]), alone)
    batch = tiny_server.ask("/predict", inputs=[["a"], ["a", "b"]])
    for got, expected in zip(batch, [alone, pair], strict=True):
        assert_labels(got, expected)


@pytest.mark.parametrize("raw", [False, True], ids=["scores", "raw"])
def test_ranks_are_sorted(tiny_server: TinyServer, raw: bool) -> None:
    task = tiny_server.tasks["reranker"]
    texts = TEXTS[:5]
    pairs = [{"text": "which?", "text_pair": text} for text in texts]
    scores = [each["score"] for each in task(pairs, function_to_apply="none" if raw else "sigmoid")]
    got = tiny_server.ask("/rerank", query="which?", texts=texts, raw_scores=raw, return_text=True)
    assert [each["index"] for each in got] == sorted(range(5), key=lambda place: -scores[place])
    assert [each["text"] for each in got] == [texts[each["index"]] for each in got]
    close([each["score"] for each in got], sorted(scores, reverse=True))
    assert "text" not in tiny_server.ask("/rerank", query="which?", texts=["a"])[0]


def test_of_equal_texts_the_last_comes_first(tiny_server: TinyServer) -> None:
    got = tiny_server.ask("/rerank", query="which?", texts=["a", "a", "a"])
    assert [each["index"] for each in got] == [2, 1, 0]


def test_tokens_have_places_in_bytes(tiny_server: TinyServer) -> None:
    text = "Déjà 日本 🎬"
    [tokens] = tiny_server.ask("/tokenize", inputs=text)
    expected = tiny_server.tasks["mood"].tokenizer(text)
    assert [each["id"] for each in tokens] == expected["input_ids"]
    assert tokens[0] == {"id": expected["input_ids"][0], "text": "[CLS]", "special": True, "start": None, "stop": None}
    inner = tokens[1:-1]
    assert inner
    for each in inner:
        assert text.encode()[each["start"] : each["stop"]].decode() == each["text"]
    [bare] = tiny_server.ask("/tokenize", inputs=[text], add_special_tokens=False)
    assert bare == inner


def test_a_prompt_is_tokenized_too(tiny_server: TinyServer) -> None:
    path = "/models/sentences/tokenize"
    assert tiny_server.ask(path, inputs="a", prompt_name="query") == tiny_server.ask(path, inputs="find this: a")


def test_ids_become_texts(tiny_server: TinyServer) -> None:
    tokenizer = tiny_server.tasks["mood"].tokenizer
    ids = tokenizer("not good , at all")["input_ids"]
    bare, shown = (tokenizer.decode(ids, skip, clean_up_tokenization_spaces=False) for skip in (True, False))
    assert tiny_server.ask("/decode", ids=ids) == [bare]
    assert tiny_server.ask("/decode", ids=[ids, ids], skip_special_tokens=False) == [shown, shown]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/info", {"classifier": {"id2label": {"0": "bad", "1": "fair", "2": "good"}}}),
        ("/models/reranker/info", {"reranker": {"label2id": {"LABEL_0": 0}}}),
        ("/models/sentences/info", {"embedding": {"pooling": "mean"}}),
    ],
    ids=["classifier", "reranker", "embedding"],
)
def test_what_is_served(tiny_server: TinyServer, path: str, kind: dict[str, Any]) -> None:
    info = tiny_server.client.get(path).json()
    [(name, details)] = kind.items()
    assert details.items() <= info["model_type"][name].items()
    assert (info["max_input_length"], info["max_client_batch_size"], info["auto_truncate"]) == (64, 16, False)
    assert info["model_dtype"] == "fp32"


def test_it_is_healthy(tiny_server: TinyServer) -> None:
    response = tiny_server.client.get("/health")
    assert (response.status_code, response.content) == (200, b"")


BAD: dict[str, tuple[str, Any, int, str]] = {
    "no JSON": ("/embed", b"{", 422, "Validation"),
    "no body": ("/embed", b"", 422, "Validation"),
    "invalid UTF-8": ("/embed", b'{"inputs": "\xff"}', 422, "Validation"),
    "lone surrogate": ("/embed", b'{"inputs": "\\ud800"}', 422, "Validation"),
    "too deep": ("/embed", b"[" * 100_000, 422, "Validation"),
    "wrong type": ("/embed", {"inputs": 3}, 422, "Validation"),
    "token ids": ("/embed", {"inputs": [1, 2]}, 422, "Validation"),
    "unknown parameter": ("/embed", {"inputs": "a", "normalise": True}, 422, "Validation"),
    "empty list": ("/embed", {"inputs": []}, 400, "Empty"),
    "too many texts": ("/embed", {"inputs": ["a"] * 17}, 413, "Validation"),
    "too long": ("/embed", {"inputs": LONG}, 422, "Validation"),
    "too long in a batch": ("/embed", {"inputs": ["a", LONG], "truncate": None}, 422, "Validation"),
    "no prompt of that name": ("/embed", {"inputs": "a", "prompt_name": "other"}, 422, "Validation"),
    "no dimensions": ("/embed", {"inputs": "a", "dimensions": 0}, 422, "Validation"),
    "too many dimensions": ("/embed", {"inputs": "a", "dimensions": 33}, 422, "Validation"),
    "another direction": ("/embed", {"inputs": "a", "truncation_direction": "up"}, 422, "Validation"),
    "unknown model": ("/models/other/embed", {"inputs": "a"}, 404, "Validation"),
    "another task": ("/models/masks/embed", {"inputs": "a"}, 424, "Backend"),
    "no pooling": ("/models/hidden/embed", {"inputs": "a"}, 424, "Backend"),
    "a head": ("/models/mood/embed_all", {"inputs": "a"}, 424, "Backend"),
    "several labels": ("/models/mood/rerank", {"query": "a", "texts": ["b"]}, 424, "Backend"),
    "no classifier": ("/models/sentences/predict", {"inputs": "a"}, 424, "Backend"),
    "no texts to rank": ("/rerank", {"query": "a", "texts": []}, 400, "Empty"),
    "a long text to rank": ("/rerank", {"query": "a", "texts": [LONG]}, 422, "Validation"),
    "three texts": ("/predict", {"inputs": ["a", "b", "c"]}, 422, "Validation"),
    "mixed batch": ("/predict", {"inputs": [["a"], "b"]}, 422, "Validation"),
    "nothing to classify": ("/predict", {"inputs": []}, 400, "Empty"),
    "a long text to classify": ("/predict", {"inputs": LONG}, 422, "Validation"),
    "no sentences": ("/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, 400, "Empty"),
    "no source": ("/similarity", {"inputs": {"sentences": ["a"]}}, 422, "Validation"),
    "prompt of a classifier": ("/tokenize", {"inputs": "a", "prompt_name": "query"}, 422, "Validation"),
    "too many to tokenize": ("/tokenize", {"inputs": ["a"] * 17}, 413, "Validation"),
    "too many tokens": ("/tokenize", {"inputs": "a " * 70_000}, 413, "Validation"),
    "no ids": ("/decode", {"ids": []}, 400, "Empty"),
    "an empty row of ids": ("/decode", {"ids": [[]]}, 400, "Empty"),
    "ids and lists": ("/decode", {"ids": [1, [2]]}, 422, "Validation"),
    "negative ids": ("/decode", {"ids": [-1]}, 422, "Validation"),
    "large ids": ("/decode", {"ids": [2**40]}, 422, "Validation"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_get_their_error(tiny_server: TinyServer, name: str) -> None:
    path, body, status, kind = BAD[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = tiny_server.client.post(path, content=content)
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error", "error_type"}
    assert response.json()["error_type"] == kind


MANY = ["one two three"] * 64
MANY_OF_ROUTES: dict[str, dict[str, Any]] = {
    "embed": {"inputs": MANY},
    "embed_all": {"inputs": MANY},
    "similarity": {"inputs": {"source_sentence": "a", "sentences": MANY}},
    "predict": {"inputs": [[text] for text in MANY]},
    "rerank": {"query": "a", "texts": MANY},
}


@pytest.mark.parametrize("route", MANY_OF_ROUTES)
def test_too_much_that_waits_is_refused_as_overload(full_server: httpx.Client, route: str) -> None:
    path = f"/models/{OF_ROUTES.get(route, 'sentences')}/{route}"
    response = full_server.post(path, json=MANY_OF_ROUTES[route])
    assert (response.status_code, response.json().keys()) == (429, {"error", "error_type"})
    assert response.json()["error_type"] == "Overloaded"
    assert "are taken when none wait: send fewer, or raise --max-queue" in response.json()["error"]
    assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("route", [each for each in ROUTES if each not in ("tokenize", "decode")])
def test_what_is_late_is_overload_too(full_server: httpx.Client, route: str) -> None:
    path = f"/models/{OF_ROUTES.get(route, 'sentences')}/{route}"
    body = json.loads(json.dumps(MANY_OF_ROUTES[route]).replace(MANY[0], "one two " * 1_000))
    cut = {"parameters": {"truncate": True}} if route == "similarity" else {"truncate": True}
    response = full_server.post(path, json={**body, **cut}, headers={"x-timeout-ms": "1"})
    assert (response.status_code, response.json().keys()) == (504, {"error", "error_type"})
    assert response.json()["error_type"] == "Overloaded"


@pytest.mark.parametrize("route", ROUTES)
def test_a_model_that_is_not_loaded_is_unhealthy(full_server: httpx.Client, route: str) -> None:
    model = OF_ROUTES.get(route, "sentences")
    body = {**MANY_OF_ROUTES, "tokenize": {"inputs": "a"}, "decode": {"ids": [1]}}[route]
    assert full_server.post(f"/v2/repository/models/{model}/unload").status_code == 200
    try:
        response = full_server.post(f"/models/{model}/{route}", json=body)
    finally:
        assert full_server.post(f"/v2/repository/models/{model}/load").status_code == 200
    assert (response.status_code, response.json().keys()) == (503, {"error", "error_type"})
    assert response.json()["error_type"] == "Unhealthy"
    assert f"'{model}' is not loaded" in response.json()["error"]


def test_a_request_whose_model_goes_before_its_turn(full_server: httpx.Client) -> None:
    response = ask_while_it_is_unloaded(
        full_server, "sentences", "/models/sentences/embed", {"inputs": ["one two " * 60_000] * 8, "truncate": True}
    )
    assert (response.status_code, response.json()["error_type"]) == (503, "Unhealthy")
    assert "not served any more" in response.json()["error"]


@pytest.mark.parametrize("route", ROUTES)
def test_any_body_gets_a_result_or_an_error_of_theirs(tiny_server: TinyServer, route: str) -> None:
    path = f"/models/{OF_ROUTES.get(route, 'sentences')}/{route}"

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(FIELDS, ANY_JSON, max_size=5) | ANY_JSON | st.binary(max_size=30))
    def ask(body: Any) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = tiny_server.client.post(path, content=content)
        if response.status_code != 200:
            assert response.status_code in (400, 413, 422, 424), response.text
            assert response.json()["error_type"] in TYPES

    ask()


@pytest.mark.parametrize("route", ["embed", "predict"])
def test_any_texts_get_what_the_pipeline_gives(tiny_server: TinyServer, route: str) -> None:
    sentences, mood = tiny_server.tasks["sentences"], tiny_server.tasks["mood"]

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
    def ask(texts: list[str]) -> None:
        if route == "embed":
            expected = sentences.embed(texts)
            close(tiny_server.ask("/embed", inputs=texts, normalize=False, truncate=True), expected)
            return
        got = tiny_server.ask("/predict", inputs=[[text] for text in texts], truncate=True)
        for own, labels in zip(got, mood(texts, top_k=None), strict=True):
            assert_labels(own, labels)

    ask()
