"""Completions and chats, asked by OpenAI's own client: what they write is what the pipelines write."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from edgepipe import pipeline
from edgepipe.numerics import log_softmax
from edgepipe.serve.openapi import describe
from edgepipe.serve.protocols.openai import PROTOCOL
from tests.runtime.serve.running_server import RunningServer, serve_bundles
from tests.runtime.serve.writing_bundles import make_chat, make_writer

PROMPTS = ("Hello there", "The 2nd of May", "a", "What a waste of time. I want my money back")
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 20}
MESSAGES: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello there"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "What is it?"},
]
# Never ends by itself, and takes so long that no test sees its end.
ENDLESS: dict[str, Any] = {"temperature": 0, "max_tokens": 30_000, "logit_bias": {"2": -100}}


@dataclass(frozen=True)
class Writers:
    """A server of three models, OpenAI's client of it, and pipelines of the same bundles."""

    server: RunningServer
    client: openai.OpenAI
    tasks: Mapping[str, Any]

    def write(self, prompt: Any, model: str = "gpt2", **options: Any) -> str:
        """What the pipeline writes behind a prompt."""
        if options.get("do_sample"):
            options = {"temperature": 1.0, "top_k": 0} | options
        # A text that comes token by token has no beams, which a pipeline of an encoder-decoder has by default.
        options |= {"num_beams": 1} if model == "t5" else {"return_full_text": False}
        text: str = self.tasks[model](prompt, **options)[0]["generated_text"]
        return text

    def post(self, route: str, body: Any, **headers: str) -> httpx.Response:
        """Send what no client would."""
        content = body if isinstance(body, bytes) else json.dumps(body)
        return httpx.post(f"{self.server.url}/v1/{route}", content=content, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def writers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writers]:
    folder = tmp_path_factory.mktemp("writers")
    bundles = {"gpt2": make_writer(folder), "t5": make_writer(folder, "t5"), "chat": make_chat(folder)}
    with (
        serve_bundles(*bundles.values(), options=("--threads", "1")) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield Writers(server, client, {name: pipeline(model=path, num_threads=1) for name, path in bundles.items()})


def join(chunks: Any) -> tuple[dict[int, str], dict[int, str], list[Any], Any]:
    """The texts of a stream of completions, why they end, their log-probabilities, and the usage."""
    texts: dict[int, str] = {}
    ends: dict[int, str] = {}
    logprobs: list[Any] = []
    usage = None
    for chunk in chunks:
        usage = chunk.usage or usage
        for each in chunk.choices:
            assert each.index not in ends, "nothing comes behind the end"
            texts[each.index] = texts.get(each.index, "") + (
                each.text if hasattr(each, "text") else each.delta.content or ""
            )
            if each.finish_reason is not None:
                ends[each.index] = each.finish_reason
            if each.logprobs is not None:
                logprobs.append(each.logprobs)
    return texts, ends, logprobs, usage


@pytest.mark.parametrize("model", ["gpt2", "t5", "chat"])
def test_greedy_completions_are_those_of_the_pipeline(writers: Writers, model: str) -> None:
    found = writers.client.completions.create(model=model, prompt=list(PROMPTS), **GREEDY)
    expected = [writers.write(prompt, model, do_sample=False, max_new_tokens=20) for prompt in PROMPTS]
    assert [each.text for each in found.choices] == expected
    assert [each.index for each in found.choices] == list(range(len(PROMPTS)))
    tokenizer = writers.tasks[model].tokenizer
    usage = found.usage
    assert usage is not None
    assert usage.prompt_tokens == sum(len(tokenizer(prompt)["input_ids"]) for prompt in PROMPTS)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens <= 20 * len(PROMPTS)


def test_the_end_of_a_text_is_told_from_a_limit(writers: Writers) -> None:
    end = str(writers.tasks["gpt2"].tokenizer.eos_token_id)
    asked: dict[str, Any] = {"model": "gpt2", "prompt": PROMPTS[0], "temperature": 0, "max_tokens": 9, "logprobs": 0}
    ended: Any = writers.client.completions.create(**asked, logit_bias={end: 100})
    assert (ended.choices[0].text, ended.choices[0].finish_reason) == ("", "stop")
    assert ended.usage.completion_tokens == 1
    assert ended.choices[0].logprobs.tokens == []
    limited = writers.client.completions.create(**asked, logit_bias={end: -100})
    assert limited.choices[0].finish_reason == "length"
    expected = writers.write(PROMPTS[0], do_sample=False, max_new_tokens=9, sequence_bias=[[[int(end)], -100.0]])
    assert limited.choices[0].text == expected


def test_each_of_n_texts_has_the_next_seed(writers: Writers) -> None:
    found = writers.client.completions.create(model="gpt2", prompt=list(PROMPTS[:2]), n=3, seed=7, max_tokens=12)
    expected = [
        writers.write(prompt, do_sample=True, seed=seed, max_new_tokens=12)
        for prompt in PROMPTS[:2]
        for seed in (7, 8, 9)
    ]
    assert [each.text for each in found.choices] == expected
    assert len(set(expected)) == 6


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"temperature": 0.5}, id="temperature"),
        pytest.param({"top_p": 0.4}, id="top_p"),
        pytest.param({"top_k": 5}, id="top_k"),
        pytest.param({"min_p": 0.3}, id="min_p"),
        pytest.param({"repetition_penalty": 1.5}, id="repetition_penalty"),
    ],
)
def test_draws_are_those_of_the_pipeline(writers: Writers, options: dict[str, float]) -> None:
    found = writers.client.completions.create(
        model="gpt2", prompt=PROMPTS[0], seed=3, max_tokens=15, extra_body=options
    )
    expected = writers.write(PROMPTS[0], do_sample=True, seed=3, max_new_tokens=15, **options)
    assert found.choices[0].text == expected


