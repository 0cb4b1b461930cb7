"""Completions, asked by OpenAI's own client: what they write is what the pipelines write."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from tests.runtime.serve.protocols.openai.conftest import (
    GREEDY,
    PROMPTS,
    Writers,
    check_error,
    join,
)


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


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("body", "param", "code"), COMPLETIONS)
def test_completions_that_are_refused(writers: Writers, body: Any, param: Any, code: Any, stream: bool) -> None:
    if stream and "stream_options" not in body:
        body = body | {"stream": True}
    check_error(writers.post("completions", {"model": "gpt2", "prompt": "a"} | body), param, code)
