"""Calls of tools, asked for by OpenAI's own client: forced ones fulfil their schema, and others are found in texts."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import openai
import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from tests.runtime.serve.protocols.openai.conftest import (
    CHATS,
    FAILS,
    SCRIPT,
    TALKS,
    TOOL_MODELS,
    Writers,
    check_error,
    without_cache,
)
from tests.runtime.serve.tool_templates import PAINT, STOP, TOOLS, USER, WEATHER, call_tool

SCHEMAS = {
    tool["function"]["name"]: tool["function"].get(
        "parameters", {"type": "object", "properties": {}, "additionalProperties": False}
    )
    for tool in TOOLS
}


def ask(client: openai.OpenAI, model: str, **options: Any) -> Any:
    asked: dict[str, Any] = {"model": model, "messages": [USER], "max_tokens": 400, "tools": TOOLS} | options
    return client.chat.completions.create(**asked)


def join(chunks: Any) -> tuple[dict[int, dict[str, Any]], Any]:
    """The answers of a stream as messages with a finish_reason, and the usage."""
    answers: dict[int, dict[str, Any]] = {}
    usage = None
    for chunk in chunks:
        usage = chunk.usage or usage
        for each in chunk.choices:
            answer = answers.setdefault(each.index, {"content": None, "calls": [], "finish_reason": None})
            assert answer["finish_reason"] is None, "nothing comes behind the end"
            if each.delta.content is not None:
                answer["content"] = (answer["content"] or "") + each.delta.content
            for call in each.delta.tool_calls or ():
                if call.id is not None:
                    assert (call.index, call.type) == (len(answer["calls"]), "function")
                    answer["calls"].append([call.function.name, ""])
                answer["calls"][call.index][1] += call.function.arguments
            answer["finish_reason"] = each.finish_reason
    return answers, usage


def calls_of(message: Any) -> list[list[str]]:
    return [[call.function.name, call.function.arguments] for call in message.tool_calls or ()]


@pytest.mark.parametrize("model", TOOL_MODELS)
@pytest.mark.parametrize(
    "choice",
    ["required", {"type": "function", "function": {"name": "paint"}}],
    ids=["required", "named"],
)
def test_a_forced_answer_is_a_call_that_fulfils_its_schema(writers: Writers, model: str, choice: Any) -> None:
    client = writers.client
    whole = ask(client, model, tool_choice=choice, n=6, seed=1)
    names = set()
    for each in whole.choices:
        assert each.finish_reason == "tool_calls"
        assert each.message.content is None
        [call] = each.message.tool_calls
        assert call.type == "function"
        assert len(call.id) == 9
        names.add(call.function.name)
        Draft202012Validator(SCHEMAS[call.function.name]).validate(json.loads(call.function.arguments))
    assert names == {"paint"} if choice != "required" else len(names) > 1
    chunks = list(
        ask(client, model, tool_choice=choice, n=6, seed=1, stream=True, stream_options={"include_usage": True})
    )
    answers, usage = join(chunks)
    for each in whole.choices:
        expected = {"content": None, "calls": calls_of(each.message), "finish_reason": "tool_calls"}
        assert answers[each.index] == expected
    assert without_cache(usage) == without_cache(whole.usage)
    assert len(chunks) > 4 * 6, "arguments come in pieces"


@pytest.mark.parametrize("model", ["hermes", "mistral"])
def test_a_forced_answer_is_what_the_pipeline_writes(writers: Writers, model: str) -> None:
    client, tasks = writers.client, writers.tasks
    found = ask(client, model, tool_choice={"type": "function", "function": {"name": "paint"}}, temperature=0)
    write = tasks[model]
    described = [
        {"type": "function", "function": {name: value for name, value in each["function"].items() if name != "strict"}}
        for each in TOOLS
    ]
    described[-1]["function"]["parameters"] = {"type": "object", "properties": {}}
    prompt = write.tokenizer.apply_chat_template([USER], tools=described, add_generation_prompt=True, tokenize=False)
    schema: Any = {
        "type": "object",
        "properties": {"name": {"const": "paint"}, "arguments": SCHEMAS["paint"] | {"$id": "x:"}},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
    begin = "\n<tool_call>\n"
    if model == "mistral":
        schema, begin = {"type": "array", "items": schema, "minItems": 1, "maxItems": 1}, "<pad>"
    options = {"do_sample": False, "max_new_tokens": 400, "return_full_text": False, "add_special_tokens": False}
    text = write(prompt + begin, json_schema=schema, **options)
    record = json.loads(text[0]["generated_text"])
    record = record[0] if model == "mistral" else record
    [[name, arguments]] = calls_of(found.choices[0].message)
    assert (name, json.loads(arguments)) == (record["name"], record["arguments"])
    assert found.usage.prompt_tokens == len(write.tokenizer(prompt + begin, add_special_tokens=False)["input_ids"])


def test_a_forced_call_that_is_cut_off_says_so(writers: Writers) -> None:
    client = writers.client
    for length in (1, 30):
        choice = ask(client, "hermes", tool_choice="required", temperature=0, max_tokens=length).choices[0]
        assert choice.finish_reason == "length"
        for call in choice.message.tool_calls or ():
            assert not call.function.arguments.endswith("}")


def test_log_probabilities_of_a_forced_call_are_all_there(writers: Writers) -> None:
    client = writers.client
    asked: dict[str, Any] = {"tool_choice": "required", "temperature": 0, "logprobs": True}
    whole = ask(client, "llama", **asked)
    logged = whole.choices[0].logprobs.content
    assert len(logged) == whole.usage.completion_tokens - 1
    streamed = [
        each
        for chunk in ask(client, "llama", **asked, stream=True)
        for choice in chunk.choices
        if choice.logprobs is not None
        for each in choice.logprobs.content
    ]
    assert streamed == logged


def test_calls_are_found_in_a_text(writers: Writers) -> None:
    client = writers.client
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": TALKS}], "temperature": 0, "max_tokens": 150}
    for choice in ({}, {"tool_choice": "auto"}):
        whole = ask(client, "scripted", **asked, **choice)
        [answer] = whole.choices
        calls = [["get_weather", '{"place": "Köln", "days": 2}'], ["stop", "{}"]]
        assert (answer.message.content, answer.finish_reason) == ("Let me look.", "tool_calls")
        assert calls_of(answer.message) == calls
        answers, _ = join(ask(client, "scripted", **asked, **choice, stream=True))
        assert answers == {0: {"content": "Let me look.", "calls": calls, "finish_reason": "tool_calls"}}
    [answer] = ask(client, "scripted", **asked, parallel_tool_calls=False).choices
    assert calls_of(answer.message) == calls[:1]


@pytest.mark.parametrize("text", [CHATS, FAILS], ids=["text", "no such function"])
def test_what_is_no_call_stays_text(writers: Writers, text: str) -> None:
    client = writers.client
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 100}
    [answer] = ask(client, "scripted", **asked).choices
    assert (answer.message.content, answer.finish_reason) == (SCRIPT[text], "stop")
    assert answer.message.tool_calls is None
    answers, _ = join(ask(client, "scripted", **asked, stream=True))
    assert answers == {0: {"content": SCRIPT[text], "calls": [], "finish_reason": "stop"}}


def test_without_tools_and_with_none_the_model_is_not_told_of_them(writers: Writers) -> None:
    client = writers.client
    plain = client.chat.completions.create(model="hermes", messages=[USER], temperature=0, max_tokens=20)
    none = ask(client, "hermes", tool_choice="none", temperature=0, max_tokens=20)
    assert none.choices[0].message == plain.choices[0].message
    assert without_cache(none.usage) == without_cache(plain.usage)
    assert none.choices[0].message.tool_calls is None


def test_strict_with_auto_is_warned_of(writers: Writers) -> None:
    client = writers.client
    asked: dict[str, Any] = {"model": "hermes", "messages": [USER], "max_tokens": 2}
    told = client.chat.completions.with_raw_response.create(**asked, tools=TOOLS)
    assert "strict is not kept" in told.headers["x-warning"]
    for options in ({"tools": [PAINT]}, {"tools": TOOLS, "tool_choice": "required"}):
        assert "x-warning" not in client.chat.completions.with_raw_response.create(**asked, **options).headers


def test_an_answer_with_calls_and_results_can_be_sent_back(writers: Writers) -> None:
    client, tasks = writers.client, writers.tasks
    for model in TOOL_MODELS:
        message = ask(client, model, tool_choice="required", seed=2).choices[0].message
        call = message.tool_calls[0]
        history = [
            USER,
            message.model_dump(),
            {"role": "tool", "tool_call_id": call.id, "content": [{"type": "text", "text": "17 °C"}]},
            {"role": "user", "content": "And tomorrow?"},
        ]
        found = ask(client, model, messages=history, tool_choice="none", temperature=0, max_tokens=12)
        write = tasks[model]
        arguments = json.loads(call.function.arguments)
        chat = [
            USER,
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [call_tool(call.function.name, arguments, call.id)],
            },
            {"role": "tool", "tool_call_id": call.id, "name": call.function.name, "content": "17 °C"},
            {"role": "user", "content": "And tomorrow?"},
        ]
        expected = write(chat, do_sample=False, max_new_tokens=12, return_full_text=False)[0]["generated_text"]
        assert found.choices[0].message.content == expected, model


def test_requests_side_by_side_have_calls_of_their_own(writers: Writers) -> None:
    client = writers.client
    choices: list[Any] = [
        "required", "none", {"type": "function", "function": {"name": "paint"}},
        {"type": "function", "function": {"name": "stop"}},
    ]  # fmt: skip

    def write(choice: Any) -> Any:
        message = ask(client, "llama", tool_choice=choice, temperature=0, max_tokens=120).choices[0].message
        return message.content, calls_of(message)

    alone = [write(choice) for choice in choices]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, choices)) == alone
    assert alone[3][1] == [["stop", "{}"]]


def tool(name: str, parameters: Any = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


NAMED = {"type": "function", "function": {"name": "fly"}}
WRONG: list[Any] = [
    pytest.param({"tools": []}, "tools", "invalid_value", id="no tools"),
    pytest.param({"tools": [STOP] * 129}, "tools", "invalid_value", id="too many tools"),
    pytest.param({"tools": [{"type": "function", "function": {}}]}, "name", "missing_required_parameter", id="no name"),
    pytest.param({"tools": [tool("a b")]}, "tools[0].function.name", "invalid_value", id="name with a blank"),
    pytest.param({"tools": [{"type": "custom"}]}, "tools[0].type", "invalid_value", id="custom tool"),
    pytest.param({"tools": [STOP, PAINT, STOP]}, "tools[2].function.name", "invalid_value", id="twice"),
    pytest.param(
        {"tools": [PAINT, tool("a", 5)]}, "tools[1].function.parameters", "invalid_type", id="parameters are a number"
    ),
    pytest.param(
        {"tools": [tool("a", {})]}, "tools[0].function.parameters", "invalid_function_parameters", id="no type"
    ),
    pytest.param(
        {"tools": [STOP, tool("a", {"type": "array"})]},
        "tools[1].function.parameters", "invalid_function_parameters", id="parameters of a list",
    ),
    pytest.param(
        {"tools": [STOP, tool("a", {"type": "object", "properties": {"b": {"not": {}}}})], "tool_choice": "required"},
        "tools[1].function.parameters", "invalid_function_parameters", id="a keyword that is not known",
    ),
    pytest.param(
        {"tools": [tool("a", {"type": "object", "properties": {"b": {"type": "whole"}}})], "tool_choice": "required"},
        "tools[0].function.parameters", "invalid_function_parameters", id="no schema",
    ),
    pytest.param(
        {"tools": [tool("a", {"type": "object", "properties": {"b": {"$ref": "#"}}, "required": ["b"]})],
         "tool_choice": "required"},
        "tools[0].function.parameters", "invalid_function_parameters", id="endless",
    ),
    pytest.param(
        {"tools": [tool(name, {"$id": "same:", "type": "object"}) for name in "ab"], "tool_choice": "required"},
        "tools[1].function.parameters", "invalid_function_parameters", id="two of one id",
    ),
    pytest.param({"tool_choice": NAMED}, "tool_choice", "invalid_value", id="no such tool"),
    pytest.param({"tool_choice": "sometimes"}, "tool_choice", "invalid_value", id="choice"),
    pytest.param({"tools": None, "tool_choice": "auto"}, "tool_choice", "invalid_value", id="choice without tools"),
    pytest.param({"model": "chat"}, "tools", "unsupported_parameter", id="a template without tools"),
    pytest.param(
        {"model": "xml", "tool_choice": "auto"}, "tool_choice", "unsupported_parameter", id="calls that are not JSON"
    ),
    pytest.param(
        {"tool_choice": "required", "stop": "a"}, "stop", "invalid_parameter_combination", id="stop in a call"
    ),
    pytest.param(
        {"response_format": {"type": "json_object"}},
        "response_format", "invalid_parameter_combination", id="a format or a call",
    ),
    pytest.param({"functions": []}, "functions", "unsupported_parameter", id="functions"),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("body", "param", "code"), WRONG)
def test_tools_that_are_refused(writers: Writers, body: Any, param: str, code: str, stream: bool) -> None:
    asked = {"model": "hermes", "messages": [USER], "tools": [WEATHER], "stream": stream} | body
    answer = writers.post("chat/completions", asked)
    check_error(answer, param, code)
    if code == "invalid_function_parameters":
        assert answer.json()["error"]["message"].startswith("Invalid schema for function '")
    if param == "tools" and code == "unsupported_parameter":
        assert "the chat template of chat takes none" in answer.text


class Paint(BaseModel):
    """Paints a wall."""

    color: Literal["red", "blue"]
    coats: Literal[1, 2]


def test_tools_that_the_client_makes_of_classes(writers: Writers) -> None:
    found = writers.client.chat.completions.parse(
        model="hermes", messages=[USER], tools=[openai.pydantic_function_tool(Paint)], tool_choice="required", seed=1,
        max_tokens=400,
    )  # fmt: skip
    [call] = found.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Paint)


def test_a_format_is_of_no_consequence_for_a_forced_call(writers: Writers) -> None:
    client = writers.client
    [choice] = ask(client, "hermes", tool_choice="required", response_format={"type": "json_object"}).choices
    assert choice.finish_reason == "tool_calls"