def test_without_a_seed_texts_differ(writers: Writers) -> None:
    found = writers.client.completions.create(model="gpt2", prompt=PROMPTS[0], n=2)
    assert found.choices[0].text != found.choices[1].text
    assert found.usage is not None
    assert found.usage.completion_tokens <= 32, "16 tokens each, as OpenAI has it"


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
    assert usage == whole.usage
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


def test_events_end_in_done(writers: Writers) -> None:
    answer = writers.post("completions", {"model": "gpt2", "prompt": "a", "stream": True, "max_tokens": 2})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    for event in events[:-2]:
        record = json.loads(event.removeprefix("data: "))
        assert record["object"] == "text_completion"
        assert "usage" not in record


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_text_is_cut_before_a_stop_text(writers: Writers, prompt: str) -> None:
    """Stop texts from every place of the text, so that they begin and end within tokens, and reach over several."""
    whole = writers.write(prompt, do_sample=False, max_new_tokens=20)
    clean = "\ufffd"
    found = 0
    for start in range(0, len(whole) - 1, 2):
        stop = whole[start : start + 3]
        if clean in stop:
            continue
        asked: dict[str, Any] = {"model": "gpt2", "prompt": prompt, **GREEDY, "stop": [stop, "never there"]}
        expected = whole[: whole.find(stop)]
        got = writers.client.completions.create(**asked).choices[0]
        assert (got.text, got.finish_reason) == (expected, "stop"), stop
        texts, ends, _, _ = join(writers.client.completions.create(**asked, stream=True))
        assert (texts.get(0, ""), ends) == (expected, {0: "stop"}), stop
        found += 1
    assert found > 2


def test_the_beginning_of_a_stop_text_is_not_lost(writers: Writers) -> None:
    whole = writers.write(PROMPTS[0], do_sample=False, max_new_tokens=20)
    stop = whole[-1] + " and more that never comes"
    texts, *_ = join(
        writers.client.completions.create(model="gpt2", prompt=PROMPTS[0], **GREEDY, stop=stop, stream=True)
    )
    assert texts[0] == whole


