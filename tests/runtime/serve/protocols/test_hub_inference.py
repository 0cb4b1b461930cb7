"""The Hub's inference form, asked by ``huggingface_hub.InferenceClient`` and by bytes that it would not send."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient, constants
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, ValidationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.serve.protocols.conftest import TinyServer, ask_while_it_is_unloaded
from tests.runtime.serve.protocols.test_embeddings_inference import ANY_JSON, LONG, TEXTS, close

CONTEXT = "Déjà vu: Sarah lives in Rome, 日本 🎬 and elsewhere."
PAIR = {"source_sentence": "a", "sentences": ["b"]}
GREEDY = {"max_new_tokens": 8, "do_sample": False}
MODELS = ("mood", "entities", "answers", "masks", "zero", "hidden", "sentences", "stories", "rewrites", "translations")

Ask = Callable[[str], InferenceClient]


@pytest.fixture
def ask(tiny_server: TinyServer, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """A client of a model, by its name."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # the server is on this machine
    return lambda name: InferenceClient(model=f"{tiny_server.server.url}/models/{name}")


def plain(found: Any, *names: str) -> list[tuple[Any, ...]]:
    """The fields of what the client parsed, scores rounded."""
    rows = found if isinstance(found, list) else [found]
    values = ([row[name] for name in names] for row in rows)
    return [tuple(round(value, 4) if isinstance(value, float) else value for value in row) for row in values]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_text_classification(ask: Ask, tiny_server: TinyServer, text: str) -> None:
    task, fields = tiny_server.tasks["mood"], ("label", "score")
    assert plain(ask("mood").text_classification(text), *fields) == plain(task(text, top_k=None), *fields)
    got = ask("mood").text_classification(text, top_k=2, function_to_apply="sigmoid")
    assert plain(got, *fields) == plain(task(text, top_k=2, function_to_apply="sigmoid"), *fields)


def test_token_classification(ask: Ask, tiny_server: TinyServer) -> None:
    task = tiny_server.tasks["entities"]
    grouped = ("entity_group", "score", "word", "start", "end")
    for strategy in ("simple", "first", "average", "max"):
        got = ask("entities").token_classification(CONTEXT, aggregation_strategy=strategy)
        assert plain(got, *grouped) == plain(task(CONTEXT, aggregation_strategy=strategy), *grouped)
    got = ask("entities").token_classification(CONTEXT)
    assert plain(got, *grouped) == plain(task(CONTEXT, aggregation_strategy="simple"), *grouped)
    each = ("entity", "score", "word", "start", "end")
    got = ask("entities").token_classification(CONTEXT, aggregation_strategy="none", ignore_labels=["B-PER"])
    assert plain(got, *each) == plain(task(CONTEXT, aggregation_strategy="none", ignore_labels=["B-PER"]), *each)


def test_question_answering(ask: Ask, tiny_server: TinyServer) -> None:
    task, fields = tiny_server.tasks["answers"], ("score", "start", "end", "answer")
    for options in ({}, {"top_k": 3}, {"handle_impossible_answer": True, "max_answer_len": 4}):
        got = ask("answers").question_answering("Where does she live?", CONTEXT, **options)
        assert plain(got, *fields) == plain(task("Where does she live?", CONTEXT, **options), *fields)


def test_zero_shot_classification(ask: Ask, tiny_server: TinyServer) -> None:
    task, labels = tiny_server.tasks["zero"], ["cities", "films", "日本"]
    for options in ({}, {"multi_label": True}, {"hypothesis_template": "It is about {}!"}):
        got = ask("zero").zero_shot_classification(CONTEXT, labels, **options)
        expected = task(CONTEXT, labels, **options)
        assert [each.label for each in got] == expected["labels"]
        close([each.score for each in got], expected["scores"])


def test_fill_mask(ask: Ask, tiny_server: TinyServer) -> None:
    task, fields = tiny_server.tasks["masks"], ("score", "token", "token_str", "sequence")
    text = "Rome is the [MASK] of 日本."
    assert plain(ask("masks").fill_mask(text), *fields) == plain(task(text), *fields)
    options = {"targets": ["a", "b"], "top_k": 2}
    assert plain(ask("masks").fill_mask(text, **options), *fields) == plain(task(text, **options), *fields)


