"""Streams and their errors, read by OpenAI's own client."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from edgepipe.serve.openapi import describe
from edgepipe.serve.protocols.openai.openai_routes import PROTOCOL
from tests.runtime.serve.protocols.openai.conftest import (
    ENDLESS,
    GREEDY,
    MESSAGES,
    PROMPTS,
    Writers,
    join,
    wait_until_nothing_is_written,
    without_cache,
)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(GREEDY, id="greedy"),
        pytest.param({"seed": 3, "n": 3, "max_tokens": 15}, id="several"),
        pytest.param({**GREEDY, "logprobs": 2, "stop": ["e"]}, id="logprobs and stop"),
        pytest.param({**GREEDY, "echo": True}, id="echo"),
    ],
)
def test_a_stream_joined_is_the_whole(writers: Writers, options: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"model": "gpt2", "prompt": list(PROMPTS[:3]), **options}
    whole: Any = writers.client.completions.create(**asked)
    chunks = list(writers.client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    texts, ends, logprobs, usage = join(chunks)
    assert texts == {each.index: each.text for each in whole.choices}
    assert ends == {each.index: each.finish_reason for each in whole.choices}
    assert without_cache(usage) == without_cache(whole.usage)
    assert chunks[-1].choices == []
    assert all(each.usage is None for each in chunks[:-1])
    assert len(chunks) > 3 * len(texts), "it comes in pieces"
    if "logprobs" in options:
        for index, each in enumerate(whole.choices):
            own = [c.choices[0].logprobs for c in chunks if c.choices and c.choices[0].index == index]
            for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
                assert [v for part in own for v in getattr(part, name)] == getattr(each.logprobs, name), name
    else:
        assert not logprobs


@pytest.mark.parametrize("model", ["gpt2", "chat", "t5"])
def test_the_usage_has_what_earlier_requests_had_read(writers: Writers, model: str) -> None:
    """An encoder-decoder shares no prefixes. Of several texts of a prompt the first counts, as the prompt does."""
    prompt = f"{model} has never been asked for this before"

    def count(**options: Any) -> Any:
        asked: dict[str, Any] = {"model": model, "max_tokens": 3, "seed": 1} | options
        return writers.client.completions.create(**asked).usage

    first = count(prompt=[prompt, prompt + " and that"], n=2)
    length = len(writers.tasks[model].tokenizer(prompt)["input_ids"])
    own = first.prompt_tokens_details.cached_tokens
    if model == "t5":
        assert own == count(prompt=prompt).prompt_tokens_details.cached_tokens == 0
        return
    assert 0 < own < first.prompt_tokens - length
    again = count(prompt=prompt)
    assert 0 < again.prompt_tokens_details.cached_tokens < again.prompt_tokens == length
    chunks = list(
        writers.client.completions.create(
            model=model, prompt=prompt, max_tokens=3, seed=1, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].usage == again


def test_events_end_in_done(writers: Writers) -> None:
    answer = writers.post("completions", {"model": "gpt2", "prompt": "a", "stream": True, "max_tokens": 2})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    for event in events[:-2]:
        record = json.loads(event.removeprefix("data: "))
        assert record["object"] == "text_completion"
        assert "usage" not in record


def test_a_client_that_goes_away_frees_its_row(writers: Writers) -> None:
    before = writers.server.metric("edgepipe_written_tokens_total")
    with writers.client.chat.completions.create(model="chat", messages=MESSAGES, n=2, **ENDLESS, stream=True) as stream:
        for _ in range(6):
            next(stream)
    wait_until_nothing_is_written(writers)
    assert 4 <= writers.server.metric("edgepipe_written_tokens_total") - before < 100_000


def test_a_whole_answer_that_nobody_waits_for_frees_its_row(writers: Writers) -> None:
    with pytest.raises(openai.APITimeoutError):
        writers.client.chat.completions.create(model="chat", messages=MESSAGES, **ENDLESS, timeout=0.5)
    wait_until_nothing_is_written(writers)


def test_an_error_in_the_middle_of_a_stream_is_an_event_and_its_end(writers: Writers) -> None:
    pieces: list[Any] = []
    stream = writers.client.chat.completions.create(
        model="chat", messages=MESSAGES, **ENDLESS, stream=True, extra_headers={"x-timeout-ms": "3000"}
    )
    with pytest.raises(openai.APIError, match="took longer than it may"):
        pieces.extend(stream)
    assert len(pieces) > 2
    wait_until_nothing_is_written(writers)


def test_an_error_before_the_first_piece_has_its_status(writers: Writers) -> None:
    with pytest.raises(openai.BadRequestError, match="99999"):
        writers.client.completions.create(model="gpt2", prompt="a", stream=True, logit_bias={"99999": 1})


schema = schemathesis.openapi.from_dict(describe([PROTOCOL])).include(path_regex="completions")


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_schemathesis_sends_to_a_model(writers: Writers, case: Any) -> None:
    if isinstance(case.body, dict):
        case.body |= {"model": "chat", "max_tokens": 2}
    response = case.call(base_url=writers.server.url, timeout=60)
    assert response.status_code in {200, 400, 405, 413}, (response.text, writers.server.log[-3:])
    if response.status_code != 200:
        assert response.json()["error"]["message"]


def test_more_tokens_than_a_request_may_have(writers: Writers) -> None:
    answer = writers.post("completions", {"model": "chat", "prompt": "a", "max_tokens": 9000, "n": 16})
    assert answer.status_code == 413
    assert "65536" in answer.json()["error"]["message"]