def test_logprobs_are_those_of_the_graph(writers: Writers) -> None:
    found = writers.client.completions.create(model="gpt2", prompt=PROMPTS[0], seed=5, max_tokens=10, logprobs=3)
    task = writers.tasks["gpt2"]
    prompt = task.tokenizer(PROMPTS[0])["input_ids"]
    record = task(PROMPTS[0], do_sample=True, temperature=1.0, top_k=0, seed=5, max_new_tokens=10, return_tensors=True)
    new = record[0]["generated_token_ids"][len(prompt) :]
    outputs = task.compute_outputs([{"input_ids": prompt}], new[:-1])
    expected = [log_softmax(each["logits"].reshape(1, -1).copy())[0] for each in outputs]
    logprobs: Any = found.choices[0].logprobs
    own = [row[token] for row, token in zip(expected, new, strict=True)]
    np.testing.assert_allclose(logprobs.token_logprobs, own, atol=1e-4)
    for shown, row in zip(logprobs.top_logprobs, expected, strict=True):
        np.testing.assert_allclose(sorted(shown.values())[-3:], np.sort(row)[-3:], atol=1e-4)
        assert 3 <= len(shown) <= 4, "the token itself is there, too"


def test_logprobs_of_chats_have_bytes(writers: Writers) -> None:
    found: Any = writers.client.chat.completions.create(
        model="chat", messages=MESSAGES, **GREEDY, logprobs=True, top_logprobs=2
    ).choices[0]
    joined = b"".join(bytes(each.bytes or []) for each in found.logprobs.content)
    assert joined.decode(errors="replace").strip() == (found.message.content or "").strip()
    for each in found.logprobs.content:
        assert [top.logprob for top in each.top_logprobs] == sorted(
            (t.logprob for t in each.top_logprobs), reverse=True
        )
        assert each.top_logprobs[0].logprob == each.logprob, "the likeliest was taken"
        assert (each.token, each.bytes) == (each.top_logprobs[0].token, each.top_logprobs[0].bytes)


def test_penalties_count_what_was_written(writers: Writers) -> None:
    task = writers.tasks["gpt2"]
    prompt = task.tokenizer(PROMPTS[3])["input_ids"]
    written: list[int] = []
    for _ in range(15):
        logits = task.compute_outputs([{"input_ids": prompt}], written)[-1]["logits"].reshape(-1).copy()
        for token in set(written):
            logits[token] -= 1.5 * written.count(token) + 0.5
        written.append(int(logits.argmax()))
    found = writers.client.completions.create(
        model="gpt2", prompt=PROMPTS[3], temperature=0, max_tokens=15, frequency_penalty=1.5, presence_penalty=0.5
    )
    assert found.choices[0].text == task.tokenizer.decode(written, skip_special_tokens=True)
    assert found.choices[0].text != writers.write(PROMPTS[3], do_sample=False, max_new_tokens=15)


@pytest.mark.parametrize("options", [{"temperature": 0}, {"seed": 4}], ids=["greedy", "seed"])
def test_chats_are_those_of_the_pipeline(writers: Writers, options: dict[str, Any]) -> None:
    found = writers.client.chat.completions.create(model="chat", messages=MESSAGES, max_tokens=20, **options)
    search = {"do_sample": False} if "temperature" in options else {"do_sample": True, **options}
    expected = writers.write(MESSAGES, "chat", max_new_tokens=20, **search)
    assert found.choices[0].message.content == expected
    assert found.choices[0].message.role == "assistant"
    assert found.id.startswith("chatcmpl-")
    again = writers.client.chat.completions.create(
        model="chat", messages=MESSAGES, max_completion_tokens=20, **options, stream=True
    )
    chunks = list(again)
    assert chunks[0].choices[0].delta.role == "assistant"
    texts, ends, _, _ = join(chunks)
    assert (texts[0], ends[0]) == (expected, found.choices[0].finish_reason)
    assert chunks[-1].choices[0].delta.content is None