def test_feature_extraction(ask: Ask, tiny_server: TinyServer) -> None:
    hidden, sentences = tiny_server.tasks["hidden"], tiny_server.tasks["sentences"]
    close(ask("hidden").feature_extraction("a"), hidden("a"))
    close(ask("sentences").feature_extraction("a"), sentences.embed("a"))
    close(ask("sentences").feature_extraction(TEXTS), sentences.embed(TEXTS))
    got = ask("sentences").feature_extraction("a", normalize=True, prompt_name="query", dimensions=5)
    close(got, sentences.embed("a", normalize_embeddings=True, prompt_name="query", truncate_dim=5))
    left = sentences.with_tokenizer(sentences.tokenizer.with_truncation_side("left"))
    with pytest.warns(UserWarning, match="cut at 64"):
        expected = left.embed(LONG + "end")
    close(ask("sentences").feature_extraction(LONG + "end", truncate=True, truncation_direction="left"), expected)


@pytest.mark.parametrize("path", ["sentences", "sentences/pipeline/sentence-similarity"], ids=["inputs", "path"])
def test_sentence_similarity(ask: Ask, tiny_server: TinyServer, path: str) -> None:
    vectors = tiny_server.tasks["sentences"].embed(["a", *TEXTS], normalize_embeddings=True)
    close(ask(path).sentence_similarity("a", TEXTS), vectors[1:] @ vectors[0])


def test_summarization_and_translation(ask: Ask, tiny_server: TinyServer) -> None:
    for options in ({}, {"max_new_tokens": 5, "num_beams": 2}, {"max_new_tokens": 5, "num_beams": 1}):
        summary = ask("summaries").summarization(TEXTS[0], generate_parameters=options)
        assert [summary.summary_text] == [
            each["summary_text"] for each in tiny_server.tasks["summaries"](TEXTS[0], **options)
        ]
        other = ask("translations").translation(TEXTS[0], generate_parameters=options)
        [expected] = tiny_server.tasks["translations"](TEXTS[0], **options)
        assert other.translation_text == expected["translation_text"]


def test_text_generation(ask: Ask, tiny_server: TinyServer) -> None:
    task, client = tiny_server.tasks["stories"], ask("stories")
    [expected] = task("Once", **GREEDY, return_full_text=False)
    assert client.text_generation("Once", **GREEDY) == expected["generated_text"]
    assert client.text_generation("Once", **GREEDY, return_full_text=True) == "Once" + expected["generated_text"]
    drawn = {"max_new_tokens": 8, "do_sample": True, "seed": 3, "temperature": 1.5, "top_k": 20, "top_p": 0.9}
    [expected] = task("Once", **drawn, return_full_text=False)
    assert client.text_generation("Once", **drawn) == expected["generated_text"]


def test_details_of_a_text(ask: Ask, tiny_server: TinyServer) -> None:
    client = ask("stories")
    found = client.text_generation("Once", **GREEDY, details=True, top_n_tokens=3)
    assert found.generated_text == client.text_generation("Once", **GREEDY)
    assert found.details.generated_tokens == len(found.details.tokens) == 8
    assert found.details.finish_reason == "length"
    ids = tiny_server.tasks["stories"]("Once", **GREEDY, return_tensors=True)[0]["generated_token_ids"]
    assert [each.id for each in found.details.tokens] == ids[-8:]
    for token, best in zip(found.details.tokens, found.details.top_tokens, strict=True):
        assert (best[0]["id"], best[0]["logprob"]) == (token.id, token.logprob)
        assert len(best) == 3
        assert sorted((each["logprob"] for each in best), reverse=True) == [each["logprob"] for each in best]


def test_a_text_token_by_token(ask: Ask) -> None:
    client = ask("stories")
    whole = client.text_generation("Once", **GREEDY)
    assert "".join(client.text_generation("Once", **GREEDY, stream=True)) == whole
    events = list(client.text_generation("Once", **GREEDY, stream=True, details=True))
    assert [each.index for each in events] == list(range(1, 9))
    assert [each.generated_text for each in events] == [None] * 7 + [whole]
    details = events[-1].details
    assert (details.finish_reason, details.generated_tokens) == ("length", 8)
    stopped = list(client.text_generation("Once", **GREEDY, stream=True, details=True, stop=[events[2].token.text]))
    assert stopped[-1].details.finish_reason == "stop_sequence"


def test_the_first_model_answers_without_a_name(tiny_server: TinyServer) -> None:
    assert tiny_server.ask("/", inputs="a") == tiny_server.ask("/models/mood", inputs="a")


def assert_alike(got: Any, expected: Any) -> None:
    """Numbers may differ by what a batch rounds, nothing else may."""
    if isinstance(expected, dict):
        assert got.keys() == expected.keys()
        got, expected = list(got.values()), list(expected.values())
    if isinstance(expected, list):
        for one, other in zip(got, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, float):
        close(got, expected)
    else:
        assert got == expected


