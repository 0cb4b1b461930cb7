"""A server of models that write, and what tests of completions and chats share."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from edgepipe import pipeline
from tests.runtime.serve.running_server import RunningServer, serve_bundles
from tests.runtime.serve.tool_templates import TEMPLATES, TOOLS
from tests.runtime.serve.writing_bundles import copy_with_template, make_chat, make_scripted, make_writer

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

# Models whose chat templates take tools, each in another form.
TOOL_MODELS = ("hermes", "llama", "mistral", "xml")
# What the scripted model says.
TALKS = "Look"
CHATS = "Say" + " a" * 240
FAILS = "Err" + " a" * 290
SCRIPT = {
    TALKS: "Let me look.\n"
    '<tool_call>\n{"name": "get_weather", "arguments": {"place": "Köln", "days": 2}}\n</tool_call>\n'
    '<tool_call>\n{"name": "stop", "arguments": {}}\n</tool_call>',
    CHATS: "I have a <tool_call> for you.",
    FAILS: '<tool_call>\n{"name": "fly", "arguments": {}}\n</tool_call>',
}


@dataclass(frozen=True)
class Writers:
    """A server of some models, OpenAI's client of it, and pipelines of the same bundles."""

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


class _Tasks(dict[str, Any]):
    """Pipelines by the models' names, loaded when they are asked for."""

    def __init__(self, bundles: Mapping[str, Path]) -> None:
        self._bundles = bundles

    def __missing__(self, name: str) -> Any:
        self[name] = pipeline(model=self._bundles[name], num_threads=1)
        return self[name]


@pytest.fixture(scope="package")
def writers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writers]:
    """The server."""
    folder = tmp_path_factory.mktemp("writers")
    bundles = {"gpt2": make_writer(folder), "t5": make_writer(folder, "t5"), "chat": make_chat(folder)}
    bundles |= {name: copy_with_template(bundles["chat"], name, TEMPLATES[name]) for name in TOOL_MODELS}
    bundles["scripted"] = make_scripted(folder, TEMPLATES["short"], SCRIPT, tools=TOOLS)
    with (
        serve_bundles(*bundles.values(), options=("--threads", "1")) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield Writers(server, client, _Tasks(bundles))


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


def without_cache(usage: Any) -> dict[str, int]:
    """The usage but for what earlier requests had read."""
    counts: dict[str, int] = usage.model_dump(exclude={"prompt_tokens_details"}, exclude_none=True)
    return counts


def wait_until_nothing_is_written(writers: Writers) -> None:
    """Return when the server is at rest."""
    for _ in range(100):
        written = writers.server.metric("edgepipe_written_tokens_total")
        time.sleep(0.2)
        if writers.server.metric("edgepipe_written_tokens_total") == written:
            return
    raise AssertionError("tokens are written that nobody reads")


def check_error(answer: httpx.Response, param: str | None, code: str | None) -> None:
    """Check that a request was refused with OpenAI's error."""
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code), error
    assert error["message"]