def test_parts_of_a_message_are_lines_and_developers_speak_as_the_system(writers: Writers) -> None:
    plain = [{"role": "system", "content": "One\nTwo"}, {"role": "user", "content": "Hi"}]
    parts = [
        {"role": "developer", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]},
        {"role": "user", "content": "Hi", "name": "Ada"},
    ]
    found = [
        writers.client.chat.completions.create(model="chat", messages=each, **GREEDY).choices[0].message.content  # type: ignore[arg-type]
        for each in (plain, parts)
    ]
    assert found[0] == found[1]


def test_an_assistant_at_the_end_gets_another_answer(writers: Writers) -> None:
    """OpenAI's models begin a new message; the pipeline goes on with the last one unless it is told not to."""
    found = writers.client.chat.completions.create(model="chat", messages=MESSAGES[:3], **GREEDY)
    task = writers.tasks["chat"]
    answer = task(
        MESSAGES[:3], do_sample=False, max_new_tokens=20, return_full_text=False, continue_final_message=False
    )
    assert found.choices[0].message.content == answer[0]["generated_text"]


def test_an_answer_can_be_sent_back(writers: Writers) -> None:
    first = writers.client.chat.completions.create(model="chat", messages=MESSAGES, **GREEDY).choices[0].message
    history = [*MESSAGES, first.model_dump(), {"role": "user", "content": "And?"}]
    assert writers.client.chat.completions.create(model="chat", messages=history, **GREEDY).choices


def test_a_chat_goes_on_while_the_model_has_room(writers: Writers) -> None:
    end = {"2": -100}
    asked: dict[str, Any] = {"model": "chat", "messages": MESSAGES, "temperature": 0, "logit_bias": end}
    whole: Any = writers.client.chat.completions.create(**asked, timeout=120)
    assert whole.usage.total_tokens == 4096
    assert whole.choices[0].finish_reason == "length"


def test_eight_at_once_write_what_each_writes_alone(writers: Writers) -> None:
    bodies: list[dict[str, Any]] = [
        {"prompt": PROMPTS[index % 4], "max_tokens": 8 + 3 * index, **options}
        for index, options in enumerate(
            [
                {"temperature": 0},
                {"seed": 1},
                {"seed": 2, "top_p": 0.7},
                {"temperature": 0, "frequency_penalty": 1.0},
                {"temperature": 0, "stop": ["a"]},
                {"seed": 3, "logprobs": 2},
                {"seed": 4, "n": 2},
                {"temperature": 0, "logit_bias": {"5": 3}},
            ]
        )
    ]
    alone = [writers.client.completions.create(model="gpt2", **body).choices for body in bodies]

    async def ask_all() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{writers.server.url}/v1", api_key="none", max_retries=0) as client:

            async def ask(body: dict[str, Any], *, stream: bool) -> Any:
                if not stream:
                    return (await client.completions.create(model="gpt2", **body)).choices
                texts: dict[int, str] = {}
                async for chunk in await client.completions.create(model="gpt2", **body, stream=True):
                    for each in chunk.choices:
                        texts[each.index] = texts.get(each.index, "") + each.text
                return texts

            both = [ask(body, stream=stream) for body in bodies for stream in (False, True)]
            return list(await asyncio.gather(*both))

    for _ in range(3):
        together = asyncio.run(ask_all())
        for expected, whole, streamed in zip(alone, together[::2], together[1::2], strict=True):
            assert [each.text for each in whole] == [each.text for each in expected]
            assert streamed == {each.index: each.text for each in expected}


def test_a_client_that_goes_away_frees_its_row(writers: Writers) -> None:
    before = writers.server.metric("edgepipe_written_tokens_total")
    with writers.client.chat.completions.create(model="chat", messages=MESSAGES, n=2, **ENDLESS, stream=True) as stream:
        for _ in range(6):
            next(stream)
    _wait_until_nothing_is_written(writers)
    assert 4 <= writers.server.metric("edgepipe_written_tokens_total") - before < 100_000


