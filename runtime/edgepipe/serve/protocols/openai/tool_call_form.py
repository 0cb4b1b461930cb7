"""How a model's chat template takes tools and writes calls of them, found by having it write a call.

Nothing is known of models by name: a template is given a chat in which a tool is called, and what it writes is compared
with the same chat without the call. Templates of Qwen and Hermes write ``<tool_call>``, JSON, ``</tool_call>``, those
of Llama 3 JSON alone, those of Mistral a special token and a list. A template that writes calls in another way than
as JSON with a name and arguments (XML, code) has no form here.
"""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from edgepipe.errors import InputError
from edgepipe.tokenization.chat_template import select_template
from edgepipe.tokenization.tokenizer import Tokenizer

# What no template has of its own. Mistral's takes ids of nine letters and digits alone.
_OFFERED, _CALLED, _ANSWER, _RESULT = "offered_zqx", "called_zqx", "answer zqx", "result zqx"
_ARGUMENTS = {"key_zqx": "value zqx"}
_CALL_ID = "zqx000000"

_USER = {"role": "user", "content": "Hello"}
_TOOL = {
    "type": "function",
    "function": {
        "name": _OFFERED,
        "description": "Finds.",
        "parameters": {
            "type": "object",
            "properties": {"key_zqx": {"type": "string", "description": "What to find."}},
            "required": ["key_zqx"],
        },
    },
}
_TOOL_CALL = {"id": _CALL_ID, "type": "function", "function": {"name": _CALLED, "arguments": _ARGUMENTS}}


@dataclass(frozen=True, slots=True)
class CallForm:
    """A call as a template writes it: JSON between two tags.

    Attributes:
        before: Tokens of an answer before the JSON of a call; a model that is to call is given them.
        tag: The visible text that begins a call anywhere in an answer; empty where a call is the whole answer.
        end: The visible text behind the JSON.
        name: The key of the function's name.
        arguments: The key of its arguments.
        keys: All keys of the JSON.
        is_list: Whether the JSON is a list of calls.
    """

    before: tuple[int, ...] = ()
    tag: str = ""
    end: str = ""
    name: str = "name"
    arguments: str = "arguments"
    keys: frozenset[str] = frozenset({"name", "arguments"})
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class ToolSupport:
    """What a chat template does with tools.

    Attributes:
        takes_tools: Whether it tells the model of tools.
        takes_calls: Whether it writes the calls of earlier answers.
        takes_results: Whether it writes what tools gave.
        form: How it writes a call; None where that is not JSON.
    """

    takes_tools: bool
    takes_calls: bool
    takes_results: bool
    form: CallForm | None


_found: weakref.WeakKeyDictionary[Tokenizer, ToolSupport] = weakref.WeakKeyDictionary()
_lock = Lock()


def find_tool_support(tokenizer: Tokenizer) -> ToolSupport:
    """What a tokenizer's chat template does with tools; it is asked once.

    Raises:
        InputError: there is no template.
        DependencyError: jinja2 is missing.
    """
    with _lock:
        if tokenizer not in _found:
            _found[tokenizer] = _ask(tokenizer)
        return _found[tokenizer]


def _ask(tokenizer: Tokenizer) -> ToolSupport:
    select_template(tokenizer.chat_template, None, tools=True)
    prompt = _render(tokenizer, [], add_generation_prompt=True)
    call = {"role": "assistant", "content": "", "tool_calls": [_TOOL_CALL]}
    called = _render(tokenizer, [call])
    result = {"role": "tool", "name": _CALLED, "tool_call_id": _CALL_ID, "content": _RESULT}
    return ToolSupport(
        takes_tools=_OFFERED in prompt,
        takes_calls=_CALLED in called,
        takes_results=_RESULT in _render(tokenizer, [call, result]),
        form=_find_form(tokenizer, prompt, called, call) if prompt else None,
    )


def _render(tokenizer: Tokenizer, answers: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = False) -> str:
    """The chat with some messages behind the user's; empty where the template refuses them."""
    try:
        text: str = tokenizer.apply_chat_template(
            [_USER, *answers], tools=[_TOOL], add_generation_prompt=add_generation_prompt, tokenize=False
        )
    except InputError:
        return ""
    return text


def _find_form(tokenizer: Tokenizer, prompt: str, called: str, call: Mapping[str, Any]) -> CallForm | None:
    found = next(_find_calls(called), None)
    if found is None:
        return None
    start, stop, record = found
    answered = _render(tokenizer, [{"role": "assistant", "content": _ANSWER}])
    # What ends a message is none of the call's.
    behind = called[stop:].removesuffix(answered.rpartition(_ANSWER)[2] if _ANSWER in answered else "")
    before = called[len(prompt) : start] if called.startswith(prompt) else None
    # With a text before it there is nothing of what begins a message: neither its head nor empty thoughts.
    with_text = _render(tokenizer, [{**call, "content": _ANSWER}])
    inner = next(_find_calls(with_text), None)
    tag = before or ""
    if inner is not None and _ANSWER in with_text[: inner[0]]:
        tag = with_text[: inner[0]].rpartition(_ANSWER)[2]
    if _CALLED in tag + behind:  # what stands around the JSON is not the same for each function
        return None
    is_list = tag.rstrip().endswith("[") and behind.lstrip().startswith("]")
    if is_list:
        tag, behind = tag.rstrip()[:-1], behind.lstrip()[1:]
        before = None if before is None else before.rstrip().removesuffix("[")
    # A blank at its end would be a part of the next token.
    given = (tag if before is None else before).rstrip(" ")
    names = {value: key for key, value in record.items() if isinstance(value, str)}
    return CallForm(
        before=_tokens_behind(tokenizer, prompt, given),
        tag=_split_at_special_tokens(tokenizer, tag)[-1].strip(),
        end=_split_at_special_tokens(tokenizer, behind)[0].strip(),
        name=names[_CALLED],
        arguments=next(key for key, value in record.items() if value == _ARGUMENTS),
        keys=frozenset(record),
        is_list=is_list,
    )


def _find_calls(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Each JSON object with the called name and its arguments: where it begins and ends, and what it is."""
    decoder = json.JSONDecoder()
    place = text.find("{")
    while place >= 0:
        try:
            record, stop = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            record, stop = None, place
        if isinstance(record, dict) and _CALLED in record.values() and _ARGUMENTS in record.values():
            yield place, stop, record
        place = text.find("{", place + 1)


def _split_at_special_tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    """The parts of a text between special tokens, which nobody sees."""
    hidden = [token for token in tokenizer.convert_ids_to_tokens(sorted(tokenizer.hidden_ids)) if token]
    return re.split("|".join(map(re.escape, sorted(hidden, key=len, reverse=True))), text) if hidden else [text]


def _tokens_behind(tokenizer: Tokenizer, prompt: str, text: str) -> tuple[int, ...]:
    """The tokens of a text behind a prompt."""
    if not text:
        return ()
    whole = list(tokenizer(prompt + text, add_special_tokens=False)["input_ids"])
    head = list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    if whole[: len(head)] == head:
        return tuple(whole[len(head) :])
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