def test_lists_give_a_result_for_each(tiny_server: TinyServer) -> None:
    for name, inputs, parameters in (
        ("mood", ["a", {"text": "b", "text_pair": "c"}], {}),
        ("entities", [CONTEXT, "Sarah"], {}),
        ("answers", [{"question": "who?", "context": CONTEXT}, {"question": "a", "context": "b c"}], {}),
        ("zero", ["a", "b"], {"candidate_labels": "x, y"}),
        ("masks", ["a [MASK]", "b [MASK]"], {"top_k": 2}),
        ("hidden", ["a", "b"], {}),
        ("sentences", ["a", "b"], {}),
        ("stories", ["a", "b"], GREEDY),
        ("rewrites", ["a", "b"], {"max_new_tokens": 4}),
    ):
        path = f"/models/{name}"
        each = [tiny_server.ask(path, inputs=one, parameters=parameters) for one in inputs]
        if name in ("mood", "rewrites"):
            each = [one[0] for one in each]
        got = tiny_server.ask(path, inputs=inputs, parameters=parameters)
        assert len(got) == 2
        assert_alike(got, each)


def test_what_the_client_raises(ask: Ask) -> None:
    with pytest.raises(BadRequestError, match="no mask token"):
        ask("masks").fill_mask("none")
    with pytest.raises(HfHubHTTPError, match="there is no model 'other'"):
        ask("other").text_classification("a")
    with pytest.raises(ValidationError, match="grammar="):
        ask("stories").text_generation("a", grammar={"type": "regex", "value": "a"})
    with pytest.raises(ValidationError, match="top_p"):
        ask("stories").text_generation("a", top_p=7.0, stream=True)