def test_a_whole_answer_that_nobody_waits_for_frees_its_row(writers: Writers) -> None:
    with pytest.raises(openai.APITimeoutError):
        writers.client.chat.completions.create(model="chat", messages=MESSAGES, **ENDLESS, timeout=0.5)
    _wait_until_nothing_is_written(writers)


def _wait_until_nothing_is_written(writers: Writers) -> None:
    for _ in range(100):
        written = writers.server.metric("edgepipe_written_tokens_total")
        time.sleep(0.2)
        if writers.server.metric("edgepipe_written_tokens_total") == written:
            return
    raise AssertionError("tokens are written that nobody reads")


def test_an_error_in_the_middle_of_a_stream_is_an_event_and_its_end(writers: Writers) -> None:
    pieces: list[Any] = []
    stream = writers.client.chat.completions.create(
        model="chat", messages=MESSAGES, **ENDLESS, stream=True, extra_headers={"x-timeout-ms": "3000"}
    )
    with pytest.raises(openai.APIError, match="took longer than it may"):
        pieces.extend(stream)
    assert len(pieces) > 2
    _wait_until_nothing_is_written(writers)


def test_an_error_before_the_first_piece_has_its_status(writers: Writers) -> None:
    with pytest.raises(openai.BadRequestError, match="99999"):
        writers.client.completions.create(model="gpt2", prompt="a", stream=True, logit_bias={"99999": 1})


COMPLETIONS: list[Any] = [
    pytest.param({"prompt": [1, 2]}, "prompt", "unsupported_parameter", id="token ids"),
    pytest.param({"prompt": []}, "prompt", "invalid_value", id="no prompt"),
    pytest.param({"prompt": 7}, "prompt", "invalid_type", id="number"),
    pytest.param({"suffix": "end"}, "suffix", "unsupported_parameter", id="suffix"),
    pytest.param({"best_of": 3}, "best_of", "unsupported_parameter", id="best_of"),
    pytest.param({"echo": True, "logprobs": 1}, "echo", "unsupported_parameter", id="echo with logprobs"),
    pytest.param({"logprobs": 6}, "logprobs", "invalid_value", id="logprobs"),
    pytest.param({"max_tokens": 0}, "max_tokens", "invalid_value", id="no tokens"),
    pytest.param({"max_tokens": 65}, "max_tokens", "context_length_exceeded", id="too many tokens"),
    pytest.param({"prompt": "a b c d e f g " * 20}, "prompt", "context_length_exceeded", id="long prompt"),
    pytest.param({"temperature": 2.1}, "temperature", "invalid_value", id="temperature"),
    pytest.param({"temperature": "hot"}, "temperature", "invalid_type", id="no number"),
    pytest.param({"top_p": -0.1}, "top_p", "invalid_value", id="top_p"),
    pytest.param({"presence_penalty": 3}, "presence_penalty", "invalid_value", id="penalty"),
    pytest.param({"repetition_penalty": 5e-324}, "repetition_penalty", "invalid_value", id="penalty that overflows"),
    pytest.param({"seed": -1}, "seed", "invalid_value", id="seed"),
    pytest.param({"n": 0}, "n", "invalid_value", id="no texts"),
    pytest.param({"n": 17}, "n", None, id="too many texts"),
    pytest.param({"stop": ["a"] * 5}, "stop", "invalid_value", id="five stops"),
    pytest.param({"stop": ""}, "stop", "invalid_value", id="empty stop"),
    pytest.param({"stop": [1]}, "stop[0]", "invalid_type", id="stop is a number"),
    pytest.param({"logit_bias": {"x": 1}}, "logit_bias", "invalid_type", id="bias of no id"),
    pytest.param(
        {"stream_options": {"include_usage": True}},
        "stream_options", "invalid_parameter_combination", id="usage without stream",
    ),
    pytest.param({"tool_choise": "none"}, "tool_choise", "unknown_parameter", id="unknown field"),
]  # fmt: skip
CHATS: list[Any] = [
    pytest.param({"messages": []}, "messages", "invalid_value", id="no message"),
    pytest.param({"messages": "Hi"}, "messages", "invalid_type", id="text"),
    pytest.param({"messages": [{"role": "user"}]}, "messages[0].content", "invalid_value", id="no content"),
    pytest.param({"messages": [{"content": "a"}]}, "role", "missing_required_parameter", id="no role"),
    pytest.param({"messages": [{"role": "king", "content": "a"}]}, "messages[0].role", "invalid_value", id="role"),
    pytest.param(
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
        "messages[0].content", "unsupported_parameter", id="image",
    ),
    pytest.param(
        {"messages": [{"role": "tool", "content": "4", "tool_call_id": "x"}]},
        "messages[0].tool_calls", "unsupported_parameter", id="tool's answer",
    ),
    pytest.param({"tools": []}, "tools", "unsupported_parameter", id="tools"),
    pytest.param({"tool_choice": "auto"}, "tool_choice", "unsupported_parameter", id="tool_choice"),
    pytest.param({"functions": []}, "functions", "unsupported_parameter", id="functions"),
    pytest.param({"modalities": ["text", "audio"]}, "modalities", "unsupported_parameter", id="sound"),
    pytest.param({"reasoning_effort": "low"}, "reasoning_effort", "unsupported_parameter", id="reasoning"),
    pytest.param({"store": True}, "store", "unsupported_parameter", id="store"),
    pytest.param({"top_logprobs": 2}, "top_logprobs", "invalid_parameter_combination", id="top_logprobs alone"),
    pytest.param({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value", id="top_logprobs"),
    pytest.param(
        {"max_tokens": 3, "max_completion_tokens": 3}, "max_tokens", "invalid_parameter_combination", id="two lengths"
    ),
    pytest.param({"model": "gpt2"}, None, None, id="no template"),
]  # fmt: skip


def check_error(answer: httpx.Response, param: str | None, code: str | None) -> None:
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code), error
    assert error["message"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("body", "param", "code"), COMPLETIONS)
def test_completions_that_are_refused(writers: Writers, body: Any, param: Any, code: Any, stream: bool) -> None:
    if stream and "stream_options" not in body:
        body = body | {"stream": True}
    check_error(writers.post("completions", {"model": "gpt2", "prompt": "a"} | body), param, code)


@pytest.mark.parametrize(("body", "param", "code"), CHATS)
def test_chats_that_are_refused(writers: Writers, body: Any, param: Any, code: Any) -> None:
    check_error(writers.post("chat/completions", {"model": "chat", "messages": MESSAGES} | body), param, code)


@pytest.mark.parametrize("body", [b"{", b'"\xff"', b"[]", b""], ids=["half", "no UTF-8", "list", "nothing"])
def test_bodies_that_are_no_request(writers: Writers, body: bytes) -> None:
    check_error(writers.post("chat/completions", body), None, None)


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


def test_a_model_without_a_template_says_so(writers: Writers) -> None:
    with pytest.raises(openai.BadRequestError, match="has no chat template"):
        writers.client.chat.completions.create(model="gpt2", messages=MESSAGES)


def test_fields_that_change_nothing_are_taken(writers: Writers) -> None:
    found = writers.client.chat.completions.create(
        model="chat", messages=MESSAGES, **GREEDY, user="ada", metadata={"a": "b"}, store=False, service_tier="auto",
        response_format={"type": "text"}, modalities=["text"], tool_choice="none", safety_identifier="x",
        prompt_cache_key="y", parallel_tool_calls=False,
    )  # fmt: skip
    assert found.choices[0].message.content == writers.write(MESSAGES, "chat", do_sample=False, max_new_tokens=20)


def test_more_tokens_than_a_request_may_have(writers: Writers) -> None:
    answer = writers.post("completions", {"model": "chat", "prompt": "a", "max_tokens": 9000, "n": 16})
    assert answer.status_code == 413
    assert "65536" in answer.json()["error"]["message"]