BAD: dict[str, tuple[str, Any, int]] = {
    "no JSON": ("mood", b"{", 400),
    "invalid UTF-8": ("mood", b'{"inputs": "\xff"}', 400),
    "lone surrogate": ("mood", b'{"inputs": "\\ud800"}', 400),
    "too deep": ("mood", b'{"inputs": ' + b"[" * 100_000, 400),
    "no inputs": ("mood", {"parameters": {}}, 400),
    "wrong type": ("mood", {"inputs": 3}, 400),
    "parameters are a list": ("mood", {"inputs": "a", "parameters": []}, 400),
    "unknown field": ("mood", {"inputs": "a", "params": {}}, 400),
    "unknown parameter": ("mood", {"inputs": "a", "parameters": {"topk": 1}}, 400),
    "the tokenizer's": ("masks", {"inputs": "[MASK]", "parameters": {"tokenizer_kwargs": {}}}, 400),
    "another parameter beside inputs": ("mood", {"inputs": "a", "normalize": True}, 400),
    "empty list": ("mood", {"inputs": []}, 400),
    "too many inputs": ("mood", {"inputs": ["a"] * 17}, 413),
    "too many labels": ("zero", {"inputs": "a", "parameters": {"candidate_labels": ["a"] * 17}}, 413),
    "too many labels in a text": ("zero", {"inputs": "a", "parameters": {"candidate_labels": "a," * 17}}, 413),
    "too much to read": ("zero", {"inputs": "a" * 2**20, "parameters": {"candidate_labels": ["a"] * 9}}, 413),
    "no labels": ("zero", {"inputs": "a"}, 400),
    "a wide template": (
        "zero", {"inputs": "a", "parameters": {"candidate_labels": "a", "hypothesis_template": "{:>999999999}"}}, 400,
    ),
    "unknown model": ("other", {"inputs": "a"}, 404),
    "another task": ("mood/pipeline/fill-mask", {"inputs": "a"}, 400),
    "another task of an encoder": ("sentences/pipeline/fill-mask", {"inputs": "a"}, 400),
    "too long": ("sentences", {"inputs": LONG, "truncate": False}, 400),
    "no vectors": ("hidden", {"inputs": "a", "normalize": True}, 400),
    "base64": ("sentences", {"inputs": "a", "encoding_format": "base64"}, 400),
    "numbers as texts": ("sentences", {"inputs": [1]}, 400),
    "one key of two": ("sentences", {"inputs": {"source_sentence": "a"}}, 400),
    "no similarity": ("sentences", {"inputs": PAIR, "parameters": {"similarity": []}}, 400),
    "another similarity": ("sentences", {"inputs": PAIR, "parameters": {"similarity": "other"}}, 400),
    "a parameter of no similarity": ("sentences", {"inputs": PAIR, "normalize": True}, 400),
    "a stream of labels": ("mood", {"inputs": "a", "stream": True}, 400),
    "a stream of two": ("stories", {"inputs": ["a", "b"], "stream": True}, 400),
    "details are no flag": ("stories", {"inputs": "a", "parameters": {"details": 1}}, 400),
    "too many top tokens": ("stories", {"inputs": "a", "parameters": {"details": True, "top_n_tokens": 6}}, 400),
    "watermark": ("stories", {"inputs": "a", "parameters": {"watermark": True}}, 400),
    "too many beams": ("rewrites", {"inputs": "a", "parameters": {"num_beams": 99}}, 413),
    "nested parameters of no kind": ("rewrites", {"inputs": "a", "parameters": {"generate_parameters": 3}}, 400),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_get_their_error(tiny_server: TinyServer, name: str) -> None:
    model, body, status = BAD[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = tiny_server.client.post(f"/models/{model}", content=content)
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error", "error_type"}
    assert response.json()["error_type"] == "validation"


MANY: dict[str, dict[str, Any]] = {
    "mood": {"inputs": ["one two"] * 64},
    "entities": {"inputs": ["one two"] * 64},
    "answers": {"inputs": [{"question": "who?", "context": "one two"}] * 64},
    "masks": {"inputs": ["a [MASK]"] * 64},
    "zero": {"inputs": ["one two"] * 64, "parameters": {"candidate_labels": "x, y"}},
    "hidden": {"inputs": ["one two"] * 64},
    "sentences": {"inputs": {"source_sentence": "a", "sentences": ["one two"] * 64}},
    "stories": {"inputs": ["Once"] * 64, "parameters": {**GREEDY, "max_new_tokens": 30}},
    "rewrites": {"inputs": ["Once"] * 64, "parameters": {"max_new_tokens": 30}},
}


@pytest.mark.parametrize("model", MANY)
def test_too_much_that_waits_is_refused_as_overload(full_server: httpx.Client, model: str) -> None:
    response = full_server.post(f"/models/{model}", json=MANY[model])
    assert (response.status_code, response.json().keys()) == (429, {"error", "error_type"})
    assert response.json()["error_type"] == "overloaded"
    assert "are taken when none wait: send fewer, or raise --max-queue" in response.json()["error"]
    assert int(response.headers["retry-after"]) >= 1


def test_the_client_sees_that_it_was_too_much(full_server: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # the server is on this machine
    client = InferenceClient(f"{full_server.base_url}/models/sentences")
    with pytest.raises(HfHubHTTPError, match="the queue holds 1") as raised:
        client.sentence_similarity("a", ["one two"] * 64)
    assert raised.value.response.status_code == 429
    assert int(raised.value.response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("model", MANY)
def test_what_is_late_is_said_to_be(full_server: httpx.Client, model: str) -> None:
    long = json.loads(json.dumps(MANY[model]).replace("one two", "one two " * 1_000).replace("Once", "Once " * 20))
    response = full_server.post(f"/models/{model}", json=long, headers={"x-timeout-ms": "1"})
    assert (response.status_code, response.json().keys()) == (504, {"error", "error_type"})
    assert response.json()["error_type"] == "generation"
    assert "took longer than it may" in response.json()["error"]


@pytest.mark.parametrize("model", MANY)
def test_a_model_that_is_not_loaded_is_unhealthy(full_server: httpx.Client, model: str) -> None:
    assert full_server.post(f"/v2/repository/models/{model}/unload").status_code == 200
    try:
        response = full_server.post(f"/models/{model}", json=MANY[model])
    finally:
        assert full_server.post(f"/v2/repository/models/{model}/load").status_code == 200
    assert (response.status_code, response.json().keys()) == (503, {"error", "error_type"})
    assert response.json()["error_type"] == "unhealthy"
    assert f"'{model}' is not loaded" in response.json()["error"]


def test_a_request_whose_model_goes_before_its_turn(full_server: httpx.Client) -> None:
    response = ask_while_it_is_unloaded(full_server, "mood", "/models/mood", {"inputs": ["one two " * 60_000] * 8})
    assert (response.status_code, response.json()["error_type"]) == (503, "unhealthy")
    assert "not served any more" in response.json()["error"]


WARNED: dict[str, tuple[str, dict[str, Any], str]] = {
    "options that are read": (
        "masks", {"inputs": "a [MASK]", "parameters": {"targets": ["go", "xyzzy"]}}, "the vocabulary has no 'xyzzy'",
    ),
    "options of a search": (
        "stories", {"inputs": "a", "parameters": {**GREEDY, "temperature": 0.5}}, "temperature=0.5 has no effect",
    ),
    "options of beams": (
        "rewrites", {"inputs": "a", "parameters": {"max_length": 9, "max_new_tokens": 2}}, "goes before max_length=9",
    ),
    "a search in a thread of its own": (
        "stories", {"inputs": "a " * 30, "parameters": {"num_beams": 2, "max_new_tokens": 60}}, "ends where the model",
    ),
    "a search with others": (
        "stories", {"inputs": "a " * 30, "parameters": {**GREEDY, "max_new_tokens": 60}}, "ends where the model",
    ),
    "a text that is read": ("mood", {"inputs": LONG}, "1 of 1 texts were cut at 64 tokens"),
    "a prompt of beams": (
        "rewrites", {"inputs": LONG, "parameters": {"max_new_tokens": 2}}, "texts that were cut at 64 tokens",
    ),
    "a prompt that is written with others": (
        "rewrites", {"inputs": LONG, "parameters": {"max_new_tokens": 2, "num_beams": 1}}, "were cut at 64 tokens",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WARNED)
def test_what_the_pipeline_warns_of_is_beside_the_answer(tiny_server: TinyServer, kind: str) -> None:
    model, body, message = WARNED[kind]
    response = tiny_server.post(f"/models/{model}", body)
    assert response.status_code == 200, response.text
    [warning] = response.headers.get_list("x-warning")
    assert message in warning


def test_each_request_gets_its_own_warnings(tiny_server: TinyServer) -> None:
    def ask(number: int) -> list[str]:
        body = {"inputs": "a [MASK]", "parameters": {"targets": ["go", f"xyzzy{number}"] if number % 3 else "go"}}
        return tiny_server.post("/models/masks", body).headers.get_list("x-warning")

    with ThreadPoolExecutor(8) as pool:
        for number, warnings in enumerate(pool.map(ask, range(60))):
            assert len(warnings) == (1 if number % 3 else 0)
            assert all(f"has no 'xyzzy{number}';" in each for each in warnings)


def test_warnings_fit_into_headers(tiny_server: TinyServer) -> None:
    targets = [f"xyzzy{number}\n\u2603" * 100 for number in range(14)]
    response = tiny_server.post("/models/masks", {"inputs": "a [MASK]", "parameters": {"targets": targets}})
    assert response.status_code == 200, response.text
    *warnings, rest = response.headers.get_list("x-warning")
    assert (len(warnings), rest) == (10, "and 4 more")
    assert all(len(each) < 400 and each.isascii() and each.isprintable() for each in warnings)


NAMES = st.sampled_from(
    ["top_k", "function_to_apply", "aggregation_strategy", "stride", "ignore_labels", "max_answer_len", "doc_stride",
     "targets", "candidate_labels", "multi_label", "normalize", "dimensions", "similarity", "stop", "seed", "details",
     "temperature", "max_length", "truncation", "generate_parameters", "num_beams"]
)  # fmt: skip
INPUTS = st.sampled_from(
    [
        "a",
        "a [MASK]",
        {"question": "a", "context": "b c"},
        {"source_sentence": "a", "sentences": ["b"]},
        ["a", "b [MASK]"],
    ]
)


@pytest.mark.parametrize("model", MODELS)
def test_any_body_gets_a_result_or_an_error(tiny_server: TinyServer, model: str) -> None:
    bodies = st.fixed_dictionaries(
        {"inputs": INPUTS | ANY_JSON}, optional={"parameters": st.dictionaries(NAMES, ANY_JSON, max_size=3)}
    )

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(bodies | ANY_JSON | st.binary(max_size=30))
    def send(body: Any) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = tiny_server.client.post(f"/models/{model}", content=content)
        if response.status_code != 200:
            assert response.status_code in (400, 413), response.text
            assert response.json().keys() == {"error", "error_type"}

    send()


def test_any_text_gets_what_the_pipeline_gives(tiny_server: TinyServer) -> None:
    task = tiny_server.tasks["entities"]

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.text(min_size=1, max_size=40))
    def send(text: str) -> None:
        got, expected = tiny_server.ask("/models/entities", inputs=text), task(text, aggregation_strategy="simple")
        assert [(each["word"], each["start"]) for each in got] == [(each["word"], each["start"]) for each in expected]
        np.testing.assert_allclose(
            [each["score"] for each in got], [each["score"] for each in expected], rtol=1e-4, atol=1e-5
        )

    send()
